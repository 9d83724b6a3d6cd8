"""Machine: a folder of one of several machines that serve a zoo whose store they share.

The store is a bucket, the index and the accounts are in a database on a server. The folder has what
this machine has read of the store (`zoo.store.cached`), and says in its ``zoo.json`` where that is;
earlier programs refuse it for its format.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from zoo import config, plugins
from zoo.contracts import Backend
from zoo.domain.limits import LEFT_BYTES, MARKER_BYTES
from zoo.domain.location import scheme_of
from zoo.errors import InvalidOption, Unavailable, Unsupported
from zoo.remotes import check_secrets
from zoo.store import Store
from zoo.store.cached import CachedBackend
from zoo.store.disk import STAGING, Disk
from zoo.store.refs import MARKER
from zoo.store.rights import make_root

__all__ = [
    "KEY",
    "SharedStore",
    "bucket",
    "check_own",
    "is_bucket",
    "join",
    "shared_by",
    "shared_store",
]

FORMAT = 3
BUCKETS = ("s3", "gs", "az")
KEY = "seals.key"
"""What is copied from another machine's folder, or from a backup, before this one is made."""
LEAST_ROOM = 1 << 20


class SharedStore(NamedTuple):
    """Where the shared store is, and how many bytes of it are kept here at most."""

    location: str
    room: int


def shared_by(root: Path) -> SharedStore | None:
    """What a folder shares; None if it is a zoo of its own, or none."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        marker = json.loads(Disk(root).read(MARKER, MARKER_BYTES))
        if marker["format"] == FORMAT:
            return SharedStore(str(marker["store"]), int(marker["room"]))
    return None


def join(root: Path, location: str, room: int) -> None:
    """Make a folder, in which nothing but the machines' key is, that of a machine which shares the
    store at ``location``, or see that it is. There the store is made where nothing is.

    Raises:
        InvalidOption: That is no bucket, or the index would be on this machine alone.
        Unavailable: The folder has something else, or the bucket does not answer.
        Unsupported: The service cannot write on condition.
    """
    check_secrets(location)
    if not is_bucket(location):
        raise InvalidOption(f"'{location:.200}' is no bucket: write {BUCKETS[0]}://bucket/prefix")
    if not config.database():
        raise InvalidOption(
            "machines that share a store share a database, too",
            hint="set ZOO_DB: export ZOO_DB=postgresql+psycopg://user@host/zoo",
        )
    above = next(folder for folder in (root, *root.parents) if folder.exists())
    most = shutil.disk_usage(above).total - LEFT_BYTES
    if not LEAST_ROOM <= room <= most:
        raise InvalidOption(f"from {LEAST_ROOM} to {most} bytes of the store can be kept in {root}")
    there = shared_by(root)
    if there and there.location != location:
        raise Unavailable(str(root), f"is the folder of a machine that shares {there.location}")
    if not there and root.exists() and {path.name for path in root.iterdir()} - {KEY}:
        raise Unavailable(str(root), "has something else: name a folder that is empty", hint="")
    _connected(location, create=True)
    make_root(root)
    disk = Disk(root)
    disk.make_folder(STAGING)
    marker = {"format": FORMAT, "store": location, "room": room}
    disk.put(MARKER, f"{json.dumps(marker)}\n".encode())


def check_own(root: Path) -> None:
    """See that a folder is a zoo of its own.

    Raises:
        Unsupported: It is that of a machine that shares a store.
    """
    if shared := shared_by(root):
        raise Unsupported(
            f"{root} is the folder of a machine that serves {shared.location}: zoo serve alone "
            f"works here; elsewhere {shared.location} is a remote to pull from, verify and prune"
        )


def shared_store(root: Path) -> Store | None:
    """The store that a folder shares; None if it is a zoo of its own, or none.

    Raises:
        Unavailable: The bucket does not answer, or holds no store any more.
    """
    if (shared := shared_by(root)) is None:
        return None
    backend = CachedBackend(root, _connected(shared.location).backend, shared.room)
    return Store(backend)


def is_bucket(location: str) -> bool:
    """Whether a location is that of a bucket."""
    return scheme_of(location) in BUCKETS


def bucket(location: str, *, create: bool = False) -> Backend:
    """The bucket at a location, whatever is in it.

    Raises:
        Unavailable: It does not answer.
    """
    check_secrets(location)
    kind = scheme_of(location) or ""
    plugin = plugins.remote(kind)
    with plugins.blaming("zoo.remotes", kind, but=OSError):
        return plugin.connect(location, create=create)


def _connected(location: str, *, create: bool = False) -> Store:
    with plugins.blaming("zoo.remotes", scheme_of(location) or "", but=OSError):
        return Store.connect(bucket(location, create=create), create=create)
