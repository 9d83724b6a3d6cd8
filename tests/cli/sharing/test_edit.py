"""What nobody wrote down of a checkpoint that is here is stated, and its weights stay the same."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fakes.colored import save_scenes
from fakes.hub_zoo import weights
from fakes.import_runs import NET
from fakes.import_runs import weights as weights_of_vit
from fakes.prepared import PROBES, Run
from fakes.program import zoo as program
from fakes.teammates import NAME, digest_of
from PIL import Image
from safetensors.torch import save_file

import zoo
from zoo.errors import InvalidOption

STATED = ("--mean", "0.5", "--std", "0.5", "--crop", "0.9", "--interpolation", "bicubic",
          "--image-size", "160")  # fmt: skip

BEFORE_0016 = """
ALTER TABLE checkpoint DROP COLUMN stated;
ALTER TABLE item DROP COLUMN stated;
DROP TABLE bench;
DROP INDEX ix_ref_name;
DROP INDEX ix_remote_ref_name;
UPDATE alembic_version SET version_num = '0015';
"""


@pytest.fixture
def old(small: Run) -> Run:
    """A zoo with ``team/old``, of which nothing is known, and a child of it."""
    Path("old.safetensors").write_bytes(weights(7))
    Path("child.safetensors").write_bytes(weights(8))
    Path("names.txt").write_text("\n".join("abcde"))
    how = ("--architecture", "test_resnet")
    small("import", "old.safetensors", "--as", "team/old", *how).done()
    small("import", "child.safetensors", "--as", "team/child", *how, "--parent", "team/old").done()
    return small


def test_classes_and_all_else_are_stated_later(old: Run) -> None:
    before = old("show", "team/old", "--json").json
    outputs = before["head"]["num_classes"]
    Path("names.txt").write_text("\n".join(f"kind {number}" for number in range(outputs)))
    old("tag", "team/old", "team/old:v1").done()
    done = old("edit", "team/old", "--classes", "names.txt", "--license", "mit", "--dataset",
               "flowers", "--metric", "accuracy=0.9", "--note", "found in May").done()  # fmt: skip
    assert f"\n  moved; was {before['manifest'][7:19]} (zoo log team/old)\n" in done.out
    assert "stated: classes, license, metrics, dataset, note; the weights are the same" in done.out
    assert "unknown: preprocessing" in done.out
    assert "team/old:v1 stays as it was" in done.out
    after = old("show", "team/old", "--json").json
    assert (after["license"], after["metrics"], len(after["classes"])) == (
        "mit", {"accuracy": 0.9}, outputs,
    )  # fmt: skip
    said = after["provenance"]
    assert (said["classes"], said["dataset"]) == ("the options", "flowers")
    assert (said["metrics"], said["note"]) == ("stated, not measured: accuracy", "found in May")
    assert (after["weights"], said["sha256"]) == (before["weights"], before["provenance"]["sha256"])
    assert old("show", "team/old:v1", "--json").json["manifest"] == before["manifest"]
    # The history shows it, and what derives from these weights still does.
    log = old("log", "team/old", "--json").json
    assert log["history"][0]["why"] == "edit: classes, license, metrics, dataset, note"
    assert [step["name"] for step in log["descendants"]] == ["team/child"]
    assert after["children"] == 1
    assert old("search", "dataset:flowers", "--json").json[0]["name"] == "team/old"
    again = old("edit", "team/old", "--license", "mit").done()
    assert "nothing changes" in again.out
    assert "moved" not in again.out


def test_preprocessing_is_stated_bit_by_bit(old: Run) -> None:
    part = old("edit", "team/old", *STATED[:4]).done().out
    assert "unknown: classes, interpolation, crop pct, image size" in part
    old("edit", "team/old", *STATED[4:]).done()
    shown = old("show", "team/old", "--json").json
    assert shown["unknown"] == ["classes"]
    assert shown["provenance"]["preprocessing"] == "the options"
    how = shown["preprocessing"]
    assert (how["mean"], how["crop_pct"], how["input_size"]) == ([0.5] * 3, 0.9, [3, 160, 160])
    old("edit", "team/old", "--mean", "0.4").done()
    assert old("show", "team/old", "--json").json["preprocessing"]["std"] == [0.5] * 3
    with zoo.open() as here:
        assert here.edit("team/old", mean=[0.3]).changed == ("preprocessing",)
        (slip,) = here.edit("team/old", metrics={"acuracy": 0.5}).remarks
        assert "did you mean accuracy?" in slip


def test_the_page_prints_what_it_shows(old: Run) -> None:
    page = (Path(__file__).parents[3] / "docs/import.md").read_text()
    old("tag", "team/old", "team/insects").done()
    line, _, shown = page.partition("$ zoo edit ")[2].partition("\n```")[0].partition("\n")
    printed = " ".join(old("edit", *shlex.split(line)).done().out.split())
    wanted = ".*".join(re.escape(" ".join(part.split())) for part in shown.split("…"))
    assert re.fullmatch(f"{wanted} team/old stays as it was", printed), printed


def test_what_cannot_be_is_refused(old: Run) -> None:
    Path("two.txt").write_text("a\nb\n")
    history = old("log", "team/old", "--json").json["history"]
    old("edit", "team/old").refused("nothing is stated", "--classes FILE")
    old("edit", "team/old", "--classes", "two.txt").refused("--classes has 2 names, the weights")
    old("edit", "team/old", "--mean", "123.7").refused("divide by 255")
    old("edit", "team/old", "--metric", "accuracy=91").refused("accuracy=0.725")
    old("edit", history[0]["manifest"], "--license", "mit").refused("edit needs a name")
    old("edit", "team/odl", "--license", "mit").refused("team/old")
    save_file(weights_of_vit(1), "vit.safetensors")
    old("import", "vit.safetensors", "--as", "team/vit", "--architecture", NET).done()
    said = ("a network for images of another size than 320x320", "zoo adapt --image-size 320x320")
    old("edit", "team/vit", "--image-size", "320").refused(*said)
    old("protect", "team/old").done()
    old("edit", "team/old", "--license", "mit").refused("team/old is protected")
    assert len(old("log", "team/old", "--json").json["history"]) == len(history) + 1
    assert "Here it is: zoo edit" in old("annotate", "team/old").err


def test_a_published_name_stays_what_was_published(run: Run) -> None:
    base = "timm/tf_efficientnet_lite0.in1k"
    run("edit", base, "--license", "mit").refused(
        "the name of a published checkpoint", f"zoo tag {base} team/tf_efficientnet_lite0.in1k"
    )


@pytest.mark.long
def test_a_fine_tune_keeps_its_parent_and_what_was_measured(
    probed: Path, few: Path, tmp_path: Path
) -> None:
    name, at = PROBES[0], ("--home", shutil.copytree(probed, tmp_path / "probed"))
    before = program("show", name, "--json", *at).json
    program("evaluate", name, few, *at).done()
    program("edit", name, "--dataset", "digits-of-may", "--license", "mit", *at).done()
    after = program("show", name, "--json", *at).json
    assert (after["parents"], after["recipe"]) == (before["parents"], before["recipe"])
    assert after["provenance"]["stated"] == "dataset, license"
    assert len(after["evaluations"]) == 1
    assert program("search", "dataset:digits-of-may", "--json", *at).json[0]["name"] == name
    program("rerun", name, "--save", "team/again", "--quiet", *at).done()  # its images are known
    preprocessed = program("edit", name, "--crop", "0.9", *at).done()
    assert "its figures are of the preprocessing before" in preprocessed.out
    assert program("show", name, "--json", *at).json["evaluations"] == []


@pytest.fixture
def measured(small: Run, few: Path) -> Run:
    """A zoo with ``team/x``, trained and measured on ``few``."""
    tune = ("finetune", "team/net", "--data", few, "--strategy", "probe", "--image-size", 32)
    small(*tune, "--save", "team/x", "--quiet").done()
    return small


@pytest.mark.long
def test_a_measured_figure_is_not_stated_away(measured: Run, few: Path) -> None:
    found = measured("show", "team/x", "--json").json
    assert "(" not in measured("ls", "team/x").out
    measured("edit", "team/x", "--metric", "accuracy=").refused("was measured", "--force")
    measured("edit", "team/x", "--metric", "accuracy=2").refused("accuracy=0.725")
    lie = ("edit", "team/x", "--metric", "accuracy=1")
    measured(*lie).refused("the accuracy of team/x was measured", "zoo evaluate team/x", "--force")
    assert measured("show", "team/x", "--json").json["manifest"] == found["manifest"]
    again = ("edit", "team/x", "--metric", f"accuracy={found['metrics']['accuracy']}")
    assert "nothing changes" in measured(*again).done().out
    measured(*lie, "--force").done()
    assert "1.0000 (stated)" in measured("ls", "team/x").out
    assert measured("search", "team/x", "--json").json[0]["stated"] == ["accuracy"]
    measured("tag", "team/x", "team/y").done()
    assert "1.000 (stated)" in measured("compare", "team/x", "team/y", "--each-seed").out
    measured("edit", "team/x", "--metric", "f1=0.5", "--license", "mit").done()
    said = measured("show", "team/x", "--json").json["provenance"]["metrics"]
    assert said == "stated, not measured: accuracy, f1"
    # Measured again, it counts before what was stated; and no other one is stated by accident.
    measured("evaluate", "team/x", few, "--split", "test").done()
    anew = measured("show", "team/x", "--json").json["evaluations"][0]["metrics"]["accuracy"]
    row = measured("search", "name:team/x", "--json").json[0]
    assert (row["metrics"]["accuracy"], row["stated"]) == (pytest.approx(anew), ["f1"])
    for where in ((), ("--dataset", few.name)):
        best = measured("best", "name:team/x", *where, "--json").json
        assert (best["value"], best["published"]) == (pytest.approx(anew), "")
    measured("edit", "team/x", "--metric", "accuracy=1.0", "--force").done()
    measured("edit", "team/x", "--metric", "accuracy=0").refused("was measured", "zoo evaluate on")


def test_an_index_of_before_learns_what_was_stated(old: Run) -> None:
    old("edit", "team/old", "--metric", "accuracy=0.9").done()
    with closing(sqlite3.connect("registry.db")) as index:
        index.executescript(BEFORE_0016)
    (row,) = old("ls", "name:team/old", "--json").done().json
    assert (row["metrics"], row["stated"]) == ({"accuracy": 0.9}, ["accuracy"])


def test_a_teammate_gets_it(bare: Run, mine: Path, theirs: Path) -> None:
    bare("edit", NAME, "--license", "mit", "--note", "of May").done()
    pushed = bare("push", NAME, "--to", "lab", "--note", "with its license").done()
    assert "0 sent" in pushed.out  # not a byte of the weights
    bare("fetch", "origin", "--home", theirs).done()
    assert "here: behind" in bare("log", NAME, "--home", theirs).out
    bare("pull", NAME, "--from", "origin", "--home", theirs).done()
    assert digest_of(bare, NAME, theirs) == digest_of(bare, NAME, mine)


def test_a_stated_figure_is_taken_back(old: Run) -> None:
    slip = ("--metric", "acuracy=0.9")
    old("edit", "team/old", *slip, "--metric", "f1=0.5", "--license", "mit").done()
    done = old("edit", "team/old", "--metric", "acuracy=", "--metric", "accuracy=0.9").done()
    assert "stated: metrics" in done.out
    shown = old("show", "team/old", "--json").json
    assert shown["metrics"] == {"accuracy": 0.9, "f1": 0.5}
    assert shown["provenance"]["metrics"] == "stated, not measured: accuracy, f1"
    refused = old("edit", "team/old", "--metric", "acuracy=")
    refused.refused("team/old has no metric 'acuracy' to take back; it has: accuracy, f1")
    old("edit", "team/old", "--metric", "accuracy=", "--metric", "f1=").done()
    shown = old("show", "team/old", "--json").json
    assert (shown["metrics"], "metrics" in shown["provenance"]) == ({}, False)
    assert old("ls", "team/old", "--json").json[0]["metrics"] == {}
    assert old("import", "old.safetensors", "--as", "team/b", "--metric", "f1=").code == 2
    with zoo.open() as here:
        here.edit("team/old", metrics={"f1": 0.5})
        assert here.edit("team/old", unset=["f1"]).changed == ("metrics",)
        with pytest.raises(InvalidOption, match="no metric 'f1'"):
            here.edit("team/old", unset=["f1"])


def test_an_evaluation_says_how_classes_are_stated(old: Run, tmp_path: Path) -> None:
    data = save_scenes(tmp_path / "scenes", 3)
    old("evaluate", "team/old", data).refused("are unknown", "zoo edit team/old --classes FILE")


def test_a_task_is_stated_later(old: Run, few: Path) -> None:
    """Figures of another task are none of it; that of a training is known."""
    old("edit", "team/old", "--metric", "accuracy=0.5").done()
    done = old("edit", "team/old", "--task", "regression").done()
    assert "stated: task; the weights are the same" in done.out
    assert "the task is regression, was classification" in done.out
    assert "its figures are of the task before" in done.out
    assert old("show", "team/old", "--json").json["recipe"] == {"task": "regression"}
    assert "nothing changes" in old("edit", "team/old", "--task", "regression").done().out
    Image.new("RGB", (20, 20)).save("gray.png")
    assert old("predict", "team/old", "gray.png", "--json").json[0]["probabilities"] == []
    tune = ("finetune", "team/child", "--data", few, "--strategy", "probe", "--image-size", 32)
    old(*tune, "--save", "team/tuned", "--quiet").done()
    known = old("edit", "team/tuned", "--task", "multi-label")
    known.refused("team/tuned was trained here for classification")
    done = old("edit", "team/tuned", "--task", "multi-label", "--force").done()
    assert "the task is multi-label, was classification" in done.out
    after = old("show", "team/tuned", "--json").json
    recipe = after["recipe"]
    assert (recipe["task"], recipe["strategy"]) == ("multi-label", "probe")
    assert old("edit", "team/tuned", "--task", "classification", "--force").done()
