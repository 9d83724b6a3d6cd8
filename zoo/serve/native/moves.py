"""Moves: entries of names, as they are sent. What an entry asks for is done as a command in the zoo
would, by who asks and at the server's time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NoReturn

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot
from zoo.errors import Conflict, InvalidManifest, InvalidReference, MissingObject, ZooError
from zoo.serve.http.answer import Answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.adoption import adopt_later
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.quota import check_fits
from zoo.serve.hub.repos import begin_anew, check_made
from zoo.serve.native.keys import Entry
from zoo.store.encoded import absent
from zoo.store.manifests import Document, ancestry_of
from zoo.store.turn import patient_upload

__all__ = ["move"]

LATELY = timedelta(minutes=10)
"""So long after it was made, an entry that is sent again is the same: its answer was lost."""
PUSHED = "push"


def move(ask: Ask, to: Entry, data: bytes) -> Answer:
    """Make the next entry of a name."""
    ref = to.ref
    try:
        wanted = RefEntry.from_bytes(data, to.number)
    except InvalidManifest as error:
        raise Refused("BadRequest", str(error)) from None
    if wanted.deleted:
        ask.hub.reserve.spend(lambda: _move_as(ask, ref, wanted))
    else:
        _move_as(ask, ref, wanted)
    return Answer(status=201)


def _move_as(ask: Ask, ref: Reference, wanted: RefEntry) -> None:
    """Make the next entry of a name as it is asked for, unless it was made already."""
    hub = ask.hub
    with patient_upload(hub.workspace.store), hub.changing():  # from here on nothing is pruned
        now = hub.workspace.store.read_ref(ref)
        if _is_again(ask, wanted, now):
            return
        if wanted.number != (now.number if now else 0) + 1 or (
            wanted.previous != (now.manifest if now else None)
        ):
            raise Refused("Exists", f"{ref} is not where you have seen it: look again")
        try:
            _done(ask, ref, wanted, now)
        except InvalidReference:  # which says what others are called
            raise Refused("BadRequest", f"{ref} cannot be a new name here") from None
        except Conflict:
            raise Refused("Exists", f"{ref} was moved meanwhile: look again") from None
    hub.reach.follow(ref)


def _is_again(ask: Ask, wanted: RefEntry, now: RefEntry | None) -> bool:
    """Whether the newest entry is what was sent: the client did not get the answer."""
    if now is None or now.number != wanted.number or now.by != ask.actor.name:
        return False
    if now.when is None or datetime.now(UTC) - now.when > LATELY:
        return False
    return _contents(wanted) == _contents(now)


def _contents(entry: RefEntry) -> tuple[object, ...]:
    what = entry.manifest, entry.previous, entry.note
    return *what, entry.deleted, entry.protected, entry.deprecated


def _done(ask: Ask, ref: Reference, wanted: RefEntry, now: RefEntry | None) -> None:
    workspace = ask.hub.workspace
    there = now if now and not now.deleted else None
    stays = now is not None and wanted.manifest == now.manifest
    if there and stays and wanted.deleted:
        _delete(ask, ref, there)
    elif there and stays and wanted.protected != there.protected:
        ask.check_move(ref, there, onward=False)  # it keeps others from it
        entry = workspace.protect(ref, on=wanted.protected)
        ask.hub.tell("name protected" if entry.protected else "name unprotected", ref, entry)
    elif there and stays and wanted.deprecated != there.deprecated:
        ask.check_may("force", ref.path)
        entry = workspace.deprecate(ref, wanted.deprecated)
        ask.hub.tell("name deprecated" if entry.deprecated else "name undeprecated", ref, entry)
    elif wanted.deleted or wanted.protected:
        raise Refused("BadRequest", "a name is deleted or protected where it is")
    elif now and stays and not there:
        ask.check_may("force", ref.path)
        if now.renamed:
            raise _moved_away(ask, ref, now.renamed)
        _restore(ask, ref)
    else:
        _move(ask, ref, wanted, there)


def _delete(ask: Ask, ref: Reference, there: RefEntry) -> None:
    ask.check_move(ref, there, onward=False)
    if there.protected:
        raise Refused("Forbidden", f"{ref} is protected: zoo protect --off")
    ask.hub.tell("name deleted", ref, ask.hub.workspace.delete(ref, of=there))


def _moved_away(ask: Ask, ref: Reference, new: Reference) -> Refused:
    """That a name is not restored that another one has by now: there would be two of it, and one of
    them for those who may not read the other.
    """
    text = f"{ref} was given another name: whoever may read that can give it this one again"
    if ask.may("read", new.path):
        text = f"{ref} is called {new} now"
    return Refused("Conflict", text)


def _restore(ask: Ask, ref: Reference) -> None:
    try:
        ask.hub.tell("name restored", ref, ask.hub.workspace.restore(ref))
    except MissingObject:
        raise Refused("Lacking", f"a prune has taken what {ref} pointed at") from None


def _move(ask: Ask, ref: Reference, wanted: RefEntry, there: RefEntry | None) -> None:
    """Point a name at what is there for who asks, and whole."""
    hub, digest = ask.hub, wanted.manifest
    workspace = hub.workspace
    if there and there.protected:
        raise Refused("Forbidden", f"{ref} is protected: zoo protect --off")
    is_new = not hub.exists(ref.path)
    if is_new:
        check_made(ask, ref.path)
    if digest not in hub.reach.there(ask, [digest]):
        _send_again(digest)
    try:
        document = workspace.store.document(digest)
        line = {digest, *ancestry_of(workspace.store, digest)}
    except (ZooError, FileNotFoundError):
        _send_again(digest)
    ask.check_move(ref, there, onward=there is None or there.manifest in line)
    _check_whole(ask, document)
    check_fits(ask, document.objects(), ref.path)

    def check(newest: RefEntry | None) -> None:
        if (newest.number if newest else 0) != wanted.number - 1:
            raise Conflict(f"{ref} has moved")

    if is_new:
        begin_anew(ask, ref.path)
    entry = workspace.move(ref, digest, PUSHED, note=wanted.note, check=check)
    hub.tell("name moved" if there else "name made", ref, entry)
    if isinstance(document, Snapshot):
        adopt_later(hub, ask.actor, ref, digest, document)


def _check_whole(ask: Ask, document: Document) -> None:
    """See that all that is reached from now on is there for who asks, and here."""
    store = ask.hub.workspace.store
    needed = {item for item, _ in document.objects()}
    if isinstance(document, Snapshot) and (inner := document.checkpoint):
        if inner not in ask.hub.reach.there(ask, [inner]) or not store.has_manifest(inner):
            _send_again(inner)
        needed |= {item for item, _ in store.manifest(inner).objects()}
    lacking = needed - ask.hub.reach.there(ask, needed) or absent(store, needed)
    if lacking:
        _send_again(min(lacking))


def _send_again(digest: Digest) -> NoReturn:
    raise Refused("Lacking", f"{digest} is not there for you: send it again")
