"""Class folders and given splits: opened, checked, refused."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unicodedata import normalize

import pytest
import torch
from PIL import Image

from zoo.domain.progress import Progress
from zoo.errors import InvalidData, InvalidImage, InvalidOption
from zoo.finetune.dataset.dataset import Dataset, Sample
from zoo.finetune.dataset.open import open_dataset


def problems(root: Path, *, skip_bad: bool = False) -> tuple[str, ...]:
    with pytest.raises(InvalidData) as caught:
        open_dataset(str(root), skip_bad=skip_bad)
    return caught.value.problems


def everything(dataset: Dataset) -> list[Sample]:
    return sorted([*dataset.train, *dataset.validation, *dataset.test])


@pytest.fixture
def splits(shapes: Path, tmp_path: Path) -> Path:
    """The shapes in three folders, 6, 3 and 3 of each kind."""
    root = tmp_path / "splits"
    for path in sorted(shapes.rglob("*.png")):
        number = int(path.stem)
        part = "train" if number < 6 else "val" if number < 9 else "test"
        to = root / part / path.parent.name / path.name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    return root


def test_class_folders(shapes: Path) -> None:
    (shapes / "2" / "notes.txt").write_text("no image")
    (shapes / ".cache").mkdir()
    (shapes / "2" / "._00.png").write_bytes(b"what one system leaves on the disks of others")
    (shapes / "10" / "deeper").mkdir()
    (shapes / "10" / "00.png").rename(shapes / "10" / "deeper" / "UPPER.PNG")
    dataset = open_dataset(str(shapes))
    assert (dataset.spec, dataset.task) == (str(shapes), "classification")
    assert dataset.classes == ("2", "10", "Squares")
    assert len(everything(dataset)) == 36
    assert ("10/deeper/UPPER.PNG", 1) in everything(dataset)
    assert dataset.skipped == ()
    for part, count in ((dataset.train, 9), (dataset.validation, 1), (dataset.test, 2)):
        assert Counter(target for _, target in part) == {0: count, 1: count, 2: count}
        assert list(part) == sorted(part)
    sample = dataset.train[0]
    with Image.open(shapes / sample.key) as image:
        assert dataset.read(sample).tobytes() == image.convert("RGB").tobytes()


def test_classes_are_sorted_as_people_count(shapes: Path) -> None:
    for name in ("1", "02", "b", "A", "a10", "a9"):
        shutil.copytree(shapes / "2", shapes / name)
    names = ("1", "02", "2", "10", "A", "a9", "a10", "b", "Squares")
    assert open_dataset(str(shapes)).classes == names


def test_two_forms_of_one_name_are_one_class(shapes: Path) -> None:
    """As where some of the folders come from another system."""
    for form in ("NFC", "NFD"):
        shutil.copytree(shapes / "2", shapes / normalize(form, "röt"))
    dataset = open_dataset(str(shapes))
    assert dataset.classes == ("2", "10", normalize("NFC", "röt"), "Squares")
    assert Counter(target for _, target in everything(dataset)) == {0: 12, 1: 12, 2: 24, 3: 12}
    # One form alone stays as it is written: runs of earlier versions are repeated by it.
    shutil.rmtree(shapes / normalize("NFC", "röt"))
    assert normalize("NFD", "röt") in open_dataset(str(shapes)).classes


@pytest.mark.parametrize("columns", [False, True])
def test_two_forms_of_one_label_are_one(shapes: Path, tmp_path: Path, columns: bool) -> None:
    names = [normalize(form, "röt") for form in ("NFC", "NFD")] + ["blau"]
    paths = [path.as_posix() for path in sorted(shapes.rglob("*.png"))]
    rows = [[path, names[at % 3]] for at, path in enumerate(paths)]
    head = "path,labels"
    if columns:
        head = ",".join(["path", *names])
        rows = [[path, *(str(int(each == name)) for each in names)] for path, name in rows]
    lines = [head, *map(",".join, rows)]
    (tmp_path / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    dataset = open_dataset(str(tmp_path / "table.csv"))
    assert sorted(dataset.classes) == ["blau", names[0]]
    counts = Counter(target for _, target in everything(dataset))
    assert sorted(counts.values()) == [12, 24]
    assert all(isinstance(target, tuple) and sum(target) == 1 for target in counts)


def test_given_splits_are_kept(splits: Path) -> None:
    dataset = open_dataset(str(splits), validation_share=0.5, test_share=0.4)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert [len(part) for part in parts] == [18, 9, 9]
    for name, part in zip(("train/", "val/", "test/"), parts, strict=True):
        assert all(key.startswith(name) for key, _ in part)
    assert dataset.classes == ("2", "10", "Squares")


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("val", (15, 3, 9)), ("test", (15, 9, 3))],
)
def test_a_missing_split_is_taken_from_training(
    splits: Path, missing: str, expected: tuple[int, int, int]
) -> None:
    shutil.rmtree(splits / missing)
    dataset = open_dataset(str(splits), validation_share=0.2, test_share=0.2)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert tuple(map(len, parts)) == expected
    drawn = dataset.validation if missing == "val" else dataset.test
    assert all(key.startswith("train/") for key, _ in drawn)


def test_label_sets_that_differ_between_splits(splits: Path) -> None:
    shutil.move(splits / "test" / "10", splits / "test" / "eleven")
    shutil.rmtree(splits / "val" / "2")
    assert problems(splits) == (
        "class '2' is in the train split, but not in validation",
        "class 'eleven' is in the test split, but not in that to train on",
        "class '10' is in the train split, but not in test",
    )


def test_splits_without_one_to_train_on_or_with_two(splits: Path) -> None:
    shutil.copytree(splits / "val", splits / "valid")
    assert problems(splits) == ("'val' and 'valid' are both the validation split",)
    shutil.rmtree(splits / "valid")
    shutil.rmtree(splits / "train")
    assert problems(splits) == ("there are splits, but none to train on",)


def images_in_no_class(folder: Path) -> None:
    for path in sorted(folder.glob("*/*")):
        path.rename(folder / f"{path.parent.name}-{path.name}")


def nothing_at_all(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def classes_of_text(folder: Path) -> None:
    for path in folder.glob("*/*"):
        path.rename(path.with_suffix(".txt"))


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("spoil", [images_in_no_class, nothing_at_all, classes_of_text])
def test_a_split_without_an_image_of_a_class_is_not_replaced(
    splits: Path, part: str, spoil: Callable[[Path], None]
) -> None:
    spoil(splits / part)
    name = "validation" if part == "val" else part
    found = [text for text in problems(splits) if f"'{part}' is the {name} split" in text]
    assert len(found) == 1
    assert f"({part}/CLASS/…)" in found[0]


def test_a_split_that_is_all_bad_is_not_replaced(splits: Path) -> None:
    for path in (splits / "val").rglob("*.png"):
        path.write_bytes(b"no image")
    assert problems(splits, skip_bad=True) == ("no image of the validation split can be used",)


def test_all_problems_are_told_at_once(shapes: Path) -> None:
    (shapes / "empty").mkdir()
    (shapes / "single").mkdir()
    shutil.copy(shapes / "2" / "00.png", shapes / "single")
    (shapes / "2" / "00.png").write_bytes(b"this is text")
    whole = (shapes / "10" / "03.png").read_bytes()
    (shapes / "10" / "03.png").write_bytes(whole[: len(whole) // 2])
    (shapes / "10" / "04.png").unlink()
    (shapes / "10" / "04.png").symlink_to("nowhere.png")
    found = problems(shapes)
    expected = (
        "'empty' has no image",
        "'single' has one image",
        "10/03.png cannot be read",
        "10/04.png no such file",
        "2/00.png is not a readable image",
    )
    assert len(found) == len(expected)
    for part in expected:
        assert sum(part in problem for problem in found) == 1, part


def test_bad_images_are_skipped_and_told(shapes: Path) -> None:
    whole = open_dataset(str(shapes))
    (shapes / "2" / "00.png").write_bytes(b"this is text")
    (shapes / "10" / "04.png").unlink()
    (shapes / "10" / "04.png").symlink_to("nowhere.png")
    dataset = open_dataset(str(shapes), skip_bad=True)
    assert dataset.skipped == (
        ("10/04.png", "no such file"),
        ("2/00.png", "is not a readable image"),
    )
    gone = {"2/00.png", "10/04.png"}
    assert everything(dataset) == [s for s in everything(whole) if s.key not in gone]
    assert dataset.digest != whole.digest


def test_what_remains_after_skipping_is_checked_again(shapes: Path) -> None:
    for path in sorted((shapes / "10").iterdir())[1:]:
        path.write_bytes(b"")
    for path in (shapes / "2").iterdir():
        path.write_bytes(b"")
    *few, first, _ = problems(shapes, skip_bad=True)[:4]
    assert few == [
        "class '2' has no image",
        "class '10' has one image; training and test need one each",
    ]
    assert first == "10/01.png is not a readable image, and is left out"


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp", ".tif"])
def test_a_truncated_image_is_found(shapes: Path, suffix: str) -> None:
    path = shapes / "2" / f"photo{suffix}"
    noise = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(path)
    open_dataset(str(shapes))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert [problem.split(" ")[0] for problem in problems(shapes)] == [f"2/photo{suffix}"]


def test_one_class_none_and_no_folder(shapes: Path, tmp_path: Path) -> None:
    shutil.rmtree(shapes / "10")
    shutil.rmtree(shapes / "Squares")
    assert problems(shapes) == ("only one class is there: training needs at least two classes",)
    shutil.rmtree(shapes / "2")
    assert "no class folders" in problems(shapes)[0]
    (shapes / "2").mkdir()
    (shapes / "10").mkdir()
    assert problems(shapes) == ("no images",)
    assert problems(tmp_path / "nowhere") == ("no such folder, table or named dataset",)
    assert problems(tmp_path / "nowhere.csv") == ("no such file",)
    (tmp_path / "file").write_text("")
    assert "is a file, but no table" in problems(tmp_path / "file")[0]


def test_folders_are_for_classification(shapes: Path) -> None:
    assert open_dataset(str(shapes), task="classification").task == "classification"
    with pytest.raises(InvalidData, match="not for regression"):
        open_dataset(str(shapes), task="regression")


def test_links(shapes: Path, tmp_path: Path) -> None:
    shutil.move(shapes / "2", tmp_path / "elsewhere")
    (shapes / "2").symlink_to(tmp_path / "elsewhere")
    (shapes / "10" / "back").symlink_to(shapes / "10")
    assert len(everything(open_dataset(str(shapes)))) == 36
    (shapes / "loop").symlink_to(shapes)
    assert problems(shapes) == ("class folder 'loop' is a link to a folder that it lies in",)


def test_names_that_are_no_text(shapes: Path) -> None:
    strange = os.fsdecode(b"caf\xe9")
    (shapes / "2" / "00.png").rename(shapes / "2" / f"{strange}.png")
    assert f"2/{strange}.png" in {sample.key for sample in everything(open_dataset(str(shapes)))}
    (shapes / "10").rename(shapes / strange)
    assert problems(shapes)[0].endswith("has a name that is not UTF-8")


def test_digest_is_that_of_names_targets_and_bytes(shapes: Path, tmp_path: Path) -> None:
    first = open_dataset(str(shapes))
    moved = tmp_path / "moved"
    shutil.copytree(shapes, moved)
    again = open_dataset(str(moved), validation_share=0.3, test_share=0.3, seed=9)
    assert again.digest == first.digest
    assert again.split_digest != first.split_digest
    assert open_dataset(str(moved)).split_digest == first.split_digest
    (shapes / "2" / "00.png").rename(shapes / "2" / "99.png")
    renamed = open_dataset(str(shapes)).digest
    Image.new("RGB", (32, 32)).save(moved / "2" / "00.png")
    changed = open_dataset(str(moved)).digest
    (moved / "10").rename(moved / "11")
    other = open_dataset(str(moved)).digest
    assert len({first.digest, renamed, changed, other}) == 4


def test_an_image_that_vanishes_later_is_told(shapes: Path) -> None:
    dataset = open_dataset(str(shapes))
    shutil.rmtree(shapes)
    with pytest.raises(InvalidImage, match="no such file"):
        dataset.read(dataset.train[0])


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (0.1, 1.0), (float("nan"), 0.1)])
def test_shares_that_leave_nothing(shapes: Path, shares: tuple[float, float]) -> None:
    with pytest.raises(InvalidOption, match="together below 1"):
        open_dataset(str(shapes), validation_share=shares[0], test_share=shares[1])


def test_progress_counts_every_image(shapes: Path) -> None:
    told: list[float] = []

    class Task:
        def advance(self, amount: float = 1, note: str = "") -> None:
            told.append(amount)

    class Shown(Progress):
        @contextmanager
        def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:
            assert (label, total) == ("checking images", 36)
            yield Task()

    open_dataset(str(shapes), progress=Shown())
    assert sum(told) == 36
