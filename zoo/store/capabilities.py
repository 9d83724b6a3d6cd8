"""Optional capabilities of a backend, each with what is done where it does not have it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from zoo.contracts import Backend, ServerBackend, SupportsBatches, SupportsSync
from zoo.domain.stored import StoredFile
from zoo.errors import Corrupt

__all__ = [
    "at_once",
    "folders",
    "is_served",
    "newest",
    "present",
    "read_small",
    "stat_each",
    "sync",
    "touch",
]

AT_ONCE = 8
"""Requests at a time to a backend that does not say how many it serves well."""


def at_once(backend: Backend) -> int:
    """How many requests it serves well at a time."""
    return backend.at_once if isinstance(backend, SupportsBatches) else AT_ONCE


def present(backend: Backend, keys: Collection[str]) -> Mapping[str, StoredFile]:
    """What is under those of ``keys`` that exist."""
    return (
        backend.present(keys) if isinstance(backend, SupportsBatches) else stat_each(backend, keys)
    )


def present_to(backend: Backend, name: str, keys: Collection[str]) -> Mapping[str, StoredFile]:
    """As `present`, before an upload to a name. A server raises where the user may not move it."""
    if isinstance(backend, ServerBackend) and backend.served:
        return backend.present_to(name, keys)
    return present(backend, keys)


def stat_each(backend: Backend, keys: Collection[str]) -> dict[str, StoredFile]:
    """As `present`, one request per key."""
    with ThreadPoolExecutor(at_once(backend)) as pool:
        return {stored.name: stored for stored in pool.map(backend.stat, keys) if stored}


def is_served(backend: Backend) -> bool:
    """Whether a server looks after the store."""
    return isinstance(backend, ServerBackend) and backend.served


def newest(backend: Backend) -> Mapping[str, bytes] | None:
    """The newest entries of all names, by their keys; None if it cannot be asked for them in one
    go.
    """
    return backend.newest() if isinstance(backend, ServerBackend) and backend.served else None


def folders(backend: Backend, folder: str) -> Collection[str]:
    """The names of the folders directly in a folder."""
    if isinstance(backend, SupportsBatches):
        return backend.folders(folder)
    below = (file.name.removeprefix(folder) for file in backend.list(folder))
    return {name.partition("/")[0] for name in below if "/" in name}


def sync(backend: Backend) -> None:
    """Make all that was put so far durable."""
    if isinstance(backend, SupportsSync):
        backend.sync()


def touch(backend: Backend, key: str, data: bytes = b"") -> None:
    """Put a small file that need not survive a crash."""
    if isinstance(backend, SupportsSync):
        backend.touch(key, data)
    else:
        backend.put(key, [data])


def read_small(backend: Backend, key: str, limit: int) -> bytes:
    """All bytes of a small file.

    Raises:
        FileNotFoundError: There is none.
        Corrupt: It has more than ``limit`` bytes, which zoo never writes there.
    """
    data = b"".join(backend.open(key, 0, limit + 1))
    if len(data) > limit:
        raise Corrupt(f"{backend}/{key}", f"at most {limit} bytes", "more")
    return data
