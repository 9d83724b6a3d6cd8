"""Rules: what was said of namespaces and repositories, as it was at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sqlalchemy import Connection, bindparam, select

from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.serve.who import schema
from zoo.serve.who.may import LEVELS, ROLES, Access, Level, Role

__all__ = ["Grant", "Rules", "fits", "is_wider", "read_rules"]

EVERYTHING: Level = "internal"
"""Who may read what nobody has said anything of."""
# Made once: that takes longer than to ask.
OF_ALL = (select(schema.level), select(schema.role))
OF_ONE = tuple(
    select(table).where(table.c.path.in_((bindparam("repo"), bindparam("namespace"))))
    for table in (schema.level, schema.role)
)
Roles = Iterable[tuple[str, str, Role]]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Grant(Result):
    """What was said of a namespace or a repository, ``path``: its ``level``, None if that is what
    its namespace or everything has, and the ``roles`` of accounts and teams.
    """

    path: str
    level: Level | None
    roles: Mapping[str, Role]


class Rules:
    """Who may do what, as it was at one moment."""

    def __init__(self, levels: Mapping[str, Level], roles: Roles) -> None:
        self._levels = levels
        self._roles: dict[str, dict[str, Role]] = {}
        for path, who, role in roles:
            self._roles.setdefault(path, {})[who] = role

    def access(self, path: str) -> Access:
        """Who may do what with a repository, or a namespace. The level that is said of it wins over
        what is said of its namespace; of two roles, the one that may more.
        """
        namespace = path.partition("/")[0]
        level = self._levels.get(path) or self._levels.get(namespace) or EVERYTHING
        roles = dict(self._roles.get(namespace, {}))
        for who, role in self._roles.get(path, {}).items():
            roles[who] = max(role, roles.get(who, role), key=ROLES.index)
        return Access(path=path, level=level, roles=roles)

    def given(self) -> list[Grant]:
        """What was said, by path."""
        return [
            Grant(path=path, level=self._levels.get(path), roles=self._roles.get(path, {}))
            for path in sorted({*self._levels, *self._roles})
        ]


def read_rules(connection: Connection, repo: str = "") -> Rules:
    """What was said of a repository and its namespace; without one, of all."""
    levels, roles = OF_ONE if repo else OF_ALL
    which = {"repo": repo, "namespace": repo.partition("/")[0]} if repo else {}
    return Rules(
        {row.path: row.level for row in connection.execute(levels, which)},
        [(row.path, row.who, row.role) for row in connection.execute(roles, which)],
    )


def is_wider(rules: Rules, path: str, than: str) -> bool:
    """Whether the level of one repository shows it to more than that of another."""
    there, other = (LEVELS.index(rules.access(each).level) for each in (path, than))
    return there < other


def fits(pattern: str, ref: Reference) -> bool:
    """Whether a pattern stands for a name; one without a tag does for all tags."""
    path, colon, tag = pattern.partition(":")
    return fnmatchcase(ref.path, path) and (not colon or fnmatchcase(ref.tag, tag))
