"""Index catalogs into the registry."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import plugins
from zoo.contracts import Catalog
from zoo.domain.catalog import CatalogEntry
from zoo.domain.progress import Progress, Task, silent
from zoo.errors import BrokenPlugin, MissingPackage
from zoo.moves import now
from zoo.workspace import Workspace

__all__ = ["index", "index_local"]


def index(workspace: Workspace, source: str, *, progress: Progress = silent) -> int:
    """List a source's checkpoints in the registry, in the place of what it listed before.

    Returns:
        How many there are.

    Raises:
        UnknownName: No source of that name.
        Unavailable: It does not answer.
    """
    catalog = plugins.catalog(source)
    with progress(f"indexing {source}", None) as task:
        entries = _counted(catalog, task)
        return workspace.registry.replace_entries(source, catalog.version(), entries, now())


def index_local(workspace: Workspace, *, progress: Progress = silent) -> None:
    """Index the sources that ask no other machine, unless their version is indexed already."""
    for name in plugins.names("zoo.sources"):
        try:
            catalog = plugins.catalog(name)
        except (BrokenPlugin, MissingPackage):
            continue  # one that cannot be used keeps nobody from the others
        if not catalog.network and workspace.registry.indexed_version(name) != catalog.version():
            index(workspace, name, progress=progress)


def _counted(catalog: Catalog, task: Task) -> Iterator[CatalogEntry]:
    for entry in catalog.entries():
        task.advance()
        yield entry
