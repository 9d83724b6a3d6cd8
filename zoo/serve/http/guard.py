"""Guard: which hosts this server answers to, and what each answer forbids browsers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from zoo.errors import InvalidOption
from zoo.serve.http.errors import Refused

__all__ = ["SAFE", "Address", "check_origin"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?", re.ASCII)
SAFE: Mapping[str, str] = {
    # What users have uploaded is never shown as a page of this server, nor in somebody's frame.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""Headers of all answers."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and the URL that others reach it by, if that is another one."""

    host: str
    port: int
    public_url: str = ""

    @classmethod
    def checked(cls, host: str, port: int, public_url: str) -> Address:
        """An address that is safe to listen at.

        Raises:
            InvalidOption: It can be reached from elsewhere, and nobody said by which URL; or that
                is none.
        """
        url = urlsplit(public_url)
        if public_url and (url.scheme not in ("http", "https") or not HOST.fullmatch(url.netloc)):
            raise InvalidOption(
                f"'{public_url}' is no URL of a server: write https://zoo.lab.org, or with a path"
            )
        if not public_url and _named(host) not in LOOPBACK:
            raise InvalidOption(
                f"{host} can be reached by other machines: say by which URL they do",
                hint="tokens travel in the clear over http: put a proxy with TLS (nginx, Caddy) in "
                "front, leave --host as it is, and name its URL: --public-url https://zoo.lab.org",
            )
        return cls(host, port, public_url.rstrip("/"))

    @property
    def prefix(self) -> str:
        """The path that the public URL has."""
        return urlsplit(self.public_url).path

    def base(self, headers: Headers) -> str:
        """The URL that a client has asked by; all URLs in an answer begin so, as clients take
        others for a stranger's.

        Raises:
            Refused: This server is not called so: some page has a browser ask here under a name of
                its own.
        """
        asked = headers.get("host", "")
        match = HOST.fullmatch(asked)
        if match and self.public_url and match[0] == urlsplit(self.public_url).netloc:
            return self.public_url
        if match and match[1].lower() in {*LOOPBACK, _named(self.host)}:
            return f"http://{asked}"
        raise Refused("WrongHost", "this server is not called so; its operator can: --public-url")


def check_origin(headers: Headers, base: str) -> None:
    """See that what changes something was sent by a page of this server, ``base``, and by no other.

    Raises:
        Refused: A browser says that it was not, or nobody says anything.
    """
    site, url = headers.get("sec-fetch-site"), urlsplit(base)
    own = headers.get("origin") == f"{url.scheme}://{url.netloc}"
    if site != "same-origin" if site else not own:
        raise Refused("Forbidden", "that was not sent by a page of this server")


def _named(host: str) -> str:
    return f"[{host}]" if ":" in host else host
