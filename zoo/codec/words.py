"""Words: the elements of a tensor as unsigned integers, moved about so that they compress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LAYOUTS", "Layout", "Words", "from_delta", "from_planes", "rotate", "to_delta",
           "to_planes", "unrotate"]  # fmt: skip

Words = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a word's bits are laid out.

    Attributes:
        number: What stands for it in an encoded object.
        width: Bytes in a word.
        mantissa: Mantissa bits, the lowest ones; 0 for what is no float.
        exponent: Exponent bits, above the mantissa; the sign is the highest bit.
    """

    number: int
    width: int
    mantissa: int = 0
    exponent: int = 0

    @property
    def unsigned(self) -> np.dtype[np.unsignedinteger]:
        """The little-endian unsigned integer type of a word."""
        return np.dtype(f"<u{self.width}")

    @property
    def signed(self) -> np.dtype[np.signedinteger]:
        """The little-endian signed integer type of a word."""
        return np.dtype(f"<i{self.width}")


LAYOUTS = {
    "BYTES": Layout(0, 1),
    "F16": Layout(1, 2, mantissa=10, exponent=5),
    "BF16": Layout(2, 2, mantissa=7, exponent=8),
    "F32": Layout(3, 4, mantissa=23, exponent=8),
    "F64": Layout(4, 8, mantissa=52, exponent=11),
    "I16": Layout(5, 2),
    "I32": Layout(6, 4),
    "I64": Layout(7, 8),
}


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

    Bits are mapped to integers in numeric order first, so that neighbours in value are neighbours
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


def from_planes(planes: NDArray[np.uint8], layout: Layout) -> Words:
    """Inverse of `to_planes`."""
    octets = np.ascontiguousarray(planes[::-1].T)
    words: Words = octets.reshape(-1).view(layout.unsigned)
    return words


def _ordered(words: Words) -> Words:
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
