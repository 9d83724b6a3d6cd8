"""Worker processes give what is read without them, go on from epoch to epoch, and end."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.sampled import sampled

from zoo.backbones.reading_processes import context_for
from zoo.domain.manifest import Preprocessing
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidImage
from zoo.finetune.dataset import batches
from zoo.finetune.dataset.augment import Transform, training_transform
from zoo.finetune.dataset.batches import Batches, ImageBatch
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.dataset.workers import Workers
from zoo.finetune.loop import train as training
from zoo.finetune.run import finetune
from zoo.workspace import Workspace

PREPROCESSING = Preprocessing(
    input_size=(3, 24, 24), interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3,
    crop_pct=1.0, crop_mode="center",
)  # fmt: skip
Pids = frozenset[int | None]


def working() -> Pids:
    return frozenset(child.pid for child in multiprocessing.active_children())


@pytest.fixture(autouse=True)
def none_are_left() -> Iterator[None]:
    yield
    assert not working()


@pytest.fixture
def dataset(shapes: Path) -> Dataset:
    return open_dataset(str(shapes))


def transform(level: str) -> Transform:
    return training_transform(PREPROCESSING, "timm", level)


def equal(one: list[ImageBatch], other: list[ImageBatch]) -> bool:
    pairs = list(zip(one, other, strict=True))
    same = all(a.indices == b.indices and torch.equal(a.targets, b.targets) for a, b in pairs)
    return same and all(torch.equal(a.images, b.images) for a, b in pairs)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("level", sampled(["none", "light"], ["light"]))
@pytest.mark.parametrize("kept", sampled([0, 5], [5]))
def test_epochs_are_those_without_workers(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, level: str, kept: int, balanced: bool
) -> None:
    """Also where some images are kept, and those of a process that has some of each batch."""
    how = transform(level)
    nbytes = torch.Size(how.size).numel() * 4
    monkeypatch.setattr(batches, "MEMORY", kept * nbytes)
    by, alone = (
        Batches(dataset, dataset.train, how, 8, workers=count, balanced=balanced)
        for count in (2, 0)
    )
    seen = set[Pids]()
    for epoch in range(3):
        given = by.epoch(epoch, rank=1, world=2)
        found = [next(given)]
        seen.add(working())
        found += given
        assert equal(found, list(alone.epoch(epoch, rank=1, world=2)))
        assert len(by._cached) == (kept if level == "none" else 0)
    (processes,) = seen  # the same in all epochs
    assert len(processes) == 2


def test_they_are_not_asked_for_what_is_kept(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = transform("none")
    monkeypatch.setattr(batches, "MEMORY", 7 * torch.Size(how.size).numel() * 4)
    by = Batches(dataset, dataset.train, how, 8, workers=1)
    asked: list[int] = []
    real = Workers.read

    def read(workers: Any, plan: list[list[int]], epoch: int) -> Any:
        asked.append(sum(map(len, plan)))
        return real(workers, plan, epoch)

    monkeypatch.setattr(Workers, "read", read)
    images = [sum(len(batch.images) for batch in by.epoch(epoch)) for epoch in range(2)]
    assert asked == [images[0], images[1] - 7]


def test_a_pass_that_is_broken_off_ends_them(dataset: Dataset) -> None:
    by = Batches(dataset, dataset.train, transform("light"), 4, workers=2)
    list(by.epoch(0))
    before, given = working(), by.epoch(1)
    next(given)
    assert working() == before
    given.close()  # type: ignore[attr-defined]
    assert not working()
    assert len(list(by.epoch(2))) == len(by)


def test_a_view_keeps_none(dataset: Dataset) -> None:
    by = Batches(dataset, dataset.train, transform("light"), 4, workers=2)
    assert len(list(by.view(0))) == -(-len(dataset.train) // 4)
    assert not working()


def test_an_image_that_went_bad_ends_them(dataset: Dataset, shapes: Path) -> None:
    by = Batches(dataset, dataset.train, transform("light"), 4, workers=2)
    list(by.epoch(0))
    (shapes / dataset.train[3].key).write_bytes(b"no image")
    with pytest.raises(InvalidImage, match=dataset.train[3].key):
        list(by.epoch(1))
    assert not working()


@pytest.mark.long
@pytest.mark.usefixtures("base")
def test_a_run_has_those_of_one_phase(
    workspace: Workspace, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same through its epochs, validation in between; others for the next phase."""
    monkeypatch.setattr(batches, "PAYS", -1.0)
    monkeypatch.setattr(batches, "cores", lambda: 2)
    seen: list[Pids] = []
    real = training.learn

    def learn(*args: Any) -> Iterator[Any]:
        for number, step in enumerate(real(*args)):
            if number == 0:
                seen.append(working())
            yield step

    monkeypatch.setattr(training, "learn", learn)
    how: dict[str, Any] = {"strategy": "gradual", "phases": ("all:2", "layer3:2")}
    recipe = Recipe(data=str(shapes), augment="light", image_size=32, **how)
    finetune(workspace, "team/base", recipe, Reference.parse("team/a"), device="cpu")
    assert [len(each) for each in seen] == [1, 1, 1, 1]  # one batch an epoch
    assert seen[0] == seen[1] != seen[2] == seen[3]


UNGUARDED = """
import sys
import torch
from zoo.backbones import reading_processes
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.open import open_dataset
from zoo.domain.manifest import Preprocessing

reading_processes.STARTED = {"cpu": "forkserver"}
how = Preprocessing(input_size=(3, 24, 24), interpolation="bicubic", mean=(0.5,) * 3,
                    std=(0.25,) * 3, crop_pct=1.0, crop_mode="center")
dataset = open_dataset(sys.argv[1])
both = [Batches(dataset, dataset.train, training_transform(how, "timm", "light"), 8, workers=each)
        for each in (1, 0)]
for epoch in range(2):
    one, other = (torch.cat([batch.images for batch in each.epoch(epoch)]) for each in both)
    assert torch.equal(one, other)
assert __file__ == sys.argv[0]
print("read")
"""


@pytest.mark.long
def test_beside_a_card_they_are_no_copies_of_who_trains(shapes: Path, tmp_path: Path) -> None:
    """They read the same, and do not run the script again, which has no guard."""
    script = tmp_path / "train.py"
    script.write_text(UNGUARDED)
    command = [sys.executable, str(script), str(shapes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout, done.stderr) == ("read\n", "")


def test_what_they_get_is_no_more_than_they_read(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where they are no copies it is sent to each: of all images only the keys."""
    reader = Batches(dataset, dataset.train, transform("heavy"), 8)._reader
    sent = pickle.dumps(reader)
    assert dataset.test[0].key.encode() not in sent
    assert torch.equal(pickle.loads(sent).image(3, 1), reader.image(3, 1))
    assert context_for("cpu") is None
    cards: Any = context_for("cuda", __name__)
    assert cards.get_start_method() == "forkserver"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert context_for("cpu") is not None  # advice and features on a card
