"""What a profile tells: which part of a step takes the time, and a trace of some steps."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from zoo.domain.progress import Progress, Task, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.features.loaders import Batch, Loader
from zoo.finetune.loop import profile as profiles
from zoo.finetune.loop.learner import Learner
from zoo.finetune.loop.profile import PARTS, TIMED, TRACED, WARM, Profile
from zoo.finetune.loop.train import learn
from zoo.finetune.results.journal import Journal
from zoo.finetune.run import finetune
from zoo.lookup.runs import find_run
from zoo.workspace import Workspace

STEPS = WARM + TRACED + 4


class Said:
    """A journal of nothing but what is said."""

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self.run, self.writes = SimpleNamespace(folder=folder), writes
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    remark = say


class Clock:
    """What stands still but while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def sleep(seconds: float) -> None:
    CLOCK.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time does not depend on what else this machine does."""
    monkeypatch.setattr(profiles, "perf_counter", CLOCK)


class Slow:
    """Batches and a network that take their time."""

    def __init__(self, model: nn.Module, **seconds: float) -> None:
        self.model, self.seconds = model, seconds

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        for _ in range(5 - skip):
            sleep(self.seconds.get("data", 0))
            yield Batch(torch.ones(2, 4), torch.tensor([0, 1]), 2)

    def forward(self, inputs: Tensor) -> Tensor:
        sleep(self.seconds.get("forward", 0))
        outputs: Tensor = self.model(inputs)
        return outputs


def learner() -> Learner:
    model = nn.Linear(4, 2)
    recipe = Recipe(data="", strategy="partial", accumulate=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    return Learner(model, optimizer, rates, nn.CrossEntropyLoss(), recipe, recipe.plan()[0])


def watched(folder: Path, epochs: int = 2, slow: str = "", *, writes: bool = True) -> list[str]:
    """What is said of so many epochs of five steps, of which something is ``slow``."""
    journal, how = Said(folder, writes=writes), learner()
    model = Slow(how.model, **dict.fromkeys(slow.split(), 2.0))
    with Profile(cast(Journal, journal), 1, 1) as profile:
        loader = profile.watch(how, cast(Loader, model))
        for number in range(epochs):
            for _ in learn(how, loader.epoch(number), loader.forward):
                sleep(model.seconds.get("rest", 0))
            sleep(model.seconds.get("evaluation", 0))
    return journal.lines


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("part", ["data", "forward", "rest"])
def test_time_is_told_where_it_is_taken(tmp_path: Path, part: str) -> None:
    said = watched(tmp_path, slow=part)
    told = json.loads((tmp_path / "profile.json").read_text())
    assert (told["steps"], told["images"], told["device"]) == (4, 8, "cpu")
    assert told["seconds"] == {**dict.fromkeys(PARTS, 0), part: 4 * 2}
    assert said[0] == "4 steps timed, 2 images and 2000.0 ms each: 1 images/s"
    assert any(line.startswith(f"  {part} ") for line in said)


@pytest.mark.usefixtures("clock")
def test_what_is_done_between_epochs_is_no_part_of_a_step(tmp_path: Path) -> None:
    watched(tmp_path, 3, "forward evaluation")
    told = json.loads((tmp_path / "profile.json").read_text())
    assert told["steps"] == 15 - WARM - TRACED
    assert told["seconds"] == {**dict.fromkeys(PARTS, 0), "forward": 2 * told["steps"]}


def test_a_trace_has_the_parts_of_its_steps(tmp_path: Path) -> None:
    watched(tmp_path)
    events = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert {part: names.count(part) for part in PARTS} == {
        **dict.fromkeys(PARTS, TRACED),
        "data": TRACED + 1,  # at the end of the epoch there is none
    }
    assert "aten::linear" in {event["name"] for event in events if event.get("cat") == "cpu_op"}
    operators = json.loads((tmp_path / "profile.json").read_text())["operators"]
    assert operators == sorted(operators, key=lambda each: -each["share"])
    assert not {each["name"] for each in operators} & {*PARTS}


def test_a_trace_has_so_many_batches_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MOST_BATCHES", 1)
    watched(tmp_path)
    events = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    assert [event["name"] for event in events].count("forward") == 1


def test_no_more_steps_are_timed_than_that(tmp_path: Path) -> None:
    watched(tmp_path, 8)
    assert json.loads((tmp_path / "profile.json").read_text())["steps"] == TIMED


def test_few_steps_and_other_ranks_write_nothing(tmp_path: Path) -> None:
    (said,) = watched(tmp_path, 1)
    assert said == f"no step is timed: that takes {WARM + TRACED + 1} steps, and these were 5"
    (tmp_path / "trace.json.gz").unlink()
    assert watched(tmp_path, writes=False) == []
    assert not [*tmp_path.iterdir()]


def test_a_run_that_is_profiled_gives_the_same_bits(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    how: dict[str, Any] = {"strategy": "partial", "freeze": "layer2", "batch_size": 2}
    recipe = Recipe(data=str(shapes), image_size=32, epochs=1, **how)
    plain, profiled = (
        finetune(workspace, base, recipe, Reference.parse(name), device="cpu", profile=profile)
        for name, profile in (("team/a", False), ("team/b", True))
    )
    one, other = (workspace.store.manifest(done.manifest) for done in (plain, profiled))
    assert one.weights == other.weights
    assert not (find_run(workspace, plain.run).folder / "profile.json").exists()
    folder = find_run(workspace, profiled.run).folder
    assert json.loads((folder / "profile.json").read_text())["images"]


@pytest.mark.long
def test_each_phase_has_a_profile(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lines(Progress):
        def __call__(self, *asked: Any) -> AbstractContextManager[Task]:
            return silent(*asked)

        def say(self, text: str) -> None:
            said.append(text)

    said = list[str]()
    for name in ("WARM", "TRACED"):
        monkeypatch.setattr(profiles, name, 1)
    phases = ("100%:2", "layer4:1", "layer2:2")
    recipe = Recipe(
        data=str(shapes), image_size=32, batch_size=4, strategy="gradual", phases=phases
    )
    how: dict[str, Any] = {"device": "cpu", "profile": True, "progress": Lines()}
    done = finetune(workspace, base, recipe, Reference.parse("team/a"), **how)
    folder = find_run(workspace, done.run).folder
    traced = {path.name for path in folder.iterdir() if "trace" in path.name}
    assert traced == {f"trace-{number}.json.gz" for number in (1, 2, 3)}
    steps = [json.loads((folder / f"profile-{n}.json").read_text())["steps"] for n in (1, 2, 3)]
    assert steps[0] == steps[2] > steps[1] > 0
    timed = [line.split(":")[0] for line in said if "timed" in line]
    assert timed == ["phase 1", "phase 2", "phase 3"]
