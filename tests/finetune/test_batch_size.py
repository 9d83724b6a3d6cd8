"""The batch size is found by what fits, the rate goes with it, and both are repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes.sampled import every

from zoo.domain.digest import Digest
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption
from zoo.facade import Zoo
from zoo.finetune.folds import finetune_folds
from zoo.finetune.plan import plan_finetune
from zoo.finetune.run import find_lr, finetune, rerun
from zoo.finetune.seeds import finetune_seeds
from zoo.finetune.setup import batch_size
from zoo.finetune.setup.batch_size import _Step
from zoo.finetune.setup.prepare import PreparedRun, prepare
from zoo.finetune.setup.teacher import Teacher
from zoo.lookup.runs import Run, find_run
from zoo.workspace import Workspace

HOW: dict[str, Any] = {
    "strategy": "partial", "freeze": "layer3", "epochs": 1, "image_size": 32, "batch_size": "auto",
}  # fmt: skip


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device that has room for 8 images, and what was tried on it."""
    tried: list[int] = []
    real = _Step.run

    def run(step: _Step, images: int) -> None:
        tried.append(images)
        real(step, images)
        if images > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def peak(_: torch.device, work: Callable[[], None]) -> int:
        work()
        return 1

    monkeypatch.setattr(_Step, "run", run)
    monkeypatch.setattr(batch_size, "BY_TRYING", ("cpu",))
    monkeypatch.setattr(batch_size, "free_on", lambda _: 10)
    monkeypatch.setattr(batch_size, "peak", peak)
    return tried


def tuned(workspace: Workspace, shapes: Path, **how: Any) -> Run:
    recipe = Recipe(data=str(shapes), **{**HOW, **how})
    done = finetune(workspace, "team/base", recipe, Reference.parse("team/a"), device="cpu")
    return find_run(workspace, done.run)


def weights(workspace: Workspace, run: Run) -> Any:
    """The digests of a run's result."""
    return workspace.store.manifest(Digest.parse(run.result["manifest"])).weights


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("how", "rate"),
    every(
        2,
        [({}, 0.0015), ({"optimizer": "sgd"}, 0.00075), ({"lr": 0.1}, 0.05)],
        beside=pytest.mark.long,
    ),
)
def test_it_doubles_until_nothing_is_left_and_says_so(
    workspace: Workspace, shapes: Path, room: list[int], how: dict[str, Any], rate: float
) -> None:
    """The square root of an 8/32 for AdamW."""
    run = tuned(workspace, shapes, **how)
    assert room == [4, 8, 16]
    assert (run.recipe["batch_size"], run.recipe["lr"]) == (8, rate)
    assert run.asked["batch_size"] == "auto"
    (said,) = [line["text"] for line in run.lines() if "batch size" in line.get("text", "")]
    assert said.startswith(f"batch size 8, what fits on cpu; learning rate {rate:g}, ")
    steps = [line for line in run.lines() if line["kind"] == "step"]
    assert len(steps) == 4
    assert max(line["lr"] for line in steps) == pytest.approx(rate, rel=0.01)


@pytest.mark.usefixtures("base")
def test_what_the_optimizer_keeps_counts_in_each_trial(
    workspace: Workspace, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 of what is free may be taken; from the first step on an optimizer has 5 of that."""
    how = {**HOW, "batch_size": 4}
    prepared = prepare(workspace, "team/base", Recipe(data=str(shapes), **how), "cpu", silent)
    used, most = [100], [0]

    def run(_: _Step, images: int) -> None:
        used[0] = 105
        most[0] = used[0] + images

    monkeypatch.setattr(_Step, "run", run)
    monkeypatch.setattr(batch_size, "BY_TRYING", ("cpu",))
    monkeypatch.setattr(batch_size, "free_on", lambda _: 10 / batch_size.BESIDE)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda _: used[0])
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda _: most[0])
    assert batch_size.largest(prepared, 64) == 4


@pytest.mark.long
@pytest.mark.usefixtures("base")
def test_a_teacher_takes_its_share(
    workspace: Workspace, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned(workspace, shapes, batch_size=8, image_size=96)
    asked: list[int] = []
    real = Teacher.of_images

    def of_images(teacher: Teacher, images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return real(teacher, images)

    monkeypatch.setattr(Teacher, "of_images", of_images)
    each = {}
    for teacher in ("", "team/a"):
        recipe = Recipe(data=str(shapes), **{**HOW, "batch_size": 4, "teacher": teacher})
        each[teacher] = _Step(prepare(workspace, "team/base", recipe, "cpu", silent)).each
    assert asked[-2:] == [2, 4]
    assert each["team/a"] > 2 * each[""], "it sees nine times the pixels"


@pytest.mark.usefixtures("base")
def test_an_epoch_of_many_images_keeps_its_steps(workspace: Workspace, shapes: Path) -> None:
    recipe = Recipe(data=str(shapes), **{**HOW, "batch_size": 4})
    prepared = prepare(workspace, "team/base", recipe, "cpu", silent)
    many = replace(prepared.dataset, train=prepared.dataset.train * 64)
    found, _ = batch_size.fitting_batch(replace(prepared, dataset=many))
    assert (found.batch_size, len(many.train) // 16) == (64, 108)


@pytest.mark.long
@pytest.mark.usefixtures("base")
def test_it_is_found_once_for_what_was_advised(
    workspace: Workspace, shapes: Path, room: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def advised(_: Workspace, __: PreparedRun, asked: Recipe) -> tuple[Recipe, str]:
        return replace(asked, strategy="partial", freeze="layer3"), "advised"

    for module in ("run", "plan"):
        monkeypatch.setattr(f"zoo.finetune.{module}.as_advised", advised)
    how = {**HOW, "strategy": "auto", "freeze": "none"}
    run = tuned(workspace, shapes, **how)
    assert room == [4, 8, 16]
    assert run.recipe["batch_size"] == 8
    room.clear()
    plan_finetune(workspace, "team/base", Recipe(data=str(shapes), **how), device="cpu")
    assert room == [4, 8, 16]


@pytest.mark.usefixtures("base")
def test_what_was_found_is_repeated(workspace: Workspace, shapes: Path, room: list[int]) -> None:
    run = tuned(workspace, shapes)
    room.clear()
    again = rerun(workspace, "team/a", Reference.parse("team/b"), device="cpu")
    assert room == []
    second = find_run(workspace, again.run)
    assert weights(workspace, second) == weights(workspace, run)
    assert (second.recipe["batch_size"], second.recipe["lr"]) == (8, run.recipe["lr"])


@pytest.mark.usefixtures("base")
def test_a_trial_leaves_no_trace(workspace: Workspace, shapes: Path) -> None:
    """The run is that of who gives both numbers."""
    found = tuned(workspace, shapes, batch_norm="live")
    assert found.recipe["batch_size"] == 16
    assert found.recipe["lr"] == pytest.approx(3e-3 * 0.5**0.5, rel=1e-3)
    given = tuned(workspace, shapes, batch_norm="live", batch_size=16, lr=found.recipe["lr"])
    assert weights(workspace, given) == weights(workspace, found)


@pytest.mark.long
@pytest.mark.usefixtures("base")
def test_seeds_and_folds_are_of_one_batch_size(workspace: Workspace, shapes: Path) -> None:
    recipe = Recipe(data=str(shapes), **HOW)
    save = Reference.parse("team/a")

    def run(each: Recipe, base: str, name: str) -> Any:
        return finetune(workspace, base, each, Reference.parse(name), device="cpu")

    seeds = finetune_seeds(workspace, "team/base", recipe, save, seeds=2, run=run)
    folds = finetune_folds(workspace, "team/base", recipe, save, folds=2, run=run)
    for runs, size in (((*seeds.runs,), 16), ((*folds.folds, folds.result), 8)):
        recipes = [find_run(workspace, each.run).recipe for each in runs]
        assert {each["batch_size"] for each in recipes} == {size}
        assert len({each["lr"] for each in recipes}) == 1


@pytest.mark.usefixtures("base")
def test_a_cpu_reckons_with_what_is_kept(
    workspace: Workspace, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More for each image where more is trained; of what is free, a quarter."""
    each = {}
    for freeze in ("none", "layer3"):
        how = {**HOW, "freeze": freeze, "batch_size": 4, "batch_norm": "live"}
        recipe = Recipe(data=str(shapes), **how)
        each[freeze] = _Step(prepare(workspace, "team/base", recipe, "cpu", silent)).each
    assert each["none"] > 1.5 * each["layer3"] > 32 * 32 * 3 * 4
    free = SimpleNamespace(available=4 * 10 * each["layer3"])
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    recipe = Recipe(data=str(shapes), **{**HOW, "batch_norm": "live"})
    plan = plan_finetune(workspace, "team/base", recipe, device="cpu")
    assert [text for text in plan.remarks if text.startswith("batch size 8, what fits on cpu")]


@pytest.mark.usefixtures("base")
def test_phases_keep_rates_of_their_own(workspace: Workspace, shapes: Path) -> None:
    how = {**HOW, "strategy": "gradual", "freeze": "none", "phases": ("all:1@1e-2",)}
    del how["epochs"]
    recipe = Recipe(data=str(shapes), **how)
    prepared = prepare(workspace, "team/base", recipe, "cpu", silent)
    assert (prepared.recipe.batch_size, prepared.recipe.lr) == (16, recipe.lr)


@pytest.mark.usefixtures("base")
def test_it_is_an_option_of_python(workspace: Workspace, shapes: Path) -> None:
    how: Any = HOW
    done = Zoo(workspace).finetune("team/base", shapes, "team/a", device="cpu", **how)
    assert find_run(workspace, done.run).recipe["batch_size"] == 16


@pytest.mark.usefixtures("base")
def test_a_rate_is_found_for_a_number(workspace: Workspace, shapes: Path, tmp_path: Path) -> None:
    recipe = Recipe(data=str(shapes), **HOW)
    with pytest.raises(InvalidOption, match="for one batch size"):
        find_lr(workspace, "team/base", recipe, tmp_path, device="cpu")


@pytest.mark.parametrize("value", [1, "many", "32", None, True])
def test_it_is_a_number_or_auto(value: Any) -> None:
    with pytest.raises(InvalidOption, match="batch size"):
        Recipe(data="x", batch_size=value)
    with pytest.raises(ValueError, match="not decided"):
        _ = Recipe(data="x", batch_size="auto").images_per_batch
