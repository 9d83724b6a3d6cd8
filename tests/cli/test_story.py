"""The main job from end to end, as a user types it and as a program calls it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import zoo

Run = Callable[..., Any]

BASE = "timm/tf_efficientnet_lite0.in1k"
TUNED = "team/digits"


def test_on_the_command_line(console: Run, few: Path, tmp_path: Path) -> None:
    mine, theirs, team = tmp_path / "mine", tmp_path / "theirs", tmp_path / "team"
    mine.mkdir()
    theirs.mkdir()
    image = min((few / "3").iterdir())

    def zoo_in(place: Path, *arguments: object) -> Any:
        done = console(*arguments, "--json", cwd=place)
        assert (done.code, done.err) == (0, ""), done
        return done.json

    zoo_in(mine, "init")
    assert zoo_in(mine, "index", "timm")["entries"] == len(timm.list_pretrained())
    found = zoo_in(mine, "search", "efficientnet", "lite", "--license", "apache-2.0")
    assert BASE in [row["name"] for row in found]
    pulled = zoo_in(mine, "pull", BASE)
    units = zoo_in(mine, "tree", BASE)["units"]
    assert "blocks.4" in [unit["stage"] for unit in units]
    tuned = zoo_in(mine, "finetune", BASE, "--data", few, "--freeze", "blocks.4", "--head",
                   "linear", "--image-size", 32, "--epochs", 1, "--save", TUNED,
                   "--quiet")  # fmt: skip
    assert tuned["parent"] == pulled["manifest"]
    assert 0 <= tuned["metrics"]["accuracy"] <= 1
    steps = zoo_in(mine, "log", TUNED)["ancestors"]
    assert [step["manifest"] for step in steps] == [tuned["manifest"], pulled["manifest"]]
    zoo_in(mine, "push", BASE, "--to", team)
    sent = zoo_in(mine, "push", TUNED, "--to", team)
    assert sent["shared_objects"] > 0
    assert sent["sent_bytes"] < 0.95 * sent["logical_bytes"], "frozen layers are not sent again"

    zoo_in(theirs, "init")
    got = zoo_in(theirs, "pull", TUNED, "--from", team)
    assert got["manifest"] == tuned["manifest"]
    here, there = (zoo_in(place, "predict", TUNED, image)[0] for place in (mine, theirs))
    assert here["logits"] == there["logits"]
    assert here["classes"] == there["classes"]


def test_from_python(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, team = min((few / "3").iterdir()), tmp_path / "team"
    with zoo.init(tmp_path / "mine"):
        pass
    monkeypatch.chdir(tmp_path / "mine")
    with zoo.open() as mine, zoo.init(tmp_path / "theirs") as theirs:
        done = mine.pull(BASE)
        base = done.manifest
        assert done.release is not None
        assert (str(done.ref), done.release.source) == (BASE, "package")
        assert [found.name for found in mine.search("efficientnet lite0", pulled=True)] == [BASE]
        assert mine.tree(BASE).units[0].name == "conv_stem"
        run = mine.finetune(BASE, few, TUNED, freeze="blocks.4", image_size=32, epochs=1)
        assert (run.parent, run.freeze["boundary"]) == (base, "blocks.5.0")
        model = mine.load(TUNED)
        assert isinstance(model, torch.nn.Module)
        assert not model.training
        card: Any = model.zoo
        assert list(card.classes) == ["1", "2", "3"]
        parts = mine.load(BASE).state_dict()
        tuned = model.state_dict()
        frozen = [name for name in tuned if name.startswith(("conv_stem", "bn1", "blocks.4"))]
        assert frozen
        assert all(torch.equal(tuned[name], parts[name]) for name in frozen)
        mine.push(TUNED, team.as_posix())
        pulled = theirs.pull(TUNED, remote=str(team))
        assert (str(pulled.ref), pulled.manifest) == (TUNED, run.manifest)
        here, there = (place.predict(TUNED, [image])[0] for place in (mine, theirs))
        assert here.logits == there.logits
        assert mine.log(TUNED).ancestors[1].manifest == base
        assert theirs.show(TUNED).to_json()["manifest"] == str(run.manifest)
        with pytest.raises(zoo.ZooError, match="unknown checkpoint"):
            theirs.load("team/nothing")


@pytest.mark.long
def test_demo(console: Run, tmp_path: Path) -> None:
    began = time.monotonic()
    done = console("demo", "show-me", cwd=tmp_path)
    seconds = time.monotonic() - began
    assert done.code == 0, done.err
    assert "bit-equal in both zoos" in done.out
    assert seconds < 300
    shown = console("show", "demo/digits", "--json", cwd=tmp_path / "show-me" / "mine").json
    assert shown["metrics"]["accuracy"] >= 0.95
    again = console("demo", "show-me", cwd=tmp_path)
    assert again.code == 1
    assert "not an empty folder" in again.err
