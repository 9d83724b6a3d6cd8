"""The cache: the inputs at a cut for every image, computed once and memory-mapped.

A file is named after everything that shapes it: the tensors below the cut, the images and their
order, the transform, dtypes, device and versions. The description lies beside it and is compared,
so a stale one is never taken; its bytes are hashed before use. Losing the folder costs time only.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

import torch
from blake3 import blake3
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from zoo import config
from zoo.backbones.devices import free_on, random_kept
from zoo.backbones.free_memory import free_memory
from zoo.backbones.from_cut import CutInputs, FromCut
from zoo.backbones.moved import moved
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.progress import Progress
from zoo.errors import Unsupported
from zoo.finetune.features.ahead import behind
from zoo.store.atomic import write_whole

__all__ = [
    "Below",
    "Activations",
    "Row",
    "Shape",
    "below_digest",
    "home_of",
    "make_way",
    "open_or_fill",
    "resident",
    "room",
    "shape_of",
]

FORMAT = 1
DESCRIPTION = "description.json"
SHARE_OF_DISK = 0.5
"""Of what is free, or taken by caches."""
SHARE_OF_MEMORY = 0.5
"""Of what is free, for a cache that the disk has no room for."""
SHARE_OF_DEVICE = 0.5
"""Of what is free on a CUDA device, for all views of a phase together; training needs the rest."""


class Row(NamedTuple):
    """One of the tensors that enter at a cut, for one image."""

    leaf: int  # its place among the leaves
    size: tuple[int, ...]
    dtype: torch.dtype  # as it enters
    kept: torch.dtype  # as it is kept

    @property
    def numel(self) -> int:
        """Numbers for one image."""
        return torch.Size(self.size).numel()


@dataclass(frozen=True, slots=True)
class Shape:
    """The inputs at a cut, for one image."""

    spec: TreeSpec  # how the leaves make up the arguments
    rows: tuple[Row, ...]  # of the leaves that each image has its own of
    constants: Mapping[int, object]  # leaves that are the same for all images
    last: frozenset[int] = frozenset()  # those of the leaves whose channels lie last in memory

    @property
    def nbytes(self) -> int:
        """Bytes for one image."""
        return sum(row.numel * row.kept.itemsize for row in self.rows)


class Activations:
    """The inputs at a cut for N images: tensors (N, …) in the order of ``shape.rows``."""

    def __init__(self, shape: Shape, rows: Sequence[Tensor]) -> None:
        self.shape = shape
        self.rows = tuple(rows)

    def batch(self, indices: Sequence[int], device: torch.device) -> CutInputs:
        """The inputs at the cut for images by index, in memory of their own on ``device``."""
        return self.cut_inputs(self.picked(indices, device), device)

    def picked(self, indices: Sequence[int], device: torch.device) -> list[Tensor]:
        """The rows of the images at ``indices`` as they are kept, where they are; pinned, if they
        are to go to a CUDA device from here.
        """
        chosen = torch.tensor(indices, dtype=torch.int64)  # of none, it would be of float32
        return [_picked(rows, moved(chosen, rows.device), device) for rows in self.rows]

    def cut_inputs(self, picked: Sequence[Tensor], device: torch.device) -> CutInputs:
        """The inputs at the cut for rows that are `picked`, on ``device``."""
        leaves = dict(self.shape.constants)
        for row, rows in zip(self.shape.rows, picked, strict=True):
            batch = moved(rows, device).to(row.dtype)  # there: fewer bytes are moved
            if row.leaf in self.shape.last:
                batch = batch.contiguous(memory_format=torch.channels_last)
            leaves[row.leaf] = batch
        args, kwargs = tree_unflatten([leaves[at] for at in sorted(leaves)], self.shape.spec)
        return args, kwargs

    @property
    def resident(self) -> bool:
        """Whether all of it is on an accelerator."""
        return all(rows.device.type != "cpu" for rows in self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return sum(rows.nbytes for rows in self.rows)


def resident(several: Sequence[Activations], device: torch.device) -> list[Activations]:
    """The same on a CUDA device, as far as `SHARE_OF_DEVICE` goes; the others as they are."""
    left, placed = int(free_on(device) * SHARE_OF_DEVICE), []
    for each in several:
        if each.nbytes <= left:
            left -= each.nbytes
            each = Activations(each.shape, [rows.to(device) for rows in each.rows])
        placed.append(each)
    return placed


def _picked(rows: Tensor, chosen: Tensor, device: torch.device) -> Tensor:
    """See `Activations.picked`."""
    if device.type != "cuda" or rows.device.type != "cpu":
        return rows.index_select(0, chosen)
    into = torch.empty(len(chosen), *rows.shape[1:], dtype=rows.dtype, pin_memory=True)
    return torch.index_select(rows, 0, chosen, out=into)


def shape_of(
    entry: FromCut,
    image: Tensor,
    layout: torch.memory_format = torch.contiguous_format,
    kept: torch.dtype = torch.float32,
) -> Shape:
    """The inputs at the cut for one image (C, H, W), by recording two and three copies at once.
    What enters in fp32 is to be ``kept`` in that dtype.

    Raises:
        Unsupported: It cannot be kept image by image, or something random is below the cut.
    """
    images = torch.stack([image, image, image]).contiguous(memory_format=layout)
    with random_kept(image.device):
        (two, spec), (again, _) = (
            tree_flatten(_recorded(entry, images[:2], training)) for training in (True, False)
        )
        three, _ = tree_flatten(_recorded(entry, images, training=False))
    rows, constants, last = [], {}, set()
    for at, (pair, same, triple) in enumerate(zip(two, again, three, strict=True)):
        if not isinstance(pair, Tensor) and pair == triple:
            constants[at] = pair
        elif not isinstance(pair, Tensor):
            raise Unsupported("the inputs at the cut depend on the number of images")
        elif not torch.equal(pair, same):
            raise Unsupported("something random is below the cut")
        elif pair.shape[:1] == (2,) and triple.shape == (3, *pair.shape[1:]):
            lower = kept if pair.dtype == torch.float32 else pair.dtype
            rows.append(Row(at, tuple(pair.shape[1:]), pair.dtype, lower))
            channels_last = pair.dim() == 4 and pair.is_contiguous(
                memory_format=torch.channels_last
            )
            if channels_last and not pair.is_contiguous():
                last.add(at)
        elif pair.shape == triple.shape and torch.equal(pair, triple):
            constants[at] = pair
        else:
            raise Unsupported("the inputs at the cut cannot be split by image")
    return Shape(spec, tuple(rows), constants, frozenset(last))


def _recorded(entry: FromCut, images: Tensor, training: bool) -> CutInputs:
    # What is random in training, and not frozen, such as dropout between the last unit and the
    # head, gives something else in eval mode.
    before = entry.module.training
    entry.module.train(training)
    try:
        return entry.record(images)
    finally:
        entry.module.train(before)


def below_digest(module: nn.Module, hierarchy: Hierarchy, boundary: int) -> str:
    """A digest of all parameters and buffers of the first ``boundary`` units, by name and bytes."""
    hasher = blake3()
    for name, tensor in _tensors(module, hierarchy, boundary):
        value = tensor.detach().cpu().contiguous()
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        hasher.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return f"blake3:{hasher.hexdigest()}"


class Below:
    """The weights of the first ``boundary`` units, which made a cache, and whether they are still
    what they were; ``digest`` is their `below_digest`.
    """

    def __init__(self, module: nn.Module, hierarchy: Hierarchy, boundary: int) -> None:
        self._where = module, hierarchy, boundary
        self.digest = below_digest(module, hierarchy, boundary)
        self._seen = self._versions()

    def unchanged(self) -> bool:
        """Whether the weights are those of the digest."""
        # Torch counts what is written into a tensor: nothing is hashed while nothing was.
        if (versions := self._versions()) != self._seen:
            if below_digest(*self._where) != self.digest:
                return False
            self._seen = versions
        return True

    def _versions(self) -> list[tuple[int, int]]:
        return [(value.data_ptr(), value._version) for _, value in _tensors(*self._where)]


def _tensors(
    module: nn.Module, hierarchy: Hierarchy, boundary: int
) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers of the first ``boundary`` units, sorted by name."""
    names = {n for unit in hierarchy.units[:boundary] for n in (*unit.parameters, *unit.buffers)}
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return ((name, tensors[name]) for name in sorted(names))


def open_or_fill(
    folder: Path,
    description: Mapping[str, object],
    shape: Shape,
    count: int,
    batches: Callable[[], Iterable[Tensor]],
    entry: FromCut,
    progress: Progress,
) -> Activations:
    """The activations that ``description`` names, from ``folder`` or computed and kept there.

    ``batches`` gives ``count`` images (N, C, H, W) on the device of ``entry``, in order, if needed.

    Raises:
        Unsupported: Neither disk nor memory has room for them.
    """
    full, home = home_of(folder, description, shape, count)
    if cached := _opened(home, full, shape, count):
        with suppress(OSError):  # it goes meanwhile
            os.utime(home)  # the least recently used goes first
        return Activations(shape, cached)
    shutil.rmtree(home, ignore_errors=True)  # damaged, or not there
    filling, rows = _room(folder, shape, count)
    try:
        _fill(rows, shape, count, batches(), entry, progress)
        if filling:
            with suppress(OSError):  # full disk, or another process was faster: the maps hold on
                digests = [_digest(each) for each in rows]
                # Digests before the name: what is under its name is whole.
                about = json.dumps({**full, "digests": digests}).encode()
                write_whole(filling / DESCRIPTION, [about])
                filling.rename(home)
    finally:
        if filling:
            shutil.rmtree(filling, ignore_errors=True)
    return Activations(shape, rows)


def _fill(
    rows: Sequence[Tensor],
    shape: Shape,
    count: int,
    batches: Iterable[Tensor],
    entry: FromCut,
    progress: Progress,
) -> None:
    """Images are read and run while the ones before are still copied to the host and written."""

    def write(part: tuple[slice, Sequence[Tensor]]) -> None:
        place, leaves = part
        for leaf, into in zip(leaves, rows, strict=True):
            into[place] = leaf

    at = 0
    with progress("running the frozen part", count) as task, behind(write) as hand_over:
        for images in batches:
            leaves, _ = tree_flatten(entry.record(images))
            place = slice(at, at + len(images))
            hand_over((place, [leaves[row.leaf] for row in shape.rows]))
            at += len(images)
            task.advance(len(images))


def home_of(
    folder: Path, description: Mapping[str, object], shape: Shape, count: int
) -> tuple[dict[str, object], Path]:
    """What such activations are described by when they are kept, and where that is."""
    rows = [
        [row.leaf, list(row.size), *map(str, dict.fromkeys((row.dtype, row.kept)))]
        for row in shape.rows
    ]
    full = {**description, "format": FORMAT, "count": count, "rows": rows}
    return full, folder / blake3(json.dumps(full, sort_keys=True).encode()).hexdigest()


def _path(home: Path, number: int) -> Path:
    return home / f"{number}.bin"


def _digest(rows: Tensor) -> str:
    data = rows.reshape(-1).view(torch.uint8).numpy().data
    return f"blake3:{blake3(max_threads=blake3.AUTO).update(data).hexdigest()}"


def _opened(
    home: Path, full: Mapping[str, object], shape: Shape, count: int
) -> list[Tensor] | None:
    """The rows kept in ``home``, if they are what ``full`` describes and sound."""
    try:
        known = json.loads((home / DESCRIPTION).read_bytes())
        digests = known.pop("digests")
        if known != full or len(digests) != len(shape.rows):
            return None
        rows = _mapped(home, shape, count)
        # Hashed each time: a run would train on what a crash or a disk made of the bytes. As they
        # are mapped: by its name, a file may be another one, or none, a moment later.
        return rows if [*map(_digest, rows)] == digests else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _mapped(home: Path, shape: Shape, count: int) -> list[Tensor]:
    """The files in ``home``, which are there, as rows.

    Raises:
        OSError: One cannot be opened.
        ValueError: One is too short.
    """
    rows = []
    for number, row in enumerate(shape.rows):
        nbytes = count * row.numel * row.kept.itemsize
        with _path(home, number).open("r+b") as file:
            data = mmap(file.fileno(), max(nbytes, 1))
        flat = torch.frombuffer(data, dtype=torch.uint8)[:nbytes].view(row.kept)
        rows.append(flat.reshape(count, *row.size))
    return rows


def _room(folder: Path, shape: Shape, count: int) -> tuple[Path | None, list[Tensor]]:
    """Rows to write to: files mapped from a new folder where the disk has room, else memory."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = count * shape.nbytes
    if limit := room(folder, needed):
        make_way(folder, limit - needed)
        filling = folder / f".filling-{secrets.token_hex(4)}"
        filling.mkdir()  # not as a temporary one, which would be for this user alone
        try:
            for number, row in enumerate(shape.rows):
                nbytes = count * row.numel * row.kept.itemsize
                # Writing to the map of a sparse file on a full disk would end the process.
                with _path(filling, number).open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, max(nbytes, 1))
            return filling, _mapped(filling, shape, count)
        except BaseException as error:
            shutil.rmtree(filling, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
        _check_memory(needed, limit)
    return None, [torch.empty(count, *row.size, dtype=row.kept) for row in shape.rows]


def room(folder: Path, needed: int) -> int:
    """Bytes that caches may take on the disk of ``folder``; 0 where ``needed`` are only free in
    memory.

    Raises:
        Unsupported: Nor there.
    """
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    # What caches take counts as free: they make way.
    taken = sum(size for _, size, _ in _homes(folder)) if there == folder else 0
    free = shutil.disk_usage(there).free + taken
    limit = min(config.cache_bytes(), int(free * SHARE_OF_DISK))
    if needed <= limit:
        return limit
    _check_memory(needed, limit)
    return 0


def _check_memory(needed: int, limit: int) -> None:
    memory = free_memory()
    if needed > memory * SHARE_OF_MEMORY:
        raise Unsupported(
            f"a cache would take {needed / 1e9:.1f} GB: caches may take {limit / 1e9:.1f} GB "
            f"(ZOO_CACHE_GB, and half of the disk), and {memory / 1e9:.1f} GB of memory are free"
        )


def make_way(folder: Path, budget: int) -> None:
    """Delete the least recently used caches until the rest fit ``budget`` bytes."""
    total = 0
    for _, size, home in sorted(_homes(folder), reverse=True):
        total += size
        if total > budget:
            shutil.rmtree(home, ignore_errors=True)


def _homes(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each cache was used last, and its bytes."""
    for home in folder.iterdir():
        with suppress(FileNotFoundError, NotADirectoryError):  # another run names or deletes it
            size = sum(file.stat().st_size for file in home.iterdir())
            yield home.stat().st_mtime, size, home
