"""What is PostgreSQL's own; all else is tested with both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from fakes.postgres import Server
from registry.databases import connect
from sqlalchemy import Connection, event, text

from zoo.domain.catalog import CatalogEntry
from zoo.errors import Invalid, InvalidOption, MissingPackage, Unavailable
from zoo.registry import Query, Registry, staging
from zoo.registry.engine import reading, writing
from zoo.registry.engines import postgresql

Make = Callable[..., CatalogEntry]


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection]:
    """Somebody else's connection."""
    with connect(database) as session:
        yield session


def test_names_are_in_the_order_of_their_characters(registry: Registry, make_entry: Make) -> None:
    names = ["h/B.x", "h/a-b.x", "h/a.x", "h/aB.x", "h/é.x"]
    registry.replace_entries("h", "1", map(make_entry, reversed(names)), "now")
    assert [found.name for found in registry.search(Query())] == names
    assert [found.name for found in registry.search(Query.parse("name:H/*b*"))] == [
        "h/B.x", "h/a-b.x", "h/aB.x"
    ]  # fmt: skip


def test_a_search_in_order_hashes_no_table(registry: Registry, make_entry: Make) -> None:
    entries = (make_entry(f"h/a{number}.x", card="prose") for number in range(1_100))
    registry.replace_entries("h", "1", entries, "now")
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, values: object, *___: object) -> None:
        asked.append((statement, values))

    event.listen(registry._engine, "before_cursor_execute", note)
    assert len(registry.search(Query.parse("prose", limit=1))) == 1
    event.remove(registry._engine, "before_cursor_execute", note)
    with registry._engine.connect() as connection:
        (walked,) = [each for each in asked if "fits" in each[0]]
        plan = connection.exec_driver_sql("EXPLAIN " + walked[0], walked[1]).scalars().all()
    assert not [line for line in plan if "Seq Scan on card" in line or "hashed" in line], plan


def test_what_is_no_longer_listed_is_found_without_a_look_at_all_names_for_each(
    registry: Registry, make_entry: Make
) -> None:
    registry.replace_entries("h", "1", [make_entry("h/a.x"), make_entry("h/b.x")], "now")
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, values: object, *___: object) -> None:
        asked.append((statement, values))

    with registry._engine.connect() as connection:
        staging.stage(connection, [make_entry("h/b.x")])
        event.listen(connection, "before_cursor_execute", note)
        (gone,) = staging.unlisted(connection, "h")
        event.remove(connection, "before_cursor_execute", note)
        statement, values = asked[0]
        # As if a million names were staged: they do not fit in what a query may keep in memory.
        connection.exec_driver_sql("SET work_mem = '64kB'")
        more = (make_entry(f"h/{number}.x") for number in range(3000))
        staging.stage(connection, more)
        plan = connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars().all()
        name = connection.scalar(text("SELECT name FROM item WHERE id = :id"), {"id": gone})
    assert name == "h/a.x"
    assert not [line for line in plan if "SubPlan" in line], "\n".join(plan)


def test_the_character_0_is_kept_in_lists_too(registry: Registry, make_entry: Make) -> None:
    odd = make_entry("h/odd.x", datasets=("a\0b", "back\\u0000", "tab\t"), card="so \0 it is")
    registry.replace_entries("h", "1", [odd], "now")
    known = registry.entry("h/odd.x")
    assert known is not None
    assert known.entry == odd
    for dataset in odd.datasets or ():
        assert registry.count(_of(dataset)) == 1


def _of(dataset: str) -> Query:
    escaped = dataset.replace("\\", "\\\\")
    return Query.parse(f'dataset:"{escaped}"')


def test_long_words_and_cards(registry: Registry, make_entry: Make) -> None:
    word = "x" * 5_000
    vast = " ".join(f"word{number}" for number in range(150_000))
    entries = [make_entry("h/a.x", card=f"{word} short"), make_entry("h/b.x", card=vast)]
    registry.replace_entries("h", "1", entries, "now")
    assert registry.count(Query(words=(word,))) == 1
    assert registry.count(Query(words=("short",))) == 1
    assert registry.count(Query(words=("word7",))) == 1
    long = "".join(f"{number:x}/" for number in range(20_000))
    with pytest.raises(Invalid, match="too long"):
        registry.replace_entries("h", "2", [make_entry(f"h/{long}.x")], "now")


def test_terms_are_found_by_their_index(registry: Registry, make_entry: Make) -> None:
    many = (make_entry(f"h/model_{number}.x") for number in range(3000))
    registry.replace_entries("h", "1", many, "now")
    with writing(registry._engine) as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # there are too few
        found = "EXPLAIN SELECT rowid FROM item_term WHERE terms @@ CAST(:wanted AS tsquery)"
        plan = "\n".join(connection.scalars(text(found), {"wanted": "'17' & '171'"}))
    assert "ix_item_term_terms" in plan


def test_writers_wait_and_readers_do_not(
    registry: Registry, session: psycopg.Connection, make_entry: Make,
    monkeypatch: pytest.MonkeyPatch, database: str,
) -> None:  # fmt: skip
    registry.replace_entries("h", "1", [make_entry("h/a.x")], "now")
    monkeypatch.setattr(postgresql, "BUSY_SECONDS", 0.05)
    with Registry.open(database) as other, session.transaction():
        session.execute(postgresql.WRITER)
        session.execute("DELETE FROM item")
        assert other.count(Query()) == 1
        with pytest.raises(Unavailable, match="held the lock"):
            other.replace_entries("h", "2", [], "now")
    with reading(registry._engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM item")) == 0
        session.execute("DELETE FROM item_term")
        # One state, whatever others commit meanwhile.
        assert connection.scalar(text("SELECT count(*) FROM item_term")) == 1
    assert registry.replace_entries("h", "3", [make_entry("h/b.x")], "now") == 1


def test_a_lost_connection_is_told_and_made_again(
    registry: Registry, session: psycopg.Connection
) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
    mine = " AND datname = current_database()"

    def meanwhile() -> None:
        with reading(registry._engine) as connection:
            session.execute(cut + mine)
            connection.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        meanwhile()
    assert registry.count(Query()) == 0
    session.execute(cut + mine)  # this time between two calls
    assert registry.count(Query()) == 0


def test_a_database_that_cannot_be_written(registry: Registry, make_entry: Make) -> None:
    registry.replace_entries("h", "1", [make_entry("h/a.x")], "now")

    @event.listens_for(registry._engine, "begin")
    def begin(connection: Connection) -> None:
        connection.execute(text("SET LOCAL transaction_read_only = on"))

    with pytest.raises(Unavailable, match="read-only"):
        registry.replace_remote("lab", {})
    assert registry.count(Query()) == 1


@pytest.mark.parametrize("host", ["/nowhere", None])
def test_a_server_or_database_that_is_not_there(postgres_server: Server, host: str | None) -> None:
    url = f"postgresql://zoo:secret@/none?host={host or postgres_server.folder}"
    with pytest.raises(Unavailable, match="none at /") as caught:
        Registry.open(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "me:secret@host", "sqlite:///x.db"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidOption, match="postgresql\\+psycopg") as caught:
        Registry.open(url)
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_told(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage) as caught:
        Registry.open(database)
    assert caught.value.install == "pip install 'zoo-registry[postgres]'"


def test_two_registries_share_a_database_by_schemas(
    postgres_server: Server, make_entry: Make
) -> None:
    shared = postgres_server.database("fresh")
    with connect(shared) as session:
        session.execute("DROP SCHEMA IF EXISTS one, two CASCADE")
        session.execute("CREATE SCHEMA one; CREATE SCHEMA two")
    for schema in ("one", "two"):
        with Registry.open(f"{shared}&options=-csearch_path%3D{schema}") as registry:
            registry.replace_entries("h", "1", [make_entry(f"h/{schema}.x")], "now")
            assert [found.name for found in registry.search(Query())] == [f"h/{schema}.x"]
