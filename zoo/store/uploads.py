"""Uploads and prunes see each other, without locks.

Whoever writes announces it by a file in ``tmp/uploads/`` and then looks for a prune; whoever prunes
leaves a file ``tmp/prune-…`` and then looks for uploads and other prunes. Each sets a sign of its
own before it looks for the others', so at least one of two sees the other and gives way.

A sign says which process set it, and is dated anew each minute. It counts as long as that process
may be alive: on the same machine one can look, elsewhere the age of the last date decides
(`zoo.domain.owner`). Ages are by the clock that dates the files, which is read off one's own sign.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from zoo import config
from zoo.contracts import Backend, SupportsPermissions
from zoo.domain.limits import SIGN_BYTES
from zoo.domain.owner import Owner, is_stale, renewing, under_way
from zoo.errors import Conflict, Unavailable, Unsupported, ZooError
from zoo.store.capabilities import is_served, read_small, touch
from zoo.store.disk import STAGING

__all__ = ["pruning", "uploading"]

UPLOADS = f"{STAGING}/uploads/"
PRUNES = f"{STAGING}/prune"  # and more


@contextmanager
def uploading(backend: Backend) -> Iterator[None]:
    """Announce that objects, and what refers to them, are being written.

    Raises:
        Conflict: A prune is under way; nothing may be written that relies on what it may delete.
    """
    if is_served(backend):
        yield
        return
    with _sign(backend, UPLOADS) as sign:
        _give_way(backend, sign, {PRUNES: "a prune of this store is"})
        yield


@contextmanager
def pruning(backend: Backend) -> Iterator[None]:
    """Announce that things are about to be deleted.

    Raises:
        Conflict: Somebody is writing, or pruning; nothing may be deleted.
        Forbidden: Who is writing cannot be seen.
    """
    # A sign that two prunes shared would be gone when the first of them is done.
    with _sign(backend, f"{PRUNES}-") as sign:
        others = {PRUNES: "another prune of this store is", UPLOADS: "an upload to this store is"}
        if isinstance(backend, SupportsPermissions):
            backend.kinds(UPLOADS)  # scratch that cannot be listed is left out of what is listed
        _give_way(backend, sign, others)
        yield
        if isinstance(backend, SupportsPermissions):
            backend.tidy()


@contextmanager
def _sign(backend: Backend, prefix: str) -> Iterator[str]:
    key, data = prefix + uuid.uuid4().hex, Owner.here(config.author()).to_bytes()
    try:
        touch(backend, key, data)
    except FileNotFoundError as error:
        # A prune without grace has deleted the sign before it had its name.
        raise Conflict(f"{backend}/{STAGING} was cleared meanwhile; try again") from error
    try:
        with renewing(partial(touch, backend, key, data)):
            yield key
    finally:
        # A sign that stays counts for some minutes; that must not hide what went wrong before.
        with suppress(Unavailable, Unsupported):
            backend.delete(key)


def _give_way(backend: Backend, sign: str, others: dict[str, str]) -> None:
    """Raise `Conflict` if the sign of another process begins with one of ``others`` and counts."""
    dates = {file.name: file.at for file in backend.list(f"{STAGING}/")}
    now = dates[sign] if sign in dates else backend.now()
    for prefix, what in others.items():
        for name in dates:
            other = backend.stat(name) if name.startswith(prefix) and name != sign else None
            if other is None:  # it has ended meanwhile, or is no file
                continue
            age, owner = (now - other.at).total_seconds(), _owner(backend, name)
            if not is_stale(age, owner) and not (owner and owner.has_ended):
                raise Conflict(under_way(what, f"{backend}/{name}", owner, age))
    if sign not in dates:  # who does not see itself would not see others
        raise Unavailable(str(backend), "its listing lacks what was written just now")


def _owner(backend: Backend, name: str) -> Owner | None:
    try:
        return Owner.from_bytes(read_small(backend, name, SIGN_BYTES))
    except Unavailable:
        raise
    except (ZooError, OSError):  # it is gone, or is none of ours: its age decides
        return None
