"""Requests to the hub: retries, resumption, and errors and waits in words without secrets.

Everything goes through the session of huggingface_hub, so that proxies, certificates and tokens
that a user has set up for it hold here too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from time import sleep
from typing import Any, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import constants, get_session, get_token, hf_raise_for_status
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# Documented there, but loaded in a way that type checkers do not see.
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    parse_ratelimit_headers,
)

from zoo.config import hub_endpoint
from zoo.domain.resumed import after, resumed
from zoo.errors import Corrupt, Unavailable, UnknownName, ZooError

__all__ = [
    "LOG",
    "RETRIES",
    "Attempts",
    "HTTPError",
    "answer",
    "ask",
    "endpoint",
    "host",
    "post",
    "stream",
    "waits_as_warnings",
    "without_secrets",
]

# huggingface_hub 2 brings httpx2, 1 brings httpx. Both may be installed, and only the errors of the
# one that is in use get raised, so it is asked which one that is.
_http = import_module(HfHubHTTPError.__bases__[0].__module__)
HTTPError: type[Exception] = _http.HTTPError

LOG = logging.getLogger("zoo")
"""The command line prints what comes here on stderr."""
CLIENT = logging.getLogger("huggingface_hub")

LONGEST = 300
SECRETS = re.compile(r"\w+://\S+|hf_\w+|(?i:bearer)\s+\S+")
"""Addresses may be signed, so they are taken out as tokens are."""
WAITS = re.compile(r"(?:Retrying in|Waiting) ([\d.]+)s")

PIECE = 1 << 20
RETRIES = 5
LONGEST_WAIT = 60
TIMEOUT = _http.Timeout(15, connect=5)
PASSING = frozenset({408, 429, 500, 502, 503, 504})

_UNKNOWN = (
    (RepositoryNotFoundError, "hub repository", "it may be private: log in with `hf auth login`"),
    (RevisionNotFoundError, "hub revision", "name a branch, tag or commit of it, or leave @… out"),
    (EntryNotFoundError, "hub file", ""),
)

_HINTS = {
    403: "the token of `hf auth login` lacks that right: make one that has it, and log in with it",
    413: "the hub takes no files of that size, or has no room left: see the storage of its owner",
    429: "try again in five minutes; logged in (`hf auth login`), more requests are allowed",
    507: "its owner has no room left on the hub: delete something there, or ask for more",
}
"""What helps where the hub answers so."""

T = TypeVar("T")


def endpoint() -> str:
    """The base URL of the hub, without a slash at its end.

    Raises:
        Unavailable: What is configured is no address.
    """
    url = (hub_endpoint() or constants.ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(host(url))
    except ValueError:
        usable = False
    if not usable:
        # The value is not repeated: it may hold a password.
        raise Unavailable(
            "the hub",
            "HF_ENDPOINT is not an http:// or https:// address",
            hint="unset HF_ENDPOINT for the usual hub, https://huggingface.co",
        )
    return url


def answer(url: str, **params: bool) -> Any:
    """What the hub answers to a GET with the user's token.

    Raises:
        HfHubHTTPError: It refuses.
    """
    headers = build_hf_headers()
    response = get_session().get(url, params=params or None, headers=headers, timeout=TIMEOUT)
    hf_raise_for_status(response)
    return response


def post(url: str, content: Mapping[str, str]) -> Any:
    """What the hub answers to JSON that is sent with the user's token, whatever the status."""
    return get_session().post(url, json=content, headers=build_hf_headers(), timeout=TIMEOUT)


@dataclass(slots=True)
class Attempts:
    """The tries at one request: whether and when there is a next one.

    Attributes:
        asked: What was asked for, in the user's words.
        hub: Host of the hub.
        failed: Failures since the hub last delivered something.
        heard: Whether the hub has answered at all.
        patience: Seconds; it is not waited for longer than that.
    """

    asked: str
    hub: str = field(default_factory=lambda: host(endpoint()))
    failed: int = 0
    heard: bool = False
    patience: int = LONGEST_WAIT

    def delivered(self) -> None:
        """Note that bytes came: what fails from here on has not failed before."""
        self.failed, self.heard = 0, True

    def pause(self, error: Exception) -> None:
        """Wait before the next try, or raise where another try would not help.

        Raises:
            UnknownName: The hub has no such thing.
            Unavailable: The hub does not answer, or refuses.
        """
        self.failed += 1
        self.heard = self.heard or isinstance(error, HfHubHTTPError)
        wait = requested_wait(error)
        if not self._passes(error) or self.failed > RETRIES or wait > self.patience:
            raise self._translated(error) from error
        seconds = max(wait, min(2.0 ** (self.failed - 2), 8.0))
        if seconds >= 1:  # less is not worth a line
            why = self._reason(error)
            LOG.warning("the hub %s: %s; next try in %.0f s", self.hub, why, seconds)
        sleep(seconds)

    def _passes(self, error: Exception) -> bool:
        """Whether this kind of failure tends to go away by itself."""
        if isinstance(error, HfHubHTTPError):
            return error.response.status_code in PASSING
        if isinstance(error, (_http.ReadError, _http.RemoteProtocolError, EOFError)):
            return True
        # A hub that never answered is not there: a machine without a network shall not wait.
        return self.heard and isinstance(error, (_http.NetworkError, _http.TimeoutException))

    def _translated(self, error: Exception) -> ZooError:
        hub = f"the hub {self.hub}"
        if isinstance(error, GatedRepoError):  # is a RepositoryNotFoundError, so it comes first
            return Unavailable(
                hub,
                f"'{self.asked}' is gated: accept its license on the page of the repository, "
                "and log in with `hf auth login`",
            )
        if isinstance(error, DisabledRepoError):
            return Unavailable(hub, f"'{self.asked}' is disabled")
        for kind, word, hint in _UNKNOWN:
            if isinstance(error, kind):
                return UnknownName(word, self.asked, hint=hint)
        return Unavailable(hub, self._reason(error), hint=self._hint(error))

    def _hint(self, error: Exception) -> str:
        if isinstance(error, HfHubHTTPError):
            return _HINTS.get(error.response.status_code, "")
        return (
            "check the connection, and HF_ENDPOINT if it is set; HF_HUB_OFFLINE=1 takes what is in "
            "the hub's cache"
        )

    def _reason(self, error: Exception) -> str:
        # URLs stay out: they may hold secrets (redirects are signed).
        if isinstance(error, HfHubHTTPError):
            answer = f"{error.response.status_code} {error.response.reason_phrase}".strip()
            wait = requested_wait(error)
            text = f"answered {answer} when asked for '{self.asked}'"
            if wait > self.patience:
                text += f", and to wait {wait} s"
            if words := reason(error, self.hub):
                text += f": {words}"
            return f"{text}; {_login()}" if error.response.status_code == 401 else text
        if isinstance(error, _http.TimeoutException):
            return "no answer in time"
        if isinstance(error, _http.ConnectError):
            return f"no connection ({error})"
        return f"connection lost ({str(error) or type(error).__name__})"


def _login() -> str:
    """What to do where the hub does not know who asks."""
    if not get_token():
        return "it wants a token: log in with `hf auth login`"
    return (
        "it does not take the token (HF_TOKEN, or that of `hf auth login`), which may have expired "
        "or be mistyped: log in anew with `hf auth login`"
    )


def ask(request: Callable[[], T], attempts: Attempts) -> T:
    """What ``request`` returns, tried again while that helps.

    Raises:
        UnknownName: The hub has no such thing.
        Unavailable: The hub does not answer, refuses, or is no hub.
    """
    while True:
        try:
            with waits_as_warnings(attempts.hub):
                return request()
        except HTTPError as error:
            attempts.pause(error)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            # The login page of a network, for example: status 200, but no JSON.
            raise Unavailable(
                f"the hub {attempts.hub}", "the answer is not that of a model hub"
            ) from error


def stream(url: str, start: int, size: int, attempts: Attempts) -> Iterator[bytes]:
    """The bytes of a file of ``size`` bytes from ``start`` on, resumed where a connection ends.

    Raises:
        UnknownName: The hub has no such file.
        Unavailable: The hub does not answer, refuses, or stopped answering.
        Corrupt: What it sends has another size.
    """

    def body(position: int) -> Iterator[bytes]:
        return _gathered(_body(url, position, size, attempts))

    return resumed(body, start, size, attempts, (HTTPError,))


def _body(url: str, position: int, size: int, attempts: Attempts) -> Iterator[bytes]:
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if position:
        headers["Range"] = f"bytes={position}-"
    with get_session().stream(
        "GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True
    ) as response:
        hf_raise_for_status(response)
        skip = position if response.status_code == 200 else 0
        _check_announced(response, size - position + skip, attempts)
        yield from after(response.iter_bytes(), skip)


def _check_announced(response: Any, expected: int, attempts: Attempts) -> None:
    """See, before a byte is kept, that what comes can be the file.

    Raises:
        Unavailable: It is a page for people, as a network sends that wants a login.
        Corrupt: It has another size.
    """
    kind, length = (response.headers.get(key, "") for key in ("Content-Type", "Content-Length"))
    if kind.partition(";")[0].strip().lower() == "text/html":
        raise Unavailable(
            f"the hub {attempts.hub}",
            f"answered with a web page when asked for '{attempts.asked}': does the network here "
            "want a login first?",
        )
    # Of what is compressed all the same, the length is another one.
    as_it_is = "Content-Encoding" not in response.headers
    if as_it_is and length.isdecimal() and int(length) != expected:
        raise Corrupt(f"'{attempts.asked}'", f"{expected} bytes", f"{length} announced")


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks in pieces of at least `PIECE`; a failure comes after what arrived before it."""
    buffer = bytearray()
    failure: Exception | None = None
    try:
        for chunk in chunks:
            buffer += chunk
            if len(buffer) >= PIECE:
                yield bytes(buffer)
                buffer.clear()
    except HTTPError as error:
        failure = error
    if buffer:
        yield bytes(buffer)
    if failure is not None:
        raise failure


def host(url: str) -> str:
    """Host and port of ``url``, without user name and password."""
    parts = urlsplit(url)
    return f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""


def reason(error: HfHubHTTPError, hub: str) -> str:
    """Why the hub refuses, in its own words; empty if it does not say.

    What another host answers (a store of large files that the hub redirects to) stays out: it
    repeats signatures.
    """
    if host(str(error.response.url)) != hub:
        return ""
    return without_secrets(error.server_message or "")


def without_secrets(text: str) -> str:
    """A text of the hub as one line, without tokens and addresses, and not endless."""
    token = get_token()
    if token:
        text = text.replace(token, "…")
    line = " ".join(SECRETS.sub("…", text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def requested_wait(error: Exception) -> int:
    """Seconds that the hub asks to wait; 0 if it does not say."""
    if not isinstance(error, HfHubHTTPError):
        return 0
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return int(limit.reset_in_seconds)
    value = headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,9}", value, re.ASCII):
        return int(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return 0
    left = until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)
    return max(0, round(left.total_seconds()))


@contextmanager
def waits_as_warnings(hub: str) -> Iterator[None]:
    """While it is open, the client's own log lines are not shown: they have signed addresses. Its
    waits become warnings of ours.
    """
    handlers, propagate = CLIENT.handlers[:], CLIENT.propagate
    CLIENT.handlers, CLIENT.propagate = [_Waits(hub)], False
    try:
        yield
    finally:
        CLIENT.handlers, CLIENT.propagate = handlers, propagate


class _Waits(logging.Handler):
    """Turns the waits among the client's log lines into warnings, and drops the rest."""

    def __init__(self, hub: str) -> None:
        super().__init__()
        self._hub = hub

    def emit(self, record: logging.LogRecord) -> None:
        if match := WAITS.search(record.getMessage()):
            seconds = float(match[1])
            LOG.warning("the hub %s cannot be used now; next try in %.0f s", self._hub, seconds)
