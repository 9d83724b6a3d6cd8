"""Bounds: the numbers in a manifest that a database can hold, so that it can be indexed.

They are checked where a manifest is written or pulled. What a store holds already is read whatever
its numbers are.
"""

from __future__ import annotations

from collections.abc import Iterator

from zoo.domain.limits import LARGEST
from zoo.domain.manifest import Manifest
from zoo.errors import InvalidManifest

__all__ = ["check_numbers"]


def check_numbers(manifest: Manifest) -> None:
    """See that every number of a manifest can be indexed.

    Raises:
        InvalidManifest: One is too large; the text says which.
    """
    for what, value in _numbers(manifest):
        try:
            # Floats are held by any database; JSON has none that is beyond a double.
            fits = abs(value) <= LARGEST if isinstance(value, int) else True
        except OverflowError:
            fits = False
        if not fits:
            # Python refuses to print an int of very many digits.
            bits = value.bit_length() if isinstance(value, int) else 0
            shown = str(value) if bits <= 256 else f"a number of {bits} bits"
            raise InvalidManifest(f"{what} is {shown}: at most {LARGEST} can be indexed")


def _numbers(manifest: Manifest) -> Iterator[tuple[str, float]]:
    pre, plan = manifest.preprocessing, manifest.freeze or {}
    yield "num_classes", manifest.head.num_classes
    for value in (*pre.input_size, *pre.mean, *pre.std, pre.crop_pct):
        yield "a number of the preprocessing", value
    for name, value in manifest.metrics.items():
        yield f"the metric '{name}'", value
    for name in ("frozen_units", "trainable_units"):
        if isinstance(plan.get(name), int):
            yield name, plan[name]
    yield "the size of its files", manifest.logical_bytes
    total = 0
    for tensor in manifest.tensors:
        yield f"the number of dimensions of '{tensor.name}'", len(tensor.shape)
        elements = _elements(tensor.shape)
        yield f"the size of '{tensor.name}'", elements
        total += elements
    yield "the number of its parameters", total


def _elements(shape: tuple[int, ...]) -> int:
    """The product, or something beyond the largest number that can be indexed."""
    elements = 1
    for size in shape:
        elements *= size
        if elements > LARGEST:
            return LARGEST + 1
    return elements
