"""Index catalogs into the registry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Self

from zoo import plugins
from zoo.contracts import Catalog, PagedCatalog, Source
from zoo.domain.catalog import CatalogEntry, Page
from zoo.domain.plain import Json
from zoo.domain.progress import Progress, Task, silent
from zoo.domain.result import Result
from zoo.errors import BrokenPlugin, InvalidOption, MissingPackage, UnknownName, ZooError
from zoo.exchange.commit import keep_network
from zoo.exchange.results import joined, read_results
from zoo.indexed import Reindexed
from zoo.reflog import now
from zoo.registry import Registry
from zoo.workspace import Workspace

__all__ = ["Indexed", "ListingQuery", "forget", "index", "index_local", "reindex"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingQuery:
    """What part of a listing to index, and what with it.

    Attributes:
        library: What belongs to this library (``timm``).
        author: What belongs to this owner.
        limit: At most so many, the newest.
        results: Tables of results to join by name: files or addresses.
    """

    library: str | None = None
    author: str | None = None
    limit: int | None = None
    results: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Indexed(Result):
    """What an indexing came to.

    Attributes:
        source: The source.
        entries: How many checkpoints are listed of the source by now.
        came: How many of them came this time: new, changed, or not known to be neither.
        skipped: Names of what cannot be read, and so is not listed.
        unheard: Whether the source has never listed anything of what was asked for.
    """

    source: str
    entries: int
    came: int
    skipped: tuple[str, ...] = ()
    unheard: bool = False

    def to_json(self) -> Json:
        """Plain data for JSON."""
        data = Result.to_json(self)
        del data["unheard"]
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a listing has come, newest first.

    Attributes:
        since: What was updated before this is listed already.
        newest: When the first one of the listing under way was updated.
        cursor: Where that one resumes; None if none is under way.
        seen: How many it has given.
    """

    since: str | None = None
    newest: str | None = None
    cursor: str | None = None
    seen: int = 0

    def after(self, page: Page, limit: int | None) -> tuple[Self, tuple[CatalogEntry, ...]]:
        """The mark behind a page, and those of its entries that are to be listed."""
        room = None if limit is None else limit - self.seen
        since = self.since or ""
        fresh = tuple(e for e in page.entries[:room] if not e.updated or e.updated >= since)
        first = next((each.updated for each in page.entries if each.updated), None)
        newest, seen = self.newest or first, self.seen + len(fresh)
        if page.cursor is None or len(fresh) < len(page.entries) or seen == limit:
            return replace(
                self, since=newest or self.since, newest=None, cursor=None, seen=0
            ), fresh
        return replace(self, newest=newest, cursor=page.cursor, seen=seen), fresh


def index(
    workspace: Workspace,
    source: str,
    query: ListingQuery | None = None,
    *,
    progress: Progress = silent,
) -> Indexed:
    """List a source's checkpoints in the registry, in the place of what it listed before.

    What a source lists newest first (the hub) is added to what is listed already: a run stops at
    what it knows, and one that was cut off is resumed.

    Raises:
        UnknownName: No source of that name.
        InvalidOption: The source cannot be asked so, or a table of results cannot be read.
        Unavailable: It does not answer.
        BrokenPlugin: It fails; what it listed before stays.
    """
    catalog = plugins.catalog(source)
    query = query or ListingQuery()
    if isinstance(catalog, PagedCatalog):
        if query.results:
            raise InvalidOption(f"'{source}' has results of its own: tables are for timm's")
        return _index_newest(workspace.registry, source, catalog, query, progress)
    if query.library or query.author or query.limit:
        raise InvalidOption(f"'{source}' is listed whole: no library, author or limit can be asked")
    results = read_results(query.results)
    with progress(f"indexing {source}", None) as task:
        entries: Iterable[CatalogEntry] = _counted(source, catalog, task)
        entries = joined(entries, results) if query.results else entries
        version = _version_of(source, catalog)
        total = workspace.registry.replace_entries(source, version, entries, now())
    return Indexed(source=source, entries=total, came=total)


def forget(workspace: Workspace, source: str, author: str | None = None) -> int:
    """Take a listing back, or the part of it that belongs to ``author``; how many entries that
    were. What is here of them stays.

    Raises:
        UnknownName: Nothing is listed of such a source.
        InvalidOption: It would be listed again by itself.
    """
    registry = workspace.registry
    version = registry.indexed_version(source)
    if version is None:
        if source not in plugins.names("zoo.sources"):
            raise UnknownName("listing", source, plugins.names("zoo.sources"))
        raise UnknownName("listing", source, hint="nothing of it is listed here")
    if source in plugins.names("zoo.sources") and not plugins.catalog(source).network:
        raise InvalidOption(
            f"what '{source}' lists comes with an installed package, and would be listed again"
        )
    # A run stops at what an earlier one has listed: those that had a part in this begin anew.
    if author is None:
        return registry.forget_entries(source, None, None, now())
    others = {
        key: mark
        for key, mark in _marks(version).items()
        if json.loads(key).get("author") not in (None, author)
    }
    return registry.forget_entries(source, _version(others), author, now())


def index_local(workspace: Workspace, *, unseen: bool = False, progress: Progress = silent) -> None:
    """Index the sources that ask no other machine, unless their version is indexed already.

    With ``unseen``, mere listings only if none is: to learn their version, a library must be
    imported. A source that has weights on this machine is always asked: they come with packages.
    """
    for name in plugins.names("zoo.sources"):
        try:
            catalog, indexed = plugins.catalog(name), workspace.registry.indexed_version(name)
            if catalog.network:
                continue
            if unseen and indexed is not None and not isinstance(catalog, Source):
                continue
            if indexed != _version_of(name, catalog):
                index(workspace, name, progress=progress)
        except (BrokenPlugin, MissingPackage):
            continue  # one that cannot be used keeps nobody from the others


def reindex(workspace: Workspace, *, progress: Progress = silent) -> Reindexed:
    """Index what the store holds, what sources that ask no other machine list, and the hierarchies
    of all checkpoints here. What is damaged is left out, and told.
    """
    done = workspace.reindex()
    index_local(workspace, progress=progress)
    for digest in sorted({digest for _, digest, _ in workspace.registry.refs()}):
        with suppress(ZooError):  # it is told already
            keep_network(workspace, workspace.store.manifest(digest))
    return done


def _index_newest(
    registry: Registry, source: str, catalog: PagedCatalog, query: ListingQuery, progress: Progress
) -> Indexed:
    key = json.dumps(asdict(query), sort_keys=True)
    marks = _marks(registry.indexed_version(source))
    mark = marks.get(key, Mark())
    total, came, skipped = 0, 0, list[str]()
    with progress(f"indexing {source}", None) as task:
        # What changed while a listing was interrupted is at its head, which is looked at last.
        for _ in range(2 if mark.cursor else 1):
            for page in _pages(source, catalog, query, mark.cursor):
                mark, fresh = mark.after(page, query.limit)
                marks[key] = mark
                # With the entries, in one transaction: neither is ever there without the other.
                total = registry.add_entries(source, _version(marks), fresh, now())
                task.advance(len(fresh))
                came += len(fresh)
                skipped += page.skipped
                if mark.cursor is None:
                    break
    unheard = not came and mark.since is None
    return Indexed(source=source, entries=total, came=came, skipped=tuple(skipped), unheard=unheard)


def _pages(
    source: str, catalog: PagedCatalog, query: ListingQuery, cursor: str | None
) -> Iterator[Page]:
    with plugins.blaming("zoo.sources", source):
        yield from catalog.pages(library=query.library, author=query.author, cursor=cursor)


def _marks(version: str | None) -> dict[str, Mark]:
    """The marks in the version that a listing is kept with."""
    try:
        return {key: Mark(**raw) for key, raw in json.loads(version or "{}").items()}
    except (ValueError, TypeError, AttributeError):  # of another program: begin anew
        return {}


def _version(marks: Mapping[str, Mark]) -> str:
    return json.dumps({key: asdict(mark) for key, mark in marks.items()}, sort_keys=True)


def _version_of(source: str, catalog: Catalog) -> str:
    with plugins.blaming("zoo.sources", source):
        return catalog.version()


def _counted(source: str, catalog: Catalog, task: Task) -> Iterator[CatalogEntry]:
    with plugins.blaming("zoo.sources", source):
        for entry in catalog.entries():
            task.advance()
            yield entry
