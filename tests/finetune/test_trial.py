"""A trial trains for some epochs, goes on later to the bit, and tells of each image held out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.cuts import Cut, cut_at

from zoo.backbones.load import load
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidOption
from zoo.finetune import trial as trials
from zoo.finetune.loop import train as training
from zoo.finetune.loop.state import read_state
from zoo.finetune.run import finetune
from zoo.finetune.trial import Trial, drop, try_out
from zoo.lookup.alive import LOCK, RunLock, machine
from zoo.lookup.runs import STATE, find_run
from zoo.workspace import Workspace

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


def test_each_image_held_out_is_told(attempt: Try) -> None:
    trial = attempt(1)
    assert trial.measure == "accuracy"
    for at, each in trial.by_image.items():
        assert len(each) == len(trial.images)
        assert {*each} <= {0.0, 1.0}
        assert sum(each) / len(each) == pytest.approx(trial.scores[at])
    assert 0 < trial.seconds[0] < trial.seconds[1]
    assert len({*trial.images}) == len(trial.images) > 5


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
    again = [attempt(0), attempt(1), attempt(2)]
    assert {trial.folder for trial in again} == {done.folder}
    assert {json.dumps(trial.by_image) for trial in again} == {json.dumps(done.by_image)}
    with pytest.raises(AssertionError):  # another rate is another trial
        attempt(1, lr=0.02)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_of_its_recipe_goes_on_from_it(
    attempt: Try,
    workspace: Workspace,
    base: str,
    drawn: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs: int,
) -> None:
    """To the bits of a run without a trial, with only the steps that are left."""
    recipe = Recipe(data=str(drawn), **OPTIONS)

    def tuned(name: str) -> tuple[int, Any]:
        steps = 0
        with pytest.MonkeyPatch.context() as patch:
            real = training.learn

            def learn(*args: Any) -> Any:
                nonlocal steps
                for step in real(*args):
                    steps += 1
                    yield step

            patch.setattr(training, "learn", learn)
            done = finetune(workspace, base, recipe, Reference.parse(name), device="cpu")
        run = find_run(workspace, done.run)
        assert (run.folder / "samples.png").exists()
        kinds = [line["kind"] for line in run.lines()]
        assert (kinds.count("epoch"), kinds.count("images")) == (3, 0)
        return steps, done

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
