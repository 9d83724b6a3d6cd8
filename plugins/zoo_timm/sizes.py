"""Other image sizes and channels than an architecture's own.

timm's configs tell which networks have weights that depend on the image size
(``fixed_input_size``): those take an argument for it. All others run on any size.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import timm
from timm.models import adapt_input_conv
from torch import Tensor, nn

from zoo.backbones.adapt import COLORS, adapt_channels, misfits
from zoo.domain.network import Config
from zoo.domain.surgery import BuildOptions
from zoo.errors import Unsupported
from zoo_timm.config import RESET_POOL

__all__ = ["build", "fit_weights"]

REFUSES = (AssertionError, TypeError, ValueError, NotImplementedError, UserWarning)
"""What timm raises for sizes that a network does not take."""
FAILS = (*REFUSES, ArithmeticError, AttributeError, LookupError, RuntimeError)
"""What it raises for arguments that do not go together."""


def build(name: str, arguments: Config, options: BuildOptions) -> nn.Module:
    """The network ``name`` with ``options``, and with arguments that a stranger may have chosen.

    Raises:
        Unsupported: It is not built so; timm says why.
    """
    image_size, channels = options.image_size, options.channels
    overrides, chosen = _arguments(name, image_size, channels), list(arguments)
    outputs = {} if options.num_classes is None else {"num_classes": options.num_classes}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*designed for 3-channel")  # CSATv2 fails as it runs
            module = _created(name, {**arguments, **outputs, **overrides})
    except FAILS as error:
        if not chosen and not (overrides and isinstance(error, REFUSES)):
            raise
        if chosen:
            raise Unsupported(
                f"timm does not build {name} with {', '.join(chosen)}: {error!r:.200}"
            ) from error
        what = [f"{image_size[0]} x {image_size[1]} pixels"] if image_size else []
        what += [f"{channels} channels"] if channels else []
        reason = f": {error}" if str(error) else ""
        raise Unsupported(
            f"{name} is not built for images of {' and '.join(what)}{reason}"
        ) from error
    # timm leaves the size of the published weights there: what follows asks for the network's.
    own_channels, *own_size = module.pretrained_cfg.get("input_size") or (3, 0, 0)
    module.pretrained_cfg["input_size"] = (channels or own_channels, *(image_size or own_size))
    return cast(nn.Module, module)


def _created(name: str, arguments: dict[str, Any]) -> Any:
    """The network; where its pooling is to be reset, as open_clip resets that of its towers: after
    the network was built with its own, whose norm it keeps.
    """
    pool = arguments.pop(RESET_POOL, None)
    if pool is None:
        return timm.create_model(name, pretrained=False, **arguments)
    outputs = arguments.pop("num_classes", 0)
    module: Any = timm.create_model(name, pretrained=False, **arguments)
    module.reset_classifier(outputs, global_pool=pool)
    return module


def fit_weights(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` fitted to ``module``: channels, and what timm's filter for its weights files does
    to position embeddings and their like.
    """
    channels = cast(Any, module).pretrained_cfg["input_size"][0]
    fitted = adapt_channels(module, state, channels=channels)
    fitted |= _fitted_patches(module, fitted, channels)
    changed = misfits(module, fitted)
    if not changed:
        return fitted
    # timm keeps a network's filter beside its class, and under this name wherever it resizes.
    rule = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if rule is None:
        return fitted
    resized = _resized(rule, module, fitted)
    # A filter drops and renames, too; what fits already is to stay the very same tensor.
    return {
        name: resized.get(name, tensor) if name in changed else tensor
        for name, tensor in fitted.items()
    }


def _fitted_patches(
    module: nn.Module, state: Mapping[str, Tensor], channels: int
) -> dict[str, Tensor]:
    """Fully connected layers over the values of a patch, as the convolutions that they stand for.

    A patch is its positions one after the other, each with its colors, or its colors one after the
    other (Gemma 4).
    """
    layers = cast(Any, module).pretrained_cfg.get("first_conv") or ()
    fitted = {}
    for layer in (layers,) if isinstance(layers, str) else layers:
        name = f"{layer}.weight"
        weight, shape = state.get(name), misfits(module, state).get(name)
        if weight is None or shape is None or weight.dim() != 2:
            continue
        positions = shape[1] // channels
        if weight.shape[1] != COLORS * positions:
            continue
        by_position = getattr(
            module.get_submodule(layer.rpartition(".")[0]), "channels_last", False
        )
        if by_position:
            patch = weight.reshape(-1, positions, COLORS).transpose(1, 2)
        else:
            patch = weight.reshape(-1, COLORS, positions)
        new = adapt_input_conv(channels, patch[..., None]).squeeze(-1)
        fitted[name] = (new.transpose(1, 2) if by_position else new).reshape(shape)
    return fitted


def _arguments(
    name: str, image_size: tuple[int, int] | None, channels: int | None
) -> dict[str, object]:
    """What timm must be told for a size and channels that are not the network's own."""
    config = timm.get_pretrained_cfg(name)
    own_channels, *own_size = config.input_size if config else (3, 0, 0)
    overrides: dict[str, object] = {}
    if image_size and config and config.fixed_input_size and tuple(own_size) != image_size:
        overrides["img_size"] = image_size
    if channels and channels != own_channels:
        overrides["in_chans"] = channels
    return overrides


def _resized(
    rule: Callable[..., Mapping[str, Tensor]], module: nn.Module, state: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    try:
        return rule(dict(state), module)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise Unsupported(
            f"timm does not fit weights of {type(module).__name__} to another size: {error}"
        ) from error
