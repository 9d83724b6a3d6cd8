"""Distance: how far tensors are apart, in numbers; whether one is the other, rounded. Needs numpy,
no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from zoo.codec.floats import Array, floats
from zoo.domain.manifest import Tensor
from zoo.lookup.compare import Pair, content
from zoo.store import Store

__all__ = ["Distance", "cast", "distance", "equal_when_cast"]

CHUNK = 1 << 20
BITS_OF = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}


@dataclass(frozen=True, slots=True)
class Distance:
    """How far one set of tensors is from another.

    Attributes:
        relative: Length of the difference, as a share of the first one's length.
        cosine: Of the angle between them: 1 is the same direction. Matrices of strangers have about
            0, vectors of norms more.
    """

    relative: float | None
    cosine: float | None


def distance(store: Store, pairs: Iterable[Pair]) -> Distance:
    """The distance over all pairs of one shape, taken together; None where it is not a number.

    Raises:
        MissingObject: Their bytes are not here.
        Corrupt: They are damaged.
    """
    sums = np.zeros(4)
    for pair in pairs:
        if pair.before and pair.after and pair.before.shape == pair.after.shape:
            one, other = _values(store, pair.before), _values(store, pair.after)
            if one is not None and other is not None:
                sums += _sums(one, other)
    first, second, apart, product = map(float, sums)
    return Distance(
        relative=_finite(math.sqrt(apart / first)) if first > 0 else None,
        cosine=_cosine(product, first, second) if first > 0 and second > 0 else None,
    )


def _values(store: Store, tensor: Tensor) -> Array | None:
    return floats(tensor.dtype, content(store, tensor))


def _sums(one: Array, other: Array) -> Array:
    """Sums of squares of both and of their difference, and of products; in double precision."""
    total = np.zeros(4)
    for start in range(0, len(one), CHUNK):
        a = one[start : start + CHUNK].astype(np.float64)
        b = other[start : start + CHUNK].astype(np.float64)
        apart = a - b
        total += (a @ a, b @ b, apart @ apart, a @ b)
    return total


def _cosine(product: float, first: float, second: float) -> float | None:
    number = _finite(product / math.sqrt(first) / math.sqrt(second))
    return None if number is None else max(-1.0, min(1.0, number))  # sums are rounded


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


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


def cast(dtype: str, data: memoryview | bytes, other: str) -> bytes | None:
    """The bytes of a tensor, cast to another dtype; None of dtypes that weights are not cast to."""
    values = floats(dtype, data) if {dtype, other} <= BITS_OF.keys() else None
    if values is None:
        return None
    array = _rounded(values, other)
    return (array.view("<u4") >> 16).astype("<u2").tobytes() if other == "BF16" else array.tobytes()


def _rounded(values: Array, dtype: str) -> Array:
    with np.errstate(over="ignore"):
        if dtype != "BF16":
            return values.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])
        words = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    # To the nearest, and to even between two.
    rounded = (words + 0x7FFF + (words >> 16 & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)
