"""The engines that a registry can be kept in, each a module of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from zoo.errors import InvalidOption, ZooError
from zoo.registry.engines import postgresql, sqlite

__all__ = ["ENGINES", "Kind", "read_url"]


class Kind(Protocol):
    """What an engine's module has."""

    def create(self, url: URL) -> Engine:
        """An engine; nothing is opened before the first transaction."""

    def begin(self, connection: Connection, *, write: bool) -> None:
        """Begin a transaction: that of a writer waits until no other one is under way."""

    def meaning(self, error: DBAPIError, where: str) -> ZooError | None:
        """What a failure of the engine means; None if it is a mistake of ours."""

    def shown(self, url: URL) -> str:
        """Where the database is, without a secret."""


ENGINES: Mapping[str, Kind] = {"sqlite": sqlite, "postgresql": postgresql}
"""By the name of the dialect."""


def read_url(text: str) -> URL:
    """Read the URL of a database server.

    Raises:
        InvalidOption: It is none, or of an engine that this program does not know.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        # Its text is not repeated: it may hold a password.
        raise InvalidOption(f"the database's URL cannot be read: {USE}") from error
    if url.drivername not in ("postgresql", postgresql.DRIVER):
        raise InvalidOption(f"a registry cannot be kept in {url.drivername}: {USE}")
    return url.set(drivername=postgresql.DRIVER)


USE = f"write {postgresql.DRIVER}://USER@HOST/DATABASE, or unset ZOO_DB for a file in the zoo"
