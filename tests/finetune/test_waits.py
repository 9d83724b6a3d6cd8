"""What an accelerator would be waited for: losses are read of several steps at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import timm
import torch
from fakes.reads import Reads
from torch import nn

from zoo.backbones import devices
from zoo.backbones.devices import random_kept, random_state
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import Diverged
from zoo.finetune.dataset import batches
from zoo.finetune.dataset.augment import Transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.dataset import Dataset, Sample
from zoo.finetune.features import cache
from zoo.finetune.features.cache import Activations, Row, Shape, resident
from zoo.finetune.features.loaders import Batch
from zoo.finetune.loop import train as training
from zoo.finetune.loop.learner import Learner
from zoo.finetune.run import finetune
from zoo.finetune.setup.optimizer import make_optimizer, parameter_groups, schedule
from zoo.lookup.runs import Run, find_run, list_runs
from zoo.workspace import Workspace

HOW: dict[str, Any] = {
    "strategy": "partial", "freeze": "layer3", "epochs": 2, "batch_size": 4, "image_size": 32,
    "class_weights": "balanced", "ema": 0.9,
}  # fmt: skip
"""Twice seven steps."""


def tuned(workspace: Workspace, shapes: Path, save: str, **more: Any) -> Run:
    recipe = Recipe(data=str(shapes), **{**HOW, **more})
    ref = Reference.parse(save)
    done = finetune(workspace, "team/base", recipe, ref, device="cpu", save_every=5)
    return find_run(workspace, done.run)


@pytest.mark.usefixtures("base")
def test_losses_that_are_read_together_are_those_of_single_steps(
    workspace: Workspace, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both ways each step is noted once, before a state is saved that has it; only reading
    waits.
    """
    noted, read = [], []
    real_read, real_learn = training.read, training.learn

    def watched(learner: Any, steps: Any) -> list[float]:
        read.append(len(steps))
        return real_read(learner, steps)

    def learn(*args: Any) -> Iterator[Any]:
        with Reads() as reads:
            yield from real_learn(*args)
        # Once for each number of images: what the stubs below the cut are to give.
        assert [each for each in reads.found if "in from_cut.py" not in each] == []

    monkeypatch.setattr(training, "read", watched)
    monkeypatch.setattr(training, "learn", learn)
    for every, expected in ((1, [1] * 7 + [0]), (10, [5, 2])):
        monkeypatch.setattr(training, "READ_EVERY", {"cpu": every})
        run = tuned(workspace, shapes, f"team/by-{every}")
        assert read[: len(expected)] == expected
        lines = [line for line in run.lines() if line["kind"] in ("step", "saved")]
        noted.append([(line["kind"], line["steps"], line.get("loss")) for line in lines])
        read.clear()
    assert noted[0] == noted[1]
    steps = [number for kind, number, _ in noted[0] if kind == "step"]
    assert steps == list(range(1, 15))


@pytest.mark.usefixtures("base")
def test_what_has_diverged_is_not_saved_before_it_is_read(
    workspace: Workspace, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "READ_EVERY", {"cpu": 10})
    with pytest.raises(Diverged) as caught:
        tuned(workspace, shapes, "team/a", lr=1e30, warmup=0.0)
    assert caught.value.step < 5
    (run,) = list_runs(workspace)
    assert not [line for line in run.lines() if line["kind"] == "saved" and line["steps"]]


def test_a_step_needs_no_number_of_the_device(hierarchy: Hierarchy) -> None:
    """On a device that has none: reading one from a meta tensor is an error."""
    with torch.device("meta"):
        model = timm.create_model("test_resnet", num_classes=3)
    recipe = Recipe(data="", strategy="partial", lr=0.01, accumulate=2, clip_norm=1.0)
    phase = recipe.plan()[0]
    optimizer = make_optimizer(parameter_groups(model, hierarchy, phase, recipe), recipe)
    rates = schedule(optimizer, 9, recipe)
    how = Learner(model, optimizer, rates, nn.CrossEntropyLoss(), recipe, phase)
    images = torch.empty(4, 3, 32, 32, device="meta")
    given = [Batch(images, torch.tensor([0, 1, 2, 0]), 4) for _ in range(6)]
    steps = list(training.learn(how, given, model))
    assert [(step.number, step.images, step.loss.device.type) for step in steps] == [
        (number, 8, "meta") for number in (1, 2, 3)
    ]
    with pytest.raises(RuntimeError, match="meta"):
        training.read(how, steps)


def test_all_views_share_the_room_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what is free: two of these three fit, though each would by itself."""
    shape = Shape(
        torch.utils._pytree.tree_structure(0), (Row(0, (10,), torch.float32, torch.float32),), {}
    )
    views = [Activations(shape, [torch.zeros(100, 10)]) for _ in range(3)]
    monkeypatch.setattr(cache, "free_on", lambda _: 2 * 8000 + 1)
    placed = resident(views, torch.device("meta"))
    assert [each.rows[0].device.type for each in placed] == ["meta", "meta", "cpu"]


@pytest.mark.parametrize(
    ("device", "launched", "size", "expected"),
    [("cpu", {}, 32, 4), ("cuda", {}, 32, 16), ("cuda", {"": 2}, 32, 8), ("cuda", {}, 1024, 6),
     ("cuda", {"": 8, "LOCAL_": 2}, 32, 8), ("cuda", {"ZOO": 3}, 32, 3), ("cpu", {"ZOO": 0}, 32, 0),
     ("cuda", {"ZOO": -1}, 32, 0)],
)  # fmt: skip
def test_all_cores_read_for_an_accelerator(
    monkeypatch: pytest.MonkeyPatch, device: str, launched: dict[str, int], size: int, expected: int
) -> None:  # fmt: skip
    """Those of a machine for the processes on it, or as many as it is told. Of batches of 1024
    images at 224 pixels fewer, which are gigabytes.
    """
    for which, count in launched.items():
        name = "ZOO_WORKERS" if which == "ZOO" else f"{which}WORLD_SIZE"
        monkeypatch.setenv(name, str(count))
    for name, value in (("cores", lambda: 16), ("PAYS", -1.0)):
        monkeypatch.setattr(batches, name, value)
    monkeypatch.setattr(Batches, "_image", lambda *_: None)
    dataset = cast(Dataset, SimpleNamespace(task="classification", images=None))
    transform = Transform(lambda _: torch.zeros(1), (3, 224, 224), random=True)
    read = Batches(dataset, [Sample("a", 0)] * 40, transform, size, device=torch.device(device))
    assert read._workers([[0]] * 40, 0) == expected


class Generator:
    """Of a device that there is not here."""

    def __init__(self) -> None:
        self.states: dict[Any, torch.Tensor] = {}

    def get_rng_state(self, *at: Any) -> torch.Tensor:
        return self.states.get(at, torch.zeros(1))

    def set_rng_state(self, state: torch.Tensor, *at: Any) -> None:
        self.states[at] = state


@pytest.mark.parametrize(("name", "at"), [("mps", ()), ("xpu:1", (torch.device("xpu:1"),))])
def test_what_a_device_draws_is_kept(
    monkeypatch: pytest.MonkeyPatch, name: str, at: tuple[Any, ...]
) -> None:
    there, here, device = Generator(), torch.random.get_rng_state(), torch.device(name)
    modules = {"cpu": torch.random, device.type: there}
    monkeypatch.setattr(devices, "_generators", lambda each: modules[each.type])
    with random_kept(device):
        torch.rand(3)
        there.states[at] = torch.ones(1)
        assert random_state(device).item() == 1
    assert random_state(device).item() == 0
    assert torch.equal(torch.random.get_rng_state(), here)
