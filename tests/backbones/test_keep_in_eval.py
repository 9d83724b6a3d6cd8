"""Networks that drop values and keep statistics in code of their own, between their units."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.backbones.freeze import freeze
from zoo.backbones.from_cut import FromCut
from zoo.backbones.trace import trace
from zoo.domain.hierarchy import Hierarchy
from zoo.testing import freezing

SIZE = (3, 8, 8)


class Layers(nn.Module):
    """Two convolutions with a norm and dropout behind each that are no modules."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(n, 6, 3, padding=1) for n in (inputs, 6))
        for number in range(2):
            self.register_buffer(f"mean{number}", torch.zeros(6))
            self.register_buffer(f"variance{number}", torch.ones(6))

    def forward(self, features: Tensor) -> Tensor:
        for number, conv in enumerate(self.convs):
            mean = self.get_buffer(f"mean{number}")
            variance = self.get_buffer(f"variance{number}")
            features = functional.batch_norm(conv(features), mean, variance, None, None,
                                             self.training)  # fmt: skip
            features = functional.dropout(features.relu(), 0.5, self.training)
        return features


class Handwritten(nn.Module):
    """``norm``: with a last norm in its own code, too."""

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.norm = norm
        self.stages = nn.ModuleList([Layers(3), Layers(6)])
        self.last = nn.Conv2d(6, 6, 1)
        if norm:
            self.register_buffer("mean", torch.zeros(6))
            self.register_buffer("variance", torch.ones(6))
        self.head = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        for stage in self.stages:
            images = functional.dropout(stage(images), 0.5, self.training)
        images = self.last(images)
        if self.norm:
            mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
            images = functional.batch_norm(images, mean, variance, None, None, self.training)
        outputs: Tensor = self.head(functional.dropout(images.mean((2, 3)), 0.5, self.training))
        return outputs


@pytest.fixture(scope="module")
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, *SIZE)


@pytest.fixture
def network() -> tuple[nn.Module, Hierarchy]:
    torch.manual_seed(0)
    module = Handwritten().eval()
    return module, trace("handwritten", module, input_size=SIZE, head=("head",))


@pytest.mark.long
def test_it_is_frozen_totally(network: tuple[nn.Module, Hierarchy], images: Tensor) -> None:
    module, hierarchy = network
    assert [unit.name for unit in hierarchy.units] == [
        "stages.0.convs.0", "stages.0.convs.1", "stages.1.convs.0", "stages.1.convs.1", "last",
    ]  # fmt: skip
    for optimizer in freezing.OPTIMIZERS:
        freezing.check_training(module, hierarchy, images, optimizer)
    for check in (freezing.check_copies, freezing.check_saved, freezing.check_batch_mates):
        check(module, hierarchy, images)
    freezing.check_compiled(module, hierarchy, images)


@pytest.mark.parametrize("boundary", range(1, 6))
def test_what_is_frozen_stands_still_at_every_depth(
    network: tuple[nn.Module, Hierarchy], images: Tensor, boundary: int
) -> None:
    module, hierarchy = network
    freeze(module, hierarchy, boundary)
    module = copy.deepcopy(module).train()
    frozen = {name for unit in hierarchy.units[:boundary] for name in unit.buffers}
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    found: list[Tensor] = []
    path = hierarchy.units[boundary].modules[0] if boundary < 5 else "head"
    module.get_submodule(path).register_forward_pre_hook(lambda _, args: found.append(args[0]))
    module(images)
    module(images)
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, before[name]) == (name in frozen), name
    assert torch.equal(found[0], found[1])
    assert torch.equal(module(images), module(images)) == (boundary == 5)
    assert torch.equal(module.eval()(images), module(images))


def test_what_is_dropped_before_the_head_is_the_heads(images: Tensor) -> None:
    module = Handwritten(norm=False)
    hierarchy = trace("handwritten", module, input_size=SIZE, head=("head",))
    freeze(module, hierarchy, len(hierarchy.units))
    features: list[Tensor] = []
    module.last.register_forward_hook(lambda _, __, output: features.append(output))
    assert not torch.equal(module.train()(images), module(images))
    assert torch.equal(features[0], features[1])


def test_entering_late_moves_no_statistics(
    network: tuple[nn.Module, Hierarchy], images: Tensor
) -> None:
    module, hierarchy = network
    freeze(module, hierarchy, 3)
    module.train()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    entry = FromCut(module, hierarchy, 3)
    entering = entry.record(images)
    assert module.training
    for _ in range(2):
        entry.forward(entering, images)
    frozen = [name for unit in hierarchy.units[:3] for name in unit.buffers]
    assert frozen
    assert all(torch.equal(module.get_buffer(name), before[name]) for name in frozen)
    with pytest.raises(RuntimeError):
        module(images[:, :1])
    assert module.training
    assert not torch.equal(module(images), module(images))


def test_thawed_is_as_before(network: tuple[nn.Module, Hierarchy], images: Tensor) -> None:
    module, hierarchy = network
    hooks = [
        len(child._forward_pre_hooks) + len(child._forward_hooks) for child in module.modules()
    ]
    freeze(module, hierarchy, 3)
    freeze(module, hierarchy, 0)
    assert hooks == [
        len(child._forward_pre_hooks) + len(child._forward_hooks) for child in module.modules()
    ]
    before = module.get_buffer("stages.0.mean0").clone()
    module.train()(images)
    assert not torch.equal(module.get_buffer("stages.0.mean0"), before)
