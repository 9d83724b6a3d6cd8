"""Labeled images as people have them: tables with columns of their own, and large images."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.prepared import Run
from fakes.sampled import sampled
from PIL import Image
from safetensors.numpy import load_file

NET = "team/net"
HOW = ("--strategy", "probe", "--image-size", 32)
KINDS = "123"


@pytest.fixture
def flat(tmp_path: Path, few: Path) -> Path:
    """Digits in one folder, called as their kind and number: ``1-0.png``."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for kind in KINDS:
        for number, path in enumerate(sorted((few / kind).iterdir())):
            shutil.copy(path, folder / f"{kind}-{number}.png")
    return folder


@pytest.fixture
def mine(tmp_path: Path, few: Path) -> Path:
    """A copy of the digits, to add to."""
    return Path(shutil.copytree(few, tmp_path / "mine"))


def table(path: Path, head: str, rows: Iterable[Iterable[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head.split(","), *rows])
    return path


def names(flat: Path, suffix: str = ".png") -> list[tuple[str, str]]:
    """Name and kind of each."""
    return [(path.stem + suffix, path.name[0]) for path in sorted(flat.glob("*.png"))]


def tuned(run: Run, data: Path, *options: object) -> Any:
    return run("finetune", NET, "--data", data, *HOW, "--save", "team/t", *options)


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        pytest.param("filename,class", ".png", marks=pytest.mark.long),
        pytest.param("image_id,label", "", marks=pytest.mark.long),
        ("Image,Label", ".png"),
    ],
)
def test_tables_of_others(small: Run, flat: Path, head: str, suffix: str) -> None:
    data = table(flat / "t.csv", head, names(flat, suffix))
    said = small("features", NET, data, "--out", flat / "f.safetensors", "--json").done().json
    assert (said["images"], said["classes"]) == (36, [*KINDS])


@pytest.mark.parametrize("between", sampled(";\t", "\t"))
def test_tables_of_other_spreadsheets(small: Run, flat: Path, between: str) -> None:
    """German ones write semicolons; a comma in quotes or in a cell is none."""
    rows = [*names(flat), ("1-0.png", "1, or 2")]
    lines = [
        between.join(row) for row in (("path", "label", '"a,b,c"'), *((*row, "") for row in rows))
    ]
    data = flat / "excel.csv"
    data.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    said = small("features", NET, data, "--out", flat / "f.safetensors", "--skip-bad", "--json")
    assert (said.done().json["images"], said.json["classes"]) == (36, [*KINDS])
    assert len(small("predict", NET, data).done().out.splitlines()) == 37


@pytest.mark.long
def test_tables_with_any_columns(small: Run, flat: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "t.csv", "scan,diagnosis", names(flat))
    options = ("--path-column", "scan", "--label-column", "diagnosis")
    done = tuned(small, data, "--root", flat, *options).done()
    assert "on 6 held-out images" in done.out
    shown = small("show", "team/t", "--json").json
    assert shown["recipe"]["root"] == "flat"
    assert shown["classes"] == [*KINDS]
    said = small("evaluate", "team/t", data, "--root", flat, *options, "--json").done().json
    assert (said["split"], said["metrics"]["accuracy"]) == ("test", shown["metrics"]["accuracy"])
    asked = ("predict", "team/t", data, "--root", flat, *options[:2])
    guesses = small(*asked, "--json").done().json
    assert [one["image"] for one in guesses] == [str(flat / name) for name, _ in names(flat)]
    small("predict", "team/t", data).refused("--path-column NAME says which it is")
    small("rerun", "team/t", "--save", "team/again").done()
    small("export", "team/t", tmp_path / "out").done()
    assert str(tmp_path) not in (tmp_path / "out/README.md").read_text()
    moved = flat.rename(tmp_path / "moved")
    again = ("rerun", "team/t", "--save", "team/third", "--data", data)
    small(*again).refused("no such file")
    small(*again, "--root", moved).done()


@pytest.mark.long
def test_columns_of_0_and_1_and_of_numbers(small: Run, flat: Path) -> None:
    def labels(data: Path, *options: object) -> tuple[list[str], list[int]]:
        how = ("--out", "f.safetensors", "--force", "--json", *options)
        said = small("features", NET, data, *how).done().json
        return said["classes"], [*load_file("f.safetensors")["labels"].shape]

    rows = [(name, "x", *(int(kind == each) for each in KINDS)) for name, kind in names(flat)]
    data = table(flat / "t.csv", "image,note,1,2,3", rows)
    tuned(small, data).refused("has 'x' in the column 'note', which is neither 0 nor 1")
    chosen = ("--label-column", "1,2, 3")
    assert labels(data, *chosen) == ([*KINDS], [36, 3])
    assert labels(data, *chosen, "--task", "classification") == ([*KINDS], [36])
    assert labels(data, *chosen, "--task", "regression") == ([*KINDS], [36, 3])
    tags = table(flat / "m.csv", "image,tags", [(n, f"{k}|all") for n, k in names(flat)])
    several = ("--label-column", "tags", "--task", "multi-label")
    assert labels(tags, *several) == ([*KINDS, "all"], [36, 4])
    table(data, "image,1,2,3", [(name, *([1] * 3)) for name, _ in names(flat)])
    tuned(small, data, "--task", "classification").refused("has 1 in 3 of its columns")
    how = ("--strategy", "probe", "--image-size", 32, "--save", "team/tags", "--quiet")
    small("finetune", NET, "--data", tags, *several, *how).done()
    (row,) = small("ls", "name:team/tags", "--json").json
    precision = row["metrics"]["mean_average_precision"]
    assert f"{precision:.4f} mAP" in small("ls", "name:team/tags").out
    asked = small("search", "name:team/tags", "metric.accuracy>=0").done().out
    assert f"{row['metrics']['accuracy']:.4f} of labels" in asked
    assert "mAP" not in asked
    one = table(flat / "o.csv", "image,odd", [(n, int(k) % 2) for n, k in names(flat)])
    assert labels(one) == (["odd"], [36, 1])


def test_what_columns_are_said_to_be_and_are_not(small: Run, flat: Path) -> None:
    data = table(flat / "t.csv", "scan,diagnosis", names(flat))
    tuned(small, data).refused("it has: scan, diagnosis", "--path-column NAME says which it is")
    near = "no column 'scans' (--path-column); it has: scan, diagnosis; did you mean 'scan'?"
    tuned(small, data, "--path-column", "scans").refused(near)
    some = ("--path-column", "scan")
    tuned(small, data, *some, "--label-column", "diagnose").refused("(--label-column)", "diagnosis")
    tuned(small, data, *some, "--root", flat / "no").refused(f"{flat / 'no'}, is no folder")
    tuned(small, flat, "--root", flat).refused("--root: that is for tables")


@pytest.mark.long
def test_large_images(small: Run, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit they are refused with what would read them, and are not called unreadable."""
    large = mine / "1/large.png"
    Image.new("RGB", (70, 60)).save(large)
    monkeypatch.setattr("zoo.backbones.opening.IMAGE_PIXELS", 2000)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 2000)
    reason = "is 70 x 60 pixels; the limit is 2,000 in total (--max-pixels 4200 reads it)"
    refused = tuned(small, mine).refused(f"1/large.png {reason}")
    assert "readable" not in refused.err
    assert "(1 bad ones left out)" in tuned(small, mine, "--skip-bad").done().out
    allowed = ("--max-pixels", 4200)
    trained = ("--strategy", "full", "--epochs", 1, "--augment", "light", "--seed", 1)
    tuned(small, mine, *allowed, *trained).done()  # crops of large images are as large
    small("predict", "team/t", large).refused(reason)
    small("predict", "team/t", large, *allowed).done()
    small("predict", "team/t", large, *allowed, "--out", "p.csv").done()
    small("evaluate", "team/t", mine).refused(reason)
    assert small("evaluate", "team/t", mine, *allowed, "--json").done().json["split"] == "test"
    small("features", "team/t", mine, *allowed, "--out", "f.safetensors").done()
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4200 * 16 - 1))
    monkeypatch.setattr("zoo.backbones.opening.PIXEL_BYTES", 10**6)
    short = "is 70 x 60 pixels: to decode it takes up to 4.2 GB, and 0.0 GB are free"
    small("predict", "team/t", large, *allowed).refused(short)


@pytest.mark.long
def test_a_zoo_among_the_images_is_no_data(small: Run, mine: Path) -> None:
    """Nor is what it writes there, whatever it is called: it is told once."""
    shutil.move(Path.cwd(), mine / "small")
    shutil.copytree(mine / "small", mine, dirs_exist_ok=True)
    zoo = ("--home", mine)
    text = "'cache', 'manifests', 'objects', 'refs', 'runs', 'small' and 2 more"
    mine.joinpath("cache").mkdir(exist_ok=True)
    done = small(*zoo, "finetune", NET, "--data", mine, *HOW, "--save", "team/t").done()
    assert done.err.count(f"left out, as zoo has written it and it is no data: {text}") == 1
    assert small(*zoo, "show", "team/t", "--json").json["classes"] == [*KINDS]
    report = small(*zoo, "evaluate", "team/t", mine, "--out", mine / "3/report").done()
    assert "left out, as zoo has written it" in report.out
    again = small(*zoo, "evaluate", "team/t", mine, "--split", "all", "--json").done().json
    told = any(remark.endswith("and 3 more") for remark in again["remarks"])
    assert (again["images"], told) == (36, True)
    said = small(*zoo, "predict", "team/t", mine, "--json").done()
    assert len(said.json) == 36
    assert said.err.count("left out") == 1


@pytest.mark.parametrize(
    "suffix",
    sampled([".gif", ".jp2", ".AVIF"], [".AVIF"]),
)
def test_images_of_rarer_formats(small: Run, tmp_path: Path, suffix: str) -> None:
    """A folder of nothing else is a folder of images."""
    for number in range(8):
        folder = tmp_path / "rare" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number * 30, 9, 99)).save(folder / f"{number}{suffix}")
    plan = small("finetune", NET, "--data", tmp_path / "rare", *HOW, "--dry-run").done()
    assert "8 in 2 classes" in plan.out
    everything = ("--data", tmp_path / "rare", "--image-size", 32, "--dry-run")
    assert "images of a class are few" in small("finetune", NET, *everything).done().out
    assert "are few" not in small("finetune", NET, *everything, "--quiet").done().out
    assert len(small("predict", NET, tmp_path / "rare").done().out.splitlines()) == 8


def test_an_empty_class_folder_is_left_out_with_bad_images(small: Run, mine: Path) -> None:
    (mine / "stray").mkdir()
    tuned(small, mine).refused("'stray' has no image")
    said = tuned(small, mine, "--skip-bad").done()
    assert "the class 'stray' has no image, and is left out" in " ".join(said.err.split())
