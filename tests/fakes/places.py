"""Where a store can be, and what happens there behind its back."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from zoo import plugins
from zoo.store import Store
from zoo.store.retry import Retrying
from zoo.testing.memory import MemoryBackend
from zoo_bucket.bucket import BucketBackend

__all__ = [
    "BucketPlace",
    "FolderPlace",
    "MemoryPlace",
    "Place",
    "ago",
    "everywhere",
    "flip",
    "mirror",
    "write",
]

everywhere = pytest.mark.parametrize("place", ["folder", "memory", "bucket"], indirect=True)
"""For tests that meet a bucket in the quick suite, too."""
FOLDERS = ("objects", "encoded", "manifests", "encoded-manifests", "refs", "pruned")


class Place(Protocol):
    """A store; its files go by their names in it.

    Attributes:
        location: As a user writes it.
        remote: As the program reaches it.
    """

    location: str
    remote: Store

    def names(self, *folders: str) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def plant(self, name: str, data: bytes) -> None: ...
    def lose(self, name: str) -> None: ...
    def age(self, name: str, at: datetime) -> None: ...


def mirror(store: Store, place: Place) -> None:
    """Put all there that ``store`` holds and that is not there."""
    if place.location == str(store.root):
        return
    there = set(place.names(*FOLDERS))
    for name in FolderPlace(store.root).names(*FOLDERS):
        if name not in there:
            place.plant(name, (store.root / name).read_bytes())


def flip(place: Place, name: str, position: int = -1) -> None:
    """Damage a file."""
    data = bytearray(place.read(name))
    data[position] ^= 0xFF
    place.plant(name, bytes(data))


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def write(path: Path, data: bytes) -> None:
    """Write a file of a store, whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


class FolderPlace:
    """A store in a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.location = root, str(root)
        self.remote = Store.create(root)

    def names(self, *folders: str) -> list[str]:
        paths = [path for folder in folders for path in (self.root / folder).rglob("*")]
        return sorted(p.relative_to(self.root).as_posix() for p in paths if p.is_file())

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def plant(self, name: str, data: bytes) -> None:
        write(self.root / name, data)

    def lose(self, name: str) -> None:
        (self.root / name).unlink()

    def age(self, name: str, at: datetime) -> None:
        os.utime(self.root / name, (at.timestamp(), at.timestamp()))


class MemoryPlace:
    """A store that can do no more than a backend must, as one in a bucket."""

    location = "memory://zoo"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._backend = MemoryBackend(self.location)
        remote = plugins.remote
        monkeypatch.setattr(plugins, "remote", lambda k: self if k == "memory" else remote(k))
        Store.connect(self._backend, create=True)
        self.remote = Store(Retrying(self._backend, pause=lambda _: None))

    def connect(self, location: str, *, create: bool) -> MemoryBackend:
        """The backend, as a plugin gives it."""
        return self._backend

    def names(self, *folders: str) -> list[str]:
        return sorted(file.name for folder in folders for file in self._backend.list(f"{folder}/"))

    def read(self, name: str) -> bytes:
        return b"".join(self._backend.open(name))

    def plant(self, name: str, data: bytes) -> None:
        self._backend.put(name, [data])

    def lose(self, name: str) -> None:
        self._backend.delete(name)

    def age(self, name: str, at: datetime) -> None:
        self._backend._kept[name] = self.read(name), at


class BucketPlace:
    """A store in a bucket of moto, which runs in this process."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._bucket = BucketBackend.connect(location, create=True)
        Store.connect(self._bucket, create=True)
        self.remote = Store(Retrying(self._bucket, pause=lambda _: None))

    def names(self, *folders: str) -> list[str]:
        return sorted(file.name for folder in folders for file in self._bucket.list(f"{folder}/"))

    def read(self, name: str) -> bytes:
        return b"".join(self._bucket.open(name))

    def plant(self, name: str, data: bytes) -> None:
        self._bucket.put(name, [data])

    def lose(self, name: str) -> None:
        self._bucket.delete(name)

    def age(self, name: str, at: datetime) -> None:
        from moto.s3.models import s3_backends

        location = self._bucket.location
        keys = s3_backends["123456789012"]["aws"].buckets[location.bucket].keys
        keys[location.prefix + name].last_modified = at.replace(tzinfo=None)
