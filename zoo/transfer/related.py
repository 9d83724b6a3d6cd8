"""Related: which of several checkpoints another one was most likely trained from, by a sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from zoo.codec.choose import NAMES
from zoo.domain.manifest import Manifest, Tensor
from zoo.store import Store
from zoo.store.encoded import read_object

__all__ = ["FAR", "Sample", "distance", "read_sample"]

FAR = 0.7
"""Length of the difference, as a share of the length. Weights that have nothing to do with each
other are at 1.4 (random vectors of one length are at right angles), fine-tunes far below."""
TENSORS = 8
"""The largest tensors. They are what training moves least and coding is about."""
VALUES = 4096
NUMPY = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}

Array = np.ndarray[Any, np.dtype[Any]]
Sample = Mapping[tuple[str, str, tuple[int, ...]], Array]
"""Some values of each of the largest tensors, by name, dtype and shape."""


def read_sample(store: Store, manifest: Manifest) -> Sample:
    """A sample of a checkpoint's tensors of floats: 32 thousand values at most.

    Raises:
        MissingObject: Objects are not there.
        Corrupt: They are damaged, and encoded: what is plain is not hashed.
    """
    floats = [tensor for tensor in manifest.tensors if NAMES.get(tensor.dtype) in NUMPY]
    floats.sort(key=lambda tensor: (-tensor.nbytes, tensor.name))
    return {
        (tensor.name, tensor.dtype, tensor.shape): _values(store, tensor)
        for tensor in floats[:TENSORS]
    }


def distance(one: Sample, other: Sample) -> float:
    """Length of the difference of two samples as a share of the first's length, over the tensors
    that both have; infinite where that is less than half of the first's, or no number.
    """
    shared = one.keys() & other.keys()
    if 2 * len(shared) < len(one):
        return math.inf
    length = sum(float(one[key] @ one[key]) for key in shared)
    apart = sum(float(((one[key] - other[key]) ** 2).sum()) for key in shared)
    share = math.sqrt(apart / length) if length > 0 else math.inf
    return share if math.isfinite(share) else math.inf


def _values(store: Store, tensor: Tensor) -> Array:
    dtype = np.dtype(NUMPY[NAMES[tensor.dtype]])
    count = min(VALUES, tensor.nbytes // dtype.itemsize)
    data = b"".join(_range(store, tensor, count * dtype.itemsize))
    values = np.frombuffer(data, dtype)
    if dtype.kind == "u":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        return values.astype(np.float64)


def _range(store: Store, tensor: Tensor, length: int) -> Iterable[bytes | memoryview]:
    """The first ``length`` bytes of a tensor."""
    if not store.missing("objects", [tensor.object]):
        return store.read("objects", tensor.object, tensor.offset, length)
    end = tensor.offset + tensor.nbytes
    return _cut(read_object(store, tensor.object, least=end), tensor.offset, length)


def _cut(
    pieces: Iterable[bytes | memoryview], offset: int, length: int
) -> Iterator[bytes | memoryview]:
    """``length`` bytes from ``offset`` on."""
    begin = 0
    for piece in pieces:
        yield piece[max(0, offset - begin) : max(0, offset + length - begin)]
        begin += len(piece)
        if begin >= offset + length:
            return
