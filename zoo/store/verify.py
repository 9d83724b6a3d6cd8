"""Verify: hash everything again, and say what is damaged and who needs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blake3 import blake3

from zoo.contracts import Kind, Maintained
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import Corrupt, Unavailable, ZooError
from zoo.store.encoded import read_encoded
from zoo.store.held import WORDS, Holding, each, holding, pruned, read_manifest

__all__ = ["Damage", "Report", "verify"]

KINDS: tuple[Kind, ...] = ("manifests", "encoded", "objects")
"""In the order of listing, which comes after the names. Writers go the other way, so that of what
is pushed meanwhile nothing seems to be missing."""

DAMAGED = "its bytes are not what its name says"
MISSING = "is missing"

File = tuple[Kind, Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as it should be.

    Attributes:
        kind: ``object``, ``encoded object``, ``manifest`` or ``ref``.
        name: The digest, or the ref; the file's name where it is neither.
        problem: What was found.
        needed_by: Names, or digests where they have none, of the checkpoints that need it.
    """

    kind: str
    name: str
    problem: str
    needed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was checked, and what was found.

    Attributes:
        files: Objects, encoded objects and manifests that were hashed.
        bytes: Their size together.
        damages: All that is wrong, sorted; empty for a sound store.
    """

    files: int
    bytes: int
    damages: tuple[Damage, ...]


def verify(place: Maintained, *, progress: Progress = silent) -> Report:
    """Hash every object and manifest, decode every encoded object, and follow every ref.

    Nothing is changed.

    Raises:
        Unavailable: The place stopped answering, which says nothing about what it holds.
    """
    histories, damages = _histories(place)
    held = {kind: holding(place, kind) for kind in KINDS}
    names = _names(histories, pruned(place, held["manifests"].files))
    sizes: dict[File, int] = {
        (kind, digest): file.bytes for kind in KINDS for digest, file in held[kind].files.items()
    }
    problems: dict[File, str] = {}
    needs: dict[Digest, list[Digest]] = defaultdict(list)  # of an object, the manifests
    with progress("verifying", sum(sizes.values()), "B") as task:
        checks = each(place, lambda file: _check(place, *file), sizes)
        for file, (problem, items) in zip(sizes, checks, strict=True):
            if problem:
                problems[file] = problem
            for item in items:
                needs[item].append(file[1])
            task.advance(sizes[file])
    problems |= {
        ("manifests", digest): MISSING for digest in names.keys() - held["manifests"].files
    }
    there = held["objects"].files.keys() | held["encoded"].files.keys()
    problems |= {("objects", digest): MISSING for digest in needs.keys() - there}
    damages += [*_strays(held), *_damages(problems, names, needs)]
    return Report(
        files=len(sizes),
        bytes=sum(sizes.values()),
        damages=tuple(sorted(damages, key=lambda damage: (damage.kind, damage.name))),
    )


def _check(place: Maintained, kind: Kind, digest: Digest) -> tuple[str, Iterable[Digest]]:
    """What is wrong with one file, if anything; and the objects that a manifest needs."""
    try:
        if kind == "manifests":
            return "", [item for item, _ in read_manifest(place, digest).objects()]
        if kind == "encoded":
            sound = blake3(read_encoded(place, digest)).hexdigest() == digest.hex
        else:
            sound = place.is_sound(kind, digest)
    except Unavailable:
        raise
    except Corrupt:
        sound = False
    except (ZooError, OSError) as error:
        return str(error), ()
    return "" if sound else DAMAGED, ()


def _histories(place: Maintained) -> tuple[dict[Reference, tuple[RefEntry, ...]], list[Damage]]:
    """The moves of every ref that can be read, and the refs that are damaged."""
    histories, damages = {}, []
    refs = list(place.refs())
    for ref, found in zip(refs, each(place, lambda ref: _history(place, ref), refs), strict=True):
        if isinstance(found, str):
            damages.append(Damage(kind="ref", name=str(ref), problem=found))
            continue
        if [move.number for move in found] != list(range(1, len(found) + 1)):
            damages.append(Damage(kind="ref", name=str(ref), problem="its history has gaps"))
        histories[ref] = found
    return histories, damages


def _history(place: Maintained, ref: Reference) -> tuple[RefEntry, ...] | str:
    try:
        return place.history(ref)
    except Unavailable:
        raise
    except ZooError as error:
        return str(error)


def _names(
    histories: Mapping[Reference, tuple[RefEntry, ...]], gone: set[Digest]
) -> dict[Digest, list[str]]:
    """What every checkpoint is called that a ref points or pointed at, those ``gone`` left out."""
    names: dict[Digest, list[str]] = defaultdict(list)
    for ref, moves in histories.items():
        for move in moves:
            current = move is moves[-1] and not move.deleted
            if current or move.manifest not in gone:
                names[move.manifest].append(_at(ref, move, moves[-1]))
    return names


def _at(ref: Reference, move: RefEntry, newest: RefEntry) -> str:
    return str(ref) if move.manifest == newest.manifest else f"{ref} (move {move.number})"


def _strays(held: Mapping[Kind, Holding]) -> list[Damage]:
    return [
        Damage(kind=WORDS[kind], name=file.name, problem=problem)
        for kind in KINDS
        for file, problem in held[kind].strays
    ]


def _damages(
    problems: Mapping[File, str],
    names: Mapping[Digest, list[str]],
    needs: Mapping[Digest, list[Digest]],
) -> list[Damage]:
    """Each problem, with all who need what has it."""
    damages = []
    for (kind, digest), problem in problems.items():
        users = [digest] if kind == "manifests" else needs.get(digest, ())
        called = {name for user in users for name in names.get(user) or [str(user)]}
        damages.append(
            Damage(
                kind=WORDS[kind],
                name=str(digest),
                problem=problem,
                needed_by=tuple(sorted(called)),
            )
        )
    return damages
