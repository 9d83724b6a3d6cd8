"""Verify: hash everything again, and say what is damaged and who needs it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from blake3 import blake3

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import Corrupt, InvalidReference, ZooError
from zoo.store.encoded import encoded_size, read_encoded
from zoo.store.store import WORDS, Store

__all__ = ["Damage", "Report", "verify"]


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


def verify(store: Store, *, progress: Progress = silent) -> Report:
    """Hash every object and manifest, decode every encoded object, and follow every ref.

    Nothing is changed.
    """
    files = list(_files(store))
    sizes = [path.stat().st_size for _, _, path in files]
    found: list[Damage] = []
    with progress("verifying", sum(sizes), "B") as task, ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = pool.map(lambda file: _check(store, *file), files)
        for damage, size in zip(checks, sizes, strict=True):
            found += [damage] if damage else []
            task.advance(size)
    names, broken = _follow_refs(store)
    needs, lost = _who_needs(store, names, {damage.name for damage in found})
    damages = {(damage.kind, damage.name): damage for damage in [*found, *broken, *lost]}
    return Report(
        files=len(files),
        bytes=sum(sizes),
        damages=tuple(
            replace(damage, needed_by=tuple(dict.fromkeys(needs.get(damage.name, ()))))
            for _, damage in sorted(damages.items())
        ),
    )


def _files(store: Store) -> Iterator[tuple[Kind, str, Path]]:
    for kind in get_args(Kind):
        for path in sorted((store.root / kind).rglob("*")):
            if path.is_file():
                yield kind, path.stem, path


def _check(store: Store, kind: Kind, name: str, path: Path) -> Damage | None:
    """Check one file; None if it is what its name says."""
    try:
        digest = Digest("blake3", name)
        if store.path(kind, digest) != path:
            return Damage(kind=WORDS[kind], name=str(path), problem="lies in the wrong place")
    except InvalidReference:
        return Damage(kind=WORDS[kind], name=str(path), problem="is no part of a store")
    try:
        if kind == "encoded":
            plain = read_encoded(store, digest, least=encoded_size(store, digest))
            found = blake3(plain).hexdigest()
        else:
            found = blake3().update_mmap(path).hexdigest()
        if found != name:
            raise Corrupt(str(digest), name, found)
        if kind == "manifests":
            Manifest.from_bytes(path.read_bytes())
    except (ZooError, OSError) as error:
        problem = (
            "its bytes are not what its name says" if isinstance(error, Corrupt) else str(error)
        )
        return Damage(kind=WORDS[kind], name=str(digest), problem=problem)
    return None


def _follow_refs(store: Store) -> tuple[dict[Digest, list[str]], list[Damage]]:
    """Names of every checkpoint that a ref points or pointed at, and the refs that are damaged."""
    names: dict[Digest, list[str]] = defaultdict(list)
    damages = []
    for ref in store.refs():
        try:
            moves = store.history(ref)
        except ZooError as error:
            damages.append(Damage(kind="ref", name=str(ref), problem=str(error)))
            continue
        if [move.number for move in moves] != list(range(1, len(moves) + 1)):
            damages.append(Damage(kind="ref", name=str(ref), problem="its history has gaps"))
        for move in moves:
            current = move is moves[-1] and not move.deleted
            if current or not store.was_pruned(move.manifest):
                names[move.manifest].append(_at(ref, move, moves[-1]))
    return names, damages


def _at(ref: Reference, move: RefEntry, newest: RefEntry) -> str:
    return str(ref) if move.manifest == newest.manifest else f"{ref} (move {move.number})"


def _who_needs(
    store: Store, names: dict[Digest, list[str]], damaged: set[str]
) -> tuple[dict[str, list[str]], list[Damage]]:
    """Who needs each digest, and what is needed and not there."""
    needs: dict[str, list[str]] = defaultdict(list)
    damages = []
    kept = {Digest("blake3", name) for kind, name, _ in _files(store) if kind == "manifests"}
    for digest in sorted(kept | set(names)):
        called = sorted(set(names.get(digest, ()))) or [str(digest)]
        needs[str(digest)] += called
        if digest not in kept:
            damages.append(Damage(kind="manifest", name=str(digest), problem="is missing"))
        elif str(digest) not in damaged:
            sizes = dict(store.manifest(digest).objects())
            for item in sizes:
                needs[str(item)] += called
            absent = store.missing("encoded", store.missing("objects", sizes))
            damages += [
                Damage(kind="object", name=str(item), problem="is missing") for item in absent
            ]
    return needs, damages
