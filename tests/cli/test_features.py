"""zoo features: what it prints and what it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.sampled import sampled
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from zoo.errors import InvalidImage
from zoo.finetune.features import write

Run = Callable[..., Any]
TUNED = "team/digits"


def test_a_file_of_features(run: Run, few: Path, home: Path) -> None:
    command = ("features", TUNED, few, "--at", "blocks.1", "--out", "features.safetensors")
    done = run(*command, "--json")
    assert (done.code, done.err) == (0, "")
    manifest = run("show", TUNED, "--json").json["manifest"]
    assert done.json == {
        "path": "features.safetensors", "manifest": manifest, "unit": "blocks.1.1", "images": 36,
        "skipped_images": 0, "features": 24, "classes": list("123"),
    }  # fmt: skip
    features = load_file(home / "features.safetensors")["features"]
    assert features.shape == (36, 24)

    again = run(*command)
    assert again.code == 1
    assert "features.safetensors exists; --force replaces it" in again.err

    done = run(*command[:-4], "--out", "features.safetensors", "--force", "--batch-size", 64)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("features.safetensors  36 x 1280 features at head of ")
    assert load_file(home / "features.safetensors")["features"].shape == (36, 1280)


@pytest.mark.long
@pytest.mark.parametrize("architecture", sampled(["test_resnet", "test_vit"], ["test_resnet"]))
def test_features_at_another_size_are_those_of_the_network_for_that_size(
    small: Run, few: Path, tmp_path: Path, architecture: str
) -> None:
    """Also where the network must be built anew for it, as its positions have embeddings."""
    save_file(timm.create_model(architecture).state_dict(), tmp_path / "x.safetensors")
    line = ("import", tmp_path / "x.safetensors", "--architecture", architecture)
    small(*line, "--as", "team/x").done()
    small("adapt", "team/x", "team/adapted", "--image-size", 64).done()
    codes, about = list[torch.Tensor](), list[dict[str, str]]()
    for name, size in (("team/x", ("--image-size", 64)), ("team/adapted", ())):
        out = tmp_path / "codes.safetensors"
        small("features", name, few / "1", *size, "--out", out, "--force").done()
        with safe_open(out, "pt") as file:
            about.append(file.metadata())
            codes.append(file.get_tensor("features"))
    assert [each["image_size"] for each in about] == ["64x64", "64x64"]
    one, other = codes
    assert torch.allclose(one, other, atol=1e-5)
    small("features", "team/x", few, "--image-size", 4, "--out", out, "--force").refused(
        "image size must be at least 8"
    )


@pytest.mark.long
def test_images_without_labels(small: Run, few: Path, tmp_path: Path) -> None:
    """A folder of images alone, a pattern, one image: features and paths, and no labels."""
    flat, out = few / "1", tmp_path / "codes.safetensors"
    names = sorted(path.name for path in flat.iterdir())
    command = ("features", "team/net", "--out", out, "--force")
    expected: Any = None
    for data, paths in (
        (flat, names),
        (flat / "*.png", [str(flat / name) for name in names]),
        (flat / names[0], [str(flat / names[0])]),
    ):
        done = small(*command, data, "--json").done()
        assert (done.json["images"], done.json["classes"]) == (len(paths), [])
        with safe_open(out, "pt") as file:
            assert list(file.keys()) == ["features"]
            about = file.metadata()
            codes = file.get_tensor("features")
        assert json.loads(about["paths"]) == paths
        assert about["task"] == "none"
        expected = codes if expected is None else expected
        assert torch.allclose(codes, expected[: len(codes)], atol=1e-5)
    small(*command, few).done()  # its class folders are labels, as they were
    assert set(load_file(out)) == {"features", "labels"}


def test_images_without_labels_that_cannot_be_used(small: Run, few: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    shutil.copytree(few / "1", flat)
    min(flat.iterdir()).write_bytes(b"text")
    command = ("features", "team/net", "--out", tmp_path / "codes")
    small(*command, flat).refused("is not a readable image", "--skip-bad leaves out 1 image")
    assert small(*command, flat, "--skip-bad").done().out.endswith("; 1 bad image left out\n")
    small(*command, tmp_path / "*.jpg", "--force").refused("no images")
    small(*command, flat, "--force", "--task", "regression").refused("--task: that is for labeled")
    small("finetune", "team/net", "--data", flat, "--save", "team/a").refused("no class folders")


def test_a_misspelt_unit(run: Run, digits: Path, home: Path) -> None:
    done = run("features", TUNED, digits, "--at", "block.1", "--out", "features.safetensors")
    assert (done.code, done.out) == (1, "")
    assert "did you mean" in done.err
    assert "blocks.1" in done.err
    other = run("features", TUNED, digits, "--out", "features.npz")
    other.refused("written as safetensors; name it features.safetensors")
    assert not (home / "features.safetensors").exists()


@pytest.mark.long
def test_bad_images_are_counted(small: Run, few: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(few, data)
    for name in ("1", "2"):
        min((data / name).iterdir()).write_bytes(b"text")
    features = ("features", "team/net", data, "--out", tmp_path / "codes")
    assert small(*features).code == 1
    assert small(*features, "--skip-bad").out.endswith("; 2 bad images left out\n")
    tune = ("finetune", "team/net", "--data", data, "--save", "team/a", "--strategy", "probe",
            "--image-size", 32)  # fmt: skip
    refused = small(*tune)
    assert refused.code == 1
    assert "is not a readable image" in refused.err
    assert len(small("runs", "--json").json) == 0  # nothing was begun
    assert "held-out images (2 bad ones left out)\n" in small(*tune, "--skip-bad").out
    assert small(*tune, "--skip-bad", "--json").json["skipped_images"] == 2


def test_no_folder_is_left_where_it_fails(
    small: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise InvalidImage("1/a.png", "it is damaged")

    monkeypatch.setattr(write, "extract", failing)
    (tmp_path / "there").mkdir()
    for folder in ("no/such", "there/no"):
        said = small("features", "team/net", few, "--out", tmp_path / folder / "codes")
        assert (said.code, "it is damaged" in said.err) == (1, True)
    assert [*tmp_path.rglob("*no*")] == []
    assert (tmp_path / "there").exists()
