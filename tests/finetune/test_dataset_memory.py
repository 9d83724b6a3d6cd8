"""Images that were in order are not decoded again, unless anything about them has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.errors import InvalidData
from zoo.finetune.dataset import images
from zoo.finetune.dataset.images import FileImages
from zoo.finetune.dataset.open import open_dataset


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the images that have been decoded for checking."""
    keys: list[str] = []
    real = FileImages.check

    def noted(self: FileImages, key: str) -> str:
        keys.append(key)
        return real(self, key)

    monkeypatch.setattr(FileImages, "check", noted)
    return keys


def age(root: Path, seconds: float = 60) -> None:
    then = time.time() - seconds
    for path in root.rglob("*.png"):
        os.utime(path, (then, then))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once: nobody can put the time of their entries back."""
    monkeypatch.setattr(images, "RACY_NS", -1)


@pytest.mark.usefixtures("settled")
def test_what_is_unchanged_is_decoded_once(
    shapes: Path, tmp_path: Path, decoded: list[str]
) -> None:
    cache = tmp_path / "cache"
    first = open_dataset(str(shapes), cache=cache)
    assert len(decoded) == 36
    decoded.clear()
    again = open_dataset(str(shapes), cache=cache, seed=4, test_share=0.4)
    assert decoded == []
    assert again.digest == first.digest
    open_dataset(str(shapes))
    assert len(decoded) == 36


def in_place(path: Path) -> None:
    state = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def replaced(path: Path) -> None:
    state = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"x" * state.st_size)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [in_place, replaced, lambda path: path.write_bytes(b"")])
def test_a_changed_file_is_not_trusted(
    shapes: Path, tmp_path: Path, decoded: list[str], change: Callable[[Path], None]
) -> None:
    age(shapes)
    open_dataset(str(shapes), cache=tmp_path / "cache")
    decoded.clear()
    change(shapes / "10" / "05.png")
    with pytest.raises(InvalidData, match=r"10/05\.png"):
        open_dataset(str(shapes), cache=tmp_path / "cache")
    assert decoded == ["10/05.png"]


def test_a_file_that_changed_just_now_is_not_remembered(
    shapes: Path, tmp_path: Path, decoded: list[str]
) -> None:
    for _ in range(2):
        open_dataset(str(shapes), cache=tmp_path / "cache")
    assert len(decoded) == 72


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", [b"", b"nonsense", b"0" * 64 + b"\n{}"])
def test_a_damaged_memory_is_forgotten(
    shapes: Path, tmp_path: Path, decoded: list[str], damage: bytes
) -> None:
    first = open_dataset(str(shapes), cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(damage)
    decoded.clear()
    assert open_dataset(str(shapes), cache=tmp_path / "cache").digest == first.digest
    assert len(decoded) == 36


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", ["pillow", "reading"])
def test_what_was_in_order_for_another_reader_is_decoded_again(
    shapes: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as before:
        before.setattr(images, "VERSIONS", {**images.VERSIONS, name: "another"})
        open_dataset(str(shapes), cache=tmp_path / "cache")
    decoded.clear()
    open_dataset(str(shapes), cache=tmp_path / "cache")
    assert len(decoded) == 36


@pytest.mark.usefixtures("settled")
def test_what_was_in_order_is_remembered_through_an_error(
    shapes: Path, tmp_path: Path, decoded: list[str]
) -> None:
    (shapes / "2" / "00.png").write_bytes(b"text")
    for _ in range(2):
        with pytest.raises(InvalidData):
            open_dataset(str(shapes), cache=tmp_path / "cache")
    assert decoded[36:] == ["2/00.png"]
