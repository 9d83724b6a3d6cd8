"""Data that lies in Parquet files, images and all: trained on, measured, predicted, advised on."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import NET, Run

from zoo.finetune.dataset import packed as reading


def test_parquet_with_images_in_it(small: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    Path("hub").mkdir()
    files = sorted(few.rglob("*.png"))
    for part, of in (("train", files[::2]), ("test", files[1::2])):
        images = [{"bytes": file.read_bytes(), "path": file.name} for file in of]
        rows = {"image": images, "label": [file.parent.name for file in of]}
        parquet.write_table(arrow.table(rows), f"hub/{part}-00000-of-00001.parquet")
    tune = ("finetune", NET, "--image-size", 32, "--save", "team/new")
    told = small(*tune, "--data", "hub", "--strategy", "probe", "--json").done().json
    assert told["metrics"]["test_images"] == len(files) // 2
    test = "hub/test-00000-of-00001.parquet"
    measured = small("evaluate", "team/new", test, "--json").done().json
    assert measured["images"] == len(files) // 2
    predicted = small("predict", "team/new", test, "--json").done().json
    assert predicted[0]["image"] == f"{test}/0"
    small("predict", "team/new", "hub", "--out", "p.csv").done()
    table = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    assert [row["path"] for row in table[:2]] == [each["image"] for each in predicted[:2]]
    assert [row["class_1"] for row in table[:2]] == [each["classes"][0] for each in predicted[:2]]
    assert len(table) == len(files)
    assert not any(row["problem"] for row in table)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "_cells", None)  # what is complete is seen by names alone
        small("predict", "team/new", "hub", "--out", "p.csv", "--resume").done()
    Path(test).unlink()
    Path("hub/no.txt").write_text("")
    small("advise", "hub", "--base", NET, "--json").done()
    shutil.rmtree("hub")
    small("predict", "team/new", "hub").refused("hub: no such file")
