"""Writing: what is put under keys, and deleted."""

from __future__ import annotations

from zoo.domain.limits import ENTRY_BYTES, SIGN_BYTES
from zoo.domain.stored import StoredFile
from zoo.serve.http.answer import Answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all
from zoo.serve.native.keys import content_of, entry_of, is_raw, signature_of
from zoo.serve.native.moves import move
from zoo.serve.native.reading import SOMETIME
from zoo.serve.native.signatures import put_signature
from zoo.serve.native.taking import small, take
from zoo.store.capabilities import touch
from zoo.store.disk import STAGING

__all__ = ["delete", "put"]

SCRATCH = (f"{STAGING}/", "pruned/")
"""What begins so need not last: signs of who prunes or sends, and what a prune has deleted."""


def put(ask: Ask, key: str) -> Answer:
    """Keep something under a key; with ``If-None-Match: *``, unless something is there."""
    first = ask.call.headers.get("if-none-match", "") == "*"
    if content := content_of(key):
        take(ask, content.kind, content.digest, ask.call.pieces)
    elif entry := entry_of(key):
        ask.check_may("write", entry.ref.path)
        if not first:
            raise Refused("BadRequest", "an entry of a name is made once: If-None-Match: *")
        return move(ask, entry, small(ask.call.pieces, ENTRY_BYTES))
    elif signature := signature_of(StoredFile(key, 0, SOMETIME)):
        put_signature(ask, signature, ask.call.pieces)
    else:
        _put_raw(ask, key, first=first)
    return Answer(status=201)


def _put_raw(ask: Ask, key: str, *, first: bool) -> None:
    backend = ask.hub.workspace.store.backend
    _require_raw(ask, key)
    data = small(ask.call.pieces, SIGN_BYTES)
    if first:
        if not backend.create(key, data):
            raise Refused("Exists")
    elif key.startswith(SCRATCH):
        touch(backend, key, data)  # a prune makes room: it can have these on a full disk, too
    else:
        backend.put(key, [data])


def delete(ask: Ask, key: str) -> Answer:
    """Delete what is under a key, if anything is."""
    _require_raw(ask, key)
    ask.hub.workspace.store.backend.delete(key)
    return Answer(status=204)


def _require_raw(ask: Ask, key: str) -> None:
    if not sees_all(ask.actor):
        raise Refused("Forbidden", "that is for admins, with a token for all")
    if ask.actor.purpose != "write":
        raise Refused("Forbidden", "that needs a token to write")
    if not is_raw(key):
        raise Refused("BadRequest", "nothing can be kept or deleted under this key")
