"""Build networks of transformers as plain modules: one tensor in, one tensor out.

Their parameters keep transformers' names. An encoder is built as a classifier without its last
layer: it gives what a classifier would get, and takes one at any time.

Transformers with a position embedding for each place are built for one size, and weights for
another are resized as transformers itself does it when it is asked to on the way. All other
networks take images of any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.backbones.adapt import adapt_channels, misfits
from zoo.domain.manifest import Preprocessing
from zoo.domain.surgery import BuildOptions, adapted_preprocessing
from zoo.errors import MissingPackage, Unsupported
from zoo_transformers.architectures import Architecture

__all__ = ["Built", "build", "built", "fit_weights", "grid"]

POSITIONS = ("position_embeddings", "position_embedding.weight")
"""What embeddings of positions are called: (1, places, features), or (places, features)."""

LONE_TOWER = {"bos_token_id": None, "eos_token_id": None}
"""Configuration of a text encoder that is not there: its defaults would be warned about."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a network that was built here carries as ``module.built``."""

    architecture: Architecture
    preprocessing: Preprocessing
    num_features: int


def built(module: nn.Module) -> Built:
    """What is known of a network that `build` made."""
    return cast(Built, module.built)


def build(architecture: Architecture, options: BuildOptions) -> nn.Module:
    """The network with untrained weights."""
    chosen = options.num_classes
    outputs = architecture.num_classes if chosen is None else chosen
    preprocessing = adapted_preprocessing(
        architecture.preprocessing, options.image_size, options.channels
    )
    family = architecture.family
    kind = _model_class(architecture)
    # One output where there shall be none: the layer tells what it gets.
    module: nn.Module = kind(_configuration(kind, architecture, preprocessing, max(outputs, 1)))
    module.built = Built(  # type: ignore[assignment]
        architecture, preprocessing, _num_features(module, family.heads)
    )
    if not outputs:
        for path in family.heads:
            module.set_submodule(path, nn.Identity())
    # A list: what is walked over changes.
    for path, child in list(module.named_modules()):
        if type(child).__name__ == "DINOv3ViTRopePositionEmbedding":
            _Positions.replace(module, path, child)
        elif type(child).__name__.endswith("SwiGLUFFN") and hasattr(child, "gate_proj"):
            module.set_submodule(path, _SwiGlu(child))
    if family.bgr and preprocessing.input_size[0] == 3:
        module.register_forward_pre_hook(_flip_channels)
    module.register_forward_hook(_one_tensor)
    return module


def _model_class(architecture: Architecture) -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"'transformers', which {architecture.name} needs,",
            "pip install 'zoo-registry[transformers]'",
        ) from error
    name = architecture.family.model
    if not hasattr(transformers, name):
        raise Unsupported(f"transformers {transformers.__version__} has no {name}; a newer one may")
    return getattr(transformers, name)


def _configuration(
    kind: Any, architecture: Architecture, preprocessing: Preprocessing, outputs: int
) -> object:
    channels, height, width = preprocessing.input_size
    values = {**architecture.config, "num_channels": channels}
    if architecture.family.sized:
        _check_size(architecture, height, width)
        values["image_size"] = height if height == width else (height, width)
    if architecture.family.vision_tower:
        values = {"vision_config": values, "text_config": LONE_TOWER}
    return kind.config_class(**values, num_labels=outputs)


def _num_features(module: nn.Module, heads: tuple[str, ...]) -> int:
    if heads:
        return cast(nn.Linear, module.get_submodule(heads[0])).in_features
    config = cast(Any, module).config
    return int(getattr(config, "hidden_size", None) or config.hidden_sizes[-1])


class _Positions:
    """DINOv3's positions, made of nothing but an image's size, outside all modules.

    As a module, it was part of the first unit, and would not run where that does not; but all
    layers are given what it makes. Nor are positions drawn at random when the network is trained,
    anew for all layers, below the frozen ones too.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval()
        del module.inv_freq  # of a network built on the meta device, it would stay there

    @classmethod
    def replace(cls, network: nn.Module, path: str, module: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        delattr(network.get_submodule(parent), name)
        setattr(network.get_submodule(parent), name, cls(module))

    def __call__(self, images: Tensor) -> object:
        known = cast(Any, self.module)
        steps = torch.arange(0, 1, 4 / known.head_dim, dtype=torch.float32, device=images.device)
        known.inv_freq = 1 / known.base**steps
        return known(images)


class _SwiGlu(nn.Module):
    """DINOv2's gated MLP with the tensors that files of it have. transformers splits the first
    layer in two as it reads them, which a conversion of names alone cannot.
    """

    def __init__(self, split: Any) -> None:
        super().__init__()
        gate: nn.Linear = split.gate_proj
        self.weights_in = nn.Linear(
            gate.in_features, 2 * gate.out_features, device=gate.weight.device
        )
        self.weights_out = split.down_proj

    def forward(self, tokens: Tensor) -> Tensor:
        gate, values = self.weights_in(tokens).chunk(2, dim=-1)
        return cast(Tensor, self.weights_out(nn.functional.silu(gate) * values))


# Functions of the module level: they are copied with a network, and refer to no other one.
def _one_tensor(_: nn.Module, __: object, output: Any) -> Tensor:
    if isinstance(output, Tensor):  # of a network that ends at one of its units
        return output
    return cast(Tensor, output.logits if "logits" in output else output.pooler_output)


def _flip_channels(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    images, *others = args
    return (images.flip(1), *others)


def _check_size(architecture: Architecture, height: int, width: int) -> None:
    """See that the network can be built for that size."""
    if architecture.family.vision_tower and height != width:
        raise Unsupported(f"{architecture.name} takes square images only")
    window = architecture.config.get("window_size", 0)
    # Four pixels are one place, and each stage but the last halves both sides.
    patch = 4 << (len(architecture.config.get("depths", ())) - 1) if window else 1
    if math.ceil(min(height, width) / patch) < window:
        raise Unsupported(
            f"{architecture.name} takes images of {patch * (window - 1) + 1} pixels or more: its "
            "windows have no place in smaller ones"
        )


def fit_weights(
    module: nn.Module, state: Mapping[str, Tensor], size: tuple[int, int]
) -> dict[str, Tensor]:
    """``state`` fitted to ``module``, which takes images of ``size``: channels and positions."""
    fitted = adapt_channels(module, state)
    for name, shape in misfits(module, fitted).items():
        if name.endswith(POSITIONS) and fitted[name].shape[-1] == shape[-1]:
            fitted[name] = _resized(fitted[name], shape, grid(module, size))
    return fitted


def grid(module: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """How many patches an image of ``size`` has, in height and width."""
    config = cast(Any, module).config
    patch = getattr(config, "vision_config", config).patch_size
    return size[0] // patch, size[1] // patch


def _resized(positions: Tensor, shape: tuple[int, ...], places: tuple[int, int]) -> Tensor:
    """Bicubic, in height and width; tokens before the first place stay as they are."""
    tokens = shape[-2] - places[0] * places[1]
    old = positions.reshape(1, -1, shape[-1])
    side = math.isqrt(old.shape[1] - tokens)
    if side * side != old.shape[1] - tokens:
        raise Unsupported(
            f"{old.shape[1]} positions are not those of a square image, and cannot be resized"
        )
    square = old[:, tokens:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    new = nn.functional.interpolate(square, size=places, mode="bicubic", align_corners=False)
    new = new.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([old[:, :tokens], new], dim=1).reshape(shape)
