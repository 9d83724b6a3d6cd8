"""Images that a network has read are not read by it again: by zoo advise, nor by zoo rank."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from blake3 import blake3
from fakes.colored import save_scenes, scene
from fakes.prepared import NET, Run
from safetensors.torch import save

from zoo.advice import held_out, kept, reading
from zoo.advice.kept import DESCRIPTION, KeptRows
from zoo.errors import DiskFull
from zoo.finetune.strategies import linear
from zoo.lookup.caches import list_caches, what_of
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


@pytest.mark.long
def test_who_asks_again_waits_for_what_is_new(small: Run, data: Path, computed: list[int]) -> None:
    first = said(small, data)
    again = small("advise", data, *ADVISE, "--json").done()
    assert "36 of 36 images were read with team/net before" in again.err
    assert (again.json["facts"], again.json["layers"]) == first[:2]
    assert computed == [36]
    (cache,) = list_caches(Path())
    assert what_of(Path(), cache).endswith(", features of images")
    # A label that is corrected: the same image.
    (data / "red" / "0.png").rename(data / "blue" / "corrected.png")
    scene(77, "green").save(data / "green" / "new.png")
    mended = said(small, data)
    assert computed == [36, 1]
    shutil.rmtree(CACHE)
    assert shown(said(small, data)[0]) == shown(mended[0]), "as if all had been read at once"
    assert computed == [36, 1, 37]


def test_copies_are_not_told_of_as_read_before(
    small: Run, data: Path, tmp_path: Path, computed: list[int]
) -> None:
    said(small, data)
    other = save_scenes(tmp_path / "other", 13)
    for color in other.iterdir():
        for at in range(12):
            (color / f"{at}.png").unlink()
        shutil.copy(color / "12.png", color / "again.png")
        scene(90, color.name).save(color / "90.png")
    shutil.copy(data / "red" / "0.png", other / "red")
    again = small("advise", other, *ADVISE, "--json").done()
    assert "1 of 10 images were read with team/net before" in again.err
    assert computed == [36, 6]


def test_a_ranking_takes_what_advice_has_read(small: Run, data: Path, computed: list[int]) -> None:
    said(small, data)
    small("rank", data, "--among", NET, "--image-size", 32, "--budget", "1m").done()
    assert computed == [36]


@pytest.mark.long
def test_another_network_size_or_image_is_read(small: Run, data: Path, computed: list[int]) -> None:
    said(small, data)
    small("advise", data, "--base", NET, "--image-size", 64, "--budget", 0).done()
    assert computed == [36, 36]
    scene(5, "red").rotate(90).save(data / "red" / "0.png")
    said(small, data)
    assert computed == [36, 36, 1]


def damaged(file: Path, how: str) -> None:
    if how == "flipped":
        file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    elif how == "short":
        file.write_bytes(file.read_bytes()[:-9])
    elif how == "gone":
        file.unlink()
    else:  # whole, as its name says
        data = save({"x": torch.ones(1)}) if how == "other" else b"[]"
        file.unlink()
        file.with_stem(blake3(data).hexdigest()).write_bytes(data)


WHAT = {"network": "one"}


def load(folder: Path, *images: str) -> KeptRows:
    return KeptRows.load(folder, WHAT, {*images})


def of(folder: Path, *images: str) -> list[float]:
    return load(folder, *images).of(images)["x"].flatten().tolist()


def add(rows: KeptRows, values: dict[str, float]) -> None:
    rows.add([*values], {"x": torch.tensor([[each] for each in values.values()])})


@pytest.mark.parametrize("how", ["flipped", "short", "gone", "text", "other"])
def test_what_is_damaged_is_as_if_it_were_not_there(tmp_path: Path, how: str) -> None:
    add(rows := KeptRows(tmp_path, WHAT), {"a": 1, "b": 2})
    (file,) = rows.home.glob("*.safetensors")
    add(rows, {"c": 3})
    damaged(file, how)
    again = load(tmp_path, "a", "b", "c")
    assert again.images == {"c"}
    add(again, {"a": 1, "b": 2})
    assert of(tmp_path, "c", "b", "a") == [3, 2, 1]


def test_rows_are_added_and_found_by_image(tmp_path: Path) -> None:
    add(KeptRows(tmp_path, WHAT), {"a": 1, "b": 2})
    add(load(tmp_path, "a", "c"), {"c": 3})
    assert of(tmp_path, "c", "a", "c") == [3, 1, 3]
    assert load(tmp_path, "c", "d").images == {"c"}, "others are not read"
    assert KeptRows.load(tmp_path, {"network": "two"}, {"a"}).images == set()
    (home,) = tmp_path.iterdir()
    assert {*home.iterdir()} == {*home.glob("*.safetensors"), home / DESCRIPTION}


def test_processes_that_read_at_once_keep_what_each_has_read(tmp_path: Path) -> None:
    add(KeptRows(tmp_path, WHAT), {"old": 0})
    one, other = load(tmp_path, "old", "a"), load(tmp_path, "old", "b")
    add(one, {"a": 1})
    add(other, {"b": 2})
    assert of(tmp_path, "old", "a", "b") == [0, 1, 2]


def test_images_that_are_new_push_out_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE_GB", "0.000005")
    old = {f"old {at}": float(at) for at in range(200)}
    add(rows := KeptRows(tmp_path, WHAT), old)
    assert load(tmp_path, *old).images == {*old}
    new = {f"new {at}": float(-at) for at in range(200)}
    add(rows, new)
    assert load(tmp_path, *old, *new).images == {*new}
    assert rows.of(["old 7", "new 7"])["x"].tolist() == [[7], [-7]]


def test_a_folder_that_is_a_colleagues_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path) -> None:
        raise PermissionError(file)

    add(KeptRows(tmp_path, WHAT), {"a": 1})
    monkeypatch.setattr(os, "utime", refuse)
    assert of(tmp_path, "a") == [1]


def test_a_full_disk_costs_no_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Path, _: object) -> None:
        raise DiskFull(target)

    monkeypatch.setattr(kept, "write_whole", full)
    rows = KeptRows(tmp_path, {"network": "one"})
    rows.add(["a"], {"x": torch.ones(1, 1)})
    assert rows.of(["a"])["x"].tolist() == [[1]]
    assert load(tmp_path, "a").images == set()


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
