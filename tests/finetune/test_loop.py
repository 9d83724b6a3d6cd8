"""The training loop: who is trained, how fast, and the exact losses of a toy run."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import timm
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from zoo.backbones.freeze import freeze, trainable_parameters
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.errors import Diverged
from zoo.finetune.loop import evaluate, optimizer, schedule, train
from zoo_timm.backbone import TimmBackbone

LOSSES = (
    1.471045970916748, 0.8731448650360107, 0.7383185625076294,
    0.31768909096717834, 0.21963581442832947, 0.2618608772754669,
    0.13353270292282104, 0.1248258575797081, 0.18692979216575623,
)  # fmt: skip
"""Three epochs of three steps each, torch 2.14 on x86."""

RECIPE = Recipe(data="", lr=0.01, backbone_lr_ratio=0.1, weight_decay=0.05, epochs=3)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3)


@pytest.fixture
def hierarchy(model: nn.Module) -> Hierarchy:
    return TimmBackbone().hierarchy("test_resnet", model)


def batches(count: int = 12) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Images that are brighter in the channel of their class, the same on every machine."""
    labels = torch.arange(count) % 3
    grid = torch.linspace(-1, 1, 32)
    images = (grid[:, None] * grid).expand(count, 3, 32, 32).clone()
    images[torch.arange(count), labels] += torch.linspace(0.5, 1.5, count)[:, None, None]
    return DataLoader(TensorDataset(images, labels), batch_size=4)


def identities(parameters: Iterable[nn.Parameter]) -> list[int]:
    return sorted(map(id, parameters))


@pytest.mark.parametrize("boundary", [0, 4, 7])
def test_optimizer_holds_exactly_what_is_trainable(
    model: nn.Module, hierarchy: Hierarchy, boundary: int
) -> None:
    freeze(model, hierarchy, boundary)
    optimize = optimizer(model, RECIPE, hierarchy.head.parameters)
    held = [p for group in optimize.param_groups for p in group["params"]]
    above = (*hierarchy.units[boundary:], hierarchy.head)
    expected = [model.get_parameter(name) for part in above for name in part.parameters]
    assert identities(held) == identities(expected)
    assert identities(p for _, p in trainable_parameters(model)) == identities(expected)


def test_rates_and_decay_of_each_parameter(model: nn.Module, hierarchy: Hierarchy) -> None:
    optimize = optimizer(model, RECIPE, hierarchy.head.parameters)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimize.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            in_head = name in ("fc.weight", "fc.bias")
            assert group["lr"] == pytest.approx(0.01 if in_head else 0.001), name
            assert group["weight_decay"] == (0.05 if parameter.dim() > 1 else 0), name
    assert len(optimize.param_groups) == 4


@pytest.mark.parametrize("steps", [1, 2, 9, 40, 101])
def test_ratio_of_rates_holds_at_every_step(
    model: nn.Module, hierarchy: Hierarchy, steps: int
) -> None:
    optimize = optimizer(model, RECIPE, hierarchy.head.parameters)
    wanted = [group["lr"] / 0.01 for group in optimize.param_groups]
    rates = schedule(optimize, steps)
    seen = []
    for _ in range(steps):
        head = max(group["lr"] for group in optimize.param_groups)
        assert head > 0
        assert [group["lr"] / head for group in optimize.param_groups] == pytest.approx(wanted)
        seen.append(head)
        optimize.step()
        rates.step()
    assert max(seen) == pytest.approx(0.01)
    warm = max(steps // 10, 1)
    assert seen[:warm] == sorted(seen[:warm])
    assert seen[warm:] == sorted(seen[warm:], reverse=True)
    assert seen[0] == pytest.approx(0.01 / warm)
    if steps >= 40:
        assert seen[-1] < 0.0001


def test_golden_losses(model: nn.Module, hierarchy: Hierarchy) -> None:
    freeze(model, hierarchy, 3)
    with silent("", None) as task:
        losses = train(
            model, batches(), nn.CrossEntropyLoss(), RECIPE, hierarchy.head.parameters, task
        )
    assert losses == pytest.approx(LOSSES, rel=1e-5)


def test_a_training_that_diverges_stops(model: nn.Module, hierarchy: Hierarchy) -> None:
    freeze(model, hierarchy, 0)
    recipe = Recipe(data="", epochs=50, lr=1e30)
    with silent("", None) as task, pytest.raises(Diverged) as caught:
        train(model, batches(), nn.CrossEntropyLoss(), recipe, hierarchy.head.modules, task)
    assert caught.value.lr == 1e30


def test_training_leaves_what_is_frozen(model: nn.Module, hierarchy: Hierarchy) -> None:
    freeze(model, hierarchy, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with silent("", None) as task:
        train(model, batches(), nn.CrossEntropyLoss(), RECIPE, hierarchy.head.parameters, task)
    after = model.state_dict()
    for unit in hierarchy.units[:4]:
        for name in (*unit.parameters, *unit.buffers):
            assert torch.equal(before[name], after[name]), name
    for part in (*hierarchy.units[4:], hierarchy.head):
        for name in (*part.parameters, *part.buffers):
            assert not torch.equal(before[name], after[name]), name


def test_every_image_is_reported(model: nn.Module, hierarchy: Hierarchy) -> None:
    class Counted:
        done = 0.0
        note = ""

        def advance(self, amount: float = 1, note: str = "") -> None:
            self.done += amount
            self.note = note

    task = Counted()
    train(model, batches(), nn.CrossEntropyLoss(), RECIPE, hierarchy.head.parameters, task)
    assert task.done == 36
    assert task.note.startswith("epoch 3/3, loss ")


def test_evaluation_is_in_eval_mode_and_in_order(model: nn.Module) -> None:
    model.train()
    with silent("", None) as task:
        outputs, labels = evaluate(model, batches(10), task)
    assert outputs.shape == (10, 3)
    assert not outputs.requires_grad
    assert torch.equal(labels, torch.arange(10) % 3)
    images = torch.cat([batch for batch, _ in batches(10)])
    with torch.no_grad():
        assert torch.allclose(outputs, model.eval()(images), atol=1e-6)
