"""Device: a token that somebody gives to this program by a page of the server (RFC 8628)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta
from urllib3 import PoolManager, Timeout

from zoo.domain.progress import clean
from zoo.errors import Forbidden, InvalidOption, Unavailable
from zoo.logins import ServerUrl
from zoo_http.errors import on_the_way

__all__ = ["enter"]

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT = "zoo"
HEADERS = {
    "User-Agent": "zoo",
    "Accept-Encoding": "identity",
    "Content-Type": "application/x-www-form-urlencoded",
}
SECONDS = 10.0
MOST = 64 * 1024
"""Bytes of an answer."""
OVER = {"access_denied": "it was not let in", "expired_token": "nobody has let it in in time"}
T = TypeVar("T")
Told = Callable[[str, str], None]
"""Is told the address of a page, and the code that it must show."""


class _Begun(msgspec.Struct):
    device_code: str
    user_code: Annotated[str, Meta(max_length=40)]
    verification_uri: Annotated[str, Meta(max_length=2000)]
    verification_uri_complete: Annotated[str, Meta(max_length=2000)] = ""
    interval: Annotated[int, Meta(ge=1, le=60)] = 5
    expires_in: Annotated[int, Meta(ge=1, le=3600)] = 900


class _Polled(msgspec.Struct):
    access_token: str = ""
    error: str = ""


def enter(url: ServerUrl, wants: str, show: Told) -> str:
    """A token for a server; ``wants`` is what it is to be for.

    Raises:
        Unavailable: The server does not answer, gives no tokens so, or names a page elsewhere.
        Forbidden: Nobody has let this program in.
    """
    with PoolManager(retries=False) as pool:
        sent = _send(pool, url, "device", {"client_id": CLIENT, "scope": wants})
        begun = _read(url, sent, _Begun, (200,))
        page = begun.verification_uri_complete or begun.verification_uri
        if not _is_of(url, page):  # whoever opens it types a token there
            raise Unavailable(str(url), f"the page that it names is not its own: {clean(page)}")
        show(clean(page), clean(begun.user_code))
        ends, pause = time.monotonic() + begun.expires_in, begun.interval
        while time.monotonic() < ends:
            time.sleep(pause)
            asked = {"grant_type": GRANT, "device_code": begun.device_code, "client_id": CLIENT}
            sent = _send(pool, url, "token", asked)
            if sent.status >= 500:  # just now; what was let in stays so
                continue
            polled = _read(url, sent, _Polled, (200, 400))
            if polled.access_token:
                return polled.access_token
            if polled.error == "slow_down":
                pause += 5
            elif polled.error != "authorization_pending":
                why = OVER.get(polled.error, f"it answers {clean(polled.error)[:100]}")
                raise Forbidden(str(url), why, f"begin anew: zoo login {url}")
    raise Forbidden(str(url), OVER["expired_token"], f"begin anew: zoo login {url}")


def _is_of(url: ServerUrl, page: str) -> bool:
    """Whether an address is one of a server's, whatever a browser makes of it."""
    if not (page.isascii() and page.isprintable()) or "\\" in page or ".." in page:
        return False
    try:
        server = ServerUrl.parse(page.partition("?")[0])
    except InvalidOption:
        return False
    own = (url.scheme, url.host, url.port) == (server.scheme, server.host, server.port)
    return own and server.path.startswith(f"{url.path}/")


class _Sent(NamedTuple):
    status: int
    message: str
    data: bytes


def _send(pool: PoolManager, url: ServerUrl, what: str, fields: dict[str, str]) -> _Sent:
    """Send a form to a server."""
    with on_the_way(url):
        answer = pool.request(
            "POST",
            f"{url}/oauth/{what}",
            body=urlencode(fields),
            headers=HEADERS,
            redirect=False,
            preload_content=False,
            timeout=Timeout(connect=SECONDS, read=SECONDS),
        )
        data = answer.read(MOST, decode_content=False)
        answer.close()
    return _Sent(answer.status, answer.headers.get("x-error-message", "")[:500], data)


def _read(url: ServerUrl, sent: _Sent, kind: type[T], fine: tuple[int, ...]) -> T:
    """What a server has answered."""
    if sent.status not in fine:
        reason = sent.message or f"it answers {sent.status}"
        raise Unavailable(str(url), f"it gives no token by a page: {clean(reason)}", hint="")
    try:
        return msgspec.json.decode(sent.data, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        text = "no zoo answers there, or in a way that is not understood"
        raise Unavailable(str(url), text, hint="") from None
