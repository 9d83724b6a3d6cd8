"""Weights that are fetched beside all else, and given up where they are canceled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from zoo.domain.catalog import CatalogEntry, Release, SourceFile
from zoo.domain.progress import silent
from zoo.errors import Unavailable, Unsupported
from zoo.exchange.fetching import Fetcher
from zoo.store import Store, partial

NAME = "model.safetensors"


class Slow:
    """A source whose weights come byte by byte, the last one not before ``go``."""

    network = True

    def __init__(self, size: int) -> None:
        self.size = size
        self.begun, self.go = Event(), Event()

    def version(self) -> str:
        return "1"

    def entries(self) -> Iterable[CatalogEntry]:
        return ()

    def resolve(self, locator: str) -> Release:
        files = (SourceFile(NAME, self.size), SourceFile("config.json", 2))
        return Release(source="slow", locator=locator, revision="1", files=files, weights=NAME)

    def open(self, release: Release, path: str, offset: int = 0) -> Iterator[bytes]:
        if path != NAME:
            yield b"{}"
            return
        self.begun.set()
        for _ in range(self.size - 1):
            yield b"x"
        assert self.go.wait(10)
        yield b"x"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "scratch").mkdir()
    return Store.create(tmp_path / "store")


def test_weights_come_while_other_things_are_done(store: Store, tmp_path: Path) -> None:
    source = Slow(3)
    fetcher = Fetcher(source, source.resolve("a/b"), store, tmp_path / "scratch", silent)
    with fetcher.ahead():
        assert source.begun.wait(10)
        assert fetcher.fetch("config.json").read_bytes() == b"{}"
        source.go.set()
        assert [path.read_bytes() for path in fetcher.weights(NAME)] == [b"xxx"]


def test_weights_that_are_not_wanted_any_more_are_given_up(store: Store, tmp_path: Path) -> None:
    source = Slow(10**6)
    fetcher = Fetcher(source, source.resolve("a/b"), store, tmp_path / "scratch", silent)

    def refuse() -> None:
        with fetcher.ahead():
            assert source.begun.wait(10)
            raise Unsupported("the network cannot be built")

    with pytest.raises(Unsupported):
        refuse()
    with pytest.raises(Unavailable, match="canceled"):
        fetcher.weights(NAME)
    assert list(store.files("tmp")) == []


def test_another_pull_of_the_same_bytes_ends_first(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it clears away is the name of what this one has just received."""
    source = Slow(3)
    source.go.set()
    digest = hashlib.sha256(b"xxx").hexdigest()
    release = replace(source.resolve("a/b"), files=(SourceFile(NAME, 3, sha256=digest),))
    fetcher = Fetcher(source, release, store, tmp_path / "scratch", silent)
    receive, ended = partial.download, iter([True, False])

    @contextmanager
    def forgotten(*given: Any, **options: Any) -> Iterator[partial.Download]:
        with receive(*given, **options) as whole:
            if next(ended):
                partial.forget(store.disk, key_of(whole.name))
            yield whole

    monkeypatch.setattr(partial, "download", forgotten)
    assert fetcher.fetch(NAME).read_bytes() == b"xxx"
    assert next(ended, None) is None


def key_of(name: str) -> str:
    return name.split("-")[1]
