"""Find tensors with NaN or infinite values. Needs neither torch nor numpy, which a pull does not
import.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import calcsize
from typing import Literal

from zoo.domain.manifest import Manifest
from zoo.store import Store

__all__ = ["is_finite", "nan_tensors", "nan_tensors_here"]

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
