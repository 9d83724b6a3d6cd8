"""Make fully connected layers convolutions, so that a network classifies each position of an image.

A fully connected layer over a map of features is a convolution as large as the map, and those that
follow it are 1x1 (Long et al. 2015, Fully convolutional networks). The weights are the same bytes
in another shape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from zoo.errors import Unsupported

__all__ = ["convolved", "make_convolutional", "replace_dense_head"]

PER_PLACE = (nn.ReLU, nn.GELU, nn.Dropout, nn.Identity)
"""Layers that treat each position by itself, whatever the shape."""

FEATURES = "zoo_features"
"""Attribute of a head that was put in: size of what it gets."""

Size = tuple[int, int]


class AtLeast(nn.Module):
    """Spreads a map that is smaller than ``size`` over it, as adaptive pooling does."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        """``features`` (N, C, H, W), not smaller than the size."""
        height, width = features.shape[2:]
        if height >= self.size[0] and width >= self.size[1]:
            return features
        size = max(height, self.size[0]), max(width, self.size[1])
        return nn.functional.adaptive_avg_pool2d(features, size)


def make_convolutional(module: nn.Module) -> None:
    """Let ``module`` give outputs (N, K, H, W) for each position where images are larger than it
    was made for, and (N, K) where they are not.

    Raises:
        Unsupported: It has no fully connected layers over a map of features.
    """
    for kind in (_as_alexnet, _as_vgg_of_timm):
        if kind(module):
            # A function of the module level: it is copied with the module.
            module.register_forward_hook(_squeeze)
            return
    raise Unsupported(
        f"{type(module).__name__} has no fully connected layers over a map of features, which "
        "AlexNet and VGG have: nothing to make convolutions of"
    )


def replace_dense_head(module: nn.Module, path: str, build: Callable[[int], nn.Module]) -> None:
    """Put ``build(num_features)`` in the place of the head of a network that is convolutional: a
    fully connected layer as a convolution, anything else applied to each position.
    """
    old = module.get_submodule(path)
    features = old.in_channels if isinstance(old, nn.Conv2d) else getattr(old, FEATURES)
    head = build(features)
    if isinstance(head, nn.Linear):
        head = _convolution(head, (1, 1))
    else:
        setattr(head, FEATURES, features)
        head.forward = partial(_at_each_place, head)  # no module around it: its names stay
    module.set_submodule(path, head)


def convolved(layer: nn.Module, size: Size) -> nn.Module:
    """`layer` as convolutions: the first fully connected one in it over ``size``, others 1x1."""
    if isinstance(layer, nn.Linear):
        return _convolution(layer, size)
    if isinstance(layer, nn.Sequential):
        for name, child in layer.named_children():
            setattr(layer, name, convolved(child, size))
            size = (1, 1) if isinstance(child, nn.Linear) else size
        return layer
    if isinstance(layer, PER_PLACE):
        return layer
    raise Unsupported(f"a {type(layer).__name__} cannot be made a convolution")


def _as_alexnet(module: nn.Module) -> bool:
    """AlexNet's and VGG's form: ``features``, a pool to a fixed size, ``classifier``."""
    known = cast(Any, module)
    pool, classifier = getattr(module, "avgpool", None), getattr(module, "classifier", None)
    if not isinstance(pool, nn.AdaptiveAvgPool2d) or not isinstance(classifier, nn.Sequential):
        return False
    height, width = pool.output_size if isinstance(pool.output_size, tuple) else (0, 0)
    linear = next((child for child in classifier if isinstance(child, nn.Linear)), None)
    if not height or not width or linear is None or linear.in_features % (height * width):
        return False
    known.avgpool = AtLeast((height, width))
    known.classifier = convolved(classifier, (height, width))
    module.forward = partial(_run_densely, module)
    return True


def _as_vgg_of_timm(module: nn.Module) -> bool:
    """VGG as in timm: convolutions already, but an average over what they give before the last."""
    known = cast(Any, module)
    first = getattr(getattr(module, "pre_logits", None), "fc1", None)
    head = getattr(module, "head", None)
    if not isinstance(first, nn.Conv2d) or not hasattr(head, "global_pool"):
        return False
    known.head.global_pool = nn.Identity()
    known.head.fc = convolved(known.head.fc, (1, 1))
    return True


def _convolution(linear: nn.Linear, size: Size) -> nn.Conv2d:
    channels = linear.in_features // (size[0] * size[1])
    convolution = nn.Conv2d(
        channels, linear.out_features, size, bias=linear.bias is not None, device="meta"
    )
    convolution.weight = nn.Parameter(linear.weight.detach().reshape(convolution.weight.shape))
    if linear.bias is not None:
        convolution.bias = nn.Parameter(linear.bias.detach())
    return convolution.train(linear.training)


def _run_densely(module: nn.Module, images: Tensor) -> Tensor:
    """The order of AlexNet and VGG, without flattening."""
    known = cast(Any, module)
    return cast(Tensor, known.classifier(known.avgpool(known.features(images))))


def _at_each_place(head: nn.Module, features: Tensor) -> Tensor:
    """Outputs (N, K, H, W) of a head from (N, F) to (N, K) for ``features`` (N, F, H, W)."""
    count, _, *positions = features.shape
    rows = features.movedim(1, -1).flatten(0, 2)
    outputs: Tensor = type(head).forward(head, rows)
    return outputs.reshape(count, *positions, -1).movedim(-1, 1)


def _squeeze(_: nn.Module, __: object, outputs: Tensor) -> Tensor:
    return outputs.flatten(1) if outputs.shape[2:] == (1, 1) else outputs
