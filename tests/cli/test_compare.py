"""Comparing and identifying on the command line, on real weights and a real fine-tune."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.checkpoints import add_checkpoint, tensors
from fakes.derived import TRAINED, derive, train, weights_of
from fakes.prepared import copy_zoo
from safetensors.numpy import load_file, save_file

from zoo.domain.manifest import Parent
from zoo.domain.recipe import Recipe
from zoo.workspace import Workspace

Run = Callable[..., Any]

BASE = "timm/tf_efficientnet_lite0.in1k"
TUNED, MOVED = "team/digits", "team/moved"
LEAN = """
import json, sys
from zoo_cli.main import main
for line in json.loads(sys.argv[2]):
    try:
        main(line)
    except SystemExit as left:
        assert left.code in (0, None), (line, left.code)
    heavy = set(sys.argv[1].split(",")) & set(sys.modules)
    assert not heavy, (line, heavy)
"""


@pytest.fixture(scope="module")
def derived(prepared: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `moved` copies, and the file that `unknown` does."""
    folder = tmp_path_factory.mktemp("derived")
    with closing(Workspace(copy_zoo(prepared.root, folder / "zoo"))) as workspace:
        derive(workspace, BASE, MOVED, train(weights_of(workspace, BASE), TRAINED))
        values = weights_of(workspace, MOVED)
    halves = {f"model.{k}": v.astype("f2") if v.dtype == "f4" else v for k, v in values.items()}
    save_file(halves, folder / "unknown.safetensors")
    return folder


@pytest.fixture
def moved(derived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A zoo with `MOVED`, whose training moved all behind its boundary; the current folder."""
    workspace = Workspace(copy_zoo(derived / "zoo", tmp_path / "moved"))
    monkeypatch.chdir(workspace.root)
    return workspace


@pytest.fixture
def unknown(derived: Path, moved: Workspace, tmp_path: Path) -> Path:
    """The fine-tune as somebody left it: half precision, another prefix."""
    return Path(shutil.copy(derived / "unknown.safetensors", tmp_path))


def test_diff(run: Run, moved: Workspace) -> None:
    done = run("diff", BASE, MOVED)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.startswith(("blocks", "conv"))}
    assert rows["blocks.4.2"][1:3] == ["identical", "18/18"]
    assert rows["blocks.5.0"][1] == "changed"
    assert float(rows["blocks.5.0"][3]) > 0
    assert any(line.startswith("metrics accuracy") for line in lines)
    assert "1000 before, 10 after" in done.out
    assert max(map(len, lines[:25])) <= 100
    got = run("diff", BASE, MOVED, "--json").json
    assert [unit["status"] for unit in got["units"][:12]] == ["identical"] * 12
    assert run("diff", TUNED, TUNED).out == f"{TUNED} and {TUNED} are the same checkpoint\n"


@pytest.mark.long
def test_identify(run: Run, unknown: Path, tmp_path: Path) -> None:
    done = run("identify", unknown)
    assert (done.code, done.err) == (0, "")
    assert f"{unknown} is a cast of {MOVED}" in done.out
    assert "cast F32 to F16" in done.out
    assert "names begin with model." in done.out
    got = run("identify", unknown, "--json").json
    base = next(one for one in got["matches"] if one["name"] == BASE)
    assert (got["verdict"], base["departs"]) == ("cast", "blocks.5.0")
    torch.save({"weight": torch.randn(64, 64)}, tmp_path / "other.pth")
    done = run("identify", tmp_path / "other.pth")
    assert "unknown" in done.out
    assert "zoo import" in done.err


def test_identify_shows_hostile_names_harmlessly(run: Run, unknown: Path, tmp_path: Path) -> None:
    path = tmp_path / "x\x1b[31m.safetensors"
    save_file({**load_file(unknown), "\x1b]0;owned\x07": np.ones(2)}, path)
    done = run("identify", path)
    assert done.code == 0
    assert all(char.isprintable() or char == "\n" for char in done.out + done.err)
    assert "also has one tensor: ?]0;owned?" in done.out


def test_log_warns_of_a_false_parent_and_shows_descendants(run: Run, moved: Workspace) -> None:
    assert f"  {MOVED}  " in run("log", BASE).out.partition("descendants\n")[2]
    assert "agrees: 20.9% of the weights, 12 of 19 units are its parent's" in run("log", MOVED).out
    # Units that were trained, declared to be frozen; and terms that are not those of its parent.
    derive(
        moved, BASE, "team/boast", weights_of(moved, MOVED), license="cc-by-nc",
        freeze={"boundary": "head"},
    )  # fmt: skip
    moved.close()
    done = run("log", "team/boast")
    assert done.code == 0
    assert "DISAGREES" in done.out
    assert "non-commercial: cc-by-nc, from team/boast" in done.out
    assert "warning: team/boast declares" in done.err
    assert "declared frozen, but not the parent's: blocks.5.0" in done.err
    assert "limits" in run("show", "team/boast").out


def test_best_and_list_arch(run: Run) -> None:
    done = run("best", "--dataset", "digits")
    assert done.out.startswith(TUNED)
    got = run("best", "--dataset", "digits", "--json").json
    assert (got["name"], got["metric"], got["of"]) == (TUNED, "accuracy", 1)
    published = run("best", "--dataset", "imagenet-1k", "params<30M", "pulled:no")
    assert published.out.split()[0] == "timm/tiny_vit_21m_512.dist_in22k_ft_in1k"
    assert "published by timm, not measured here; at 512 pixels" in published.err
    assert run("best", "--dataset", "imagenet-1k", "--json").json["metric"] == "top1"
    missing = run("best", "--dataset", "nothing")
    assert (missing.code, missing.out) == (1, "")
    assert "zoo search" in missing.err
    run("deprecate", TUNED, "use another").done()
    listed = run("list-arch", "tf_efficientnet_lite0").out.splitlines()
    assert "TOP1%" in listed[0].split()
    assert any(line.startswith(f"{TUNED} (deprecated) ") for line in listed)
    assert [line.split()[0] for line in listed] == ["NAME", TUNED, BASE]
    assert run("list-arch", "resnet5*").out.splitlines()[1].split()[:2] == ["resnet50", "timm"]


def test_reindex(run: Run, home: Path) -> None:
    (home / "registry.db").unlink()
    done = run("reindex")
    assert (done.code, done.out) == (0, "2 names, 2 checkpoints indexed\n")
    assert "zoo fetch" in done.err
    assert [row["name"] for row in run("search", "lite0", "digits", "--json").json] == [TUNED]


@pytest.mark.long
def test_looking_up_imports_nothing_heavy(unknown: Path) -> None:
    lines = {
        "torch,timm,numpy": [
            ("show", TUNED), ("log", MOVED), ("best", "--dataset", "digits"),
            ("list-arch", "tf_efficientnet_lite0"),
        ],
        "torch,timm": [("diff", BASE, MOVED), ("identify", str(unknown))],
    }  # fmt: skip
    for heavy, typed in lines.items():
        done = subprocess.run(
            [sys.executable, "-c", LEAN, heavy, json.dumps(typed)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_diff_beside_what_has_no_recipe(toy: Run) -> None:
    """Defaults say nothing: only what was chosen is shown, and who has none."""
    recipe = Recipe(data="/data/digits", epochs=3).to_json()
    values = {name: value + 1 for name, value in tensors().items()}
    with closing(Workspace(Path.cwd())) as workspace:
        add_checkpoint(workspace, "team/tuned", values, recipe=recipe)
    for names, row in (
        (("team/base", "team/tuned"), ("epochs", "-", "3")),
        (("team/tuned", "team/base"), ("epochs", "3", "-")),
    ):
        said = toy("diff", *names).done().out
        lines = [line.split() for line in said.splitlines() if line.startswith("recipe ")]
        assert {line[1] for line in lines} == {"data", "epochs"}
        assert ["recipe", *row] in lines
        chosen = "of that of team/tuned, what was chosen is shown"
        assert f"team/base has no recipe; {chosen}" in said
    other = {**recipe, "data": "/data/more"}
    with closing(Workspace(Path.cwd())) as workspace:
        add_checkpoint(workspace, "team/more", values, recipe=other)
    assert "has no recipe" not in toy("diff", "team/tuned", "team/more").done().out


def test_a_probe_has_no_epochs(toy: Run) -> None:
    """Though its recipe has a default: nothing is trained by it."""
    values = {name: value + 1 for name, value in tensors().items()}
    with closing(Workspace(Path.cwd())) as workspace:
        for name, how in (("probe", {"strategy": "probe"}), ("tuned", {"epochs": 2})):
            recipe = Recipe(data="/data/digits", **how).to_json()
            add_checkpoint(workspace, f"team/{name}", values, recipe={"epochs": 5, **recipe})
    said = toy("diff", "team/probe", "team/tuned").done().out
    assert ["recipe", "epochs", "-", "2"] in [line.split() for line in said.splitlines()]


def test_log_of_a_training_of_all_weights_says_how_near_they_are(toy: Run) -> None:
    values = {name: value * value.dtype.type(1.001) for name, value in tensors().items()}
    with closing(Workspace(Path.cwd())) as workspace:
        base = workspace.names.resolve("team/base")[1]
        parent = Parent(manifest=base, relation="finetune", ref="team/base")
        add_checkpoint(workspace, "team/whole", values, parents=(parent,))
    said = toy("log", "team/whole").done().out
    changed = "agrees: 3 of 3 units have changed and are still like its parent's: cosine 1.000"
    assert f"{changed} (unrelated weights: about 0)" in said
    assert "0.0%" not in said
