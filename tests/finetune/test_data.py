"""Class folders: read, checked, split, batched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from zoo.domain.progress import silent
from zoo.errors import InvalidData, InvalidImage
from zoo.finetune import data as module
from zoo.finetune.data import Folders, ImageSet, loader, read_folders, split


def problems(root: Path) -> tuple[str, ...]:
    with pytest.raises(InvalidData) as caught:
        read_folders(root, silent)
    return caught.value.problems


def made(counts: list[int]) -> Folders:
    samples = tuple(
        (f"{label}/{i:03}.png", label) for label, count in enumerate(counts) for i in range(count)
    )
    names = tuple(str(label) for label in range(len(counts)))
    return Folders(Path("nowhere"), names, samples, "blake3:0")


def image_set(root: Path) -> ImageSet:
    folders = read_folders(root, silent)
    return ImageSet(folders, range(len(folders.samples)), to_tensor)


def test_classes_are_sorted_as_people_count(shapes: Path) -> None:
    for name in ("1", "02", "b", "A", "a10", "a9"):
        shutil.copytree(shapes / "2", shapes / name)
    folders = read_folders(shapes, silent)
    assert folders.classes == ("1", "02", "2", "10", "A", "a9", "a10", "b", "Squares")


def test_samples_are_images_with_the_index_of_their_class(shapes: Path) -> None:
    (shapes / "2" / "notes.txt").write_text("no image")
    (shapes / ".cache").mkdir()
    (shapes / "10" / "deeper").mkdir()
    (shapes / "10" / "00.png").rename(shapes / "10" / "deeper" / "UPPER.PNG")
    folders = read_folders(shapes, silent)
    assert folders.classes == ("2", "10", "Squares")
    assert len(folders.samples) == 36
    assert ("10/deeper/UPPER.PNG", 1) in folders.samples
    assert {label for name, label in folders.samples if name.startswith("Squares/")} == {2}


def test_digest_is_that_of_names_and_bytes(shapes: Path, tmp_path: Path) -> None:
    first = read_folders(shapes, silent).digest
    shutil.copytree(shapes, tmp_path / "moved")
    assert read_folders(tmp_path / "moved", silent).digest == first
    (shapes / "2" / "00.png").rename(shapes / "2" / "99.png")
    renamed = read_folders(shapes, silent).digest
    Image.new("RGB", (32, 32)).save(tmp_path / "moved" / "2" / "00.png")
    changed = read_folders(tmp_path / "moved", silent).digest
    assert len({first, renamed, changed}) == 3


def test_all_problems_are_told_at_once(shapes: Path) -> None:
    (shapes / "empty").mkdir()
    (shapes / "single").mkdir()
    shutil.copy(shapes / "2" / "00.png", shapes / "single")
    (shapes / "2" / "00.png").write_bytes(b"this is text")
    whole = (shapes / "10" / "03.png").read_bytes()
    (shapes / "10" / "03.png").write_bytes(whole[: len(whole) // 2])
    found = problems(shapes)
    assert len(found) == 4
    for part in ("'empty' has no image", "'single' has one image", "2/00.png", "10/03.png"):
        assert sum(part in problem for problem in found) == 1, part


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp", ".tif"])
def test_a_truncated_image_is_found_before_training(shapes: Path, suffix: str) -> None:
    path = shapes / "2" / f"photo{suffix}"
    noise = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(path)
    read_folders(shapes, silent)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert [problem.split(" ")[0] for problem in problems(shapes)] == [f"2/photo{suffix}"]


def test_one_class_none_and_no_folder(shapes: Path, tmp_path: Path) -> None:
    shutil.rmtree(shapes / "10")
    shutil.rmtree(shapes / "Squares")
    assert problems(shapes) == ("one class only: there is nothing to tell apart",)
    shutil.rmtree(shapes / "2")
    assert "no class folders" in problems(shapes)[0]
    assert problems(tmp_path / "nowhere") == ("no such folder",)
    (tmp_path / "file").write_text("")
    assert problems(tmp_path / "file") == ("is a file, not a folder",)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("counts", [[2, 2], [10, 20, 30], [2, 100]])
def test_split_is_stratified_and_disjoint(counts: list[int], share: float) -> None:
    folders = made(counts)
    train, test = split(folders, share, seed=1)
    assert sorted(train + test) == list(range(sum(counts)))
    for label, count in enumerate(counts):
        held = sum(folders.samples[index][1] == label for index in test)
        assert 1 <= held <= count - 1
        assert abs(held - count * share) <= 1


def test_splits_are_not_taken_for_classes(shapes: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        shutil.copytree(shapes, tmp_path / "data" / name)
    with pytest.raises(InvalidData, match=r"splits \(train, val\)"):
        read_folders(tmp_path / "data", silent)
    assert read_folders(tmp_path / "data" / "train", silent).classes


def test_split_depends_on_the_seed_alone() -> None:
    folders = made([20, 20])
    assert split(folders, 0.2, seed=1) == split(folders, 0.2, seed=1)
    assert split(folders, 0.2, seed=1) != split(folders, 0.2, seed=2)


def test_split_mixes_each_class() -> None:
    _, test = split(made([50]), 0.2, seed=0)
    assert test != list(range(10))
    assert test == sorted(test)


def test_order_of_batches_comes_from_the_generator(shapes: Path) -> None:
    images = image_set(shapes)

    def labels(seed: int | None) -> list[int]:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        batches = loader(images, 5, generator=generator)
        return [int(label) for _, batch in batches for label in batch]

    assert labels(None) == [label for _, label in images.samples]
    assert labels(1) == labels(1) != labels(2)
    assert labels(1) != labels(None)


def test_no_batch_of_one_in_training(shapes: Path) -> None:
    images = image_set(shapes)
    sizes = [len(batch) for batch, _ in loader(images, 5, generator=torch.Generator())]
    assert sizes == [5] * 7
    sizes = [len(batch) for batch, _ in loader(images, 5, generator=None)]
    assert sizes == [5] * 7 + [1]


def test_images_are_read_once(shapes: Path) -> None:
    images = image_set(shapes)
    first = images[0][0]
    (shapes / images.samples[0][0]).unlink()
    assert images[0][0] is first


def test_memory_is_bounded(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", 5 * 32 * 32 * 3 * 4)
    images = image_set(shapes)
    assert not images.fits()
    for index in range(len(images)):
        images[index]
    assert len(images._kept) == 4


def test_an_image_that_vanished_is_told(shapes: Path) -> None:
    images = image_set(shapes)
    (shapes / images.samples[7][0]).unlink()
    with pytest.raises(InvalidImage, match="no such file"):
        list(loader(images, 4, generator=None))
