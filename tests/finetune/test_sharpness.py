"""Sharpness-aware minimization: where gradients are taken, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.features.loaders import Batch
from zoo.finetune.loop.learner import Learner
from zoo.finetune.loop.sharpness import uphill
from zoo.finetune.loop.train import learn
from zoo.finetune.run import finetune
from zoo.finetune.setup.optimizer import schedule
from zoo.workspace import Workspace


def stepped(model: nn.Module, batches: list[Batch], **options: Any) -> float:
    """Take one step of plain SGD; its loss."""
    recipe = Recipe(data="", strategy="full", schedule="constant", warmup=0.0, **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    phase = replace(recipe.plan()[0], lr=0.1)
    rates = schedule(optimizer, 9, recipe)
    (step,) = learn(
        Learner(model, optimizer, rates, nn.CrossEntropyLoss(), recipe, phase), batches, model
    )
    return float(step.loss)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, generator=draw), torch.arange(6) % 3


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_is_by_the_gradients_uphill(
    inputs: tuple[torch.Tensor, torch.Tensor], accumulate: int
) -> None:
    """By the paper: w - rate * g(w + radius * g(w) / |g(w)|)."""
    x, y = inputs
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    start = [p.detach().clone() for p in model.parameters()]

    def gradients(at: list[torch.Tensor]) -> list[torch.Tensor]:
        w, b = (value.clone().requires_grad_() for value in at)
        return list(torch.autograd.grad(functional.cross_entropy(x @ w.T + b, y), (w, b)))

    first = gradients(start)
    length = torch.cat([g.flatten() for g in first]).norm()
    there = gradients([w + 0.5 * g / length for w, g in zip(start, first, strict=True)])
    size = len(x) // accumulate
    batches = [Batch(x[at : at + size], y[at : at + size], size) for at in range(0, 6, size)]
    loss = stepped(model, batches, sam=0.5, accumulate=accumulate)
    for parameter, before, gradient in zip(model.parameters(), start, there, strict=True):
        assert torch.allclose(parameter, before - 0.1 * gradient, atol=1e-6)
    assert not torch.allclose(there[0], first[0], atol=1e-3)
    assert loss == pytest.approx(float(functional.cross_entropy(x @ start[0].T + start[1], y)))


def test_statistics_of_batch_norm_are_those_of_the_weights_themselves() -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for radius in (0.0, 0.5):
        torch.manual_seed(1)
        model = timm.create_model("test_resnet", num_classes=3)
        stepped(model, [Batch(images, torch.arange(4) % 3, 4)], sam=radius)
        found.append(model)
    plain, sam = (dict(model.named_buffers()) for model in found)
    assert not torch.equal(plain["bn1.running_mean"], torch.zeros_like(plain["bn1.running_mean"]))
    assert all(torch.equal(plain[name], sam[name]) for name in plain)
    assert not torch.equal(found[0].get_parameter("fc.weight"), found[1].get_parameter("fc.weight"))


@pytest.mark.parametrize("gradient", [0.0, 1e-10, float("inf")])
def test_weights_come_back_to_the_bit(gradient: float) -> None:
    """Also where the gradients, scaled for fp16, overflowed: `torch.amp.GradScaler` passes over the
    step by what comes of it.
    """
    layer, norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.full((2, 2), gradient)
    with uphill(nn.Sequential(layer, norm), list(layer.parameters()), 0.1):
        norm(layer(torch.ones(3, 2)))
        assert all(parameter.grad is None for parameter in layer.parameters())
        there = (layer.weight - before).detach()
        if gradient == 0:
            assert not there.any()
        elif gradient < 1:
            assert float(there.norm()) == pytest.approx(0.1, rel=1e-3)
        else:
            assert there.isnan().all()
    assert torch.equal(layer.weight, before)
    assert norm.running_mean is not None
    assert not norm.running_mean.any()
    assert norm.num_batches_tracked == 0


def test_a_fine_tune_with_it_is_another(workspace: Workspace, base: str, shapes: Path) -> None:
    found = []
    for radius in (0.0, 0.05):
        recipe = Recipe(
            data=str(shapes), strategy="partial", freeze="layer3", epochs=1, batch_size=8,
            image_size=32, lr=0.01, sam=radius,
        )  # fmt: skip
        save = Reference.parse(f"team/sam{radius > 0:d}")
        digest = finetune(workspace, base, recipe, save, device="cpu").manifest
        found.append(load(workspace.store, digest).state_dict())
        said = workspace.store.manifest(digest).recipe or {}
        assert said.get("sam", 0.0) == radius
    assert torch.equal(found[0]["layer1.0.conv1.weight"], found[1]["layer1.0.conv1.weight"])
    assert not torch.equal(found[0]["layer4.0.conv1.weight"], found[1]["layer4.0.conv1.weight"])
