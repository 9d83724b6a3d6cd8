"""Fetch: learn what a remote has, without its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from zoo.contracts import Remote
from zoo.domain.bounds import check_numbers
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import UnknownName
from zoo.store.held import one_read, read_manifest
from zoo.store.tensor_keys import object_keys
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.registry import Registry

__all__ = ["Fetched", "fetch"]

AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a remote has.

    Attributes:
        refs: Its names, deleted ones left out, and what they point at.
        new: Checkpoints of these that were not known here.
        damaged: What is wrong with those that cannot be read, by name; they are left out.
    """

    refs: dict[Reference, Digest]
    new: frozenset[Digest]
    damaged: dict[Reference, str]


def fetch(workspace: Workspace, name: str, *, progress: Progress = silent) -> Fetched:
    """Index the names of the remote called ``name``, and the checkpoints that they point at.

    Only manifests that are not known here are read.

    Raises:
        UnknownName: No remote has that short name.
        Unavailable: It does not answer; what was known of it stays.
    """
    if name not in workspace.remotes():
        raise UnknownName(
            "remote",
            name,
            sorted(workspace.remotes()),
            "give it a name first: zoo remote add NAME LOCATION",
        )
    remote, registry = workspace.remote(name), workspace.registry
    moves: dict[Reference, RefEntry] = {}
    damaged: dict[Reference, str] = {}
    for ref, move in _moves(remote, progress):
        if isinstance(move, RefEntry):
            moves[ref] = move
        else:
            damaged[ref] = str(move)
    new = registry.unknown({move.manifest for move in moves.values()})
    problems: dict[Digest, str] = {}
    with progress("reading manifests", len(new)) as task:
        for digest, manifest in _manifests(remote, sorted(new)):
            problem = one_read(_index, manifest, registry, digest)
            if problem:
                problems[digest] = str(problem)
            task.advance()
    sound = {ref: move for ref, move in moves.items() if move.manifest not in problems}
    registry.replace_remote(name, sound)
    return Fetched(
        refs={ref: move.manifest for ref, move in sound.items()},
        new=frozenset(new - problems.keys()),
        damaged=damaged
        | {ref: problems[move.manifest] for ref, move in moves.items() if ref not in sound},
    )


def _index(manifest: Manifest | Exception, registry: Registry, digest: Digest) -> None:
    if isinstance(manifest, Exception):
        raise manifest
    check_numbers(manifest)
    registry.add_checkpoint(digest, manifest)
    registry.keep_keys(digest, object_keys(manifest), sampled=False)


def _moves(remote: Remote, progress: Progress) -> Iterator[tuple[Reference, RefEntry | Exception]]:
    """The newest move of every name that is not deleted, or why it cannot be read."""
    read = partial(one_read, remote.read_ref)
    refs = list(remote.refs())
    with progress("reading names", len(refs)) as task, ThreadPoolExecutor(AT_ONCE) as pool:
        for ref, found in zip(refs, pool.map(read, refs), strict=True):
            if isinstance(found, Exception) or (found is not None and not found.deleted):
                yield ref, found
            task.advance()


def _manifests(
    remote: Remote, digests: Iterable[Digest]
) -> Iterator[tuple[Digest, Manifest | Exception]]:
    def read(digest: Digest) -> tuple[Digest, Manifest | Exception]:
        return digest, one_read(partial(read_manifest, remote), digest)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(read, digests)
