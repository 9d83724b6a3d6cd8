"""A device that is full: the error says so and what helps, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.errors import OutOfMemory
from zoo.finetune.loop import train as training
from zoo.finetune.run import Finetuned, resume
from zoo.finetune.setup import batch_size
from zoo.finetune.setup.prepare import prepare
from zoo.lookup.runs import find_run, list_runs
from zoo.workspace import Workspace

pytestmark = pytest.mark.gpu

Tune = Callable[..., Finetuned]


class Brim:
    """Fills a device, and gives back what it took."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._taken: list[Tensor] = []

    def fill(self) -> None:
        """Leave nothing: on a GPU whatever is asked for next fails, elsewhere this does."""
        if self.device != "cuda":
            torch.empty(1 << 50, dtype=torch.uint8, device=self.device)
            return
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties("cuda").total_memory
        torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
        for size in (1 << 24, 1 << 20, 1 << 16, 1 << 12, 512):  # what torch has kept has gaps
            with suppress(torch.OutOfMemoryError):
                while True:
                    self._taken.append(torch.empty(size, dtype=torch.uint8, device="cuda"))

    def free(self) -> None:
        """Have it as before."""
        self._taken.clear()
        if self.device == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def brim(device: str) -> Iterator[Brim]:
    brim = Brim(device)
    yield brim
    brim.free()


def test_a_training_that_runs_out_of_memory_can_be_resumed(
    workspace: Workspace, transformer: str, tune: Tune, device: str, brim: Brim,
    tensors: Callable[[str], dict[str, Tensor]],
    same: Callable[[dict[str, Tensor], dict[str, Tensor]], None],
) -> None:  # fmt: skip
    tune(transformer, "team/whole")
    real = training.learn

    def learn(*args: Any) -> Any:
        for number, step in enumerate(real(*args), 1):
            yield step
            if number == 4:
                brim.fill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "learn", learn)
        with pytest.raises(OutOfMemory) as caught:
            tune(transformer, "team/cut", save_every=2)
    run, _ = list_runs(workspace)
    said = str(caught.value), caught.value.advice
    assert f"out of memory on {device}" in said[0]
    assert "allocate" in said[0]
    assert (
        f"kept up to step 4, in epoch 1 of 2; to resume: zoo finetune --resume {run.id}" in said[1]
    )
    # What is tried has what the training had, beside what was filled: not a copy of the network,
    # perhaps.
    options = {2: "--batch-size 2 --accumulate 2", None: "--batch-size 1 --accumulate 4"}
    fits = caught.value.fits
    assert options.get(fits, "not even 2 images fit (measured)") in said[1]
    assert run.status == "failed"
    del caught  # whose frames hold what was on the device
    brim.free()
    resume(workspace, run.id, device=device)
    same(tensors("team/whole"), tensors("team/cut"))


def test_a_batch_size_is_found_that_fits(
    workspace: Workspace, transformer: str, tune: Callable[..., Finetuned], device: str,
    shapes: Path,
) -> None:  # fmt: skip
    """Not the largest one that there is, and its run has room."""
    recipe = Recipe(data=str(shapes), strategy="full", image_size=32, batch_size=4)
    prepared = prepare(workspace, transformer, recipe, device, silent)
    before = {name: value.clone() for name, value in prepared.model.state_dict().items()}
    found = batch_size.largest(prepared, 1 << 26)  # hundreds of GB of images
    assert 16 <= found < 1 << 26
    assert found & (found - 1) == 0
    for name, value in prepared.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    done = tune(transformer, "team/a", batch_size="auto")
    assert find_run(workspace, done.run).recipe["batch_size"] == 16
