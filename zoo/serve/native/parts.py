"""Parts: what is larger than one request is sent in parts, each checked by itself. They lie where
any process finds them, under the key and who sends it: who resumes needs to know nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta

from zoo.contracts import Kind
from zoo.domain.limits import OBJECT_BYTES, REQUEST_BYTES, UPLOAD_PART_BYTES
from zoo.errors import Corrupt
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.sealed import refusing
from zoo.serve.native.keys import Content, content_of
from zoo.serve.native.taking import require_sending, small, staged, take, written
from zoo.store import Store
from zoo.store.sent import FOLDER, clear_folder

__all__ = ["Whole", "complete", "put_part", "sent_parts"]

MOST = OBJECT_BYTES // UPLOAD_PART_BYTES + 1
PART = re.compile(r"\d{1,4}-[0-9a-f]{64}")
PIECE = 256 * 1024


class Whole(msgspec.Struct):
    """The BLAKE3 of each part of an object, in order."""

    parts: Annotated[list[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]], Meta(max_length=MOST)]


def sent_parts(ask: Ask, key: str) -> Answer:
    """Which parts were sent: the number of each, counted from 0, and its BLAKE3."""
    _content(ask, key)
    names = _names(ask.hub.workspace.store, _folder(ask, key))
    return json_answer({"parts": [name for name in names if PART.fullmatch(name)]})


def put_part(ask: Ask, part: str, key: str) -> Answer:
    """A part, which is called by its number and its BLAKE3."""
    _content(ask, key)
    if not PART.fullmatch(part) or int(part.partition("-")[0]) >= MOST:
        raise Refused("BadRequest", "a part is called by its number and its BLAKE3")
    with refusing(), staged(ask) as (name, file):
        actual = written(file, ask.call.pieces, UPLOAD_PART_BYTES)
        if actual != part.partition("-")[2]:
            raise Corrupt("the part", part, actual)
        ask.hub.workspace.store.local.publish(name, f"{_folder(ask, key)}/{part}", over=True)
    return Answer(status=201)


def complete(ask: Ask, key: str) -> Answer:
    """Keep what was sent in parts; they are gone then, also if it is not what it should be."""
    content, folder = _content(ask, key), _folder(ask, key)
    store = ask.hub.workspace.store
    whole = replace(ask.call, body=small(ask.call.pieces, REQUEST_BYTES)).read(Whole)
    names = [f"{at}-{digits}" for at, digits in enumerate(whole.parts)]
    with ask.hub.taking_turns(folder):  # whoever is second finds it done
        if lacking := {*names} - {*_names(store, folder)}:
            if _is_kept(ask, content):  # the answer was lost, or did not come in time
                return Answer(status=201)
            raise Refused("Lacking", f"part {min(lacking)} is not here: send it again")
        try:
            take(ask, content.kind, content.digest, _joined(ask, folder, names))
        except Refused as refused:
            if refused.code != "Busy":
                clear_folder(store, folder)
            raise
        clear_folder(store, folder)
    return Answer(status=201)


def _is_kept(ask: Ask, content: Content) -> bool:
    plain: Kind = "objects" if content.kind in ("objects", "encoded") else "manifests"
    there = ask.hub.reach.there(ask, [content.digest])
    return bool(there) and not ask.hub.workspace.store.missing(plain, [content.digest])


def _names(store: Store, folder: str) -> list[str]:
    return sorted(file.name.rpartition("/")[2] for file in store.backend.list(f"{folder}/"))


def _content(ask: Ask, key: str) -> Content:
    require_sending(ask)
    if content := content_of(key):
        return content
    raise Refused("BadRequest", "only objects and manifests are sent in parts")


def _folder(ask: Ask, key: str) -> str:
    """Where the parts lie: another one for tokens that are for other names."""
    whose = "\0".join((key, *sorted(ask.actor.only)))
    return f"{FOLDER}/{ask.actor.name}/parts-{blake2b(whose.encode(), digest_size=16).hexdigest()}"


def _joined(ask: Ask, folder: str, names: list[str]) -> Iterator[bytes]:
    for name in names:
        with ask.hub.workspace.store.local.file(f"{folder}/{name}") as file:
            yield from iter(partial(file.read, PIECE), b"")
