"""What files say of weights is anybody's: what is malformed says nothing, and takes no time."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.domain.manifest import SETTINGS, Preprocessing
from zoo.errors import InvalidOption
from zoo.exchange.metadata import (
    OPTIONS,
    Metadata,
    metadata_of_args,
    metadata_of_checkpoint,
    metadata_of_options,
)
from zoo.exchange.resolve_metadata import _preprocessing
from zoo.exchange.weights import read_state
from zoo.exchange.wrappers import wrapped_in
from zoo.finetune.results.interval import average_precisions

HOW = Preprocessing(
    input_size=(3, 64, 64),
    mean=(0.1,) * 3,
    std=(0.2,) * 3,
    interpolation="bicubic",
    crop_pct=0.9,
    crop_mode="center",
)


@pytest.mark.parametrize("size", [[], (), [1, 2, 3, 4], ["x"], {}, [None]])
def test_a_size_that_is_none(size: object) -> None:
    assert metadata_of_checkpoint({"args": {"img_size": size}}, "test_resnet").image_size is None


@pytest.mark.parametrize(
    "text", [r'model: "\UFFFFFFFF"', "model: [", "input_size: []", "a: &a [*a]"]
)
def test_an_args_file_that_is_malformed(text: str, tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text(text)
    assert metadata_of_args(tmp_path / "w.pth", "test_resnet") is None


def test_an_args_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "args.yaml")
    assert metadata_of_args(tmp_path / "w.pth", "test_resnet") is None


def test_one_long_name_many_times_is_not_looked_at_each_time() -> None:
    began = time.process_time()
    assert (
        metadata_of_checkpoint(
            {"args": {"classes": ["x" * 1_000_000] * 100_000}}, "test_resnet"
        ).classes
        == ()
    )
    assert wrapped_in(["net." * 1_000_000 + "x"]) == "net." * 8
    assert time.process_time() - began < 5  # it took hours


def test_options_are_numbers_and_texts() -> None:
    assert metadata_of_options({"mean": [0, 1, 0], "crop_pct": 1}).mean == (0.0, 1.0, 0.0)
    for wrong in ({"classes": [0, 1]}, {"classes": ["a", " "]}, {"mean": ["x"]}, {"crop_pct": "x"}):
        with pytest.raises(InvalidOption):
            metadata_of_options(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="crop"):
        _preprocessing(HOW, dict.fromkeys(SETTINGS, ""), [metadata_of_options({"crop_pct": 0})])


def test_a_later_source_says_only_what_nobody_has_said() -> None:
    """The script's settings are the architecture's where it says nothing else."""
    script = Metadata(source="args.yaml", as_default=True, crop_pct=0.8)
    relative = Metadata(source="x/y", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.95)
    how, sources = _preprocessing(HOW, dict.fromkeys(SETTINGS, ""), [script, relative])
    assert (how.mean, how.crop_pct, set(sources.values())) == (HOW.mean, 0.8, {"args.yaml"})
    how, sources = _preprocessing(HOW, {**dict.fromkeys(SETTINGS, ""), "mean": "tag"}, [relative])
    assert (how.mean, how.std, sources["mean"], sources["std"]) == (
        *(HOW.mean, (0.5,) * 3),
        *("tag", "x/y"),
    )
    said = Metadata(source=OPTIONS, mean=(0.3,) * 3)
    how, sources = _preprocessing(HOW, dict.fromkeys(SETTINGS, "tag"), [said, relative])
    assert (how.mean, how.std, sources["mean"]) == ((0.3,) * 3, HOW.std, OPTIONS)


def test_threads_read_pickles_at_once(tmp_path: Path) -> None:
    import argparse

    path = tmp_path / "w.pth"
    torch.save({"args": argparse.Namespace(lr=1), "model": {"a": torch.ones(2)}}, path)
    with ThreadPoolExecutor(4) as pool:
        assert all("a" in read.tensors for read in pool.map(read_state, [path] * 60))


@pytest.mark.parametrize("images", [1, 5])
def test_labels_that_no_image_has_are_no_figures(images: int) -> None:
    none = np.zeros((images, 0))
    assert average_precisions(none, none, np.ones((7, images))).shape == (0, 7)
