"""LFS: large files as clients of Git LFS send them, in one piece or in parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from secrets import token_hex
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from zoo.domain.limits import UPLOADED_FILE_BYTES
from zoo.errors import Corrupt, disk_errors
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.quota import check_size
from zoo.serve.hub.sealed import opened, refusing, sealed
from zoo.serve.who.seals import Seal
from zoo.store.sent import clear_folder

__all__ = ["PART_BYTES", "Batch", "File", "batch", "complete", "put", "put_part", "verify"]

OID = "^[0-9a-f]{64}$"
MOST_FILES, MOST_PARTS = 1000, 10_000
"""In one answer; of a file whose parts would be more, one piece is asked for."""
PART_BYTES = 64 << 20
PIECE = 256 * 1024
TYPE = {"Content-Type": "application/vnd.git-lfs+json"}


class File(msgspec.Struct, frozen=True):
    """A file that a client has."""

    oid: Annotated[str, Meta(pattern=OID)]
    size: Annotated[int, Meta(ge=0)]


class Batch(msgspec.Struct, frozen=True):
    """What a client wants to do with some files."""

    operation: str
    objects: Annotated[list[File], Meta(max_length=MOST_FILES)]
    transfers: list[str] = []
    hash_algo: str = "sha256"


# Here, by one thread: what msgspec knows of a class it finds out when it first meets it.
with suppress(msgspec.ValidationError):
    msgspec.json.decode(b"{}", type=Batch)


def batch(ask: Ask) -> Answer:
    """Where to send files that are not there yet."""
    asked = ask.call.read(Batch)
    if asked.operation != "upload":
        raise Refused("NotImplemented", "files are downloaded from their own addresses")
    if asked.hash_algo != "sha256":
        raise Refused("BadRequest", "files are told apart by their SHA-256 here")
    left, objects = MOST_PARTS, []
    for file in asked.objects:
        parts = -(-file.size // PART_BYTES)
        in_parts = "multipart" in asked.transfers and 1 < parts <= left
        left -= parts if in_parts else 0
        objects.append(_lfs_object(ask, file, parts if in_parts else 0))
    # Clients look at each file; those that do not can send all in one piece.
    whole = all("chunk_size" not in str(each.get("actions")) for each in objects)
    answer = json_answer({"transfer": "basic" if whole else "multipart", "objects": objects})
    return Answer(headers=TYPE, body=answer.body)


def _lfs_object(ask: Ask, file: File, parts: int) -> dict[str, object]:
    entry: dict[str, object] = {"oid": file.oid, "size": file.size}
    if file.size > UPLOADED_FILE_BYTES:
        most = f"a file has at most {UPLOADED_FILE_BYTES} bytes here"
        return {**entry, "error": {"code": 413, "message": most}}
    if there := ask.hub.blobs.find(file.oid, ask):
        wrong = {"code": 422, "message": f"the file of that SHA-256 has {there.size} bytes"}
        return entry if there.size == file.size else {**entry, "error": wrong}
    try:
        check_size(ask, file.size)
    except Refused as refused:
        return {**entry, "error": {"code": refused.status, "message": refused.message}}
    upload = token_hex(8)
    verify = {"href": f"{ask.call.base}/{ask.repo}.git/info/lfs/objects/verify"}

    def at(where: str, what: str) -> str:
        text, _ = sealed(ask, what, file.oid, size=file.size, upload=upload)
        return f"{ask.call.base}/lfs/{where}/{file.oid}?{urlencode({'seal': text})}"

    send: dict[str, object] = {"href": at("objects", "lfs")}
    if parts:
        part = at("parts", "lfs part")
        urls = {str(n): part.replace("?", f"/{n}?") for n in range(1, parts + 1)}
        send = {
            "href": at("complete", "lfs complete"),
            "header": {"chunk_size": str(PART_BYTES), **urls},
        }
    return {**entry, "actions": {"upload": send, "verify": verify}}


def put(ask: Ask, oid: str) -> Answer:
    """A file, in one piece."""
    ask, seal = _opened(ask, "lfs", oid)
    _keep(ask, seal, ask.call.pieces)
    return Answer()


def put_part(ask: Ask, oid: str, number: str) -> Answer:
    """A part of a file."""
    ask, seal = _opened(ask, "lfs part", oid)
    expected = _part_bytes(seal, number)
    store, folder = ask.hub.workspace.store, _folder(ask, seal)
    disk = store.disk
    staged = f"{folder}/{token_hex(8)}"
    try:
        with refusing(), disk_errors(disk.root), disk.make(staged) as file:
            for piece in ask.call.pieces:
                file.write(piece)
                if file.tell() > expected:
                    raise Corrupt("the part", f"{expected} bytes", "more")
            if file.tell() != expected:
                raise Corrupt("the part", f"{expected} bytes", f"{file.tell()}")
        store.local.publish(staged, f"{folder}/{number}", over=True)
    finally:
        disk.remove(staged)
    return Answer(headers={"ETag": f'"{oid}-{number}"'})


def complete(ask: Ask, oid: str) -> Answer:
    """That all parts of a file were sent."""
    ask, seal = _opened(ask, "lfs complete", oid)
    if not ask.hub.blobs.find(oid, ask):  # else the answer to this was lost
        _keep(ask, seal, _joined(ask, seal))
    clear_folder(ask.hub.workspace.store, _folder(ask, seal))
    return Answer()


def verify(ask: Ask) -> Answer:
    """Whether a file is there."""
    file = ask.call.read(File)
    there = ask.hub.blobs.find(file.oid, ask)
    if there is None or there.size != file.size:
        raise Refused("EntryNotFound", "no such file was sent")
    return Answer()


def _opened(ask: Ask, what: str, oid: str) -> tuple[Ask, Seal]:
    return opened(ask, ask.call.query.get("seal", ""), what, oid)


def _keep(ask: Ask, seal: Seal, pieces: Iterable[bytes]) -> None:
    with refusing():
        ask.hub.blobs.receive(ask, pieces, seal.size, seal.of)


def _folder(ask: Ask, seal: Seal) -> str:
    return ask.hub.blobs.folder(ask.actor.name, f"lfs-{seal.upload}")


def _part_bytes(seal: Seal, number: str) -> int:
    """The size of a part of a file."""
    parts = -(-seal.size // PART_BYTES)
    if not re.fullmatch("[1-9][0-9]{0,5}", number) or int(number) > parts:
        raise Refused("BadRequest", f"the file has {parts} parts")
    return min(PART_BYTES, seal.size - PART_BYTES * (int(number) - 1))


def _joined(ask: Ask, seal: Seal) -> Iterator[bytes]:
    store, folder = ask.hub.workspace.store, _folder(ask, seal)
    for number in range(1, -(-seal.size // PART_BYTES) + 1):
        try:
            file = store.local.file(f"{folder}/{number}")
        except FileNotFoundError:
            raise Corrupt("the file", f"part {number}", "none") from None
        with file:
            while piece := file.read(PIECE):
                yield piece
