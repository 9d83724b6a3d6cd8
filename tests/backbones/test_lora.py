"""Layers whose weight is W + B A, in networks of several libraries and habits."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import timm
import torch
from timm.models.beit import Beit
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer
from transformers import ViTConfig, ViTForImageClassification

from zoo.backbones.freeze import freeze
from zoo.backbones.lora import adaptable, attach, factors, insert, merge, split
from zoo.backbones.trace import trace

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


class Tuned(nn.Module):
    """A transformer of transformers', which gives a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(
            image_size=32, patch_size=16, num_hidden_layers=2, hidden_size=32,
            num_attention_heads=2, intermediate_size=64,
        )  # fmt: skip
        self.net = ViTForImageClassification(config)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images).logits
        return logits


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    # Weights that are read without calling their layer: the reason why they are the sum itself.
    "beit": (
        lambda: Beit(img_size=32, patch_size=16, embed_dim=32, depth=2, num_heads=2),
        "blocks.1.attn.qkv",
    ),
    "swin": (
        lambda: SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=7),
        "features.3.0.attn.qkv",
    ),
    "joined projections": (
        lambda: VisionTransformer(32, 16, 2, 2, 32, 64),
        "encoder.layers.encoder_layer_1.self_attention",
    ),
    "standardized weights": (lambda: timm.create_model("test_nfnet"), "stages.1.0.conv1"),
    "transformers": (Tuned, "net.vit.layers.1.mlp.fc1"),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, str]:
    """A network in eval mode, none of whose weights is zero, and a layer of it."""
    make, layer = NETWORKS[request.param]
    torch.manual_seed(0)
    module = make().eval()
    with torch.no_grad():  # heads, and what scales a branch, may begin with zeros
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    return module, layer


def drawn(module: nn.Module) -> None:
    """Adapters that have been trained."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("lora_B"):
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))


def test_a_layer_is_corrected_wherever_its_weight_is_read(
    network: tuple[nn.Module, str],
) -> None:
    module, layer = network
    names = {name for name, _ in module.named_parameters()}
    before = module(IMAGES)
    insert(module, adaptable(module, [layer], 2), 2, seed=0)
    assert torch.equal(module(IMAGES), before)
    assert {name for name, _ in module.named_parameters()} == names | {
        f"{layer}.lora_A",
        f"{layer}.lora_B",
    }
    drawn(module)
    beside = module(IMAGES)
    assert not torch.allclose(beside, before)
    beside.square().sum().backward()
    pair = factors(module.get_submodule(layer))
    assert pair is not None
    assert all(factor.grad is not None and factor.grad.any() for factor in pair)
    copy = deepcopy(module)
    merge(module)
    assert {name for name, _ in module.named_parameters()} == names
    with torch.no_grad():
        assert torch.equal(module(IMAGES), copy(IMAGES))
    assert type(module.get_submodule(layer)) is not type(copy.get_submodule(layer))


def test_what_is_taken_off_can_be_put_on_again(network: tuple[nn.Module, str]) -> None:
    module, layer = network
    whole = deepcopy(module)
    insert(module, [layer], 2, seed=0)
    drawn(module)
    own, found = split(module.state_dict())
    whole.load_state_dict(own)
    attach(whole, found, 2, name="x")
    assert torch.equal(whole(IMAGES), module(IMAGES))


def test_layers_that_gain_nothing_have_no_adapter() -> None:
    module = timm.create_model("test_efficientnet")
    paths = [name for name, _ in module.named_modules() if name]
    layers = {path: module.get_submodule(path) for path in adaptable(module, paths, 4)}
    assert layers
    assert all(getattr(layer, "groups", 1) == 1 for layer in layers.values())
    assert not [*adaptable(module, paths, 1000)]
    tied = nn.ModuleDict({"one": nn.Linear(64, 64), "two": nn.Linear(64, 64)})
    tied["two"].weight = tied["one"].weight
    assert not [*adaptable(tied, ["one", "two"], 2)]


def test_freezing_leaves_the_adapter_alone() -> None:
    module = timm.create_model("test_vit")
    hierarchy = trace("test_vit", module, input_size=(3, 160, 160), head=["head"])
    insert(module, ["blocks.1.attn.qkv"], 2, seed=0)
    only = {"blocks.1.attn.qkv.lora_A", "blocks.1.attn.qkv.lora_B"}
    for boundary in (2, 0):  # frozen, and thawed again
        freeze(module, hierarchy, boundary, only=only)
        asks = {name for name, p in module.named_parameters() if p.requires_grad}
        assert asks == only | {"head.weight", "head.bias"}
    freeze(module, hierarchy, 0)
    assert all(parameter.requires_grad for parameter in module.parameters())
