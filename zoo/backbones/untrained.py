"""Build networks without the work of initial weights, which stored ones replace at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["on_meta", "untrained"]

FILLS = frozenset(
    getattr(torch.Tensor, name)
    for name in (
        "add_", "clamp_", "div_", "erfinv_", "exponential_", "fill_", "mul_", "normal_", "sub_",
        "trunc_", "uniform_", "zero_",
    )
)  # fmt: skip
"""What initialisers are made of."""


class _LeaveUnfilled(TorchFunctionMode):
    """Parameters keep whatever their memory holds, which is then never touched.

    Plain tensors are filled as ever: from them come buffers that no file holds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in FILLS and (isinstance(args[0], nn.Parameter) or args[0].is_meta):
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def untrained() -> Iterator[None]:
    """Modules that are built have parameters without meaningful values, and right buffers."""
    with _LeaveUnfilled():
        yield


@contextmanager
def on_meta() -> Iterator[None]:
    """Modules that are built are on the meta device: shapes, and no values at all."""
    # The filling is looked for first: on meta each call would run a Python decomposition.
    with torch.device("meta"), _LeaveUnfilled():
        yield
