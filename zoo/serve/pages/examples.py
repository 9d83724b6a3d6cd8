"""Examples: small images that a run kept, out of a checkpoint or of the run's folder.

Anybody may have sent a checkpoint, so its sheet is no image until it was looked at: only pixels are
taken from it, and what is served is an image that was made here of these.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from zoo.domain.limits import MIB
from zoo.domain.words import shortened
from zoo.errors import ZooError
from zoo.lookup.examples import EXAMPLES, MOST, SHEET, SIDE, Examples
from zoo.lookup.runs import Run
from zoo.serve.http.answer import Answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages.chosen import PickedVersion, pick
from zoo.serve.pages.kept_runs import run_of, runs_that_made
from zoo.serve.pages.page import BOTH
from zoo.store.encoded import read_object
from zoo.store.regular import read_regular

__all__ = [
    "Pictures",
    "model_sheet",
    "pictures_of",
    "pictures_of_run",
    "pixels_of",
    "png",
    "run_sheet",
]

SHEET_BYTES, TEXT_BYTES = 4 * MIB, MIB // 4
COLUMNS, LETTERS = 64, 80
SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD = struct.Struct(">II5B")

_drawn: LruCache[str, bytes] = LruCache(16 * MIB, len)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image: where it is in the sheet, and what it shows."""

    left: int
    top: int
    true: str
    predicted: str

    @property
    def label(self) -> str:
        """What it shows, in words."""
        return f"{self.true}, taken for {self.predicted}" if self.predicted else self.true


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The images of a sheet that is at ``path``, with the query ``revision``.

    Attributes:
        side: Pixels of each.
        width: Of the sheet.
        height: Of the sheet.
        shown: Them.
    """

    path: str
    revision: str
    side: int
    width: int
    height: int
    shown: tuple[Picture, ...]

    def of(self, true: str, predicted: str = "") -> tuple[Picture, ...]:
        """Those of a class, or of a class that was taken for another."""
        wanted = shortened(true, LETTERS), shortened(predicted, LETTERS)
        return tuple(each for each in self.shown if (each.true, each.predicted) == wanted)


def pictures_of(ask: Ask, picked: PickedVersion) -> Pictures | None:
    """The images that were published with a checkpoint, else those that the run has kept which
    made it, for who sees all; None where there are none.
    """
    try:
        examples = _read_examples(_in_checkpoint(ask, picked, EXAMPLES, TEXT_BYTES))
        picked.holder(SHEET)
    except (LookupError, ValueError, ZooError):
        return _kept(ask, picked)
    return _pictures(examples, f"/{picked.chosen.repo}/{SHEET}", picked.chosen.asked)


def _kept(ask: Ask, picked: PickedVersion) -> Pictures | None:
    recipe = (picked.manifest.recipe if picked.manifest else None) or {}
    if not (sees_all(ask.actor) and picked.checkpoint and recipe.get("keep_examples")):
        return None
    run = runs_that_made(ask, [picked.checkpoint]).get(picked.checkpoint)
    return pictures_of_run(ask, run) if run else None


def pictures_of_run(ask: Ask, run: Run) -> Pictures | None:
    """The images that a run kept; None where there are none, or they are not for who asks."""
    try:
        examples = _read_examples(_in_run(ask, run, EXAMPLES, TEXT_BYTES))
    except (OSError, ValueError, ZooError):
        return None
    return _pictures(examples, f"/-/runs/{run.id}/{SHEET}", "")


def model_sheet(ask: Ask) -> Answer:
    """The sheet of a checkpoint."""
    picked = pick(ask)
    try:
        examples = _read_examples(_in_checkpoint(ask, picked, EXAMPLES, TEXT_BYTES))
        return _sheet(examples, _in_checkpoint(ask, picked, SHEET, SHEET_BYTES))
    except (LookupError, ValueError, ZooError):
        raise Refused("EntryNotFound", "it has no example images that could be shown") from None


def run_sheet(ask: Ask, id: str) -> Answer:  # noqa: A002 - the field of the path
    """The sheet of a run."""
    run = run_of(ask, id)
    if run is None:
        raise Refused("NotFound")
    try:
        examples = _read_examples(_in_run(ask, run, EXAMPLES, TEXT_BYTES))
        return _sheet(examples, _in_run(ask, run, SHEET, SHEET_BYTES))
    except (OSError, ValueError, ZooError):
        raise Refused("NotFound") from None


def _in_checkpoint(ask: Ask, picked: PickedVersion, name: str, most: int) -> bytes:
    """A file of a checkpoint, or of a snapshot.

    Raises:
        LookupError: There is none.
        ValueError: It is too large.
    """
    holder, size = picked.holder(name)
    if size > most:
        raise ValueError(f"{name} has {size} bytes")
    return b"".join(read_object(ask.hub.workspace.store, holder, least=size))[:size]


def _in_run(ask: Ask, run: Run, name: str, most: int) -> bytes:
    """A file of a run's folder. Images are for who sees all, unless they were published."""
    if not (sees_all(ask.actor) or run.recipe.get("publish_examples") is True):
        raise ValueError("not for who asks")
    return read_regular(Path(run.folder) / name, most)


def _read_examples(data: bytes) -> Examples:
    """What the images show.

    Raises:
        ValueError: That is nothing of the kind, or too much.
    """
    try:
        examples = msgspec.json.decode(data, type=Examples)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not (8 <= examples.side <= 2 * SIDE and 1 <= examples.columns <= COLUMNS):
        raise ValueError("its images have no such size")
    if not 1 <= len(examples.shown) <= MOST:
        raise ValueError("it has too many images, or none")
    return examples


def _pictures(examples: Examples, path: str, revision: str) -> Pictures:
    width, height = examples.size
    return Pictures(
        path=path,
        revision=revision,
        side=examples.side,
        width=width,
        height=height,
        shown=tuple(_placed(examples)),
    )


def _placed(examples: Examples) -> Iterator[Picture]:
    for number, each in enumerate(examples.shown):
        left, top = examples.place(number)
        names = shortened(each.true, LETTERS), shortened(each.predicted, LETTERS)
        yield Picture(left=left, top=top, true=names[0], predicted=names[1])


def _sheet(examples: Examples, data: bytes) -> Answer:
    key = f"{hashlib.sha256(data).hexdigest()} {examples.size}"
    drawn = _drawn.get(key) or _drawn.put(key, png(*examples.size, pixels_of(data, *examples.size)))
    return Answer(headers={**BOTH, "Content-Type": "image/png"}, body=drawn)


def pixels_of(data: bytes, width: int, height: int) -> bytes:
    """The filtered rows of a PNG of 8-bit RGB of just that size; all else of it is left.

    Raises:
        ValueError: It is another image, or none.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("it is no PNG")
    chunks, at = list[tuple[bytes, bytes]](), len(SIGNATURE)
    while at + 12 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks or chunks[0] != (b"IHDR", HEAD.pack(width, height, 8, 2, 0, 0, 0)):
        raise ValueError("it is of another size or kind")
    wanted = height * (1 + 3 * width)
    packed = zlib.decompressobj()
    try:
        # One byte more than is wanted shows that there is too much, and no more are made.
        rows = packed.decompress(
            b"".join(each for kind, each in chunks if kind == b"IDAT"), wanted + 1
        )
    except zlib.error as error:
        raise ValueError("its pixels are damaged") from error
    if len(rows) != wanted or max(rows[:: 1 + 3 * width]) > 4:
        raise ValueError("its pixels are not those of its size")
    return rows


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG of 8-bit RGB of filtered rows, and nothing else."""
    parts: Mapping[bytes, bytes] = {
        b"IHDR": HEAD.pack(width, height, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows, 6),
        b"IEND": b"",
    }
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts.items()
    )
