"""Push to a remote and pull from one, names included."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from shlex import quote

from zoo.domain.catalog import OPEN
from zoo.domain.digest import Digest
from zoo.domain.history import PULLED, RefEntry, moved_from
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, InvalidReference, OtherClasses, UnknownName, ZooError
from zoo.reflog import append_after, check_movable
from zoo.store import Store
from zoo.store.capabilities import is_served, present_to
from zoo.store.listing import name_of, read_one
from zoo.store.manifests import ancestry_of, has_all_of, manifest_if_any
from zoo.transfer import signed
from zoo.transfer.ahead import asked_ahead
from zoo.transfer.changes import change_from, check_change
from zoo.transfer.copy import Copied, receive, send
from zoo.transfer.encode import Coding
from zoo.transfer.guard import check_pull, check_push
from zoo.workspace import Workspace

__all__ = ["holder", "lost", "note_there", "present", "pull", "push", "push_all_tags"]


def push(
    workspace: Workspace,
    name: str,
    to: str,
    *,
    save: str | None = None,
    force: bool = False,
    smallest: bool = False,
    note: str = "",
    progress: Progress = silent,
) -> tuple[Reference, Copied]:
    """Send a checkpoint to a remote and move its name there, or the name ``save``.

    What changed against a parent that is here and there is sent as the difference; ``smallest``
    takes more time to make it smaller. The log of the name there keeps the ``note``.

    Raises:
        WouldReplace: The name there points at a checkpoint that this zoo has never had under that
            name, so somebody's work would be hidden; ``force`` moves it all the same.
        OtherClasses: It has no class in common with that, or another task; ``force`` as before.
        Protected: It may not be moved.
        UnknownName: No such checkpoint here.
        Unavailable: The remote is not there.
    """
    ref, digest = workspace.names.target(name)
    if save and ref != Reference.parse(save):
        ref = Reference.parse(save)
        workspace.names.check_free(ref)
    if ref is None:
        raise InvalidOption(f"push needs a name, not a digest: zoo push {name} --as NAME")
    remote = workspace.remotes.connect(to, create=True)
    check = partial(_check_push, workspace.store, remote, ref, digest, to, force=force)
    check(remote.read_ref(ref))
    # A folder is as fast as coding what has no base is slow, and can be read without decoding.
    coding = Coding(alone=smallest or not remote.is_near, smallest=smallest)
    with remote.upload():
        # Only now: what it says is there could be pruned before.
        remote = asked_ahead(remote, workspace.store, digest, ref)
        copied = send(workspace.store, remote, digest, progress, coding=coding)
        signatures = signed.send(workspace.store, remote, ref.path, digest)
        current = remote.read_ref(ref)  # again: the copy may have taken hours
        check(current)
        # The name comes last: who reads it finds all that it leads to.
        entry = append_after(remote, current, ref, digest, "push", note)
    note_there(workspace, to, ref, entry, remote)
    before, manifest = moved_from(current, digest), manifest_if_any(workspace.store, digest)
    change = change_from(remote, before, manifest, [workspace.store])
    moved = _another(workspace, before, copied, remote)
    report = replace(
        copied,
        moved_from=moved,
        change=change,
        deprecated=entry.deprecated,
        signatures=signatures,
    )
    return ref, report


def _check_push(
    store: Store,
    remote: Store,
    ref: Reference,
    digest: Digest,
    to: str,
    there: RefEntry | None,
    *,
    force: bool,
) -> None:
    """See that ``ref``, whose newest entry at a remote is ``there``, may move on to ``digest``; who
    may not move it at all is told that first.
    """
    versions = partial(_versions, remote, ref, store)
    try:
        check_push(store, remote, there, ref, digest, to, versions, force=force)
        if not force:
            after = manifest_if_any(store, digest)
            check_change(remote, there, ref, after, "push", other=to, near=[store])
    except ZooError:
        if is_served(remote.backend):
            present_to(remote.backend, str(ref), [name_of("manifests", digest)])
        raise


def push_all_tags(
    workspace: Workspace,
    name: str,
    to: str,
    *,
    force: bool = False,
    smallest: bool = False,
    note: str = "",
    progress: Progress = silent,
) -> Iterator[tuple[Reference, Copied]]:
    """`push` all that is here as ``name`` and under its tags, one after the other, the name itself
    last.

    Raises as `push`; of what shows before, nothing is sent then, but of names that would answer
    with other classes, which the others do not wait for.
    """
    asked, store = workspace.names.reference(name), workspace.store
    if ":" in name:
        raise InvalidOption(f"all tags are those of a name: {asked.path}, not {name}")
    newest = {ref: store.read_ref(ref) for ref in store.refs() if ref.path == asked.path}
    here = {ref: entry.manifest for ref, entry in newest.items() if entry and not entry.deleted}
    if not here:
        workspace.names.target(name)
    remote = workspace.remotes.connect(to, create=True)
    refused: list[OtherClasses] = []
    for ref, digest in sorted(here.items(), key=lambda item: (item[0] == asked, item[0])):
        try:
            _check_push(store, remote, ref, digest, to, remote.read_ref(ref), force=force)
        except OtherClasses as error:
            del here[ref]
            refused.append(error)
    for ref in sorted(here, key=lambda ref: (ref == asked, ref)):
        yield push(
            workspace, str(ref), to, force=force, smallest=smallest, note=note, progress=progress
        )
    if refused:
        others = ", ".join(error.ref for error in refused[1:])
        refused[0].hint = f"{refused[0].advice}\nnor were sent: {others}" if others else None
        raise refused[0]


def pull(
    workspace: Workspace,
    name: str,
    where: str,
    *,
    save: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> tuple[Reference, Copied]:
    """Bring a checkpoint from a remote and move its name here, or the name ``save``. What is here
    already is hashed too, and fetched again where it is damaged.

    Raises:
        WouldReplace: The name here points at work that the remote never had; ``force`` moves it.
        OtherClasses: It has no class in common with that, or another task; ``force`` as before.
        Unsigned: Nobody whom the user trusts has signed it, and the user's rules want that.
        UnknownName: No such name there; names that are there are suggested.
        InvalidReference: The name is new here, and not every system can hold it.
        Unavailable: The remote is not there.
    """
    ref = workspace.names.reference(name)
    if (target := Reference.parse(save) if save else ref) != ref:
        workspace.names.check_free(target)
    workspace.store.check_new(target)
    remote = workspace.remotes.connect(where)
    store, entry = workspace.store, present(remote, ref, where)
    before: Digest | None = None

    def check(here: RefEntry | None) -> None:
        nonlocal before
        before = moved_from(here, entry.manifest)
        if before is None:
            return
        check_movable(store, target, here)
        if not force:
            versions = partial(_versions, remote, ref, store, entry.manifest)
            check_pull(store, here, target, where, versions)
            after = manifest_if_any(remote, entry.manifest, [store])
            check_change(store, here, target, after, "pull", other=where)

    check(store.read_ref(target))
    signer, bundle = signed.check_signed(workspace, remote, ref.path, target, entry.manifest)
    with store.upload():
        copied = receive(remote, store, entry.manifest, progress)
        signed.bring(remote, store, ref.path, target.path, entry.manifest, bundle)
        # Checked again: the copy may have taken hours.
        workspace.move(target, entry.manifest, f"{PULLED}{where}", check=check)
    note_there(workspace, where, ref, entry, remote)
    change = change_from(store, before, manifest_if_any(store, entry.manifest))
    moved = _another(workspace, before, copied)
    report = replace(copied, moved_from=moved, change=change, deprecated=entry.deprecated)
    return target, replace(report, signed_by=signer)


def _versions(remote: Store, ref: Reference, near: Store, digest: Digest) -> Iterator[Digest]:
    """What a remote had under ``ref``, and the ancestors of ``digest``, which it has now."""
    yield from ancestry_of(remote, digest, [near])
    yield from (entry.manifest for entry in remote.history(ref))


def _another(
    workspace: Workspace, before: Digest | None, copied: Copied, *elsewhere: Store
) -> Digest | None:
    """What a name had before, as users are told of it; None if it was the same checkpoint."""
    shown = before and workspace.shown_digest(before, *elsewhere)
    return None if shown == copied.manifest else shown


def note_there(
    workspace: Workspace, where: str, ref: Reference, entry: RefEntry, remote: Store
) -> RefEntry:
    """Let the index know the newest entry of a name at a remote, unless it holds files only; the
    entry as users are told of it.
    """
    visible = workspace.shown_entry(entry, remote)
    there = read_one(workspace.index.as_checkpoint, replace(entry, manifest=visible.manifest))
    if there is not None:
        workspace.remotes.note(where, ref, there if isinstance(there, RefEntry) else entry)
    return visible


def present(remote: Store, ref: Reference, where: str) -> RefEntry:
    """What ``ref`` points at at the remote that was called ``where``.

    Raises:
        UnknownName: No such name there, or it was deleted; names that are there are suggested.
    """
    entry = remote.read_ref(ref)
    if entry is None:
        names = [str(known) for known in remote.refs()]
        near = difflib.get_close_matches(str(ref), names, n=4, cutoff=0.3) or names[:4]
        login = f"names that not everybody may read need a token: zoo login {remote}"
        hint = login if is_served(remote.backend) and not near else None
        raise UnknownName("checkpoint", str(ref), near, hint, where=where)
    if entry.deleted:
        way = lost(ref, where)
        if entry.renamed:
            hint = f"{entry.by} gave it another name at {entry.at}: zoo pull {entry.renamed}"
            raise UnknownName("checkpoint", str(ref), hint=hint, where=where)
        # A server shows nothing of what is deleted, and says itself what a prune has taken.
        if is_served(remote.backend) or has_all_of(remote, entry.manifest):
            way = f"restore it: zoo delete --restore {ref} --from {quote(where)}"
        hint = f"{entry.by} deleted that name at {entry.at}; {way}"
        raise UnknownName("checkpoint", str(ref), hint=hint, where=where)
    return entry


def lost(ref: Reference, where: str) -> str:
    """What is to be said of a name whose checkpoint a remote does not have any more."""
    return (
        "a prune there has deleted what it pointed at; from a zoo that has it: "
        f"zoo push {ref} --to {quote(where)}"
    )


def holder(workspace: Workspace, name: str) -> str | None:
    """The remote to pull ``name`` from: one that was fetched and has it.

    None if there is none, or if a catalog publishes something under that name. What anybody
    publishes (`OPEN`) hides no remote that the user follows.

    Raises:
        InvalidOption: Several have it, and differ.
    """
    try:
        ref = Reference.parse(name)
    except InvalidReference:
        return None
    entry = workspace.registry.entry(ref.path)
    if entry and not OPEN.issuperset(entry.sources):
        return None
    holders = workspace.registry.holders(ref)
    if len(set(holders.values())) > 1:
        raise InvalidOption(f"{', '.join(holders)} have a {ref} each, and they differ: say --from")
    return next(iter(holders), None)
