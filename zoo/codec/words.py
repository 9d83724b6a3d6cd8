"""Words: the elements of a tensor as unsigned integers, moved about so that they compress."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.codec.layouts import WordLayout

__all__ = ["Words", "from_delta", "from_planes", "rotate", "to_delta", "to_planes", "unrotate"]

Words = NDArray[Any]


def rotate(words: Words) -> Words:
    """Rotate left by one bit: a float's exponent then fills the top byte."""
    bits = words.dtype.itemsize * 8
    return (words << 1) | (words >> (bits - 1))


def unrotate(words: Words) -> Words:
    """Inverse of `rotate`."""
    bits = words.dtype.itemsize * 8
    return (words >> 1) | (words << (bits - 1))


def to_delta(words: Words, base: Words) -> Words:
    """Differences in units of the last place, zigzagged: small steps become small numbers.

    Bits are mapped to integers in numeric order first, so that neighbors in value are neighbors
    in number, across zero too.
    """
    difference: Words = _ordered(words) - _ordered(base)
    doubled: Words = difference << 1
    return doubled ^ _sign_mask(difference)


def from_delta(delta: Words, base: Words) -> Words:
    """Inverse of `to_delta`."""
    one = delta.dtype.type(1)
    difference = (delta >> 1) ^ (~(delta & one) + one)
    return _unordered(_ordered(base) + difference)


def to_planes(words: Words) -> NDArray[np.uint8]:
    """Byte planes ``(width, n)``, the most significant first."""
    octets = words.view(np.uint8).reshape(len(words), words.dtype.itemsize)
    return np.ascontiguousarray(octets.T[::-1])


def from_planes(planes: NDArray[np.uint8], layout: WordLayout) -> Words:
    """Inverse of `to_planes`."""
    octets = np.ascontiguousarray(planes[::-1].T)
    words: Words = octets.reshape(-1).view(layout.unsigned)
    return words


def _ordered(words: Words) -> Words:
    # Negative floats count down as integers: all their bits are turned. Others get the highest bit,
    # so that they come after.
    top = words.dtype.type(1 << (words.dtype.itemsize * 8 - 1))
    ordered: Words = words ^ (_sign_mask(words) | top)
    return ordered


def _unordered(ordered: Words) -> Words:
    top = ordered.dtype.type(1 << (ordered.dtype.itemsize * 8 - 1))
    words: Words = ordered ^ (~_sign_mask(ordered) | top)
    return words


def _sign_mask(words: Words) -> Words:
    """All ones where the highest bit is set, else zero."""
    signed = words.view(f"<i{words.dtype.itemsize}")
    mask: Words = (signed >> (words.dtype.itemsize * 8 - 1)).view(words.dtype)
    return mask
