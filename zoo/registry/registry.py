"""Registry: the queryable index of a zoo.

Derived, like all of this package: losing it loses nothing that the store and the sources cannot
tell again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine

from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.query import Query
from zoo.domain.reference import Reference
from zoo.registry import (
    catalog,
    checkpoints,
    hierarchies,
    items,
    owner,
    remotes,
    search,
    staging,
    tensors,
)
from zoo.registry.architectures import KnownArchitecture, known_architectures
from zoo.registry.catalog import KnownEntry
from zoo.registry.engine import open_engine, reading, writing, writing_after
from zoo.registry.engines import read_url
from zoo.registry.migrate import migrate
from zoo.registry.near import near
from zoo.registry.search import Found

__all__ = ["Registry"]


class Registry:
    """The index in one database. Each call is one transaction; writers wait for each other.

    Every method may raise `Corrupt`, `Unavailable`, `DiskFull` or `Invalid`: see
    `zoo.registry.engine`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, where: Path | str) -> Self:
        """Open the database ``where``: a file, or the URL of a database on a server.

        The tables are made or brought up to date as needed.

        Raises:
            Unsupported: A newer program, or another one, made the database.
            Corrupt: The file is damaged, or no database.
            Unavailable: The database cannot be opened or written.
            InvalidOption: The URL is none, or of an engine that is not known.
            MissingPackage: The engine's driver is not installed.
        """
        if isinstance(where, Path):
            url = URL.create("sqlite", database=str(where))
        else:
            url = read_url(where)
        registry = cls(open_engine(url))
        try:
            migrate(registry._engine)
            registry._complete()
        except BaseException:
            registry.close()
            raise
        return registry

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def indexed_version(self, source: str) -> str | None:
        """The version of ``source`` that was indexed last; None if it never was."""
        with reading(self._engine) as connection:
            return catalog.indexed_version(connection, source)

    def replace_entries(
        self, source: str, version: str, entries: Iterable[CatalogEntry], at: str
    ) -> int:
        """Make the listings of ``source`` exactly ``entries``; the number of distinct names.

        What this source does not know (None) leaves what another one told. Entries that no source
        lists any more are forgotten.
        """

        def stage(connection: Connection) -> None:  # before the lock: the source may be slow
            staging.stage(connection, entries)

        with writing_after(self._engine, stage, staging.discard) as connection:
            return catalog.replace_entries(connection, source, version, at)

    def add_entries(
        self, source: str, version: str, entries: Iterable[CatalogEntry], at: str
    ) -> int:
        """Add ``entries`` to the listings of ``source``, or put them in the place of those of the
        same name; how many it then has. The rest is as for `replace_entries`.
        """

        def stage(connection: Connection) -> None:
            staging.stage(connection, entries)

        with writing_after(self._engine, stage, staging.discard) as connection:
            return catalog.add_entries(connection, source, version, at)

    def entry(self, name: str) -> KnownEntry | None:
        """The catalog entry of exactly this name."""
        with reading(self._engine) as connection:
            return catalog.entry(connection, name)

    def entry_licenses(self, names: Iterable[str]) -> dict[str, str | None]:
        """Licenses of the catalog entries among ``names``."""
        with reading(self._engine) as connection:
            return catalog.licenses(connection, names)

    def checkpoint_licenses(self, digests: Iterable[Digest]) -> dict[Digest, str | None]:
        """Licenses of the indexed checkpoints among ``digests``."""
        with reading(self._engine) as connection:
            return checkpoints.licenses(connection, digests)

    def near(self, name: str, limit: int = 4) -> list[str]:
        """Known names, entries and refs, that resemble ``name``, closest first."""
        with reading(self._engine) as connection:
            return near(connection, name, limit)

    def search(self, query: Query) -> list[Found]:
        """What matches: checkpoints by ref, newest first, then entries not here, by name."""
        with reading(self._engine) as connection:
            return search.search(connection, query)

    def count(self, query: Query, *, at_most: int | None = None) -> int:
        """How many match ``query``, whatever its limit; no more than ``at_most`` are counted."""
        with reading(self._engine) as connection:
            return search.count(connection, query, at_most)

    def add_checkpoint(self, digest: Digest, manifest: Manifest) -> None:
        """Index a checkpoint; harmless if it is known."""
        with writing(self._engine) as connection:
            checkpoints.add_checkpoint(connection, digest, manifest)

    def set_ref(self, ref: Reference, entry: RefEntry) -> None:
        """Let ``ref`` point where ``entry`` says, unless a later move is known already."""
        with writing(self._engine) as connection:
            checkpoints.set_ref(connection, ref, entry)

    def remove_ref(self, ref: Reference, entry: RefEntry) -> None:
        """Forget ``ref``, which ``entry`` deletes, unless a later move is known already."""
        with writing(self._engine) as connection:
            checkpoints.remove_ref(connection, ref, entry)

    def forget(self, digests: Iterable[Digest]) -> None:
        """Forget checkpoints that the store no longer holds."""
        with writing(self._engine) as connection:
            checkpoints.forget(connection, digests)

    def unknown(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` that are not indexed."""
        with reading(self._engine) as connection:
            return checkpoints.unknown(connection, digests)

    def replace_remote(self, remote: str, refs: Mapping[Reference, RefEntry]) -> None:
        """Make what is known of ``remote`` exactly ``refs``."""
        with writing(self._engine) as connection:
            remotes.replace_remote(connection, remote, refs)

    def remote_moves(self, remote: str) -> dict[Reference, int]:
        """The numbers of the moves at which ``remote`` had its names when it was asked last."""
        with reading(self._engine) as connection:
            return remotes.moves(connection, remote)

    def holders(self, ref: Reference) -> dict[str, Digest]:
        """The remotes that have this name, sorted, each with what it points at there."""
        with reading(self._engine) as connection:
            return remotes.holders(connection, ref)

    def remote_names(self, digest: Digest) -> list[Reference]:
        """The names that some remote has for a checkpoint, sorted."""
        with reading(self._engine) as connection:
            return remotes.remote_names(connection, digest)

    def summary(self, digest: Digest) -> dict[str, Any] | None:
        """What is indexed of a checkpoint, as plain data; None if it is not indexed."""
        with reading(self._engine) as connection:
            return remotes.summary(connection, digest)

    def ref(self, ref: Reference) -> Digest | None:
        """What ``ref`` points at."""
        with reading(self._engine) as connection:
            return checkpoints.ref(connection, ref)

    def refs(self) -> list[tuple[Reference, Digest, int]]:
        """All refs, sorted, with what they point at and the number of the move."""
        with reading(self._engine) as connection:
            return checkpoints.refs(connection)

    def refs_of(self, digest: Digest) -> list[Reference]:
        """The refs that point at a checkpoint, sorted."""
        with reading(self._engine) as connection:
            return checkpoints.refs_of(connection, digest)

    def children(self, digest: Digest) -> list[Digest]:
        """The checkpoints that derive from this one directly, oldest first."""
        with reading(self._engine) as connection:
            return checkpoints.children(connection, digest)

    def known_architectures(self, pattern: str = "*") -> list[KnownArchitecture]:
        """The architectures that there are weights of, by name; ``*`` is any characters."""
        with reading(self._engine) as connection:
            return known_architectures(connection, pattern)

    def keep_keys(self, digest: Digest, keys: Iterable[int], *, sampled: bool = True) -> None:
        """Keep by which keys the tensors of an indexed checkpoint are found.

        ``sampled`` says whether those are among them that need its bytes.
        """
        with writing(self._engine) as connection:
            tensors.keep_keys(connection, digest, keys, sampled=sampled)

    def without_keys(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` whose tensors cannot all be found by keys yet."""
        with reading(self._engine) as connection:
            return tensors.without_keys(connection, digests)

    def holders_of(self, keys: Iterable[int], limit: int = 8) -> list[tensors.Holder]:
        """The checkpoints that share most of these keys."""
        with reading(self._engine) as connection:
            return tensors.holders(connection, keys, limit)

    def keep_hierarchy(self, plugin: str, version: str, hierarchy: Hierarchy) -> None:
        """Keep what version ``version`` of a backbone plugin says of one architecture."""
        with writing(self._engine) as connection:
            hierarchies.keep_hierarchy(connection, plugin, version, hierarchy)

    def hierarchy(self, plugin: str, version: str, architecture: str) -> Hierarchy | None:
        """The hierarchy kept for exactly this version of the plugin."""
        with reading(self._engine) as connection:
            return hierarchies.hierarchy(connection, plugin, version, architecture)

    def keep_network(self, plugin: str, version: str, network: str, hierarchy: Hierarchy) -> None:
        """Keep what version ``version`` of a backbone plugin says of a network that is not as its
        architecture has it; ``network`` tells of how it differs.
        """
        with writing(self._engine) as connection:
            hierarchies.keep_network(connection, plugin, version, network, hierarchy)

    def network(self, plugin: str, version: str, network: str) -> Hierarchy | None:
        """What was kept for exactly this version of the plugin and this network."""
        with reading(self._engine) as connection:
            return hierarchies.network(connection, plugin, version, network)

    def backbones_of(self, architecture: str) -> set[str]:
        """The backbone plugins that are known here to have an architecture of that name."""
        with reading(self._engine) as connection:
            return hierarchies.backbones_of(connection, architecture)

    def architectures(self, source: str) -> dict[str, set[str]]:
        """The architectures of all entries that ``source`` lists, by backbone plugin."""
        with reading(self._engine) as connection:
            return hierarchies.architectures(connection, source)

    def traced(self, plugin: str, version: str) -> set[str]:
        """The architectures whose hierarchy is kept for exactly this version of the plugin."""
        with reading(self._engine) as connection:
            return hierarchies.traced(connection, plugin, version)
