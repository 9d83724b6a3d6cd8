"""Groups: who is in which team because a provider says of which groups they are. That follows at
each sign-in, by rules, and gives no more than these say. What was given by hand stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from zoo.domain.reference import check_namespace
from zoo.errors import InvalidOption, UnknownName
from zoo.registry.sql import put
from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.may import ROLES, Role

__all__ = [
    "TeamRule",
    "by_hand",
    "check_rules",
    "follow",
    "forget_team",
    "read_rule",
    "wanted",
]

TABLE, ROLE = schema.grouped, schema.role
LONGEST, MOST = 300, 100
"""Letters of a group, and rules of a provider."""


class TeamRule(NamedTuple):
    """Who is in a ``group`` is in a ``team``, in a ``role``."""

    group: str
    team: str
    role: Role


def read_rule(text: str) -> TeamRule:
    """Read ``GROUP=TEAM`` or ``GROUP=TEAM:ROLE``; a group may have an ``=``, too.

    Raises:
        InvalidOption: It is none.
        InvalidReference: No team can be called so.
    """
    group, _, rest = text.rpartition("=")
    team, _, role_text = rest.partition(":")
    matches = [role for role in ROLES if role == (role_text or "reader")]
    if not matches or not 0 < len(group) <= LONGEST or not group.isprintable():
        roles = ", ".join(ROLES)
        raise InvalidOption(
            f"'{text:.200}' is no rule: write GROUP=TEAM, or GROUP=TEAM:writer; roles are {roles}"
        )
    check_namespace(team)
    return TeamRule(group, team, matches[0])


def check_rules(connection: Connection, claim: str, rules: Sequence[TeamRule]) -> None:
    """See that a provider may have these rules of the groups that a ``claim`` has.

    Raises:
        InvalidOption: There are too many, or no claim for them, or none for it.
        UnknownName: There is no such team.
    """
    if bool(claim) != bool(rules):
        raise InvalidOption("--groups-claim says where groups are told, --team-of what they give")
    if len(rules) > MOST or len(claim) > LONGEST or not claim.isprintable():
        raise InvalidOption(f"a provider has at most {MOST} rules, and a claim {LONGEST} letters")
    teams = _teams(connection)
    for rule in rules:
        if rule.team not in teams:
            hint = f"make it first: zoo serve team add {rule.team}"
            raise UnknownName("team", rule.team, sorted(teams), hint=hint)


def wanted(rules: Sequence[TeamRule], claim: object) -> dict[str, Role]:
    """The role in each team of who is in the groups that a provider's ``claim`` names."""
    groups = {each for each in (claim if isinstance(claim, list) else [claim]) if type(each) is str}
    roles: dict[str, Role] = {}
    for rule in rules:
        if rule.group in groups:
            roles[rule.team] = max(rule.role, roles.get(rule.team, rule.role), key=ROLES.index)
    return roles


def follow(connection: Connection, provider: str, account: str, roles: Mapping[str, Role]) -> None:
    """Have an account in the teams that a provider says it is in, and in none any more that it said
    before, in a transaction that writes. Of several providers that one counts that gives the most.
    """
    of = (TABLE.c.provider == provider) & (TABLE.c.account == account)
    rows = connection.execute(select(TABLE.c.team, TABLE.c.role).where(of))
    before, teams = {row.team: row.role for row in rows}, _teams(connection)
    for team in sorted({*before, *roles} & teams):
        own = (ROLE.c.path == team) & (ROLE.c.who == account)
        now = connection.scalar(select(ROLE.c.role).where(own))
        if now and not _given(connection, account, team):
            continue  # by hand
        connection.execute(delete(TABLE).where(of, TABLE.c.team == team))
        if team in roles:
            row = {"provider": provider, "account": account, "team": team, "role": roles[team]}
            connection.execute(insert(TABLE), row)
        given = max(_given(connection, account, team), key=ROLES.index, default=None)
        if given and given != now:
            put(connection, ROLE, [{"path": team, "who": account, "role": given}], ["role"])
            record(connection, "role given", team, f"{account} {given}, as {provider} says")
        elif now and not given:
            connection.execute(delete(ROLE).where(own))
            record(connection, "role taken", team, f"{account}, as {provider} says no more")


def forget_team(connection: Connection, team: str) -> None:
    """Drop what providers have said of a team that is deleted, and their rules that name it, in a
    transaction that writes: another team that is called so later is nobody's by them.
    """
    connection.execute(delete(TABLE).where(TABLE.c.team == team))
    provider = schema.provider
    columns = provider.c.name, provider.c.groups_claim, provider.c.rules
    for name, claim, text in connection.execute(select(*columns)).all():
        rules = [TeamRule(*rule) for rule in json.loads(text)]
        left = [rule for rule in rules if rule.team != team]
        if left == rules:
            continue
        values = {"rules": json.dumps(left), "groups_claim": claim if left else ""}
        connection.execute(update(provider).where(provider.c.name == name).values(**values))
        for rule in rules:
            if rule.team == team:
                detail = f"{rule.group}={team}:{rule.role}: the team is deleted"
                record(connection, "team rule ended", name, detail)


def by_hand(connection: Connection, path: str, who: str) -> None:
    """Note that somebody's role is what was said by hand, whatever providers have said."""
    which = (TABLE.c.team == path) & (TABLE.c.account == who)
    connection.execute(delete(TABLE).where(which))


def _given(connection: Connection, account: str, team: str) -> list[Role]:
    which = (TABLE.c.account == account) & (TABLE.c.team == team)
    return [*connection.scalars(select(TABLE.c.role).where(which))]


def _teams(connection: Connection) -> set[str]:
    which = schema.account.c.team
    return {*connection.scalars(select(schema.account.c.name).where(which))}
