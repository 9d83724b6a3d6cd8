"""A server as a backend: the store's own keys over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Annotated, Self

import msgspec
from blake3 import blake3
from msgspec import Meta
from urllib3 import BaseHTTPResponse

from zoo import config
from zoo.domain.limits import LARGEST, LISTING_BYTES, STAT_KEYS, UPLOAD_PART_BYTES
from zoo.domain.stored import StoredFile
from zoo.errors import InvalidOption, Unavailable
from zoo.logins import ServerUrl
from zoo_http.device import enter
from zoo_http.errors import on_the_way
from zoo_http.exchange import exchange, job_token
from zoo_http.reports import HttpReports
from zoo_http.session import AT_ONCE, Session
from zoo_http.tokens import HttpTokens

__all__ = ["HttpBackend"]

PIECE = 1 << 20
"""Bytes that are read at a time: with fewer, the threads of a pull wait for each other more."""
JOB = (
    "GitHub Actions: permissions: id-token: write; GitLab: id_tokens: ZOO_ID_TOKEN: aud: URL; "
    "others: < FILE, with a token of OpenID Connect for the server's URL"
)
FIRST = {"If-None-Match": "*"}
EXISTS, GONE, NO_RANGE = 412, 404, 416
Time = Annotated[datetime, Meta(tz=True)]
Row = tuple[str, Annotated[int, Meta(ge=0, le=LARGEST)], Time]


class _You(msgspec.Struct):
    name: str
    purpose: str


class _About(msgspec.Struct):
    now: Time
    you: _You | None = None


class _Stored(msgspec.Struct):
    stored: list[Row]


class _Parts(msgspec.Struct):
    parts: list[str]


class _Newest(msgspec.Struct):
    newest: dict[str, str]


class HttpBackend:
    """The store behind a server. Implements `zoo.contracts.Backend`, `SupportsBatches`,
    `ServerBackend`, `SupportsLogin`, `SupportsTokens` and `SupportsReports`.

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
            Forbidden: It does not take the token.
        """
        session = Session(ServerUrl.parse(location), token)
        you = session.read("", _About).you
        if you is None:
            raise Unavailable(str(session.url), "no zoo answers there", hint="")
        return f"{you.name}, with a token to {you.purpose}"

    @classmethod
    def enter(cls, location: str, wants: str, told: Callable[[str, str], None]) -> str:
        """See `zoo.contracts.SupportsLogin.enter`."""
        return enter(ServerUrl.parse(location), wants, told)

    @classmethod
    def enter_job(cls, location: str, proof: str, name: str) -> str:
        """See `zoo.contracts.SupportsLogin.enter_job`."""
        url = ServerUrl.parse(location)
        shown = proof or config.id_token() or job_token(url)
        if not shown:
            raise InvalidOption("nothing says which job this is", hint=JOB)
        return exchange(url, shown, name)

    @classmethod
    def tokens(cls, location: str) -> HttpTokens:
        """See `zoo.contracts.SupportsTokens.tokens`."""
        return HttpTokens(location)

    @classmethod
    def reports(cls, location: str) -> HttpReports:
        """See `zoo.contracts.SupportsReports.reports`."""
        return HttpReports.of(location)

    def __str__(self) -> str:
        return str(self._session.url)

    def stat(self, key: str) -> StoredFile | None:
        """Size and date of what is under a key; None if nothing is, or it is not for this user."""
        return self.present([key]).get(key)

    def present(self, keys: Collection[str]) -> dict[str, StoredFile]:
        """What is under those of ``keys`` under which something is."""
        return self._present(keys, {})

    def present_to(self, name: str, keys: Collection[str]) -> dict[str, StoredFile]:
        """See `zoo.contracts.ServerBackend.present_to`."""
        return self._present(keys, {"to": name})

    def _present(self, keys: Collection[str], more: Mapping[str, str]) -> dict[str, StoredFile]:
        present, left = dict[str, StoredFile](), iter(keys)
        while batch := list(islice(left, STAT_KEYS)):
            answer = self._session.read("/stat", _Stored, {"keys": batch, **more})
            present |= {each.name: each for each in _read(answer)}
        return present

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
        if answer.status in (GONE, NO_RANGE) or length == 0:
            self._session.leave(answer)
            if answer.status != GONE:
                return iter(())
            if answer.headers.get("x-error-code"):
                raise FileNotFoundError(key)
            raise Unavailable(str(self), "no zoo answers there", hint="")
        return self._pieces(answer, skip=offset if answer.status == 200 else 0, length=length)

    def _pieces(
        self, answer: BaseHTTPResponse, *, skip: int, length: int | None
    ) -> Iterator[bytes]:
        """The body, of which ``skip`` bytes were not asked for."""
        try:
            while length is None or length > 0:
                # Only the waiting: what the reader does with a piece is no failure of the server.
                with on_the_way(self._session.url):
                    piece = answer.read(PIECE, decode_content=False)
                if not piece:
                    answer.release_conn()
                    return
                piece, skip = piece[skip:], max(skip - len(piece), 0)
                piece = piece if length is None else piece[:length]
                length = None if length is None else length - len(piece)
                if piece:
                    yield piece
            self._session.leave(answer)
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
        status = self._session.ask(
            "PUT", f"/store/{key}", body=first, headers=headers, fine=(EXISTS,)
        )
        return status != EXISTS

    def _put_parts(self, key: str, parts: Iterable[bytes]) -> None:
        there = {*self._session.read(f"/parts/{key}", _Parts).parts}
        digests: list[str] = []
        for number, part in enumerate(parts):
            digests.append(blake3(part).hexdigest())
            name = f"{number}-{digests[-1]}"
            if name not in there:
                self._session.ask("PUT", f"/parts/{name}/{key}", body=part)
        try:
            self._session.tell(f"/parts/{key}", {"parts": digests})
        except Unavailable:  # it may be kept, and the answer lost: else all is sent again
            self._session.tell(f"/parts/{key}", {"parts": digests})

    def list(self, folder: str) -> Iterator[StoredFile]:
        """All that is in a folder of names, and in those below; for admins, in any folder."""
        path = f"/list/{folder.rstrip('/') or '*'}"
        yield from _read(self._session.read(path, _Stored, most=LISTING_BYTES))

    def newest(self) -> dict[str, bytes]:
        """The newest entry of each name that this user may read, by its key."""
        entries = self._session.read("/refs", _Newest, most=LISTING_BYTES).newest
        return {key: text.encode() for key, text in entries.items()}

    def delete(self, key: str) -> None:
        """Delete what is under a key, if anything is; for admins."""
        self._session.ask("DELETE", f"/store/{key}")

    def now(self) -> datetime:
        """The time of the server."""
        return self._session.read("", _About).now


def _read(answer: _Stored) -> Iterator[StoredFile]:
    return (StoredFile(*row) for row in answer.stored)


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
