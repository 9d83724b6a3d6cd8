"""Commit: files of a repository are added and deleted, all of a commit at once."""

from __future__ import annotations

import logging
import random
import time
from datetime import UTC, datetime, timedelta

import msgspec

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.domain.snapshot import Snapshot
from zoo.errors import (
    Conflict,
    InvalidManifest,
    InvalidReference,
    MissingObject,
    Protected,
    ZooError,
)
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.adoption import adopt_later
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.blobs import TIDIED
from zoo.serve.hub.branches import branch_ref, refuse_pull_request
from zoo.serve.hub.commit_tree import kept_checkpoint, tree_of
from zoo.serve.hub.hints import FileToSend, keep_plan
from zoo.serve.hub.operations import Deletion, Operations, Tree, applied, read_operations
from zoo.serve.hub.quota import check_fits
from zoo.serve.hub.remarks import remarks
from zoo.serve.keep.front import front_matter
from zoo.serve.keep.history import SENT, Commit, Version
from zoo.serve.keep.view import is_large
from zoo.store.encoded import absent
from zoo.store.turn import patient_upload

__all__ = ["Card", "CommitPlan", "commit", "preupload", "validate_yaml"]

LOG = logging.getLogger("zoo.serve")
TRIES = 30
"""A name that others keep moving is tried to be moved so often."""
LONGEST = 0.1
"""Seconds until it is tried again."""
LATELY = timedelta(minutes=10)
"""So long after it was made, a commit that is sent again is the same: its answer was lost."""
SHORTEST = 7
"""Digits of a parent that clients may send."""


class Card(msgspec.Struct):
    """The text of a README."""

    content: str


class CommitPlan(msgspec.Struct):
    """What a client is about to commit."""

    files: list[FileToSend]


class _Moved(Exception):
    """The branch is not where it was."""


def validate_yaml(ask: Ask) -> Answer:
    """Whether the front of a README can be read; clients ask before they send one."""
    try:
        front_matter(ask.call.read(Card).content)
    except ValueError as error:
        text = f"the front of README.md cannot be read: {error}"
        refused = Refused("BadRequest", text)
        body = {"error": text, "errors": [{"message": text}], "warnings": []}
        return Answer(status=400, headers=refused.answer().headers, body=msgspec.json.encode(body))
    return json_answer({"errors": [], "warnings": []})


def preupload(ask: Ask, revision: str) -> Answer:
    """How each file is to be sent, and what is there already under its path."""
    refuse_pull_request(ask)
    _, version = _branch(ask, revision)
    line = ask.hub.history.commits(version, ask.patience) if version else ()
    known = {file.path: file.etag for file in ask.view(line[0]).files} if line else {}
    planned = ask.call.read(CommitPlan).files
    keep_plan(ask, planned)
    return json_answer(
        {
            "files": [
                {
                    "path": file.path,
                    "uploadMode": "lfs" if is_large(file.path, file.size) else "regular",
                    "shouldIgnore": False,
                    **({"oid": known[file.path]} if file.path in known else {}),
                }
                for file in planned
            ]
        }
    )


def commit(ask: Ask, revision: str) -> Answer:
    """Add and delete files. The branch moves only if it is where the client has seen it."""
    refuse_pull_request(ask)
    _, began = _branch(ask, revision)  # before anything is read
    blobs = ask.hub.blobs
    sent = read_operations(
        ask.call.pieces,
        add=lambda data: blobs.add(data, ask),
        find=lambda sha256: blobs.find(sha256, ask),
    )
    for _ in range(TRIES):
        try:
            if all(isinstance(each, Deletion) for each in sent.each):
                done = ask.hub.reserve.spend(lambda: _committed(ask, revision, sent, began))
            else:
                done = _committed(ask, revision, sent, began)
        except _Moved:
            time.sleep(random.uniform(0, LONGEST))  # noqa: S311 - so that not all come back at once
            continue
        url = f"{ask.call.base}/{ask.repo}/commit/{done.id}"
        body = {"success": True, "commitOid": done.id, "commitUrl": url}
        return json_answer(body, headers=remarks(ask, done, sent.each))
    raise Refused("Conflict", f"others keep moving {revision}; try again")


def _branch(ask: Ask, revision: str) -> tuple[Reference, Version | None]:
    """The name that a branch is, which has no version before anything was committed.

    Raises:
        Refused: There is no such branch, or it is a tag, or who asks may not move it.
    """
    version = ask.hub.history.version(ask.repo, revision)
    ref = version.ref if version else branch_ref(ask, revision)
    if version is None and ref.tag != DEFAULT_TAG:
        ask.commit(revision)  # which says what there is
        raise Refused("BadRequest", f"'{revision:.200}' is no branch")
    ask.check_move(ref, version.entry if version else None, onward=True)
    return ref, version


def _committed(ask: Ask, revision: str, sent: Operations, began: Version | None) -> Commit:
    """What a commit makes of a branch, which was at ``began`` when it began to come; what it made
    already, if it was sent before.

    Raises:
        Refused: It does not fit what is there.
        _Moved: Somebody was faster.
    """
    history, store = ask.hub.history, ask.hub.workspace.store
    ref, version = _branch(ask, revision)
    if began and not version:
        raise _refused_as_moved(ref)
    line = history.commits(version, ask.patience) if version else ()
    if line and _is_again(ask, sent, line):
        return line[0]
    head = line[0] if line else None
    if sent.parent and not _is_parent(sent.parent, head):
        now = f"it is at {head.id}" if head else "it has no commits"
        raise Refused("Moved", f"{revision} is not at {sent.parent:.40} any more: {now}")
    with patient_upload(store):
        before = tree_of(ask, head)
        after = applied(sent.each, before)
        if head and after == before:
            return head
        _check_adds(ask, before, after)
        _check_here(ask, after)
        snapshot = Snapshot.of(after.values(), kept_checkpoint(ask, head, before, after))
        check_fits(ask, snapshot.objects())  # first: what is counted here, others need not wait for
        digest = _put_snapshot(ask, snapshot)
        number = _move(ask, ref, version, digest, sent.message, snapshot).number
    adopt_later(ask.hub, ask.actor, ref, digest, snapshot)
    moved = history.version_of(ref)
    after_it = history.commits(moved, ask.patience) if moved else ()
    mine = [each for each in after_it if each.ref == ref and each.number >= number]
    if not mine:
        raise _refused_as_moved(ref)
    return mine[-1]


def _refused_as_moved(ref: Reference) -> Refused:
    return Refused("Conflict", f"{ref} was deleted or moved meanwhile: look again")


def _is_parent(commit_id: str, head: Commit | None) -> bool:
    return bool(head and len(commit_id) >= SHORTEST and head.id.startswith(commit_id.lower()))


def _is_again(ask: Ask, sent: Operations, line: tuple[Commit, ...]) -> bool:
    """Whether the newest commit is what was sent: the client did not get the answer."""
    head, parent = line[0], line[1] if len(line) > 1 else None
    if head.author != ask.actor.name or head.text != sent.message:
        return False
    if datetime.now(UTC) - head.at > LATELY or (
        sent.parent and not _is_parent(sent.parent, parent)
    ):
        return False
    try:
        return applied(sent.each, tree_of(ask, parent)) == tree_of(ask, head)
    except (Refused, MissingObject):  # a prune may take what the parent was
        return False


def _check_adds(ask: Ask, before: Tree, after: Tree) -> None:
    """See that a token to append deletes no file. A new version of one is a version more."""
    gone = before.keys() - after.keys()
    if gone and ask.actor.purpose == "append":
        text = f"'{min(gone)}' would be deleted: this token is to append, that needs one to write"
        raise Refused("Forbidden", text)


def _check_here(ask: Ask, files: Tree) -> None:
    """See that no prune has taken what was here when it was looked for."""
    needed = [item for item, _ in Snapshot.of(files.values()).objects()]
    if absent(ask.hub.workspace.store, needed):
        raise Refused("Busy", TIDIED)


def _put_snapshot(ask: Ask, snapshot: Snapshot) -> Digest:
    data = snapshot.to_bytes()
    try:
        Snapshot.from_bytes(data)  # nobody could read it, or prune, if it broke the format
    except InvalidManifest as error:
        raise Refused("BadRequest", f"there cannot be such files: {error}") from None
    return ask.hub.workspace.store.put("manifests", data)


def _move(
    ask: Ask,
    ref: Reference,
    version: Version | None,
    digest: Digest,
    message: str,
    snapshot: Snapshot,
) -> RefEntry:
    """Point a branch at a snapshot, if it is still where it was, and its namespace has room."""
    workspace = ask.hub.workspace

    def check(newest: RefEntry | None) -> None:
        there = None if newest is None or newest.deleted else newest
        if there != (version.entry if version else None):
            raise _Moved

    try:
        with ask.hub.changing():
            if version is None:
                ask.check_there()
            check_fits(ask, snapshot.objects())  # again: several may have found the same room
            entry = workspace.move(ref, digest, SENT, note=message, check=check)
    except InvalidReference as error:
        raise Refused("BadRequest", f"{ref} cannot be a new name here: {error}") from None
    except Protected:
        raise Refused("Forbidden", f"{ref} is protected") from None
    except Conflict:
        raise _Moved from None
    ask.hub.tell("name moved" if version else "name made", ref, entry)
    try:
        workspace.index.put(ref, entry)
    except ZooError as error:
        LOG.warning("%s has moved, but is not indexed yet: %s", ref, error)
    return entry
