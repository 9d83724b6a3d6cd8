"""Pretrained tags of timm as a catalog. timm is imported only if what it lists is not known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from zoo import packages
from zoo.domain.catalog import CatalogEntry
from zoo_timm import known
from zoo_timm.published import with_published

__all__ = ["TimmCatalog"]


class TimmCatalog:
    """Implements `zoo.contracts.Catalog`. Listing asks no other machine."""

    network = False

    def version(self) -> str:
        """Timm's version: its tags are part of its code."""
        return packages.version("timm")

    def entries(self) -> Iterable[CatalogEntry]:
        """One entry per pretrained tag, with what is published of it."""
        entries = known.entries()
        if entries is None:
            from zoo_timm.outlines import listed

            sizes = known.params()  # of another timm: few networks change theirs
            entries = [replace(each, params=sizes.get(each.architecture)) for each in listed()]
        return with_published(entries)
