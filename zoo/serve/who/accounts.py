"""Accounts: who has one, in which teams they are, their tokens, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple, NoReturn, Self

from sqlalchemy import Connection, Engine, Row, bindparam, delete, func, insert, or_, select, update

from zoo.domain.reference import Reference, check_namespace
from zoo.domain.result import Result
from zoo.errors import Conflict, DiskFull, InvalidOption, InvalidReference, UnknownName
from zoo.registry.engine import reading, writing
from zoo.registry.sql import SQLITE, put
from zoo.serve.who import schema
from zoo.serve.who.audit import Audit, record
from zoo.serve.who.cache import ReadCache
from zoo.serve.who.devices import Devices
from zoo.serve.who.downloads import Downloads
from zoo.serve.who.groups import by_hand, forget_team
from zoo.serve.who.locks import Locks
from zoo.serve.who.may import ANYBODY, LEVELS, PURPOSES, ROLES, Actor, Purpose
from zoo.serve.who.open import open_accounts
from zoo.serve.who.providers import Providers
from zoo.serve.who.publishers import Publishers
from zoo.serve.who.quotas import Quotas
from zoo.serve.who.reach_table import ReachTable
from zoo.serve.who.refreshing import Refreshing
from zoo.serve.who.repos import Repos
from zoo.serve.who.reserved import check_free
from zoo.serve.who.revoking import end_tokens
from zoo.serve.who.rules import Rules, fits, read_rules
from zoo.serve.who.sessions import Sessions
from zoo.serve.who.setup import Setup
from zoo.serve.who.tokens import Secret, new_secret, read_secret, utc_text
from zoo.serve.who.webhooks import Webhooks
from zoo.workspace import Workspace

__all__ = ["Account", "Accounts", "Token", "check_name"]

Also = Callable[[Connection], None]
"""What is done in a transaction that changes something else; where it raises, nothing is."""

USED_SECONDS = 60
"""So seldom is written down that a token is used."""
MOST_PATTERNS, MOST_STARS = 100, 8
"""Patterns of a namespace, and ``*`` in each."""
LETTERS = 100
"""Of what somebody calls a token."""
PATTERN = re.compile(r"[\w.*?!\[\]-]{1,128}/[\w.*?!\[\]-]{1,128}(:[\w.*?!\[\]-]{1,128})?", re.ASCII)
# Made once: that takes longer than to ask.
WHOSE = (
    select(schema.token, schema.account.c.admin)
    .join(schema.account)
    .where(schema.token.c.id == bindparam("id"))
)
TEAMS = (
    select(schema.role.c.path)
    .join(schema.account, schema.account.c.name == schema.role.c.path)
    .where(schema.account.c.team, schema.role.c.who == bindparam("who"))
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Account(Result):
    """Somebody who may ask, or a team, as which nobody does: who has a role in its namespace is in
    it.

    Attributes:
        name: What it is called, and its namespace.
        admin: Whether it may do everything.
        made: When it was made.
        team: Whether it is a team.
    """

    name: str
    admin: bool
    made: str
    team: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Token(Result):
    """A token without its secret.

    Attributes:
        id: The public part of it.
        account: Whose it is.
        name: What its owner calls it.
        purpose: What it is for.
        only: The namespaces and repositories that it is for; empty if it is for all.
        made: When it was made; all times are UTC, ISO 8601.
        expires: When it ends, if it does.
        used: When it was used last, within a minute.
        revoked: When it was revoked, if it was.
        ends_with: The token, publisher or provider that it ends with, if it does.
    """

    id: str
    account: str
    name: str
    purpose: Purpose
    only: tuple[str, ...]
    made: str
    expires: str | None
    used: str | None
    revoked: str | None
    ends_with: str | None = None


class _TokenRow(NamedTuple):
    """A token as it is kept, the teams of its account, and what was said of a repository."""

    row: Row[object] | None
    teams: frozenset[str]
    rules: Rules


class Accounts:
    """The accounts of a zoo, in a database, and what lies beside them there.

    Attributes:
        repos: The repositories that are known.
        reach_table: Which names reach which objects.
        audit: Who changed what.
        quotas: How many bytes namespaces may hold.
        webhooks: Who is told of changes.
        sessions: Who is signed in, in a browser.
        devices: Which programs wait to be let in.
        refreshing: What their tokens are refreshed by.
        providers: By which services people sign in.
        publishers: Which jobs get a token for a while.
        downloads: How often repositories were downloaded.
        locks: What one process alone does at a time.
        setup: The link by which the first account is made.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cache: ReadCache[_TokenRow] = ReadCache(engine)
        self.repos, self.reach_table = Repos(engine), ReachTable(engine)
        self.audit, self.quotas = Audit(engine), Quotas(engine)
        self.sessions, self.webhooks = Sessions(engine), Webhooks(engine)
        self.devices, self.locks = Devices(engine), Locks(engine)
        self.refreshing = Refreshing(engine)
        self.providers, self.publishers = Providers(engine), Publishers(engine)
        self.setup, self.downloads = Setup(engine), Downloads(engine)

    @property
    def is_near(self) -> bool:
        """Whether its database is a file, which is asked for as soon as memory is."""
        return self._engine.dialect.name == SQLITE

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        """The accounts of a zoo. Raises as `open_accounts` does."""
        return cls(open_accounts(workspace))

    def watch(self, changed: Callable[[], None]) -> None:
        """Have something called before a request is answered where anything was written since the
        last one: a name moves, or is about to, with a row of the database.
        """
        self._cache.changed = changed

    def close(self) -> None:
        """Close the database."""
        self._cache.close()
        self.locks.close()
        self.sessions.close()
        self._engine.dispose()

    def add(
        self, name: str, *, admin: bool = False, team: bool = False, also: Also | None = None
    ) -> Account:
        """Make an account, or a team. What is to be done with it or not at all is ``also`` done in
        the same transaction.

        Raises:
            Conflict: There is one of that name.
            InvalidReference: Nobody can be called so: it is a namespace, too, of its own.
        """
        check_namespace(name, "an account")
        check_free(name)
        account = Account(name=name, admin=admin, made=utc_text(_now()), team=team)
        with writing(self._engine) as connection:
            if there := self._account(connection, name):
                raise Conflict(
                    f"there is {'a team' if there.team else 'an account'} '{name}' already",
                    hint=""
                    if team or there.team
                    else f"another token: zoo serve token create {name}",
                )
            connection.execute(insert(schema.account), account.to_json())
            what = "team" if team else "account"
            record(connection, f"{what} made", name, "an admin" if admin else "")
            if also:
                also(connection)
        return account

    def all(self) -> list[Account]:
        """All accounts and teams, by name."""
        statement = select(schema.account).order_by(schema.account.c.name)
        with reading(self._engine) as connection:
            return [Account(**row._mapping) for row in connection.execute(statement)]

    def remove(self, name: str, *, team: bool = False, by: str = "") -> None:
        """Delete an account with its tokens, or a team with the rules of providers that name it;
        its roles, and what was said of its namespace, but for what is private: that stays so.
        Nobody who is called so later has it.

        Raises:
            UnknownName: There is none.
            Conflict: ``by`` is no admin any more, who asks for it: two may delete each other.
        """
        what = "team" if team else "account"
        with writing(self._engine) as connection:
            there = self._account(connection, name)
            if not there or there.team != team:
                lists = f"zoo serve {'team' if team else 'user'} lists them"
                raise UnknownName(what, name, hint=lists)
            if by and not ((asks := self._account(connection, by)) and asks.admin):
                raise Conflict(f"{by} is no admin any more")
            for table in (schema.role, schema.webhook, schema.level):
                mine = or_(table.c.path == name, schema.below(table.c.path, name))
                if table is schema.level:
                    mine &= table.c.level != "private"
                connection.execute(delete(table).where(mine))
            forget_team(connection, name)
            connection.execute(delete(schema.account).where(schema.account.c.name == name))
            record(connection, f"{what} deleted", name)

    def new_token(
        self,
        account: str,
        name: str,
        purpose: str = "read",
        *,
        only: tuple[str, ...] = (),
        lasts: float | None = None,
        by: str = "",
        ends_with: str | None = None,
        also: Also | None = None,
        then: Callable[[Connection, str], None] | None = None,
    ) -> tuple[Token, Secret]:
        """Make a token that ``lasts`` so many seconds, or until it is revoked. One that is made
        ``by`` another one expires no later, and ends with it, or with what that ends with where it
        is for all. What is to be done with it or not at all is ``also`` done in the same
        transaction, and ``then``, with its id, after it is made. Nobody can read the secret again.

        Raises:
            UnknownName: There is no such account, or the other token has ended.
            InvalidOption: It would be for nothing, end at once, or cannot be called so.
            InvalidReference: ``only`` names what is neither a namespace nor a repository.
        """
        if purpose not in PURPOSES:
            raise InvalidOption(f"a token is for one of: {', '.join(PURPOSES)}")
        _check_token(name, only, lasts)
        secret, now = new_secret(), _now()
        token = Token(
            id=secret.id,
            account=account,
            name=name,
            purpose=purpose,
            only=only,
            made=utc_text(now),
            expires=utc_text(now + timedelta(seconds=lasts)) if lasts else None,
            used=None,
            revoked=None,
            ends_with=ends_with,
        )
        with writing(self._engine) as connection:
            if self._require(connection, account).team:
                raise InvalidOption(f"{account} is a team: nobody asks as one, its members do")
            if by:
                token = _within(connection, token, by)
            if also:
                also(connection)
            row = {**token.to_json(), "only": " ".join(only), "secret": secret.kept}
            connection.execute(insert(schema.token), row)
            record(connection, "token made", token.id, _describe_token(token))
            if then:
                then(connection, token.id)
        return token, secret

    def tokens(self, account: str = "") -> list[Token]:
        """All tokens, or those of an account, that are revoked included, oldest first."""
        statement = select(schema.token).order_by(schema.token.c.made, schema.token.c.id)
        if account:
            statement = statement.where(schema.token.c.account == account)
        with reading(self._engine) as connection:
            rows = [dict(row._mapping) for row in connection.execute(statement)]
        for row in rows:
            del row["secret"]
        return [Token(**{**row, "only": tuple(row["only"].split())}) for row in rows]

    def revoke(self, id: str) -> None:  # noqa: A002 - what it is called everywhere
        """End a token, from now on, and those that end with it.

        Raises:
            UnknownName: There is none.
        """
        table = schema.token
        with writing(self._engine) as connection:
            if connection.scalar(select(table.c.id).where(table.c.id == id)) is None:
                raise UnknownName("token", id, hint="zoo serve token ls lists them")
            end_tokens(connection, [id])

    def authenticate(
        self, text: str | None, repo: str = "", *, blocking: bool = True
    ) -> tuple[Actor | None, Rules]:
        """Whose token this is, None if nobody's or not any more; and who may do what: of all, or of
        one repository. Without a token it is anybody.

        Raises:
            BlockingIOError: Not ``blocking``, and there is more to do than to look into memory.
        """
        secret = read_secret(text) if text is not None else None
        row, actor, rules = self._holder(secret.id if secret else "", repo, blocking=blocking)
        if text is None:
            return ANYBODY, rules
        now = _now()
        if not secret or not row or not secret.is_kept_as(row.secret):
            return None, rules
        if actor and (not row.used or row.used <= utc_text(now - timedelta(seconds=USED_SECONDS))):
            if not blocking:
                raise BlockingIOError
            with suppress(DiskFull):  # who reads, or deletes, need not wait for room
                self._note_use(row.id, now)
        return actor, rules

    def actor(self, name: str) -> Actor | None:
        """An account as it would ask with a token to read; None if there is none."""
        with reading(self._engine) as connection:
            account = self._account(connection, name)
            teams = connection.scalars(TEAMS, {"who": name}).all()
        if account is None or account.team:
            return None
        return Actor(name=name, admin=account.admin, teams=frozenset(teams))

    def holder(self, token_id: str, repo: str) -> tuple[Actor | None, Rules]:
        """Who has a token, None if nobody any more; and who may do what with a repository."""
        _, actor, rules = self._holder(token_id, repo)
        return actor, rules

    def _holder(
        self, token_id: str, repo: str, *, blocking: bool = True
    ) -> tuple[Row[object] | None, Actor | None, Rules]:
        read = partial(self._read_holder, token_id, repo) if blocking else _would_block
        row, teams, rules = self._cache.get((token_id, repo), read)
        if not row or row.revoked or (row.expires and row.expires <= utc_text(_now())):
            return row, None, rules
        actor = Actor(
            name=row.account,
            admin=row.admin,
            teams=teams,
            purpose=row.purpose,
            only=frozenset(row.only.split()),
            token=row.name,
            id=row.id,
            ends=row.expires is not None,
        )
        return row, actor, rules

    def _read_holder(self, token_id: str, repo: str) -> _TokenRow:
        with reading(self._engine) as connection:
            row = connection.execute(WHOSE, {"id": token_id}).one_or_none() if token_id else None
            teams = connection.scalars(TEAMS, {"who": row.account}).all() if row else ()
            return _TokenRow(row, frozenset(teams), read_rules(connection, repo))

    def _note_use(self, token_id: str, now: datetime) -> None:
        table = schema.token
        which = update(table).where(table.c.id == token_id)
        with writing(self._engine) as connection:
            first = which.where(table.c.used.is_(None)).values(used=utc_text(now))
            if connection.execute(first).rowcount:
                record(connection, "token used", token_id)
            else:
                connection.execute(which.values(used=utc_text(now)))

    def rules(self) -> Rules:
        """Who may do what, of all namespaces and repositories."""
        with reading(self._engine) as connection:
            return read_rules(connection)

    def set_level(self, path: str, *, level: str | None = None) -> None:
        """Say who may read a namespace or a repository; None: as its namespace, or everything.

        Raises:
            InvalidReference: It can be neither.
            InvalidOption: There is no such level.
        """
        _check_path(path)
        if level not in (None, *LEVELS):
            raise InvalidOption(f"'{level}' is none of: {', '.join(LEVELS)}")
        with writing(self._engine) as connection:
            connection.execute(delete(schema.level).where(schema.level.c.path == path))
            if level:
                connection.execute(insert(schema.level), {"path": path, "level": level})
            record(connection, "level set", path, level or "as its namespace")

    def grant(self, path: str, who: str, role: str | None) -> None:
        """Give an account or a team a role in a namespace or of a repository; None takes it away.

        Raises:
            InvalidReference: It can be neither.
            InvalidOption: There is no such role.
            UnknownName: There is no such account, or it had none.
        """
        _check_path(path)
        if role not in (None, *ROLES):
            raise InvalidOption(f"'{role}' is none of: {', '.join(ROLES)}")
        table = schema.role
        which = delete(table).where(table.c.path == path, table.c.who == who)
        with writing(self._engine) as connection:
            by_hand(connection, path, who)
            if role:
                other, hint = self._account(connection, path), ""
                if other and not other.team:  # in the namespace of a team, more roles are usual
                    swapped = f"zoo serve role {who} {path} {role}"
                    hint = (
                        f"\nif the role is for the account {path}, the name comes first: {swapped}"
                    )
                self._require(connection, who, hint)
                put(connection, table, [{"path": path, "who": who, "role": role}], ["role"])
            elif not connection.execute(which).rowcount:
                raise UnknownName("role", f"{who} in {path}", hint="zoo serve role lists them")
            record(connection, f"role {'given' if role else 'taken'}", path, f"{who} {role or ''}")

    def patterns(self) -> list[str]:
        """What stands for names that stay where they are."""
        with reading(self._engine) as connection:
            return list(connection.scalars(select(schema.protected).order_by("pattern")))

    def patterns_for(self, namespace: str) -> list[str]:
        """Those that may stand for names in a namespace: its own, and those for many."""
        column = schema.protected.c.pattern
        many = (column.contains(f"{mark}%/") for mark in "*?[")
        which = or_(schema.below(column, namespace), *many)
        with reading(self._engine) as connection:
            return list(connection.scalars(select(column).where(which).order_by(column)))

    def protect(self, pattern: str, *, on: bool) -> None:
        """Keep names where they are once they are there, but for maintainers; or end that.

        Raises:
            InvalidReference: It is no pattern, or one that takes long to compare.
            InvalidOption: There are too many for its namespace.
            UnknownName: It was not protected.
        """
        if not PATTERN.fullmatch(pattern) or pattern.count("*") > MOST_STARS:
            raise InvalidReference(
                f"'{pattern}' stands for no names", hint="write 'team/*', '*/prod' or '*/*:v*'"
            )
        table = schema.protected
        which = delete(table).where(table.c.pattern == pattern)
        with writing(self._engine) as connection:
            if on:
                namespace = pattern.partition("/")[0]
                own = select(func.count()).where(schema.below(table.c.pattern, namespace))
                if (connection.scalar(own) or 0) >= MOST_PATTERNS:  # each commit looks at them
                    text = f"there are {MOST_PATTERNS} patterns for {namespace} already"
                    raise InvalidOption(text)
                put(connection, table, [{"pattern": pattern}], ["pattern"])
            elif not connection.execute(which).rowcount:
                raise UnknownName("pattern", pattern, hint="zoo serve protect lists them")
            record(connection, f"pattern {'set' if on else 'ended'}", pattern)

    def is_protected(self, ref: Reference) -> bool:
        """Whether a pattern stands for a name."""
        return any(fits(pattern, ref) for pattern in self.patterns_for(ref.namespace))

    def _account(self, connection: Connection, name: str) -> Account | None:
        statement = select(schema.account).where(schema.account.c.name == name)
        row = connection.execute(statement).one_or_none()
        return Account(**row._mapping) if row else None

    def _require(self, connection: Connection, name: str, more: str = "") -> Account:
        if not (there := self._account(connection, name)):
            hint = f"make it first: zoo serve user add {name}{more}"
            raise UnknownName("account", name, hint=hint)
        return there


def _check_path(path: str) -> None:
    """See that a text is a namespace or a repository."""
    namespace, slash, name = path.partition("/")
    if slash:
        Reference(namespace, name)
    else:
        check_namespace(namespace)


def check_name(name: str) -> None:
    """See that a token can be called so.

    Raises:
        InvalidOption: It cannot.
    """
    if not name.isprintable() or len(name) > LETTERS:
        raise InvalidOption(f"the name of a token has at most {LETTERS} letters, in one line")


def _check_token(name: str, only: tuple[str, ...], lasts: float | None) -> None:
    """See that there can be such a token."""
    check_name(name)
    for path in only:
        _check_path(path)
    if lasts is not None and not 0 < lasts < 100 * 365 * 86400:
        raise InvalidOption("a token lasts more than no time, and less than a hundred years")


def _within(connection: Connection, token: Token, by: str) -> Token:
    """A token as one may make it that has not ended. Raises `UnknownName` if it has."""
    table = schema.token
    which = select(table).where(table.c.id == by, table.c.revoked.is_(None))
    row = connection.execute(which).one_or_none()
    if row is None or (row.expires and row.expires <= token.made):
        raise UnknownName("token", by)
    expires = min((each for each in (token.expires, row.expires) if each), default=None)
    ends_with = row.ends_with if row.purpose == "write" and not row.only else by
    return replace(token, expires=expires, ends_with=ends_with)


def _describe_token(token: Token) -> str:
    """What a token is for, in a line."""
    only = f", {' '.join(token.only)} only" if token.only else ""
    return f"{token.account} to {token.purpose}{only}, until {token.expires or 'it is revoked'}"


def _would_block() -> NoReturn:
    raise BlockingIOError


def _now() -> datetime:
    return datetime.now(UTC)
