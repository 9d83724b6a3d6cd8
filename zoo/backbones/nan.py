"""Which tensors of a checkpoint have NaN values."""

from __future__ import annotations

import torch

from zoo.backbones.mapped import mapped_state
from zoo.domain.digest import Digest
from zoo.store import Store

__all__ = ["nan_tensors"]


def nan_tensors(store: Store, digest: Digest) -> list[str]:
    """Names of the tensors that have NaN, in the file's order."""
    state = mapped_state(store, store.manifest(digest))
    return [name for name, tensor in state.items() if _has_nan(tensor)]


def _has_nan(tensor: torch.Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    values = tensor.float() if tensor.element_size() == 1 else tensor  # float8 adds nothing up
    # A sum is one pass and takes no memory; infinities of both signs make it NaN, too.
    return bool(values.sum().isnan()) and bool(values.isnan().any())
