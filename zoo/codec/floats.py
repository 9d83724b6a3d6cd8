"""The numbers of a stored tensor, as numpy has them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Array", "floats"]

NUMPY = {
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "BF16": "<u2",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "BOOL": "u1",
}

Array = np.ndarray[Any, np.dtype[Any]]


def floats(dtype: str, data: memoryview | bytes) -> Array | None:
    """The numbers of a tensor, flat; bfloat16 as float32. None for a dtype that numpy lacks."""
    if dtype not in NUMPY:
        return None
    values = np.frombuffer(data, dtype=NUMPY[dtype])
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values
