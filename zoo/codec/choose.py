"""Choose how to encode an object: by trying a probe of it."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.codec.frame import encode
from zoo.codec.header import Buffer, Codec
from zoo.codec.layouts import LAYOUTS, WordLayout
from zoo.domain.digest import Digest
from zoo.domain.manifest import Tensor

__all__ = ["encode_best", "layout_of"]

PROBE = 64 * 1024
"""Words: some ms of coding, and enough for the histogram of a tensor to be that of the whole."""
SMALLEST = 1024
"""Bytes: below, the header of 88 eats what coding saves."""
WORTH = 0.98
NAMES = {
    "F16": "F16",
    "BF16": "BF16",
    "F32": "F32",
    "F64": "F64",
    "C64": "F32",
    "I16": "I16",
    "U16": "I16",
    "I32": "I32",
    "U32": "I32",
    "I64": "I64",
    "U64": "I64",
}


def layout_of(tensors: Iterable[Tensor], size: int) -> WordLayout:
    """Layout of the words of an object of ``size`` bytes: that of most of its tensors' bytes."""
    weight: dict[str, int] = {}
    for tensor in tensors:
        name = NAMES.get(tensor.dtype, "BYTES")
        weight[name] = weight.get(name, 0) + tensor.nbytes
    layout = LAYOUTS[max(weight, key=lambda name: weight[name], default="BYTES")]
    return layout if size % layout.width == 0 else LAYOUTS["BYTES"]


def encode_best(
    data: Buffer,
    layout: WordLayout,
    base: Buffer | None,
    base_digest: Digest | None,
    *,
    alone: bool = True,
    smallest: bool = False,
) -> bytes | None:
    """The encoded object, or None where that would save less than 2 %.

    A delta is taken where it is at least 2 % smaller than coding alone, on a probe of 64 Ki words.

    Args:
        data: The object.
        layout: Layout of its words.
        base: A candidate to code the difference from; of the same size.
        base_digest: Its name.
        alone: Code it alone if the base is no help; otherwise it stays as it is.
        smallest: Take MAX rather than FAST where it is smaller; it is slower.
    """
    if len(data) < SMALLEST:
        return None
    end = PROBE * layout.width
    probe = len(encode(Codec.FULL, data[:end], layout))
    if base is not None:
        tried = encode(Codec.FAST, data[:end], layout, base[:end], base_digest)
        if len(tried) <= probe * WORTH:
            codec = Codec.MAX if smallest and layout.exponent else Codec.FAST
            encoded = encode(codec, data, layout, base, base_digest)
            # What is as small as the probe has little to group.
            return min(encoded, tried, key=len) if end >= len(data) else encoded
    if not alone or probe > len(data[:end]) * WORTH:
        return None
    encoded = encode(Codec.FULL, data, layout)
    return encoded if len(encoded) <= len(data) * WORTH else None
