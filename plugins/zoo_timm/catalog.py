"""timm's pretrained tags as a catalog: described by timm, delivered by the HF Hub."""

from __future__ import annotations

from collections.abc import Iterator

import timm
from timm.models import get_pretrained_cfg, list_pretrained

from zoo.domain.catalog import CatalogEntry, Location

__all__ = ["TimmCatalog"]


class TimmCatalog:
    """Implements `zoo.contracts.Catalog`. Listing asks no other machine."""

    network = False

    def version(self) -> str:
        """Timm's version: its tags are part of its code."""
        return str(timm.__version__)

    def entries(self) -> Iterator[CatalogEntry]:
        """One entry per pretrained tag."""
        for name in list_pretrained():
            config = get_pretrained_cfg(name)
            hub_id = config.hf_hub_id
            yield CatalogEntry(
                name=f"timm/{name}",
                backbone="timm",
                architecture=config.architecture,
                tag=config.tag or None,
                license=config.license,
                hub_id=hub_id,
                input_size=tuple(config.input_size),
                mean=tuple(config.mean),
                std=tuple(config.std),
                interpolation=config.interpolation,
                crop_pct=config.crop_pct,
                crop_mode=config.crop_mode,
                num_classes=config.num_classes,
                location=Location("hub", hub_id) if hub_id else None,
            )
