"""Providers: services of OpenID Connect by which people sign in, and whose account they are here.

Somebody is known by what the issuer calls them for good, the *subject*; an e-mail or a name may be
somebody else's tomorrow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select

from zoo.domain.result import Result
from zoo.errors import Conflict, InvalidOption, UnknownName
from zoo.registry.engine import reading, writing
from zoo.serve.who import schema
from zoo.serve.who.audit import as_kept, record
from zoo.serve.who.groups import TeamRule, check_rules, follow
from zoo.serve.who.issuers import check_hosts, check_issuer
from zoo.serve.who.publishers import check_claims
from zoo.serve.who.revoking import end_tokens
from zoo.serve.who.spent import spend_once
from zoo.serve.who.tokens import utc_text

__all__ = ["SIGNED_IN", "Identity", "Provider", "Providers", "link_new", "note_entry"]

TABLE, IDENTITY = schema.provider, schema.identity
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
LINKED = "identity linked"
SIGNED_IN = "signed in by "
"""What the tokens are called that nobody has, with the provider's name."""
UNVERIFIED = re.compile(
    r"https://(login\.(partner\.)?microsoftonline\.(com|us|cn)|sts\.windows\.net)/.*"
)
"""Issuers that never say of an e-mail that it is verified: whoever runs a directory there writes
into it what they like.
"""
LONGEST = 255
"""Letters of a subject, as OpenID Connect has it, and of a client's id."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Provider(Result):
    """A service by which people sign in.

    Attributes:
        name: What it is called here.
        issuer: Its URL.
        client_id: What it calls this server.
        secret_file: The file with the secret that it knows this server by; empty: the environment
            may have one.
        hosts: Others than the issuer's own that it may use.
        domains: Those of the e-mails for which accounts are made; empty: all.
        creates: Whether who signs in for the first time gets an account.
        claims: What the issuer must say of them for that, word for word.
        groups_claim: The claim that has the groups of who signs in; empty: they are not looked at.
        rules: What these give.
    """

    name: str
    issuer: str
    client_id: str
    secret_file: str = ""
    hosts: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    creates: bool = False
    claims: Mapping[str, str] = field(default_factory=dict)
    groups_claim: str = ""
    rules: tuple[TeamRule, ...] = ()

    @property
    def id(self) -> str:
        """What the tokens of its sessions end with."""
        return f"provider-{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Identity(Result):
    """Whose account it is who signs in.

    Attributes:
        issuer: Where.
        subject: What they are called there.
        made: Since when, UTC, ISO 8601.
        account: The account; None if it was deleted, and nobody signs in so any more.
    """

    issuer: str
    subject: str
    made: str
    account: str | None


class Providers:
    """The providers of a zoo's accounts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[Provider]:
        """All of them, by name."""
        with reading(self._engine) as connection:
            rows = [dict(row._mapping) for row in connection.execute(select(TABLE))]
        for row in rows:
            row |= {name: tuple(row[name].split()) for name in ("hosts", "domains")}
            row |= {"claims": json.loads(row["claims"])}
            row |= {"rules": tuple(TeamRule(*rule) for rule in json.loads(row["rules"]))}
        return sorted((Provider(**row) for row in rows), key=lambda each: each.name)

    def get(self, name: str) -> Provider:
        """One of them.

        Raises:
            UnknownName: There is none.
        """
        by_name = {each.name: each for each in self.all()}
        if name not in by_name:
            raise UnknownName("provider", name, sorted(by_name), hint="zoo serve sso lists them")
        return by_name[name]

    def add(self, provider: Provider) -> None:
        """Let people sign in by a provider.

        Raises:
            InvalidOption: It can be none.
            UnknownName: There is no such team.
            Conflict: There is one of its name.
        """
        check_issuer(provider.issuer)
        check_hosts(provider.hosts)
        if not NAME.fullmatch(provider.name):
            raise InvalidOption("a provider is called by small letters, digits and '-'")
        if not 0 < len(provider.client_id) <= LONGEST or not provider.client_id.isprintable():
            raise InvalidOption(f"the id of a client has at most {LONGEST} letters, in one line")
        _check_makes(provider)
        row = {
            **provider.to_json(),
            "hosts": " ".join(provider.hosts),
            "domains": " ".join(provider.domains),
        }
        row |= {"claims": json.dumps(provider.claims), "rules": json.dumps(provider.rules)}
        with writing(self._engine) as connection:
            if connection.scalar(select(TABLE.c.name).where(TABLE.c.name == provider.name)):
                raise Conflict(f"there is a provider '{provider.name}' already")
            check_rules(connection, provider.groups_claim, provider.rules)
            connection.execute(insert(TABLE), row)
            record(
                connection, "provider added", provider.name, f"{provider.issuer} {_makes(provider)}"
            )

    def remove(self, name: str) -> None:
        """Let nobody sign in by a provider any more, and end the sessions of those who have, and
        the roles that they have for their groups. Who is whose account stays known.

        Raises:
            UnknownName: There is none.
        """
        provider = self.get(name)
        with writing(self._engine) as connection:
            connection.execute(delete(TABLE).where(TABLE.c.name == name))
            record(connection, "provider removed", name)
            grouped = schema.grouped.c
            there = select(grouped.account).where(grouped.provider == name).distinct()
            for account in [*connection.scalars(there)]:
                follow(connection, name, account, {})
            token_ids = select(schema.token.c.id).where(schema.token.c.ends_with == provider.id)
            end_tokens(connection, [*connection.scalars(token_ids)])

    def identities(self) -> list[Identity]:
        """Who is whose account, by account."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(IDENTITY).order_by("issuer", "subject"))
            identities = [Identity(**row._mapping) for row in rows]
        return sorted(identities, key=lambda each: each.account or "")

    def linked_by(self, token_id: str) -> list[Identity]:
        """Who is somebody's account because a token was used to say so."""
        log = schema.audit.c
        statement = select(log.detail).where(log.action == LINKED, log.token == token_id)
        with reading(self._engine) as connection:
            details = {*connection.scalars(statement)}
        return [
            each
            for each in self.identities()
            if each.account and as_kept(f"{each.issuer} {each.subject}") in details
        ]

    def identity(self, issuer: str, subject: str) -> Identity | None:
        """Whose account somebody is; None if nobody knows yet."""
        with reading(self._engine) as connection:
            row = connection.execute(select(IDENTITY).where(*_which(issuer, subject))).first()
        return Identity(**row._mapping) if row else None

    def link(self, issuer: str, subject: str, account: str) -> None:
        """Have who signs in so be an account from now on, whoever they were before; as whom they
        have sessions no more.

        Raises:
            UnknownName: There is no such account.
            InvalidOption: Nobody is called so, or it is a team.
        """
        if not 0 < len(subject) <= LONGEST or not subject.isprintable():
            raise InvalidOption(f"a subject has at most {LONGEST} letters, in one line")
        with writing(self._engine) as connection:
            team = select(schema.account.c.team).where(schema.account.c.name == account)
            if (is_team := connection.scalar(team)) is None:
                hint = f"make it first: zoo serve user add {account}"
                raise UnknownName("account", account, hint=hint)
            if is_team:
                raise InvalidOption(f"{account} is a team: nobody signs in as one")
            _forget(connection, issuer, subject)
            link_new(connection, issuer, subject, account)

    def link_own(self, issuer: str, subject: str, account: str, entry: str, seconds: float) -> None:
        """Have who has signed in so be an account, by an ``entry`` that is good once, for so many
        seconds at most.

        Raises:
            Conflict: They are another's already, or were; or the entry was used.
        """
        with writing(self._engine) as connection:
            spend_once(connection, entry, seconds)
            there = select(IDENTITY.c.account).where(*_which(issuer, subject))
            if connection.scalar(there) != account:
                link_new(connection, issuer, subject, account)

    def unlink(self, issuer: str, subject: str, *, account: str = "") -> None:
        """Forget whose account somebody is, or that it is this ``account``: who signs in so is new.
        The account's sessions by that issuer end, whoever of its began them.

        Raises:
            UnknownName: Nobody knew.
        """
        with writing(self._engine) as connection:
            whose = select(IDENTITY).where(*_which(issuer, subject))
            row = connection.execute(whose).one_or_none()
            if row is None or account not in ("", row.account):
                raise UnknownName("subject", subject, hint="zoo serve sso lists them")
            record(connection, "identity unlinked", "", f"{issuer} {subject}")
            _forget(connection, issuer, subject)


def link_new(connection: Connection, issuer: str, subject: str, account: str) -> None:
    """Note whose account somebody is, in a transaction that writes.

    Raises:
        Conflict: They are somebody's already, or were.
    """
    there = select(IDENTITY.c.subject).where(*_which(issuer, subject))
    if connection.scalar(there) is not None:
        raise Conflict("who signs in so has an account already, or had one")
    created = utc_text(datetime.now(UTC))
    row = {"issuer": issuer, "subject": subject, "made": created, "account": account}
    connection.execute(insert(IDENTITY), row)
    record(connection, LINKED, account, f"{issuer} {subject}")


def note_entry(
    connection: Connection,
    *,
    by: tuple[Provider, str],
    account: str,
    detail: str,
    entry: str,
    seconds: float,
) -> None:
    """Note that an account is signed in ``by`` a provider, as whom that calls so, by an ``entry``
    that is good once, for so many seconds at most, in the transaction that makes its token; those
    that have expired are forgotten.

    Raises:
        Conflict: The entry was used, or the provider removed, or the account is no longer theirs.
    """
    provider, subject = by
    there = select(TABLE.c.issuer).where(TABLE.c.name == provider.name)
    whose = select(IDENTITY.c.account).where(*_which(provider.issuer, subject))
    if (connection.scalar(there), connection.scalar(whose)) != (provider.issuer, account):
        raise Conflict("they sign in so no longer")
    spend_once(connection, entry, seconds)
    record(connection, "signed in", account, detail)
    token, now = schema.token.c, utc_text(datetime.now(UTC))
    old = (token.account == account) & token.name.startswith(SIGNED_IN) & (token.expires <= now)
    connection.execute(delete(schema.token).where(old))


def _forget(connection: Connection, issuer: str, subject: str) -> None:
    """Forget whose account somebody is, and end that account's sessions by that issuer, and the
    roles that it has for its groups there, if nobody else signs in there as it.
    """
    which, token = _which(issuer, subject), schema.token.c
    whose = connection.scalar(select(IDENTITY.c.account).where(*which))
    connection.execute(delete(IDENTITY).where(*which))
    if whose is None:
        return
    signed_in = (IDENTITY.c.issuer == issuer) & (IDENTITY.c.account == whose)
    if connection.scalar(select(IDENTITY.c.subject).where(signed_in).limit(1)) is None:
        for name in [*connection.scalars(select(TABLE.c.name).where(TABLE.c.issuer == issuer))]:
            follow(connection, name, whose, {})
    ends = "provider-" + TABLE.c.name
    of_issuer = select(ends).where(TABLE.c.issuer == issuer)
    token_ids = select(token.id).where(token.account == whose, token.ends_with.in_(of_issuer))
    end_tokens(connection, [*connection.scalars(token_ids)])


def _which(issuer: str, subject: str) -> tuple[ColumnElement[bool], ...]:
    return IDENTITY.c.issuer == issuer, IDENTITY.c.subject == subject


def _check_makes(provider: Provider) -> None:
    """See that a provider can make accounts as was said."""
    if (provider.domains or provider.claims) and not provider.creates:
        text = "--domain and --claim say for whom accounts are made: they go with --create"
        raise InvalidOption(text)
    for domain in provider.domains:
        if not DOMAIN.fullmatch(domain):
            raise InvalidOption(f"'{domain:.200}' is no domain: write lab.org")
    check_claims(provider.claims)
    if provider.domains and UNVERIFIED.fullmatch(provider.issuer):
        raise InvalidOption(
            "Entra ID says of no e-mail that it is verified: with --domain no account is made",
            hint="the issuer with your tenant's id is for your directory alone; --claim acct=0 "
            "leaves its guests out",
        )


def _makes(provider: Provider) -> str:
    if not provider.creates:
        return "makes no accounts"
    wanted = [*provider.domains, *(f"{name}={text}" for name, text in provider.claims.items())]
    return f"makes accounts{' for ' if wanted else ''}{' '.join(wanted)}"
