"""A training that memory has no room for says what helps, and can be resumed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.backbones.devices import out_of_memory
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import OutOfMemory
from zoo.finetune.loop import train as training
from zoo.finetune.run import finetune, resume
from zoo.finetune.setup import batch_size
from zoo.finetune.setup.batch_size import _Step
from zoo.finetune.setup.prepare import prepare
from zoo.lookup.runs import list_runs
from zoo.workspace import Workspace


@pytest.mark.parametrize(("after", "kept"), [(3, True), (1, False)])
def test_what_helps_is_said_and_what_is_kept_goes_on(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch,
    after: int, kept: bool,
) -> None:  # fmt: skip
    """A real allocation fails."""
    real = training.learn

    def learn(*args: Any) -> Iterator[Any]:
        for number, step in enumerate(real(*args), 1):
            yield step
            if number == after:
                torch.empty(1 << 50, dtype=torch.uint8)

    recipe = Recipe(data=str(shapes), strategy="partial", freeze="layer3", epochs=1, batch_size=6,
                    accumulate=2, image_size=32)  # fmt: skip
    monkeypatch.setattr(training, "learn", learn)
    save = Reference.parse("team/a")
    with pytest.raises(OutOfMemory) as caught:
        finetune(workspace, base, recipe, save, device="cpu", save_every=2)
    monkeypatch.setattr(training, "learn", real)
    (run,) = list_runs(workspace)
    error = caught.value
    assert (error.device, error.batch_size) == ("cpu", 6)
    assert error.peak > 1e8
    assert "tried to allocate 1125899906842624 bytes" in error.message
    # What a step of so many takes is measured.
    more = "--batch-size 3 --accumulate 4 (steps of as many images), --grad-checkpointing"
    assert f"\n4 images fit (measured); a new run takes less with {more}" in error.advice
    go_on = f"kept up to step 2, in epoch 1 of 1; to resume: zoo finetune --resume {run.id}"
    assert (go_on in error.advice) is kept
    assert ("nothing is kept yet; to begin it anew" in error.advice) is not kept
    assert run.status == "failed"
    done = resume(workspace, run.id, device="cpu")
    assert workspace.names.resolve("team/a")[1] == done.manifest


class Held:
    """What a training has on a device until its frames are gone."""


@pytest.mark.parametrize(
    ("room", "says"),
    [
        (8, "\n8 images fit (measured); a new run takes less with --batch-size 8 --accumulate 3 ("),
        (
            2,
            "\n2 images fit (measured); a new run takes less with --batch-size 2 --accumulate 12 (",
        ),
        (
            0,
            "\nnot even 2 images fit (measured); a new run takes less with --grad-checkpointing,",
        ),
    ],
)
def test_what_fits_is_tried_when_all_is_freed(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch,
    room: int, says: str,
) -> None:  # fmt: skip
    """On a device that has room for so many, if nothing of the training is left on it."""
    held: list[weakref.ref[Held]] = []
    tried: list[int] = []

    def learn(*_: object) -> None:
        kept = Held()
        held.append(weakref.ref(kept))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def run(_: _Step, images: int) -> None:
        tried.append(images)
        if images > room or held[0]():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(training, "learn", learn)
    monkeypatch.setattr(_Step, "run", run)
    monkeypatch.setattr(batch_size, "BY_TRYING", ("cpu",))
    monkeypatch.setattr(batch_size, "free_on", lambda _: 10)
    monkeypatch.setattr(batch_size, "peak", lambda _, work: work() or 1)
    recipe = Recipe(data=str(shapes), strategy="partial", freeze="layer3", epochs=1,
                    batch_size=24, image_size=32)  # fmt: skip
    with pytest.raises(OutOfMemory) as caught:
        finetune(workspace, base, recipe, Reference.parse("team/a"), device="cpu")
    assert caught.value.fits == room
    assert says in caught.value.advice
    assert tried == [size for size in (2, 4, 8, 16) if size <= max(2 * room, 2)]


def test_of_several_processes_nothing_is_tried(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    """One alone would wait for the others."""
    recipe = Recipe(data=str(shapes), strategy="partial", freeze="layer3", image_size=32)
    prepared = prepare(workspace, base, recipe, "cpu", silent)
    assert batch_size.that_fits(prepared, 8) == 8
    several = replace(prepared, ranks=replace(prepared.ranks, world_size=2))
    assert batch_size.that_fits(several, 8) is None


@pytest.mark.parametrize(
    ("batch_size", "each", "several"), [(30, 6, 10), (7, 1, 14), (64, 16, 8), (3, 1, 6)]
)
def test_smaller_batches_make_steps_of_as_many_images(
    batch_size: int, each: int, several: int
) -> None:
    error = OutOfMemory("cuda:0", "none", 0, batch_size, 2, "")
    assert f"--batch-size {each} --accumulate {several} (steps of as many" in error.advice


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "cuda:1"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.97 GB)"), "cuda:1"),
        (RuntimeError("Invalid buffer size: 128.00 GB"), "cuda:1"),
        (MemoryError(), "cpu"),
        (None, "cpu"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_errors_of_memory_are_told_from_others(error: Exception | None, whose: str | None) -> None:
    if error is None:  # as torch says it of the host
        with pytest.raises(RuntimeError) as caught:
            torch.empty(1 << 50, dtype=torch.uint8)
        error = caught.value
    found = out_of_memory(error, torch.device("cuda:1"))
    assert found == (torch.device(whose) if whose else None)


@pytest.mark.parametrize(("error", "told"), [(MemoryError(), True), (RuntimeError("odd"), False)])
def test_only_errors_of_memory_are_told_as_such(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch,
    error: Exception, told: bool,
) -> None:  # fmt: skip
    def learn(*_: object) -> None:
        raise error

    monkeypatch.setattr(training, "learn", learn)
    recipe = Recipe(data=str(shapes), strategy="partial", freeze="layer3", image_size=32)
    with pytest.raises((OutOfMemory, RuntimeError)) as caught:
        finetune(workspace, base, recipe, Reference.parse("team/a"), device="cpu")
    if told:
        assert "out of memory on cpu" in str(caught.value)
    else:
        assert caught.value is error
