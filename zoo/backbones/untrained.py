"""Build networks without the work of initial weights, which stored ones replace at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["on_meta", "untrained"]

STEPS = "add_ clamp_ div_ erfinv_ exponential_ fill_ mul_ normal_ sub_ uniform_ zero_"
"""What initializers are made of."""

FILLS = frozenset(getattr(torch.Tensor, name) for name in STEPS.split()) | frozenset(
    getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and name[0] != "_"
)


class _LeaveUnfilled(TorchFunctionMode):
    """Parameters keep whatever their memory holds, which is then never touched.

    Plain tensors are filled as ever: from them come buffers that no file holds.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        keywords = kwargs or {}
        if func in FILLS:
            filled = args[0] if args else keywords["tensor"]
            # Meta tensors have nothing to fill.
            if isinstance(filled, nn.Parameter) or (isinstance(filled, Tensor) and filled.is_meta):
                return filled
        return func(*args, **keywords)


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
