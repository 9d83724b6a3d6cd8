"""Webhooks: addresses that are told of changes, and up to which row of the audit log they were."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from zoo.domain.reference import Reference, check_namespace
from zoo.domain.result import Result
from zoo.errors import InvalidOption, UnknownName
from zoo.registry.engine import reading, writing
from zoo.serve.who import schema
from zoo.serve.who.audit import head, record
from zoo.serve.who.tokens import utc_text

__all__ = ["MOST_FAILURES", "Try", "Webhook", "Webhooks"]

TABLE, TRIES = schema.webhook, schema.attempt
LONGEST = 200
MOST_FAILURES = 20
"""So many one after the other, some twelve hours of them, end it."""
KEPT = 20
"""So many tries of each are kept."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Webhook(Result):
    """An address that is told.

    Attributes:
        id: What it is called.
        url: The address.
        path: The namespace or repository whose changes it is told of; empty: all.
        private: Whether it may be in a private network.
        after: The row of the audit log up to which it was told.
        tried: When it was told last, or tried to be, UTC, ISO 8601; empty if never.
        status: What came of that.
        failures: How many tries have failed since one did not.
        disabled: Whether it is told nothing for now.
    """

    id: str
    url: str
    path: str
    private: bool
    after: int
    tried: str
    status: str
    failures: int
    disabled: bool = False

    @property
    def ended(self) -> bool:
        """Whether it is told no more, as it never answers."""
        return self.failures >= MOST_FAILURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A try to tell an address of a row of the audit log: when, and what came of it."""

    row: int
    at: str
    status: str


class Webhooks:
    """The webhooks of a zoo."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[Webhook]:
        """All of them."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(TABLE).order_by(TABLE.c.id))
            return [Webhook(**row._mapping) for row in rows]

    def add(self, url: str, path: str = "", *, private: bool = False) -> Webhook:
        """Tell an address of what changes from now on.

        Raises:
            InvalidOption: It is no address that can be told.
            InvalidReference: ``path`` is neither a namespace nor a repository.
        """
        _check_url(url, private=private)
        _check_path(path)
        with writing(self._engine) as connection:
            hook = Webhook(
                id=secrets.token_hex(6),
                url=url,
                path=path,
                private=private,
                after=head(connection).number,
                tried="",
                status="",
                failures=0,
            )
            connection.execute(insert(TABLE), hook.to_json())
            record(connection, "webhook added", path, f"{hook.id}: {urlsplit(url).hostname}")
        return hook

    def remove(self, id: str) -> None:  # noqa: A002 - what it is called everywhere
        """Tell an address no more.

        Raises:
            UnknownName: There is no such webhook.
        """
        with writing(self._engine) as connection:
            hook = _read(connection, id)
            connection.execute(delete(TABLE).where(TABLE.c.id == id))
            record(connection, "webhook removed", hook.path, id)

    def change(self, id: str, *, url: str | None, path: str | None) -> Webhook:  # noqa: A002
        """Tell another address, which may be in no private network, or of what changes elsewhere
        from now on.

        Raises:
            UnknownName, InvalidOption, InvalidReference: As `add` and `remove`.
        """
        with writing(self._engine) as connection:
            hook = _read(connection, id)
            if url is not None:
                _check_url(url, private=False)
                hook = replace(hook, url=url, private=False, failures=0)
            if path is not None:
                _check_path(path)
                hook = replace(hook, path=path, after=head(connection).number)
            connection.execute(update(TABLE).where(TABLE.c.id == id), hook.to_json())
            detail = f"{id}: {urlsplit(hook.url).hostname}"
            record(connection, "webhook changed", hook.path, detail)
        return hook

    def switch(self, id: str, *, on: bool) -> Webhook:  # noqa: A002
        """Tell an address nothing for now, or again: one that never answered of what it has missed,
        another one of what changes from now on.

        Raises:
            UnknownName: There is no such webhook.
        """
        with writing(self._engine) as connection:
            before = _read(connection, id)
            hook = replace(before, disabled=not on)
            if on:
                after = head(connection).number if before.disabled else before.after
                hook = replace(hook, failures=0, after=after)
            connection.execute(update(TABLE).where(TABLE.c.id == id), hook.to_json())
            record(connection, f"webhook {'enabled' if on else 'disabled'}", hook.path, id)
        return hook

    def tries(self) -> dict[str, list[Try]]:
        """The last tries of each, newest first."""
        by_hook: dict[str, list[Try]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(select(TRIES).order_by(TRIES.c.number.desc())):
                entry = Try(row=row.row, at=row.at, status=row.status)
                by_hook.setdefault(row.webhook, []).append(entry)
        return by_hook

    def note(self, hook: Webhook, row: int, *, after: int, status: str, failures: int) -> None:
        """Note what came of a try to tell it of a ``row``, and up to which it was told; nothing
        if it was changed, enabled or removed meanwhile.
        """
        at, text = utc_text(datetime.now(UTC)), status[:LONGEST]
        values = {"after": after, "failures": failures, "tried": at, "status": text}
        own = TRIES.c.webhook == hook.id
        as_read = (TABLE.c.id == hook.id) & (TABLE.c.url == hook.url)
        as_read &= TABLE.c.failures == hook.failures
        with writing(self._engine) as connection:
            if not connection.execute(update(TABLE).where(as_read).values(values)).rowcount:
                return
            number = (connection.scalar(select(func.max(TRIES.c.number)).where(own)) or 0) + 1
            tried = {"webhook": hook.id, "number": number, "row": row, "at": at, "status": text}
            connection.execute(insert(TRIES), tried)
            connection.execute(delete(TRIES).where(own, TRIES.c.number <= number - KEPT))

    def follow(self, hook: Webhook, new: str) -> None:
        """Tell one of a repository under its new name, if that is in the same namespace: what goes
        on in another one is for who owns that to tell.
        """
        if hook.path.partition("/")[0] == new.partition("/")[0]:
            which = (TABLE.c.id == hook.id) & (TABLE.c.path == hook.path)
            with writing(self._engine) as connection:
                connection.execute(update(TABLE).where(which).values(path=new))

    def skip(self, hook: Webhook, after: int) -> None:
        """Note that it need not be told of the rows up to one."""
        with writing(self._engine) as connection:
            connection.execute(update(TABLE).where(TABLE.c.id == hook.id).values(after=after))


def _read(connection: Connection, id: str) -> Webhook:  # noqa: A002
    row = connection.execute(select(TABLE).where(TABLE.c.id == id)).one_or_none()
    if row is None:
        raise UnknownName("webhook", id, hint="zoo serve webhook lists them")
    return Webhook(**row._mapping)


def _check_path(path: str) -> None:
    if "/" in path:
        Reference.parse(path)
    elif path:
        check_namespace(path)


def _check_url(url: str, *, private: bool) -> None:
    try:
        parts = urlsplit(url)
        right = parts.port is None or parts.port > 0
    except ValueError:
        raise InvalidOption(f"'{url:.200}' is no address") from None
    if not right or parts.scheme not in ("http", "https") or not parts.hostname or "@" in url:
        raise InvalidOption(f"'{url:.200}' is no address: write https://host/path")
    if parts.scheme == "http" and not private:
        raise InvalidOption(
            "over plain http others can read what is sent, and the secret with it",
            hint="use https; in a network that you trust: --private-network",
        )
