"""Reach table: which names reach which objects.

It is derived from the store, and may lag behind it: whoever is told that a name reaches something
looks whether that name is still there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, bindparam, delete, select

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.registry.engine import reading, writing
from zoo.registry.sql import among, among_given, each_of, insert
from zoo.serve.who.schema import document, followed, holds, named

__all__ = ["ReachTable", "Witness"]

BLAKE3 = "blake3"
# One of those who may be asked is enough: a backbone may be in ten thousand checkpoints.
WITNESS = (
    select(named.c.document)
    .join(holds, holds.c.document == named.c.document)
    .where(among_given(named.c.repo, "repos"))
)
ASKED = each_of(bindparam("digests", type_=sa.JSON))
REACHED = select(
    ASKED.c.value,
    WITNESS.where(holds.c.digest == ASKED.c.value).limit(1).scalar_subquery(),
)


class Witness(NamedTuple):
    """A manifest or snapshot that reaches something, and a name that has it, or had it, as far as
    that was looked at: up to an entry.
    """

    document: Digest
    ref: Reference
    number: int


class ReachTable:
    """Which names reach which objects."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def followed(self) -> dict[Reference, int]:
        """Up to which entry each name has been looked at; none whose log was not read whole."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(followed).where(followed.c.whole)).all()
        return {_ref(row.repo, row.tag): row.number for row in rows}

    def followed_to(self, ref: Reference) -> int | None:
        """Up to which entry a name has been looked at, 0 if it was not; None if its log could not
        be read whole.
        """
        noted = select(followed.c.number, followed.c.whole).where(_is(followed, ref))
        with reading(self._engine) as connection:
            row = connection.execute(noted).one_or_none()
        return 0 if row is None else row.number if row.whole else None

    def repos(self) -> list[str]:
        """All repositories that reach something."""
        with reading(self._engine) as connection:
            return [*connection.scalars(select(named.c.repo).distinct())]

    def unknown(self, documents: Collection[Digest]) -> set[Digest]:
        """Those that have not been looked into."""
        wanted = {each.hex: each for each in documents}
        statement = select(document.c.digest).where(among(document.c.digest, wanted))
        with reading(self._engine) as connection:
            known = set(connection.scalars(statement))
        return {each for digits, each in wanted.items() if digits not in known}

    def follow(
        self,
        ref: Reference,
        number: int,
        documents: Collection[Digest],
        reached: Mapping[Digest, Iterable[Digest]],
        *,
        whole: bool,
    ) -> None:
        """Note which documents a name has, or had, up to an entry, and what those reach that had
        not been looked into. A log that could not be read ``whole`` is looked at again: what is
        damaged may be mended.
        """
        with writing(self._engine) as connection:
            for each, items in reached.items():
                _add(connection, document, [{"digest": each.hex}])
                (at,) = _ids(connection, [each])
                _add(connection, holds, [{"digest": d, "document": at} for d in _hex(each, items)])
            connection.execute(delete(named).where(_is(named, ref)))
            where = {"repo": ref.path, "tag": ref.tag}
            _add(connection, named, [{"document": n, **where} for n in _ids(connection, documents)])
            connection.execute(delete(followed).where(_is(followed, ref)))
            _add(connection, followed, [{**where, "number": number, "whole": whole}])

    def forget(self, gone: Digest) -> None:
        """Forget a document that is here no more."""
        with writing(self._engine) as connection:
            connection.execute(delete(document).where(document.c.digest == gone.hex))

    def reached(
        self, digests: Collection[Digest], repos: Collection[str]
    ) -> dict[Witness, set[Digest]]:
        """Those of ``digests`` that names in ``repos`` reach, each by one of these."""
        wanted = {each.hex: each for each in digests}
        given = {"digests": [*wanted], "repos": [*repos]}
        by_witness: dict[int, set[Digest]] = {}
        with reading(self._engine) as connection:
            for digits, at in connection.execute(REACHED, given):
                if at is not None:
                    by_witness.setdefault(at, set()).add(wanted[digits])
            return {_witness(connection, at, repos): these for at, these in by_witness.items()}


def _witness(connection: Connection, at: int, repos: Collection[str]) -> Witness:
    columns = document.c.digest, named.c.repo, named.c.tag, followed.c.number
    same = sa.and_(followed.c.repo == named.c.repo, followed.c.tag == named.c.tag)
    statement = select(*columns).join(named, named.c.document == document.c.id).join(followed, same)
    allowed = among_given(named.c.repo, "repos")
    row = connection.execute(
        statement.where(document.c.id == at, allowed).limit(1), {"repos": [*repos]}
    ).one()
    return Witness(Digest(BLAKE3, row.digest), _ref(row.repo, row.tag), row.number)


def _ids(connection: Connection, documents: Collection[Digest]) -> list[int]:
    wanted = among(document.c.digest, [each.hex for each in documents])
    return [*connection.scalars(select(document.c.id).where(wanted))]


def _hex(each: Digest, items: Iterable[Digest]) -> set[str]:
    return {each.hex, *(item.hex for item in items)}


def _add(connection: Connection, table: sa.Table, rows: list[dict[str, object]]) -> None:
    """Insert rows but for those that are there."""
    if rows:
        connection.execute(insert(connection, table).on_conflict_do_nothing(), rows)


def _is(table: sa.Table, ref: Reference) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.repo == ref.path, table.c.tag == ref.tag)


def _ref(repo: str, tag: str) -> Reference:
    namespace, _, name = repo.partition("/")
    return Reference(namespace, name, tag)
