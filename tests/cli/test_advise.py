"""zoo advise: what it says of images, what it writes, and that it changes nothing."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.colored import CLASSES, save_scenes, scene
from fakes.prepared import NET, Run
from fakes.program import Said
from PIL import Image

import zoo
from zoo.advice import held_out, reading
from zoo.backbones.features import extract
from zoo.finetune.strategies import linear

ADVISE = ("--base", NET, "--image-size", 32, "--budget", 0)


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds are drawn once: what they tell of depths is tested elsewhere."""
    monkeypatch.setattr(held_out, "MOST_REPEATS", 1)
    monkeypatch.setattr(linear, "CS", (0.01, 1.0))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_scenes(tmp_path_factory.mktemp("scenes") / "scenes", 16)


@pytest.fixture
def data(tmp_path: Path, template: Path) -> Path:
    """48 pictures of three colors, in class folders."""
    return Path(shutil.copytree(template, tmp_path / "data"))


def both(small: Run, data: Path, *options: object) -> tuple[Any, Said]:
    """What is written as JSON, and what is printed, of asking once."""
    out = data.parent / "both"
    said = small("advise", data, *ADVISE, *options, "--out", out).done()
    return json.loads((out / "advice.json").read_text()), said


@pytest.mark.long
def test_what_the_images_are(small: Run, data: Path) -> None:
    (data / "red" / "0.png").write_bytes(b"text")
    (data / "red" / "1.png").unlink()
    scene(99, "blue").resize((20, 30)).save(data / "blue" / "tiny.png")
    shutil.copy(data / "blue" / "2.png", data / "blue" / "copy.png")
    done = small("advise", data, *ADVISE, "--json")
    assert (done.code, "team/net on 48 images of " in done.err) == (0, True)
    advice = done.json
    facts = advice["facts"]
    assert sum(facts["images"].values()) == 48
    assert facts["classes"] == {"blue": 18, "green": 16, "red": 14}
    assert facts["balance"] == pytest.approx(18 / 14)
    assert facts["sizes"] == {
        "smallest": [20, 30], "median": [48, 48], "largest": [48, 48], "enlarged": 1,
    }  # fmt: skip
    ((skipped, reason),) = facts["skipped_images"]
    assert (skipped, "not a readable image" in reason) == ("red/0.png", True)
    (pair,) = facts["duplicates"]
    assert (pair["image"], pair["other"]) == ("blue/2.png", "blue/copy.png")
    assert (pair["copy"], pair["difference"]) == (True, 0)
    assert facts["leaks"] == []
    assert facts["learnable"]["learnable"] is True
    assert advice["groups"] is None
    said = small("advise", data, *ADVISE, "--quiet")
    assert said.err == ""
    assert "classes             blue 18, green 16, red 14\n" in said.out
    assert "unusable            1 image, such as red/0.png: " in said.out
    assert "1 pair of images, 1 of them copies" in said.out


def test_what_each_depth_knows(small: Run, data: Path) -> None:
    """Of pictures of three colors the first layers know all; test images choose nothing."""
    advice, said = both(small, data)
    layers = advice["layers"]
    assert (layers["images"], layers["score"]) == (39, "accuracy")  # of 48, without a fifth
    at = [each["at"] for each in layers["depths"]["depths"]]
    assert at[-2:] == ["head", "all"]
    first = layers["depths"]["depths"][0]
    assert first["score"] > 0.9
    assert first["low"] < first["score"] <= first["high"]
    assert [size["images"] for size in layers["growth"]["sizes"]] == sorted(
        size["images"] for size in layers["growth"]["sizes"]
    )
    assert layers["growth"]["low"] <= layers["growth"]["brings"] <= layers["growth"]["high"]
    assert "PROBE AT" in said.out
    told = f"zoo finetune {NET} --data {data} --image-size 32 --strategy probe --at all"
    plain = " ".join(said.out.split())
    assert told in plain
    smaller = f"a need for a smaller network: probe at {layers['depths']['best']} ("
    assert smaller in plain
    small(*told.split()[1:], "--save", "team/probe", "--json").done()


@pytest.mark.long
def test_a_base_that_has_the_classes_already(small: Run, data: Path, tmp_path: Path) -> None:
    """It is asked as it is, and told, but not where it was trained on some of the images."""
    small(
        "finetune", NET, "--data", data, "--image-size", 32, "--strategy", "probe",
        "--at", "all", "--save", "team/does",
    ).done()  # fmt: skip
    line = ("advise", data, "--base", "team/does", "--budget", 0)
    for images in (39, 40):  # nine are to test on, which it has not seen; then one is new
        seen = small(*line, "--json").done().json
        assert "as it is" not in [each["name"] for each in seen["plan"]["tried"]]
        said = f"was trained on 39 of these {images} images"
        assert any(said in remark for remark in seen["remarks"]), seen["remarks"]
        scene(99, "blue").save(data / "blue" / "more.png")
        small("edit", "team/does", "--license", "mit").done()
    new = save_scenes(tmp_path / "new", 16, first=5000)
    line = ("advise", new, *line[2:])
    other = small(*line, "--json").done().json
    row = next(each for each in other["plan"]["tried"] if each["name"] == "as it is")
    assert (row["score"] > 0.9, row["images"]) == (True, other["layers"]["images"])
    assert other["plan"]["advised"] != "as it is"
    assert "nothing need be trained" in other["plan"]["as_it_is"]
    assert "Perhaps not needed: team/does has these classes" in small(*line).done().out
    names = {row["name"] for row in small("runs", "--trials", "--json").json}
    assert "as it is" not in names


def test_of_too_few_images_no_depth_is_told(small: Run, data: Path) -> None:
    for number in range(6, 16):
        for name in CLASSES:
            (data / name / f"{number}.png").unlink()
    advice, said = both(small, data)
    assert advice["layers"] is None
    assert "there are too few images" in said.out


@pytest.mark.long
def test_a_class_of_one_image_is_left_out_and_named(small: Run, data: Path) -> None:
    """A fine-tune refuses it: what advice is asked for is what to do then."""
    (data / "rare").mkdir()
    scene(7).save(data / "rare" / "one.png")
    (data / "none").mkdir()
    (data / "none" / "bad.png").write_bytes(b"text")
    advice, said = both(small, data)
    assert advice["facts"]["classes"] == {"blue": 16, "green": 16, "red": 16}
    assert ["rare/one.png", "is alone in its class"] in advice["facts"]["skipped_images"]
    assert [text for text in advice["remarks"] if "asks for two of each" in text] == [
        f"the class '{name}' has {many} that can be used, and is left out here; "
        "zoo finetune asks for two of each"
        for name, many in (("none", "no image"), ("rare", "one image"))
    ]
    refused = small("finetune", NET, "--data", data, "--save", "team/x", "--skip-bad")
    refused.refused("class 'rare' has one image", "class 'none' has no image")
    plan = advice["plan"]
    why = "zoo finetune asks for two images of each class, and fewer are of none, rare"
    assert (plan["command"], plan["refused"]) == ("", why)
    assert f"There is no command for it yet: {why}" in " ".join(said.out.split())
    assert "--budget 10m allows" not in said.out
    assert why in (data.parent / "both" / "advice.html").read_text()
    early = small("advise", data, *ADVISE, "--run", "--save", "team/x")
    early.refused("class 'rare' has one image", "class 'none' has no image")
    early.refused("none/bad.png is not a readable image, and is left out")  # why it has none
    early.refused("add images of what has too few, or take it out of the data; zoo advise without")
    assert "probing each depth" not in early.err


@pytest.mark.long
def test_no_name_becomes_a_formula_of_a_spreadsheet(small: Run, data: Path, tmp_path: Path) -> None:
    """In tables that people read; that for a fine-tune has names as they are."""
    shutil.move(data / "red", data / "=1+1")
    shutil.copy(data / "=1+1" / "3.png", data / "=1+1" / "copy.png")
    out = tmp_path / "advice"
    small("advise", data, *ADVISE, "--out", out).done()
    with (out / "suspects.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "copy"]
    assert [(row["image"], row["label"], row["value"]) for row in rows] == [
        ("'=1+1/3.png", "'=1+1", "0.000000")
    ]
    with (out / "groups.csv").open() as file:
        assert "=1+1" in {row["label"] for row in csv.DictReader(file)}
    tune = ("finetune", NET, "--data", data, "--image-size", 32)
    small(*tune, "--strategy", "probe", "--save", "team/a").done()
    how = ("--strategy", "partial", "--freeze", "all", "--epochs", 1)
    done = small(*tune, *how, "--save", "team/b")
    assert "a probe alone had accuracy" in done.done().out  # read from the table of the other
    assert "=1+1" in small("show", "team/b", "--json").json["classes"]
    predicted = tmp_path / "predicted.csv"
    small("predict", "team/a", data / "=1+1", "--top", 3, "--out", predicted).done()
    with predicted.open() as file:
        for row in csv.DictReader(file):
            assert "'=1+1" in {row["class_1"], row["class_2"], row["class_3"]}


def test_few_groups_leave_no_curve_and_no_numbers_that_are_none(
    small: Run, data: Path, tmp_path: Path
) -> None:
    rows = [
        f"{path},{path.parent.name},{at % 5}" for at, path in enumerate(sorted(data.glob("*/*")))
    ]
    table = tmp_path / "patients.csv"
    table.write_text("\n".join(["path,label,patient", *rows]))
    advice, said = both(small, table, "--group-by", "patient")
    layers = advice["layers"]
    assert layers is None or layers["growth"] is None
    assert "NaN" not in json.dumps(advice)
    assert "nan" not in said.out


@pytest.mark.long
def test_the_commands_that_are_printed_run(small: Run, data: Path, tmp_path: Path) -> None:
    """With a bad file among the images, a size of their own, and a table that mends a leak."""
    parts = tmp_path / "parts"
    shutil.copytree(data, parts / "train")
    save_scenes(parts / "test", 5, first=1000)
    shutil.copy(data / "red" / "3.png", parts / "test" / "red" / "x.png")
    (parts / "train" / "red" / "bad.png").write_bytes(b"text")
    said = small("advise", parts, *ADVISE, "--out", tmp_path / "advice").done().out
    told = [line for line in said.replace("\n", " ").split("zoo ") if line.startswith("finetune")]
    assert len(told) == 2
    for line in told:
        words = line.split(" --save ")[0].split()
        quick = () if "probe" in words else ("--strategy", "probe")
        small(*words, *quick, "--save", "team/x").done()


@pytest.mark.long
def test_advice_among_the_images_is_no_image(small: Run, data: Path) -> None:
    for out in (data / "advice", data / "red" / "advice"):
        small("advise", data, *ADVISE, "--out", out).done()
    done = small("advise", data, *ADVISE, "--json").done()
    assert sum(done.json["facts"]["images"].values()) == 48
    assert any("zoo has written it" in remark for remark in done.json["remarks"])


@pytest.mark.long
def test_advice_that_is_replaced_leaves_no_table_of_before(
    small: Run, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "advice"
    shutil.copy(data / "red" / "3.png", data / "red" / "copy.png")
    small("advise", data, *ADVISE, "--out", out).done()
    assert (out / "groups.csv").exists()
    (data / "red" / "copy.png").unlink()
    small("advise", data, *ADVISE, "--out", out, "--force").done()
    assert not (out / "groups.csv").exists()
    assert json.loads((out / "advice.json").read_text())["groups"] is None


def test_a_leak_is_said_first_and_a_table_mends_it(small: Run, data: Path, tmp_path: Path) -> None:
    """The split is given, so that copies are on both sides of it; a new one keeps them together."""
    parts = tmp_path / "parts"
    shutil.copytree(data, parts / "train")
    save_scenes(parts / "test", 5, first=1000)
    other = Image.open(data / "red" / "3.png")
    other.save(parts / "test" / "red" / "x.bmp")  # other bytes, the same pixels
    Image.open(data / "red" / "5.png").crop((1, 2, 47, 46)).save(parts / "test" / "red" / "y.png")
    out = tmp_path / "advice"
    done = small("advise", parts, *ADVISE, "--out", out).done()
    first, mend = done.out.splitlines()[:2]
    assert first.startswith("LEAK: 1 of 17 test images is a copy of one in another split, such as ")
    assert first.endswith("say nothing about new images; 1 more looks like one there")
    assert "'test/red/x.bmp' (test)" in first
    # While it is at work, too, and before any figure.
    assert first in done.err.partition("accuracy of a probe at each depth: ")[0]
    assert "'train/red/3.png' (" in first
    table = f"zoo finetune {NET} --data {out / 'groups.csv'}"
    assert mend.endswith(f"{table} --root {parts} --image-size 32 --group-by group --save NAME")
    rows = list(csv.DictReader((out / "groups.csv").read_text().splitlines()))
    assert {row["path"] for row in rows} == {
        path.relative_to(parts).as_posix() for path in parts.rglob("*.*")
    }
    advised = done.out.partition("Advised: ")[2]
    assert "The splits leak: this draws others" in advised
    end = re.search(r"^  zoo (finetune .*)$", advised, re.M)
    assert end
    assert f"--data {out / 'groups.csv'} " in end[1]
    assert f" --root {parts} --group-by group " in end[1]
    plan = json.loads((out / "advice.json").read_text())["plan"]
    assert (plan["command"], plan["recipe"]["group_by"]) == (f"zoo {end[1]}", "group")
    how = ("--root", parts, "--group-by", "group")
    again = small("advise", out / "groups.csv", *how, *ADVISE, "--json").json
    assert len(again["facts"]["duplicates"]) == 2
    assert again["facts"]["leaks"] == []
    (parts / "test" / "red" / "x.bmp").unlink()
    near = small("advise", parts, *ADVISE).done().out
    first, mend = near.splitlines()[:2]
    assert first.startswith("alike: 1 of 16 test images looks like one in another split, such as ")
    assert "--out FOLDER writes a table" in mend
    assert "LEAK" not in near
    assert "splits leak" not in near


@pytest.mark.long
def test_of_splits_that_leak_the_last_command_writes_the_table(
    small: Run, data: Path, tmp_path: Path
) -> None:
    """Where none was asked for."""
    parts = tmp_path / "parts"
    shutil.copytree(data, parts / "train")
    save_scenes(parts / "test", 5, first=1000)
    shutil.copy(data / "red" / "3.png", parts / "test" / "red" / "x.png")
    said = small("advise", parts, *ADVISE).done().out.partition("The splits leak: ")[2]
    end = re.search(r"^  zoo (advise .* --out )advice$", said, re.M)
    assert end
    assert "  zoo finetune" not in said
    small(*end[1].split(), tmp_path / "asked").done()
    assert (tmp_path / "asked" / "groups.csv").exists()


@pytest.mark.long
@pytest.mark.parametrize("asked", [(), ("--out", "advice")], ids=["", "out"])
def test_where_no_table_would_be_written_none_is_promised(
    small: Run, data: Path, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    """Of several labels an image."""
    shutil.copy(data / "red" / "3.png", data / "red" / "x.png")
    table = tmp_path / "table.csv"
    with table.open("w") as file:
        file.write("path,labels,split\n")
        for label, value in zip(CLASSES, ("a|b", "a", "b"), strict=True):
            file.writelines(f"data/{label}/{number}.png,{value},train\n" for number in range(6))
        file.write("data/red/x.png,a|b,test\ndata/blue/7.png,b,test\n")
    said = small("advise", table, *ADVISE, *asked).done().out
    assert said.startswith("LEAK: ")
    assert "groups.csv" not in said
    assert "zoo advise" not in said
    assert "--group-by, where the data" in said


@pytest.mark.long
def test_all_suspects_are_written(small: Run, data: Path, tmp_path: Path) -> None:
    scene(5).save(data / "red" / "twice.png")
    scene(5).resize((60, 60)).save(data / "green" / "twice.png")
    out = tmp_path / "advice"
    done = small("advise", data, *ADVISE, "--out", out, "--json").done()
    assert json.loads((out / "advice.json").read_text()) == done.json
    with (out / "suspects.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "near-duplicate"]
    assert [(row["image"], row["label"], row["other"], row["other_label"]) for row in rows] in (
        [("green/twice.png", "green", "red/twice.png", "red")],
        [("red/twice.png", "red", "green/twice.png", "green")],
    )
    assert (out / "suspects.png").stat().st_size > 0
    refused = small("advise", data, *ADVISE, "--out", out)
    refused.refused(f"{out} has a report; --force replaces it")
    said = small("advise", data, *ADVISE, "--out", out, "--force").done()
    assert "1 pair with two labels" in said.out
    assert said.err.endswith(f"written to {out}\n")


@pytest.mark.long
@pytest.mark.pictures
def test_the_contact_sheet_shows_pairs_side_by_side(small: Run, data: Path, tmp_path: Path) -> None:
    Image.new("RGB", (48, 48), (255, 0, 255)).save(data / "red" / "odd.png")
    scene(5).save(data / "red" / "twice.png")
    scene(5).resize((60, 60)).save(data / "green" / "twice.png")
    small("advise", data, *ADVISE, "--out", tmp_path / "advice").done()
    with Image.open(tmp_path / "advice" / "suspects.png") as sheet:
        assert sheet.height > 300


@pytest.mark.long
def test_wrong_labels_are_doubted(small: Run, data: Path) -> None:
    wrong = {f"blue/{number}-red.png" for number in range(2)}
    for number in range(2):
        shutil.move(data / "red" / f"{number}.png", data / "blue" / f"{number}-red.png")
    advice, said = both(small, data)
    facts = advice["facts"]
    doubted = [one["image"] for one in facts["doubted"]]
    assert wrong <= {*doubted[:3]}
    assert {one["predicted"] for one in facts["doubted"] if one["image"] in wrong} == {"red"}
    assert "DOUBTED" in said.out
    # Corrected, or left out, in the table that is written: the images of each split stay there.
    path = data.parent / "both" / "labels.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["path"] for row in rows if row["looks_like"]] == doubted
    assert [row["path"] for row in rows[: len(doubted)]] == doubted
    assert Counter(row["split"] for row in rows) == facts["images"]
    first = rows.pop(0)
    rows = [{**row, "label": "red"} if row["path"] in wrong else row for row in rows]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(first))
        table.writeheader()
        table.writerows(rows)
    told = " ".join(said.out.split()).partition("delete the rows. Then: zoo ")[2]
    words = told.partition(" --save NAME")[0].split()
    small(*words, "--strategy", "probe", "--save", "team/clean").done()
    (run,) = small("runs", "--json").json
    assert run["recipe"]["data"] == str(path)
    again = small("advise", path, "--root", data, *ADVISE, "--json").done().json
    assert sum(again["facts"]["images"].values()) == 47
    assert not wrong & {one["image"] for one in again["facts"]["doubted"]}
    kept = small("evaluate", "team/clean", path, "--root", data, "--json").done()
    assert kept.json["metrics"]["accuracy"] > 0.9


@pytest.mark.long
def test_corrected_labels_keep_groups_and_what_is_advised(
    small: Run, data: Path, tmp_path: Path
) -> None:
    """By one command, of images whose table calls its columns otherwise."""
    for number in range(2):
        shutil.move(data / "red" / f"{number}.png", data / "blue" / f"{number}-red.png")
    table = tmp_path / "patients.csv"
    rows = [f"{x},{x.parent.name},{at // 2}" for at, x in enumerate(sorted(data.glob("*/*")))]
    table.write_text("\n".join(["where,kind,patient", *rows]))
    how = ("--path-column", "where", "--label-column", "kind", "--group-by", "patient")
    advice, said = both(small, table, *how)
    path = tmp_path / "both" / "labels.csv"
    written = list(csv.DictReader(path.read_text().splitlines()))
    assert [*written[0]] == ["path", "label", "split", "group", "looks_like"]
    by_patient = {Path(row["path"]): row["group"] for row in written}
    for at in range(0, len(rows), 2):  # nothing else shows the same
        one, other = (Path(row.partition(",")[0]) for row in rows[at : at + 2])
        assert by_patient[one] == by_patient[other]
    assert len({*by_patient.values()}) == len(rows) / 2
    command = advice["labels_command"]
    assert f"delete the rows. Then: {command}" in " ".join(said.out.split())
    assert command == (
        f"zoo finetune {NET} --data {path} --image-size 32 --strategy probe --at all "
        f"--root {advice['root']} --group-by group --save NAME"
    )
    assert Counter(row["split"] for row in written) == advice["facts"]["images"]
    small(*command.split()[1:-1], "team/clean").done()
    (run,) = small("runs", "--json").json
    assert run["recipe"]["group_by"] == "group"


@pytest.mark.long
def test_a_table_of_labels_that_a_spreadsheet_would_run_is_not_written(
    small: Run, data: Path
) -> None:
    """People are to open it."""
    shutil.move(data / "blue", data / "=blue")
    for number in range(2):
        shutil.move(data / "red" / f"{number}.png", data / "=blue" / f"{number}-red.png")
    advice, said = both(small, data)
    assert advice["facts"]["doubted"]
    assert advice["labels"] is None
    assert not (data.parent / "both" / "labels.csv").exists()
    assert "labels.csv" not in said.out
    assert "No table to correct them in is written" in said.out
    assert "--out FOLDER" not in said.out


def test_of_labels_drawn_by_lot_nothing_can_be_learned(small: Run, tmp_path: Path) -> None:
    chance = random.Random(3)
    for number in range(48):
        folder = tmp_path / "data" / chance.choice("abc")
        folder.mkdir(parents=True, exist_ok=True)
        scene(number, CLASSES[number % 3]).save(folder / f"{number}.png")
    said = small("advise", tmp_path / "data", *ADVISE).done().out
    assert "Nothing can be learned here" in said
    assert "DOUBTED" not in said
    assert "labels doubted" not in said


@pytest.mark.parametrize("column", ["labels", "label"])
def test_labels_and_numbers(small: Run, data: Path, tmp_path: Path, column: str) -> None:
    values = {"labels": ("a|b", "a", "b"), "label": ("1.5", "2", "3")}[column]
    table = tmp_path / "table.csv"
    with table.open("w") as file:
        file.write(f"path,{column}\n")
        for at, label in enumerate(CLASSES):
            file.writelines(f"data/{label}/{number}.png,{values[at]}\n" for number in range(6))
    task = () if column == "labels" else ("--task", "regression")
    facts = small("advise", table, *ADVISE, *task, "--json").json["facts"]
    assert (facts["learnable"], facts["doubted"], facts["leaks"]) == (None, [], [])
    assert facts["classes"] == ({"a": 12, "b": 12} if column == "labels" else {})


def test_interrupted_it_leaves_nothing(
    small: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "extract", interrupted)
    done = small("advise", data, *ADVISE, "--out", tmp_path / "advice")
    assert (done.code, done.out) == (130, "")
    assert not (tmp_path / "advice").exists()


def test_batches_that_are_too_large_are_refused_in_plain_words(
    small: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(reading, "extract", full)
    done = small("advise", data, *ADVISE)
    done.refused("the memory of cpu is too small for batches of 32", "--batch-size 16")


@pytest.mark.long
def test_in_python(small: Run, data: Path, contents: Callable[[Path], dict[str, int]]) -> None:
    small("search")
    before: Any = contents(data), contents(Path.cwd())
    with zoo.open(progress=False) as opened:
        advice = opened.advise(NET, data, image_size=32, budget=0)
    assert advice.facts.learnable is not None
    assert advice.facts.learnable.accuracy > 0.5
    assert repr(advice).startswith("Advice(base='team/net', manifest=")
    shutil.rmtree("trials")  # what was said of depths is kept there
    shutil.rmtree("cache/crossings")  # and what was computed of images
    assert (contents(data), contents(Path.cwd())) == before


def test_features_that_are_not_finite_are_refused(
    small: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **how: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
        features, targets = extract(*arguments, **how)
        return [values * float("nan") for values in features], targets

    monkeypatch.setattr(reading, "extract", broken)
    small("advise", data, "--base", NET, "--image-size", 32).refused("are NaN or infinite")
