"""A step waits for an accelerator once in ten at most, and a search for a rate leaves no trace."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.reads import Reads

from zoo.backbones.devices import random_state
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.finetune.features.loaders import image_loaders
from zoo.finetune.loop import train as training
from zoo.finetune.loop.find_lr import search
from zoo.finetune.loop.learner import make_learner
from zoo.finetune.run import Finetuned
from zoo.finetune.setup.prepare import prepare
from zoo.workspace import Workspace

pytestmark = pytest.mark.gpu

WAITED = "called a synchronizing"
WARM = 3
"""Steps until all that is made once is there."""


@pytest.mark.parametrize(
    "how",
    [
        {"ema": 0.9, "class_weights": "balanced", "sam": 0.05},
        {"cache": False, "precision": "bf16", "optimizer": "adamw"},
        {"cache": False, "augment": "light", "accumulate": 1, "clip_norm": 1.0},
        {"augment": "heavy", "augment_on": "device", "mixup": 0.4},
    ],
    ids=["cached", "bf16", "augmented", "augmented there"],
)
def test_ten_steps_wait_for_the_device_once(
    transformer: str, tune: Callable[..., Finetuned], device: str,
    monkeypatch: pytest.MonkeyPatch, how: dict[str, Any],
) -> None:  # fmt: skip
    """By torch's own debug mode of synchronizations; elsewhere, how often a number is read."""
    waits: list[str] = []
    real = training.learn

    def learn(*args: Any) -> Iterator[Any]:
        steps = real(*args)
        for _ in range(WARM):
            yield next(steps)
        with warnings.catch_warnings(record=True) as told, Reads() as reads:
            warnings.simplefilter("always")
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("warn")
            try:
                for _ in range(10):
                    yield next(steps)
            finally:
                if device == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
        waits.extend(str(each.message) for each in told if WAITED in str(each.message))
        waits.extend(reads.found if device != "cuda" else [])

    monkeypatch.setattr(training, "learn", learn)
    tune(transformer, "team/a", batch_size=2, epochs=1, **how)  # 13 steps
    assert len(waits) <= 1, waits


def test_a_search_for_a_rate_gives_back_what_it_changed(
    workspace: Workspace, transformer: str, shapes: Path, device: str
) -> None:
    how: dict[str, Any] = {"strategy": "partial", "image_size": 32, "batch_size": 8, "drop": 0.5}
    recipe = Recipe(data=str(shapes), lr=0.01, **how)
    prepared = prepare(workspace, transformer, recipe, device, silent)
    learner, feed = make_learner(prepared, recipe.plan()[0], 0, image_loaders(prepared))
    before = {name: value.clone() for name, value in prepared.model.state_dict().items()}
    devices = [torch.device("cpu"), prepared.device]
    random = [random_state(each) for each in devices]
    curve = search(learner, feed, silent, steps=15)
    assert len(curve.losses) > 5
    for name, value in prepared.model.state_dict().items():
        assert torch.equal(before[name], value), name
    assert not learner.optimizer.state_dict()["state"]
    assert all(parameter.grad is None for parameter in prepared.model.parameters())
    for old, each in zip(random, devices, strict=True):
        assert torch.equal(old, random_state(each))
