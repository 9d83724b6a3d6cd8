"""Fit the weights of input layers to another number of channels, as timm does."""

from __future__ import annotations

from collections.abc import Mapping

from timm.models import adapt_input_conv
from torch import Tensor, nn

from zoo.errors import Unsupported

__all__ = ["adapt_channels", "misfits"]

COLOURS = 3


def adapt_channels(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with convolutions over three colours fitted to those of ``module`` over more or
    fewer channels: summed for one, else repeated and scaled, so that a grey image (or the same
    channels again) gives what it gave.

    Raises:
        Unsupported: The weights are not for three channels.
    """
    fitted = dict(state)
    for name, shape in misfits(module, state).items():
        weight = state[name]
        if weight.dim() != 4 or weight.shape[0] != shape[0] or weight.shape[2:] != shape[2:]:
            continue
        channels = shape[1]
        # Stems that move space into channels first have a multiple of both.
        groups = weight.shape[1] // COLOURS
        if weight.shape[1] % COLOURS or channels % groups or (groups > 1 and channels != groups):
            raise Unsupported(
                f"'{name}' is for {weight.shape[1]} channels: only weights for three can be fitted "
                f"to others, and these not to {channels}"
            )
        fitted[name] = adapt_input_conv(channels // groups, weight).to(weight.dtype)
    return fitted


def misfits(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The tensors of ``state`` whose shapes differ from those of ``module``, and its shapes."""
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    return {
        name: own[name]
        for name, tensor in state.items()
        if name in own and tuple(tensor.shape) != own[name]
    }
