"""zoo finetune --strategy probe --at auto: from images on the disk to a smaller network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sklearn.datasets import load_digits

BASE = "timm/tf_efficientnet_lite0.in1k"
TRAINED, TESTED = 30, 60
Run = Callable[..., Any]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Scanned digits, 30 of each to train on and 60 to test on: small, and far from ImageNet."""
    data, seen = load_digits(), Counter[int]()
    for pixels, label in zip(data.images, data.target, strict=True):
        seen[label] += 1
        if seen[label] > TRAINED + TESTED:
            continue
        folder = tmp_path / "scans" / ("train" if seen[label] <= TRAINED else "test") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        scan = Image.fromarray((pixels * (255 / 16)).round().astype("uint8"))
        scan.save(folder / f"{seen[label]}.png")
    return tmp_path / "scans"


@pytest.mark.long  # two passes over 900 images
def test_an_inner_unit_beats_the_last_features(run: Run, home: Path, scans: Path) -> None:
    probe = ("finetune", BASE, "--data", scans, "--strategy", "probe", "--image-size", 96,
             "--validation-share", 0, "--device", "cpu", "--quiet", "--json")  # fmt: skip
    last = run(*probe, "--save", "team/last")
    assert (last.code, last.err) == (0, "")
    auto = run(*probe, "--save", "team/inner", "--at", "auto")
    assert (auto.code, auto.err) == (0, "")
    # 600 test images: by far more than a standard error of either.
    assert auto.json["metrics"]["accuracy"] > last.json["metrics"]["accuracy"] + 0.02

    shown = run("show", "team/inner", "--json").json
    unit = shown["backbone"]["options"]["truncate"]
    assert unit.startswith("blocks.")
    assert unit not in ("blocks.6.0", "conv_head")
    tree = run("tree", "team/inner", "--json").json
    whole = run("tree", BASE, "--json").json
    assert tree["units"][-1]["name"] == unit
    assert len(tree["units"]) < len(whole["units"])
    assert tree["params"] < whole["params"]
    folder = home / "runs" / auto.json["run"]
    assert (folder / "depth.png").is_file()

    # What was saved says of each image what was measured.
    images = sorted((scans / "test").glob("*/*.png"))
    said = run("predict", "team/inner", *images, "--json").json
    right = [one["classes"][0] == image.parent.name
             for one, image in zip(said, images, strict=True)]  # fmt: skip
    assert sum(right) / len(right) == auto.json["metrics"]["accuracy"]
