"""Files of a checkpoint, taken apart into objects and put together again byte-identical."""

from __future__ import annotations

import hashlib
import mmap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from pathlib import Path

from zoo.domain.digest import Digest
from zoo.domain.manifest import PlainFile, Tensor, WeightsFile
from zoo.domain.progress import Progress, silent
from zoo.errors import Corrupt, InvalidWeights
from zoo.store.atomic import write_whole
from zoo.store.header import Entry, parse_header
from zoo.store.listing import map_each
from zoo.store.regular import open_regular
from zoo.store.store import Store

__all__ = [
    "LARGE",
    "add_file",
    "add_weights",
    "joined",
    "object_ranges",
    "offsets_in",
    "restore_file",
    "small_groups",
]

LARGE = 64 * 1024
"""Bytes of a tensor that is worth an object, and a request to a bucket, of its own. It decides what
objects are called: with another one, nothing would be shared with what is stored."""
ALIGNMENT = 64


def add_weights(
    store: Store, path: Path, *, name: str = "model.safetensors", progress: Progress = silent
) -> WeightsFile:
    """Store a safetensors file by tensor.

    A tensor of 64 KiB or more becomes an object of its own. The smaller ones of a unit travel
    together, vectors apart from the rest, so that training the norms of a unit rewrites one small
    object and nothing else.

    Raises:
        InvalidWeights: The file breaks the format.
        DiskFull: No space left.
    """
    data = _mapped(path)
    header = parse_header(path, data)
    header_object = store.put("objects", data[: header.length])
    tensors: dict[str, Tensor] = {}
    with progress("storing", float(len(data)), "B") as task, ThreadPoolExecutor(1) as beside:
        sha256 = beside.submit(lambda: hashlib.sha256(data).hexdigest())  # the slowest part
        for stored in map_each(store, partial(_put_group, store, data), _groups(header.entries)):
            for tensor in stored:
                tensors[tensor.name] = tensor
                task.advance(tensor.nbytes)
    return WeightsFile(
        name=name,
        size=len(data),
        sha256=Digest("sha256", sha256.result()),
        header=header_object,
        tensors=tuple(tensors[entry.name] for entry in header.entries),
    )


def add_file(store: Store, path: Path, *, name: str) -> PlainFile:
    """Store any other file as one object.

    Raises:
        DiskFull: No space left.
    """
    data = _mapped(path) if path.stat().st_size else memoryview(b"")
    sha256 = Digest("sha256", hashlib.sha256(data).hexdigest())
    return PlainFile(name=name, size=len(data), sha256=sha256, object=store.put("objects", data))


def restore_file(store: Store, file: WeightsFile | PlainFile, target: Path) -> None:
    """Write ``file`` to ``target``, byte-identical to what was stored.

    Raises:
        Corrupt: The bytes are not what was stored; nothing was written.
        MissingObject: An object is missing; nothing was written.
        DiskFull: No space left; nothing was written.
    """
    write_whole(target, _checked(store, file))


def object_ranges(file: WeightsFile | PlainFile) -> Iterator[tuple[Digest, int, int]]:
    """The file as ranges of objects, in order: object, offset, length."""
    if isinstance(file, PlainFile):
        yield file.object, 0, file.size
        return
    yield file.header, 0, file.size - sum(tensor.nbytes for tensor in file.tensors)
    for tensor in file.tensors:
        yield tensor.object, tensor.offset, tensor.nbytes


def group_of(name: str, dimensions: int) -> tuple[str, bool]:
    """Which small tensors travel together: those of one unit, vectors apart from the rest.

    The unit is read off the name: all up to the first numbers in it (``layer1.0``, ``blocks.7``),
    or the first part where there are none. That needs no network, so every writer groups alike.
    """
    parts = name.split(".")[:-1] or [name]
    start = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if start is None:
        return parts[0], dimensions <= 1
    end = start + sum(1 for _ in takewhile(str.isdigit, parts[start:]))
    return ".".join(parts[:end]), dimensions <= 1


def small_groups(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The tensors that get no object of their own, by those that travel together."""
    small: dict[tuple[str, bool], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.end - entry.begin < LARGE:
            small[group_of(entry.name, len(entry.shape))].append(entry)
    for group in small.values():
        # By name, so that files that list the same tensors in another order share the object.
        yield sorted(group, key=lambda entry: entry.name)


def offsets_in(group: list[Entry]) -> list[int]:
    """Where each tensor of a group begins in its object."""
    offsets, end = [], 0
    for entry in group:
        offsets.append(end + -end % ALIGNMENT)
        end = offsets[-1] + entry.end - entry.begin
    return offsets


def joined(group: list[Entry], read: Callable[[Entry], memoryview]) -> Iterator[bytes | memoryview]:
    """The object of a group, in pieces."""
    end = 0
    for entry, offset in zip(group, offsets_in(group), strict=True):
        yield b"\0" * (offset - end)
        yield read(entry)
        end = offset + entry.end - entry.begin


def _groups(entries: tuple[Entry, ...]) -> Iterator[list[Entry]]:
    yield from ([entry] for entry in entries if entry.end - entry.begin >= LARGE)
    yield from small_groups(entries)


def _put_group(store: Store, data: memoryview, group: list[Entry]) -> list[Tensor]:
    pieces = [*joined(group, lambda entry: data[entry.begin : entry.end])]
    digest = store.put("objects", pieces[-1] if len(group) == 1 else b"".join(pieces))
    return [
        Tensor(
            name=entry.name,
            dtype=entry.dtype,
            shape=entry.shape,
            object=digest,
            offset=offset,
            nbytes=entry.end - entry.begin,
        )
        for entry, offset in zip(group, offsets_in(group), strict=True)
    ]


def _checked(store: Store, file: WeightsFile | PlainFile) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    for digest, offset, length in object_ranges(file):
        left = length
        for piece in store.read("objects", digest, offset):
            part = piece[:left]
            hasher.update(part)
            yield part
            left -= len(part)
            if not left:
                break
        if left:
            raise Corrupt(f"object {digest}", f"{left} bytes more", "its end")
    if hasher.hexdigest() != file.sha256.hex:
        raise Corrupt(file.name, str(file.sha256), f"sha256:{hasher.hexdigest()}")


def _mapped(path: Path) -> memoryview:
    # Never closed by hand: the map goes with its last slice, also when an error holds one.
    with open_regular(path, path, follow=True) as file:
        if not path.stat().st_size:
            raise InvalidWeights(path, "the file is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
