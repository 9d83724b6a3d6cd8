"""Accounts: who has one, their tokens, and who may read what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update

from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import Conflict, InvalidOption, InvalidReference, UnknownName
from zoo.registry.engine import reading, writing
from zoo.registry.sql import put
from zoo.serve.who import schema
from zoo.serve.who.may import ANYBODY, LEVELS, Access, Actor, Level
from zoo.serve.who.open import open_accounts
from zoo.serve.who.tokens import Secret, new_secret, read_secret
from zoo.workspace import Workspace

__all__ = ["SCOPES", "Account", "Accounts", "Given", "Rules", "Token"]

SCOPES = ("read",)
"""What a token can be for. ``write`` is reserved."""
USED_SECONDS = 60
"""So seldom is written down that a token is used."""
EVERYTHING: Level = "internal"
"""Who may read what nobody has said anything of."""
# Made once: that takes longer than to ask.
WHOSE = (
    select(schema.token, schema.account.c.admin)
    .join(schema.account)
    .where(schema.token.c.id == bindparam("id"))
)
OF_ALL = (select(schema.level), select(schema.reader))
OF_ONE = tuple(
    select(table).where(table.c.path.in_((bindparam("repo"), bindparam("namespace"))))
    for table in (schema.level, schema.reader)
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Account(Result):
    """Somebody who may ask: ``admin`` may read everything; ``made`` is when the account was."""

    name: str
    admin: bool
    made: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Token(Result):
    """A token without its secret.

    Attributes:
        id: The public part of it.
        account: Whose it is.
        name: What its owner calls it.
        scopes: What it is for.
        made: When it was made; all times are UTC, ISO 8601.
        expires: When it ends, if it does.
        used: When it was used last, within a minute.
        revoked: When it was revoked, if it was.
    """

    id: str
    account: str
    name: str
    scopes: tuple[str, ...]
    made: str
    expires: str | None
    used: str | None
    revoked: str | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Given(Result):
    """What was said of a namespace or a repository, ``path``: its ``level``, None if that is what
    its namespace or everything has, and its ``readers``.
    """

    path: str
    level: Level | None
    readers: tuple[str, ...]


class Rules:
    """Who may read what, as it was at one moment."""

    def __init__(self, levels: Mapping[str, Level], readers: Iterable[tuple[str, str]]) -> None:
        self._levels = levels
        self._readers: dict[str, set[str]] = {}
        for path, account in readers:
            self._readers.setdefault(path, set()).add(account)

    def access(self, repo: str) -> Access:
        """Who may do what with a repository. What is said of it wins over what is said of its
        namespace; readers of the namespace read all in it.
        """
        namespace = repo.partition("/")[0]
        level = self._levels.get(repo) or self._levels.get(namespace) or EVERYTHING
        readers = self._readers.get(repo, set()) | self._readers.get(namespace, set())
        return Access(namespace=namespace, level=level, readers=frozenset(readers))


class Accounts:
    """The accounts of a zoo, in a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        """The accounts of a zoo. Raises as `open_accounts` does."""
        return cls(open_accounts(workspace))

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def add(self, name: str, *, admin: bool = False) -> Account:
        """Make an account.

        Raises:
            Conflict: There is one of that name.
            InvalidReference: Nobody can be called so: it is a namespace, too, of its own.
        """
        try:
            Reference(name, name)
        except InvalidReference as error:
            fits = "1 to 128 letters, digits, '.', '_' or '-'"
            raise InvalidReference(f"'{name}' cannot be an account: {fits}", hint="") from error
        made = Account(name=name, admin=admin, made=_text(_now()))
        with writing(self._engine) as connection:
            if self._account(connection, name):
                raise Conflict(f"there is an account '{name}' already")
            connection.execute(insert(schema.account), made.to_json())
        return made

    def all(self) -> list[Account]:
        """All accounts, by name."""
        statement = select(schema.account).order_by(schema.account.c.name)
        with reading(self._engine) as connection:
            return [Account(**row._mapping) for row in connection.execute(statement)]

    def remove(self, name: str) -> None:
        """Delete an account with its tokens.

        Raises:
            UnknownName: There is none.
        """
        with writing(self._engine) as connection:
            if not self._account(connection, name):
                raise UnknownName("account", name, hint="zoo serve user lists them")
            connection.execute(delete(schema.account).where(schema.account.c.name == name))

    def new_token(
        self,
        account: str,
        name: str,
        scopes: tuple[str, ...] = SCOPES,
        lasts: float | None = None,
    ) -> tuple[Token, Secret]:
        """Make a token that ``lasts`` so many seconds, or until it is revoked. Nobody can read the
        secret again.

        Raises:
            UnknownName: There is no such account.
            InvalidOption: It would be for nothing, or end at once.
        """
        if not scopes or not set(scopes) <= set(SCOPES):
            raise InvalidOption(f"a token is for some of: {', '.join(SCOPES)}")
        if lasts is not None and not 0 < lasts < 100 * 365 * 86400:
            raise InvalidOption("a token lasts more than no time, and less than a hundred years")
        secret, now = new_secret(), _now()
        made = Token(
            id=secret.id,
            account=account,
            name=name,
            scopes=scopes,
            made=_text(now),
            expires=_text(now + timedelta(seconds=lasts)) if lasts else None,
            used=None,
            revoked=None,
        )
        row = {**made.to_json(), "scopes": " ".join(scopes), "secret": secret.kept}
        with writing(self._engine) as connection:
            self._require(connection, account)
            connection.execute(insert(schema.token), row)
        return made, secret

    def tokens(self) -> list[Token]:
        """All tokens, those that are revoked included, oldest first."""
        statement = select(schema.token).order_by(schema.token.c.made, schema.token.c.id)
        with reading(self._engine) as connection:
            rows = [dict(row._mapping) for row in connection.execute(statement)]
        for row in rows:
            del row["secret"]
        return [Token(**{**row, "scopes": tuple(row["scopes"].split())}) for row in rows]

    def revoke(self, id: str) -> None:  # noqa: A002 - what it is called everywhere
        """End a token, from now on.

        Raises:
            UnknownName: There is none.
        """
        table = schema.token
        change = update(table).where(table.c.id == id, table.c.revoked.is_(None))
        with writing(self._engine) as connection:
            if connection.scalar(select(table.c.id).where(table.c.id == id)) is None:
                raise UnknownName("token", id, hint="zoo serve token ls lists them")
            connection.execute(change.values(revoked=_text(_now())))

    def look(self, text: str | None, repo: str = "") -> tuple[Actor | None, Rules]:
        """Whose token this is, None if nobody's or not any more; and who may read what: of all, or
        of one repository. Without a token it is anybody.
        """
        secret = read_secret(text) if text is not None else None
        with reading(self._engine) as connection:
            row = secret and connection.execute(WHOSE, {"id": secret.id}).one_or_none()
            levels, readers = _said(connection, repo)
        rules = Rules(levels, readers)
        if text is None:
            return ANYBODY, rules
        now = _now()
        if not secret or not row or row.revoked or not secret.is_kept_as(row.secret):
            return None, rules
        if row.expires and row.expires <= _text(now):
            return None, rules
        if not row.used or row.used <= _text(now - timedelta(seconds=USED_SECONDS)):
            self._note_use(row.id, now)
        scopes = frozenset(row.scopes.split())
        return Actor(name=row.account, admin=row.admin, scopes=scopes, token=row.name, id=row.id), rules

    def holder(self, token_id: str, repo: str) -> tuple[Actor | None, Rules]:
        """Whose token has this public part, None if nobody's any more; and who may do what with a
        repository.
        """
        with reading(self._engine) as connection:
            row = connection.execute(WHOSE, {"id": token_id}).one_or_none()
            levels, readers = _said(connection, repo)
        rules = Rules(levels, readers)
        if not row or row.revoked or (row.expires and row.expires <= _text(_now())):
            return None, rules
        scopes = frozenset(row.scopes.split())
        return Actor(name=row.account, admin=row.admin, scopes=scopes, token=row.name, id=row.id), rules

    def _note_use(self, token_id: str, now: datetime) -> None:
        table = schema.token
        change = update(table).where(table.c.id == token_id).values(used=_text(now))
        with writing(self._engine) as connection:
            connection.execute(change)

    def given(self) -> list[Given]:
        """What was said of namespaces and repositories, by path."""
        with reading(self._engine) as connection:
            levels, readers = _said(connection)
        return [
            Given(
                path=path,
                level=levels.get(path),
                readers=tuple(sorted(account for of, account in readers if of == path)),
            )
            for path in sorted({*levels, *(path for path, _ in readers)})
        ]

    def change(
        self,
        path: str,
        *,
        level: str | None = None,
        allow: str | None = None,
        disallow: str | None = None,
    ) -> None:
        """Say who may read a namespace or a repository: its level, or one account more or less.

        Raises:
            InvalidReference: It can be neither.
            InvalidOption: There is no such level.
            UnknownName: There is no such account, or it was not allowed; nothing was changed.
        """
        namespace, _, name = path.partition("/")
        Reference(namespace, name if "/" in path else namespace)
        if level not in (None, *LEVELS):
            raise InvalidOption(f"'{level}' is none of: {', '.join(LEVELS)}")
        table = schema.reader
        with writing(self._engine) as connection:
            if level:
                put(connection, schema.level, [{"path": path, "level": level}], ["level"])
            if allow:
                self._require(connection, allow)
                put(connection, table, [{"path": path, "account": allow}], ["account"])
            which = (table.c.path == path) & (table.c.account == disallow)
            if disallow and not connection.execute(delete(table).where(which)).rowcount:
                raise UnknownName(
                    "reader", f"{disallow} of {path}", hint="zoo serve access lists them"
                )

    def _account(self, connection: Connection, name: str) -> str | None:
        names = select(schema.account.c.name).where(schema.account.c.name == name)
        return connection.scalar(names)

    def _require(self, connection: Connection, name: str) -> None:
        if not self._account(connection, name):
            raise UnknownName("account", name, hint=f"make it first: zoo serve user add {name}")


def _said(connection: Connection, repo: str = "") -> tuple[dict[str, Level], list[tuple[str, str]]]:
    """The levels and the readers of a repository and its namespace, or of all."""
    levels, readers = OF_ONE if repo else OF_ALL
    which = {"repo": repo, "namespace": repo.partition("/")[0]} if repo else {}
    return (
        {row.path: row.level for row in connection.execute(levels, which)},
        [(row.path, row.account) for row in connection.execute(readers, which)],
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
