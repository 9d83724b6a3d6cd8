"""Meter: how many bytes a request and its answer have."""

from __future__ import annotations

from starlette.types import Message, Receive, Send

__all__ = ["Meter"]


class Meter:
    """Receives and sends for a request, and counts bytes of both bodies."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.received = self.sent = 0

    async def receive(self) -> Message:
        """What comes next."""
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Send on; of a file that goes without a copy, too."""
        await self._send(message)
        self.sent += len(message.get("body", b"")) + message.get("count", 0)
