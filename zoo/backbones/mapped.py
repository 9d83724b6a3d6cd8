"""Tensors of a stored checkpoint, memory-mapped without a copy."""

from __future__ import annotations

import math
from collections import Counter
from typing import cast

import torch
from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Tensor
from zoo.errors import Corrupt, InvalidManifest, Unsupported
from zoo.store import Store

__all__ = ["DTYPES", "mapped_state"]

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


def mapped_state(store: Store, manifest: Manifest) -> dict[str, torch.Tensor]:
    """All tensors by name, each a view of a private map: writing to one changes no file.

    Every object is hashed first, so that a damaged store is never loaded.

    Raises:
        Corrupt: An object is not what its digest says.
        MissingObject: An object is missing.
        InvalidManifest: A tensor's shape and bytes do not agree.
        Unsupported: A dtype that torch does not have.
    """
    storages: dict[tuple[Digest, int], torch.UntypedStorage] = {}
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
        if key not in storages:
            storages[key] = _map(store, tensor.object, known=bool(key[1]))
        storage = storages[key]
        if tensor.offset + tensor.nbytes > storage.nbytes():
            end = tensor.offset + tensor.nbytes
            raise Corrupt(f"object {tensor.object}", f"{end} bytes", f"{storage.nbytes()} bytes")
        if tensor.nbytes != math.prod(tensor.shape) * dtype.itemsize:
            raise InvalidManifest(f"tensor '{tensor.name}' does not have the bytes of its shape")
        state[tensor.name] = _view(storage, tensor, dtype)
    return state


def _view(storage: torch.UntypedStorage, tensor: Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not tensor.nbytes:
        return torch.empty(tensor.shape, dtype=dtype)
    begin = tensor.offset
    if begin % dtype.itemsize:  # another writer's layout: torch cannot look at it in place
        storage = storage[begin : begin + tensor.nbytes].clone()
        begin = 0
    view = torch.empty(0, dtype=dtype)
    strides = torch.empty(tensor.shape, device="meta").stride()
    return view.set_(storage, begin // dtype.itemsize, tensor.shape, strides)


def _map(store: Store, digest: Digest, *, known: bool) -> torch.UntypedStorage:
    """A private map of an object, which is hashed first unless it is ``known`` to be sound."""
    size = store.size("objects", digest)
    path = store.path("objects", digest)
    actual = digest.hex if known else blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
    if actual != digest.hex:
        raise Corrupt(f"object {digest}", str(digest), f"blake3:{actual}", str(store.root))
    if not size:
        return torch.UntypedStorage(0)  # type: ignore[no-untyped-call]
    # Not shared: writing to a tensor copies the page, and never reaches the file.
    storage = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
    return cast(torch.UntypedStorage, storage)
