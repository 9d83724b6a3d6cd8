"""Reports: runs that are told to a server while they go on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from zoo.domain.heard import Heard
from zoo.domain.limits import LARGEST
from zoo_http.session import Session

__all__ = ["HttpReports"]

SECONDS = 30.0
"""A run that is told of is there again a moment later: nothing is waited for longer."""
HASTE = 3.0
"""A run that is about to begin waits so long for a server that may not be there."""
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Word = Annotated[str, Meta(pattern="^[0-9a-z-]{0,100}$")]


class _Heard(msgspec.Struct):
    id: Word
    generation: Count
    bytes: Count
    digest: Word
    status: Word


class HttpReports:
    """A server that is told of runs. Implements `zoo.contracts.Reports`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    def of(cls, location: str) -> Self:
        """To the server at a location; raises as `Session.of`."""
        return cls(Session.of(location, SECONDS))

    def check(self, path: str) -> None:
        """See `zoo.contracts.Reports.check`."""
        session = Session.of(str(self._session.url), HASTE)
        # A tag that nobody has: a name that is protected can be reported under by who may write.
        session.tell("/stat", {"keys": [], "to": f"{path}:{uuid.uuid4()}"})

    def tell(self, run: Mapping[str, object]) -> Heard:
        """See `zoo.contracts.Reports.tell`."""
        return _read(self._session.read("/runs", _Heard, run))

    def lines(self, run: str, generation: int, at: int, lines: bytes) -> Heard:
        """See `zoo.contracts.Reports.lines`."""
        path = f"/runs/{run}/lines/{generation}/{at}"
        return _read(self._session.decoded(self._session.open("POST", path, body=lines), _Heard))

    def file(self, run: str, name: str, data: bytes) -> None:
        """See `zoo.contracts.Reports.file`."""
        self._session.ask("PUT", f"/runs/{run}/{name}", body=data)


def _read(reply: _Heard) -> Heard:
    return Heard(reply.id, reply.generation, reply.bytes, reply.digest, reply.status)
