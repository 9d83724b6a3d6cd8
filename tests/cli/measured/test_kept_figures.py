"""What `zoo evaluate` finds is kept, and found again by search, best and show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import NET, PROBES, Run
from PIL import Image
from registry.databases import execute
from safetensors.torch import load_file, save_file

from zoo.store.disk import Disk
from zoo.store.side_files import EVALUATIONS

A, B = PROBES


@pytest.fixture
def garden(other: Path) -> Path:
    """Digits that nothing was trained on."""
    return other.rename(other.parent / "garden")


def kept(home: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(home.glob("evaluations/*/*.json"))]


def test_a_split_alone_is_called_with_its_folder(run: Run, home: Path, garden: Path) -> None:
    (garden.parent / "roses").mkdir()
    run("evaluate", A, garden.rename(garden.parent / "roses" / "test")).done()
    assert [each["data"] for each in kept(home)] == ["roses-test"]
    assert run("best", "--dataset", "roses-test", "--json").done().json["name"] == A


@pytest.mark.long
def test_figures_are_found_from_the_files_alone(run: Run, home: Path, garden: Path) -> None:
    found = run("evaluate", A, garden, "--against", B, "--json").done().json
    value, rival = (each["metrics"]["accuracy"] for each in (found, found["against"]))
    assert found["kept"]
    for again in (False, True):
        if again:  # an index is only that
            (home / "registry.db").unlink()
        rows = run("search", "metric.accuracy@garden>0", "--json").done().json
        assert {row["name"]: row["metrics"]["accuracy@garden"] for row in rows} == {
            A: value, B: rival,
        }  # fmt: skip
        # What it showed on its own test images stays its result.
        own = run("show", A, "--json").json
        (row,) = (row for row in rows if row["name"] == A)
        assert row["metrics"]["accuracy"] == own["metrics"]["accuracy"] != value
        winner = run("best", "--dataset", "garden", "--json").done().json
        best = max((value, A), (rival, B))
        assert (winner["value"], winner["name"], winner["of"]) == (*best, 2)
        assert winner["evaluation"]["images"] == 16
        assert winner["other_data"] == []
        (shown,) = own["evaluations"]
        assert shown["metrics"] == found["metrics"]
        assert (shown["data"], shown["split"], shown["images"]) == ("garden", "all", 16)
    text = run("show", A).done().out
    assert f"accuracy {value:.4f}" in text
    assert "on 16 images of garden, 20" in text
    assert f"accuracy {best[0]:.6g} on garden" in run("best", "--dataset", "garden").out


def test_once_more_takes_its_place(run: Run, home: Path, garden: Path) -> None:
    run("evaluate", A, garden).done()
    shutil.copytree(garden, garden.parent / "moved" / "garden")
    again = run("evaluate", A, garden.parent / "moved" / "garden").done()
    assert "not kept" not in again.err
    assert len(kept(home)) == 1
    Image.new("RGB", (8, 8)).save(garden / "1" / "more.png")
    more = run("evaluate", A, garden, "--json").done().json
    assert len(kept(home)) == 2  # of other data
    (row,) = run("search", "metric.accuracy@garden>=0", "--json").json
    assert row["metrics"]["accuracy@garden"] == more["metrics"]["accuracy"]  # the newest


@pytest.mark.long
def test_a_loss_without_temperature_is_not_mixed_silently(
    run: Run, home: Path, garden: Path
) -> None:
    """Of an earlier version, which measured all but the loss by the temperature."""
    run("evaluate", A, garden, "--against", B).done()
    (path,) = (each for each in home.glob("evaluations/*/*.json")
               if json.loads(each.read_text())["manifest"]
               == run("show", A, "--json").json["manifest"])  # fmt: skip
    one = json.loads(path.read_text())
    one["metrics"].pop("raw_loss", None)
    path.chmod(0o644)
    path.write_text(
        json.dumps({**one, "metrics": {**one["metrics"], "raw_calibration_error": 0.1}})
    )
    run("reindex").done()
    said = run("best", "--dataset", "garden", "--metric", "loss").done().err
    assert f"{A}: the loss without temperature, by an earlier version; zoo evaluate again\n" in said
    listed = run("search", "metric.loss@garden>0").done().out.splitlines()
    marked = [line.split()[0] for line in listed if "(without temperature)" in line]
    assert marked == [A]
    run("evaluate", A, garden).done()
    assert "without temperature" not in run("best", "--dataset", "garden", "--metric", "loss").err


def test_what_is_not_kept(
    run: Run, home: Path, garden: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # a zoo that may only be read; root may write everywhere
        patch.setattr("zoo.finetune.evaluation.os.access", lambda *_: False)
        assert not run("evaluate", A, garden, "--json").done().json["kept"]
    assert not run("evaluate", A, garden, "--no-save", "--json").done().json["kept"]
    seen = run("evaluate", A, few, "--split", "all").done().out
    assert "say nothing about new images, and are not kept" in seen
    assert not kept(home)
    assert run("evaluate", A, few, "--json").done().json["kept"]  # of its own test images
    assert [each["split"] for each in kept(home)] == ["test"]


def test_of_what_was_not_trained_here_it_is_the_result(run: Run, home: Path, garden: Path) -> None:
    run("export", A, "out").done()
    (home / "classes.txt").write_text("1\n2\n3\n")
    (weights,) = (home / "out").glob("*.safetensors")
    known = json.loads((home / "out/config.json").read_text())
    (home / "plain").mkdir()
    # Other bytes: the very file would be the fine-tune, with its figures.
    save_file(load_file(weights), home / "plain/w.safetensors", metadata={"by": "them"})
    options = ("--architecture", known["architecture"], "--classes", "classes.txt")
    run("import", "plain/w.safetensors", *options, "--as", "them/x", "--dataset", "few").done()
    assert not run("search", "name:them/x metric.accuracy>=0", "--json").json
    value = run("evaluate", "them/x", garden, "--json").done().json["metrics"]["accuracy"]
    (row,) = run("search", "name:them/x metric.accuracy>=0", "--json").json
    assert row["metrics"]["accuracy"] == row["metrics"]["accuracy@garden"] == value
    assert run("best", "name:them/x", "--dataset", "garden", "--json").json["value"] == value
    # It says nothing of the data that it is said to be trained on.
    run("best", "name:them/x", "--dataset", "few").refused("unknown result")


def test_it_goes_with_its_checkpoint(run: Run, home: Path, garden: Path) -> None:
    run("evaluate", A, garden, "--against", B).done()
    run("delete", A).done()
    run("delete", "--restore", A).done()
    assert run("show", A, "--json").json["evaluations"]
    run("delete", A).done()
    run("prune", "--keep", 0, "--grace", 0, "--yes").done()
    run("verify").done()
    (left,) = kept(home)
    assert left["manifest"] == run("show", B, "--json").json["manifest"]


def test_damage_is_told_and_costs_nothing_else(run: Run, home: Path, garden: Path) -> None:
    run("evaluate", A, garden, "--against", B).done()
    (file,) = home.glob(f"evaluations/{run('show', A, '--json').json['manifest'][7:]}/*.json")
    good = file.read_text()
    for bad in (
        "[", "{}", good.replace('"images": 16', '"images": "x"'),
        good.replace(file.stem, "0" * 64), good.replace('"accuracy": 0', '"accuracy": 1e999'),
        "[" * 100_000, good.replace('"garden"', '"a\\u0000b"'),
    ):  # fmt: skip
        assert bad != good
        file.chmod(0o644)
        file.write_text(bad)
        assert len([*EVALUATIONS.unread(Disk(home))]) == 1, bad[:200]
    said = run("verify")
    assert said.code == 1
    place = f"evaluations/{file.parent.name}/{file.name}"
    assert f"damaged  evaluation {place}: it is damaged" in said.out
    (home / "registry.db").unlink()
    again = run("search", "metric.accuracy@garden>=0", "--json").done()
    assert "is left out: it is damaged" in again.err
    assert [row["name"] for row in again.json] == [B]
    assert "delete it, and evaluate again" in run("show", A).done().err


def test_an_older_index_is_opened(run: Run, home: Path, garden: Path) -> None:
    execute(
        home / "registry.db",
        "ALTER TABLE checkpoint DROP COLUMN stated; ALTER TABLE item DROP COLUMN stated;"
        "ALTER TABLE checkpoint DROP COLUMN note; ALTER TABLE item DROP COLUMN note;"
        "ALTER TABLE remote_ref DROP COLUMN note; ALTER TABLE remote_ref DROP COLUMN author;"
        "DROP INDEX ix_ref_name; DROP INDEX ix_remote_ref_name;"
        "DROP TABLE bench; DROP TABLE evaluation; UPDATE alembic_version SET version_num = '0013';",
    )
    run("evaluate", A, garden).done()
    assert run("best", "--dataset", "garden", "--json").done().json["name"] == A
    assert run("show", NET, "--json").json["evaluations"] == []
