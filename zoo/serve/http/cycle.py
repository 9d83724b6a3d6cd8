"""Cycle: uvicorn's protocol, with files that go to the socket without a copy.

ASGI has an extension for that, which uvicorn lacks. What stands here touches inner parts of
uvicorn; where they are not as expected, an answer is sent as memory maps, which takes half as much
time again. A test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from zoo.errors import Corrupt
from zoo.serve.http.answer import ZERO_COPY

__all__ = ["ZeroCopyProtocol"]

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


HEAD_SECONDS = 10
"""A request is sent in so long, all but its body."""
HEAD_BYTES = 64 * 1024
REST_SECONDS = 60
"""What is left of a body that nobody wants may come for so long."""


class ZeroCopyProtocol(HttpToolsProtocol):
    """Offers `ZERO_COPY` to the application, and waits for no client that sends half a request."""

    _waiting: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; uvicorn's own log is off, whatever is set up: a path may hold a token."""
        self.access_log = False
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Go on; a head that does not end is not kept."""
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if self._waiting is None and answered and not self.transport.is_closing():
            self._wait(HEAD_SECONDS)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too large.")

    def on_message_begin(self) -> None:
        """Wait for the head of a request."""
        super().on_message_begin()
        self._in_head = True
        self._wait(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """Wait for it no more."""
        self._in_head = False
        self._wait(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for no rest of a body any more."""
        self._wait(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that was not asked for."""
        if self.cycle.more_body and self.cycle.response_complete:
            self._wait(REST_SECONDS)
        super().on_response_complete()

    def _wait(self, seconds: float | None) -> None:
        """Cut the connection after a time, unless this is said again before."""
        if self._waiting:
            self._waiting.cancel()
        end = self.transport.abort
        self._waiting = None if seconds is None else self.loop.call_later(seconds, end)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, partial(_with_files, cycle, app))


async def _with_files(
    cycle: RequestResponseCycle, app: Application, scope: Scope, receive: Receive, send: Send
) -> None:
    async def send_any(message: Message) -> None:
        if message["type"] == ZERO_COPY:
            await _send_file(cycle, message)
        else:
            await send(message)

    # sendfile needs a plain socket. Out here the scheme is its own, not yet what a proxy says.
    if scope["scheme"] == "http":
        scope["extensions"] = {**scope.get("extensions", {}), ZERO_COPY: {}}
    await app(scope, receive, send_any)


async def _send_file(cycle: RequestResponseCycle, message: Message) -> None:
    if cycle.disconnected or cycle.transport.is_closing():
        cycle.disconnected = True
        return
    count = message["count"]
    cycle.expected_content_length -= count
    loop = asyncio.get_running_loop()
    try:
        sent = await loop.sendfile(cycle.transport, message["file"], message["offset"], count)
    except OSError:  # the client has gone
        cycle.disconnected = True
        cycle.transport.abort()
        return
    if sent < count:
        raise Corrupt(str(message["file"].name), f"{count} bytes", f"{sent}")
