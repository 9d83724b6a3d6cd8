"""torchvision's classification networks as a backbone plugin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models import (
    WeightsEnum,
    convnext,
    efficientnet,
    get_model,
    mnasnet,
    mobilenetv2,
    mobilenetv3,
)

from zoo.backbones.trace import trace
from zoo.domain.hierarchy import Hierarchy, InputSize
from zoo.domain.manifest import Manifest, Preprocessing
from zoo.domain.plain import Json
from zoo.domain.surgery import AS_IT_IS, BuildOptions, adapted_preprocessing
from zoo.errors import Unsupported
from zoo_torchvision import heads, networks, sizes
from zoo_torchvision.names import own_names
from zoo_torchvision.networks import Network

__all__ = ["TorchvisionBackbone"]

BLOCKS = (
    convnext.CNBlock,
    efficientnet.FusedMBConv,
    efficientnet.MBConv,
    mnasnet._InvertedResidual,
    mobilenetv2.InvertedResidual,
    mobilenetv3.InvertedResidual,
)
"""Residual blocks that keep all their layers in one Sequential."""


@dataclass(frozen=True, slots=True)
class _Built:
    """What a network that was built here carries as ``module.built``."""

    network: Network
    weights: WeightsEnum
    head: tuple[str, ...]
    image_size: tuple[int, int] | None
    channels: int | None


class TorchvisionBackbone:
    """Implements `zoo.contracts.Backbone`.

    Architectures have torchvision's names; one whose shapes depend on the image size is there once
    for each size that weights were published for (``vit_b_16``, ``vit_b_16_384``).
    """

    def architectures(self) -> Sequence[str]:
        """All names that `build` takes, sorted."""
        return list(networks.networks())

    def build(self, architecture: str, options: BuildOptions = AS_IT_IS) -> nn.Module:
        """The network with untrained weights. Tags are names of weights: ``IMAGENET1K_V1``."""
        image_size, channels = options.image_size, options.channels
        network = sizes.sized(networks.network(architecture), image_size)
        weights, outputs = network.tagged(options.tag), options.num_classes
        chosen = {} if outputs is None else {"num_classes": outputs}
        try:
            with _NumbersOnCpu():
                module = get_model(network.builder, **network.options, **chosen)
        except (AssertionError, RuntimeError, ValueError) as error:
            if image_size is None:
                raise
            raise Unsupported(
                f"{architecture} is not built for images of {image_size[0]} x {image_size[1]} "
                f"pixels: {error}"
            ) from error
        module.to(torch.empty(0).device)  # get_default_device of torch 2.7 heeds no `with`
        if channels is not None:
            sizes.set_channels(module, channels)
        heads.silence_auxiliary(module)
        module.built = _Built(network, weights, heads.find_head(module), image_size, channels)
        return cast(nn.Module, module)

    def hierarchy(
        self, architecture: str, module: nn.Module, *, input_size: InputSize | None = None
    ) -> Hierarchy:
        """The units of ``module``, traced at ``input_size`` or its native one."""
        size = input_size or self.preprocessing(module).input_size
        head = self.head_modules(module)
        return trace(architecture, module, input_size=size, head=head, blocks=BLOCKS)

    def head_modules(self, module: nn.Module) -> tuple[str, ...]:
        """Paths of the classifier's last layer and of any auxiliary heads."""
        return _built(module).head

    def replace_head(
        self, module: nn.Module, num_outputs: int, build: Callable[[int], nn.Module]
    ) -> None:
        """Put ``build(num_features)`` in the place of the classifier's last layer."""
        heads.replace_head(module, _built(module).head[0], num_outputs, build)

    def preprocessing(self, module: nn.Module) -> Preprocessing:
        """How images become input of the weights of the tag, after their enum's transforms."""
        built = _built(module)
        preprocessing = networks.preprocessing(built.weights)
        return adapted_preprocessing(preprocessing, built.image_size, built.channels)

    def classes(self, module: nn.Module) -> tuple[str, ...]:
        """Class names of the weights of the tag in index order; empty where they have none."""
        return networks.classes(_built(module).weights)

    def convert(self, module: nn.Module, names: Collection[str]) -> Mapping[str, str]:
        """Torchvision's own key for each key in ``names``."""
        return own_names(module.state_dict().keys(), names)

    def fit_weights(self, module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``state`` fitted to the size and channels of ``module`` (`zoo_torchvision.sizes`)."""
        return sizes.fit_weights(module, state)

    def export_config(self, module: nn.Module, manifest: Manifest) -> Json:
        """``config.json`` with what plain torchvision needs (``docs/plugins.md`` has the code).

        ``replaced`` lists layers that are of another kind than torchvision's own, in the order to
        set them. A head of more than one layer is not described; it belongs at the path ``head``.
        """
        built, preprocessing = _built(module), manifest.preprocessing
        return {
            "architecture": built.network.builder,
            "options": {**built.network.options, "num_classes": manifest.head.num_classes},
            "head": built.head[0],
            "replaced": {
                **sizes.replaced_input(module),
                **heads.replaced_layers(module, built.head[0]),
            },
            "preprocessing": {
                "resize_size": networks.resize_size(preprocessing),
                "crop_size": list(preprocessing.input_size[1:]),
                "crop_mode": preprocessing.crop_mode,
                "interpolation": preprocessing.interpolation,
                "mean": list(preprocessing.mean),
                "std": list(preprocessing.std),
            },
            "classes": list(manifest.classes),
            "license": manifest.license,
        }


def _built(module: nn.Module) -> _Built:
    return cast(_Built, module.built)


class _NumbersOnCpu(TorchFunctionMode):
    """Makes small tensors on the CPU: RegNet computes its widths with some, and on the meta device
    they would have no values.
    """

    def __torch_function__(
        self, func: Any, types: object, args: Any = (), kwargs: dict[str, object] | None = None
    ) -> object:
        if func in (torch.arange, torch.tensor):
            kwargs = {**(kwargs or {}), "device": "cpu"}
        return func(*args, **(kwargs or {}))
