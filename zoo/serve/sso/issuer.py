"""Issuer: a service of OpenID Connect, as its own documents tell of it.

Who runs the server has named it, so it may be in a private network. It cannot send us elsewhere,
nor have us wait or read for long, and strangers cannot have us ask it often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from time import monotonic
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from zoo.errors import Unavailable
from zoo.serve.sso.tries import Tries
from zoo.serve.sso.turns import Turns
from zoo.serve.watch.outgoing import ask
from zoo.serve.who.issuers import origin_of

__all__ = ["Issuer", "Issuers", "Metadata"]

KEPT, AGAIN, FAILED = 3600.0, 60.0, 10.0
"""Seconds that a document is kept; that keys are, where one is asked for that they do not have; and
that nobody is asked again who has not answered.
"""
TURNS = 4
"""So many codes are shown to an issuer at once, by a process."""
Uri = Annotated[str, Meta(max_length=2000)]
Key = Mapping[str, object]
T = TypeVar("T")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What an issuer says of itself (OpenID Connect Discovery)."""

    issuer: Uri
    jwks_uri: Uri
    authorization_endpoint: Uri = ""
    token_endpoint: Uri = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Keys(msgspec.Struct, frozen=True):
    keys: Annotated[list[dict[str, object]], Meta(max_length=100)]


class _CachedDocument(NamedTuple):
    """A document, when it was read, and when and why that failed since."""

    at: float = -inf
    data: bytes = b""
    failed: float = -inf
    why: str = ""


class Issuer:
    """A service at ``url``, which may use some ``hosts`` beside its own.

    Attributes:
        url: As its own document has it.
        tries: Tries to sign in by it that were spent.
    """

    def __init__(self, url: str, hosts: tuple[str, ...]) -> None:
        self.url, self._hosts = url, hosts
        self.tries = Tries()
        self._kept: dict[str, _CachedDocument] = {}
        # Apart: who shows codes keeps nobody from its keys.
        self._reading, self._posting = Turns(url, 1), Turns(url, TURNS)

    def metadata(self) -> Metadata:
        """What it says of itself.

        Raises:
            Unavailable: It does not answer, says that it is another, or sends us elsewhere.
        """
        url = f"{self.url.rstrip('/')}/.well-known/openid-configuration"
        return self._document(url, KEPT, self._metadata_of)

    def _metadata_of(self, data: bytes) -> Metadata:
        metadata = self._read(data, Metadata)
        if metadata.issuer != self.url:
            raise self._fails("its document says that it is another issuer")
        for each in (metadata.jwks_uri, metadata.authorization_endpoint, metadata.token_endpoint):
            if each and not self._is_own(each):
                raise self._fails(f"it sends us to {urlsplit(each).hostname}: --host allows that")
        return metadata

    def keys(self, name: str | None) -> list[Key]:
        """Its keys of a name, or all if it has none. They are asked for again, once a minute at
        most, where there is none of that name.

        Raises:
            Unavailable: It does not answer.
        """
        uri = self.metadata().jwks_uri
        for oldest in (KEPT, AGAIN):
            keys = self._document(uri, oldest, lambda data: self._read(data, _Keys).keys)
            if matches := [key for key in keys if name is None or key.get("kid") == name]:
                return [*matches]
        return []

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], who: str
    ) -> tuple[int, bytes]:
        """Send something to one of its addresses, for somebody in the network ``who``; the status
        and the answer.

        Raises:
            Unavailable: It does not answer, or too many wait for it.
        """
        with self._posting.taken(who):
            return ask(url, body, headers)

    def _is_own(self, url: str) -> bool:
        origin = origin_of(url)
        netloc = urlsplit(url).netloc if origin.startswith("https://") else ""
        return bool(origin) and (origin == origin_of(self.url) or netloc in self._hosts)

    def _document(self, url: str, oldest: float, read: Callable[[bytes], T]) -> T:
        """A document that was read so many seconds ago at most. One that cannot be ``read`` is not
        kept, and one that can is, for who needs no newer one, though it cannot be read again.
        """
        data = self._fresh(url, oldest)
        if data is None:
            with self._reading.taken():
                data = self._fresh(url, oldest) or self._fetched(url, read)
        return read(data)

    def _fresh(self, url: str, oldest: float) -> bytes | None:
        kept, now = self._kept.get(url, _CachedDocument()), monotonic()
        if now - kept.at < oldest:
            return kept.data
        if now - kept.failed < FAILED:
            raise self._fails(kept.why)
        return None

    def _fetched(self, url: str, read: Callable[[bytes], object]) -> bytes:
        try:
            status, data = ask(url, None, {"Accept": "application/json"})
            if status != 200:
                raise self._fails(f"it answers {status}")
            read(data)
        except Unavailable as error:
            kept = self._kept.get(url, _CachedDocument())
            self._kept[url] = kept._replace(failed=monotonic(), why=error.reason)
            raise
        self._kept[url] = _CachedDocument(monotonic(), data)
        return data

    def _read(self, data: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, RecursionError):
            raise self._fails("its document is none of OpenID Connect") from None

    def _fails(self, why: str) -> Unavailable:
        return Unavailable(self.url, why, hint="")


class Issuers:
    """The issuers that this process has asked."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, ...]], Issuer] = {}

    def at(self, url: str, hosts: tuple[str, ...]) -> Issuer:
        """The one at a URL that somebody who runs the server has named."""
        return self._known.setdefault((url, hosts), Issuer(url, hosts))
