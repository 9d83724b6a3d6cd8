"""Images inside Parquet files, as data sets of the Hugging Face hub have them: a column is a struct
of ``bytes`` and ``path``, or bytes alone.

A row of such a file cannot be read without those beside it. So what is read in any order, or again,
is copied once into a tar file in the cache, without decoding it; what is gone through once is not.
The file has a folder of its own, whose time says when it was used last: the time of the file itself
vouches for what is in it.
"""

from __future__ import annotations

import importlib
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from shutil import rmtree
from weakref import finalize

from blake3 import blake3

from zoo.backbones.preprocess import EncodedImage
from zoo.domain.limits import PACKED_BATCH, PACKED_IMAGE_BYTES, PACKED_TIMES
from zoo.domain.owner import renewing
from zoo.errors import InvalidData
from zoo.finetune.dataset.images import state_of
from zoo.finetune.dataset.shards import ByteRange, ShardImages, samples
from zoo.store.atomic import write_whole

__all__ = ["packed", "unpacked"]

TAR = "images.tar"
MOST = f"; the limit is {PACKED_IMAGE_BYTES:,}"


def packed(file: Path, column: str) -> Iterator[EncodedImage]:
    """The images of a column by ``FILE/ROW``, in the order of their rows, a few of them in memory
    at a time; empty bytes where a row has none.

    Raises:
        InvalidData: The file cannot be read, or what is in it is larger than the limits.
    """
    # Pages may be packed, and a page be named by many rows: a small file can hold any size.
    left = PACKED_TIMES * file.stat().st_size
    for number, data in enumerate(_cells(file, column)):
        left -= len(data)
        if left < 0:
            raise InvalidData(
                file, [f"its images are more than {PACKED_TIMES} times as large as it"]
            )
        yield EncodedImage(f"{file}/{number}", data)


def unpacked(files: Mapping[Path, int], column: str, cache: Path | None) -> ShardImages:
    """The images of a column by ``FILE/ROW``; those that are not there have no span.

    Args:
        files: Parquet files of different names, and the states (`state_of`) that they were in
            before anything else of them was read.
        column: The column that holds them.
        cache: Where the copies are kept for the next time, in use as long as these images; None:
            kept for as long as them.

    Raises:
        InvalidData: As `packed`; or a file is in another state now.
        DiskFull: There is no space for the copies.
    """
    folder = cache or Path(tempfile.mkdtemp(prefix="zoo-images-"))
    spans: dict[str, ByteRange] = {}
    images = ShardImages(spans)
    homes: list[Path] = []
    with ExitStack() as using:
        if cache:
            using.enter_context(renewing(partial(_use, homes)))
        else:
            using.callback(rmtree, folder, ignore_errors=True)
        for file, state in files.items():
            of = blake3(f"{file.resolve()}\n{column}".encode()).hexdigest()[:32]
            home = folder / f"{of}-{state & (1 << 64) - 1:016x}"
            tar = home / TAR
            _use([home])  # before it is looked for: from here on no prune takes it
            if not tar.exists():
                write_whole(tar, chain(_tar(packed(file, column)), _unchanged(file, state)))
            # Others may be of an older state: whoever has them open needs them, a prune knows.
            list(_unchanged(file, state))
            homes.append(home)
            for name, members in samples(tar):
                spans[f"{file.name}/{name}"] = members["image"]
        finalize(images, _end, using.pop_all().close, os.getpid())
    return images


def _unchanged(file: Path, state: int) -> Iterator[bytes]:
    """Nothing; raises `InvalidData` where labels would be of another file than images."""
    if state_of(file) != state:
        raise InvalidData(file, ["the file changed while it was read"])
    yield from ()


def _use(homes: Sequence[Path]) -> None:
    for home in homes:
        with suppress(OSError):  # it is not there, or somebody else's
            os.utime(home)


def _end(end: Callable[[], None], owner: int) -> None:
    if os.getpid() == owner:  # a process that was forked has these images, too
        end()


def _tar(images: Iterable[EncodedImage]) -> Iterator[bytes]:
    for image in images:
        if image.data:
            info = tarfile.TarInfo(f"{image.name.rpartition('/')[2]}.image")
            info.size = len(image.data)
            yield info.tobuf()
            yield image.data
            yield bytes(-len(image.data) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _cells(file: Path, column: str) -> Iterator[bytes]:
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        # In pieces, where Arrow would hold a group of rows whole.
        with parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
            struct = arrow.types.is_struct(table.schema_arrow.field(column).type)
            wanted = [f"{column}.bytes" if struct else column]
            for batch in table.iter_batches(PACKED_BATCH, columns=wanted, use_threads=False):
                for cell in batch.column(column):  # a name with a dot may be there, too
                    data = cell.as_py()
                    data = (data or {}).get("bytes") if struct else data
                    if data and len(data) > PACKED_IMAGE_BYTES:
                        raise InvalidData(file, [f"an image in it has {len(data):,} bytes{MOST}"])
                    yield data or b""
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise InvalidData(file, [f"its images cannot be read: {error}"]) from error
