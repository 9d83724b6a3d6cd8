"""Workspace: a zoo on disk, its store and its registry kept in step."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

from zoo import config
from zoo.domain.bounds import check_numbers
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.limits import JSON_FILE_BYTES
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.errors import Conflict, MissingObject, NoZoo, ZooError, disk_errors
from zoo.indexed import Index, Reindexed, reindex
from zoo.machine import shared_store
from zoo.names import Names
from zoo.reflog import (
    append_adoption,
    append_after,
    append_deletion,
    append_deprecation,
    append_protection,
    append_restoration,
)
from zoo.remotes import Remotes
from zoo.signing.signers import Signers
from zoo.store import Store
from zoo.store.capabilities import read_small, sync
from zoo.store.disk import Disk
from zoo.store.json_file import JsonFile
from zoo.store.manifests import shown_digest
from zoo.store.refs import MARKER
from zoo.store.side_files import Figures, SideFiles
from zoo.trust import Trust

if TYPE_CHECKING:
    from zoo.registry import Registry

__all__ = ["ID", "Check", "Workspace", "own_signers", "trust_in"]

LOG = logging.getLogger("zoo")
REGISTRY = "registry.db"
ID = "registry.id"
"""The zoo's own id, made when its index is kept on a server first."""
REMOTES = "remotes.json"
SIGNERS = "signers.json"
USER = os.getuid() if hasattr(os, "getuid") else None
"""Whose list of what is trusted counts."""

Check = Callable[[RefEntry | None], None]
"""Gets the newest entry of a ref, and raises where the ref must not move on from it."""


def own_signers() -> Signers:
    """Whose signatures count for this user, in all zoos."""
    return Signers(JsonFile(Disk(config.settings()), SIGNERS, USER))


def trust_in(root: Path) -> Trust:
    """What the user of this process has allowed in the zoo ``root``.

    It is kept in the user's own settings: what lies in a folder that is shared, others can exchange
    for bytes that they chose, also where the file belongs to the user.
    """
    zoo = blake2b(str(root.resolve()).encode(), digest_size=8).hexdigest()
    return Trust(JsonFile(Disk(config.settings()), f"trusted-{zoo}.json", USER))


class Workspace:
    """A zoo: a folder with a store, a registry, and the remotes it knows by name.

    Attributes:
        root: The folder.
        store: Its files.
        trust: What may be imported because a checkpoint names it.
        signers: Whose signatures count, and what has to be signed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = shared_store(root) or Store.open(root)
        self.trust = trust_in(root)
        self.signers = own_signers()

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Pickled as its folder: another process opens it itself."""
        return type(self), (self.root,)

    @staticmethod
    def exists(root: Path) -> bool:
        """Whether the folder is a zoo."""
        return (root / MARKER).exists()

    @classmethod
    def create(cls, root: Path) -> Self:
        """Make a zoo in ``root``; one that is there is kept as it is."""
        Store.create(root)
        workspace = cls(root)
        workspace.registry  # noqa: B018 - creates registry.db
        return workspace

    @classmethod
    def find(cls, home: Path | None = None) -> Self:
        """Open ``home``, else what ``ZOO_HOME`` names, else the nearest zoo upward from here.

        Raises:
            NoZoo: There is none.
        """
        named = home or config.home()
        if named:
            if not (named / MARKER).is_file():
                raise NoZoo(named, upward=False)
            return cls(named.resolve())
        start = Path.cwd()
        if (nearest := cls.nearest(start)) is None:
            raise NoZoo(start, upward=True)
        return cls(nearest)

    @staticmethod
    def nearest(start: Path) -> Path | None:
        """The nearest zoo upward from the folder ``start``, which may be one itself."""
        folders = (start, *start.parents)
        return next((folder for folder in folders if (folder / MARKER).is_file()), None)

    @cached_property
    def registry(self) -> Registry:
        """The index, opened on first use and rebuilt from the store where it is gone.

        Raises:
            Conflict: What ``ZOO_DB`` names is the index of another zoo.
        """
        # Slow to import, and a push does without.
        from zoo.registry import Registry, open_kept

        if url := config.database():
            registry = Registry.open_for(self._id(), url, self._fill)
        else:
            path, alone = self.root / REGISTRY, self.store.disk.alone
            registry = open_kept(path, self.scratch, self._fill, alone)
        index = Index(self.store, lambda: registry)
        index.follow_notes()
        index.read_again()
        return registry

    def _id(self) -> str:
        """What tells this zoo from others whose index may be in the same database."""
        backend = self.store.backend
        if not backend.stat(ID):
            backend.create(ID, f"{uuid.uuid4()}\n".encode())
            sync(backend)
        return read_small(backend, ID, JSON_FILE_BYTES).decode().strip()

    def own(self, name: str) -> JsonFile:
        """A small file that lies beside the store."""
        return JsonFile(self.store.disk, name)

    def _fill(self, registry: Registry) -> None:
        Index(self.store, lambda: registry).fill()

    # Made anew each time: kept, they and the zoo would hold one another, and outlive its last user.

    @property
    def names(self) -> Names:
        """What its names point at, and which ones can be given."""
        return Names(self.store, lambda: self.registry)

    @property
    def remotes(self) -> Remotes:
        """The stores that it knows by name."""
        return Remotes(self.root, self.own(REMOTES), lambda: self.registry)

    @property
    def index(self) -> Index:
        """What keeps the registry in step with the store."""
        return Index(self.store, lambda: self.registry)

    def reindex(self) -> Reindexed:
        """Index all that the store holds again (`zoo.indexed.reindex`)."""
        path = None if config.database() else self.root / REGISTRY
        return reindex(self.store, path, lambda: self.registry)

    def close(self) -> None:
        """Close the registry, if it was opened."""
        if "registry" in self.__dict__:
            self.registry.close()
            del self.__dict__["registry"]

    def commit(
        self, manifest: Manifest, ref: Reference, why: str, *, check: Check | None = None
    ) -> Digest:
        """Keep a manifest whose objects are stored, and move ``ref`` to it as `move` does.

        Raises:
            Conflict: As for `move`.
            InvalidManifest: It breaks the format; nothing was kept.
        """
        digest = self.keep(manifest)
        self.move(ref, digest, why, check=check)
        return digest

    def keep(self, manifest: Manifest) -> Digest:
        """Keep a manifest whose objects are stored, under no name yet.

        Raises:
            InvalidManifest: It breaks the format; nothing was kept.
        """
        data = manifest.to_bytes()
        Manifest.from_bytes(data)  # nobody could read it, or prune, if it broke the format
        check_numbers(manifest)
        digest = self.store.put("manifests", data)
        if not self.store.is_sound("manifests", digest):  # it was here, and is damaged by now
            self.store.replace("manifests", digest, [data])
        return digest

    def move(
        self,
        ref: Reference,
        digest: Digest,
        why: str,
        *,
        note: str = "",
        check: Check | None = None,
    ) -> RefEntry:
        """Point ``ref`` at a stored checkpoint and index it; no new entry if it does already, and
        there is no other ``note`` to keep.

        ``check`` gets the newest entry, and raises where the ref must not move on from it.

        Raises:
            Conflict: The ref is protected, or a prune is under way.
            MissingObject: The checkpoint is not here, or not any more.
        """
        self.registry.check_writable()  # if it cannot be, nothing moves
        with self.store.upload():  # else a prune could delete it before the name protects it
            self.store.require_manifest(digest)
            # First, so that what cannot be indexed gets no name.
            self.index.add_checkpoint(digest)
            while True:
                current = self.store.read_ref(ref)
                if check:
                    check(current)
                try:
                    with self.index.noted(ref):
                        return append_after(self.store, current, ref, digest, why, note)
                except Conflict:
                    # Somebody moved it since it was read, as where two runs end at once: what took
                    # hours is not refused for that, but comes after it.
                    if self.store.read_ref(ref) == current:
                        raise

    def adopt(self, ref: Reference, current: RefEntry, digest: Digest, why: str) -> RefEntry:
        """Point ``ref``, whose newest entry is ``current``, at the same files with their
        checkpoint, and index that; all that is said of the name stays.

        Raises:
            Conflict: Someone else moved the ref meanwhile, or a prune is under way.
        """
        self.registry.check_writable()
        with self.store.upload():
            self.index.add_checkpoint(digest)
            with self.index.noted(ref):
                return append_adoption(self.store, current, ref, digest, why)

    def shown_digest(self, digest: Digest, *elsewhere: Store) -> Digest:
        """The digest that users are told of what a name points at: of a snapshot here, or in one of
        the stores ``elsewhere``, that of the checkpoint that it has; of files only, its own.
        """
        if self.registry.unknown([digest]):  # it has checkpoints only
            return shown_digest(digest, [self.store, *elsewhere])
        return digest

    def shown_entry(self, entry: RefEntry, *elsewhere: Store) -> RefEntry:
        """An entry in the log of a name as users see it."""
        previous = entry.previous and self.shown_digest(entry.previous, *elsewhere)
        return replace(
            entry, manifest=self.shown_digest(entry.manifest, *elsewhere), previous=previous
        )

    def keep_figures(self, kind: SideFiles[Figures], figures: Figures) -> bool:
        """Keep what was measured of a checkpoint, and have searches find it; whether it is kept:
        what was measured is told all the same.
        """
        try:
            kind.keep(self.store.disk, figures)
        except ZooError as error:
            LOG.warning("the figures are not kept: %s", error)
            return False
        try:
            self.index.add_checkpoint(figures.manifest)
        except ZooError as error:
            LOG.warning("the figures are kept, but not indexed yet (%s): zoo reindex", error)
        return True

    def delete(
        self, ref: Reference, *, of: RefEntry | None = None, why: str = "delete"
    ) -> RefEntry:
        """Delete a name. It can be restored until a prune: its history and files stay till then.

        Raises:
            UnknownName: No such name here.
            Conflict: Someone else moved it meanwhile, or since ``of``, its newest entry.
        """
        entry = self.store.read_ref(ref)
        if entry and entry.deleted:  # whoever did it may not have come to the index
            self.index.follow(ref)
        self.names.target(str(ref))
        self.registry.check_writable()
        with self.index.noted(ref):
            return append_deletion(self.store, ref, of=of, why=why)

    def restore(self, ref: Reference) -> RefEntry:
        """Bring back a name that was deleted; no new entry if it is there.

        Raises:
            UnknownName: There was never such a name here.
            MissingObject: A prune has taken what it pointed at.
            Conflict: Someone else moved it meanwhile.
        """
        self.registry.check_writable()
        # In an upload, else a prune could take it before the name protects it.
        with self.store.upload(), self.index.noted(ref):
            try:
                return append_restoration(self.store, ref)
            except MissingObject as error:
                error.hint = self.names.elsewhere(ref) or "a prune has deleted what it pointed at"
                raise

    def protect(self, ref: Reference, *, on: bool) -> RefEntry:
        """Keep a name where it is, here, until it is unprotected.

        Raises:
            UnknownName: No such name here.
            Conflict: Someone else moved it meanwhile.
        """
        return self._noted(ref, lambda: append_protection(self.store, ref, on=on))

    def deprecate(self, ref: Reference, text: str) -> RefEntry:
        """Say why a name is to be used no more, here; an empty ``text`` ends that.

        Raises:
            UnknownName: No such name here.
            Conflict: Someone else moved it meanwhile.
        """
        return self._noted(ref, lambda: append_deprecation(self.store, ref, text))

    def _noted(self, ref: Reference, append: Callable[[], RefEntry]) -> RefEntry:
        self.names.target(str(ref))
        done = append()
        with suppress(ZooError):  # an index that lags behind does not undo it
            self.index.put(ref, done)
        return done

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder on the store's disk."""
        self.store.disk.make_folder(self.store.staging.name)
        with (
            disk_errors(self.store.staging),
            TemporaryDirectory(dir=self.store.staging) as folder,
        ):
            yield Path(folder)
