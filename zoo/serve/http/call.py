"""Call: one request, taken apart."""

from __future__ import annotations

import re
import secrets
import time
from asyncio import AbstractEventLoop, run_coroutine_threadsafe
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import parse_qs

import msgspec
from anyio import fail_after
from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope

from zoo.domain.limits import REQUEST_BYTES
from zoo.serve.http.errors import Refused

__all__ = ["Call", "arriving", "client_of", "read_body", "read_head", "trace_of"]

T = TypeVar("T")
TRACE = re.compile(r"[\w.:=;-]{1,128}")
IDLE_SECONDS = 60
"""So long may a client that sends a file send nothing; and one that sends no file takes so long."""
LEAST_BYTES = 1024
"""So many bytes of a file come in a second, over that time."""
AHEAD = 512 * 1024
"""Bytes of a file that are taken at once: each turn from thread to thread costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request.

    Attributes:
        method: ``GET``, ``HEAD``, …
        path: Its path, as it was sent, percent-encoded.
        query: What follows the question mark.
        headers: Its headers.
        body: Its body, unless that may be large.
        pieces: A body that may be large, as it comes.
        base: The URL that this server is asked by, without a slash at the end.
        id: What tells it from others in logs: the client's own, if it sent one.
        address: Where it came from.
    """

    method: str
    path: str
    query: QueryParams
    headers: Headers
    body: bytes = b""
    pieces: Iterator[bytes] = field(default_factory=lambda: iter(()))
    base: str
    id: str
    address: str = ""

    @property
    def form(self) -> Mapping[str, list[str]]:
        """The body as a form.

        Raises:
            Refused: It is none.
        """
        try:
            return parse_qs(self.body.decode(), keep_blank_values=True, max_num_fields=10_000)
        except ValueError:
            raise Refused("BadRequest", "the body is no form") from None

    @property
    def fields(self) -> Mapping[str, str]:
        """The body as a form whose fields have one value each, the last."""
        return {name: values[-1] for name, values in self.form.items()}

    def read(self, kind: type[T]) -> T:
        """The body, which is JSON, as a value of a kind.

        Raises:
            Refused: It is none.
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Refused("BadRequest", f"the body is not what is asked for: {error}") from None

    def flag(self, name: str) -> bool:
        """Whether a switch in the query is on."""
        return self.query.get(name, "").lower() in ("true", "1")


def trace_of(headers: Headers) -> str:
    """The client's own name of a request, or a new one."""
    sent = headers.get("x-request-id") or headers.get("x-amzn-trace-id") or ""
    return sent if TRACE.fullmatch(sent) else secrets.token_hex(8)


def client_of(scope: Scope) -> str:
    """The address that a request comes from; empty if nothing says, or that is none: a proxy may
    pass on what clients write.
    """
    client: tuple[str, int] | None = scope.get("client")
    return _address(client[0]) if client else ""


@lru_cache
def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def read_head(scope: Scope, *, base: str, prefix: str, id: str) -> Call:  # noqa: A002
    """Take a request apart, all but its body."""
    path: str = scope["raw_path"].decode("ascii", "replace")
    return Call(
        method=scope["method"],
        path=path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path,
        query=QueryParams(scope["query_string"]),
        headers=Headers(scope=scope),
        base=base,
        id=id,
        address=client_of(scope),
    )


def arriving(receive: Receive, loop: AbstractEventLoop, within: float) -> Iterator[bytes]:
    """The body of a request as it comes, for a thread that waits for it; what follows arrives
    meanwhile. All of it comes ``within`` so many seconds from when the first of it is asked for.

    Raises:
        Refused: It has not, nothing has come for long, the client has gone, or the server ends.
    """
    pace = _Pace(receive, within)
    coming = run_coroutine_threadsafe(_some(pace), loop)
    try:
        more = True
        while more:
            pieces, more = coming.result()
            if more:
                coming = run_coroutine_threadsafe(_some(pace), loop)
            yield from pieces
    except CancelledError:
        raise Refused("Busy", "the server ends") from None
    finally:
        coming.cancel()


class _Pace:
    """Receives, and sees that enough comes while it is waited for."""

    def __init__(self, receive: Receive, within: float) -> None:
        self._receive, self._until = receive, time.monotonic() + within
        self._waited, self._came = 0.0, 0

    async def next(self) -> Message:
        """What comes next.

        Raises:
            Refused: Nothing does for long, or too little; or it was to be there by now.
        """
        began = time.monotonic()
        try:
            with fail_after(min(IDLE_SECONDS, self._until - began)):
                message = await self._receive()
        except TimeoutError:
            raise Refused("TooSlow") from None
        self._waited += time.monotonic() - began
        self._came += len(message.get("body", b""))
        if self._waited >= IDLE_SECONDS:
            if self._came < LEAST_BYTES * self._waited and message.get("more_body", False):
                raise Refused("TooSlow")
            self._waited, self._came = 0.0, 0
        return message


async def _some(pace: _Pace) -> tuple[list[bytes], bool]:
    """What comes next, some of it at once, and whether there is more."""
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < AHEAD:
        message = await pace.next()
        if message["type"] == "http.disconnect":
            raise Refused("BadRequest", "the connection was cut")
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return pieces, False
    return pieces, True


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """All of a small body.

    Raises:
        Refused: It is too large, or takes too long.
    """
    try:
        with fail_after(IDLE_SECONDS):
            return await _small(headers, receive)
    except TimeoutError:
        raise Refused("TooSlow") from None


async def _small(headers: Headers, receive: Receive) -> bytes:
    if not headers.get("content-length", "0").isdigit():
        raise Refused("BadRequest", "Content-Length is no number")
    if int(headers.get("content-length", "0")) > REQUEST_BYTES:
        raise Refused("TooLarge", f"a body has at most {REQUEST_BYTES} bytes here")
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > REQUEST_BYTES:
            raise Refused("TooLarge", f"a body has at most {REQUEST_BYTES} bytes here")
    return bytes(body)
