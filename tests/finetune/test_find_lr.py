"""The search for a learning rate leaves everything as it was."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.sampled import sampled

from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.finetune.features.loaders import Batch, Loader, image_loaders
from zoo.finetune.loop.find_lr import LRCurve, search
from zoo.finetune.loop.learner import Learner, Step, make_learner
from zoo.finetune.run import find_lr
from zoo.finetune.setup.prepare import PreparedRun, prepare
from zoo.workspace import Workspace

Make = Callable[..., tuple[PreparedRun, Loader, Learner]]


@pytest.fixture
def make(workspace: Workspace, base: str, shapes: Path) -> Make:
    def make(**options: Any) -> tuple[PreparedRun, Loader, Learner]:
        quick = {"strategy": "partial", "batch_size": 8, "image_size": 32, "lr": 0.01}
        recipe = Recipe(data=str(shapes), **{**quick, **options})
        prepared = prepare(workspace, base, recipe, "cpu", silent)
        learner, feed = make_learner(prepared, recipe.plan()[0], 0, image_loaders(prepared))
        return prepared, feed, learner

    return make


@dataclass
class Counted:
    """A feed that counts its batches, and notes the head's rate in each."""

    feed: Loader
    learner: Learner
    batches: int = 0
    rates: list[float] = field(default_factory=list)

    def epoch(self, number: int) -> Iterator[Batch]:
        for batch in self.feed.epoch(number):
            self.batches += 1
            yield batch

    def forward(self, inputs: Any) -> torch.Tensor:
        head = self.learner.model.get_parameter("fc.weight")
        self.rates += [
            group["lr"]
            for group in self.learner.optimizer.param_groups
            if any(value is head for value in group["params"])
        ]
        return self.feed.forward(inputs)


def test_steps_are_those_of_training(make: Make) -> None:
    """Clipped to almost nothing, no rate is too high; a step takes all that are added up. The
    rates are the head's, also where the backbone has higher ones.
    """
    _, feed, learner = make(clip_norm=1e-9, accumulate=2, optimizer="sgd", backbone_lr_ratio=10.0)
    counted = Counted(feed, learner)
    curve = search(learner, counted, silent, steps=10)  # type: ignore[arg-type]
    assert counted.batches == 20
    assert curve.rates[0] == pytest.approx(1e-6)
    assert curve.rates[-1] == pytest.approx(1)
    assert counted.rates[::2] == pytest.approx(curve.rates)
    assert max(curve.losses) < 1.2 * min(curve.losses)


SMALL = {"precision": "fp16", "batch_size": 4, "image_size": 16}
"""As half precision is slow on a CPU."""


@pytest.mark.parametrize(
    ("options", "steps"),
    [({"precision": "fp32"}, 25), pytest.param(SMALL, 15, marks=pytest.mark.long)],
    ids=["fp32", "fp16"],
)
def test_nothing_is_touched(make: Make, options: dict[str, Any], steps: int) -> None:
    prepared, feed, learner = make(**options)
    scale = learner.scaler.state_dict()
    before = {n: v.clone() for n, v in prepared.model.state_dict().items()}
    groups = [dict(group, params=None) for group in learner.optimizer.param_groups]
    random = torch.random.get_rng_state()
    curve = search(learner, feed, silent, steps=steps)
    after = prepared.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [dict(g, params=None) for g in learner.optimizer.param_groups] == groups
    assert not learner.optimizer.state_dict()["state"]
    assert learner.scheduler.last_epoch == 0
    assert learner.scaler.state_dict() == scale
    assert all(parameter.grad is None for parameter in prepared.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert list(curve.rates) == sorted(curve.rates)
    assert curve.suggestion is not None
    assert curve.rates[0] < curve.suggestion < 1
    assert min(curve.losses) < curve.losses[0]
    assert curve.scaled(10).suggestion == curve.suggestion * 10


@pytest.mark.long
def test_a_phase_with_a_rate_of_its_own_is_told_its_rate(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    """The recipe's counts for nothing there."""

    def tried(phase: str, lr: float) -> LRCurve:
        recipe = Recipe(data=str(shapes), strategy="gradual", phases=(phase, "none:1"), lr=lr,
                        image_size=32)  # fmt: skip
        return find_lr(workspace, base, recipe, workspace.root / "cache", device="cpu")

    own, other = tried("all:1@1e-4", 1e-2), tried("all:1@1e-4", 1e-1)
    assert own == replace(other, folder=own.folder)
    assert own.phase == "all:1"
    assert own.rates[0] == pytest.approx(1e-6)
    shared = tried("all:1", 1e-2)
    assert shared.phase == ""
    assert shared.rates == pytest.approx(own.rates)


@pytest.mark.parametrize("seed", sampled(range(4), [0]))
@pytest.mark.parametrize(
    ("start", "least", "best", "noise"),
    [(0.33, 0.14, 4e-4, 0.04), (0.42, 0.28, 2e-4, 0.07), (2.7, 0.6, 7e-3, 0.1), (0.3, 0.3, 1, 0.1)],
    ids=["fitted head", "fitted head, noisy", "new head", "nothing to gain"],
)
def test_the_rate_is_that_of_the_least_loss_whatever_single_steps_scatter_by(
    make: Make, monkeypatch: pytest.MonkeyPatch,
    start: float, least: float, best: float, noise: float, seed: int,
) -> None:  # fmt: skip
    """Losses as they were measured: flat, then falling late or soon, then rising fast."""
    scatter = random.Random(seed)

    def steps(*_: object) -> Iterator[Step]:
        for number in range(100):
            rate = 1e-6 ** (1 - number / 99)
            far = math.log(rate / best)
            fallen = math.exp(-((far / 2.5) ** 2)) if far < 0 else 1.0
            rising = max(far, 0) ** 2 * start if least < start else 0
            loss = start - (start - least) * fallen + rising + scatter.gauss(0, noise)
            yield Step(number, torch.tensor(loss), rate, 8, 1)

    monkeypatch.setattr("zoo.finetune.loop.find_lr._steps", steps)
    _, feed, learner = make()
    found = search(learner, feed, silent).suggestion
    if start == least:
        assert found is None
    else:
        assert found is not None
        assert best / 3 < found < best * 3
