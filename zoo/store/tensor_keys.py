"""Keys: numbers by which a tensor is looked up, whatever file, name and float dtype it comes under.

The key of an object is a part of its digest. The keys of a sample are those of a tensor's first
elements in each common float dtype, so that a cast shares one with what it was cast from. Equal
keys only say where to look: what is found is compared byte by byte.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Tensor
from zoo.errors import MissingObject
from zoo.store.files import LARGE, group_of
from zoo.store.header import BITS
from zoo.store.store import Store

__all__ = ["beginning", "checkpoint_keys", "object_key", "object_keys", "sample_keys"]

SAMPLE = 256
"""Elements of a sample."""
LEAST = 16
"""Tensors of fewer elements are no evidence."""


def object_key(digest: Digest) -> int:
    """The key of an object: a signed number of 64 bits, as a database holds it."""
    return _signed(bytes.fromhex(digest.hex[:16]))


def object_keys(manifest: Manifest) -> set[int]:
    """Keys of the objects of large tensors, one for each unit. No bytes are needed for it."""
    return {
        object_key(tensor.object)
        for tensor in _chosen(manifest.tensors)
        if tensor.nbytes >= LARGE and not tensor.offset
    }


def checkpoint_keys(store: Store, manifest: Manifest) -> set[int]:
    """`object_keys`, and those of a sample from each unit as far as its bytes are in ``store``."""
    keys = object_keys(manifest)
    for tensor in _chosen(manifest.tensors):
        with suppress(MissingObject):
            keys |= sample_keys(tensor.dtype, tensor.shape, beginning(store, tensor))
    return keys


def beginning(store: Store, tensor: Tensor) -> bytes | memoryview:
    """The bytes of a stored tensor's first elements, as many as a sample has.

    Raises:
        MissingObject: They are not here.
    """
    start = next(store.read("objects", tensor.object, tensor.offset), b"")
    return start[: min(tensor.nbytes, SAMPLE * 8)]


def sample_keys(dtype: str, shape: tuple[int, ...], data: bytes | memoryview) -> set[int]:
    """Keys of a tensor's first elements, one for each dtype that they could be cast to.

    None for what is too small, or constant as an untrained head is: it would resemble anything.

    Args:
        dtype: safetensors spelling.
        shape: Dimensions.
        data: Its bytes, or as many of them as `SAMPLE` elements take.
    """
    elements, bits = min(math.prod(shape), SAMPLE), BITS.get(dtype, 0)
    start = bytes(data[: elements * bits // 8])
    width = bits // 8
    if elements < LEAST or not width or len(start) != elements * width:
        return set()
    if start == start[:width] * elements:
        return set()
    return {
        _signed(blake2b(f"{form} {shape} ".encode() + cast, digest_size=8).digest())
        for form, cast in _forms(dtype, start, elements).items()
    }


def _chosen(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The largest tensor of each unit, as far as names tell units."""
    best: dict[str, Tensor] = {}
    for tensor in tensors:
        unit, _ = group_of(tensor.name, len(tensor.shape))
        if unit not in best or (tensor.nbytes, tensor.name) > (best[unit].nbytes, best[unit].name):
            best[unit] = tensor
    return list(best.values())


def _signed(data: bytes) -> int:
    return int.from_bytes(data[:8], "big", signed=True)


def _forms(dtype: str, start: bytes, elements: int) -> dict[str, bytes]:
    """The same numbers in each dtype that weights are cast to; others as they are."""
    single = _as_single(dtype, start, elements)
    if single is None:
        return {dtype: start}
    forms = {"F32": single, "BF16": _to_bfloat16(single, elements)}
    with suppress(OverflowError):  # too large for it: nobody keeps such weights in half precision
        forms["F16"] = struct.pack(f"<{elements}e", *struct.unpack(f"<{elements}f", single))
    return forms


def _as_single(dtype: str, start: bytes, elements: int) -> bytes | None:
    if dtype == "F32":
        return start
    if dtype == "BF16":
        return b"".join(b"\0\0" + start[i : i + 2] for i in range(0, len(start), 2))
    if dtype in ("F16", "F64"):
        code = "e" if dtype == "F16" else "d"
        # An array casts as C does; packing would refuse what is too large.
        values = array("f", struct.unpack(f"<{elements}{code}", start))
        return struct.pack(f"<{elements}f", *values)
    return None


def _to_bfloat16(single: bytes, elements: int) -> bytes:
    words = struct.unpack(f"<{elements}I", single)
    # To the nearest, and to even between two, as every library rounds.
    rounded = [(word + 0x7FFF + (word >> 16 & 1)) >> 16 & 0xFFFF for word in words]
    return struct.pack(f"<{elements}H", *rounded)
