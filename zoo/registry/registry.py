"""Registry: the queryable index of a zoo.

Derived, like all of this package: losing it loses nothing that the store and the sources cannot
tell again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, Engine

from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.errors import ZooError
from zoo.registry import catalog as catalogs
from zoo.registry import checkpoints, facets, hierarchies, items, owner, remotes, staging, tensors
from zoo.registry import search as searches
from zoo.registry import suggestions as names
from zoo.registry.damage import MET
from zoo.registry.engine import open_engine, reading, writing, writing_after
from zoo.registry.engines import read_url, sqlite
from zoo.registry.migrate import HEAD, check_known, migrate, revision

__all__ = ["Registry"]

P = ParamSpec("P")
T = TypeVar("T")


def _reads(
    look: Callable[Concatenate[Connection, P], T],
) -> Callable[Concatenate[Registry, P], T]:
    """A method that calls ``look`` in a transaction which reads."""
    return _method(look, lambda registry: reading(registry._engine))


def _writes(
    change: Callable[Concatenate[Connection, P], T],
) -> Callable[Concatenate[Registry, P], T]:
    """A method that calls ``change`` in a transaction which writes."""
    return _method(change, lambda registry: registry._writing())


def _method(
    call: Callable[Concatenate[Connection, P], T],
    transaction: Callable[[Registry], AbstractContextManager[Connection]],
) -> Callable[Concatenate[Registry, P], T]:
    @wraps(call)
    def method(registry: Registry, /, *args: P.args, **known: P.kwargs) -> T:
        # An iterator would be used up when a damaged index is made again, and asked once more.
        fixed: Any = [list(each) if isinstance(each, Iterator) else each for each in args]

        def once() -> T:
            with transaction(registry) as connection:
                return call(connection, *fixed, **known)

        return registry._mending(once)

    return method


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without the garbage collector, which would look in vain through all that is indexed: nothing
    of it refers to itself. That is a tenth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Registry:
    """The index in one database. Each call is one transaction; writers wait for each other.

    Every method may raise `Corrupt`, `Unavailable`, `DiskFull` or `Invalid`: see
    `zoo.registry.engine`.

    Attributes:
        obstacle: Why nothing can be written; None if it can.
        renewal: Gives another registry in the place of one that is damaged, or None if it is not;
            what failed is then done once more. Without, what failed is raised.
    """

    def __init__(self, engine: Engine, *, obstacle: ZooError | None = None) -> None:
        self._engine = engine
        self.obstacle = obstacle
        self.renewal: Callable[[], Registry | None] | None = None
        self._kept: Registry | None = None  # the files of a passing one go with it

    @classmethod
    def open(cls, where: Path | str, *, existing: bool = False) -> Self:
        """Open the database ``where``: a file, or the URL of a database on a server.

        The tables are made or brought up to date as needed; a file that is ``existing`` is not made
        if it is gone by now.

        Raises:
            Unsupported: A newer program, or another one, made the database.
            Corrupt: The file is damaged, or no database.
            Unavailable: The database cannot be opened or written.
            InvalidOption: The URL is none, or of an engine that is not known.
            MissingPackage: The engine's driver is not installed.
        """
        if isinstance(where, Path):
            registry = cls(open_engine(sqlite.url_of(where, existing=existing)))
        else:
            registry = cls(open_engine(read_url(where)))
        try:
            migrate(registry._engine)
            registry._complete()
        except BaseException:
            registry.close()
            raise
        return registry

    @classmethod
    def open_read_only(cls, path: Path, obstacle: ZooError) -> Self | None:
        """Open a file that cannot be written for ``obstacle``; None if it cannot be read so.

        That is if it is an older program's, or has a log that must be brought in first.
        """
        log, shared = sqlite.sides(path)
        if log.exists() and log.stat().st_size and not shared.exists():
            return None
        registry = cls(sqlite.create_read_only(path), obstacle=obstacle)
        with reading(registry._engine) as connection:
            if revision(connection) == HEAD and items.complete(connection):
                return registry
        return None

    def _complete(self) -> None:
        """Make what a migration left to this program: items and terms of another version."""
        with reading(self._engine) as connection:
            done = items.complete(connection)
        if not done:
            with writing(self._engine) as connection:
                if not items.complete(connection):  # another process may have been faster
                    items.rebuild(connection)

    @classmethod
    def open_for(cls, zoo: str, url: str, fill: Callable[[Self], None]) -> Self:
        """Open the database that is the index of the zoo with the id ``zoo``, or becomes it.

        ``fill`` puts all in that the store holds, where that was not done yet.

        Raises:
            Conflict: It is another zoo's; nothing was changed.
            ZooError: As for `open`.
        """
        registry = cls.open(url)
        try:
            if not owner.claim(registry._engine, zoo):
                fill(registry)
                owner.keep_filled(registry._engine)  # last: who is stopped before begins again
        except BaseException:
            registry.close()
            raise
        return registry

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def renew_if_damaged(self) -> bool:
        """Look for damage, and take another registry in its place if there is; whether it was."""
        fresh = self.renewal and self.renewal()
        if fresh:
            self.close()
            self._engine, self.obstacle = fresh._engine, fresh.obstacle
            self._kept = fresh
        return bool(fresh)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self.check_writable()
        with writing(self._engine) as connection:
            check_known(connection)  # a newer program may have opened it since
            yield connection

    @contextmanager
    def _staged(self, entries: Iterable[CatalogEntry]) -> Iterator[Connection]:
        def stage(connection: Connection) -> None:  # before the lock: the source may be slow
            staging.stage(connection, entries)

        self.check_writable()
        with writing_after(self._engine, stage, staging.discard) as connection, _no_collector():
            yield connection

    def _mending(self, once: Callable[[], T]) -> T:
        try:
            return once()
        except MET:
            if not self.renew_if_damaged():
                raise
        return once()

    def check_writable(self) -> None:
        """See that the index can be written.

        Raises:
            Unavailable, DiskFull: It cannot.
        """
        if self.obstacle:
            raise self.obstacle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Each of these is the function of another module, which says what it does, in a transaction.
    indexed_version = _reads(catalogs.indexed_version)
    forget_entries = _writes(catalogs.forget_entries)
    entry = _reads(catalogs.entry)
    entry_licenses = _reads(catalogs.licenses)
    published_macs = _reads(catalogs.published_macs)

    near = _reads(names.near)
    search = _reads(searches.search)
    count = _reads(searches.count)
    count_checkpoints = _reads(searches.count_checkpoints)
    facets = _reads(facets.facets)
    known_architectures = _reads(searches.known_architectures)
    known_data = _reads(searches.known_data)
    make_terms = _writes(items.rebuild)

    checkpoint_licenses = _reads(checkpoints.licenses)
    unknown = _reads(checkpoints.unknown)
    unread = _reads(checkpoints.unread)
    drop_unread = _writes(checkpoints.drop_unread)
    forget = _writes(checkpoints.forget)
    set_benches = _writes(checkpoints.set_benches)
    set_evaluations = _writes(checkpoints.set_evaluations)
    parents = _reads(checkpoints.parents)
    children = _reads(checkpoints.children)
    heirs = _reads(checkpoints.heirs)
    derived_from = _reads(checkpoints.derived_from)
    of_architecture = _reads(checkpoints.of_architecture)
    summary = _reads(remotes.summary)

    ref = _reads(checkpoints.ref)
    refs = _reads(checkpoints.refs)
    refs_of = _reads(checkpoints.refs_of)
    checkpoints_of_size = _reads(checkpoints.of_size)
    refs_of_each = _reads(checkpoints.refs_of_each)
    set_ref = _writes(checkpoints.set_ref)
    remove_ref = _writes(checkpoints.remove_ref)
    announce = _writes(checkpoints.announce)
    moving = _reads(checkpoints.notes)
    drop_note = _writes(checkpoints.drop_note)

    replace_remote = _writes(remotes.replace_remote)
    note_remote = _writes(remotes.note_remote)
    remote_refs = _reads(remotes.remote_refs)
    at_remotes = _reads(remotes.at_remotes)
    holders = _reads(remotes.holders)
    remote_names = _reads(remotes.remote_names)

    keep_keys = _writes(tensors.keep_keys)
    without_keys = _reads(tensors.without_keys)
    holders_of = _reads(tensors.holders)

    keep_hierarchy = _writes(hierarchies.keep_hierarchy)
    hierarchy = _reads(hierarchies.hierarchy)
    keep_network = _writes(hierarchies.keep_network)
    network = _reads(hierarchies.network)
    backbones_of = _reads(hierarchies.backbones_of)
    architectures = _reads(hierarchies.architectures)
    traced = _reads(hierarchies.traced)

    def replace_entries(
        self, source: str, version: str, entries: Iterable[CatalogEntry], at: str
    ) -> int:
        """Make the listings of ``source`` exactly ``entries``; the number of distinct names.

        What this source does not know (None) leaves what another one told. Entries that no source
        lists any more are forgotten.
        """
        with self._staged(entries) as connection:
            return catalogs.replace_entries(connection, source, version, at)

    def add_entries(
        self, source: str, version: str, entries: Iterable[CatalogEntry], at: str
    ) -> int:
        """Add ``entries`` to the listings of ``source``, or put them in the place of those of the
        same name; how many it then has. The rest is as for `replace_entries`.
        """
        with self._staged(entries) as connection:
            return catalogs.add_entries(connection, source, version, at)

    def add_checkpoint(self, digest: Digest, manifest: Manifest) -> None:
        """Index a checkpoint; harmless if it is known."""
        known = self._described(digest, manifest)  # before the lock
        self._add_described(known)

    _described = _reads(checkpoints.described)
    _add_described = _writes(checkpoints.add_checkpoint)
