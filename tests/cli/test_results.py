"""What commands give is a contract: the keys of the JSON, the files that they write."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.prepared import BASE, TUNED, Run
from fakes.typed import pretrained_cfg
from safetensors.torch import load_file, save_file

import zoo
from zoo.backbones import decode
from zoo.backbones.preprocess import read_image
from zoo.errors import InvalidOption

PUSHED = {"ref", "manifest", "moved_from", "change", "logical_bytes", "sent_bytes", "sent_objects",
          "shared_objects", "shared_read", "healed_objects", "damaged_bases",
          "signatures"}  # fmt: skip


def test_init_json(bare: Run) -> None:
    first, second = bare("init", "--json"), bare("init", "--json")
    here = Path.cwd()
    assert first.json == {"root": str(here), "created": True, "inside": None}
    assert second.json == {"root": str(here), "created": False, "inside": None}
    assert json.loads(Path("zoo.json").read_text()) == {"format": 1}
    assert bare("init", "far/inner", "--json").json["inside"] == str(here)


def test_init_inside_a_zoo_says_so(empty: Run) -> None:
    outer = Path.cwd()
    said = empty("init", "a/b").done()
    assert said.out == f"created an empty zoo in {outer / 'a/b'}\n"
    assert f"it lies inside another zoo, {outer}: commands run in {outer / 'a/b'}" in said.err
    assert f"--home {outer}\n" in said.err
    assert "there is a zoo already" in (again := empty("init", "a/b").done()).out
    assert "inside" in again.err
    assert empty("init").done().err == ""


def test_index_json(prepared: Any) -> None:
    total = len(timm.list_pretrained())
    assert prepared.index == {"source": "timm", "entries": total, "came": total, "skipped": []}


def test_pull_json(prepared: Any) -> None:
    assert set(prepared.pull) == {
        "ref", "manifest", "source", "locator", "revision", "moved_from", "change",
    }  # fmt: skip
    assert (prepared.pull["ref"], prepared.pull["source"]) == (BASE, "package")


def test_finetune_json(prepared: Any) -> None:
    got = prepared.finetune
    assert set(got) == {
        "ref", "manifest", "parent", "run", "freeze", "task", "metrics", "seconds",
        "skipped_images", "gained", "warning", "moved_from", "change",
    }  # fmt: skip
    assert (got["skipped_images"], got["moved_from"]) == (0, None)
    assert got["freeze"].pop("kept")
    assert got["freeze"] == {"frozen_units": 12, "trainable_units": 6, "boundary": "blocks.5.0"}
    assert got["ref"] == TUNED
    assert got["parent"] == prepared.pull["manifest"]
    assert 0 <= got["metrics"]["accuracy"] <= 1
    assert got["metrics"]["test_images"] == 40
    assert got["seconds"] > 0


def test_search_json(run: Run) -> None:
    rows = run("search", "tf_efficientnet_lite0", "--json").json
    assert [row["name"] for row in rows] == [TUNED, BASE]
    assert {"name", "kind", "architecture", "params", "input_size", "num_classes", "license",
            "pulled", "metrics", "sources"} <= set(rows[0])  # fmt: skip
    assert rows[0]["pulled"] is True
    assert rows[0]["manifest"] == run("show", TUNED, "--json").json["manifest"]
    assert run("search", "no-such-thing-at-all", "--json").json == []


@pytest.mark.parametrize("name", [TUNED, BASE, "timm/resnet18.a1_in1k"])
def test_show_has_one_screen_and_the_rest_behind_all(run: Run, name: str) -> None:
    def keys(*options: str) -> list[str]:
        return [line.partition(":")[0] for line in run("show", name, *options).out.splitlines()]

    first, whole = keys(), keys("--all")
    assert set(first) < set(whole)
    assert len(first) <= 24
    assert f"--all shows {len(whole) - len(first)} lines more" in run("show", name).err
    assert run("show", name, "--all").err == ""
    asked = {"name", "license", "pull" if name not in (TUNED, BASE) else "manifest"}
    if name == TUNED:
        asked |= {"metrics.accuracy", "parents", "freeze.boundary", "classes"}
        assert {"recipe.lr", "preprocessing.mean"} <= set(whole) - set(first)
    assert asked <= set(first)
    assert run("show", name, "--all", "--json").json == run("show", name, "--json").json


def test_search_filters(run: Run) -> None:
    def found(*arguments: str) -> list[Any]:
        rows: list[Any] = run("search", *arguments, "--limit", 5000, "--json").json
        return rows

    assert {row["name"] for row in found("--pulled")} == {BASE, TUNED}
    known = {row["name"]: row["params"] for row in found("efficientnet lite", "params<30M")}
    assert known[BASE] == 4_652_008, "without --deep, and without having traced it"
    assert len(found("source:timm", "params>0")) == len(timm.list_pretrained())
    small = found("--max-params", "5M", "--pulled")
    assert small
    assert all(row["params"] <= 5_000_000 for row in small)
    licensed = found("--license", "apache-2.0", "--arch", "convnext_tiny*")
    assert licensed
    assert all(row["license"] == "apache-2.0" for row in licensed)
    assert all(row["architecture"].startswith("convnext_tiny") for row in licensed)
    assert {row["num_classes"] for row in found("--num-classes", "10")} == {10}
    assert len(found("--source", "timm")) == len(timm.list_pretrained())
    assert len(run("search", "--limit", 3, "--json").json) == 3


def test_show_json(run: Run, prepared: Any) -> None:
    checkpoint = run("show", TUNED, "--json").json
    assert (checkpoint["kind"], checkpoint["manifest"]) == (
        "checkpoint",
        prepared.finetune["manifest"],
    )
    assert checkpoint["classes"] == [str(number) for number in range(10)]
    assert checkpoint["preprocessing"]["input_size"] == [3, 32, 32]
    assert checkpoint["license"] == "apache-2.0"
    assert checkpoint["metrics"] == prepared.finetune["metrics"]
    assert run("show", checkpoint["manifest"], "--json").json["manifest"] == checkpoint["manifest"]
    entry = run("show", "timm/resnet50.a1_in1k", "--json").json
    assert (entry["kind"], entry["architecture"]) == ("catalog", "resnet50")
    assert entry["pull"] == "zoo pull timm/resnet50.a1_in1k"


@pytest.mark.parametrize("name", [BASE, TUNED, "tf_efficientnet_lite0"])
def test_tree_json(run: Run, name: str) -> None:
    got = run("tree", name, "--json").json
    assert {"architecture", "units", "head"} <= set(got)
    assert got["architecture"] == "tf_efficientnet_lite0"
    assert [unit["depth"] for unit in got["units"]] == list(range(18))
    for unit in got["units"]:
        assert {"name", "stage", "depth", "params", "shape", "cut"} <= set(unit)
        assert isinstance(unit["cut"], bool)
        assert unit["params"] > 0
    assert got["head"]["modules"] == ["classifier"]
    backbone = sum(unit["params"] for unit in got["units"])
    classes = 10 if name == TUNED else 1000  # a checkpoint's head is its own
    assert got["head"]["shape"] == [1, classes]
    assert (backbone, got["head"]["params"]) == (3_371_008, 1281 * classes)
    assert got["params"] == backbone + got["head"]["params"]


def test_push_json(run: Run, tmp_path: Path, prepared: Any) -> None:
    first = run("push", BASE, "--to", tmp_path / "team", "--json").json
    assert set(first) == PUSHED
    assert (first["ref"], first["manifest"]) == (BASE, prepared.pull["manifest"])
    assert first["logical_bytes"] > 18_000_000
    manifest = first["sent_bytes"] - first["logical_bytes"]  # no parent: sent as it is
    assert 0 < manifest < 100_000
    coded = run("push", BASE, "--to", tmp_path / "small", "--repack", "max", "--json").json
    assert 12_000_000 < coded["sent_bytes"] < 0.9 * first["logical_bytes"]
    second = run("push", TUNED, "--to", tmp_path / "team", "--json").json
    assert second["shared_objects"] > 0
    assert second["sent_bytes"] < second["logical_bytes"]
    third = run("push", TUNED, "--to", tmp_path / "team", "--json").json
    assert (third["sent_bytes"], third["sent_objects"]) == (0, 0)


def test_pull_from_json(run: Run, tmp_path: Path) -> None:
    run("push", TUNED, "--to", tmp_path / "team")
    run("init", tmp_path / "other")
    got = run("--home", tmp_path / "other", "pull", TUNED, "--from", tmp_path / "team", "--json")
    assert {"ref", "manifest", "logical_bytes", "received_bytes"} <= set(got.json)
    assert got.json["ref"] == TUNED


def test_import_json(run: Run, tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=3)
    save_file(model.state_dict(), tmp_path / "best.safetensors")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "best.pth")
    manifests = set()
    for file in ("best.safetensors", "best.pth"):
        done = run("import", tmp_path / file, "--architecture", "test_vit", "--as", "team/mine",
                   "--license", "mit", "--json")  # fmt: skip
        assert (done.code, done.err) == (0, "")
        assert set(done.json) == {"ref", "manifest", "nan_tensors", "taken", "moved_from", "change"}
        manifests.add(done.json["manifest"])
    shown = run("show", "team/mine", "--json").json
    assert shown["manifest"] in manifests
    assert (shown["head"]["num_classes"], shown["license"]) == (3, "mit")


@pytest.mark.long
def test_a_folder_that_only_zoo_loads_comes_back(run: Run, tmp_path: Path, digits: Path) -> None:
    folder, image = tmp_path / "model", next((digits / "7").iterdir())
    run("adapt", TUNED, "team/mlp", "--truncate", "blocks.3", "--head", "mlp", "--classes", "10")
    done = run("export", "team/mlp", folder)
    assert "timm does not load it, for its head is of the kind 'mlp'" in done.err
    assert f"zoo does: zoo import {folder} --as NAME" in done.err
    assert not run("export", TUNED, tmp_path / "plain").err
    back = run("import", folder, "--as", "team/back", "--json")
    assert (back.code, set(back.json)) == (
        0,
        {"ref", "manifest", "nan_tensors", "taken", "moved_from", "change"},
    )
    assert run("import", folder / "model.safetensors", "--as", "team/file").code == 0
    logits = [run("predict", name, image, "--json").json[0]["logits"]
              for name in ("team/mlp", "team/back", "team/file")]  # fmt: skip
    assert logits[0] == logits[1] == logits[2]
    assert run("import", folder, "--as", "team/x", "--architecture", "resnet18").code == 2


def test_export_writes_what_timm_loads(run: Run, tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "model"
    got = run("export", TUNED, folder, "--json").json
    names = ("README.md", "calibration.json", "config.json", "model.safetensors")
    assert got == {"files": [str(folder / name) for name in names]}
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "calibration.json", "config.json", "model.safetensors",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert (config["architecture"], config["num_classes"]) == ("tf_efficientnet_lite0", 10)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    written = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, written[name]) for name, tensor in model.state_dict().items())
    assert tuple(pretrained_cfg(model)["input_size"]) == (3, 32, 32)


def test_predict_json(run: Run, digits: Path) -> None:
    images = sorted((digits / "7").iterdir())[:2]
    got = run("predict", TUNED, *images, "--top", 2, "--json").json
    assert [one["image"] for one in got] == [str(image) for image in images]
    for one in got:
        assert set(one) == {"image", "classes", "probabilities", "outputs", "logits", "calibrated",
                            "abstained", "distance", "unlike"}  # fmt: skip
        assert (len(one["classes"]), len(one["probabilities"]), len(one["logits"])) == (2, 2, 10)
        likeliest = sorted(zip(one["logits"], one["outputs"], strict=True), reverse=True)
        assert one["classes"] == [name for _, name in likeliest[:2]]


def test_log_json(run: Run, prepared: Any) -> None:
    got = run("log", TUNED, "--json").json
    assert set(got) == {"name", "manifest", "ancestors", "children", "descendants", "terms",
                        "warnings", "at_remotes", "deleted", "history"}  # fmt: skip
    assert (got["ancestors"][1]["check"]["agrees"], got["warnings"]) == (True, [])
    assert [step["manifest"] for step in got["ancestors"]] == [
        prepared.finetune["manifest"],
        prepared.pull["manifest"],
    ]
    assert got["history"][0]["by"] == "tester"
    children = run("log", BASE, "--json").json["children"]
    assert [child["manifest"] for child in children] == [prepared.finetune["manifest"]]


def test_tag_json(run: Run, prepared: Any) -> None:
    got = run("tag", TUNED, f"{TUNED}:v1", "--json").json
    assert (got["ref"], got["manifest"]) == (f"{TUNED}:v1", prepared.finetune["manifest"])
    assert run("show", f"{TUNED}:v1", "--json").json["manifest"] == got["manifest"]
    back = run("tag", prepared.pull["manifest"], "team/again", "--json").json
    assert back["manifest"] == prepared.pull["manifest"]


def test_remote_json(run: Run, tmp_path: Path) -> None:
    assert run("remote", "--json").json == []
    assert run("remote", "add", "team", tmp_path / "team").code == 0
    assert run("remote", "--json").json == [{"name": "team", "location": str(tmp_path / "team")}]
    assert run("push", TUNED, "--to", "team", "--json").json["sent_objects"] > 0
    assert (tmp_path / "team" / "zoo.json").is_file()
    assert run("remote", "remove", "team").code == 0
    assert run("remote", "--json").json == []
    assert (tmp_path / "team" / "zoo.json").is_file()


def test_predict_takes_all_images_of_a_folder(run: Run, digits: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number, name in enumerate(("b.png", "a/z.JPG", "a/.hidden.png", ".cache/x.png", "a/n.txt")):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sorted((digits / "7").iterdir())[number], photos / name)
    done = run("predict", TUNED, photos)
    named = [line.partition(": ")[0] for line in done.out.splitlines()]
    assert (done.code, named) == (0, [str(photos / name) for name in ("b.png", "a/z.JPG")])
    one_by_one = [run("predict", TUNED, image, "--json").json[0] for image in named]
    assert run("predict", TUNED, photos, "--json").json == one_by_one
    with zoo.open() as z:
        assert [each.to_json() for each in z.predict(TUNED, photos, top=3)] == one_by_one
        for top in (0, -1):
            with pytest.raises(InvalidOption, match="top must be at least 1"):
                z.predict(TUNED, photos, top=top)


def test_a_bad_image_keeps_no_other_from_predict(run: Run, digits: Path, tmp_path: Path) -> None:
    good = sorted((digits / "7").iterdir())[0]
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "void").mkdir()
    named = (tmp_path / "bad.png", tmp_path / "void", good)
    done = run("predict", TUNED, *named)
    assert (done.code, len(done.out.splitlines())) == (1, 1)
    assert done.out.startswith(f"{good}: ")
    assert "bad.png: is not a readable image" in done.err
    assert "void: is a folder without images" in done.err
    done = run("predict", TUNED, *named, "--json")
    assert (done.code, [one["image"] for one in done.json]) == (1, [str(good)])
    assert run("predict", TUNED, tmp_path / "void", "--json").json == []


def test_predictions_are_printed_as_they_come(
    run: Run, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed, read = io.StringIO(), []

    def reading(path: Path, _: Any) -> Any:
        read.append(len(printed.getvalue().splitlines()))
        return read_image(path)

    monkeypatch.setattr(decode, "read_image", reading)
    monkeypatch.setattr("click.echo", lambda text, **_: printed.write(f"{text}\n"))
    run("predict", TUNED, *sorted((digits / "7").iterdir())[:3])
    assert read == [0, 1, 2]
