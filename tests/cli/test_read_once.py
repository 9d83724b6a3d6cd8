"""Images that a network has read are not read by it again: by zoo advise, nor by zoo rank."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.colored import save_scenes, scene
from fakes.prepared import NET, Run
from safetensors.torch import load_file

from zoo.advice import held_out, kept, reading
from zoo.advice.kept import DESCRIPTION, KeptRows
from zoo.errors import DiskFull
from zoo.finetune.strategies import linear
from zoo.ranking import cost
from zoo.ranking import rank as module

ADVISE = ("--base", NET, "--image-size", 32, "--budget", 0)
CACHE = Path("cache/crossings")


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds are drawn once: what they tell is tested elsewhere."""
    monkeypatch.setattr(held_out, "MOST_REPEATS", 1)
    monkeypatch.setattr(linear, "CS", (1.0,))
    monkeypatch.setattr(cost, "TIMES", 1)
    monkeypatch.setattr(module, "finals", lambda *_: None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """36 pictures of three colors, in class folders."""
    return save_scenes(tmp_path / "data", 12)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images a network was run on, by pass."""
    passes: list[int] = []
    real = reading._compute

    def compute(*arguments: Any) -> Any:
        passes.append(len(arguments[3]))
        return real(*arguments)

    monkeypatch.setattr(reading, "_compute", compute)
    return passes


def said(small: Run, data: Path) -> Any:
    advice = small("advise", data, *ADVISE, "--json").done().json
    plan = advice["plan"]
    return advice["facts"], advice["layers"], [each["name"] for each in plan["tried"]]


def shown(facts: Any) -> Any:
    """Without numbers whose last bits hang on which images shared a batch."""
    return {**facts, "doubted": [each["image"] for each in facts["doubted"]]}


def test_who_asks_again_waits_for_what_is_new(small: Run, data: Path, computed: list[int]) -> None:
    first = said(small, data)
    again = small("advise", data, *ADVISE, "--json").done()
    assert "36 of 36 images were read with team/net before" in again.err
    assert (again.json["facts"], again.json["layers"]) == first[:2]
    assert computed == [36]
    # A label that is corrected: the same image.
    (data / "red" / "0.png").rename(data / "blue" / "corrected.png")
    scene(77, "green").save(data / "green" / "new.png")
    mended = said(small, data)
    assert computed == [36, 1]
    shutil.rmtree(CACHE)
    assert shown(said(small, data)[0]) == shown(mended[0]), "as if all had been read at once"
    assert computed == [36, 1, 37]


def test_a_ranking_takes_what_advice_has_read(small: Run, data: Path, computed: list[int]) -> None:
    said(small, data)
    small("rank", data, "--among", NET, "--image-size", 32, "--budget", "1m").done()
    assert computed == [36]


def test_another_network_size_or_image_is_read(small: Run, data: Path, computed: list[int]) -> None:
    said(small, data)
    small("advise", data, "--base", NET, "--image-size", 64, "--budget", 0).done()
    assert computed == [36, 36]
    scene(5, "red").rotate(90).save(data / "red" / "0.png")
    said(small, data)
    assert computed == [36, 36, 1]


def damaged(home: Path, how: str) -> None:
    (file,) = home.glob("*.safetensors")
    if how == "flipped":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif how == "short":
        file.write_bytes(file.read_bytes()[:-9])
    elif how == "gone":
        file.unlink()
    elif how == "text":
        (home / DESCRIPTION).write_text("[]")
    else:
        about = json.loads((home / DESCRIPTION).read_text())
        about["images"] = about["images"][:-1]
        (home / DESCRIPTION).write_text(json.dumps(about))


@pytest.mark.parametrize("how", ["flipped", "short", "gone", "text", "one image less"])
def test_what_is_damaged_is_as_if_it_were_not_there(tmp_path: Path, how: str) -> None:
    rows = KeptRows(tmp_path, {"network": "one"})
    rows.add(["a", "b"], {"x": torch.tensor([[1.0], [2.0]])})
    damaged(rows.home, how)
    assert KeptRows.load(tmp_path, rows.what).images == []
    rows.add([], {"x": torch.empty(0, 1)})
    assert KeptRows.load(tmp_path, rows.what).images == ["a", "b"]


def of(folder: Path, images: Sequence[str]) -> list[float]:
    return KeptRows.load(folder, {"network": "one"}).of(images)["x"].flatten().tolist()


def test_rows_are_added_and_found_by_image(tmp_path: Path) -> None:
    KeptRows(tmp_path, {"network": "one"}).add(["a", "b"], {"x": torch.tensor([[1.0], [2.0]])})
    KeptRows.load(tmp_path, {"network": "one"}).add(["c"], {"x": torch.tensor([[3.0]])})
    assert of(tmp_path, ["c", "a", "c"]) == [3, 1, 3]
    assert KeptRows.load(tmp_path, {"network": "two"}).images == []
    (home,) = tmp_path.iterdir()
    (file,) = home.glob("*.safetensors")
    assert len(load_file(file)["x"]) == 3
    assert {*home.iterdir()} == {file, home / DESCRIPTION}


def test_a_full_disk_costs_no_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Path, _: object) -> None:
        raise DiskFull(target)

    monkeypatch.setattr(kept, "write_whole", full)
    rows = KeptRows(tmp_path, {"network": "one"})
    rows.add(["a"], {"x": torch.ones(1, 1)})
    assert rows.of(["a"])["x"].tolist() == [[1]]
    assert KeptRows.load(tmp_path, rows.what).images == []


def test_a_colleague_reads_what_was_kept(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        rows = KeptRows(tmp_path, {"network": "one"})
        rows.add(["a"], {"x": torch.ones(1, 1)})
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in rows.home.iterdir()} == {0o664}


def test_where_there_is_no_room_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE_GB", "0")
    rows = KeptRows(tmp_path / "cache", {"network": "one"})
    rows.add(["a"], {"x": torch.ones(1, 1)})
    assert rows.of(["a"])["x"].tolist() == [[1]]
    assert not rows.home.exists()
