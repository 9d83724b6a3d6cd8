"""Location: whether a text that a user typed is a path, a URL, a remote name or a hub address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["hub_address", "is_http", "is_word", "scheme_of"]

HUB = "hf"
SITES = frozenset({"hf.co", "huggingface.co", "www.huggingface.co"})


def scheme_of(location: str) -> str:
    """The scheme of a URL, in small letters; empty for a path."""
    scheme, separator, _ = location.partition("://")
    return scheme.lower() if separator else ""


def is_http(location: str) -> bool:
    """Whether it is the URL of a web server."""
    return scheme_of(location) in ("http", "https")


def hub_address(location: str) -> str | None:
    """A repository of the model hub as ``hf://org/name`` or ``hf://org/name@revision``, also where
    the address of its page is given; None for what is not at the hub.
    """
    rest = location.partition("://")[2]
    if scheme_of(location) == HUB:
        return f"{HUB}://{rest}"
    if not is_http(location):
        return None
    site, _, path = rest.partition("/")
    if site.lower() not in SITES:
        return None
    owner, name, kind, revision = (*urlsplit(path).path.strip("/").split("/", 3), *[""] * 4)[:4]
    at = f"@{revision}" if kind == "tree" and revision else ""
    return f"{HUB}://{owner}/{name}{at}"


def is_word(location: str) -> bool:
    """Whether it is a single word, such as names of remotes are; a path is ``./word``."""
    return Path(location).name == location and location not in ("..", "~")
