"""Repair a store from another one that holds the same things."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.contracts import Remote
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.errors import InvalidReference, ZooError
from zoo.store import Store
from zoo.store.encoded import object_size, read_object
from zoo.store.verify import Damage, Report, verify

__all__ = ["Repaired", "heal_checkpoint", "repair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair did.

    Attributes:
        healed: Damage that is no more.
        report: What verifying found afterwards.
    """

    healed: tuple[Damage, ...]
    report: Report


def repair(store: Store, source: Remote, *, progress: Progress = silent) -> Repaired:
    """Replace each damaged or missing object and manifest by the one that ``source`` holds.

    Each is hashed before it takes the damaged one's place. Refs, and files that are no part of a
    store, are left alone.
    """
    healed: list[Damage] = []
    while True:
        # Again after each round: a manifest that is back may tell of objects that nobody missed.
        report = verify(store, progress=progress)
        with store.upload():
            mended = [damage for damage in report.damages if _heal(store, source, damage)]
        healed += mended
        if not mended:
            return Repaired(healed=tuple(healed), report=report)


def heal_checkpoint(store: Store, source: Remote, digest: Digest) -> None:
    """Replace what ``store`` holds damaged of a checkpoint that was just copied from ``source``.

    Raises:
        Corrupt, MissingObject: ``source`` does not hold it sound either.
    """
    if not store.is_sound("manifests", digest):
        store.replace("manifests", digest, source.read("manifests", digest))
    for item, least in store.manifest(digest).objects():
        if not store.is_sound("objects", item):
            store.replace("objects", item, [bytes(read_object(source, item, least=least))])


def _heal(store: Store, source: Remote, damage: Damage) -> bool:
    try:
        digest = Digest.parse(damage.name)
    except InvalidReference:
        return False
    try:
        if damage.kind == "manifest":
            store.replace("manifests", digest, source.read("manifests", digest))
            return True
        plain = read_object(source, digest, least=object_size(source, digest))
        store.replace("objects", digest, [bytes(plain)])
    except ZooError:
        return False  # the source lacks it, or has it damaged too
    if damage.kind == "encoded object":
        store.path("encoded", digest).unlink()
    return True
