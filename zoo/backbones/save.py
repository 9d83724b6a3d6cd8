"""Save tensors as a safetensors file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from zoo.errors import DiskFull

__all__ = ["save_state"]


def save_state(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write ``state`` to ``path``, from any device.

    Raises:
        DiskFull: There is no space for it.
    """
    # Copies: safetensors refuses tensors that share memory, as tied ones and maps do.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    try:
        save_file(copies, path, {"format": "pt"})
    except SafetensorError as error:
        # The library is Rust: the system's error number is in its text only.
        number = re.search(r"os error (\d+)", str(error))
        if number and int(number[1]) in (ENOSPC, EDQUOT, EFBIG):
            raise DiskFull(path) from error
        raise
