"""What every source plugin must do. Subclass, and supply fixtures ``source`` and ``locator``."""

from __future__ import annotations

import hashlib

import pytest

from zoo.contracts import Catalog, Source
from zoo.domain.catalog import CatalogEntry, Release
from zoo.errors import UnknownName

__all__ = ["SourceSuite"]


class SourceSuite:
    """Conformance to `zoo.contracts.Source`.

    class TestMine(SourceSuite):
        @pytest.fixture
        def source(self): return MySource()
        @pytest.fixture
        def locator(self): return "something that it delivers"
    """

    @pytest.fixture
    def resolved(self, source: Source, locator: str) -> Release:
        """The release under test."""
        return source.resolve(locator)

    def test_is_a_source(self, source: Source) -> None:
        """It has all parts of the contract, and a version that holds still."""
        assert isinstance(source, Catalog)
        assert isinstance(source, Source)
        assert isinstance(source.network, bool)
        assert source.version() == source.version() != ""

    def test_entries_are_named_once(self, source: Source) -> None:
        """Names are ``namespace/architecture.tag``, and no two are alike."""
        entries = list(source.entries())
        names = [entry.name for entry in entries]
        assert all(isinstance(entry, CatalogEntry) for entry in entries)
        assert len(set(names)) == len(names)
        assert all("/" in name for name in names)

    def test_resolve_pins(self, source: Source, locator: str, resolved: Release) -> None:
        """The same locator gives the same release; it names its weights among its files."""
        assert resolved == source.resolve(locator)
        assert resolved.locator == locator
        assert resolved.revision
        paths = [file.path for file in resolved.files]
        assert len(set(paths)) == len(paths)
        assert resolved.weights in paths

    def test_sizes_are_true(self, source: Source, resolved: Release) -> None:
        """Of every file."""
        for file in resolved.files:
            assert sum(map(len, source.open(resolved, file.path))) == file.size, file.path

    def test_digests_are_true(self, source: Source, resolved: Release) -> None:
        """Of every file whose digest is published."""
        for file in resolved.files:
            if file.sha256 is not None:
                whole = b"".join(source.open(resolved, file.path))
                assert hashlib.sha256(whole).hexdigest() == file.sha256, file.path

    def test_reading_starts_at_an_offset(self, source: Source, resolved: Release) -> None:
        """What comes from an offset is the tail of the whole: a pull can be resumed."""
        path = resolved.weights
        whole = b"".join(source.open(resolved, path))
        for offset in (1, len(whole) // 2, len(whole) - 1):
            assert b"".join(source.open(resolved, path, offset)) == whole[offset:], offset

    def test_pieces_are_small(self, source: Source, resolved: Release) -> None:
        """Nobody has to hold a large file in memory."""
        assert max(map(len, source.open(resolved, resolved.weights))) <= 16 << 20

    def test_unknown_locator(self, source: Source, locator: str) -> None:
        """Raises `UnknownName` with the name that was asked for."""
        with pytest.raises(UnknownName, match="no-such-thing"):
            source.resolve(f"{locator}-no-such-thing")

    def test_unknown_file(self, source: Source, resolved: Release) -> None:
        """Raises `UnknownName`, at the latest when read."""
        with pytest.raises(UnknownName, match=r"no-such\.bin"):
            b"".join(source.open(resolved, "no-such.bin"))
