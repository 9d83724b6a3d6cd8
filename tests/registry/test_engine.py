from __future__ import annotations

import gc
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event
from types import FrameType
from typing import cast

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from zoo.domain.catalog import CatalogEntry
from zoo.errors import Corrupt, DiskFull, Unavailable
from zoo.registry import Query, Registry
from zoo.registry.engine import LENT, reading, writing
from zoo.registry.engines import sqlite

only_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


@only_sqlite
def test_a_writer_holds_the_lock_from_the_start(registry: Registry, path: Path) -> None:
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    with writing(registry._engine), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    with reading(registry._engine):
        other.execute("BEGIN IMMEDIATE")
    other.close()


@only_sqlite
def test_readers_do_not_wait_for_a_writer(
    registry: Registry, path: Path, make_entry: Callable[..., CatalogEntry]
) -> None:
    registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM item")
    assert registry.count(Query()) == 1
    with reading(registry._engine) as connection:
        seen = "SELECT count(*) FROM item"
        assert connection.exec_driver_sql(seen).scalar() == 1
        writer.execute("COMMIT")  # nor does the writer wait for them
        assert connection.exec_driver_sql(seen).scalar() == 1
    writer.close()
    assert registry.count(Query()) == 0


def test_a_lock_that_never_ends_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, make_entry: Callable[..., CatalogEntry]
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with Registry.open(path) as registry:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="held the lock"):
            registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
        holder.close()
        assert registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now") == 1


@contextmanager
def interrupted(at: int) -> Iterator[None]:
    """An interrupt comes where a function begins or ends; ``at`` says which one."""
    places = count(1)

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        # Other tests need the locks of these.
        elsewhere = frame.f_globals.get("__name__", "").partition(".")[0] in (
            "logging",
            "threading",
        )
        if event != "c_call" and not elsewhere and next(places) == at:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


@only_sqlite
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
def test_an_interrupt_anywhere_leaves_no_lock(registry: Registry, path: Path, step: int) -> None:
    """Nor is the garbage collector what ends it: nobody knows when that runs."""
    ended = False
    for at in count(1, step):
        gc.disable()
        # SQLAlchemy asserts something where it is interrupted as it commits.
        with suppress(KeyboardInterrupt, AssertionError), interrupted(at):
            with writing(registry._engine) as connection:
                connection.exec_driver_sql("DELETE FROM item")
            ended = True
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.close()
        gc.enable()
        registry._engine.dispose()  # a pool may count one that it has not any more
        if ended:
            break
    assert at > 100


def _goes_on(connection: Connection) -> bool:
    """Whether the driver has a transaction that has not ended."""
    raw = cast(sqlite3.Connection, connection.connection.dbapi_connection)
    return raw.in_transaction


@only_sqlite
def test_of_others_nothing_is_rolled_back(registry: Registry, path: Path) -> None:
    """What another thread has begun goes on, as does what was begun before."""
    statement = "INSERT INTO item SELECT * FROM item WHERE 0"
    ready, go = Event(), Event()

    def read() -> bool:
        with reading(registry._engine) as connection:
            connection.exec_driver_sql("SELECT count(*) FROM item").all()
            ready.set()
            assert go.wait(60)
            return _goes_on(connection)

    with ThreadPoolExecutor(1) as pool, reading(registry._engine) as outer:
        outer.exec_driver_sql("SELECT count(*) FROM item").all()
        other = pool.submit(read)
        assert ready.wait(60)
        with suppress(KeyboardInterrupt), writing(registry._engine) as connection:
            connection.exec_driver_sql(statement)
            raise KeyboardInterrupt
        go.set()
        assert other.result()
        assert _goes_on(outer)


@only_sqlite
def test_what_is_kept_of_connections_goes_with_them(registry: Registry) -> None:
    lent = registry._engine.get_execution_options()[LENT]
    with registry._engine.connect() as one:
        assert len(lent) == 1
        one.detach()
        assert not lent
    with registry._engine.connect() as one:
        one.exec_driver_sql("SELECT 1").all()
        one.invalidate()
    assert not lent


def test_a_file_that_is_no_database_is_corrupt(path: Path) -> None:
    path.write_text("no database, " * 1000)
    with pytest.raises(Corrupt, match=r"registry\.db") as caught:
        Registry.open(path)
    assert isinstance(caught.value.__cause__, Exception)
    assert path.read_text() == "no database, " * 1000


def test_a_damaged_page_is_corrupt(path: Path, make_entry: Callable[..., CatalogEntry]) -> None:
    with Registry.open(path) as registry:
        many = [make_entry(f"timm/model_{number}.x") for number in range(500)]
        registry.replace_entries("timm", "1", many, "now")
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xff" * (path.stat().st_size - 4096 * 20))
    with pytest.raises(Corrupt), Registry.open(path) as registry:
        registry.search(Query(limit=1000))


@pytest.mark.parametrize("where", [".", "missing/registry.db"])
def test_a_place_without_a_file_is_unavailable(tmp_path: Path, where: str) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        Registry.open(tmp_path / where)


def run(registry: Registry, *statements: str) -> None:
    with writing(registry._engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@only_sqlite
def test_a_registry_that_cannot_be_written_is_unavailable(registry: Registry) -> None:
    with pytest.raises(Unavailable, match="read-only"):
        run(registry, "PRAGMA query_only=ON", "DELETE FROM item")


@only_sqlite
def test_a_full_disk_is_told_and_changes_nothing(registry: Registry) -> None:
    rows = [
        f"INSERT INTO source VALUES ('{number}', '{'x' * 4000}', 'now', 0)" for number in range(100)
    ]
    # The limit makes SQLite report what it reports for a full disk.
    with pytest.raises(DiskFull, match=r"registry\.db"):
        run(registry, "PRAGMA max_page_count=1", *rows)
    assert registry.indexed_version("0") is None


def test_other_errors_stay_what_they_are(registry: Registry) -> None:
    # A mistake of ours must not look like a damaged file.
    with pytest.raises(IntegrityError):
        run(registry, "INSERT INTO listing VALUES (1, 'nobody', NULL, NULL, NULL)")


def test_a_database_that_nobody_has_any_more_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of a zoo in a notebook: Python 3.13 warns of one that is not."""
    gc.collect()  # what other tests have left
    closed = list[int]()

    def close(connection: sqlite3.Connection) -> None:
        closed.append(1)
        sqlite3.Connection.close(connection)

    monkeypatch.setattr(sqlite._Closing, "close", close)
    engine = sqlite.create(sqlite.url_of(tmp_path / "registry.db"))
    with reading(engine):
        pass
    assert closed == []
    del engine
    gc.collect()
    assert closed == [1]
