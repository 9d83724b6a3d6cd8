"""Downloads: how often repositories were downloaded, in all and lately.

They are counted in memory and settled now and then, so that no answer waits for the database. What
several processes and machines settle adds up; who is killed loses what it has not settled yet.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import NamedTuple

from sqlalchemy import Connection, Engine, case, delete, func, select

from zoo.registry.engine import reading, writing
from zoo.registry.sql import insert
from zoo.serve.who import schema

__all__ = ["SETTLE_SECONDS", "Downloads", "Totals", "forget_downloads", "move_downloads"]

TABLE, REPOS = schema.download, schema.repo
SETTLE_SECONDS = 10.0
"""So often they are settled."""
KNOWN_SECONDS = 30.0
"""So old may be what is told."""
DAYS = 30
BEFORE = ""
"""In the place of a day: all that is longer ago."""


class Totals(NamedTuple):
    """Downloads of a repository: within the last 30 days, today included, and all."""

    lately: int = 0
    all: int = 0


class Downloads:
    """The downloads of a zoo's repositories."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock, self._reading = engine, Lock(), Lock()
        self._new: Counter[str] = Counter()
        self._tidied = ""
        self._known: tuple[float, Mapping[str, Totals]] = (-KNOWN_SECONDS, {})

    def count(self, repo: str) -> None:
        """Count one."""
        with self._lock:
            self._new[repo] += 1

    def settle(self) -> None:
        """Write down what was counted since the last time.

        Raises:
            Unavailable, DiskFull: It cannot be written; it is counted still.
        """
        with self._lock:
            new, self._new = self._new, Counter()
        if not new:
            return
        today = datetime.now(UTC).date()
        try:
            with writing(self._engine) as connection:
                counts = _renamed(connection, new)
                # Sorted: who settles at the same time takes rows in the same order, and waits.
                names = sorted(counts)
                _add(
                    connection, [{"repo": n, "day": str(today), "count": counts[n]} for n in names]
                )
                if self._tidied != str(today):
                    _tidy(connection, str(today - timedelta(days=DAYS - 1)))
        except BaseException:
            with self._lock:
                self._new += new
            raise
        self._tidied = str(today)

    def move(self, old: str, new: str) -> None:
        """Count those of a repository under its new name."""
        with writing(self._engine) as connection:
            move_downloads(connection, old, new)

    def of(self, repo: str) -> Totals:
        """How often a repository was downloaded, as it was known some seconds ago."""
        with self._reading:
            at, known = self._known
            if time.monotonic() - at >= KNOWN_SECONDS:
                known = self._read()
                self._known = time.monotonic(), known
        return known.get(repo, Totals())

    def _read(self) -> Mapping[str, Totals]:
        since = str(datetime.now(UTC).date() - timedelta(days=DAYS - 1))
        lately = func.sum(case((TABLE.c.day >= since, TABLE.c.count), else_=0))
        statement = select(TABLE.c.repo, lately, func.sum(TABLE.c.count)).group_by(TABLE.c.repo)
        with reading(self._engine) as connection:
            return {
                repo: Totals(int(new), int(all_))
                for repo, new, all_ in connection.execute(statement)
            }


def _renamed(connection: Connection, counts: Counter[str]) -> Counter[str]:
    """Counts by the names that repositories have now: some were moved since they were counted."""
    moved = select(REPOS.c.path, REPOS.c.moved).where(REPOS.c.moved.is_not(None))
    # Locked, where rows can be: a move that came now would leave these counts behind.
    there = connection.execute(moved.where(REPOS.c.path.in_(counts)).with_for_update(read=True))
    names = {row.path: row.moved for row in there}
    by_name: Counter[str] = Counter()
    for repo, count in counts.items():
        by_name[names.get(repo, repo)] += count
    return by_name


def _add(connection: Connection, rows: list[dict[str, object]]) -> None:
    statement = insert(connection, TABLE)
    more = TABLE.c.count + statement.excluded.count
    keys = [*TABLE.primary_key.columns]
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_={"count": more}), rows
    )


def _tidy(connection: Connection, since: str) -> None:
    """Keep one row of what is longer ago. Taken and added in one go: two may do so at a time."""
    old = delete(TABLE).where(TABLE.c.day < since, TABLE.c.day != BEFORE)
    counts: Counter[str] = Counter()
    for repo, count in connection.execute(old.returning(TABLE.c.repo, TABLE.c.count)):
        counts[repo] += count
    if counts:
        rows = [{"repo": repo, "day": BEFORE, "count": counts[repo]} for repo in sorted(counts)]
        _add(connection, rows)


def forget_downloads(connection: Connection, repo: str) -> None:
    """Count a repository anew: it is deleted, and another one may be called so."""
    connection.execute(delete(TABLE).where(TABLE.c.repo == repo))


def move_downloads(connection: Connection, old: str, new: str) -> None:
    """Count those of a repository under its new name; done again, it changes nothing."""
    old_rows = connection.execute(select(TABLE).where(TABLE.c.repo == old)).mappings()
    rows = [{**row, "repo": new} for row in old_rows]
    if rows:
        for repo in (old, new):
            forget_downloads(connection, repo)
        _add(connection, rows)
