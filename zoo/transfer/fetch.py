"""Fetch: learn what a remote has, without its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from zoo.domain.bounds import check_numbers
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.location import is_word
from zoo.domain.manifest import Manifest
from zoo.domain.plain import Json
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

    def to_json(self) -> Json:
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
    if name not in (named := workspace.remotes.all()):
        shown = "LOCATION" if is_word(name) else name
        hint = f"zoo remote lists them; a name for another one: zoo remote add NAME {shown}"
        raise UnknownName("remote", name, sorted(named), hint)
    remote, registry = workspace.remotes.connect(name), workspace.registry
    refs, unlisted = remote.readable_refs()
    newest = dict(_newest(remote, refs, progress))
    entries = {ref: entry for ref, entry in newest.items() if isinstance(entry, RefEntry)}
    damaged = {ref: str(entry) for ref, entry in newest.items() if ref not in entries}
    new = registry.unknown({entry.manifest for entry in entries.values()})
    problems = _index_all(workspace, remote, sorted(new), progress)
    sound = {ref: entry for ref, entry in entries.items() if entry.manifest not in problems}
    damaged |= {ref: problems[entry.manifest] for ref, entry in entries.items() if ref not in sound}
    before = registry.remote_refs(name)
    registry.replace_remote(name, sound, _histories(workspace, remote, sound, before))
    # What cannot be read now is not gone.
    hidden = {ref for ref in before if is_below(f"{ref.path}/{ref.tag}", unlisted)} | damaged.keys()
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
        gone=tuple(ref for ref in before if ref not in sound and ref not in hidden),
        damaged=damaged,
        unlisted={folder or "refs": str(error) for folder, error in unlisted.items()},
    )


def _index_all(
    workspace: Workspace, remote: Store, digests: Sequence[Digest], progress: Progress
) -> dict[Digest, str]:
    """Index these checkpoints of a remote; what is wrong with those that cannot be."""
    problems: dict[Digest, str] = {}
    read = partial(read_one, partial(read_manifest, remote), near=[workspace.store])
    with (
        progress("reading manifests", len(digests)) as task,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for digest, manifest in zip(digests, pool.map(read, digests), strict=True):
            if problem := read_one(_index, manifest, workspace.registry, digest):
                problems[digest] = str(problem)
            task.advance()
    return problems


def _index(manifest: Manifest | Exception, registry: Registry, digest: Digest) -> None:
    if isinstance(manifest, Exception):
        raise manifest
    check_numbers(manifest)
    registry.add_checkpoint(digest, manifest)
    registry.keep_keys(digest, object_keys(manifest), sampled=False)


def _histories(
    workspace: Workspace,
    remote: Store,
    entries: Mapping[Reference, RefEntry],
    before: Mapping[Reference, RemoteRef],
) -> dict[Reference, tuple[Digest, ...]]:
    """What the names that are here, too, and point at something else, were at the remote."""
    here = {ref: digest for ref, digest, _ in workspace.registry.refs()}
    histories: dict[Reference, tuple[Digest, ...]] = {}
    for ref, entry in entries.items():
        known = before.get(ref)
        if known and known.number == entry.number and known.history is not None:
            histories[ref] = known.history
        elif here.get(ref, entry.manifest) != entry.manifest:
            history = read_one(remote.history, ref)
            if not isinstance(history, Exception):  # else it is not known
                digests = [each.manifest for each in history[-REMEMBERED:]]
                histories[ref] = tuple(dict.fromkeys(digests))
    return histories


def _newest(
    remote: Store, refs: Sequence[Reference], progress: Progress
) -> Iterator[tuple[Reference, RefEntry | Exception]]:
    """The newest entry of every name that is not deleted, or why it cannot be read."""
    read = partial(read_one, remote.read_ref)
    with progress("reading names", len(refs)) as task, ThreadPoolExecutor(AT_ONCE) as pool:
        for ref, entry in zip(refs, pool.map(read, refs), strict=True):
            if isinstance(entry, Exception) or (entry is not None and not entry.deleted):
                yield ref, entry
            task.advance()
