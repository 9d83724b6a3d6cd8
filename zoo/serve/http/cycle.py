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


class ZeroCopyProtocol(HttpToolsProtocol):
    """Offers `ZERO_COPY` to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; uvicorn's own log is off, whatever is set up: a path may hold a token."""
        self.access_log = False
        super().connection_made(transport)

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

    # sendfile needs a plain socket.
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
