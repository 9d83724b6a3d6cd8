"""Tensors of a stored checkpoint, memory-mapped without a copy."""

from __future__ import annotations

import math
from collections import Counter
from typing import TypeAlias

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Tensor
from zoo.errors import Corrupt, InvalidManifest, Unsupported
from zoo.store import Store

__all__ = ["DTYPES", "Maps", "mapped_state"]

Bytes: TypeAlias = NDArray[np.uint8]
Maps: TypeAlias = dict[tuple[Digest, int], Bytes]
"""Maps of objects, and the how manieth of the same tensor within a checkpoint each is for."""
DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}


def mapped_state(
    store: Store, manifest: Manifest, maps: Maps | None = None
) -> dict[str, torch.Tensor]:
    """All tensors by name, each a view of a private map: writing to one changes no file.

    Every object is hashed first, so that a damaged store is never loaded. With ``maps``, what is
    mapped there already is taken from there, and the rest goes in: several checkpoints have what
    they share in one place then.

    Raises:
        Corrupt: An object is not what its digest says.
        MissingObject: An object is missing.
        InvalidManifest: A tensor's shape and bytes do not agree.
        Unsupported: A dtype that torch does not have.
    """
    maps = {} if maps is None else maps
    uses: Counter[tuple[Digest, int]] = Counter()
    state: dict[str, torch.Tensor] = {}
    for tensor in manifest.tensors:
        # Tensors of the same bytes are one object, but each has a map of its own: what is written
        # to one of them must not show in the other.
        key = (tensor.object, uses[tensor.object, tensor.offset])
        uses[tensor.object, tensor.offset] += 1
        if tensor.dtype not in DTYPES:
            raise Unsupported(f"tensor '{tensor.name}' has dtype {tensor.dtype}")
        dtype = DTYPES[tensor.dtype]
        if key not in maps:
            maps[key] = _map(store, tensor.object, known=bool(key[1]))
        end = tensor.offset + tensor.nbytes
        if end > maps[key].nbytes:
            raise Corrupt(f"object {tensor.object}", f"{end} bytes", f"{maps[key].nbytes} bytes")
        if tensor.nbytes != math.prod(tensor.shape) * dtype.itemsize:
            raise InvalidManifest(f"tensor '{tensor.name}' does not have the bytes of its shape")
        state[tensor.name] = _view(maps[key], tensor, dtype)
    return state


def _view(mapped: Bytes, tensor: Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor in its place. Its storage has its own bytes alone: torch does not save or copy
    storages of two dtypes (batch norm counts in int64), nor safetensors' `save_model` parts of one.
    """
    if not tensor.nbytes:
        return torch.empty(tensor.shape, dtype=dtype)
    own = mapped[tensor.offset : tensor.offset + tensor.nbytes]
    if tensor.offset % dtype.itemsize:  # another writer's layout: torch wants it aligned
        own = own.copy()
    return torch.frombuffer(own, dtype=dtype).view(tensor.shape)


def _map(store: Store, digest: Digest, *, known: bool) -> Bytes:
    """A private map of an object, which is hashed first unless it is ``known`` to be sound."""
    size = store.size("objects", digest)
    path = store.path("objects", digest)
    actual = digest.hex if known else blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
    if actual != digest.hex:
        raise Corrupt(f"object {digest}", str(digest), f"blake3:{actual}", str(store.root))
    if not size:
        return np.empty(0, np.uint8)
    # Not shared: writing to a tensor copies the page, and never reaches the file. Python's own mmap
    # would keep a file open for each object.
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
