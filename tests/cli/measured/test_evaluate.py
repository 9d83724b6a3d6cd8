"""zoo evaluate: what it measures, on which images, and what it writes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import NET, PROBES, Run
from fakes.sampled import sampled
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score

from zoo import open as open_zoo
from zoo.domain.words import plural
from zoo.finetune import conclude, evaluation
from zoo.finetune.results.report import LabeledOutputs

A, B = PROBES


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_figures_are_scikit_learns(run: Run, home: Path, other: Path) -> None:
    said = run("evaluate", A, other, "--out", "report", "--json").done().json
    assert said == json.loads((home / "report/report.json").read_text())
    assert (said["name"], said["images"], said["split"]) == (A, 16, "all")
    assert (said["unknown"], said["absent"]) == ({"odd_one": 8}, ["3"])
    table = rows(home / "report/predictions.csv")
    assert [row["path"] for row in table] == sorted(row["path"] for row in table)
    true, guess = ([row[key] for row in table] for key in ("label", "predicted"))
    found, right = said["metrics"], sum(map(str.__eq__, true, guess))
    assert found["accuracy"] == right / 16
    low, high = binomtest(right, 16).proportion_ci(method="wilson")
    assert (found["accuracy_low"], found["accuracy_high"]) == (low, high)
    assert found["balanced_accuracy"] == pytest.approx(
        recall_score(true, guess, labels=["1", "2"], average="macro")
    )
    assert found["macro_f1"] == pytest.approx(
        f1_score(true, guess, labels=["1", "2"], average="macro")
    )
    assert found["macro_f1_low"] <= found["macro_f1"] <= found["macro_f1_high"]
    assert "top5_accuracy" not in found  # of three classes that says nothing
    kinds = precision_recall_fscore_support(true, guess, labels=["1", "2"], zero_division=0)
    for one, precision, recall, f1, images in zip(said["classes"], *kinds, strict=True):
        figures = one["figures"]
        assert one["images"] == images == 8
        assert figures["recall"] == recall
        assert (figures["precision"] or 0, figures["f1"]) == pytest.approx((precision, f1))
    taken = {(one["true"], one["predicted"]): one["images"] for one in said["confusions"]}
    pairs = [pair for pair in zip(true, guess, strict=True) if pair[0] != pair[1]]
    assert taken == {pair: pairs.count(pair) for pair in pairs}
    matrix = rows(home / "report/confusion.csv")
    for row in matrix:
        name = row.pop("true \\ predicted")
        assert {k: int(v) for k, v in row.items()} == {
            k: sum(pair == (name, k) for pair in zip(true, guess, strict=True)) for k in "123"
        }
    whole = json.loads((home / "report/confusion.json").read_text())
    lines = list(csv.reader((home / "report/confusion.csv").read_text().splitlines()))
    assert [whole["classes"], *whole["counts"]] == [
        lines[0][1:], *([int(cell) for cell in line[1:]] for line in lines[1:]),
    ]  # fmt: skip
    doubtful = rows(home / "report/doubtful.csv")
    wrong = [row["image"] for row in doubtful if row["kind"] == "wrong"]
    rest = sorted(table, key=lambda row: float(row["probability_of_label"]))
    assert wrong == [row["path"] for row in rest if row["label"] != row["predicted"]]
    assert len(wrong) < len(doubtful) == len(wrong) + 16
    assert (home / "report/doubtful.png").exists()
    assert run("evaluate", A, other, "--out", "report").refused("--force replaces it")


def test_of_what_it_was_trained_on_its_own_test_images_count(run: Run, few: Path) -> None:
    recorded = run("show", A, "--json").json["metrics"]
    done = run("evaluate", A, few, "--json").done()
    which = f"6 of the 36 images of {few} are used, those that {A} was tested on; --split all takes"
    assert done.err.startswith(which)
    said = done.json
    assert (said["split"], said["images"]) == ("test", recorded.pop("test_images"))
    assert said["metrics"] == pytest.approx(recorded, abs=1e-6)
    assert said["remarks"] == []
    whole = run("evaluate", A, few, "--split", "all").done().out
    first = whole.splitlines()[1]  # before any figure
    assert first.strip().startswith("NOTE: team/a was trained on 30 of the 36 images, or chosen by")


@pytest.mark.long
def test_two_on_the_same_images(run: Run, home: Path, few: Path, other: Path) -> None:
    said = run("evaluate", A, other, "--against", B, "--out", "a", "--json").done().json["against"]
    run("evaluate", B, other, "--out", "b").done()
    right = [
        [r["label"] == r["predicted"] for r in rows(home / n / "predictions.csv")] for n in "ab"
    ]
    better = sum(a and not b for a, b in zip(*right, strict=True))
    worse = sum(b and not a for a, b in zip(*right, strict=True))
    assert (said["better"], said["worse"], said["images"]) == (better, worse, 16)
    p = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert (said["test"], said["p"]) == ("mcnemar", p)
    assert said["verdict"].startswith(
        f"they differ on {better + worse} of 16 images, p = {p:.2g}: "
    )
    assert said["metrics"]["accuracy"] == sum(right[1]) / 16
    # Its test images are partly those that the other one was trained on.
    told = run("evaluate", A, few, "--against", B).done().out
    assert f"which is better cannot be told, as these images are not new to {B}; --unseen" in told
    left = run("evaluate", A, few, "--against", B, "--unseen").done().out
    assert f"left out: {A} or {B} was trained on them" in left
    assert "cannot be told" not in left
    assert "is better\n" not in told
    assert f"NOTE: {B} was trained on" in told
    same = run("evaluate", A, other, "--against", A, "--json").done().json["against"]
    assert same["verdict"] == "they differ on 0 of 16 images, p = 1: no difference can be seen"


@pytest.mark.long
def test_images_that_belong_together_have_intervals_of_groups(
    run: Run, few: Path, other: Path
) -> None:
    """As the run's recipe groups them, or as ``--group-by`` says; told wherever figures are."""
    rule = ("--group-by", "([0-9])[.]png")
    tune = ("finetune", NET, "--data", few, "--image-size", 32, "--strategy", "probe", *rule)
    done = run(*tune, "--save", "team/g").done().out
    recorded = run("show", "team/g", "--json").json["metrics"]
    told = f"these images are in {plural(int(recorded['test_groups']), 'group')}; too few to"
    assert told in done
    assert told in run("runs", "show", "last").out
    run("export", "team/g", "exported").done()
    assert told.capitalize() in Path("exported/README.md").read_text()
    again = run("evaluate", "team/g", few, "--json").done().json
    assert (again["split"], again["groups"]) == ("test", recorded.pop("test_groups"))
    del recorded["test_images"]
    assert again["metrics"] == pytest.approx(recorded, abs=1e-6)
    assert "NOTE: team/g was trained with --group-by" in run("evaluate", "team/g", other).out
    line = ("evaluate", "team/g", other, *rule, "--against", A, "--out", "report")
    grouped = run(*line, "--json").done().json
    names = {row["path"][-5] for row in rows(Path("report/predictions.csv"))}
    assert (grouped["groups"], grouped["remarks"]) == (len(names), [])
    assert (grouped["against"]["test"], grouped["against"]["groups"]) == ("sign", len(names))
    assert f"these images are in {len(names)} groups" in run("evaluate", A, other, *rule).out


@pytest.mark.long
def test_names_that_differ_in_spelling_are_matched(
    run: Run, tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spelled = tmp_path / "spelled"
    for before, after in (("1", "Sea_Lion"), ("2", "ray"), ("3", "eel")):
        shutil.copytree(few / before, spelled / after)
    tune = ("finetune", NET, "--data", spelled, "--strategy", "probe", "--save", "team/sea")
    run(*tune, "--image-size", 32).done()
    for before, after in (("Sea_Lion", "sea lion"), ("ray", "Ray")):
        (spelled / before).rename(spelled / after)
    shutil.rmtree(spelled / "eel")
    said = run("evaluate", "team/sea", spelled, "--json").done().json
    assert (said["images"], said["unknown"], said["absent"]) == (24, {}, ["eel"])
    monkeypatch.delattr(evaluation, "predict")  # neither runs
    against = run("evaluate", "team/sea", spelled, "--against", A)
    probe = "zoo finetune team/a --strategy probe --data FOLDER --save NEW"
    against.refused("none of its classes is one of team/a", f"head for your classes: {probe}")


def test_nothing_that_matches_is_refused(run: Run, other: Path, tmp_path: Path) -> None:
    for name in ("1", "2"):
        shutil.rmtree(other / name)
    run("evaluate", A, other).refused("none of its classes is one of team/a", "odd_one", "zoo show")
    run("evaluate", A, other, "--split", "validation").refused("it has no validation split")
    run("evaluate", A, tmp_path / "nothing").refused("cannot be used")
    run("adapt", A, "team/cut", "--truncate", "layer3").done()
    probe = "zoo finetune team/cut --strategy probe"
    run("evaluate", "team/cut", other).refused("team/cut has no head", probe)


def test_a_split_of_the_data(run: Run, tmp_path: Path, few: Path) -> None:
    for part, count in (("train", 2), ("val", 1), ("test", 3)):
        for kind in "12":
            (tmp_path / "parts" / part / kind).mkdir(parents=True)
            for path in sorted((few / kind).iterdir())[:count]:
                shutil.copy(path, tmp_path / "parts" / part / kind)
    for option, images in ((), 6), (("--split", "validation"), 2), (("--split", "all"), 12):
        done = run("evaluate", A, tmp_path / "parts", *option, "--json").done()
        assert done.json["images"] == images
        assert ("6 of the 12 images" in done.err, "its test split; --split" in done.err) == (
            (not option,) * 2
        )
    shutil.rmtree(tmp_path / "parts/test")
    assert run("evaluate", A, tmp_path / "parts", "--json").done().json["split"] == "validation"


@pytest.fixture
def table(tmp_path: Path, few: Path) -> Any:
    """Write a table of the digits with these columns of each, by kind and number."""

    def write(name: str, columns: Any) -> Path:
        path = few.parent / name
        with path.open("w", newline="") as file:
            lines = csv.writer(file)
            for kind in "123":
                for number, image in enumerate(sorted((few / kind).iterdir())):
                    cells = columns(int(kind), number)
                    if file.tell() == 0:
                        lines.writerow(["path", *cells])
                    lines.writerow([image.relative_to(few.parent), *cells.values()])
        return path

    return write


@pytest.mark.long
def test_numbers(run: Run, home: Path, table: Any) -> None:
    data = table("n.csv", lambda kind, number: {"target_a": kind, "target_b": number % 5})
    tune = ("finetune", NET, "--data", data, "--strategy", "probe", "--image-size", 32)
    run(*tune, "--save", "team/n").done()
    one = table("one.csv", lambda kind, number: {"target_a": kind + 0.5, "target_z": number % 7})
    done = run("evaluate", "team/n", one, "--against", NET, "--out", "r")
    done.refused("team/n is for regression, team/net for classification")
    assert not (home / "r").exists()
    said = run("evaluate", "team/n", one, "--against", "team/n", "--out", "r", "--json").done().json
    assert (said["task"], said["unknown"], said["absent"]) == (
        "regression", {"target_z": 36}, ["target_b"],
    )  # fmt: skip
    (column,) = said["classes"]
    error = [
        float(row["predicted:target_a"]) - float(row["target_a"])
        for row in rows(home / "r/predictions.csv")
    ]
    mae = sum(map(abs, error)) / 36
    assert column["figures"]["mae"] == pytest.approx(mae, abs=1e-5)
    assert said["metrics"]["mae"] == pytest.approx(mae, abs=1e-5)
    assert said["metrics"]["mae_low"] < mae < said["metrics"]["mae_high"]
    assert said["against"]["test"] == "wilcoxon"
    assert not (home / "r/confusion.csv").exists()


@pytest.mark.long
def test_labels(run: Run, table: Any) -> None:
    data = table(
        "l.csv", lambda kind, number: {"labels": f"{kind}|{'odd' if number % 2 else 'even'}"}
    )
    tune = ("finetune", NET, "--data", data, "--strategy", "probe", "--image-size", 32)
    recorded = run(*tune, "--save", "team/l", "--json").done().json["metrics"]
    said = run("evaluate", "team/l", data, "--json").done().json
    assert said["images"] == recorded.pop("test_images")
    # A loss is a sum of float32, which other processors round to another one.
    assert said["metrics"] == pytest.approx(recorded, abs=1e-5)
    assert {one["name"] for one in said["classes"]} == {"1", "2", "3", "even", "odd"}
    assert set(said["classes"][0]["figures"]) >= {"recall", "precision", "f1", "average_precision"}
    run("predict", "team/l", data, "--top", 5, "--out", "p.csv").done()
    run("evaluate", "team/l", data, "--out", "r").done()
    for row in rows(Path("p.csv")):
        found = {row[f"class_{at}"] for at in range(1, 6) if float(row[f"probability_{at}"]) > 0.5}
        assert {*filter(None, row["labels"].split("|"))} == found
    table = rows(Path("r/predictions.csv"))
    assert any(row["labels"] for row in table)
    for row in table:
        found = {each for each in ("1", "even") if float(row[f"probability:{each}"]) > 0.5}
        assert {*row["labels"].split("|")} & {"1", "even"} == found


def test_a_run_keeps_the_report_of_its_test_images(run: Run, home: Path) -> None:
    shown = run("runs", "show", "last", "--json").json
    folder = Path(home, "runs", shown["id"])
    assert shown["report"] == json.loads((folder / "report.json").read_text())
    assert shown["report"]["metrics"] == shown["result"]["metrics"]
    assert len(rows(folder / "predictions.csv")) == shown["report"]["images"]
    text = run("runs", "show", "last").out
    assert "CLASS  IMAGES  RECALL" in text
    run("export", B, "out").done()
    card = (home / "out/README.md").read_text()
    assert "| class | images | recall | precision | f1 |" in card
    pairs = len(shown["report"]["confusions"])
    assert card.count("| true | predicted | images | share of the class |") == bool(pairs)
    assert "MOST    TRUE  PREDICTED  PROBABILITY  IMAGE\n" in text
    assert shown["report"]["unsure"][0]["image"] in text
    assert shown["report"]["unsure"][0]["image"] not in card  # it may be somebody's name
    assert (folder / "confusion.csv").exists()
    (folder / "report.json").write_text("[")
    assert "CLASS" not in run("runs", "show", "last").done().out


@pytest.mark.long
@pytest.mark.parametrize("strategy", sampled(["lp-ft", "partial"], ["lp-ft"]))
def test_what_training_gained_over_a_probe(run: Run, home: Path, few: Path, strategy: str) -> None:
    """The probe that it began with, or one of the same images, ``team/a``; as evaluate has it."""
    data = ("--data", few, "--image-size", 32, "--strategy", strategy)
    how = ("--freeze", "all", "--epochs", 1, "--lr", 0.5)
    done = run("finetune", NET, *data, *how, "--save", "team/t").done()
    result = run("runs", "show", "last", "--json").json["result"]
    gained = result["gained"]
    kept = run("show", "team/t", "--json").json
    text = gained["text"]
    assert f"\n  {text}\n" in done.out
    assert text in " ".join(run("runs", "show", "last").out.split())
    assert kept["provenance"]["gained"] == text
    run("export", "team/t", "out").done()
    assert f"\nA{text[1:]}.\n" in (home / "out/README.md").read_text()
    alone = kept["freeze"]["kept"] == "probe"
    figures = kept if alone else run("show", A, "--json").json, kept
    figures = tuple(one["metrics"] for one in figures)
    assert [gained["probe"], gained["trained"]] == [one["accuracy"] for one in figures]
    if alone:
        had = f"a probe alone had accuracy {gained['probe']:.4f}"
        ceiling = gained["probe"] == 1
        much = "nothing was left to gain" if ceiling else "nothing gained"
        assert text == f"{had}, and is what was kept: {much}"
        return
    against = run("evaluate", "team/t", few, "--against", A, "--json").done().json["against"]
    assert {key: gained[key] for key in ("images", "better", "worse", "test", "p")} == {
        key: against[key] for key in ("images", "better", "worse", "test", "p")
    }


def test_bad_images_are_counted(run: Run, other: Path) -> None:
    Image.new("RGB", (8, 8)).save(other / "1" / "fine.png")
    (other / "1" / "bad.png").write_bytes(b"text")
    run("evaluate", A, other).refused("bad.png is not a readable image")
    said = run("evaluate", A, other, "--skip-bad", "--json").done().json
    assert (said["skipped_images"], said["images"]) == (1, 17)


def test_the_page_shows_what_it_prints(run: Run, home: Path, other: Path) -> None:
    """Of docs/evaluate.md: line by line, but for the numbers, which other machines round."""
    other.rename(home / "scans")
    for name, new in ((A, "team/digits"), (B, "team/digits:v1")):
        run("tag", name, new).done()
    page = (Path(__file__).parents[3] / "docs/evaluate.md").read_text()
    for line, shown in re.findall(r"```console\n\$ zoo (.*)\n((?:.*\n)*?)```", page):
        said = run(*line.split()).done()
        # As on a terminal: how far it is comes first, and where the report is last.
        far, _, written = said.err.rpartition("written to")
        printed = mask(f"{far}{said.out}written to{written}")
        assert printed == mask(shown)


def test_it_says_how_far_it_is(run: Run, home: Path, other: Path) -> None:
    said = run("evaluate", A, other, "--against", B, "--json").done()
    out = "8 of 24 images are left out, as it does not know their classes: figures say nothing of"
    assert said.err.splitlines() == [
        line
        for name in (A, B)
        for line in (f"{name} on 16 images of {other}, on cpu", f"WARNING: {name}: {out} these")
    ]
    assert said.json["images"] == 16
    assert run("evaluate", A, other, "--quiet").done().err == ""


def test_of_how_many_images_a_figure_is_comes_before_it(run: Run, home: Path, other: Path) -> None:
    said = run("evaluate", A, other).done().out
    lines = [line.strip() for line in said.splitlines()[1:3]]
    assert lines[0] == f"on 16 of 24 images: not known to {A} and left out: odd_one (8 images)"
    assert lines[1].startswith("accuracy ")
    assert lines[1].endswith(f" on 16 of 24 images of {other}")
    for path in sorted((other / "odd_one").iterdir())[1:]:
        path.unlink()
    few = run("evaluate", A, other).done()
    assert "on 16 of 17 images: not known to" in few.out
    assert "WARNING" not in few.err


def mask(text: str) -> list[str]:
    """Its lines, whatever the figures, and how wide columns are."""
    bare = re.sub(r"[0-9a-f]{12}|\d+(\.\d+)?( \(\d\.\d+[- to]+\d\.\d+\))?", "0", text)
    return [re.sub(r" +", " ", line) for line in bare.splitlines()]


def test_what_speaks_for_a_class_is_drawn(run: Run, home: Path, few: Path) -> None:
    image = min(few.glob("*/*.png"))
    done = run("predict", A, image, "--explain", "why.png").done()
    (likeliest,) = run("predict", A, image, "--top", 1, "--json").json[0]["classes"]
    assert f"why.png shows what speaks for {likeliest}, at " in done.err
    with Image.open(home / "why.png") as drawn, open_zoo() as opened:
        other = next(name for name in opened.predict(A, image)[0].outputs if name != likeliest)
        shown = opened.explain(A, str(image))
        assert shown.output == likeliest
        assert drawn.tobytes() == shown.draw().tobytes()
        assert opened.explain(A, str(image), other).output == other
    explained = ("predict", A, image, "--explain")
    run(*explained, "why.png").refused("why.png exists; --force replaces it")
    run(*explained, "why.png", "--class", other, "--force").done()
    run(*explained, "why.jpg").refused("why.jpg is not called .png")
    run(*explained, "no/why.png").refused("no/why.png: there is no folder no")
    said = run(*explained, "n.png", "--class", "nonsense").refused("unknown class 'nonsense'")
    assert said.out == "", "nothing is half told"
    several, alone = (
        run("predict", A, few, "--explain", "n.png"),
        run("predict", A, image, "--class", 0),
    )
    assert "--explain goes with one image" in several.err
    assert "it goes with --explain" in alone.err
    assert not (home / "n.png").exists()


@pytest.mark.long
def test_predictions_as_a_table(run: Run, home: Path, few: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    said = run("predict", A, few, "--top", 2, "--json").json
    for name in ("p.csv", "p.parquet"):
        done = run("predict", A, few / "*/*.png", "--top", 2, "--out", name, "--json").done().json
        assert (done["path"], done["images"]) == (name, 36)
        table = (
            rows(home / name) if name == "p.csv" else parquet.read_table(home / name).to_pylist()
        )
        assert [row["path"] for row in table] == [one["image"] for one in said]
        for row, one in zip(table, said, strict=True):
            assert [row["class_1"], row["class_2"]] == one["classes"]
            shares = float(row["probability_1"]), float(row["probability_2"])
            assert shares == pytest.approx(one["probabilities"], abs=1e-5)  # it is in batches
    run("predict", A, few, "--out", "p.csv").refused("p.csv exists; --force replaces it")
    run("predict", A, few, "--out", "no/p.csv").refused("no/p.csv: there is no folder no")
    assert not (home / "no").exists()
    run("predict", A, few, "--out", "p.txt").refused("p.txt is called neither .csv nor .parquet")
    (home / "bad.png").write_bytes(b"text")
    run("predict", A, few / "1", "bad.png", "--out", "p.csv", "--force").refused(
        "p.csv: 1 of 13 images cannot be read"
    )
    *fine, bad = rows(home / "p.csv")
    assert {row["problem"] for row in fine} == {""}
    assert [*bad.values()] == ["bad.png", *[""] * 6, "is not a readable image"]


@pytest.mark.long
def test_the_better_probe_counts(run: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of that which training began with, here all wrong, and ``team/a``, one of the same images."""
    first = conclude._first

    def wrong(*of: Any) -> LabeledOutputs:
        measured = first(*of)
        assert measured
        return measured._replace(outputs=-measured.outputs)

    monkeypatch.setattr(conclude, "_first", wrong)
    data = ("--data", few, "--image-size", 32, "--strategy", "lp-ft", "--freeze", "all")
    run("finetune", NET, *data, "--lr", 0.5, "--epochs", 1, "--save", "team/t").done()
    gained = run("runs", "show", "last", "--json").json["result"]["gained"]
    assert gained["probe"] == run("show", A, "--json").json["metrics"]["accuracy"]
