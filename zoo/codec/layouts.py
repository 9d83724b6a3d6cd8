"""Layouts: how the bits of a word lie. Plain data, so that reading a header needs no numpy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYOUTS", "Layout"]


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
    def unsigned(self) -> str:
        """The little-endian unsigned integer type of a word, as numpy spells it."""
        return f"<u{self.width}"


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
