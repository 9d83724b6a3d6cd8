"""zoo finetune and evaluate --workers: how many processes read images."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from fakes.prepared import NET, Run
from fakes.sampled import every

import zoo
from zoo import config
from zoo.errors import Conflict, InvalidOption
from zoo.finetune.dataset import batches
from zoo.finetune.dataset.batches import Batches

TUNE = ("finetune", NET, "--image-size", 32, "--strategy", "partial", "--epochs", 1,
        "--augment", "light", "--quiet", "--save", "team/a")  # fmt: skip


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many there were for each pass, of a machine of two cores where each pass takes long."""
    found: list[int] = []
    real = Batches._workers

    def workers(self: Batches, plan: Any, epoch: int) -> int:
        found.append(real(self, plan, epoch))
        return 0

    monkeypatch.setattr(batches, "PAYS", -1.0)
    monkeypatch.setattr(batches, "cores", lambda: 2)
    monkeypatch.setattr(Batches, "_workers", workers)
    return found


@pytest.mark.parametrize(
    ("said", "most"),
    every(3, [(("--workers", 1), 1), ((), 2), (("--workers", 0), 0)], beside=pytest.mark.long),
)
def test_so_many_read_at_most(
    small: Run, few: Path, counted: list[int], said: tuple[object, ...], most: int
) -> None:
    small(*TUNE, "--data", few, "--batch-size", 8, *said).done()
    assert max(counted) == most
    counted.clear()
    small("evaluate", "team/a", few, "--batch-size", 2, *said).done()
    assert max(counted) == most
    assert "ZOO_WORKERS" not in os.environ


def test_it_goes_before_the_environment(
    small: Run, few: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in Python."""
    monkeypatch.setenv("ZOO_WORKERS", "0")
    how: Any = {"image_size": 32, "strategy": "partial", "epochs": 1, "batch_size": 8}
    zoo.open().finetune(NET, few, "team/a", workers=1, **how)
    assert max(counted) == 1
    assert os.environ["ZOO_WORKERS"] == "0"


def test_each_thread_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_WORKERS", "3")
    both = Barrier(2)

    def read(count: int | None) -> int:
        with config.reading_by(count):
            both.wait(10)  # until the other one has said its own, too
            return config.most_workers(9)

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(read, (1, None))
    assert (one, other) == (1, 3)
    assert config.most_workers(9) == 3


def test_processes_that_are_launched_have_it(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def launch(self: zoo.Zoo, words: tuple[object, ...], *how: object) -> None:
        asked.append(words)
        raise Conflict("that is all")

    monkeypatch.setattr(zoo.Zoo, "_launch", launch)
    with pytest.raises(InvalidOption, match="workers must be at least 0"):
        zoo.open().finetune(NET, few, "team/a", workers=-1)
    with pytest.raises(Conflict):
        zoo.open().finetune(NET, few, "team/a", launch=2, workers=0)
    tune = (word for word in TUNE if word != "--quiet")
    small(*tune, "--data", few, "--seeds", 2, "--launch", 2, "--workers", 1).refused("that is all")
    assert [words[-2:] for words in asked] == [("--workers", 0), ("--workers", 1)]


def test_a_run_that_is_resumed_takes_it(small: Run) -> None:
    small("finetune", "--resume", "last", "--workers", 1).refused("unknown run 'last'")
