"""Fetch: learn what a remote has, without its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from zoo.errors import UnknownName, ZooError
from zoo.registry import RemoteRef
from zoo.remotes import location_of
from zoo.store import Store
from zoo.store.listing import is_below, read_one
from zoo.store.manifests import read_document, read_manifest
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
        remote: Its short name; its location where it has none.
        refs: Its names, deleted ones left out, and what they point at.
        new: Checkpoints of these that were not known here.
        added: Names that it did not have when it was fetched before, but for those that are the
            same here.
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
    """Index the names of the remote called ``name``, or at that location, and the checkpoints that
    they point at.

    Only manifests that are not known here are read. What has no short name is known by its
    location.

    Raises:
        UnknownName: No remote has that short name.
        InvalidOption: The location holds credentials, or is one of the model hub.
        Unavailable: It does not answer; what was known of it stays.
    """
    asked, named = name, workspace.remotes.all()
    if (known := workspace.remotes.name_of(asked, named)) is None and is_word(asked):
        hint = "zoo remote lists them; a name for another one: zoo remote add NAME LOCATION"
        raise UnknownName("remote", asked, sorted(named), hint)
    name = known or location_of(asked)
    remote, registry = workspace.remotes.connect(name), workspace.registry
    newest, unlisted = _newest(remote, progress)
    entries = {ref: entry for ref, entry in newest.items() if isinstance(entry, RefEntry)}
    new = registry.unknown({entry.manifest for entry in entries.values()})
    there, fresh, problems = _index_all(workspace, remote, sorted(new), progress)
    sound, damaged = _sound(entries, there, problems)
    damaged |= {ref: str(error) for ref, error in newest.items() if ref not in entries}
    before = registry.remote_refs(name)
    here = {ref: digest for ref, digest, _ in registry.refs()}
    registry.replace_remote(name, sound, _histories(workspace, remote, sound, before))
    # What cannot be read now is not gone.
    hidden = {ref for ref in before if is_below(f"{ref.path}/{ref.tag}", unlisted)} | damaged.keys()
    return Fetched(
        remote=name,
        refs={ref: entry.manifest for ref, entry in sound.items()},
        new=frozenset(fresh),
        added=tuple(
            ref for ref in sound if ref not in before and here.get(ref) != sound[ref].manifest
        ),
        moved={
            ref: (before[ref].manifest, entry.manifest)
            for ref, entry in sound.items()
            if ref in before and before[ref].manifest != entry.manifest
        },
        gone=tuple(ref for ref in before if ref not in sound and ref not in hidden),
        damaged=damaged,
        unlisted={folder or "refs": str(error) for folder, error in unlisted.items()},
    )


def _sound(
    entries: Mapping[Reference, RefEntry],
    there: Mapping[Digest, Digest | None],
    problems: Mapping[Digest, str],
) -> tuple[dict[Reference, RefEntry], dict[Reference, str]]:
    """The names whose checkpoints can be read, at these; and what is wrong with the others'."""
    damaged = {
        ref: problems[entry.manifest]
        for ref, entry in entries.items()
        if entry.manifest in problems
    }
    sound = {
        ref: replace(entry, manifest=digest)
        for ref, entry in entries.items()
        if ref not in damaged and (digest := there.get(entry.manifest, entry.manifest))
    }
    return sound, damaged


def _index_all(
    workspace: Workspace, remote: Store, digests: Sequence[Digest], progress: Progress
) -> tuple[dict[Digest, Digest | None], set[Digest], dict[Digest, str]]:
    """Index these checkpoints of a remote, and those of these snapshots.

    Returns:
        The checkpoint of each, None of a snapshot that has none; those that were not indexed yet:
        a snapshot may be of a known one; and what is wrong with those that cannot be.
    """
    there: dict[Digest, Digest | None] = {}
    fresh: set[Digest] = set()
    problems: dict[Digest, str] = {}
    read = partial(read_one, partial(_read, remote, workspace.store))
    with (
        progress("reading manifests", len(digests)) as task,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for digest, result in zip(digests, pool.map(read, digests), strict=True):
            inner = result[0] if isinstance(result, tuple) else digest
            known = inner != digest and not workspace.registry.unknown([inner])
            if problem := read_one(_index, result, workspace.registry):
                problems[digest] = str(problem)
            elif not isinstance(result, Exception):
                there[digest] = result[0] if result else None
                fresh |= {result[0]} if result and not known else set()
            task.advance()
    return there, fresh, problems


def _read(remote: Store, near: Store, digest: Digest) -> tuple[Digest, Manifest] | None:
    """The checkpoint that a name has which points at ``digest`` at a remote, if it has one."""
    document = read_document(remote, digest, [near])
    if isinstance(document, Manifest):
        return digest, document
    inner = document.checkpoint
    return None if inner is None else (inner, read_manifest(remote, inner, [near]))


def _index(result: tuple[Digest, Manifest] | Exception | None, registry: Registry) -> None:
    if isinstance(result, Exception):
        raise result
    if result is None:
        return
    digest, manifest = result
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
    remote: Store, progress: Progress
) -> tuple[dict[Reference, RefEntry | Exception], dict[str, ZooError]]:
    """The newest entry of every name that is not deleted, or why it cannot be read; and the folders
    of names that cannot be listed.
    """
    entries: Mapping[Reference, RefEntry | Exception | None] | None = remote.newest_entries()
    unlisted: dict[str, ZooError] = {}
    if entries is None:
        refs, unlisted = remote.readable_refs()
        entries = dict(_read_each(remote, refs, progress))
    there = {
        ref: entry
        for ref, entry in entries.items()
        if entry is not None and not (isinstance(entry, RefEntry) and entry.deleted)
    }
    return there, unlisted


def _read_each(
    remote: Store, refs: Sequence[Reference], progress: Progress
) -> Iterator[tuple[Reference, RefEntry | Exception | None]]:
    read = partial(read_one, remote.read_ref)
    with progress("reading names", len(refs)) as task, ThreadPoolExecutor(AT_ONCE) as pool:
        for ref, entry in zip(refs, pool.map(read, refs), strict=True):
            yield ref, entry
            task.advance()
