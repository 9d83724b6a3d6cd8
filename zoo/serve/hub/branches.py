"""Branches: made and deleted, and tags, which are names that stay where they are."""

from __future__ import annotations

import msgspec

from zoo.domain.history import RefEntry
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import Conflict, InvalidReference
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.history import ID, MAIN, branched

__all__ = [
    "Branch",
    "Tag",
    "branch_ref",
    "create_branch",
    "create_tag",
    "delete_branch",
    "delete_tag",
    "refuse_pull_request",
]


class Branch(msgspec.Struct, rename="camel"):
    """Where a branch is to begin: a revision."""

    starting_point: str | None = None


class Tag(msgspec.Struct):
    """A tag, and why it is made."""

    tag: str
    message: str | None = None


def refuse_pull_request(ask: Ask) -> None:
    """See that what is sent is for a branch."""
    if ask.call.flag("create_pr"):
        raise Refused("NotImplemented", "there are no pull requests here: commit to a branch")


def branch_ref(ask: Ask, revision: str) -> Reference:
    """The name that a branch is in the zoo.

    Raises:
        Refused: No branch can be called so.
    """
    namespace, _, name = ask.repo.partition("/")
    try:
        return Reference(namespace, name, DEFAULT_TAG if revision == MAIN else revision)
    except InvalidReference:
        raise Refused(
            "BadRequest",
            f"'{revision:.200}' cannot be a branch here: letters, digits, '.', '_' and '-'",
        ) from None


def create_branch(ask: Ask, branch: str) -> Answer:
    """Make a branch of what another one has, or of a commit."""
    start = ask.call.read(Branch).starting_point if ask.call.body else None
    _make(ask, branch, start or MAIN)
    return json_answer({})


def create_tag(ask: Ask, revision: str) -> Answer:
    """Give a commit a name that stays where it is."""
    wanted = ask.call.read(Tag)
    ref = _make(ask, wanted.tag, revision, wanted.message or "")
    ask.hub.tell("name protected", ref, ask.hub.workspace.protect(ref, on=True))
    return json_answer({})


def delete_branch(ask: Ask, branch: str) -> Answer:
    """Delete a branch, but for the main one."""
    if branch_ref(ask, branch).tag == DEFAULT_TAG:
        raise Refused("Forbidden", f"'{branch}' is what clients ask for first: it stays")
    _delete(ask, branch, fixed=False)
    return json_answer({})


def delete_tag(ask: Ask, tag: str) -> Answer:
    """Delete a tag."""
    _delete(ask, tag, fixed=True)
    return json_answer({})


def _make(ask: Ask, name: str, revision: str, message: str = "") -> Reference:
    history, workspace = ask.hub.history, ask.hub.workspace
    ref = branch_ref(ask, name)
    if ID.fullmatch(name):
        raise Refused("BadRequest", "a name of 40 hex digits would be taken for a commit")
    there = Refused("Conflict", f"there is a branch or tag '{name}' already")

    def check(newest: RefEntry | None) -> None:
        if newest and not newest.deleted:
            raise there

    if name == MAIN or history.version(ask.repo, name) or ref.tag == DEFAULT_TAG:
        raise there
    commit = ask.commit(revision)
    ask.check_here(commit.manifest)
    ask.check_move(ref, None, onward=True)
    try:
        with ask.hub.changing():
            ask.check_there()
            entry = workspace.move(
                ref, commit.manifest, branched(commit), note=message, check=check
            )
    except InvalidReference as error:
        raise Refused("BadRequest", f"{ref} cannot be a new name here: {error}") from None
    ask.hub.tell("name made", ref, entry)
    return ref


def _delete(ask: Ask, name: str, *, fixed: bool) -> None:
    version, workspace = ask.hub.history.version(ask.repo, name), ask.hub.workspace
    if version is None or version.fixed != fixed:
        what = "tag" if fixed else "branch"
        raise Refused("RevisionNotFound", f"there is no {what} '{name:.200}'")
    entry = version.entry
    ask.check_move(version.ref, entry, onward=False)
    try:
        if fixed:
            entry = workspace.protect(version.ref, on=False)
        gone = workspace.delete(version.ref, of=entry)
    except Conflict:
        raise Refused("Conflict", f"'{name}' was moved meanwhile: look again") from None
    ask.hub.tell("name deleted", version.ref, gone)
