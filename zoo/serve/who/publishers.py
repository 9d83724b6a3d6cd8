"""Publishers: jobs that get a token for a while, for what their issuer says of them (as PyPI's
trusted publishers do). No secret need be kept where they run.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, delete, insert, select

from zoo.domain.reference import Reference, check_namespace
from zoo.domain.result import Result
from zoo.errors import InvalidOption, InvalidReference, UnknownName
from zoo.registry.engine import reading, writing
from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.issuers import check_hosts, check_issuer
from zoo.serve.who.revoking import end_tokens
from zoo.serve.who.tokens import utc_text

__all__ = ["LASTS", "Publisher", "Publishers", "check_claims", "check_there", "fits", "text_of"]

TABLE = schema.publisher
LASTS = 15 * 60.0
"""Seconds that a token of a job is good."""
LONGEST, MOST = 300, 20
"""Letters of a claim, and claims."""
TAKEN = ("iss", "aud", "exp", "nbf", "iat", "jti")
"""Claims that are looked at anyway."""
WHOSE: Mapping[str, tuple[str, ...]] = {
    # Not a workflow alone: jobs of all repositories may call one that is public.
    "token.actions.githubusercontent.com": ("repository", "repository_id"),
    "gitlab.com": ("sub", "project_path", "project_id", "ci_config_ref_uri"),
}
"""Claims of which one says whose job it is, where anybody can have jobs."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Publisher(Result):
    """Jobs that get a token.

    Attributes:
        id: What they are called.
        path: What for: a namespace, a repository, or a pattern of repositories in a namespace.
        issuer: Who vouches for them.
        claims: What it must say of them, word for word.
        hosts: Others than the issuer's own that it may use.
        account: As whom they act.
        made: When it was made, UTC, ISO 8601.
    """

    id: str
    path: str
    issuer: str
    claims: Mapping[str, str]
    hosts: tuple[str, ...]
    account: str
    made: str

    @property
    def is_pattern(self) -> bool:
        """Whether it is for repositories that are not named one by one."""
        return any(mark in self.path for mark in "*?[")

    def fits(self, claims: Mapping[str, object]) -> bool:
        """Whether these claims, which its issuer has made, are all that it asks for."""
        return fits(self.claims, claims)

    def covers(self, path: str) -> bool:
        """Whether it is for a namespace or a repository."""
        namespace, _, name = path.partition("/")
        own, _, pattern = self.path.partition("/")
        if namespace != own or not pattern:
            return namespace == own
        return bool(name) and fnmatchcase(name, pattern)


class Publishers:
    """The publishers of a zoo's accounts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[Publisher]:
        """All of them, by what they are for."""
        statement = select(TABLE).order_by(TABLE.c.path, TABLE.c.id)
        with reading(self._engine) as connection:
            rows = [dict(row._mapping) for row in connection.execute(statement)]
        for row in rows:
            row |= {"claims": json.loads(row["claims"]), "hosts": tuple(row["hosts"].split())}
        return [Publisher(**row) for row in rows]

    def add(
        self,
        path: str,
        issuer: str,
        claims: Mapping[str, str],
        *,
        account: str = "",
        hosts: tuple[str, ...] = (),
    ) -> Publisher:
        """Give jobs of which an issuer says so a token for a while, which is to append; they act as
        an ``account``, else as the one that the namespace is called after.

        Raises:
            InvalidReference: ``path`` is no namespace, repository or pattern.
            InvalidOption: The claims would fit jobs of others, or the account is a team.
            UnknownName: There is no such account.
        """
        _check_path(path)
        check_issuer(issuer)
        check_hosts(hosts)
        _check_claims(issuer, claims)
        publisher = Publisher(
            id=f"publisher-{secrets.token_hex(4)}",
            path=path,
            issuer=issuer,
            claims=dict(sorted(claims.items())),
            hosts=hosts,
            account=account or path.partition("/")[0],
            made=utc_text(datetime.now(UTC)),
        )
        row = {
            **publisher.to_json(),
            "claims": json.dumps(publisher.claims),
            "hosts": " ".join(hosts),
        }
        with writing(self._engine) as connection:
            team = select(schema.account.c.team).where(schema.account.c.name == publisher.account)
            is_team = connection.scalar(team)
            if is_team is None:
                hint = (
                    "say which one jobs act as: --as ACCOUNT, or zoo serve user add "
                    f"{publisher.account}"
                )
                raise UnknownName("account", publisher.account, hint=hint)
            if is_team:
                raise InvalidOption(
                    f"{publisher.account} is a team, and nobody acts as one",
                    hint="say which account jobs act as, such as one of their own: --as ci",
                )
            connection.execute(insert(TABLE), row)
            record(connection, "publisher added", path, f"{publisher.id}: {_describe(publisher)}")
        return publisher

    def remove(self, id: str) -> None:  # noqa: A002 - what it is called everywhere
        """Give these jobs no token any more, and end those that they have.

        Raises:
            UnknownName: There is no such publisher.
        """
        with writing(self._engine) as connection:
            row = connection.execute(select(TABLE).where(TABLE.c.id == id)).one_or_none()
            if row is None:
                raise UnknownName("publisher", id, hint="zoo serve publisher lists them")
            connection.execute(delete(TABLE).where(TABLE.c.id == id))
            record(connection, "publisher removed", row.path, id)
            tokens = select(schema.token.c.id).where(schema.token.c.ends_with == id)
            end_tokens(connection, [*connection.scalars(tokens)])


def check_there(connection: Connection, publisher: Publisher) -> None:
    """See that a publisher is there, in the transaction that makes a token of its, and forget those
    of its tokens that expired before today.

    Raises:
        UnknownName: It was removed.
    """
    if connection.scalar(select(TABLE.c.id).where(TABLE.c.id == publisher.id)) is None:
        raise UnknownName("publisher", publisher.id)
    token, today = schema.token.c, datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z")
    old = (token.ends_with == publisher.id) & (token.expires < today)
    connection.execute(delete(schema.token).where(old))


def fits(wanted: Mapping[str, str], claims: Mapping[str, object]) -> bool:
    """Whether these claims are all that are wanted."""
    return all(text_of(claims.get(name)) == text for name, text in wanted.items())


def text_of(value: object) -> str | None:
    """A claim as it is written on the command line; None if it is no single value."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None


def _check_path(path: str) -> None:
    namespace, slash, name = path.partition("/")
    check_namespace(namespace)
    if slash:
        plain = "".join("x" if each in "*?[]!" else each for each in name)
        if not plain or ":" in name or name.count("*") > 1:
            raise InvalidReference(
                f"'{path}' is no repository, and no pattern of some",
                hint="write lab, lab/flowers or 'lab/flowers-*'",
            )
        Reference(namespace, plain)


def check_claims(claims: Mapping[str, str]) -> None:
    """See that these are claims that can be asked for.

    Raises:
        InvalidOption: They are not.
    """
    for name, text in claims.items():
        if not name or name in TAKEN or max(map(len, (name, text))) > LONGEST or not text:
            raise InvalidOption(f"'{name}' is no claim that can be asked for: write name=value")


def _check_claims(issuer: str, claims: Mapping[str, str]) -> None:
    check_claims(claims)
    if not 0 < len(claims) <= MOST:
        raise InvalidOption(
            f"it takes 1 to {MOST} claims that the issuer makes of your jobs alone",
            hint="as --claim repository=lab/flowers",
        )
    if (whose := WHOSE.get(urlsplit(issuer).hostname or "")) and not set(whose) & set(claims):
        raise InvalidOption(
            "these claims fit jobs of anybody there", hint=f"add one of: {', '.join(whose)}"
        )


def _describe(publisher: Publisher) -> str:
    claims = ", ".join(f"{name}={text}" for name, text in publisher.claims.items())
    return f"jobs of {publisher.issuer} with {claims}, as {publisher.account}"
