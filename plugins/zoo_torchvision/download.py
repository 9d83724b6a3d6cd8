"""Files over HTTPS: their size, and their bytes, resumed where a connection ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPResponse
from time import sleep
from typing import cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from zoo.domain.resumed import after, resumed
from zoo.errors import Unavailable

__all__ = ["size_of", "stream"]

PIECE = 1 << 20
TIMEOUT = 15
RETRIES = 4
FAILURES = (OSError, HTTPException)
# Too slow, too often, or the server's own trouble: the next try may succeed.
PASSING = frozenset({408, 429, 500, 502, 503, 504})


def size_of(url: str) -> int:
    """Size of the file in bytes, as its server states it.

    Raises:
        Unavailable: The server does not answer, has no such file, or states no size.
    """
    attempts = _Attempts(url)
    while True:
        try:
            with _answer(Request(url, method="HEAD")) as answer:  # noqa: S310
                stated = answer.headers.get("Content-Length", "")
            break
        except FAILURES as error:
            if not isinstance(error, HTTPError):
                # A server that was never reached is not there: nobody shall wait without a network.
                attempts.failed = RETRIES
            attempts.pause(error)
    if not stated.isdigit():
        raise Unavailable(_host(url), f"it states no size for '{_file(url)}'")
    return int(stated)


def stream(url: str, size: int, start: int = 0) -> Iterator[bytes]:
    """The bytes of a file of ``size`` bytes from ``start`` on, in pieces.

    Raises:
        Unavailable: The server does not answer, refuses, or stopped answering.
    """
    return resumed(partial(_body, url), start, size, _Attempts(url), FAILURES)


def _body(url: str, position: int) -> Iterator[bytes]:
    request = Request(url, headers={"Range": f"bytes={position}-"} if position else {})  # noqa: S310
    with _answer(request) as answer:
        # Unlike read(), this gives what arrived before a connection ended.
        pieces = iter(lambda: answer.read1(PIECE), b"")
        yield from after(pieces, position if answer.status == 200 else 0)


def _answer(request: Request) -> HTTPResponse:
    return cast(HTTPResponse, urlopen(request, timeout=TIMEOUT))  # noqa: S310


@dataclass(slots=True)
class _Attempts:
    url: str
    failed: int = 0

    def delivered(self) -> None:
        self.failed = 0

    def pause(self, error: Exception) -> None:
        self.failed += 1
        refused = isinstance(error, HTTPError) and error.code not in PASSING
        if refused or self.failed > RETRIES:
            raise Unavailable(_host(self.url), _reason(self.url, error)) from error
        sleep(2.0 ** (self.failed - 2))


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"answered {error.code} when asked for '{_file(url)}'"
    return f"no connection ({getattr(error, 'reason', None) or error or type(error).__name__})"


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _file(url: str) -> str:
    return url.rpartition("/")[2]
