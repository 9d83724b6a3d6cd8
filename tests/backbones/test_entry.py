"""Late entry: training from a cut gives the bits of training the whole network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from zoo import plugins
from zoo.backbones.entry import LateEntry
from zoo.backbones.freeze import freeze, trainable_parameters
from zoo.domain.hierarchy import Hierarchy

STEPS = 5

DIVERSE = (
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_vit4",
    "test_vit_relpos",
)


def built(architecture: str) -> tuple[nn.Module, Hierarchy]:
    """With dropout and drop-path wherever the network has a place for them."""
    torch.manual_seed(3)
    module = plugins.backbone("timm").build(architecture)
    for child in module.modules():
        if isinstance(child, nn.Dropout):
            child.p = 0.2
        elif type(child).__name__ == "DropPath":
            child.drop_prob = 0.2  # type: ignore[assignment]
    return module, plugins.backbone("timm").hierarchy(architecture, module)


def trained(
    module: nn.Module, hierarchy: Hierarchy, boundary: int, images: Tensor, *, late: bool
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Losses of some steps on one batch, and the state at the end."""
    module = copy.deepcopy(module)
    freeze(module, hierarchy, boundary)
    optimizer = torch.optim.AdamW([p for _, p in trainable_parameters(module)], lr=1e-3)
    module.train()
    entry = LateEntry(module, hierarchy, boundary)
    recorded = entry.record(images) if late else None
    torch.manual_seed(7)
    losses = []
    for _ in range(STEPS):
        outputs = module(images) if recorded is None else entry.enter(copied(recorded), images * 0)
        loss = outputs.float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses, {name: value.clone() for name, value in module.state_dict().items()}


def copied(entering: object) -> object:
    return torch.utils._pytree.tree_map_only(Tensor, torch.clone, entering)


@pytest.mark.parametrize("architecture", DIVERSE)
def test_training_from_a_cut_gives_the_same_bits(architecture: str) -> None:
    module, hierarchy = built(architecture)
    images = torch.randn(2, *plugins.backbone("timm").preprocessing(module).input_size)
    inner = [unit.depth for unit in hierarchy.units[1:] if unit.cut]
    assert inner
    for boundary in {inner[0], inner[len(inner) // 2], inner[-1]}:
        whole, expected = trained(module, hierarchy, boundary, images, late=False)
        late, found = trained(module, hierarchy, boundary, images, late=True)
        assert all(map(torch.equal, late, whole)), boundary
        assert all(torch.equal(found[name], value) for name, value in expected.items()), boundary
        assert any(not torch.equal(value, module.state_dict()[n]) for n, value in found.items())


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_efficientnet"])
def test_nothing_below_the_cut_is_computed(architecture: str) -> None:
    module, hierarchy = built(architecture)
    boundary = hierarchy.cut_below(len(hierarchy.units) // 2)
    images = torch.randn(2, *plugins.backbone("timm").preprocessing(module).input_size)
    module.eval()
    expected = module(images)
    entry = LateEntry(module, hierarchy, boundary)
    recorded = entry.record(images)
    entry.enter(recorded, images)  # learns the shapes
    below = {p for unit in hierarchy.units[:boundary] for p in unit.parameters}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in below and parameter.dim() > 1:
                parameter.fill_(float("nan"))
    assert torch.equal(entry.enter(recorded, images), expected)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_the_head_can_be_entered(architecture: str) -> None:
    module, hierarchy = built(architecture)
    assert hierarchy.head.cut
    images = torch.randn(3, *plugins.backbone("timm").preprocessing(module).input_size)
    module.eval()
    entry = LateEntry(module, hierarchy, len(hierarchy.units))
    recorded = entry.record(images)
    assert [tuple(value.shape) for value in recorded[0]] == [(3, module.num_features)]
    assert torch.equal(entry.enter(recorded, images * 0), module(images))


def test_a_distilled_pair_of_heads_is_entered_before_it() -> None:
    _, hierarchy = built("deit_tiny_distilled_patch16_224")
    assert len(hierarchy.head.modules) == 2
    assert not hierarchy.head.cut
    assert hierarchy.cut_below(len(hierarchy.units)) == len(hierarchy.units) - 1


def test_another_batch_size_may_follow() -> None:
    module, hierarchy = built("test_resnet")
    module.eval()
    boundary = hierarchy.cut_below(4)
    entry = LateEntry(module, hierarchy, boundary)
    for count in (4, 1, 4):
        images = torch.randn(count, 3, 64, 64)
        assert torch.equal(entry.enter(entry.record(images), images), module(images))


def test_the_network_is_left_as_it_was() -> None:
    module, hierarchy = built("test_vit")
    images = torch.randn(2, 3, 160, 160)
    before = {child: set(child.__dict__) for child in module.modules()}
    entry = LateEntry(module, hierarchy, 2)
    entry.enter(entry.record(images), images)
    assert {child: set(child.__dict__) for child in module.modules()} == before
    assert not any(child._forward_pre_hooks or child._forward_hooks for child in module.modules())
