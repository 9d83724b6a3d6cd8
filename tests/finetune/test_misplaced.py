"""Data that are one folder too high or too low: what was found, and which path to give. Also images
that are far smaller than what the network gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidData
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.setup.prepare import prepare
from zoo.workspace import Workspace


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
    line = next(line for line in advice.splitlines() if "folder" in line and ": " in line)
    return Path(line.rpartition(": ")[2])


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


@pytest.mark.parametrize("other", ["letters/train/a", "daisy"])
def test_datasets_with_splits_are_no_classes(tmp_path: Path, other: str) -> None:
    parts = [f"digits/{part}/{name}" for part in ("train", "test") for name in "01"]
    images(*(tmp_path / name for name in (*parts, other)))
    said, advice = refused(tmp_path)
    names = "'digits', 'letters'" if "/" in other else "'digits'"
    assert f"splits (test, train) in {names}: each is a dataset of its own, not a class" in said
    assert advice == f"give one of them: {tmp_path / 'digits'}"
    assert open_dataset(str(tmp_path / "digits")).classes == ("0", "1")


def test_a_folder_beside_splits(tmp_path: Path) -> None:
    images(*(tmp_path / name for name in ("train/a", "train/b", "test/a", "test/b", "extra/x")))
    said, advice = refused(tmp_path)
    assert "'extra' beside the splits 'test', 'train': these would be classes, too" in said
    assert advice == "move 'extra' elsewhere"
    # A class may be called as a split is.
    images(*(tmp_path / "cars" / name for name in ("train", "car", "train/old", "car/old")))
    assert open_dataset(str(tmp_path / "cars")).classes == ("car", "train")


def test_one_split_of_several_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(*(tmp_path / "d" / name for name in ("train/a", "train/b", "test/a", "test/b")))
    said = "new splits are drawn from 'train' alone, without 'test' beside it: --data {} takes them"
    for data in (tmp_path / "d" / "train", "d/train", "."):
        monkeypatch.chdir(tmp_path / "d" / "train" if data == "." else tmp_path)
        given = tmp_path / "d" if data == "." else Path(data).parent
        assert said.format(given) in open_dataset(str(data)).remarks[0]
    assert not any("new splits" in text for text in open_dataset(str(tmp_path / "d")).remarks)


def test_small_images(workspace: Workspace, base: str, shapes: Path) -> None:
    def said(size: int | None) -> tuple[str, ...]:
        recipe = Recipe(data=str(shapes), image_size=size)
        return prepare(workspace, base, recipe, "cpu", silent).dataset.remarks

    line = "most images have at most 32 pixels a side, and are enlarged to 160: --image-size 64 is"
    assert [text.startswith(f"{line} about 6 times as fast") for text in said(None)] == [True]
    assert said(160) == ()
    for path in [*shapes.rglob("*.png")][:20]:  # most are large
        Image.open(path).resize((100, 30)).save(path)
    assert said(None) == ()
