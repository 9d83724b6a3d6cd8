"""Data that are one folder too high or too low: what was found, and which path to give."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from zoo.errors import InvalidData
from zoo.finetune.dataset.open import open_dataset


def images(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")


def refused(folder: Path | str) -> tuple[str, str]:
    """What is said of it, and what to do; a path that is named can be opened."""
    with pytest.raises(InvalidData) as caught:
        open_dataset(str(folder))
    return str(caught.value), caught.value.advice


def given(advice: str) -> Path:
    line = next(line for line in advice.splitlines() if "folder" in line and "--data " in line)
    return Path(line.rpartition("--data ")[2])


@pytest.mark.parametrize(
    ("inner", "holds"),
    [
        (("photos/daisy", "photos/rose"), "'photos' in it holds folders daisy, rose"),
        (("a/b/daisy", "a/b/rose"), "'a/b' in it holds folders daisy, rose"),
        (("d/train/daisy", "d/train/rose", "d/val/daisy", "d/val/rose"),
         "'d' in it holds the splits train, val"),
    ],
)  # fmt: skip
def test_one_folder_too_high(tmp_path: Path, inner: tuple[str, ...], holds: str) -> None:
    images(*(tmp_path / "flowers" / name for name in inner))
    (tmp_path / "flowers" / "__MACOSX" / "x").mkdir(parents=True)
    (tmp_path / "flowers" / "__MACOSX" / "x").rmdir()
    said, advice = refused(tmp_path / "flowers")
    assert holds in said
    assert given(advice) == tmp_path / "flowers" / holds.split("'")[1]
    assert open_dataset(str(given(advice))).classes == ("daisy", "rose")


@pytest.mark.parametrize("above", [".", "train"])
def test_one_folder_too_low(tmp_path: Path, above: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "flowers"
    parts = ("train", "val") if above == "train" else (".",)
    images(*(data / part / name for part in parts for name in ("daisy", "rose")))
    said, advice = refused(data / above / "daisy")
    assert "no class folders: it holds 2 images, and no folder" in said
    assert "if 'daisy' is one class of several" in advice
    assert given(advice) == data
    assert open_dataset(str(given(advice))).classes == ("daisy", "rose")
    monkeypatch.chdir(data / above / "daisy")
    assert given(refused(".")[1]).samefile(data)


def test_images_without_classes_and_nothing_at_all(tmp_path: Path) -> None:
    images(tmp_path / "heap")
    (tmp_path / "void").mkdir()
    said, advice = refused(tmp_path / "heap")
    assert "it holds 2 images, and no folder" in said
    assert advice.startswith("put the images of each class in a folder of its own")
    assert "path and label" in advice
    assert "it holds neither folders nor images" in refused(tmp_path / "void")[0]


def test_one_class_alone_is_not_taken_for_a_folder_too_high(tmp_path: Path) -> None:
    images(tmp_path / "flowers" / "daisy", tmp_path / "flowers" / "daisy" / "close")
    said, advice = refused(tmp_path / "flowers")
    assert "only one class is there" in said
    assert (" in it " in said, advice) == (False, "")
