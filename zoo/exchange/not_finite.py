"""Find tensors with NaN or infinite values. Needs neither torch nor numpy, which a pull does not
import.
"""

from __future__ import annotations

import logging
from struct import calcsize
from typing import Literal

from zoo.domain.manifest import Manifest, Tensor
from zoo.store import Store

__all__ = ["is_finite", "warn_of_not_finite"]

LOG = logging.getLogger("zoo")
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


def warn_of_not_finite(store: Store, manifest: Manifest) -> list[str]:
    """Warn of tensors of a new checkpoint that have NaN or infinite values; their names."""
    names = [
        tensor.name
        for tensor in manifest.tensors
        if tensor.dtype in EXPONENTS and not is_finite(store, tensor)
    ]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        LOG.warning("NaN or infinite values in %s%s", ", ".join(names[:3]), more)
    return names


def is_finite(store: Store, tensor: Tensor) -> bool:
    """Whether no number of a tensor is NaN or infinite."""
    kind, mask = EXPONENTS[tensor.dtype]
    width = calcsize(kind)
    highest = mask >> 8 * (width - 1)
    suspects = [byte for byte in range(256) if byte & highest == highest]
    data = store.view("objects", tensor.object)[tensor.offset : tensor.offset + tensor.nbytes]
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
