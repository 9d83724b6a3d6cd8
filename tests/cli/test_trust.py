"""zoo predict --abstain-at, --no-calibration; what show and evaluate tell of a calibration."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.prepared import TUNED, Run
from PIL import Image

import zoo
from zoo.domain.calibration import CALIBRATION_FILE, Step
from zoo.store.files import add_file

pytestmark = pytest.mark.long
TEMPERED = "team/tempered"
STEPS = (Step(0.5, 10, 10, 0.741), Step(0.2, 20, 15, 0.544))


@pytest.fixture
def tempered(run: Run, home: Path) -> Run:
    """As ``run``, with `TEMPERED`: the fine-tune, as if its validation images had said other."""
    with zoo.open(home) as z:
        kept = z.calibration(TUNED)
    assert kept
    keep(home, replace(kept, temperature=2.0, why="", steps=STEPS).to_bytes(), TEMPERED)
    return run


def keep(home: Path, calibration: bytes, name: str) -> None:
    """The fine-tune with another calibration as ``name``."""
    with zoo.open(home) as z:
        workspace, (_, digest) = z.workspace, z.workspace.names.resolve(TUNED)
        (home / CALIBRATION_FILE).write_bytes(calibration)
        file = add_file(workspace.store, home / CALIBRATION_FILE, name=CALIBRATION_FILE)
        manifest = workspace.store.manifest(digest)
        others = (each for each in manifest.files if each.name != CALIBRATION_FILE)
        whole = replace(manifest, files=(*others, file))
        workspace.commit(whole, zoo.Reference.parse(name), "test")


def test_predictions_say_that_they_are_calibrated(tempered: Run, digits: Path) -> None:
    said = tempered("predict", TEMPERED, digits / "3")
    assert said.err == "probabilities are calibrated: temperature 2\n"
    found = tempered("predict", TEMPERED, digits / "3", "--json").json
    raw = tempered("predict", TEMPERED, digits / "3", "--json", "--no-calibration")
    assert "calibrated" not in raw.err
    for one, other in zip(found, raw.json, strict=True):
        assert (one["calibrated"], other["calibrated"]) == (True, False)
        assert one["probabilities"][0] < other["probabilities"][0]
        assert one["logits"] == other["logits"]
        assert one["abstained"] is None
        assert one["unlike"] is (one["distance"] > 1)


def test_it_abstains_where_it_is_not_sure(tempered: Run, digits: Path) -> None:
    said = tempered("predict", TEMPERED, digits, "--abstain-at", 1)
    assert "WARNING: so few images cannot show 1" in said.err
    assert "it answers where the probability is 0.500 or more: 10 of " in said.err
    assert "of which 1.0000 were right, at least 0.741 with 95 % confidence" in said.err
    found = tempered("predict", TEMPERED, digits, "--abstain-at", 1, "--json").json
    abstained = [one["abstained"] for one in found]
    assert abstained == [one["probabilities"][0] < 0.5 for one in found]
    assert {*abstained} == {True, False}
    lines = said.out.splitlines()
    assert [": no answer: " in line for line in lines] == abstained
    all_of_them = tempered("predict", TEMPERED, digits, "--abstain-at", 0.7, "--json").json
    assert sum(one["abstained"] for one in all_of_them) < sum(abstained)


def test_a_table_has_columns_of_it(tempered: Run, digits: Path, home: Path) -> None:
    tempered("predict", TEMPERED, digits / "3", "--abstain-at", 1, "--out", "p.csv").done()
    rows = list(csv.DictReader(io.StringIO((home / "p.csv").read_text())))
    assert [*rows[0]][-4:] == ["abstained", "unlike", "distance", "problem"]
    for row in rows:
        assert row["abstained"] == ("yes" if float(row["probability_1"]) < 0.5 else "no")
        assert row["unlike"] == ("yes" if float(row["distance"]) > 1 else "no")
    tempered("predict", TEMPERED, digits / "3", "--out", "q.csv").done()
    assert "abstained" not in (home / "q.csv").read_text()


@pytest.mark.parametrize("out", [(), ("--out", "p.csv")])
def test_one_that_is_damaged_is_told_of_once(
    run: Run, home: Path, digits: Path, out: tuple[str, ...]
) -> None:
    keep(home, b"{}", "team/damaged")
    said = run("predict", "team/damaged", sorted((digits / "3").iterdir())[0], *out).done()
    assert said.err.count(CALIBRATION_FILE) == 1
    assert "is left out: not a calibration" in said.err


def test_what_cannot_be_asked_is_refused(tempered: Run, digits: Path) -> None:
    asked = ("predict", TEMPERED, digits)
    tempered(*asked, "--abstain-at", 90).refused("a fraction such as 0.9", "not 90")
    tempered(*asked, "--abstain-at", 0.9, "--no-calibration").refused("takes the calibration")
    tempered("predict", "timm/tf_efficientnet_lite0.in1k", digits, "--abstain-at", 0.9).refused(
        "keeps no table of how accurate its answers are"
    )


def test_show_and_evaluate_tell_of_it(tempered: Run, digits: Path) -> None:
    assert "calibration:" in tempered("show", TEMPERED).out
    assert "temperature 2, of " in tempered("show", TEMPERED).out
    shown = tempered("show", TEMPERED, "--json").json["calibration"]
    assert shown["temperature"] == 2
    assert shown["steps"][0] == {"confidence": 0.5, "answered": 10, "right": 10, "low": 0.741}
    assert shown["typical"]["features"] == 1280
    assert tempered("show", "timm/tf_efficientnet_lite0.in1k", "--json").json["calibration"] is None
    report = tempered("evaluate", TEMPERED, digits, "--json", "--no-save", "--out", "r").json
    assert {"calibration_error", "raw_calibration_error"} <= report["metrics"].keys()
    assert sum(each["count"] for each in report["bins"]) == report["images"]
    assert Path("r/reliability.png").stat().st_size


def test_several_views_are_averaged(tempered: Run, digits: Path) -> None:
    image = sorted((digits / "7").iterdir())[0]
    asked = ("predict", TEMPERED, image, "--json", "--top", 10)
    (one,), (two,) = tempered(*asked).json, tempered(*asked, "--tta", "flip").json
    mirrored = image.with_name("mirrored.png")
    with Image.open(image) as opened:
        opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    try:
        (other,) = tempered("predict", TEMPERED, mirrored, "--json", "--top", 10).json
    finally:
        mirrored.unlink()
    for name, share in zip(two["classes"], two["probabilities"], strict=True):
        alone = [x["probabilities"][x["classes"].index(name)] for x in (one, other)]
        assert share == pytest.approx(sum(alone) / 2, abs=1e-5)
    assert two["distance"] == one["distance"]
    tempered("predict", TEMPERED, image, "--tta", "flip", "--abstain-at", 0.9).refused(
        "takes one view"
    )
    tempered("predict", TEMPERED, image, "--tta", "13").refused(
        "tta must be flip, or a number from 2 to 12"
    )


def test_an_evaluation_of_several_views_is_not_kept(tempered: Run, digits: Path) -> None:
    one = tempered("evaluate", TEMPERED, digits, "--json", "--no-save").json
    done = tempered("evaluate", TEMPERED, digits, "--json", "--tta", "3").json
    assert done["metrics"]["loss"] != one["metrics"]["loss"]
    assert done["kept"] is False
    assert "figures are of 3 views of each image, and not kept" in done["remarks"]


def test_an_export_for_other_runtimes_has_the_temperature_beside_it(
    tempered: Run, home: Path
) -> None:
    said = tempered("export", TEMPERED, "made", "--format", "pt2").done()
    assert "divide them by the temperature 2 of calibration.json" in said.err
    assert "made/calibration.json" in said.out.splitlines()
    with zoo.open(home) as z:
        kept = z.calibration(TEMPERED)
    assert kept
    assert (home / "made" / CALIBRATION_FILE).read_bytes() == kept.to_bytes()
