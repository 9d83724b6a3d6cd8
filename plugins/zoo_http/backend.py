"""A server as a backend: the store's own keys over HTTP."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Self

from blake3 import blake3
from urllib3 import BaseHTTPResponse

from zoo.domain.limits import STAT_KEYS, UPLOAD_PART_BYTES
from zoo.domain.stored import Stored
from zoo.errors import Unavailable
from zoo.logins import ServerUrl
from zoo_http.errors import on_the_way
from zoo_http.session import AT_ONCE, Session

__all__ = ["HttpBackend"]

PIECE = 256 * 1024
FIRST = {"If-None-Match": "*"}
EXISTS, GONE, NO_RANGE = 412, 404, 416


class HttpBackend:
    """The store behind a server. Implements `zoo.contracts.Backend`, `Many` and `Served`.

    Attributes:
        at_once: Requests that it serves well at a time.
        served: A server looks after what it keeps.
    """

    at_once = AT_ONCE
    served = True

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:  # noqa: ARG003 - it has its zoo
        """Reach ``https://host/path``; nothing is asked yet.

        Raises:
            InvalidOption: It is no URL of a server.
        """
        return cls(Session.of(location))

    @classmethod
    def account(cls, location: str, token: str) -> str:
        """Whose token it is, and what it is for.

        Raises:
            Unavailable: No server of a zoo answers there.
            Forbidden: It is none of its tokens.
        """
        session = Session(ServerUrl.parse(location), token)
        you: Any = session.read("").get("you")
        try:
            return f"{you['name']}, with a token to {you['purpose']}"
        except (KeyError, TypeError):
            raise Unavailable(str(session.url), "no zoo answers there", hint="") from None

    def __str__(self) -> str:
        return str(self._session.url)

    def stat(self, key: str) -> Stored | None:
        """Size and date of what is under a key; None if nothing is, or it is not for this user."""
        return self.present([key]).get(key)

    def present(self, keys: Collection[str]) -> dict[str, Stored]:
        """What is under those of ``keys`` under which something is."""
        found, left = dict[str, Stored](), iter(keys)
        while batch := list(islice(left, STAT_KEYS)):
            found |= {each.name: each for each in self._stored("/stat", {"keys": batch})}
        return found

    def folders(self, folder: str) -> Collection[str]:
        """The names of the folders directly in a folder."""
        below = (file.name.removeprefix(folder) for file in self.list(folder))
        return {name.partition("/")[0] for name in below if "/" in name}

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from ``offset`` on, at most ``length`` of them, in pieces.

        Raises:
            FileNotFoundError: Nothing is under the key, or it is not for this user.
        """
        headers = {}
        if offset or length is not None:
            last = "" if length is None else offset + max(length, 1) - 1
            headers = {"Range": f"bytes={offset}-{last}"}
        answer = self._session.open("GET", f"/store/{key}", headers=headers, fine=(GONE, NO_RANGE))
        if answer.status == GONE and answer.headers.get("x-error-code"):
            answer.drain_conn()
            raise FileNotFoundError(key)
        if answer.status in (GONE, NO_RANGE) or length == 0:
            answer.drain_conn()
            if answer.status == GONE:
                raise Unavailable(str(self), "no zoo answers there", hint="")
            return iter(())
        if answer.headers.get("content-encoding", "identity") != "identity":
            answer.close()
            raise Unavailable(str(self), "something on the way packs what is sent", hint="")
        return self._pieces(answer, skip=offset if answer.status == 200 else 0, length=length)

    def _pieces(
        self, answer: BaseHTTPResponse, *, skip: int, length: int | None
    ) -> Iterator[bytes]:
        """The body, of which ``skip`` bytes were not asked for."""
        try:
            while length is None or length > 0:
                # Only the waiting: what the reader does with a piece is no failure of the server.
                with on_the_way(self._session.url):
                    piece = answer.read(PIECE)
                if not piece:
                    answer.release_conn()
                    return
                piece, skip = piece[skip:], max(skip - len(piece), 0)
                piece = piece if length is None else piece[:length]
                length = None if length is None else length - len(piece)
                if piece:
                    yield piece
            with on_the_way(self._session.url):
                answer.drain_conn()
        except BaseException:
            answer.close()  # what is left of it is nobody's
            raise

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Keep the pieces under a key; in parts, where they are many, of which none is sent again
        that was sent before.
        """
        self._put(key, _in_parts(pieces), {})

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """As `put`, unless something is under the key already; whether it was kept."""
        return self._put(key, _in_parts([data]), FIRST)

    def _put(self, key: str, parts: Iterator[bytes], headers: Mapping[str, str]) -> bool:
        first, second = next(parts, b""), next(parts, b"")
        if second:
            self._put_parts(key, _before(first, second, parts))
            return True
        answer = self._session.ask(
            "PUT", f"/store/{key}", body=first, headers=headers, fine=(EXISTS,)
        )
        return answer.status != EXISTS

    def _put_parts(self, key: str, parts: Iterable[bytes]) -> None:
        there = {*self._session.read(f"/parts/{key}").get("parts", ())}
        digests: list[str] = []
        for number, part in enumerate(parts):
            digests.append(blake3(part).hexdigest())
            name = f"{number}-{digests[-1]}"
            if name not in there:
                self._session.ask("PUT", f"/parts/{name}/{key}", body=part)
        self._session.tell(f"/parts/{key}", {"parts": digests})

    def list(self, folder: str) -> Iterator[Stored]:
        """All that is in a folder of names, and in those below; for admins, in any folder."""
        yield from self._stored(f"/list/{folder.rstrip('/') or '*'}")

    def newest(self) -> dict[str, bytes]:
        """The newest entry of each name that this user may read, by its key."""
        found = self._session.read("/refs").get("newest", {})
        return {str(key): str(text).encode() for key, text in found.items()}

    def delete(self, key: str) -> None:
        """Delete what is under a key, if anything is; for admins."""
        self._session.ask("DELETE", f"/store/{key}")

    def now(self) -> datetime:
        """The time of the server."""
        return _time(self._session.read("").get("now"))

    def _stored(self, path: str, said: object = None) -> Sequence[Stored]:
        try:
            answer = self._session.read(path, said)
            return [Stored(str(name), int(size), _time(at)) for name, size, at in answer["stored"]]
        except (KeyError, TypeError, ValueError):
            raise Unavailable(str(self), "its answer cannot be understood", hint="") from None


def _in_parts(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The same bytes in parts; the last one may be smaller."""
    part = bytearray()
    for piece in pieces:
        for begin in range(0, len(piece), UPLOAD_PART_BYTES):
            part += piece[begin : begin + UPLOAD_PART_BYTES]
            if len(part) >= UPLOAD_PART_BYTES:
                yield bytes(part[:UPLOAD_PART_BYTES])
                del part[:UPLOAD_PART_BYTES]
    if part:
        yield bytes(part)


def _before(first: bytes, second: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest


def _time(text: Any) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    return time
