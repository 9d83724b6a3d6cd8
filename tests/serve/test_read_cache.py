"""What was read of a database is told for as long as it stays as it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from zoo.registry.engine import writing
from zoo.serve.who.cache import ReadCache
from zoo.serve.who.open import FILE, open_file


def test_of_requests_that_come_at_once_one_asks_for_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache: ReadCache[str] = ReadCache(open_file(tmp_path / FILE))
    counted, asking, answered = list[int](), threading.Event(), threading.Event()
    count = ReadCache._count

    def slowly(own: ReadCache[str]) -> Hashable:
        counted.append(1)
        asking.set()
        answered.wait()
        return count(own)

    monkeypatch.setattr(ReadCache, "_count", slowly)
    with closing(cache), ThreadPoolExecutor(8) as pool:
        first = pool.submit(cache.get, "a", lambda: "1")
        asking.wait()
        others = [pool.submit(cache.get, "a", lambda: "2") for _ in range(7)]
        time.sleep(0.1)  # until they wait, too
        answered.set()
        assert first.result() == "1"
        assert {each.result() for each in others} <= {"1", "2"}
        assert len(counted) == 2, "the first began before the others asked: it tells them nothing"
        assert cache.get("a", lambda: "3") in ("1", "2")
        assert len(counted) == 3, "who comes later asks again"


def test_what_changes_are_unknown_of_is_read_anew_by_whoever_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database did not answer: nobody takes that for a database that has not changed."""
    cache: ReadCache[str] = ReadCache(open_file(tmp_path / FILE))
    counted, asking, answered = list[int](), threading.Event(), threading.Event()

    def unknown(_: ReadCache[str]) -> Hashable:
        counted.append(1)
        asking.set()
        answered.wait()
        return None

    monkeypatch.setattr(ReadCache, "_count", unknown)
    with closing(cache), ThreadPoolExecutor(8) as pool:
        every = [pool.submit(cache.get, "a", lambda: "1")]
        asking.wait()
        every += [pool.submit(cache.get, "a", lambda: "2") for _ in range(3)]
        time.sleep(0.1)  # until they wait, too
        answered.set()
        assert [each.result() for each in every] == ["1", "2", "2", "2"]
        assert len(counted) == 4


def test_what_another_one_has_written_is_read_by_the_next_request(tmp_path: Path) -> None:
    engine, other = open_file(tmp_path / FILE), open_file(tmp_path / FILE)
    cache: ReadCache[str] = ReadCache(engine)
    with closing(cache):
        assert cache.get("a", lambda: "1") == cache.get("a", lambda: "2") == "1"
        with writing(other) as connection:
            connection.execute(text("CREATE TABLE more (n INTEGER)"))
        assert cache.get("a", lambda: "3") == "3"
