"""What an exported folder says of its weights is taken by another zoo, as stated by it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import NET, PROBES, Run
from fakes.program import Said, zoo
from fakes.sampled import sampled
from safetensors.torch import load_file, save_file

Config = dict[str, Any]


@pytest.fixture
def exported(probed: Path, empty: Run) -> Path:
    """What Ana has exported, in the folder of an empty zoo."""
    zoo("--home", probed, "export", PROBES[0], "out").done()
    return Path("out")


@pytest.fixture
def truth(probed: Path) -> Config:
    shown: Config = zoo("--home", probed, "show", PROBES[0], "--json").done().json
    return shown


def imported(*more: str) -> tuple[Said, Config]:
    done = zoo("import", "out", "--as", "x/y", *more).done()
    return done, zoo("show", "x/y", "--json").done().json


def rewrite(folder: Path, **record: object) -> None:
    """What a stranger may write there."""
    config = json.loads((folder / "config.json").read_text())
    config["zoo"]["record"] = {**config["zoo"]["record"], **record}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.long
def test_figures_data_and_a_parent_that_is_not_here(exported: Path, truth: Config) -> None:
    plan = zoo("import", "out", "--as", "x/y", "--dry-run").done()
    done, shown = imported()
    line = f"stated by the folder: accuracy {truth['metrics']['accuracy']:.4g}, data set digits, "
    line += f"parent {NET} (not here to be compared)"
    assert done.out.count(line) == plan.out.count(line) == 1
    assert shown["metrics"] == truth["metrics"]
    said = shown["provenance"]
    assert said["metrics"] == "stated by the folder, not measured here"
    assert (said["dataset"], said["parent"]) == ("digits", "stated by the folder")
    parent = {**truth["parents"][0], "relation": "declared"}
    assert shown["parents"] == [parent]
    assert "(stated by a folder)" in zoo("log", "x/y").done().out
    assert zoo("best", "--dataset", "digits", "--json").done().json["name"] == "x/y"
    # The options of the user count, and another name gets its own facts.
    _, own = imported("--metric", "accuracy=0.5", "--dataset", "mine", "--force")
    assert (own["metrics"], own["provenance"]["dataset"]) == ({"accuracy": 0.5}, "mine")
    # Once more on its way: nothing is lost, and what was kept beside is no second record.
    zoo("export", "x/y", "again").done()
    zoo("init", "third").done()
    zoo("--home", "third", "import", "again", "--as", "x/y").done()
    third = zoo("--home", "third", "show", "x/y", "--json").json
    assert (third["metrics"], third["parents"]) == ({"accuracy": 0.5}, [parent])


@pytest.mark.long
def test_a_parent_that_comes_later_is_compared_then(
    exported: Path, truth: Config, probed: Path
) -> None:
    imported("--note", "by mail")
    zoo("pull", NET, "--from", probed).done()
    log = zoo("log", "x/y").done().out
    assert "(stated by a folder)" in log
    assert "agrees: " in log
    again, shown = imported()
    assert "here already as x/y; stated by the folder: accuracy" in again.out
    assert f"data set digits, parent {NET} (its bytes agree)" in again.out
    assert (shown["parents"], shown["provenance"]["note"]) == (truth["parents"], "by mail")
    assert "same bytes as" not in zoo("import", "out", "--as", "x/z").done().out


def test_a_parent_that_is_here_is_compared(exported: Path, truth: Config, probed: Path) -> None:
    zoo("pull", NET, "--from", probed).done()
    done, shown = imported()
    assert f"parent {NET} (its bytes agree)" in done.out
    assert shown["parents"] == truth["parents"]
    assert "agrees: " in zoo("log", "x/y").out
    # A stranger names another checkpoint that is here: its bytes are not of that.
    other = Path("other")
    shutil.copytree(exported, other)
    state = load_file(other / "model.safetensors")
    save_file({name: -tensor for name, tensor in state.items()}, other / "model.safetensors")
    zoo("import", other, "--as", "x/other").done()
    other_digest = zoo("show", "x/other", "--json").json["manifest"]
    rewrite(exported, parent={"ref": "x/other", "manifest": other_digest, "relation": "finetune"})
    refused = zoo("import", "out", "--as", "x/stolen").done()
    assert "not x/other as its parent: no more similar to the parent than unrelated" in refused.out
    assert zoo("show", "x/stolen", "--json").json["parents"] == []
    zoo("import", "out", "--as", "x/other").refused("does not derive from it")


def test_what_is_said_of_other_weights_is_not_taken(exported: Path) -> None:
    """As of a folder in which somebody has trained on."""
    state = load_file("out/model.safetensors")
    save_file({name: 2 * tensor for name, tensor in state.items()}, "out/model.safetensors")
    done, shown = imported()
    assert "nothing that is taken: its figures are of other weights" in done.out
    assert (shown["metrics"], shown["parents"], len(shown["classes"])) == ({}, [], 3)


def test_the_file_alone_and_the_same_zoo(exported: Path, truth: Config, probed: Path) -> None:
    alone = zoo("import", "out/model.safetensors", "--as", "x/file").done()
    assert "stated by the folder: accuracy" in alone.out
    home = shutil.copytree(probed, "copy")
    own = zoo("--home", home, "import", "out", "--as", "x/own", "--json").done().json
    assert own["manifest"] == truth["manifest"]
    assert own["taken"]["folder"] == ""


HOSTILE: dict[str, Config] = {
    "no record": {"record": 7},
    "figures": {"metrics": {"accuracy": 17, "loss": float("nan"), "\x1b[31m": 1, "x" * 300: 1,
                            "a": True, "b": "0.5", "c": [1], "d": 10**400}},
    "too many": {"metrics": {f"m{number}": 0.5 for number in range(5000)}},
    "data": {"dataset": "two\nlines"},
    "long": {"dataset": "x" * 5000},
    "parent": {"parent": {"ref": "../../etc", "manifest": "blake3:" + "0" * 64}},
    "digest": {"parent": {"ref": "a/b", "manifest": "md5:0", "relation": []}},
    "list": {"parent": [1], "metrics": [1], "dataset": {}},
    "hashes": {"weights": {"model.safetensors": ["x"], "../x": 1}},
}  # fmt: skip


@pytest.mark.parametrize("name", sampled(HOSTILE, ["figures", "too many", "parent"]))
def test_what_strangers_write_there_is_bounded(exported: Path, name: str) -> None:
    rewrite(exported, **HOSTILE[name])
    if "record" in HOSTILE[name]:
        config = json.loads((exported / "config.json").read_text())
        config["zoo"]["record"] = 7
        (exported / "config.json").write_text(json.dumps(config))
    done, shown = imported()
    assert len(shown["metrics"]) <= 1000
    assert not {"\x1b[31m", "loss", "a", "b", "c", "d", "x" * 300} & shown["metrics"].keys() or (
        name != "figures"
    )
    assert shown["metrics"].get("accuracy", 0) <= 1
    assert all(parent["ref"] == NET for parent in shown["parents"])
    assert len(shown["provenance"].get("dataset", "")) <= 200
    assert all(char.isprintable() or char == "\n" for char in done.out)
