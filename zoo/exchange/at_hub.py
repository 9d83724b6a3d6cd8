"""At the hub: what a push would take a repository from, before anything is sent."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from zoo import plugins
from zoo.contracts import Source
from zoo.domain.change import Change, change_of
from zoo.domain.manifest import Manifest
from zoo.domain.progress import silent
from zoo.errors import MissingPackage, OtherClasses, UnknownName, Unsupported
from zoo.exchange.fetching import Fetcher
from zoo.exchange.layouts import explains, read_layouts
from zoo.transfer.changes import free_suffix
from zoo.workspace import Workspace

__all__ = ["check_there"]


def check_there(
    workspace: Workspace,
    name: str,
    where: tuple[str, str],
    manifest: Manifest,
    scratch: Path,
    *,
    force: bool,
) -> Change | None:
    """See that the repository ``where``, a source and a locator, may become that of ``manifest``;
    what differs for those who load it, as far as its files tell.

    Raises:
        OtherClasses: What is there has no class in common with it, and not ``force``.
        Unavailable: It does not answer.
    """
    source, locator = where
    if "@" in locator:  # a push makes a new revision: the target refuses this one
        return None
    catalog, before, revision = plugins.catalog(source), None, ""
    # What is not there, or is none that zoo reads, is no one's yet.
    with suppress(MissingPackage, UnknownName, Unsupported):
        if isinstance(catalog, Source):
            release = catalog.resolve(locator)
            revision = release.revision
            fetcher = Fetcher(catalog, release, workspace.store, scratch, silent)
            names = [file.path for file in release.files if explains(file.path, file.size)]
            for each in names:
                fetcher.fetch(each)
            fetcher.done()
            before = _read(scratch, locator, {file.path for file in release.files}, manifest)
    change = change_of(before, manifest) if before else None
    if change and change.is_other and not force:
        shown = f"hf://{locator}"
        what = f"{shown} is for something else: {'; '.join(change.lines)}"
        free = f"{shown}-{free_suffix(manifest)}"
        raise OtherClasses("push", name, f"commit {revision[:12]}", what, free, shown)
    return change


def _read(folder: Path, locator: str, there: set[str], like: Manifest) -> Manifest | None:
    """The checkpoint there, as far as a change tells of it."""
    layouts = read_layouts(folder, [locator], there)
    if not layouts:
        return None
    layout = layouts[0]
    provenance = (
        {"dataset": layout.record.dataset} if layout.record and layout.record.dataset else {}
    )
    recipe = layout.whole.recipe if layout.whole else None
    return replace(like, classes=layout.network.classes, recipe=recipe, provenance=provenance)
