"""Catalogs of a few checkpoints: to index all that timm publishes takes most of a small test."""

from __future__ import annotations

from functools import cache

import pytest

from zoo.domain.catalog import CatalogEntry
from zoo_timm.catalog import TimmCatalog

__all__ = ["few_published"]

SMALL = ("test_", "tf_efficientnet_lite")


@cache
def _few() -> tuple[CatalogEntry, ...]:
    """Small networks, and one that is described and that nobody delivers, if there is one."""
    entries = list(TimmCatalog().entries())
    small = [entry for entry in entries if entry.architecture.startswith(SMALL)]
    return (*small, *[entry for entry in entries if entry.location is None][:1])


@pytest.fixture
def few_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timm's catalog lists small networks only, as timm does."""
    few = _few()
    monkeypatch.setattr(TimmCatalog, "entries", lambda _: few)
