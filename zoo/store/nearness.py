"""Nearness: how far weights are from others of the same network, told by a sample of each.

Training moves weights, so that after a full fine-tune no tensor is what it was. But two trainings
that began from different random numbers end nowhere near one another, and a fine-tune stays where
it began. Needs numpy, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from zoo.codec.floats import Array, floats

__all__ = ["NEAR", "Sketch", "apart", "sketch"]

NEAR = 0.7
"""Weights that are less than this apart derive from one another, or from one origin. It is half of
what unrelated ones are apart, which is the square root of 2 (benchmarks/nearness.py)."""
TENSORS = 32
"""The largest matrices of a network that are looked at."""
COMMON = 0.9
"""Share of the elements of both that are in tensors of the same names and shapes, at least, where
the head is left out, which a fine-tune makes anew."""
RUNS, LENGTH = 8, 128
"""Of each, so many pieces of so many elements, evenly spread."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """A sample of a checkpoint's weights.

    Attributes:
        shapes: Shapes of the matrices of its backbone, by name.
        samples: Some elements of the largest of these.
    """

    shapes: Mapping[str, tuple[int, ...]]
    samples: Mapping[str, Array]


class Matrix(Protocol):
    """What is to be known of a tensor before its bytes are read."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def dtype(self) -> str:
        """Safetensors spelling."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions."""

    @property
    def nbytes(self) -> int:
        """Its bytes."""


M = TypeVar("M", bound=Matrix)


def sketch(tensors: Iterable[M], read: Callable[[M], memoryview | bytes]) -> Sketch:
    """The sample of a checkpoint, of whose matrices ``read`` gives the bytes. Vectors are left out:
    those of norms are positive, so that strangers' are alike, too.
    """
    matrices = {tensor.name: tensor for tensor in tensors if len(tensor.shape) > 1}
    largest = sorted(matrices.values(), key=lambda each: (-each.nbytes, each.name))[:TENSORS]
    samples = ((tensor.name, _sample(tensor.dtype, read(tensor))) for tensor in largest)
    return Sketch(
        shapes={name: tensor.shape for name, tensor in matrices.items()},
        samples={name: values for name, values in samples if values is not None},
    )


def apart(one: Sketch, other: Sketch, *, common: float = COMMON) -> float | None:
    """How far they are apart: the median, by size, of the lengths of the tensors' differences, as
    shares of the tensors' lengths. None if less than a share ``common`` of the elements is in
    tensors of the same names and shapes.

    It is 0 for the same weights and 1.41 for unrelated ones. A median, as what an architecture has
    alike in all networks, and what was made anew, are a few tensors.
    """
    both = {name for name, shape in one.shapes.items() if other.shapes.get(name) == shape}
    if _elements(one, both) < common * max(_elements(one), _elements(other)):
        return None
    far, weights = [], []
    for name in both & one.samples.keys() & other.samples.keys():
        distance = _relative(one.samples[name], other.samples[name])
        if distance is not None:
            far.append(distance)
            weights.append(math.prod(one.shapes[name]))
    if not far:
        return None
    order = np.argsort(far)
    total = np.cumsum(np.asarray(weights)[order])
    return float(far[order[np.searchsorted(total, total[-1] / 2)]])


def _elements(one: Sketch, names: Collection[str] | None = None) -> int:
    taken = one.shapes if names is None else names
    return sum(math.prod(one.shapes[name]) for name in taken)


def _sample(dtype: str, data: memoryview | bytes) -> Array | None:
    """A few elements of a tensor. They are not hashed, as that would be to read all of it: what is
    said of a parent is checked against all bytes whenever it is shown.
    """
    values = floats(dtype, data)
    if values is None or values.dtype.kind != "f":
        return None
    if len(values) > RUNS * LENGTH:
        starts = np.linspace(0, len(values) - LENGTH, RUNS).astype(int)
        values = np.concatenate([values[start : start + LENGTH] for start in starts])
    return values.astype(np.float32)


def _relative(one: Array, other: Array) -> float | None:
    """The length of the difference as a share of the mean length; None where nothing is there."""
    if one.shape != other.shape:
        return None
    first, second = one.astype(np.float64), other.astype(np.float64)
    length = (first @ first + second @ second) / 2
    difference = first - second
    far = difference @ difference / length if length > 0 else np.nan
    return float(np.sqrt(far)) if np.isfinite(far) else None
