"""Push to a remote and pull from one, names included."""

from __future__ import annotations

import difflib

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidOption, InvalidReference, UnknownName
from zoo.moves import append_after
from zoo.store import Store
from zoo.transfer.copy import Copied, receive, send
from zoo.transfer.encode import Coding
from zoo.workspace import Workspace

__all__ = ["holder", "pull", "push"]


def push(
    workspace: Workspace,
    name: str,
    to: str,
    *,
    force: bool = False,
    smallest: bool = False,
    progress: Progress = silent,
) -> tuple[Reference, Copied]:
    """Send a checkpoint to a remote and move its name there.

    What changed against a parent that is here and there is sent as the difference; ``smallest``
    takes more time to make it smaller.

    Raises:
        Conflict: The name there points at a checkpoint that this zoo has never had under that
            name, so somebody's work would be hidden; ``force`` moves it all the same.
        UnknownName: No such checkpoint here.
        Unavailable: The remote is not there.
    """
    ref, digest = workspace.resolve(name)
    if ref is None:
        raise InvalidOption(f"push needs a name, not a digest: zoo tag {name} NAME, then push that")
    remote = workspace.remote(to, create=True)
    if not force:
        _check_descends(workspace, remote.read_ref(ref), ref, digest)
    # A folder is as fast as coding what has no base is slow, and can be read without decoding.
    coding = Coding(alone=smallest or not isinstance(remote, Store), smallest=smallest)
    with remote.upload():
        copied = send(workspace.store, remote, digest, progress, coding=coding)
        current = remote.read_ref(ref)
        if not force:  # again: the copy may have taken hours
            _check_descends(workspace, current, ref, digest)
        append_after(remote, current, ref, digest, "push")
    return ref, copied


def pull(
    workspace: Workspace, name: str, source: str, *, progress: Progress = silent
) -> tuple[Reference, Copied]:
    """Bring a checkpoint from a remote and move its name here.

    What is here already is hashed too, and fetched again where it is damaged.

    Raises:
        UnknownName: No such name there; names that are there are suggested.
        InvalidReference: The name is new here, and not every system can hold it.
        Unavailable: The remote is not there.
    """
    ref = workspace.reference(name)
    workspace.store.check_new(ref)
    remote = workspace.remote(source)
    entry = remote.read_ref(ref)
    if entry is None or entry.deleted:
        there = [str(known) for known in remote.refs()]
        raise UnknownName(f"checkpoint in {source}", name, _near(name, there))
    with workspace.store.upload():
        copied = receive(remote, workspace.store, entry.manifest, progress)
        workspace.move(ref, entry.manifest, f"pull from {source}")
    return ref, copied


def holder(workspace: Workspace, name: str) -> str | None:
    """The remote to pull ``name`` from: one that was fetched and has it.

    None if there is none, or if a source publishes something under that name.

    Raises:
        InvalidOption: Several have it, and differ.
    """
    try:
        ref = Reference.parse(name)
    except InvalidReference:
        return None
    if workspace.registry.entry(ref.path):
        return None
    found = workspace.registry.holders(ref)
    if len(set(found.values())) > 1:
        raise InvalidOption(f"{', '.join(found)} have a {ref} each, and they differ: say --from")
    return next(iter(found), None)


def _near(name: str, there: list[str]) -> list[str]:
    return difflib.get_close_matches(name, there, n=4, cutoff=0.3) or there[:4]


def _check_descends(
    workspace: Workspace, current: RefEntry | None, ref: Reference, digest: Digest
) -> None:
    if current is None or current.deleted:
        return
    known = {entry.manifest for entry in workspace.store.history(ref)}
    parents = {parent.manifest for parent in workspace.store.manifest(digest).parents}
    if current.manifest not in known | parents:
        raise Conflict(f"{ref} there is not a version that this zoo knows", str(current.manifest))
