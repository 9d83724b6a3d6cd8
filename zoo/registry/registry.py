"""Registry: the queryable index of a zoo.

Derived, like all of this package: losing it loses nothing that the store and the sources cannot
tell again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, Engine

from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.query import Query
from zoo.domain.reference import Reference
from zoo.errors import ZooError
from zoo.registry import (
    catalog,
    checkpoints,
    hierarchies,
    items,
    moving,
    owner,
    remotes,
    search,
    staging,
    tensors,
)
from zoo.registry.architectures import KnownArchitecture, known_architectures
from zoo.registry.catalog import KnownEntry
from zoo.registry.damage import MET
from zoo.registry.engine import open_engine, reading, writing, writing_after
from zoo.registry.engines import read_url, sqlite
from zoo.registry.migrate import HEAD, check_known, migrate, revision
from zoo.registry.near import near
from zoo.registry.remotes import RemoteRef
from zoo.registry.search import Found

__all__ = ["Registry"]

P = ParamSpec("P")
T = TypeVar("T")


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

    def _read(
        self,
        look: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **known: P.kwargs,
    ) -> T:
        def once() -> T:
            with reading(self._engine) as connection:
                return look(connection, *args, **known)

        return self._mending(once)

    def _write(
        self,
        change: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **known: P.kwargs,
    ) -> T:
        def once() -> T:
            self._check_writable()
            with writing(self._engine) as connection:
                check_known(connection)  # a newer program may have opened it since
                return change(connection, *args, **known)

        return self._mending(once)

    def _mending(self, once: Callable[[], T]) -> T:
        try:
            return once()
        except MET:
            if not self.renew_if_damaged():
                raise
        return once()

    def _check_writable(self) -> None:
        if self.obstacle:
            raise self.obstacle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def indexed_version(self, source: str) -> str | None:
        """The version of ``source`` that was indexed last; None if it never was."""
        return self._read(catalog.indexed_version, source)

    def replace_entries(
        self, source: str, version: str, entries: Iterable[CatalogEntry], at: str
    ) -> int:
        """Make the listings of ``source`` exactly ``entries``; the number of distinct names.

        What this source does not know (None) leaves what another one told. Entries that no source
        lists any more are forgotten.
        """

        def stage(connection: Connection) -> None:  # before the lock: the source may be slow
            staging.stage(connection, entries)

        self._check_writable()
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

        self._check_writable()
        with writing_after(self._engine, stage, staging.discard) as connection:
            return catalog.add_entries(connection, source, version, at)

    def forget_entries(self, source: str, version: str | None, author: str | None, at: str) -> int:
        """Forget what ``source`` lists (`zoo.registry.catalog.forget_entries`)."""
        return self._write(catalog.forget_entries, source, version, author, at)

    def entry(self, name: str) -> KnownEntry | None:
        """The catalog entry of exactly this name."""
        return self._read(catalog.entry, name)

    def entry_licenses(self, names: Iterable[str]) -> dict[str, str | None]:
        """Licenses of the catalog entries among ``names``."""
        return self._read(catalog.licenses, list(names))

    def checkpoint_licenses(self, digests: Iterable[Digest]) -> dict[Digest, str | None]:
        """Licenses of the indexed checkpoints among ``digests``."""
        return self._read(checkpoints.licenses, list(digests))

    def near(self, name: str, limit: int = 4) -> list[str]:
        """Known names, entries and refs, that resemble ``name``, closest first."""
        return self._read(near, name, limit)

    def search(self, query: Query) -> list[Found]:
        """What matches: checkpoints by ref, newest first, then entries not here, by name."""
        return self._read(search.search, query)

    def count(self, query: Query, *, at_most: int | None = None) -> int:
        """How many match ``query``, whatever its limit; no more than ``at_most`` are counted."""
        return self._read(search.count, query, at_most)

    def add_checkpoint(self, digest: Digest, manifest: Manifest) -> None:
        """Index a checkpoint; harmless if it is known."""
        known = self._read(checkpoints.described, digest, manifest)  # before the lock
        self._write(checkpoints.add_checkpoint, known)

    def set_ref(self, ref: Reference, entry: RefEntry) -> None:
        """Let ``ref`` point where ``entry`` says, unless a later move is known already."""
        self._write(checkpoints.set_ref, ref, entry)

    def remove_ref(self, ref: Reference, entry: RefEntry) -> None:
        """Forget ``ref``, which ``entry`` deletes, unless a later move is known already."""
        self._write(checkpoints.remove_ref, ref, entry)

    def announce(self, ref: Reference, at: str) -> int:
        """Note that ``ref`` is about to move in the store; the note's number."""
        return self._write(moving.announce, ref, at)

    def moving(self) -> list[moving.Note]:
        """The moves that were announced, and not yet settled."""
        return self._read(moving.notes)

    def settle(self, note: int) -> None:
        """Forget a note: `set_ref` or `remove_ref` has put in what there is to know of the move."""
        self._write(moving.settle, note)

    def make_terms(self) -> None:
        """Make what searches read again from all that is known here."""
        self._write(items.rebuild)

    def forget(self, digests: Iterable[Digest]) -> None:
        """Forget checkpoints that the store no longer holds."""
        self._write(checkpoints.forget, list(digests))

    def unknown(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` that are not indexed."""
        return self._read(checkpoints.unknown, list(digests))

    def replace_remote(
        self,
        remote: str,
        refs: Mapping[Reference, RefEntry],
        histories: Mapping[Reference, Sequence[Digest]] = MappingProxyType({}),
    ) -> None:
        """Make what is known of ``remote`` exactly ``refs``; of some it is known what they were."""
        self._write(remotes.replace_remote, remote, refs, histories)

    def note_remote(self, remote: str, ref: Reference, entry: RefEntry) -> None:
        """Make what is known of one name of ``remote`` its newest ``entry``."""
        self._write(remotes.note_remote, remote, ref, entry)

    def remote_refs(self, remote: str) -> dict[Reference, RemoteRef]:
        """What is known of ``remote``."""
        return self._read(remotes.remote_refs, remote)

    def at_remotes(self, refs: Iterable[Reference]) -> list[RemoteRef]:
        """What the remotes have under these names, by remote."""
        return self._read(remotes.at_remotes, list(refs))

    def holders(self, ref: Reference) -> dict[str, Digest]:
        """The remotes that have this name, sorted, each with what it points at there."""
        return self._read(remotes.holders, ref)

    def remote_names(self, digest: Digest) -> list[Reference]:
        """The names that some remote has for a checkpoint, sorted."""
        return self._read(remotes.remote_names, digest)

    def summary(self, digest: Digest) -> dict[str, Any] | None:
        """What is indexed of a checkpoint, as plain data; None if it is not indexed."""
        return self._read(remotes.summary, digest)

    def ref(self, ref: Reference) -> Digest | None:
        """What ``ref`` points at."""
        return self._read(checkpoints.ref, ref)

    def refs(self) -> list[tuple[Reference, Digest, int]]:
        """All refs, sorted, with what they point at and the number of the move."""
        return self._read(checkpoints.refs)

    def refs_of(self, digest: Digest) -> list[Reference]:
        """The refs that point at a checkpoint, sorted."""
        return self._read(checkpoints.refs_of, digest)

    def parents(self, digest: Digest) -> list[Digest]:
        """The checkpoints that this one derives from directly, as far as it is indexed."""
        return self._read(checkpoints.parents, digest)

    def children(self, digest: Digest) -> list[Digest]:
        """The checkpoints that derive from this one directly, oldest first."""
        return self._read(checkpoints.children, digest)

    def known_architectures(self, pattern: str = "*") -> list[KnownArchitecture]:
        """The architectures that there are weights of, by name; ``*`` is any characters."""
        return self._read(known_architectures, pattern)

    def keep_keys(self, digest: Digest, keys: Iterable[int], *, sampled: bool = True) -> None:
        """Keep by which keys the tensors of an indexed checkpoint are found.

        ``sampled`` says whether those are among them that need its bytes.
        """
        self._write(tensors.keep_keys, digest, list(keys), sampled=sampled)

    def without_keys(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` whose tensors cannot all be found by keys yet."""
        return self._read(tensors.without_keys, list(digests))

    def holders_of(self, keys: Iterable[int], limit: int = 8) -> list[tensors.Holder]:
        """The checkpoints that share most of these keys."""
        return self._read(tensors.holders, list(keys), limit)

    def keep_hierarchy(self, plugin: str, version: str, hierarchy: Hierarchy) -> None:
        """Keep what version ``version`` of a backbone plugin says of one architecture."""
        self._write(hierarchies.keep_hierarchy, plugin, version, hierarchy)

    def hierarchy(self, plugin: str, version: str, architecture: str) -> Hierarchy | None:
        """The hierarchy kept for exactly this version of the plugin."""
        return self._read(hierarchies.hierarchy, plugin, version, architecture)

    def keep_network(self, plugin: str, version: str, network: str, hierarchy: Hierarchy) -> None:
        """Keep what version ``version`` of a backbone plugin says of a network that is not as its
        architecture has it; ``network`` tells of how it differs.
        """
        self._write(hierarchies.keep_network, plugin, version, network, hierarchy)

    def network(self, plugin: str, version: str, network: str) -> Hierarchy | None:
        """What was kept for exactly this version of the plugin and this network."""
        return self._read(hierarchies.network, plugin, version, network)

    def backbones_of(self, architecture: str) -> set[str]:
        """The backbone plugins that are known here to have an architecture of that name."""
        return self._read(hierarchies.backbones_of, architecture)

    def architectures(self, source: str) -> dict[str, set[str]]:
        """The architectures of all entries that ``source`` lists, by backbone plugin."""
        return self._read(hierarchies.architectures, source)

    def traced(self, plugin: str, version: str) -> set[str]:
        """The architectures whose hierarchy is kept for exactly this version of the plugin."""
        return self._read(hierarchies.traced, plugin, version)
