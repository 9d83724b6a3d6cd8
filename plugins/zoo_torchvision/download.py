"""Files over HTTPS: their size, and their bytes, resumed where a connection ends."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from time import sleep
from typing import cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from zoo.errors import Unavailable

__all__ = ["size_of", "stream"]

PIECE = 1 << 20
TIMEOUT = 15
RETRIES = 4
PASSING = frozenset({408, 429, 500, 502, 503, 504})


def size_of(url: str) -> int:
    """Size of the file in bytes, as its server states it.

    Raises:
        Unavailable: The server does not answer, has no such file, or states no size.
    """
    failed = 0
    while True:
        try:
            with _answer(Request(url, method="HEAD")) as answer:  # noqa: S310
                stated = answer.headers.get("Content-Length", "")
            break
        except (OSError, HTTPException) as error:
            failed += 1
            # A server that was never reached is not there: nobody shall wait without a network.
            _pause(url, error, failed if isinstance(error, HTTPError) else RETRIES + 1)
    if not stated.isdigit():
        raise Unavailable(_host(url), f"it states no size for '{_file(url)}'")
    return int(stated)


def stream(url: str, size: int, start: int = 0) -> Iterator[bytes]:
    """The bytes of a file of ``size`` bytes from ``start`` on, in pieces.

    Raises:
        Unavailable: The server does not answer, refuses, or stopped answering.
    """
    position, failed = start, 0
    while position < size:
        try:
            for piece in _body(url, position):
                position, failed = position + len(piece), 0
                yield piece
            if position < size:
                raise EOFError("closed early")
        except (OSError, HTTPException, EOFError) as error:
            failed += 1
            _pause(url, error, failed)


def _body(url: str, position: int) -> Iterator[bytes]:
    request = Request(url, headers={"Range": f"bytes={position}-"} if position else {})  # noqa: S310
    with _answer(request) as answer:
        # A server that does not know ranges starts again from the beginning.
        skip = position if answer.status == 200 else 0
        # Unlike read(), this gives what arrived before a connection ended.
        while piece := answer.read1(PIECE):
            if len(piece) > skip:
                yield piece[skip:]
            skip = max(0, skip - len(piece))


def _answer(request: Request) -> HTTPResponse:
    return cast(HTTPResponse, urlopen(request, timeout=TIMEOUT))  # noqa: S310


def _pause(url: str, error: Exception, failed: int) -> None:
    """Wait before the next try, or raise where another would not help.

    Raises:
        Unavailable: The last of several failures, or one that will not pass.
    """
    refused = isinstance(error, HTTPError) and error.code not in PASSING
    if refused or failed > RETRIES:
        raise Unavailable(_host(url), _reason(url, error)) from error
    sleep(2.0 ** (failed - 2))


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"answered {error.code} when asked for '{_file(url)}'"
    return f"no connection ({getattr(error, 'reason', None) or error or type(error).__name__})"


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _file(url: str) -> str:
    return url.rpartition("/")[2]
