"""Find tensors with NaN or infinite values, and know what was found. Needs neither torch nor numpy,
which a pull does not import.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from struct import calcsize
from typing import Literal

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.plain import Json
from zoo.errors import Invalid, ZooError
from zoo.store.json_file import JsonFile
from zoo.store.store import Store

__all__ = [
    "NOT_FINITE",
    "is_finite",
    "keep_not_finite",
    "all_not_finite",
    "known_not_finite",
    "note_not_finite",
    "nan_tensors",
    "nan_tensors_here",
    "watched",
]

LOG = logging.getLogger("zoo")
NOT_FINITE = "not-finite.json"
"""Beside the store: what was found of each checkpoint, in words."""
MOST_KEPT = 1000
"""Checkpoints of which it is kept: the file is read in whole."""
PIECE = 1 << 22
EXPONENTS: dict[str, tuple[Literal["B", "H", "I", "Q"], int]] = {
    "F8_E4M3": ("B", 0x7F),
    "F8_E5M2": ("B", 0x7C),
    "F16": ("H", 0x7C00),
    "BF16": ("H", 0x7F80),
    "F32": ("I", 0x7F80_0000),
    "C64": ("I", 0x7F80_0000),
    "F64": ("Q", 0x7FF0_0000_0000_0000),
}
"""The bits that are all set where a number is NaN or infinite, by dtype."""


def nan_tensors(tensors: Iterable[tuple[str, str, memoryview]]) -> tuple[str, ...]:
    """The names of those with NaN or infinite values, of tensors by name, dtype and bytes."""
    return tuple(name for name, dtype, data in tensors if not is_finite(dtype, data))


def nan_tensors_here(store: Store, manifest: Manifest) -> tuple[str, ...]:
    """The same of the tensors of a checkpoint that is here."""
    return nan_tensors(
        (each.name, each.dtype, store.view("objects", each.object)[each.offset :][: each.nbytes])
        for each in manifest.tensors
        if each.dtype in EXPONENTS
    )


def is_finite(dtype: str, data: memoryview) -> bool:
    """Whether no number of a tensor is NaN or infinite."""
    if dtype not in EXPONENTS:
        return True
    kind, mask = EXPONENTS[dtype]
    width = calcsize(kind)
    highest = mask >> 8 * (width - 1)
    suspects = [byte for byte in range(256) if byte & highest == highest]
    for begin in range(0, len(data), PIECE):
        piece = bytes(data[begin : begin + PIECE])
        # The last byte of a number has its sign and most of its exponent. Weights are hardly ever
        # so large that these bits are set, so a search for such bytes is mostly all that it takes.
        last = piece[width - 1 :: width]
        if any(byte in last for byte in suspects):
            numbers = memoryview(piece).cast(kind)
            if any(number & mask == mask for number in numbers):
                return False
    return True


def watched(
    dtype: str, pieces: Iterable[bytes | memoryview], tell: Callable[[], None]
) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor as they come; at their end ``tell`` is called if they have a NaN or an
    infinite value.
    """
    width = calcsize(EXPONENTS[dtype][0]) if dtype in EXPONENTS else 1
    left, finite = b"", True
    for piece in pieces:
        yield piece
        if finite:
            numbers = left + piece  # a piece may end within a number
            whole = len(numbers) // width * width
            finite, left = is_finite(dtype, memoryview(numbers)[:whole]), numbers[whole:]
    if not finite:
        tell()


def keep_not_finite(file: JsonFile, texts: Mapping[Digest, str]) -> None:
    """Keep what was found of all checkpoints, in the place of what was before, so that nobody has
    to read the weights again to tell. Who may only read the zoo has been told, and keeps nothing.
    """
    kept = dict(sorted((str(digest), text) for digest, text in texts.items())[:MOST_KEPT])
    with suppress(ZooError):
        if file.read() != kept:
            with file.change() as content:
                content.clear()
                content.update(kept)


def note_not_finite(file: JsonFile, digest: Digest, text: str) -> None:
    """Keep what was found of one checkpoint beside what is kept of others."""
    with suppress(ZooError), file.change() as content:
        if len(content) < MOST_KEPT:
            content[str(digest)] = text


def known_not_finite(file: JsonFile, digest: Digest) -> str:
    """What was found of a checkpoint; empty if nothing was, or nobody has looked."""
    return str(all_not_finite(file).get(str(digest), ""))


def all_not_finite(file: JsonFile) -> Json:
    """What was found of all checkpoints, by their digests."""
    try:
        return file.read()
    except Invalid as error:
        LOG.warning("%s", error)
        return {}
