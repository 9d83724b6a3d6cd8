"""Answer: a status, headers, and a body that may lie in many files; and how it is sent."""

from __future__ import annotations

import os
from asyncio import wrap_future
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from typing import BinaryIO, Protocol

import msgspec
from starlette.concurrency import iterate_in_threadpool
from starlette.types import Send

from zoo.errors import Corrupt

__all__ = [
    "JSON",
    "NO_STORE",
    "ZERO_COPY",
    "Answer",
    "Body",
    "Piece",
    "json_answer",
    "send_answer",
    "text_answer",
]

ZERO_COPY = "http.response.zerocopysend"
"""ASGI's extension by which a file goes to the socket without passing through this process."""
JSON = {"Content-Type": "application/json"}
NO_STORE = {"Cache-Control": "no-store"}
"""Of what nobody on the way is to keep."""
SMALL = 64 * 1024
"""Bytes of a piece that are read and joined with its neighbors: a call each would cost more."""
CHUNK = 256 * 1024
AHEAD = 8
FETCHING = ThreadPoolExecutor(2 * AHEAD, "fetching")
"""What fetches files from another machine: those that are next come together."""
OPEN = 16
"""Files that stay open while an answer is sent: small tensors of one object come again."""


class Piece(Protocol):
    """Bytes of a body: ``count`` of them from ``offset`` on of the file ``key``."""

    @property
    def key(self) -> str:
        """What tells the file from others."""

    @property
    def offset(self) -> int:
        """Where the bytes begin in the file."""

    @property
    def count(self) -> int:
        """How many they are."""

    @property
    def is_at_hand(self) -> bool:
        """Whether it can be opened at once."""

    def open(self) -> BinaryIO | None:
        """The file; None if the bytes are in none as they are."""

    def read(self) -> Iterator[bytes | memoryview]:
        """The bytes, where they are in no file."""


Body = bytes | Sequence[Piece]
"""Bytes, or the pieces that they are in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered.

    Attributes:
        status: The HTTP status.
        headers: The headers, ``Content-Length`` left out.
        body: The bytes, or the pieces that they are in.
        length: Bytes of the body, where it is left out: to HEAD none is sent.
        code: For logs, what kind of refusal it is.
        message: For people, why it is refused.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    length: int | None = None
    code: str = ""
    message: str = ""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        if self.length is not None:
            return self.length
        if isinstance(self.body, bytes):
            return len(self.body)
        return sum(piece.count for piece in self.body)


def json_answer(data: object, status: int = 200, headers: Mapping[str, str] = JSON) -> Answer:
    """An answer in JSON."""
    return Answer(status=status, headers={**JSON, **headers}, body=msgspec.json.encode(data))


def text_answer(text: str) -> Answer:
    """An answer in plain text."""
    return Answer(headers={"Content-Type": "text/plain; charset=utf-8"}, body=text.encode())


async def send_answer(answer: Answer, send: Send, *, head: bool, zero_copy: bool) -> None:
    """Send an answer; of one to HEAD, all but the body."""
    headers = {**answer.headers}
    if answer.status != 304:  # it has none, and may not say how long the other one would be
        headers["Content-Length"] = str(answer.size)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if isinstance(answer.body, bytes) or head:
        body = b"" if head else answer.body
        await send({"type": "http.response.body", "body": body})
        return
    with closing(_Opened()) as opened:
        await _send_pieces(answer.body, opened, send, zero_copy=zero_copy)


async def _send_pieces(
    pieces: Sequence[Piece], opened: _Opened, send: Send, *, zero_copy: bool
) -> None:
    joined = bytearray()

    async def flush(*, more: bool) -> None:
        if joined or not more:
            message = {"type": "http.response.body", "body": bytes(joined), "more_body": more}
            joined.clear()
            await send(message)

    for at, piece in enumerate(pieces):
        file = await opened.file(piece, pieces[at + 1 : at + AHEAD])
        if file and piece.count < SMALL:
            joined += _read(file, piece)
            if len(joined) >= CHUNK:
                await flush(more=True)
            continue
        await flush(more=True)
        if file and zero_copy:
            span = {"file": file, "offset": piece.offset, "count": piece.count}
            await send({"type": ZERO_COPY, **span, "more_body": True})
            continue
        async for part in iterate_in_threadpool(_mapped(file, piece) if file else piece.read()):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await flush(more=False)


def _close(coming: Future[BinaryIO | None]) -> None:
    """Close a file that has come for nobody."""
    if not coming.cancelled() and coming.exception() is None and (file := coming.result()):
        file.close()


def _read(file: BinaryIO, piece: Piece) -> bytes:
    data = os.pread(file.fileno(), piece.count, piece.offset)
    if len(data) < piece.count:
        raise Corrupt(piece.key, f"{piece.count - len(data)} bytes more", "its end")
    return data


def _mapped(file: BinaryIO, piece: Piece) -> Iterator[memoryview]:
    view = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    end = piece.offset + piece.count
    if len(view) < end:
        raise Corrupt(piece.key, f"{end - len(view)} bytes more", "its end")
    for begin in range(piece.offset, end, CHUNK):
        yield view[begin : min(begin + CHUNK, end)]


class _Opened:
    """The files that were opened last, and those that come from another machine."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, BinaryIO] = OrderedDict()
        self._coming: dict[str, Future[BinaryIO | None]] = {}

    def close(self) -> None:
        """Close them."""
        for file in self._files.values():
            file.close()
        for coming in self._coming.values():
            if not coming.cancel():
                coming.add_done_callback(_close)

    async def file(self, piece: Piece, later: Sequence[Piece]) -> BinaryIO | None:
        """The file of a piece; None if there is none. Meanwhile those of ``later`` ones come."""
        file = self._files.get(piece.key)
        if file is None and piece.key not in self._coming and piece.is_at_hand:
            file = piece.open()
        elif file is None:
            for each in (piece, *later):
                known = each.key in self._files or each.key in self._coming
                if not known and (each is piece or not each.is_at_hand):
                    self._coming[each.key] = FETCHING.submit(each.open)
            file = await wrap_future(self._coming.pop(piece.key))
        if file:
            self._files[piece.key] = file
            self._files.move_to_end(piece.key)
            if len(self._files) > OPEN:
                self._files.popitem(last=False)[1].close()
        return file
