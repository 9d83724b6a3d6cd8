"""Published checkpoints of transformers as a catalog: delivered by the HF Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict

from zoo.domain.catalog import CatalogEntry, Location
from zoo_transformers.architectures import ARCHITECTURES

__all__ = ["TransformersCatalog"]


class TransformersCatalog:
    """Implements `zoo.contracts.Catalog`. Listing asks no other machine, nor for transformers."""

    network = False

    def version(self) -> str:
        """A digest of the listing, which is part of this package's code."""
        return hashlib.sha256(repr(list(self.entries())).encode()).hexdigest()[:16]

    def entries(self) -> Iterator[CatalogEntry]:
        """One entry per architecture: each was published with weights of its own."""
        for name, architecture in ARCHITECTURES.items():
            yield CatalogEntry(
                name=f"transformers/{name}",
                backbone="transformers",
                architecture=name,
                license=architecture.family.license,
                hub_id=architecture.hub_id,
                **asdict(architecture.preprocessing),
                num_classes=architecture.num_classes,
                location=Location("hub", architecture.hub_id),
            )
