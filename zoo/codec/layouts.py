"""Layouts: how the bits of a word lie. Plain data, so that reading a header needs no numpy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYOUTS", "WordLayout"]


@dataclass(frozen=True, slots=True)
class WordLayout:
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
    def unsigned(self) -> str:
        """The little-endian unsigned integer type of a word, as numpy spells it."""
        return f"<u{self.width}"


LAYOUTS = {
    "BYTES": WordLayout(0, 1),
    "F16": WordLayout(1, 2, mantissa=10, exponent=5),
    "BF16": WordLayout(2, 2, mantissa=7, exponent=8),
    "F32": WordLayout(3, 4, mantissa=23, exponent=8),
    "F64": WordLayout(4, 8, mantissa=52, exponent=11),
    "I16": WordLayout(5, 2),
    "I32": WordLayout(6, 4),
    "I64": WordLayout(7, 8),
}
