"""A run that is cut off anywhere goes on to the bits of one that was not."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import warm
from fakes.cuts import Cut, cut_at
from fakes.sampled import sampled

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Invalid, InvalidData
from zoo.finetune import conclude
from zoo.finetune.dataset import batches
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.loop import state as state_file
from zoo.finetune.loop import train as training
from zoo.finetune.loop.state import SavedState, read_state, write_state
from zoo.finetune.run import Finetuned, finetune, resume
from zoo.lookup.alive import LOCK
from zoo.lookup.runs import STATE, find_run, list_runs
from zoo.workspace import Workspace

# 36 images: 26 to train on, 7 steps of 4 an epoch but for the last two, left in.
QUICK: dict[str, Any] = {
    "epochs": 2, "batch_size": 4, "image_size": 32, "lr": 0.01, "ema": 0.9, "warmup": 0.2,
}  # fmt: skip

PLANS: dict[str, dict[str, Any]] = {
    "partial": {"strategy": "partial", "freeze": "layer2"},
    "uncached": {"strategy": "partial", "freeze": "layer2", "augment": "light"},
    "lp-ft": {"strategy": "lp-ft", "freeze": "layer3"},
    "gradual": {"strategy": "gradual", "phases": ("all:1", "layer2:1", "none:1@1e-4")},
    "lora": {"strategy": "lora", "freeze": "layer3", "rank": 2},
}
PLACE = {"partial": 11, "lp-ft": 7, "gradual": 8, "lora": 9}
"""Where some are cut off for each change: in the second epoch, at an epoch's end and just after,
and not inside the first.
"""
STOPS = """
import sys, json, time, torch, zoo
from zoo.finetune.loop import train as training
torch.set_num_threads(1)
learn = training.learn
def stops(*arguments):
    for number, step in enumerate(learn(*arguments)):
        if number == 5:
            time.sleep(600)
        yield step
training.learn = stops
z = zoo.open(sys.argv[1])
z.finetune("team/base", sys.argv[2], sys.argv[3], device="cpu", save_every=2,
           **json.loads(sys.argv[4]))
"""
"""Trains five steps, and waits to be killed."""


@pytest.fixture
def fresh(shared: Workspace, drawn: Path) -> Callable[..., Finetuned]:
    def fresh(save: str, **options: Any) -> Finetuned:
        return tune(shared, drawn, save, **options)

    return fresh


@pytest.fixture(scope="module")
def done() -> dict[str, Any]:
    """What the next two have done so far."""
    return {}


@pytest.fixture
def whole(fresh: Callable[..., Finetuned], done: dict[str, Any]) -> Callable[[str], Finetuned]:
    """The run of a plan that nobody cut off, once for all tests."""

    def whole(plan: str) -> Finetuned:
        if plan not in done:
            done[plan] = fresh(f"team/whole-{len(done)}", **PLANS[plan])
        result: Finetuned = done[plan]
        return result

    return whole


@pytest.fixture
def resumed(
    shared: Workspace, fresh: Callable[..., Finetuned], done: dict[str, Any]
) -> Callable[[str, int], Finetuned]:
    """The run of a plan that was cut off after so many steps, and resumed."""

    def resumed(plan: str, place: int) -> Finetuned:
        if (key := f"{plan} {place}") not in done:
            with pytest.MonkeyPatch.context() as patch:
                cut_at(patch, place)
                with pytest.raises(Cut):
                    fresh(f"team/cut{len(done)}", **PLANS[plan])
            cut = list_runs(shared)[0]
            assert cut.status == "interrupted"
            torch.manual_seed(place)  # whatever the process did before
            again = resume(shared, cut.id, save_every=3)
            assert again.run == cut.id
            assert str(again.ref) == f"team/cut{len(done)}"
            assert not (cut.folder / STATE).exists()
            done[key] = again
        result: Finetuned = done[key]
        return result

    return resumed


def tune(workspace: Workspace, data: Path, save: str, **options: Any) -> Finetuned:
    recipe = quick(data, **options)
    return finetune(
        workspace, "team/base", recipe, Reference.parse(save), device="cpu", save_every=3
    )


def quick(data: Path, **options: Any) -> Recipe:
    given = {**QUICK, **options}
    if "phases" in given:  # each says how long it is
        del given["epochs"]
    return Recipe(data=str(data), **given)


def state(workspace: Workspace, result: Finetuned) -> dict[str, torch.Tensor]:
    return load(workspace.store, result.manifest).state_dict()


@pytest.mark.parametrize("plan", sampled(PLANS, ["lp-ft"]))
@pytest.mark.parametrize("anywhere", [False, pytest.param(True, marks=pytest.mark.long)])
def test_resumed_anywhere_gives_the_same_bits(
    shared: Workspace, whole: Callable[[str], Finetuned],
    resumed: Callable[[str, int], Finetuned], anywhere: bool, plan: str,
) -> None:  # fmt: skip
    run = find_run(shared, whole(plan).run)
    steps = [line["steps"] for line in run.lines() if line["kind"] == "epoch"]
    last = max(steps)
    # At the first step, inside an epoch, at its end and just after, and before the last step.
    places = {0, 2, 4, steps[0], steps[0] + 1, last // 2 + 1, last - 1}
    one = state(shared, whole(plan))
    for place in sorted(places if anywhere else {PLACE.get(plan, 4)}):
        result = resumed(plan, place)
        other = state(shared, result)
        assert all(torch.equal(one[name], other[name]) for name in one), place
        assert result.metrics == whole(plan).metrics


def epochs(workspace: Workspace, result: Finetuned) -> list[dict[str, Any]]:
    """What the journal has of each, but the time and the memory."""
    lines = find_run(workspace, result.run).lines()
    dropped = ("time", "memory_bytes")
    return [
        {name: value for name, value in line.items() if name not in dropped}
        for line in lines
        if line["kind"] == "epoch"
    ]


INSIDE: dict[str, dict[str, Any]] = {
    "read ten at a time": {},
    "accumulated": {"accumulate": 2, "epochs": 1, "sam": 0.05},
    "mixed": {"mixup": 0.4, "cutmix": 1.0, "augment": "heavy", "augment_on": "device"},
    "read by workers": {"augment": "light", "head": "mlp", "epochs": 1},
}


@pytest.mark.parametrize("plan", sampled(INSIDE, ["accumulated"]))
def test_resumed_inside_an_epoch_gives_the_same_bits(
    shared: Workspace,
    fresh: Callable[..., Finetuned],
    monkeypatch: pytest.MonkeyPatch,
    plan: str,
) -> None:
    options = {"strategy": "partial", "freeze": "layer2", "batch_size": 3, **INSIDE[plan]}
    used = workers(monkeypatch) if plan == "read by workers" else []
    if plan == "read ten at a time":
        monkeypatch.setattr(training, "READ_EVERY", {})
    whole = fresh("team/inside-whole", **options)
    with monkeypatch.context() as patch:
        cut_at(patch, 4)
        with pytest.raises(Cut):
            fresh("team/inside-cut", **options)
    cut = list_runs(shared)[0]
    at = read_state(cut.folder / STATE).position
    assert (at.epoch, at.steps, at.batch) == (0, 3, 6 if plan == "accumulated" else 3)
    used.clear()
    result = resume(shared, cut.id, save_every=3)
    one, other = state(shared, whole), state(shared, result)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert epochs(shared, result) == epochs(shared, whole)
    assert used[:1] == ([2] if plan == "read by workers" else [])


def workers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let worker processes read, as they do where images are many; how many each pass has."""
    used: list[int] = []
    real = Batches._workers

    def noted(self: Batches, *arguments: Any) -> int:
        used.append(real(self, *arguments))
        return used[-1]

    monkeypatch.setattr(Batches, "_workers", noted)
    monkeypatch.setattr(batches, "PAYS", 0.0)
    monkeypatch.setattr(batches, "cores", lambda: 2)
    return used


def test_tensorboard_shows_each_step_once(
    shared: Workspace, resumed: Callable[[str, int], Finetuned]
) -> None:
    """And what was done twice as it was done at last."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # The state is that of step 9.
    run = find_run(shared, resumed("partial", 11).run)
    (folder,) = (path for path in run.folder.iterdir() if path.is_dir())
    assert len(list(folder.glob("events.out.tfevents.*"))) == 2
    board = EventAccumulator(str(folder)).Reload()
    told = {
        f"{line['kind']}/{name}"
        for line in run.lines()
        for name, value in line.items()
        if isinstance(value, float) and name != "time"
    }
    assert {"step/loss", "epoch/loss", "test/loss"} <= told <= set(board.Tags()["scalars"])
    for kind in ("step", "epoch"):
        lines = [line for line in run.lines() if line["kind"] == kind]
        assert len(lines) > 1
        shown = board.Scalars(f"{kind}/loss")
        assert [point.step for point in shown] == [line["steps"] for line in lines]
        assert [point.value for point in shown] == pytest.approx([line["loss"] for line in lines])


SELDOM: dict[str, dict[str, Any]] = {
    "gradual": PLANS["gradual"],
    "stopped early": {"strategy": "partial", "freeze": "layer2", "epochs": 6, "patience": 2},
    "soup": {"strategy": "partial", "freeze": "layer2", "epochs": 2, "blend": "soup"},
    "wise-ft": {"strategy": "lp-ft", "freeze": "layer2", "blend": "wise-ft"},
}


@pytest.mark.long
@pytest.mark.parametrize("plan", sampled(SELDOM, ["soup"]))
def test_resumed_from_long_ago_gives_the_same_bits(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    """Saved once, at the beginning; cut off when all is trained and blended."""
    recipe = quick(shapes, **SELDOM[plan])
    whole = finetune(workspace, base, recipe, Reference.parse("team/whole"), device="cpu")

    def cut(*_: Any, **__: Any) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(state_file, "RARELY", 10**9)
        patch.setattr(conclude, "publish", cut)
        with pytest.raises(Cut):
            finetune(workspace, base, recipe, Reference.parse("team/cut"), device="cpu")
    result = resume(workspace, list_runs(workspace)[0].id)
    one, other = state(workspace, whole), state(workspace, result)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert result.metrics == whole.metrics
    assert not (find_run(workspace, result.run).folder / "weights").exists()


@pytest.mark.long
def test_saving_that_takes_long_is_seldom(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(data=str(shapes), strategy="partial", freeze="all",
                    **{**QUICK, "epochs": 10})  # fmt: skip
    clock, seconds = 0.0, 0.0
    saved: list[int] = []
    learn = training.learn

    def timed_learn(*args: Any) -> Any:
        nonlocal clock
        for step in learn(*args):
            clock += 1.0
            yield step

    def timed_write(kept: SavedState, path: Path) -> None:
        nonlocal clock
        clock += seconds
        saved.append(kept.position.steps)
        write_state(kept, path)

    monkeypatch.setattr(state_file, "monotonic", lambda: clock)
    monkeypatch.setattr(training, "learn", timed_learn)
    monkeypatch.setattr(state_file, "write_state", timed_write)
    for seconds, expected in ((0.1, range(7, 71, 7)), (1.0, (7, 63, 70))):
        saved.clear()
        finetune(workspace, base, recipe, Reference.parse(f"team/s{seconds:.0f}"), device="cpu")
        assert saved == [*expected]


def test_the_journal_of_a_resumed_run_has_no_step_twice(
    shared: Workspace, whole: Callable[[str], Finetuned], resumed: Callable[[str, int], Finetuned]
) -> None:
    def noted(name: str) -> list[tuple[Any, ...]]:
        lines = find_run(shared, name).lines()
        return [(line["kind"], line["steps"], line.get("loss")) for line in lines]

    assert noted(resumed("partial", 11).run) == noted(whole("partial").run)


@pytest.mark.usefixtures("base")
def test_what_cannot_be_resumed(
    shared: Workspace, whole: Callable[[str], Finetuned], workspace: Workspace, shapes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with pytest.raises(Conflict, match="is done"):
        resume(shared, whole("partial").run)
    with monkeypatch.context() as patch:
        cut_at(patch, 4)
        with pytest.raises(Cut):
            tune(workspace, shapes, "team/cut", strategy="partial")
    cut = list_runs(workspace)[0]
    state = (cut.folder / STATE).read_bytes()
    (cut.folder / STATE).write_bytes(state[:-1000])
    with pytest.raises(Invalid, match="cannot be read"):
        resume(workspace, cut.id)
    (cut.folder / STATE).write_bytes(state)
    (shapes / "2" / "00.png").write_bytes((shapes / "2" / "01.png").read_bytes())
    with pytest.raises(InvalidData, match="not what it was"):
        resume(workspace, cut.id)


@pytest.mark.long
@pytest.mark.usefixtures("base")
def test_a_killed_process_is_resumed(workspace: Workspace, shapes: Path) -> None:
    options = {**QUICK, "strategy": "partial"}
    process = warm.popen("-c", STOPS, workspace.root, shapes, "team/killed", json.dumps(options))
    deadline = time.monotonic() + 120
    while not any(run.resumable or (run.folder / STATE).exists() for run in list_runs(workspace)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # Whatever is recorded of the process: who is alive holds the lock.
    alive = list_runs(workspace)[0]
    replace(alive, pid=2**22 + 1, host="elsewhere", machine="elsewhere").write()
    assert list_runs(workspace)[0].status == "running"
    with pytest.raises(Conflict, match=rf"is running; .* delete {alive.folder / LOCK}"):
        resume(workspace, "last")
    os.kill(alive.pid, signal.SIGKILL)
    process.wait()
    # Process ids come again; containers get other names.
    replace(alive, pid=os.getpid(), host="elsewhere").write()
    cut = list_runs(workspace)[0]
    assert cut.status == "interrupted"
    assert cut.resumable
    # On another machine, locks tell nothing, and it gave a sign of life just now.
    replace(alive, machine="elsewhere").write()
    with pytest.raises(Conflict, match="is running"):
        resume(workspace, "last")
    (cut.folder / LOCK).unlink()
    result = resume(workspace, "last", save_every=0)
    one = state(workspace, tune(workspace, shapes, "team/whole", strategy="partial"))
    other = state(workspace, result)
    assert all(torch.equal(one[name], other[name]) for name in one)
