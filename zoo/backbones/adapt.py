"""Fit the weights of input layers to another number of channels, as timm does."""

from __future__ import annotations

from collections.abc import Mapping

from timm.models import adapt_input_conv
from torch import Tensor, nn

from zoo.errors import Unsupported

__all__ = ["COLORS", "adapt_channels", "misfits"]

COLORS = 3


def adapt_channels(
    module: nn.Module, state: Mapping[str, Tensor], *, channels: int | None = None
) -> dict[str, Tensor]:
    """``state``, own names to weights, with convolutions over three colors fitted to those of
    ``module`` over more or fewer channels: summed for one, else repeated and scaled.

    So a gray image gives what it gave in color, and so do the three colors over and over again;
    where their number is no multiple of three, that is so but for the share of those left over.

    ``channels`` are those of an image, where the stem moves positions into channels, which then
    come first for one position, then for the next (TResNet); None: its convolution's own.

    Raises:
        Unsupported: The weights are not for three channels.
    """
    fitted = dict(state)
    for name, shape in misfits(module, state).items():
        weight = state[name]
        if weight.dim() != 4 or weight.shape[0] != shape[0] or weight.shape[2:] != shape[2:]:
            continue
        positions = max(shape[1] // (channels or shape[1]), 1)
        if weight.shape[1] != COLORS * positions:
            raise Unsupported(
                f"'{name}' is for {weight.shape[1] // positions} channels: only weights for three "
                "can be fitted to others"
            )
        count, _, height, width = shape
        by_position = weight.reshape(count, positions, COLORS, height, width).transpose(1, 2)
        new = adapt_input_conv(shape[1] // positions, by_position.flatten(2, 3)).to(weight.dtype)
        by_color = new.reshape(count, -1, positions, height, width)
        fitted[name] = by_color.transpose(1, 2).reshape(shape)
    return fitted


def misfits(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The tensors of ``state`` whose shapes differ from those of ``module``, and its shapes."""
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    return {
        name: own[name]
        for name, tensor in state.items()
        if name in own and tuple(tensor.shape) != own[name]
    }
