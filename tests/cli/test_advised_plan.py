"""zoo advise: what training brings, the plan that follows, its page, and what comes after it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from subprocess import PIPE, Popen
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint
from fakes.colored import save_scenes
from fakes.prepared import NET, Run
from fakes.program import Said
from fakes.program import zoo as program
from PIL import Image

import zoo
from zoo.advice import candidates, held_out, race
from zoo.advice.candidates import Row
from zoo.finetune.loop import train as training
from zoo.finetune.strategies import linear
from zoo.finetune.strategies.advised import groups_digest

ADVISE = ("--base", NET, "--image-size", 32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)


def be_quick(patch: pytest.MonkeyPatch) -> None:
    """One recipe, two folds, two epochs."""
    patch.setattr(held_out, "MOST_REPEATS", 1)
    patch.setattr(linear, "CS", (0.01, 1.0))
    patch.setattr(candidates, "ROWS", (Row("upper half", "50%", "frozen"),))
    patch.setattr(candidates, "FOLDS", 2)
    patch.setattr(candidates, "EPOCHS", 2)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_scenes(tmp_path_factory.mktemp("scenes") / "scenes", 12)


@pytest.fixture
def data(tmp_path: Path, template: Path) -> Path:
    """36 pictures of three colors, in class folders."""
    return Path(shutil.copytree(template, tmp_path / "data"))


@pytest.fixture
def training_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no probe knew anything, and two epochs were best."""
    let_training_win(monkeypatch)


def let_training_win(patch: pytest.MonkeyPatch) -> None:
    def ignorant(_: object, __: object, asked: list[int]) -> list[tuple[str, list[float]]]:
        return [("all", [0.0] * len(asked))]

    patch.setattr(candidates.Contest, "_scores", ignorant)
    patch.setattr(race, "best_epochs", lambda _: 2)


@dataclass(frozen=True)
class Asked:
    """A zoo that was asked for advice, in the current folder, and what it said."""

    small: Run
    data: Path
    plan: dict[str, Any]
    err: str


@pytest.fixture(scope="module")
def templates(
    tmp_path_factory: pytest.TempPathFactory, small_zoo: Path, template: Path
) -> Callable[[bool], tuple[Path, Said]]:
    """What `asked` and `won` copy."""

    @cache
    def make(wins: bool) -> tuple[Path, Said]:
        root = tmp_path_factory.mktemp("asked") / "zoo"
        shutil.copytree(small_zoo, root)
        shutil.copytree(template, root.parent / "data")
        with pytest.MonkeyPatch.context() as patch:
            be_quick(patch)
            patch.setattr("zoo.domain.progress.EVERY", 0.0)
            if wins:
                let_training_win(patch)
            said = program("--home", root, "advise", root.parent / "data", *ADVISE, "--json")
        return root.parent, said.done()

    return make


def copied(
    templates: Callable[[bool], tuple[Path, Said]],
    tmp_path: Path,
    patch: pytest.MonkeyPatch,
    *,
    wins: bool,
) -> Asked:
    template, said = templates(wins)
    shutil.copytree(template, tmp_path / "asked")
    patch.chdir(tmp_path / "asked" / "zoo")
    return Asked(program, tmp_path / "asked" / "data", said.json["plan"], said.err)


@pytest.fixture
def asked(
    templates: Callable[[bool], tuple[Path, Said]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Asked:
    """A probe won."""
    return copied(templates, tmp_path, monkeypatch, wins=False)


@pytest.fixture
def won(
    templates: Callable[[bool], tuple[Path, Said]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Asked:
    """Training won."""
    return copied(templates, tmp_path, monkeypatch, wins=True)


def never_train(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr("zoo.finetune.trial.train", never)


def by_name(tried: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {each["name"]: each for each in tried}


def test_the_plan(asked: Asked) -> None:
    """Of pictures of three colors the first layers know all: no training is advised, nor tried on
    the second fold, as on the first it was no better.
    """
    plan = asked.plan
    tried = by_name(plan["tried"])
    assert {each["kind"] for each in tried.values()} == {"probe", "training"}
    trained = tried["upper half"]
    assert (trained["done"], trained["of"]) == (2, 2)
    assert trained["dropped"] == "no better than the best probe"
    assert 2 * trained["images"] == tried["probe at all"]["images"]
    assert trained["low"] <= trained["score"] <= trained["high"]
    assert trained["seconds"] > 0
    assert plan["advised"] == "probe at all"
    assert tried["probe at all"]["megabytes"] >= trained["megabytes"] > 0
    assert plan["scenario"]["few"] in (True, False)
    assert "trying 1 recipe on 2 folds of " in asked.err
    assert "trying fold 1 of 2, 1 epoch: upper half, 1 of 1 recipe in the race; " in asked.err
    # What it is at, and what is left of the budget.
    assert re.search(
        r"^upper half: training: [0-9]+ of [0-9]+, [0-9]+ s left, epoch 2, loss", asked.err, re.M
    )
    assert re.search(r"^upper half: reading features: .* s left$", asked.err, re.M)
    folders = list(Path("trials").glob("*/run.json"))
    assert len(folders) == 1
    assert not list(Path("trials").glob("*/state.pt"))  # nothing is to go on from a fold
    assert not list(Path("trials").glob("*/weights"))


def test_its_command_runs_as_it_is_printed(asked: Asked) -> None:
    words = re.split(" +", asked.plan["command"])
    assert words[-2:] == ["--save", "advised/data"]
    asked.small(*words[1:]).done()
    shown = asked.small("show", "advised/data", "--json").json
    assert shown["recipe"]["strategy"] == "probe"


@pytest.mark.long
def test_what_an_earlier_advice_has_made_keeps_its_name(asked: Asked) -> None:
    asked.small("tag", NET, "advised/data").done()
    said = asked.small("advise", asked.data, *ADVISE, "--budget", "0").done().out
    assert "--save advised/data-2" in said
    assert re.search(r"HELD OUT +IMAGES +BEST EPOCH", said)


@pytest.mark.long
def test_asked_again_it_answers_from_what_is_kept(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the budget: what is kept takes none of it."""
    never_train(monkeypatch)
    again = asked.small("advise", asked.data, *ADVISE, "--budget", "1s", "--json").done()
    plan = again.json["plan"]
    assert (plan["left_out"], plan["stopped"]) == ({}, "")
    assert by_name(plan["tried"])["upper half"] == by_name(asked.plan["tried"])["upper half"]
    assert plan["advised"] == asked.plan["advised"]
    assert "what was advised before is kept" not in again.err


@pytest.mark.long
def test_advice_of_fewer_trials_does_not_replace_it(asked: Asked) -> None:
    (kept,) = Path("trials/advice").iterdir()
    before = kept.read_bytes()
    said = asked.small("advise", asked.data, *ADVISE, "--budget", 0).done()
    assert "what was advised before is kept, as it rests on more trials than this" in said.err
    assert kept.read_bytes() == before


@pytest.mark.long
def test_where_the_budget_ended_it_says_that_auto_will_not_follow(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not follow it" not in asked.small("advise", asked.data, *ADVISE).done().out
    monkeypatch.setattr(race.Race, "_fold", lambda *_: False)
    said = asked.small("advise", asked.data, *ADVISE).done().out
    assert "The budget is over." in said
    assert "does not follow it by itself (--strategy auto)" in said
    assert "ask again, with a larger --budget" in said


@pytest.mark.long
def test_without_a_budget_nothing_is_trained(
    small: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_train(monkeypatch)
    done = small("advise", data, *ADVISE, "--budget", 0)
    assert "trying" not in done.err
    assert "no training was tried" in done.done().out
    small("advise", data, *ADVISE, "--budget", "soon").refused("'soon' is no duration")


@pytest.mark.long
def test_training_that_wins_is_advised_and_auto_follows_it(won: Asked) -> None:
    plan, small = won.plan, won.small
    assert plan["advised"] == "upper half"
    assert plan["options"] == {
        "strategy": "lp-ft", "freeze": "50%", "epochs": 2, "batch_norm": "frozen",
    }  # fmt: skip
    assert " --strategy lp-ft --freeze 50% --epochs 2 " in plan["command"]
    tune = ("finetune", NET, "--data", won.data, "--image-size", 32)
    said = small(*tune, "--save", "team/auto").done()
    assert "for these images (upper half) is followed" in said.err
    recipe = small("show", "team/auto", "--json").json["recipe"]
    assert (recipe["strategy"], recipe["freeze"], recipe["epochs"]) == ("lp-ft", "50%", 2)


def test_it_says_before_that_it_follows_advice(won: Asked) -> None:
    tune = ("finetune", NET, "--data", won.data, "--image-size", 32)
    assert "is followed" in won.small(*tune, "--dry-run").done().out


@pytest.mark.long
def test_advice_is_for_what_is_left_open(won: Asked) -> None:
    """Not for another size, nor another strategy."""
    small = won.small
    tune = ("finetune", NET, "--data", won.data, "--epochs", 1)
    small(*tune, "--image-size", 32, "--save", "team/given").done()
    assert small("show", "team/given", "--json").json["recipe"]["epochs"] == 1
    other = small(*tune, "--image-size", 40, "--save", "a/b")
    assert "is followed" not in other.done().err
    partial = small(*tune, "--image-size", 32, "--strategy", "partial", "--save", "team/x")
    assert "is followed" not in partial.done().err


@pytest.mark.long
def test_folds_and_what_is_trained_on_all_of_them_follow_it_alike(won: Asked) -> None:
    small, data = won.small, won.data
    tune = ("finetune", NET, "--data", data, "--image-size", 32, "--folds", 2)
    small(*tune, "--save", "team/x").done()
    recipes = [run["recipe"] for run in small("runs", "--json").json]
    assert len(recipes) == 3
    trained = [recipe for recipe in recipes if recipe["strategy"] == "lp-ft"]
    assert len(trained) >= 2  # on all it is the probe, where no epoch was better
    assert {recipe["freeze"] for recipe in trained} == {"50%"}


@pytest.mark.long
def test_advice_without_trials_is_not_followed(small: Run, data: Path) -> None:
    """Only probes were compared: that says nothing of training."""
    small("advise", data, *ADVISE, "--budget", 0).done()
    tune = ("finetune", NET, "--data", data, "--image-size", 32, "--epochs", 1, "--dry-run")
    assert "followed" not in small(*tune).done().out


@pytest.mark.long
def test_an_option_that_contradicts_the_advice_counts_more(asked: Asked) -> None:
    small, data = asked.small, asked.data
    tune = ("finetune", NET, "--data", data, "--image-size", 32, "--epochs", 1)
    said = small(*tune, "--save", "team/x").done().err
    assert "is not followed: the strategy probe does not use epochs" in said
    assert small("show", "team/x", "--json").json["recipe"]["strategy"] == "lp-ft"


@pytest.mark.long
def test_advice_that_test_images_chose_or_that_was_cut_off_is_not_followed(won: Asked) -> None:
    tune = ("finetune", NET, "--data", won.data, "--image-size", 32, "--dry-run")
    assert "for other splits and not followed" in won.small(*tune, "--seed", 1).done().out
    grouped = won.small(*tune, "--group-by", r"([a-z]+/.)").done().out
    assert "is not followed, as it was not grouped" in grouped
    (kept,) = Path("trials/advice").iterdir()
    known = json.loads(kept.read_text())
    kept.write_text(json.dumps(known | {"stopped": "budget"}))
    assert "was cut off and is not followed" in won.small(*tune).done().out
    next(won.data.rglob("*.png")).unlink()
    assert "for data is not followed, as the images were others" in won.small(*tune).done().out


@pytest.mark.long
def test_of_advice_that_was_written_to_only_what_trains_is_taken(won: Asked) -> None:
    small, data = won.small, won.data
    (kept,) = Path("trials/advice").iterdir()
    known = json.loads(kept.read_text())
    known["options"] |= {"data": "/etc", "seed": 7, "epochs": 1}
    kept.write_text(json.dumps(known))
    small("finetune", NET, "--data", data, "--image-size", 32, "--save", "team/x").done()
    (run,) = small("runs", "--json").json
    assert (run["recipe"]["data"], run["recipe"]["seed"]) == (str(data), 0)
    assert run["recipe"]["epochs"] == 1


def test_groups_are_the_same_where_the_same_images_stay_together() -> None:
    def digest(**groups: str) -> str:
        dataset: Any = SimpleNamespace(groups=groups)
        return groups_digest(dataset)

    assert digest() == digest(a="1", b="2") == ""
    assert digest(a="1", b="1", c="2") == digest(b="x", a="x") != ""
    assert digest(a="1", b="1") != digest(a="1", c="1")
    assert digest(a="1", b="1", c="1", d="1") != digest(a="1", b="1", c="2", d="2")


@pytest.mark.parametrize("column", ["labels", "target"])
@pytest.mark.long
def test_labels_and_numbers(small: Run, data: Path, tmp_path: Path, column: str) -> None:
    values = {"labels": ("a|b", "a", "b"), "target": ("1.5", "2", "3")}[column]
    table = tmp_path / "table.csv"
    with table.open("w") as file:
        file.write(f"path,{column}\n")
        for at, label in enumerate(("blue", "green", "red")):
            file.writelines(f"data/{label}/{number}.png,{values[at]}\n" for number in range(12))
    done = small("advise", table, *ADVISE, "--json").done()
    tried = by_name(done.json["plan"]["tried"])
    assert tried["upper half"]["dropped"] != "failed"
    assert all(each["low"] <= each["score"] <= each["high"] for each in tried.values())
    small(*done.json["plan"]["command"].split()[1:]).done()


@pytest.mark.long
def test_in_a_zoo_that_a_group_shares_trials_are_for_all_of_it(small: Run, data: Path) -> None:
    Path.cwd().chmod(0o2775)
    before = os.umask(0o077)
    try:
        small("advise", data, *ADVISE).done()
    finally:
        os.umask(before)
    made = [Path("trials"), *Path("trials").rglob("*")]
    assert len(made) > 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o2775}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o664}


@pytest.mark.long
def test_in_a_zoo_that_may_only_be_read_nothing_is_kept(
    small: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.lookup.runs.os.access", lambda _, asked, **__: not asked & os.W_OK)
    refused = small("advise", data, *ADVISE, "--run", "--save", "team/x")
    refused.refused("cannot be written to")
    assert "probe at each depth" not in refused.err
    done = small("advise", data, *ADVISE, "--json").done()
    assert "this zoo may only be read: what is tried is not kept in it" in done.err
    assert "upper half" in by_name(done.json["plan"]["tried"])
    assert not Path("trials").exists()


@pytest.mark.usefixtures("training_wins")
@pytest.mark.long
def test_run_goes_on_from_the_best_trial(
    small: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With enough validation images the trial is the beginning of the run: nothing is left."""
    monkeypatch.setattr(candidates, "OWN_SPLIT", 3)
    with zoo.open() as here:
        add_checkpoint(here.workspace, "team/tuned", classes=("king", "queen"))
    line = ("advise", data, *ADVISE, "--run", "--save", "team/tuned")
    small(*line).refused("team/tuned here is for something else", "2 gone (king, queen)", "--force")
    done = small(*line, "--force").done()
    assert "validation images: upper half" in done.err
    assert "what a trial has done already is taken over" in done.err
    assert "\nteam/tuned  " in done.out
    (run,) = small("runs", "--json").json
    assert run["base"] == NET
    assert (run["status"], run["recipe"]["strategy"]) == ("done", "lp-ft")
    assert not list(Path("trials").glob("*/state.pt"))


def test_run_and_save_need_each_other(small: Run, data: Path) -> None:
    assert small("advise", data, *ADVISE, "--run").code == 2
    assert small("advise", data, *ADVISE, "--save", "team/x").code == 2
    refused = small("advise", data, *ADVISE, "--run", "--save", "no name")
    refused.refused("is not a reference")
    assert "trying" not in refused.err


@pytest.mark.long
def test_an_interrupt_prints_the_plan(
    small: Run, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, calls = training.train, 0

    def interrupted(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr("zoo.finetune.trial.train", interrupted)
    done = small("advise", data, *ADVISE, "--out", tmp_path / "advice")
    assert done.code == 130
    assert "Interrupted. What is said is of what is known by then" in done.out
    assert "Advised: probe at " in done.out
    assert "zoo finetune " in done.out
    assert json.loads((tmp_path / "advice" / "advice.json").read_text())["plan"]["stopped"]


SLOW = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from zoo.advice import candidates
from zoo.finetune import trial
from zoo_cli.main import main

def look(seconds):
    Path("asked").touch()
    time.sleep(seconds)

def slow(*arguments):
    Path("held").touch()
    while not Path("asked").exists():
        time.sleep(0.02)
    train(*arguments)

candidates.ROWS = (candidates.Row("upper half", "50%", "frozen"),)
candidates.FOLDS = candidates.EPOCHS = 2
train, trial.train = trial.train, slow
trial.time = SimpleNamespace(sleep=look, monotonic=time.monotonic)
main(sys.argv[1:])
"""
"""The program, whose training waits until another process has asked for the same."""


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_two_at_the_same_time_share_the_work(data: Path) -> None:
    """While one trains, the other waits, and then answers from what that found."""
    line = [sys.executable, "-c", SLOW, "advise", *map(str, (data, *ADVISE)), "--json"]
    with Popen(line, stdout=PIPE, stderr=PIPE, text=True) as one:
        end = monotonic() + 60
        while not Path("held").exists() and monotonic() < end:
            sleep(0.02)
        other = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
        out, err = one.communicate(timeout=120)
    first, second = (json.loads(text)["plan"] for text in (out, other.stdout))
    assert by_name(first["tried"])["upper half"] == by_name(second["tried"])["upper half"]
    assert (first["stopped"], second["stopped"]) == ("", "")
    assert "another process is trying this: waiting for what it finds" in err + other.stderr


def test_nothing_was_tried_yet(small: Run) -> None:
    assert small("runs", "--trials").done().out.splitlines() == [
        "SCORE  TRIED  BASE  DATA  IMAGES  AT"
    ]


def test_what_was_tried_is_listed(asked: Asked) -> None:
    small = asked.small
    rows = small("runs", "--trials", "--json").done().json
    assert {row["base"] for row in rows} == {NET}
    assert {row["data"] for row in rows} == {"data"}
    assert {row["measure"] for row in rows} == {"accuracy"}
    assert all(row["low"] <= row["score"] <= row["high"] for row in rows)
    kinds = [row["kind"] for row in rows]
    assert kinds.count("training") == 1
    assert kinds.count("probe") > 3  # at all depths
    assert [row["advised"] for row in rows].count(True) == 1
    assert "upper half" in small("runs", "--trials").done().out
    with zoo.open(progress=False) as opened:
        assert [past.name for past in opened.trials()] == [row["name"] for row in rows]
    (kept,) = Path("trials/advice").iterdir()
    kept.write_text('{"base": 3}')
    said = small("runs", "--trials", "--json").done()
    assert (said.json, f"{kept} cannot be read" in said.err) == ([], True)


class Page(HTMLParser):
    """The tags of a page, and all of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_and_names_are_text(small: Run, data: Path, tmp_path: Path) -> None:
    hostile = "<script>alert(1)<|script> $x^$ \"'&"
    (data / "red").rename(data / hostile)
    out = tmp_path / "advice"
    small("advise", data, *ADVISE, "--budget", 0, "--out", out).done()
    assert (out / "advice.png").exists()
    text = (out / "advice.html").read_text()
    page = Page(text)
    assert hostile in page.text
    assert "script" not in [tag for tag, _ in page.tags]
    images = [str(about["src"]) for tag, about in page.tags if tag == "img"]
    assert len(images) == 2
    assert all(image.startswith("data:image/png;base64,") for image in images)
    assert not [about for _, about in page.tags if "href" in about or "onerror" in about]
    assert "zoo finetune " in page.text


@pytest.mark.long
@pytest.mark.pictures
def test_the_picture_of_advice(small: Run, data: Path, tmp_path: Path) -> None:
    (data / "red").rename(data / "$x^$")
    small("advise", data, *ADVISE, "--out", tmp_path / "advice").done()
    with Image.open(tmp_path / "advice" / "advice.png") as picture:
        assert picture.width > 2 * picture.height


def test_a_budget_that_is_enough_for_no_training_says_which_is(
    small: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_train(monkeypatch)
    monkeypatch.setattr(race.Candidate, "seconds", lambda *_: 200.0)
    said = small("advise", data, *ADVISE, "--budget", "3m").done().out
    assert "upper half: not tried, it needs about 3 min" in said
    assert "No training was tried: --budget 5m is enough for the quickest" in said
