"""`zoo compare` and `zoo runs compare`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from statistics import fmean, stdev

import pytest
from fakes.prepared import NET, PROBES, Run

from zoo.errors import Conflict
from zoo.facade import Zoo
from zoo.finetune.preflight import check_resumed

A, B = PROBES


def accuracies(run: Run) -> list[float]:
    return [run("show", name, "--json").json["metrics"]["accuracy"] for name in PROBES]


def test_seeds_are_one_column(run: Run, few: Path) -> None:
    tune = ("finetune", NET, "--data", few, "--strategy", "probe", "--image-size", 32)
    run(*tune, "--probe", "svm", "--save", "team/svm").done()
    found = run("compare", A, B, "team/svm", NET, "--json").done().json
    folded, svm, net = found["columns"]
    assert (folded["names"], folded["seeds"]) == ([A, B], [0, 1])
    values = accuracies(run)
    figure = folded["metrics"]["accuracy"]
    assert figure["value"] == pytest.approx(fmean(values))
    assert figure["std"] == pytest.approx(stdev(values))
    assert (figure["seeds"], figure["low"]) == (2, None)
    own = run("show", "team/svm", "--json").json["metrics"]
    assert svm["metrics"]["accuracy"] == {
        "value": own["accuracy"], "low": own["accuracy_low"], "high": own["accuracy_high"],
        "std": None, "seeds": 1, "stated": False, "elsewhere": False,
    }  # fmt: skip
    assert (net["recipe"], net["metrics"], svm["lineage"]) == (None, {}, [NET])
    assert found["differs"] == ["probe"]
    said = run("compare", A, B, "team/svm", NET).done()
    assert f"{A} (2 seeds)  team/svm" in said.out
    assert f"{fmean(values):.3f} ± {stdev(values):.3f}" in said.out
    assert "mean ± standard deviation over the seeds" in said.err
    assert f"no recipe is known of {NET}\n" in said.err
    assert run("compare", A).code == 2
    assert "team/svm: tested on other images than team/a" in said.err
    assert "each seed has test images of its own" in said.err
    rows = [line.split() for line in said.out.splitlines()]
    assert ["probe", "softmax", "svm", "-"] in rows
    # docs/compare.md has that, line by line, but for the numbers, which other machines round.
    for number, name in enumerate(PROBES):
        run("tag", name, f"team/digits:seed-{number}").done()
    page = (Path(__file__).parents[3] / "docs/compare.md").read_text()
    ((line, expected),) = re.findall(r"```console\n\$ zoo (.*)\n((?:.*\n)*?)```", page)
    shown = run(*line.split()).done()
    assert mask(shown.out + shown.err) == mask(expected), shown.out + shown.err
    apart = run("compare", A, B, "--each-seed", "--json").done().json
    assert [column["name"] for column in apart["columns"]] == [A, B]
    assert apart["differs"] == ["seed"]


@pytest.mark.long
def test_seeds_with_a_test_folder_share_their_images(
    small: Run, digits: Path, tmp_path: Path
) -> None:
    """Data with its own test images: only validation is drawn, by each seed for itself."""
    for part, (first, last) in {"train": (0, 12), "test": (12, 18)}.items():
        for kind in "123":
            (tmp_path / "data" / part / kind).mkdir(parents=True)
            for path in sorted((digits / kind).iterdir())[first:last]:
                shutil.copy(path, tmp_path / "data" / part / kind)
    tune = ("finetune", NET, "--data", tmp_path / "data", "--strategy", "probe", "--image-size", 32)
    for name, more in ((A, ()), (B, ("--seed", 1)), ("team/svm", ("--probe", "svm"))):
        small(*tune, *more, "--save", name).done()
    splits = [small("show", name, "--json").json["provenance"]["split_digest"] for name in (A, B)]
    assert len({*splits}) == 2
    said = small("compare", A, B, "team/svm").done()
    assert "2 seeds" in said.out
    assert "other images" not in said.err
    assert "images of its own" not in said.err
    runs = [each["id"] for each in small("runs", "--json").json]
    assert "images" not in small("runs", "compare", *runs).done().err
    best = small("best", "--json").json
    assert best["other_data"] == []


def test_what_evaluations_found_is_beside_it(run: Run, other: Path) -> None:
    garden = other.rename(other.parent / "garden")
    found = run("evaluate", A, garden, "--against", B, "--json").done().json
    low, high = (found["metrics"][f"accuracy{end}"] for end in ("_low", "_high"))
    said = run("compare", A, B, "--each-seed").done()
    (line,) = (line for line in said.out.splitlines() if line.startswith("accuracy on garden"))
    assert f"{found['metrics']['accuracy']:.3f} ({low:.2f}-{high:.2f})" in line
    run("compare", A, "team/c").refused("team/c")


def test_runs_that_did_not_finish(run: Run, home: Path) -> None:
    first, second = sorted(home.glob("runs/*"))
    record = json.loads((second / "run.json").read_text())
    record |= {"status": "failed", "error": "no space left", "result": {}}
    record["recipe"] |= {"strategy": "lp-ft", "epochs": 9}
    (second / "run.json").write_text(json.dumps(record))
    with (second / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps({"kind": "epoch", "name": "epoch 3", "steps": 9, "accuracy": 0.5}))
    found = run("runs", "compare", first.name, "last", "--json").done().json
    done, failed = found["columns"]
    assert (done["status"], failed["status"], failed["reached"]) == ("done", "failed", "epoch 3")
    assert failed["manifests"] == []
    assert set(failed["metrics"]) == {"validation_accuracy"}
    assert set(found["differs"]) == {"strategy", "epochs", "seed"}
    said = run("runs", "compare", first.name, "last").done()
    assert f"{second.name}  failed  -> {B}  (came to epoch 3)" in said.out
    assert f"{second.name}: no space left" in said.err
    named = run("runs", "compare", first.name, B, "--json").done().json
    assert named["columns"] == found["columns"]
    # The last one is resumed, or it is said that it is done, and which one is not.
    record = json.loads((first / "run.json").read_text())
    for folder, status in ((first, "interrupted"), (second, "done")):
        (folder / "run.json").write_text(json.dumps(record | {"status": status}))
    with Zoo.open(home) as here:
        with pytest.raises(Conflict, match=f"{second.name} is done") as caught:
            check_resumed(here.workspace, "last")
        assert first.name in str(caught.value.hint)
        # The same was trained since: it would take the name from that.
        with pytest.raises(Conflict, match="trained since"):
            check_resumed(here.workspace, first.name)
        (second / "run.json").write_text(json.dumps(record | {"status": "running"}))
        (first / "run.json").write_text(json.dumps(record | {"status": "failed"}))
        assert check_resumed(here.workspace, "last") == second.name
    run("runs", "compare", "nothing").refused("nothing")


def test_a_narrow_terminal_cuts_nothing(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: dict[int, list[str]] = {}
    for width in (80, 40):
        monkeypatch.setattr("zoo_cli.output.on_terminal", lambda _: True)
        monkeypatch.setenv("COLUMNS", str(width))
        ids = [folder.name for folder in home.glob("runs/*")] * 2
        said = run("runs", "compare", *ids, "--each-seed").done().out
        table = said.partition("\n\n")[2].splitlines()
        assert max(map(len, table)) <= max(width, 48)  # one column at least
        assert "…" not in said
        whole[width] = sorted(word for line in table for word in line.split() if "(0" in word)
    assert whole[80] == whole[40]
    assert run("runs", "compare", "--json", ids[0]).done().json["columns"]


def test_runs_show_fits_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_cli.output.on_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("runs", "show", "last", "--json").json
    text = run("runs", "show", "last").done().out
    paths = (shown["folder"], shown["recipe"]["data"])
    long = [line for line in text.splitlines() if len(line) > 80]
    assert not [line for line in long if not any(path in line for path in paths)]
    assert "…" not in text
    assert "image_size=32 strategy=probe seed=1\n" in text.replace("\n    ", " ")
    assert "batch_size" not in text  # a default
    figures = shown["result"]["metrics"]
    images = f"test on {figures['test_images']:.0f} images"
    assert f"\n{images}: accuracy {figures['accuracy']:.4f} (" in text


def mask(text: str) -> list[str]:
    """Its lines, whatever the figures, and how wide columns are."""
    bare = re.sub(r"\b[0-9a-f]{12}\b|\b\d+\.\d+( ± \d\.\d+| \(\d\.\d+-\d\.\d+\))?", "0", text)
    return [re.sub(r" +", " ", line).strip() for line in bare.splitlines()]
