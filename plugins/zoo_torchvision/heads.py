"""The head of each family: the layer that gives the classes, and the auxiliary heads.

The head is that one layer, as in torchvision's own advice for transfer learning: hidden layers of a
classifier (VGG, MobileNetV3, MaxViT) are pretrained and belong to the backbone.

- Auxiliary heads (GoogLeNet, Inception) are part of the published files and so of the network, but
  take no part: they neither run nor train, and the network gives one tensor in train mode too.
  With a new head they get its number of classes, since torchvision builds them so.
- SqueezeNet's head is a convolution, whose map of logits is clipped at zero and averaged. A new one
  gets averaged features instead, as in other networks.
- MaxViT's head has no bias. A new one has, as probes and other networks expect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn
from torchvision.models import MaxVit

from zoo.errors import Unsupported

__all__ = ["find_head", "replace_head", "replaced_layers", "silence_auxiliary"]

AUXILIARY = {"AuxLogits": "fc", "aux1": "fc2", "aux2": "fc2"}
"""Auxiliary heads, and the layer of each that gives the classes."""

Layers = dict[str, tuple[str | int | float, ...]]
"""Path to the name of a class of ``torch.nn`` and its arguments."""

AVERAGED: Layers = {
    "classifier": ("Sequential",),
    "classifier.average": ("AdaptiveAvgPool2d", 1),
    "classifier.flatten": ("Flatten",),
    "classifier.dropout": ("Dropout", 0.5),
}
"""What comes before a layer that takes the place of SqueezeNet's convolution."""

FEATURES = "zoo_features"
"""Attribute of a head that was put in: size of what it gets."""


def find_head(module: nn.Module) -> tuple[str, ...]:
    """Paths of the head's modules in a fresh network: of all layers, the classifier is last."""
    layers = [
        path for path, child in module.named_modules() if isinstance(child, nn.Linear | nn.Conv2d)
    ]
    return layers[-1], *_auxiliary(module)


def silence_auxiliary(module: nn.Module) -> None:
    """Keep the auxiliary heads from running in train mode, and the output one tensor."""
    for path in _auxiliary(module):
        # On the instance: the file of a network without them would lack their keys.
        module.get_submodule(path).forward = _no_output
        cast(Any, module).aux_logits = False


def replace_head(
    module: nn.Module, path: str, num_outputs: int, build: Callable[[int], nn.Module]
) -> None:
    """Put ``build(num_features)`` in the place of the layer at ``path``."""
    old = module.get_submodule(path)
    features = getattr(old, FEATURES, None)  # a head that was put in tells what it gets
    if isinstance(old, nn.Conv2d):
        for inner, (kind, *arguments) in AVERAGED.items():
            layer = getattr(nn, str(kind))(*arguments)
            module.set_submodule(inner, layer.train(module.training))
        features = old.in_channels
    elif isinstance(old, nn.Linear):
        features = old.in_features
    elif features is None:
        replaced = type(old).__name__
        raise Unsupported(f"the head of {type(module).__name__} cannot be replaced: {replaced}")
    new = build(features)
    setattr(new, FEATURES, features)
    module.set_submodule(path, new)
    for outer in _auxiliary(module):
        inner = f"{outer}.{AUXILIARY[outer]}"
        features = cast(nn.Linear, module.get_submodule(inner)).in_features
        module.set_submodule(inner, nn.Linear(features, num_outputs))


def replaced_layers(module: nn.Module, path: str) -> Layers:
    """Layers that are of another kind than in torchvision's network, in the order to set them.

    A head other than one fully connected layer is not described.
    """
    head = module.get_submodule(path)
    averaged = all(layer in dict(module.named_modules()) for layer in AVERAGED)
    biased = isinstance(module, MaxVit) and getattr(head, "bias", None) is not None
    if not isinstance(head, nn.Linear) or not (averaged or biased):
        return {}
    before = AVERAGED if averaged else {}
    return before | {path: ("Linear", head.in_features, head.out_features)}


def _auxiliary(module: nn.Module) -> list[str]:
    return [path for path in AUXILIARY if isinstance(getattr(module, path, None), nn.Module)]


def _no_output(_: Tensor) -> None:
    return None
