"""torchvision's published weights as a source: described by its enums, delivered by its server.

torchvision takes seconds to import, so that is done where its enums are read.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from zoo.domain.catalog import CatalogEntry, Location, Release, SourceFile
from zoo.errors import Corrupt, UnknownName, Unsupported
from zoo_torchvision import download

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["TorchvisionCatalog"]


class TorchvisionCatalog:
    """Implements `zoo.contracts.Source`.

    A locator is a network and the name of its weights as torchvision has them, and so is a
    checkpoint's name: ``torchvision/resnet50.IMAGENET1K_V2``.
    """

    network = True

    def version(self) -> str:
        """Torchvision's version: its weights enums are part of its code."""
        import torchvision

        return str(torchvision.__version__)

    def entries(self) -> Iterator[CatalogEntry]:
        """One entry per member of each weights enum; asks no other machine."""
        from zoo_torchvision.networks import classes, license_of, pinned, preprocessing

        for locator, (architecture, weights) in _published().items():
            preset = preprocessing(weights)
            yield CatalogEntry(
                name=f"torchvision/{locator}",
                backbone="torchvision",
                architecture=architecture,
                tag=weights.name,
                license=license_of(weights),
                **asdict(preset),
                num_classes=len(classes(weights)),
                location=Location("torchvision", locator) if pinned(weights) else None,
            )

    def resolve(self, locator: str) -> Release:
        """The weights file, pinned by the digest in its name; its server tells the size."""
        from zoo_torchvision.networks import license_of, pinned

        weights = _weights(locator)
        pin = pinned(weights)
        if pin is None:
            raise Unsupported(f"'{locator}' is not pinned: {weights.url} names no digest")
        file, digits = pin
        return Release(
            source="torchvision",
            locator=locator,
            revision=digits,
            files=(SourceFile(file, download.size_of(_url(weights))),),
            weights=file,
            license=license_of(weights),
        )

    def open(self, release: Release, path: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of the weights file from ``offset`` on; read whole, they are checked."""
        if path != release.weights:
            raise UnknownName("file", path, [release.weights])
        url, size = _url(_weights(release.locator)), release.file(path).size
        hasher = hashlib.sha256()
        for piece in download.stream(url, size, offset):
            hasher.update(piece)
            yield piece
        if offset == 0 and not hasher.hexdigest().startswith(release.revision):
            raise Corrupt(path, f"sha256:{release.revision}…", f"sha256:{hasher.hexdigest()}")


def _published() -> dict[str, tuple[str, WeightsEnum]]:
    """Architecture and weights by locator, sorted."""
    from zoo_torchvision.networks import networks

    published = {
        f"{network.builder}.{weights.name}": (network.name, weights)
        for network in networks().values()
        for weights in network.weights
    }
    return dict(sorted(published.items()))


def _weights(locator: str) -> WeightsEnum:
    published = _published()
    if locator not in published:
        near = difflib.get_close_matches(locator, published, n=4, cutoff=0.5)
        raise UnknownName("torchvision weights", locator, near)
    return published[locator][1]


def _url(weights: WeightsEnum) -> str:
    return str(weights.url)
