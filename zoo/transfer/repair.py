"""Repair a store from another one that holds the same things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import DiskFull, InvalidReference, Unavailable, ZooError
from zoo.store import Store
from zoo.store.encoded import object_size, read_object
from zoo.store.listing import KIND_NAMES, name_of
from zoo.store.manifests import FORMS, manifest_bytes
from zoo.store.verify import Damage, VerifyReport, verify

__all__ = ["repair"]

ENCODED: tuple[Kind, ...] = ("encoded", "encoded-manifests")


def repair(
    store: Store,
    source: Store,
    *,
    known: Mapping[Reference, int] | None = None,
    progress: Progress = silent,
) -> VerifyReport:
    """Replace each damaged or missing object and manifest by the one that ``source`` holds; what
    verifying found afterwards, and what was ``healed``.

    Each is hashed before it takes the damaged one's store. Refs, manifests that say of files what
    is not so, and files that are no part of a store, are left alone. ``known`` is as for `verify`.

    Raises:
        Conflict: A prune is under way; nothing was replaced.
        DiskFull, Unavailable: One of the two can go on no more; what was repaired stays so.
    """
    repaired: dict[tuple[str, str], Damage] = {}
    while True:
        # Again after each round: a manifest that is back may tell of objects that nobody missed.
        report = verify(store, known=known, progress=progress)
        with store.upload():
            mended = {
                (damage.kind, damage.name): damage
                for damage in report.damages
                # What is damaged again right after it was repaired, no repair can help.
                if damage.mendable
                and (damage.kind, damage.name) not in repaired
                and _replaced(store, source, damage)
            }
        repaired |= mended
        if not mended:
            left = {(damage.kind, damage.name) for damage in report.damages}
            done = tuple(damage for key, damage in repaired.items() if key not in left)
            return replace(report, healed=done)


def _replaced(store: Store, source: Store, damage: Damage) -> bool:
    try:
        digest = Digest.parse(damage.name)
    except InvalidReference:
        return False
    try:
        if damage.kind in (KIND_NAMES[form] for form in FORMS):
            data = manifest_bytes(source, digest)  # first: nothing moves for what cannot be read
            store.set_aside("manifests", digest)
            store.replace("manifests", digest, [data])
        else:
            # Nobody knows how large a damaged one should be: the source is believed, up to a limit.
            plain = read_object(source, digest, least=object_size(source, digest))
            store.set_aside("objects", digest)
            store.replace("objects", digest, plain)
    except (DiskFull, Unavailable):
        raise
    except ZooError:
        return False  # the source lacks it, or has it damaged too
    for kind in ENCODED:
        if damage.kind == KIND_NAMES[kind]:
            store.remove(name_of(kind, digest))
    return True
