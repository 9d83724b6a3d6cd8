"""Fetch: learn what a remote has, without its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from zoo.domain.bounds import check_numbers
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.location import is_word
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import UnknownName
from zoo.registry import RemoteRef
from zoo.store import Store
from zoo.store.listing import is_below, read_one
from zoo.store.manifests import read_manifest
from zoo.store.tensor_keys import object_keys
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.registry import Registry

__all__ = ["Fetched", "fetch"]

AT_ONCE = 16
REMEMBERED = 1000
"""Of longer histories only the newest entries are kept in the index."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Fetched(Result):
    """What a remote has.

    Attributes:
        remote: Its short name.
        refs: Its names, deleted ones left out, and what they point at.
        new: Checkpoints of these that were not known here.
        added: Names that it did not have when it was fetched before.
        moved: Names that pointed at something else then: at what, and at what now.
        gone: Names that it had then and has no more.
        damaged: What is wrong with those that cannot be read, by name; they are left out.
        unlisted: Folders, such as ``team``, whose names are left out, too, and why.
    """

    remote: str
    refs: dict[Reference, Digest]
    new: frozenset[Digest]
    added: tuple[Reference, ...]
    moved: dict[Reference, tuple[Digest, Digest]]
    gone: tuple[Reference, ...]
    damaged: dict[Reference, str]
    unlisted: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        moved = {str(ref): {"from": str(a), "to": str(b)} for ref, (a, b) in self.moved.items()}
        return {**Result.to_json(self), "moved": moved}


def fetch(workspace: Workspace, name: str, *, progress: Progress = silent) -> Fetched:
    """Index the names of the remote called ``name``, and the checkpoints that they point at.

    Only manifests that are not known here are read.

    Raises:
        UnknownName: No remote has that short name.
        Unavailable: It does not answer; what was known of it stays.
    """
    if name not in workspace.remotes.all():
        raise UnknownName(
            "remote",
            name,
            sorted(workspace.remotes.all()),
            f"zoo remote lists them; a name for another one: zoo remote add NAME {_shown(name)}",
        )
    remote, registry = workspace.remotes.connect(name), workspace.registry
    entries: dict[Reference, RefEntry] = {}
    damaged: dict[Reference, str] = {}
    refs, unlisted = remote.readable_refs()
    for ref, entry in _newest(remote, refs, progress):
        if isinstance(entry, RefEntry):
            entries[ref] = entry
        else:
            damaged[ref] = str(entry)
    new = registry.unknown({entry.manifest for entry in entries.values()})
    problems: dict[Digest, str] = {}
    with progress("reading manifests", len(new)) as task:
        for digest, manifest in _manifests(remote, sorted(new), workspace.store):
            problem = read_one(_index, manifest, registry, digest)
            if problem:
                problems[digest] = str(problem)
            task.advance()
    sound = {ref: entry for ref, entry in entries.items() if entry.manifest not in problems}
    damaged |= {ref: problems[entry.manifest] for ref, entry in entries.items() if ref not in sound}
    before = registry.remote_refs(name)
    registry.replace_remote(name, sound, _histories(workspace, remote, sound, before))
    return Fetched(
        remote=name,
        refs={ref: entry.manifest for ref, entry in sound.items()},
        new=frozenset(new - problems.keys()),
        added=tuple(ref for ref in sound if ref not in before),
        moved={
            ref: (before[ref].manifest, entry.manifest)
            for ref, entry in sound.items()
            if ref in before and before[ref].manifest != entry.manifest
        },
        gone=tuple(
            ref
            for ref in before
            if ref not in sound and ref not in damaged
            if not is_below(f"{ref.path}/{ref.tag}", unlisted)
        ),
        damaged=damaged,
        unlisted={folder or "refs": str(error) for folder, error in unlisted.items()},
    )


def _index(manifest: Manifest | Exception, registry: Registry, digest: Digest) -> None:
    if isinstance(manifest, Exception):
        raise manifest
    check_numbers(manifest)
    registry.add_checkpoint(digest, manifest)
    registry.keep_keys(digest, object_keys(manifest), sampled=False)


def _shown(name: str) -> str:
    return "LOCATION" if is_word(name) else name


def _histories(
    workspace: Workspace,
    remote: Store,
    entries: Mapping[Reference, RefEntry],
    before: Mapping[Reference, RemoteRef],
) -> dict[Reference, tuple[Digest, ...]]:
    """What the names that are here, too, and point at something else, were at the remote."""
    here = {ref: digest for ref, digest, _ in workspace.registry.refs()}
    found: dict[Reference, tuple[Digest, ...]] = {}
    for ref, entry in entries.items():
        known = before.get(ref)
        if known and known.number == entry.number and known.history is not None:
            found[ref] = known.history
        elif here.get(ref, entry.manifest) != entry.manifest:
            history = read_one(remote.history, ref)
            if not isinstance(history, Exception):  # else it is not known
                digests = [each.manifest for each in history[-REMEMBERED:]]
                found[ref] = tuple(dict.fromkeys(digests))
    return found


def _newest(
    remote: Store, refs: Sequence[Reference], progress: Progress
) -> Iterator[tuple[Reference, RefEntry | Exception]]:
    """The newest entry of every name that is not deleted, or why it cannot be read."""
    read = partial(read_one, remote.read_ref)
    with progress("reading names", len(refs)) as task, ThreadPoolExecutor(AT_ONCE) as pool:
        for ref, found in zip(refs, pool.map(read, refs), strict=True):
            if isinstance(found, Exception) or (found is not None and not found.deleted):
                yield ref, found
            task.advance()


def _manifests(
    remote: Store, digests: Iterable[Digest], near: Store
) -> Iterator[tuple[Digest, Manifest | Exception]]:
    def read(digest: Digest) -> tuple[Digest, Manifest | Exception]:
        return digest, read_one(partial(read_manifest, remote), digest, near=[near])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(read, digests)
