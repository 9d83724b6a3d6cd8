"""Cast: whether two tensors of different float dtypes hold the same values, one of them rounded."""

from __future__ import annotations

import numpy as np

from zoo.lookup.distance import Array, floats

__all__ = ["equal_when_cast"]

BITS_OF = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}


def equal_when_cast(
    one: str, one_data: memoryview | bytes, other: str, other_data: memoryview | bytes
) -> bool:
    """Whether casting the wider tensor to the dtype of the narrower one gives the same bits.

    Two half-precision dtypes are compared by what single precision would have been rounded to,
    which neither holds: they are equal only where one of the two roundings lost nothing.

    Args:
        one: dtype of one, in the spelling of safetensors.
        one_data: Its bytes.
        other: dtype of the other.
        other_data: Its bytes, for as many elements.
    """
    if one not in BITS_OF or other not in BITS_OF:
        return False
    if BITS_OF[one] < BITS_OF[other]:
        one, one_data, other, other_data = other, other_data, one, one_data
    wide, narrow = floats(one, one_data), floats(other, other_data)
    if wide is None or narrow is None or wide.shape != narrow.shape:
        return False
    if np.array_equal(_rounded(wide, other), narrow, equal_nan=True):
        return True
    return BITS_OF[one] == BITS_OF[other] and np.array_equal(
        wide, _rounded(narrow, one), equal_nan=True
    )


def _rounded(values: Array, dtype: str) -> Array:
    with np.errstate(over="ignore"):
        if dtype != "BF16":
            return values.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])
        words = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    # To the nearest, and to even between two.
    rounded = (words + 0x7FFF + (words >> 16 & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)
