"""Files that ask for more than they are: each is refused in a line, within a memory and a time."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from fakes.bombs import IMAGES, LARGE_IMAGES, WEIGHTS
from fakes.bounded import bounded
from fakes.places import write
from fakes.program import Said
from fakes.program import zoo as say
from fakes.strangers import BASE
from PIL import Image
from safetensors.torch import save_file

from zoo.errors import InvalidWeights
from zoo.exchange.pickles import check_pickled
from zoo.store import Store
from zoo.store.header import read_header

OFTEN = ("500 sizes of 4,000 digits", "an expanded tensor", "a compressed pickle")
"""Weights that every run tries; a long one tries all."""


def written(folder: Path, bombs: Mapping[str, Callable[[], bytes]], suffix: str) -> dict[str, Path]:
    paths = {}
    for number, (name, make) in enumerate(bombs.items()):
        paths[name] = folder / f"{number}{suffix}"
        paths[name].write_bytes(make())
    return paths


def check_weights(files: Mapping[str, Path]) -> None:
    said: dict[tuple[str, str], Said] = {}
    for name, path in files.items():
        named = ("--architecture", "test_vit", "--as", "team/x")
        for command in (("identify", path), ("import", path, *named)):
            done = bounded(*command, megabytes=700, seconds=30)
            if not done.failed(str(path)) or len(done.err) > 1200:
                said[name, str(command[0])] = done
    assert not said


@pytest.mark.long
def test_some_weights(home: Path, tmp_path: Path) -> None:
    check_weights(written(tmp_path, {name: WEIGHTS[name] for name in OFTEN}, ".pth"))


@pytest.mark.long
@pytest.mark.whole
def test_all_weights(home: Path, tmp_path: Path) -> None:
    check_weights(written(tmp_path, WEIGHTS, ".pth"))


def test_tensors_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many as in the files above, other limits are met first."""
    state = {name: torch.zeros(1) for name in "abc"}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    for place in ("zoo.store.header.TENSORS", "zoo.exchange.pickles.TENSORS"):
        monkeypatch.setattr(place, 2)
    with pytest.raises(InvalidWeights, match="more than 2 tensors"):
        read_header(tmp_path / "a.safetensors")
    with pytest.raises(InvalidWeights, match="more than 2 tensors"):
        check_pickled(tmp_path / "a.pth")


MANIFESTS = (
    b"[" + b"[]," * 10_000_000 + b"1]",
    b'{"classes":[' + b'"",' * 10_000_000 + b'""]}',
    b"[" * 60_000_000,
)


@pytest.mark.long
def test_manifests(home: Path, tmp_path: Path) -> None:
    """Parsed, one would take a gigabyte."""
    team = Store.create(tmp_path / "team")
    say("remote", "add", "team", team.root).done()
    names = []
    for number, data in enumerate(MANIFESTS):
        digest = team.put("manifests", data)
        names.append(f"team/bad{number}")
        move = {"number": 1, "manifest": str(digest), "previous": None, "at": "", "by": "",
                "why": ""}  # fmt: skip
        write(team.root / f"refs/{names[-1]}/latest/00000001.json", json.dumps(move).encode())
    for command in (("fetch", "team"), ("pull", names[0], "--from", "team"), ("verify", "team")):
        done = bounded(*command, megabytes=500, seconds=30)
        assert done.code in (0, 1), (command, done)
        assert "Traceback" not in done.err
        told = names if command[0] != "pull" else ["not a manifest"]
        assert all(name in done.out + done.err for name in told), (command, done)


@pytest.mark.long
def test_images(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory, no other program, no raw warning."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    said = {}
    files = written(tmp_path, IMAGES, ".jpg")
    for name, path in files.items():
        done = bounded("predict", BASE, path, megabytes=300, seconds=10)
        if not done.failed(str(path)) or len(done.err.splitlines()) > 1:
            said[name] = done
    assert not said
    data = tmp_path / "data"
    for name in "abcd":
        (data / name[0]).mkdir(parents=True)
    for number, path in enumerate(files.values()):
        path.rename(data / "abcd"[number % 4] / path.name)
    done = bounded("finetune", BASE, "--data", data, "--save", "team/x", megabytes=300, seconds=10)
    assert done.failed("cannot be used")
    assert not (tmp_path / "started").exists()


@pytest.mark.long
def test_large_images_are_decoded_within_a_bound(home: Path, tmp_path: Path) -> None:
    for name, path in written(tmp_path, LARGE_IMAGES, ".png").items():
        done = bounded("predict", BASE, path, megabytes=3000, seconds=100)
        assert (done.code, done.err) == (0, ""), (name, done)


def test_an_image_above_pillows_own_limit_is_read_without_a_word(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (200, 200), (9, 99, 200)).save(photo)
    before = say("predict", BASE, photo, "--json")
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 30_000)  # it warns up to twice that
    assert say("predict", BASE, photo, "--json") == before
    monkeypatch.setattr("zoo.backbones.opening.IMAGE_PIXELS", 30_000)
    assert say("predict", BASE, photo).failed("is 200 x 200 pixels; the limit is 30,000 in total")


def test_very_many_rows_count_as_more_than_their_pixels(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = tmp_path / "tower.png"
    Image.new("L", (1, 5000)).save(tower)
    monkeypatch.setattr("zoo.backbones.opening.IMAGE_PIXELS", 30_000)
    assert say("predict", BASE, tower).failed("is 1 x 5000 pixels; the limit is 30,000 in total")


def test_what_would_grow_too_large_is_not_resized(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where memory is left, the system gives it: nothing else would stop that."""
    narrow = tmp_path / "narrow.png"
    Image.new("L", (500, 1)).save(narrow)
    monkeypatch.setattr("zoo.backbones.preprocess.RESIZED_PIXELS", 1_000_000)
    said = say("predict", BASE, narrow)
    assert said.failed("is 500 x 1 pixels: resized for the network it would have")


def test_whatever_a_decoder_raises_costs_that_image(home: Path, tmp_path: Path) -> None:
    """Rows of half a gigabyte: Pillow has no number for that, and says that memory is missing."""
    wide = tmp_path / "wide.png"
    head = b"IHDR" + struct.pack(">2I5B", 170_000_000, 1, 8, 2, 0, 0, 0)
    chunks = (head, b"IDAT" + zlib.compress(bytes(99)), b"IEND")
    made = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    wide.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(made))
    assert say("predict", BASE, wide).failed(str(wide), "cannot be read: MemoryError")
