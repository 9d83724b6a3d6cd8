"""A trial trains for some epochs, goes on later to the bit, and tells of each image held out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes.cuts import Cut, cut_at
from fakes.own_nets import SMALL
from fakes.sampled import sampled
from safetensors.torch import save_file
from torch import nn

import zoo_torch
from zoo.backbones.load import load
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidOption
from zoo.exchange.importing import Origin, import_file
from zoo.finetune import run as runs
from zoo.finetune import trial as trials
from zoo.finetune.loop import train as training
from zoo.finetune.loop.state import read_state
from zoo.finetune.ranks.ranks import Ranks
from zoo.finetune.results.journal import provenance
from zoo.finetune.run import finetune, resume
from zoo.finetune.setup import prepare as preparing
from zoo.finetune.setup.prepare import prepare
from zoo.finetune.strategies import probe as probes
from zoo.finetune.trial import Trial, drop, patience, take_over, try_out
from zoo.lookup.alive import LOCK, RunLock, machine
from zoo.lookup.runs import METRICS, STATE, Run, find_run, list_runs
from zoo.workspace import Workspace
from zoo_timm.backbone import TimmBackbone

OPTIONS: dict[str, Any] = {
    "strategy": "lp-ft", "freeze": "layer2", "epochs": 3, "batch_size": 8, "image_size": 32,
    "validation_share": 0.3, "lr": 0.01,
}  # fmt: skip
Try = Callable[..., Trial]


@pytest.fixture
def attempt(workspace: Workspace, base: str, drawn: Path) -> Try:
    def attempt(epochs: int | None = None, **options: Any) -> Trial:
        recipe = Recipe(data=str(drawn), **{**OPTIONS, **options})
        root = workspace.root
        return try_out(
            workspace, base, recipe, device="cpu", progress=silent, root=root, epochs=epochs
        )

    return attempt


@contextmanager
def counted() -> Iterator[list[Any]]:
    """The steps that are trained meanwhile."""
    steps: list[Any] = []
    real = training.learn

    def learn(*args: Any) -> Any:
        for step in real(*args):
            steps.append(step)
            yield step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "learn", learn)
        yield steps


@pytest.mark.long
def test_it_goes_on_to_the_bits_of_one_that_did_not_stop(attempt: Try) -> None:
    """By rungs, cut off between two steps of the last one; and in one go."""
    first = attempt(1)
    assert (first.epochs, first.of, sorted(first.by_image)) == (1, 3, [0, 1])
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 1)
        with pytest.raises(Cut):
            attempt(2)
    attempt(2)
    stepwise = attempt()
    kept = read_state(stepwise.folder / STATE)
    drop(stepwise)
    for path in stepwise.folder.iterdir():
        path.unlink()
    at_once = attempt()
    assert at_once.folder == stepwise.folder
    assert at_once.by_image == stepwise.by_image
    assert at_once.scores == stepwise.scores
    whole = read_state(at_once.folder / STATE)
    assert kept.position == whole.position
    assert kept.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(kept.tensors[name], whole.tensors[name]) for name in kept.tensors)


@pytest.mark.long
def test_a_network_is_traced_once(attempt: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in each trial; another network, or the same for other images, is another one."""
    sizes: list[Any] = []
    real = TimmBackbone.hierarchy

    def hierarchy(self: TimmBackbone, *given: Any, input_size: Any = None) -> Any:
        sizes.append(input_size)
        return real(self, *given, input_size=input_size)

    monkeypatch.setattr(TimmBackbone, "hierarchy", hierarchy)
    monkeypatch.setattr(preparing, "_traced", {})
    first = attempt(0)
    assert attempt(0, lr=0.02).folder != first.folder
    assert sizes.count((3, 32, 32)) == 1
    attempt(0, image_size=64)
    assert sizes.count((3, 64, 64)) == 1


def test_code_that_is_registered_again_is_traced_again(
    workspace: Workspace, shapes: Path, tmp_path: Path
) -> None:
    """As when a cell of a notebook is run once more: the same weights, in another order."""

    class Net(nn.Module):
        order = ("one", "two")

        def __init__(self, num_classes: int = 3) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3)
            self.one, self.two = (nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU()) for _ in range(2))
            self.fc = nn.Linear(8, num_classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.stem(images).relu()
            for name in self.order:
                maps = getattr(self, name)(maps)
            outputs: torch.Tensor = self.fc(maps.mean((2, 3)))
            return outputs

    save_file(Net().state_dict(), tmp_path / "net.safetensors")

    def units(order: tuple[str, ...]) -> list[str]:
        zoo_torch.register("my-net", type("Net", (Net,), {"order": order}), preprocessing=SMALL)
        ref = Reference.parse(f"team/{'-'.join(order)}")
        origin = Origin(plugin="torch", architecture="my-net")
        import_file(workspace, tmp_path / "net.safetensors", ref, origin)
        prepared = prepare(workspace, str(ref), Recipe(data=str(shapes)), "cpu", silent)
        return [unit.name for unit in prepared.hierarchy.units[1:]]

    assert units(("one", "two")) == ["one", "two"]
    assert units(("two", "one")) == ["two", "one"]


@pytest.mark.long
def test_each_image_held_out_is_told(attempt: Try) -> None:
    trial = attempt(1)
    for at, each in trial.by_image.items():
        assert len(each) == len(trial.images)
        assert {*each} <= {0.0, 1.0}
        assert sum(each) / len(each) == pytest.approx(trial.scores[at])
    assert 0 < trial.seconds[0] < trial.seconds[1]
    assert len({*trial.images}) == len(trial.images) > 5


@pytest.mark.parametrize(
    ("held_out", "chooses"),
    [pytest.param({"fold": "1/3"}, False, marks=pytest.mark.long), ({}, True)],
)
def test_a_fold_does_not_choose_the_probe_that_it_judges(
    attempt: Try, monkeypatch: pytest.MonkeyPatch, held_out: dict[str, Any], chooses: bool
) -> None:
    """Validation images of the user's own are there to choose."""
    asked: list[Any] = []
    real = probes.fit_probe

    def fit(*arguments: Any, **options: Any) -> Any:
        asked.append(options["validation"])
        return real(*arguments, **options)

    monkeypatch.setattr(probes, "fit_probe", fit)
    trial = attempt(0, **held_out)
    assert [each is not None for each in asked] == [chooses]
    assert sorted(trial.by_image) == [0]


@pytest.mark.long
def test_asked_again_it_answers_from_what_is_kept(
    attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = attempt(2)
    drop(done)
    assert not (done.folder / STATE).exists()
    assert not (done.folder / "weights").exists()

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(trials, "train", never)
    for epochs in (0, 1, 2):  # no more than was asked: a race compares what is equally far
        again = attempt(epochs)
        assert (again.folder, again.epochs) == (done.folder, epochs)
        asked = [*range(epochs + 1)]
        assert [sorted(each) for each in (again.scores, again.by_image, again.seconds)] == [
            asked
        ] * 3
        assert all(again.by_image[at] == done.by_image[at] for at in asked)
    with pytest.raises(AssertionError):  # another rate is another trial
        attempt(1, lr=0.02)


@pytest.mark.parametrize("epochs", sampled([1, 3], [3]))
def test_a_run_of_its_recipe_goes_on_from_it(
    attempt: Try,
    workspace: Workspace,
    base: str,
    drawn: Path,
    epochs: int,
) -> None:
    """To the bits of a run without a trial, with only the steps that are left."""
    recipe = Recipe(data=str(drawn), **OPTIONS)

    def tuned(name: str) -> tuple[int, Any]:
        with counted() as steps:
            done = finetune(workspace, base, recipe, Reference.parse(name), device="cpu")
        run = find_run(workspace, done.run)
        assert (run.folder / "samples.png").exists()
        kinds = [line["kind"] for line in run.lines()]
        assert (kinds.count("epoch"), kinds.count("images")) == (3, 0)
        return len(steps), done

    whole, alone = tuned("team/alone")
    trial = attempt(epochs)
    left, after = tuned("team/after")
    assert (whole, left) == (9, 9 - 3 * epochs)
    one, two = (load(workspace.store, each.manifest).state_dict() for each in (alone, after))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert alone.metrics == after.metrics
    assert not (trial.folder / STATE).exists()
    assert attempt(epochs).by_image == trial.by_image  # its figures stay


def test_without_images_held_out_there_is_none(attempt: Try) -> None:
    with pytest.raises(InvalidOption, match="there are none"):
        attempt(1, validation_share=0.0)


def test_one_process_at_a_time(attempt: Try) -> None:
    trial = attempt(0)
    lock = RunLock(trial.folder, machine())
    with pytest.raises(Conflict, match="is running"):
        attempt(1)
    lock.release()
    assert (trial.folder / LOCK).exists()
    assert attempt(1).epochs == 1


@pytest.mark.parametrize("ended", [pytest.param(True, marks=pytest.mark.long), False])
def test_it_waits_for_another_process_and_takes_what_that_found(
    workspace: Workspace, base: str, drawn: Path, attempt: Try, monkeypatch: pytest.MonkeyPatch,
    ended: bool,
) -> None:  # fmt: skip
    """Where that has done enough; else it goes on."""
    monkeypatch.setattr(trials, "LOOK", 0.0)
    before = attempt(0)
    locks = [RunLock(before.folder, machine())]

    def waits() -> bool:
        locks.pop().release()
        if ended:
            attempt(1)
        return True

    recipe, root = Recipe(data=str(drawn), **OPTIONS), workspace.root
    with counted() as steps:
        found = try_out(
            workspace, base, recipe, device="cpu", progress=silent, root=root, epochs=1,
            waits=waits,
        )  # fmt: skip
    assert (found.epochs, len(steps)) == (1, 3)


def test_what_was_ended_just_before_it_was_locked_is_not_done_again(
    attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that is done would be taken for damaged."""
    whole, real = attempt(), trials._answer
    asked: list[object] = []

    def answer(*arguments: Any) -> Any:
        asked.append(arguments)
        return None if len(asked) == 1 else real(*arguments)

    monkeypatch.setattr(trials, "_answer", answer)
    with counted() as steps:
        assert attempt().by_image == whole.by_image
    assert not steps


def test_patience_ends_and_is_said_once() -> None:
    said: list[str] = []
    progress: Any = SimpleNamespace(say=said.append)
    waits = patience(progress, inf)
    assert waits()
    assert waits()
    assert said == ["  another process is trying this: waiting for what it finds"]
    assert not patience(progress, 0.0)()


def test_what_another_process_goes_on_with_is_not_deleted(attempt: Try) -> None:
    trial = attempt(1)
    lock = RunLock(trial.folder, machine())
    drop(trial)
    assert (trial.folder / STATE).exists()
    lock.release()
    drop(trial)
    assert not (trial.folder / STATE).exists()


def test_it_goes_on_and_does_not_begin_anew(attempt: Try) -> None:
    with counted() as first:
        attempt(1)
    with counted() as rest:
        attempt(3)
    assert (len(first), len(rest)) == (3, 6)


@pytest.mark.long
def test_what_it_went_on_with_is_recorded_and_no_run_of_other_bits_takes_it_over(
    attempt: Try, workspace: Workspace, base: str, drawn: Path
) -> None:
    torch.set_num_threads(2)
    try:
        attempt(1)
    finally:
        torch.set_num_threads(1)
    trial = attempt(3)
    assert Run.read(trial.folder).provenance["threads"] == "2, then 1"
    with counted() as steps:
        finetune(
            workspace, base, Recipe(data=str(drawn), **OPTIONS), Reference.parse("a/b"),
            device="cpu",
        )  # fmt: skip
    assert len(steps) == 9
    assert (trial.folder / STATE).exists()


@pytest.mark.long
def test_other_versions_are_other_trials(attempt: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    first = attempt(0)
    monkeypatch.setattr(trials, "provenance", lambda each: {**provenance(each), "torch": "0.1"})
    assert attempt(0).folder != first.folder


@pytest.mark.long
def test_what_another_process_is_about_to_make_is_left_alone(attempt: Try) -> None:
    """It has the lock already, and no ``run.json`` yet."""
    trial = attempt(0)
    drop(trial)
    for path in trial.folder.iterdir():
        path.unlink()
    lock = RunLock(trial.folder, machine())
    with pytest.raises(Conflict, match="is running"):
        attempt(0)
    assert (trial.folder / LOCK).exists()
    lock.release()
    (trial.folder / STATE).write_bytes(b"half")
    assert attempt(0).epochs == 0


@pytest.mark.parametrize(
    "line", [pytest.param({}, marks=pytest.mark.long),
             pytest.param({"kind": "images", "time": 1.0, "name": "epoch 1", "scores": ["right"]},
                          marks=pytest.mark.long),
             {"kind": "epoch", "time": 1.0, "name": "epoch 1", "accuracy": "good"}],
)  # fmt: skip
def test_of_a_damaged_journal_nothing_is_taken(attempt: Try, line: dict[str, object]) -> None:
    trial = attempt(1)
    with (trial.folder / METRICS).open("a") as file:
        file.write(json.dumps(line) + "\n")
    again = attempt(1)
    assert (again.scores, again.by_image) == (trial.scores, trial.by_image)


@pytest.mark.long
def test_a_trial_that_is_done_and_lost_its_journal_begins_anew(attempt: Try) -> None:
    trial = attempt()
    (trial.folder / METRICS).write_text("")
    again = attempt()
    assert (again.scores, again.by_image) == (trial.scores, trial.by_image)


def test_what_is_not_followed_is_said_beside_what_folds_choose(
    workspace: Workspace, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(data="x")
    like: Any = SimpleNamespace(ranks=Ranks(), recipe=recipe)
    monkeypatch.setattr(runs, "as_advised", lambda *_: (recipe, "the advice is not followed"))
    monkeypatch.setattr(runs, "undecided", lambda _: True)
    monkeypatch.setattr(runs, "choose", lambda *_: (recipe, "on 3 folds a probe"))
    _, said = runs._decided(workspace, like, recipe)
    assert said == "the advice is not followed; on 3 folds a probe"


class Second(Ranks):
    """Not the main rank: it does nothing by itself."""

    def on_main(self, work: Callable[[], Any]) -> Any:
        return said_by_main


said_by_main: Any = ("what the main rank", "said")


def test_only_the_main_rank_takes_a_trial_over(attempt: Try, workspace: Workspace) -> None:
    trial = attempt(1)
    prepared: Any = SimpleNamespace(ranks=Second(rank=1, world_size=2))
    run: Any = None
    assert take_over(prepared, workspace.root, run) == said_by_main
    assert (trial.folder / STATE).exists()


def test_only_the_main_rank_reads_advice(
    workspace: Workspace, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may find other advice, and would train something else."""
    like: Any = SimpleNamespace(
        ranks=Second(rank=1, world_size=2), parent="p", device="cpu", progress=silent, base=base
    )
    monkeypatch.setattr(runs, "prepare", lambda *asked: asked[2])
    assert runs._decided(workspace, like, Recipe(data="x")) == said_by_main


@pytest.mark.parametrize(
    "where",
    sampled(
        ["zoo.finetune.trial.write_whole", "zoo.finetune.run.saved_in"],
        ["zoo.finetune.trial.write_whole"],
    ),
)
def test_an_interrupt_while_it_is_taken_over_loses_nothing(
    attempt: Try, workspace: Workspace, base: str, drawn: Path, where: str
) -> None:
    """Before its state was moved the trial has it, and after it the run."""
    trial, recipe = attempt(3), Recipe(data=str(drawn), **OPTIONS)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            finetune(workspace, base, recipe, Reference.parse("a/b"), device="cpu")
    (run,) = list_runs(workspace)
    assert run.resumable is not (trial.folder / STATE).exists()
    (note,) = caught.value.__notes__
    assert f"zoo finetune --resume {run.id}" in note
    with counted() as steps:
        if run.resumable:
            resume(workspace, run.id)
        else:
            finetune(workspace, base, recipe, Reference.parse("a/b"), device="cpu")
    assert not steps
