"""Workspace: a zoo on disk, its store and its registry kept in step."""

from __future__ import annotations

import difflib
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from zoo import config, plugins
from zoo.domain.bounds import check_numbers
from zoo.domain.catalog import OPEN
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry, was_pulled
from zoo.domain.limits import OWN_BYTES
from zoo.domain.manifest import Manifest
from zoo.domain.place import hub_address, is_word, scheme_of
from zoo.domain.reference import Reference
from zoo.errors import (
    Conflict,
    Corrupt,
    Invalid,
    InvalidOption,
    InvalidReference,
    MissingObject,
    NoZoo,
    Unavailable,
    UnknownName,
    ZooError,
    disk_errors,
)
from zoo.indexed import Index
from zoo.moves import (
    append_after,
    append_deletion,
    append_protection,
    append_restoration,
    now,
)
from zoo.store import Store
from zoo.store.disk import Disk
from zoo.store.manifests import has_all_of
from zoo.store.own import OwnFile
from zoo.store.retry import Retrying
from zoo.store.store import MARKER
from zoo.trust import Trust

if TYPE_CHECKING:
    from zoo.registry import KnownEntry, Registry

__all__ = ["MARKER", "Check", "Workspace", "check_store", "connect", "trust_in"]

REGISTRY = "registry.db"
ID = "registry.id"
"""The zoo's own id, made when its index is kept on a server first."""
REMOTES = "remotes.json"
USER = os.getuid() if hasattr(os, "getuid") else None
"""Whose list of what is trusted counts."""
LOG = logging.getLogger("zoo")
DIGEST = re.compile(r"(blake3:)?[0-9a-f]{8,64}")
SECRET = re.compile(r"[^:]+://([^/]*@|.*:.*@|.*[?#])")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")

Check = Callable[[RefEntry | None], None]
"""Gets the newest entry of a ref, and raises where the ref must not move on from it."""


def connect(location: str, *, create: bool = False) -> Store:
    """Connect to a folder, or to a URL whose scheme names a remote plugin.

    Raises:
        Unavailable: It does not answer, or is not there and ``create`` is off.
        InvalidOption: It holds credentials, or is an address of the model hub.
        UnknownName: No plugin for the scheme.
    """
    check_secrets(location)
    check_store(location)
    plugin = plugins.remote(scheme_of(location) or "folder")
    try:
        store = Store.connect(plugin.connect(location, create=create), create=create)
    except Unavailable as error:
        if error.hint is None:
            error.hint = "check the name and the connection; zoo remote lists known remotes"
        raise
    # A folder answers or does not; what is reached over a network may answer the next time.
    return store if store.is_near else Store(Retrying(store.backend))


def trust_in(root: Path) -> Trust:
    """What the user of this process has allowed in the zoo ``root``.

    It is kept in the user's own settings: what lies in a folder that is shared, others can exchange
    for bytes that they chose, also where the file belongs to the user.
    """
    zoo = blake2b(str(root.resolve()).encode(), digest_size=8).hexdigest()
    return Trust(OwnFile(Disk(config.settings()), f"trusted-{zoo}.json", USER))


def check_secrets(location: str) -> None:
    """See that a location holds no credentials.

    Raises:
        InvalidOption: It may; it is not repeated.
    """
    if SECRET.match(location):
        raise InvalidOption("a location must not hold credentials: they would be stored and shown")


def _is_place(location: object) -> bool:
    """Whether the system could take it for a path or URL."""
    try:
        return isinstance(location, str) and b"\0" not in os.fsencode(location)
    except UnicodeEncodeError:
        return False


def check_store(location: str) -> None:
    """See that a location is not one of the model hub, where no stores are.

    Raises:
        InvalidOption: It is.
    """
    if address := hub_address(location):
        raise InvalidOption(
            f"'{location}' is no store: a repository of the model hub holds one checkpoint, and "
            "keeps no names that move",
            hint=f"zoo push NAME --to {address} publishes there, zoo pull NAME --from {address} "
            "takes it, zoo index hub --author ORG lists\n"
            "in Python: publish, pull_published, index",
        )


class Workspace:
    """A zoo: a folder with a store, a registry, and the remotes it knows by name.

    Attributes:
        root: The folder.
        store: Its files.
        trust: What may be imported because a checkpoint names it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store.open(root)
        self.trust = trust_in(root)
        self._remotes = self.own(REMOTES)

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
        for folder in (start, *start.parents):
            if (folder / MARKER).is_file():
                return cls(folder)
        raise NoZoo(start, upward=True)

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
        Index(self.store, registry).follow_notes()
        return registry

    def _id(self) -> str:
        """What tells this zoo from others whose index may be in the same database."""
        path = self.root / ID
        with suppress(FileExistsError):
            if not path.exists():
                self.store.disk.create(ID, f"{uuid.uuid4()}\n".encode())
        return self.store.disk.read(ID, OWN_BYTES).decode().strip()

    def own(self, name: str) -> OwnFile:
        """A small file that lies beside the store."""
        return OwnFile(self.store.disk, name)

    def _fill(self, registry: Registry) -> None:
        Index(self.store, registry).fill()

    @property
    def _index(self) -> Index:
        return Index(self.store, self.registry)

    def check_indexable(self) -> None:
        """See that the index can be written.

        Raises:
            Unavailable, DiskFull: It cannot.
        """
        if self.registry.obstacle:
            raise self.registry.obstacle

    def catch_up(self) -> None:
        """Index what the store holds and the index lacks, where it can be written; it is told.

        Who calls this has done something else, which an index that fails does not undo.
        """
        try:
            if self.registry.obstacle:
                return
            lacked = [ref for ref in self.store.readable_refs()[0] if self._index.follow(ref)]
        except ZooError as error:
            LOG.warning("the index may lack what the store holds: %s", error)
            return
        if lacked:
            LOG.warning("the index lacked %s, and has them now", ", ".join(map(str, lacked)))

    def reindex(self) -> dict[str, Any]:
        """Index all that the store holds again; how many ``refs`` and ``checkpoints``.

        What is derived from elsewhere (catalogs, what remotes have) stays, unless the index is
        damaged, or a newer program's: then it is made anew, ``replaced`` true. A name that cannot
        be read, or whose checkpoint cannot, is left out, and told.
        """
        before = self._index_file()
        self._replace_newer()
        self.registry.renew_if_damaged()
        replaced = before != self._index_file()
        moves = list(self._index.moves())
        if not replaced:
            self._index.add_again(moves)
        return {
            "refs": len(self.registry.refs()),
            "checkpoints": len({move.manifest for _, move in moves}),
            "replaced": replaced,
        }

    def _replace_newer(self) -> None:
        """Set an index aside that only a newer program can read; it is told."""
        from zoo.registry import set_newer_aside

        if config.database() is None:
            aside = set_newer_aside(self.root / REGISTRY, self.store.disk.alone)
            if aside:
                LOG.warning(
                    "the index of a newer zoo is made again from the store, as this zoo does it; "
                    "the newer one is kept: %s", aside
                )  # fmt: skip

    def _index_file(self) -> tuple[int, int] | None:
        """Which file the index is in, whatever its name; None if it is in none."""
        if config.database() is not None or not (self.root / REGISTRY).exists():
            return None
        found = (self.root / REGISTRY).stat()
        return found.st_dev, found.st_ino

    def known_moves(self, remote: str | None = None) -> dict[Reference, int]:
        """The number of the newest move of each name, here or at a remote, that is indexed.

        Of a remote without a short name, or if the index cannot be read, nothing is known; nor of
        what is no number there.
        """
        try:
            if remote:
                known = self.registry.remote_refs(remote)
                return {ref: entry.number for ref, entry in known.items()}
            return {ref: n for ref, _, n in self.registry.refs() if isinstance(n, int)}
        except ZooError:
            return {}

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
            Conflict: Someone else moved the ref meanwhile.
            InvalidManifest: It breaks the format; nothing was kept.
        """
        data = manifest.to_bytes()
        Manifest.from_bytes(data)  # nobody could read it, or prune, if it broke the format
        check_numbers(manifest)
        digest = self.store.put("manifests", data)
        if not self.store.is_sound("manifests", digest):  # it was here, and is damaged by now
            self.store.replace("manifests", digest, [data])
        self.move(ref, digest, why, check=check)
        return digest

    def move(
        self, ref: Reference, digest: Digest, why: str, *, check: Check | None = None
    ) -> RefEntry:
        """Point ``ref`` at a stored checkpoint and index it; no new entry if it does already.

        ``check`` gets the newest entry, and raises where the ref must not move on from it.

        Raises:
            Conflict: Someone else moved the ref meanwhile, or a prune is under way.
            MissingObject: The checkpoint is not here, or not any more.
        """
        self.check_indexable()  # if it cannot be, nothing moves
        with self.store.upload():  # else a prune could delete it before the name protects it
            self.store.require_manifest(digest)
            # First, so that what cannot be indexed gets no name.
            self._index.add_checkpoint(digest)
            current = self.store.read_ref(ref)
            if check:
                check(current)
            with self._noted(ref):
                return append_after(self.store, current, ref, digest, why)

    @contextmanager
    def _noted(self, ref: Reference) -> Iterator[None]:
        """Index the move of ``ref`` that is made within. A note of it goes before, so that whoever
        opens the index next knows if this process did not come to that.
        """
        note = self.registry.announce(ref, now())
        try:
            yield
        except (Conflict, UnknownName):  # nothing was moved
            self.registry.settle(note)
            raise
        try:
            self._index.follow(ref)
            self.registry.settle(note)
        except (ZooError, OSError) as error:
            LOG.warning("%s has moved, but is not indexed yet (%s): the next command does that, "
                        "as soon as it can", ref, error)  # fmt: skip

    def check_free(self, ref: Reference) -> None:
        """See that ``ref`` can be given, and is no published name, which only pulling gives.

        What is listed of `OPEN` sources takes no name from anybody, and nothing that is listed
        takes one that is the user's own already.

        Raises:
            Conflict: It is one.
            InvalidReference: Not every system can hold it beside those that are here.
        """
        self.store.check_new(ref)
        entry = self.registry.entry(ref.path)
        if entry and not OPEN.issuperset(entry.sources) and not self.is_own(ref, entry):
            raise Conflict(f"{ref} is the name of a published checkpoint; choose another")

    def is_own(self, ref: Reference, entry: KnownEntry) -> bool:
        """Whether what is here under ``ref`` is not what ``entry``, of the same name, lists."""
        move = self.store.read_ref(ref)
        if move is None or move.deleted:
            return False
        pulled = self.origin(move.manifest)
        if pulled is None:
            return not was_pulled(self.store.history(ref), move.manifest)
        places = {(place.source, place.locator.partition("@")[0]) for place in entry.locations}
        if OPEN.issuperset(entry.sources):
            return pulled not in places
        return pulled[0] not in {source for source, _ in places}  # a catalog may name a new place

    def origin(self, digest: Digest) -> tuple[str, str] | None:
        """The source and the repository that a checkpoint was pulled from, empty if from none; None
        if its manifest is missing or damaged, and only the history of its name can tell.
        """
        try:
            told = self.store.manifest(digest).provenance
        except (MissingObject, Corrupt, Invalid):
            return None
        return told.get("source", ""), told.get("locator", "").partition("@")[0]

    def delete(self, ref: Reference, *, of: RefEntry | None = None) -> RefEntry:
        """Delete a name. It can be restored until a prune: its history and files stay till then.

        Raises:
            UnknownName: No such name here.
            Conflict: Someone else moved it meanwhile, or since ``of``, its newest move.
        """
        entry = self.store.read_ref(ref)
        if entry and entry.deleted:  # whoever did it may not have come to the index
            self._index.follow(ref)
        self.resolve(str(ref))
        self.check_indexable()
        with self._noted(ref):
            return append_deletion(self.store, ref, of=of)

    def restore(self, ref: Reference) -> RefEntry:
        """Bring back a name that was deleted; no new entry if it is there.

        Raises:
            UnknownName: There was never such a name here.
            MissingObject: A prune has taken what it pointed at.
            Conflict: Someone else moved it meanwhile.
        """
        self.check_indexable()
        # In an upload, else a prune could take it before the name protects it.
        with self.store.upload(), self._noted(ref):
            try:
                return append_restoration(self.store, ref)
            except MissingObject as error:
                error.hint = self._elsewhere(ref) or "a prune has deleted what it pointed at"
                raise

    def protect(self, ref: Reference, *, on: bool) -> RefEntry:
        """Keep a name where it is, here, until it is unprotected.

        Raises:
            UnknownName: No such name here.
            Conflict: Someone else moved it meanwhile.
        """
        self.resolve(str(ref))
        done = append_protection(self.store, ref, on=on)
        with suppress(ZooError):  # an index that lags behind does not undo it
            self._index.put(ref, done)
        return done

    def resolve_at(self, name: str, at: datetime) -> Digest:
        """What the reference ``name`` pointed at at the time ``at``, which has a time zone.

        Raises:
            UnknownName: There was no such name then.
        """
        ref = self.reference(name)
        then = [move for move in self.store.history(ref) if move.when and move.when <= at]
        if not then or then[-1].deleted:
            raise UnknownName("checkpoint", f"{ref} at {at.isoformat()}", self.registry.near(name))
        return then[-1].manifest

    def reference(self, name: str) -> Reference:
        """Read a reference; a name that is none, but resembles known ones, is met with those.

        Raises:
            UnknownName: The text is no reference, but near names are known.
            InvalidReference: The text is no reference.
        """
        try:
            return Reference.parse(name)
        except InvalidReference:
            near = self.registry.near(name)
            if not near:
                raise
            raise UnknownName("checkpoint", name, near) from None

    def resolve(self, name: str) -> tuple[Reference | None, Digest]:
        """The checkpoint that a reference, or a digest, names.

        The first eight or more digits of a digest will do, if no other begins with them.

        Raises:
            UnknownName: Nothing here is called that; near names are suggested.
            InvalidReference: The text is neither.
        """
        if DIGEST.fullmatch(name):
            return None, self._by_digest(name)
        ref = self.reference(name)
        entry = self.store.read_ref(ref)
        if entry is None or entry.deleted:
            if entry and has_all_of(self.store, entry.manifest):
                raise UnknownName("checkpoint", name, hint=f"zoo delete --restore {ref}")
            pull = self._elsewhere(ref) or None
            raise UnknownName("checkpoint", name, self.registry.near(name), pull)
        return ref, entry.manifest

    def _elsewhere(self, ref: Reference) -> str:
        """The command that brings a name from where it is known to be; empty if from nowhere."""
        known = self.registry.entry(ref.path) or self.registry.holders(ref)
        return f"zoo pull {ref}" if known else ""

    def _by_digest(self, name: str) -> Digest:
        found = self.store.starting_with(name.removeprefix("blake3:"))
        if len(found) != 1:
            raise UnknownName("checkpoint", name, [str(digest) for digest in found[:4]])
        return found[0]

    def remotes(self) -> dict[str, str]:
        """Locations of the remotes that have a name here.

        Raises:
            Invalid, NotAFile, Forbidden: The list of them cannot be read.
        """
        found = self._remotes.read()
        for name, location in found.items():
            if not _is_place(location):
                raise self._remotes.damaged(f"where '{name}' is: {location!r:.40}")
        return found

    def add_remote(self, name: str, location: str) -> None:
        """Give a remote a short name.

        Raises:
            InvalidOption: The name could be taken for a path or URL, or the location for a secret,
                or it is at the model hub.
            UnknownName: No plugin for the scheme.
            Conflict: The name stands for another location.
        """
        if not NAME.fullmatch(name):
            raise InvalidOption(f"'{name}' is no name for a remote: letters, digits, '-' and '_'")
        check_secrets(location)
        check_store(location)
        plugins.remote(scheme_of(location) or "folder")
        if "://" not in location:
            location = str(Path(location).expanduser().resolve())
        with self._remotes.change() as remotes:
            if remotes.get(name, location) != location:
                raise Conflict(
                    f"the remote '{name}' is taken",
                    remotes[name],
                    hint=f"nothing was changed; zoo remote remove {name} makes the name free",
                )
            remotes[name] = location

    def remove_remote(self, name: str) -> None:
        """Forget a remote's short name.

        Raises:
            UnknownName: No remote has it.
            Unavailable, DiskFull: The index cannot be written; nothing was changed.
        """
        self.check_indexable()
        with self._remotes.change() as remotes:
            if name not in remotes:
                raise UnknownName("remote", name, sorted(remotes))
            del remotes[name]
        self.registry.replace_remote(name, {})

    def remote(self, where: str, *, create: bool = False) -> Store:
        """Connect to a named remote, a folder, or a URL whose scheme names a remote plugin.

        A single word is the name of a remote, or of a store in the current folder: none is made
        under it.

        Raises:
            Unavailable: It does not answer, or is not there and ``create`` is off, or names are
                known to have been there.
            UnknownName: No remote is called so, or no plugin is for the scheme.
        """
        named = self.remotes()
        location = named.get(where, where)
        if where not in named and is_word(where) and not (Path(where) / MARKER).is_file():
            near = difflib.get_close_matches(where, named, n=3) or sorted(named)[:3]
            raise UnknownName(
                "remote", where, near, f"a folder is written with its path: ./{where}"
            )
        if "://" not in location and Path(location).expanduser().resolve() == self.root:
            raise InvalidOption("a zoo cannot be its own remote")
        # In the folder of a disk that is not mounted, a push would begin another store.
        known = len(self.known_moves(where)) if create and where in named else 0
        try:
            return connect(location, create=create and not known)
        except Unavailable as error:
            if known:
                error.hint = (
                    f"{known} names were there when it was last seen: is its disk mounted?\n"
                    f"to begin anew there: zoo remote remove {where} && "
                    f"zoo remote add {where} {quote(location)}"
                )
            raise

    def note_remote(self, where: str, ref: Reference, entry: RefEntry) -> None:
        """Let the index know the newest entry of a ref at a remote, if that has a name here."""
        if where in self.remotes():
            # What was to be done is done: that the index knows of it only later is no failure.
            with suppress(ZooError):
                self.registry.note_remote(where, ref, entry)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder on the store's disk."""
        self.store.disk.make_folder(self.store.staging.name)
        with (
            disk_errors(self.store.staging),
            TemporaryDirectory(dir=self.store.staging) as folder,
        ):
            yield Path(folder)
