"""Differences coded in groups of like exponent.

Whoever decodes holds the parent, and the parent's exponent says how large a step in value a step in
the last place is. So the differences are sorted by it, cut into groups, and each group gets its own
statistics (pcodec, https://github.com/pcodec/pcodec). The decoder finds the order from the parent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, standalone

from zoo.codec.layouts import WordLayout
from zoo.codec.words import Words
from zoo.errors import Corrupt

__all__ = ["pack_grouped", "unpack_grouped"]

SMALLEST = 2048
SHARE = 100
CONFIG = ChunkConfig(
    compression_level=8, mode_spec=ModeSpec.classic(), delta_spec=DeltaSpec.no_op()
)


def pack_grouped(delta: Words, base: Words, layout: WordLayout) -> bytes:
    """Each group as its packed length in four bytes, and its bytes."""
    order, bounds = _groups(base, layout)
    sorted_delta = delta[order]
    parts = []
    for begin, end in bounds:
        body = standalone.simple_compress(sorted_delta[begin:end], CONFIG)
        parts += [len(body).to_bytes(4, "little"), body]
    return b"".join(parts)


def unpack_grouped(data: memoryview, base: Words, layout: WordLayout) -> Words:
    """Inverse of `pack_grouped`.

    Raises:
        Corrupt: The data is not what the parent's groups ask for.
    """
    order, bounds = _groups(base, layout)
    sorted_delta = np.empty(len(base), layout.unsigned)
    position = 0
    for begin, end in bounds:
        length = int.from_bytes(data[position : position + 4], "little")
        body = bytes(data[position + 4 : position + 4 + length])
        position += 4 + length
        target = sorted_delta[begin:end]
        try:
            done = standalone.simple_decompress_into(body, target)
        except (RuntimeError, TypeError) as error:
            raise Corrupt("an encoded group", "pcodec data", str(error)) from error
        if done.n_processed != end - begin:
            raise Corrupt("an encoded group", f"{end - begin} words", f"{done.n_processed} words")
    if position != len(data):
        raise Corrupt("an encoded chunk", f"{len(data)} bytes", f"{position} bytes")
    delta = np.empty_like(sorted_delta)
    delta[order] = sorted_delta
    return delta


def _groups(base: Words, layout: WordLayout) -> tuple[NDArray[np.intp], list[tuple[int, int]]]:
    """The stable order by the parent's exponent, and the groups' bounds in it. Part of the format.

    Groups end where the exponent changes, as soon as they hold ``max(n // 100, 2048)`` elements;
    what is left at the end joins the last group.
    """
    exponent = (base >> layout.mantissa) & ((1 << layout.exponent) - 1)
    keys = exponent.astype(np.uint8 if layout.exponent <= 8 else np.uint16)
    order = np.argsort(keys, kind="stable")
    ends = np.cumsum(np.bincount(keys)).tolist()
    return order, list(_bounds(ends, len(base)))


def _bounds(ends: list[int], count: int) -> Iterator[tuple[int, int]]:
    least = max(count // SHARE, SMALLEST)
    begin = 0
    for end in ends:
        if end - begin >= least and count - end >= least:
            yield begin, end
            begin = end
    if begin < count:
        yield begin, count
