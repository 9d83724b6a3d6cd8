"""Issuers: how services of OpenID Connect are named, and what is said of them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from zoo.errors import InvalidOption

__all__ = ["check_hosts", "check_issuer", "origin_of"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")
HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:\d{1,5})?")
LONGEST = 300
PORTS = {"http": 80, "https": 443}


def check_issuer(url: str) -> None:
    """See that a URL may be an issuer's: over TLS, but on this machine.

    Raises:
        InvalidOption: It may not.
    """
    if not origin_of(url) or len(url) > LONGEST or "?" in url or "#" in url:
        raise InvalidOption(
            f"'{url:.200}' is no issuer: write its URL as its own document has it, with https://"
        )


def check_hosts(hosts: tuple[str, ...]) -> None:
    """See that these are hosts.

    Raises:
        InvalidOption: One is none.
    """
    for host in hosts:
        if not HOST.fullmatch(host):
            raise InvalidOption(f"'{host:.200}' is no host: write oauth2.googleapis.com")


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL to which secrets may be sent; empty if they may not, or it is
    none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        return ""
    safe = parts.scheme == "https" or parts.hostname in LOOPBACK
    if not (safe and parts.hostname and url.isascii() and url.isprintable()):
        return ""
    # With a final dot, a host that is known by name would be another one.
    if "@" in parts.netloc or "\\" in url or " " in url or parts.hostname.endswith("."):
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}"
