"""Reading: what is under keys. What is not there and what is not for who asks look the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta

from zoo.domain.limits import ENTRY_BYTES, STAT_KEYS, UPLOAD_PART_BYTES
from zoo.domain.reference import Reference
from zoo.domain.stored import StoredFile
from zoo.errors import DiskFull, InvalidReference, ZooError
from zoo.serve.http.answer import JSON, Answer, Body, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.http.ranges import asked_range, is_known
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import LOOK_SECONDS, sees_all
from zoo.serve.keep.files import Part
from zoo.serve.native.keys import (
    Content,
    Entry,
    content_of,
    entry_of,
    is_raw,
    is_raw_folder,
    repo_of_folder,
    signature_of,
    signed_in,
)
from zoo.serve.native.signatures import seen
from zoo.store import Store
from zoo.store.capabilities import present, read_small
from zoo.store.encoded import encoded_header
from zoo.store.listing import ENCODED_AS, name_of
from zoo.store.manifests import manifest_bytes, manifest_header
from zoo.store.refs import MARKER, entry_name
from zoo.store.signatures import FOLDER

__all__ = ["Keys", "about", "get", "list_folder", "newest", "stat"]

FORMAT = 2
"""That of the store, as clients see it: they may send manifests encoded."""
MARK = f'{{"format": {FORMAT}}}\n'.encode()
SOMETIME = datetime.fromtimestamp(0, UTC)
"""The date of an object or a manifest: its own would tell that somebody had it before."""
STAYS = "private, max-age=31536000, immutable"
ALL = "*/"
"""The folder that has all others."""
OCTETS = {"Content-Type": "application/octet-stream"}


class Keys(msgspec.Struct):
    """What is asked for; ``to`` is the name that a push is to move."""

    keys: Annotated[list[str], Meta(max_length=STAT_KEYS)]
    to: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    """A range of a file of the store, as it is."""

    store: Store
    key: str
    offset: int
    count: int

    def open(self) -> BinaryIO:
        """The file."""
        return self.store.local.file(self.key)

    @property
    def is_at_hand(self) -> bool:
        """Whether it can be opened at once."""
        return self.store.is_at_hand(self.key)

    def read(self) -> Iterator[bytes]:
        """Not asked for: it is in a file."""
        return iter(())


def about(ask: Ask) -> Answer:
    """What this is, for which clients, and whose token it is."""
    actor = ask.actor
    you = {"name": actor.name, "admin": sees_all(actor), "purpose": actor.purpose}
    limits = {"part": UPLOAD_PART_BYTES, "keys": STAT_KEYS}
    now = ask.hub.workspace.store.now().isoformat()
    fields = {"zoo": 1, "format": FORMAT, "limits": limits, "now": now}
    return json_answer({**fields, "you": you if actor.name else None})


def stat(ask: Ask) -> Answer:
    """Size and date of what is there of many keys; with ``to``, if who asks may move that name."""
    asked = ask.call.read(Keys)
    if asked.to:
        _check_movable(ask, asked.to)
    files = _existing_files(ask, asked.keys)
    return json_answer({"stored": [_listed(each) for each in files]})


def _check_movable(ask: Ask, name: str) -> None:
    try:
        ref = Reference.parse(name)
    except InvalidReference as error:
        raise Refused("BadRequest", str(error)) from None
    now = ask.hub.workspace.store.read_ref(ref)
    there = None if now is None or now.deleted else now
    ask.check_move(ref, there, onward=True)  # the least that it takes: more is asked at the end


def get(ask: Ask, key: str) -> Answer:
    """What is under a key, or a range of it; to HEAD, its size."""
    if key == MARKER:
        return Answer(headers=JSON, body=MARK)
    file = next(_existing_files(ask, [key]), None)
    if file is None:
        raise _nothing(ask)
    etag, content = f'"{key.rpartition("/")[2]}"', content_of(key)
    headers = {**OCTETS, "Accept-Ranges": "bytes"}
    if content:
        headers |= {"ETag": etag, "Cache-Control": STAYS}
        if is_known(ask.call.headers, etag):
            return Answer(status=304, headers=headers)
    if ask.call.method == "HEAD":
        return Answer(headers=headers, length=file.bytes)
    span = asked_range(ask.call.headers, file.bytes, etag)
    begin, end = span or (0, file.bytes)
    if span:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{file.bytes}"
    body = _body(ask.hub.workspace.store, key, content, begin, end)
    return Answer(status=206 if span else 200, headers=headers, body=body)


def _body(store: Store, key: str, content: Content | None, begin: int, end: int) -> Body:
    if begin == end:
        return b""
    if content and content.kind == "objects":
        return [Part(store, content.digest, begin, end - begin)]
    if signature := signature_of(StoredFile(key, end, SOMETIME)):
        return signature.read(store)[begin:end]  # that hashes it
    if content and content.kind == "manifests" and not store.backend.stat(key):
        return manifest_bytes(store, content.digest)[begin:end]
    return [_File(store, key, begin, end - begin)]


def list_folder(ask: Ask, folder: str) -> Answer:
    """All that is in a folder and in those below."""
    store, repo = ask.hub.workspace.store, repo_of_folder(folder)
    signed, folder = signed_in(folder), f"{folder.strip('/')}/"
    files: Iterable[StoredFile] = ()
    if signed:
        files = seen(ask, store.backend.list(folder))
    elif repo is None:
        if not sees_all(ask.actor) or (folder != ALL and not is_raw_folder(folder)):
            raise _nothing(ask)
        every = store.backend.list("" if folder == ALL else folder)
        files = (file for file in every if is_raw(file.name) or entry_of(file.name))
    elif not repo or ask.may("read", repo):
        files = _readable(ask, store.backend.list(folder))
        if repo:  # of all names, their entries are not read
            is_of_now = _of_now(ask)
            files = (file for file in files if is_of_now(entry_of(file.name)))
    return json_answer({"stored": [_listed(each) for each in files]})


def _readable(ask: Ask, files: Iterable[StoredFile]) -> Iterator[StoredFile]:
    """The entries among files that are of names that may be read."""
    may_read = cache(partial(ask.may, "read"))
    for file in files:
        entry = entry_of(file.name)
        if entry and may_read(entry.ref.path):
            yield file


def _of_now(ask: Ask) -> Callable[[Entry | None], bool]:
    """Tells whether an entry is of what the name is, and not of another one, which was deleted or
    moved away; its log is for admins. Each name is looked at once: its log may be long.
    """
    first_number = cache(ask.hub.history.first_number)

    def is_of_now(entry: Entry | None) -> bool:
        if entry is None or sees_all(ask.actor):
            return entry is not None
        return entry.number >= first_number(entry.ref)

    return is_of_now


def newest(ask: Ask) -> Answer:
    """The newest entries of all names that may be read, by their keys. What they reach is asked for
    next.
    """
    store, entries = ask.hub.workspace.store, dict[str, str]()
    may_read = cache(partial(ask.may, "read"))
    refs = [ref for ref in store.readable_refs()[0] if may_read(ref.path)]
    for ref in refs:
        key = entry_name(ref, store.newest_number(ref))
        try:
            entries[key] = read_small(store.backend, key, ENTRY_BYTES).decode()
        except (ZooError, OSError, UnicodeDecodeError):
            entries[key] = ""  # it is there, and damaged
    ask.hub.reach.follow_all(refs, within=LOOK_SECONDS)
    return json_answer({"newest": entries})


def _existing_files(ask: Ask, keys: Iterable[str]) -> Iterator[StoredFile]:
    """What is there for who asks of some keys."""
    store, raw, signatures = ask.hub.workspace.store, list[str](), list[str]()
    contents: list[Content] = []
    is_of_now = _of_now(ask)
    for key in keys:
        content, entry = content_of(key), entry_of(key)
        if content and content.kind in ENCODED_AS:
            contents.append(content)
        elif entry and ask.may("read", entry.ref.path):
            with suppress(DiskFull):  # it is done once there is room
                ask.hub.reach.follow(entry.ref)
            if is_of_now(entry):
                raw.append(key)
        elif sees_all(ask.actor) and is_raw(key):
            raw.append(key)
        elif key.startswith(f"{FOLDER}/"):
            signatures.append(key)
    there = ask.hub.reach.there(ask, {each.digest for each in contents}) if contents else set()
    for file in _sizes(store, [each for each in contents if each.digest in there]):
        yield file if sees_all(ask.actor) else replace(file, at=SOMETIME)
    yield from present(store.backend, raw).values()
    if signatures:
        yield from seen(ask, present(store.backend, signatures).values())


def _sizes(store: Store, contents: list[Content]) -> Iterator[StoredFile]:
    """Those that are here, as they are or encoded, with the sizes that they have decoded."""
    keys = {name_of(*each): each for each in contents}
    plain = present(store.backend, keys.keys())
    yield from plain.values()
    left = {
        name_of(ENCODED_AS[each.kind], each.digest): key
        for key, each in keys.items()
        if key not in plain
    }
    for name, file in present(store.backend, left.keys()).items():
        kind, digest = keys[left[name]]
        with suppress(ZooError):  # what cannot be decoded is to be sent again
            header = (encoded_header if kind == "objects" else manifest_header)(store, digest)
            yield StoredFile(left[name], header.size, file.at)


def _nothing(ask: Ask) -> Refused:
    text = "there is nothing under this key, or it is not for you"
    return Refused("NotFound", text if ask.actor.name else f"{text}: a token may help")


def _listed(file: StoredFile) -> tuple[str, int, str]:
    return file.name, file.bytes, file.at.isoformat()
