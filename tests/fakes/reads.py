"""Notes who reads a number out of a tensor, for which Python waits on an accelerator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

import zoo

__all__ = ["Reads"]

READING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"}
ON_THE_HOST = {"dataset", "preprocess.py", "_mass"}
"""Rooms, files and functions whose tensors are on the CPU, whatever the network is on."""
ROOT = str(Path(zoo.__file__).parent)


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is open, all that would wait for a number of a device: `float`, `bool`, `item`,
    choosing by a mask.

    Attributes:
        found: For each time the operator, and the function of zoo in which it was.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note, and compute."""
        if func._schema.name in READING:
            frame = sys._getframe(1)
            while frame.f_back and not frame.f_code.co_filename.startswith(ROOT):
                frame = frame.f_back
            path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
            if not {*path.parts, name} & ON_THE_HOST:
                self.found.append(f"{func._schema.name} in {path.name}: {name}")
        return func(*args, **(kwargs or {}))
