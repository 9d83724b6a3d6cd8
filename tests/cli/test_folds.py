"""`zoo finetune --folds`, and `--strategy auto` where nothing is held out to choose on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from fakes.prepared import NET, Run

import zoo
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption
from zoo.finetune import run as running
from zoo.finetune.results.interval import wilson
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup import prepare as preparing
from zoo.finetune.setup.data import dataset_of
from zoo.finetune.strategies.choose import Scores, best_epochs, scores_of, with_epochs

TUNE = ("finetune", NET, "--image-size", 32)
QUICK = (*TUNE, "--freeze", "80%", "--epochs", 2)


@pytest.fixture
def divided(tmp_path: Path, few: Path) -> Path:
    """Nine images of each kind to train on and three to test on; none to choose on."""
    for kind in few.iterdir():
        for number, path in enumerate(sorted(kind.iterdir())):
            folder = tmp_path / "divided" / ("test" if number < 3 else "train") / kind.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
    return tmp_path / "divided"


def parts(tmp_path: Path, data: Path, **options: Any) -> list[list[str]]:
    recipe = Recipe(data=str(data), **options)
    found = dataset_of(tmp_path / "images", recipe, silent)
    return [[sample.key for sample in part] for part in (found.train, found.validation, found.test)]


@pytest.mark.long
def test_each_fold_is_kept_and_the_name_is_trained_on_all(small: Run, few: Path) -> None:
    line = (*QUICK, "--data", few, "--folds", 3, "--save", "team/x")
    found = small(*line, "--json").done().json
    refs = [one["ref"] for one in found["folds"]]
    assert refs == [f"team/x:fold-{number}" for number in (1, 2, 3)]
    runs = small("runs", "--json").json[::-1]
    assert [run["recipe"].get("fold") for run in runs] == ["1/3", "2/3", "3/3", "all"]
    assert sum(found["images"]) == 36 - sum(1 for _ in few.iterdir()) * 2  # a fifth is tested on
    scores = found["scores"]
    assert found["score"] == pytest.approx(
        sum(s * n for s, n in zip(scores, found["images"], strict=True)) / sum(found["images"])
    )
    assert found["std"] == pytest.approx(stdev(scores))
    hits = round(found["score"] * sum(found["images"]))
    assert (found["low"], found["high"]) == pytest.approx(wilson(hits, sum(found["images"])))
    last = runs[-1]["recipe"]
    assert found["epochs"] == (0 if last["strategy"] == "probe" else last["epochs"])
    assert small("show", "team/x", "--json").json["manifest"] == found["result"]["manifest"]
    assert len({run["provenance"]["test_digest"] for run in runs}) == 1
    again = small("rerun", "team/x", "--save", "team/again", "--json").done().json
    assert again["metrics"] == found["result"]["metrics"]
    one = small("rerun", "team/x:fold-2", "--save", "team/two", "--json").done().json
    assert one["metrics"] == found["folds"][1]["metrics"]


@pytest.mark.long
def test_it_is_told_in_a_table(small: Run, few: Path) -> None:
    line = (*TUNE, "--strategy", "probe", "--data", few, "--folds", 2, "--save", "team/x")
    said = small(*line).done().out
    assert "FOLD  IMAGES  HELD OUT" in said
    assert "out of fold, ±" in said
    assert "over 2 folds of 30 images" in said
    assert "the probe alone, fitted to all of them" in said
    assert "it is done 3 times" in small(*line[:-2], "--dry-run").done().err


def test_folds_share_out_what_is_not_tested_on(tmp_path: Path, few: Path) -> None:
    whole = parts(tmp_path, few)
    pool, held_out = sorted(whole[0] + whole[1]), list[str]()
    for number in range(1, 6):
        train, validation, test = parts(tmp_path, few, fold=f"{number}/5")
        assert test == whole[2]
        assert sorted(train + validation) == pool
        assert set(Counter(Path(key).parent.name for key in validation).values()) == {2}
        held_out += validation
    assert sorted(held_out) == pool
    assert parts(tmp_path, few, fold="all") == [pool, [], whole[2]]


def test_groups_and_copies_stay_together(tmp_path: Path, few: Path) -> None:
    """What alone shows a class is trained on in every fold."""
    data = Path(shutil.copytree(few, tmp_path / "data"))
    for kind in data.iterdir():
        for number, path in enumerate(sorted(kind.iterdir())):
            path.rename(path.with_name(f"p{number // 3}_{number}.png"))
    first = sorted((data / "1").iterdir())[0]
    shutil.copy(first, data / "1" / "p9_copy.png")
    (data / "rare").mkdir()
    for number in range(2):
        rare = sorted((data / "2").iterdir())[number]
        shutil.move(rare, data / "rare" / f"p8_{number}.png")
    rule = {"group_by": "/(p[0-9])_"}
    for number in (1, 2, 3):
        train, validation, _ = parts(tmp_path, data, fold=f"{number}/3", **rule)
        assert validation
        together = [{Path(key).name[:2] for key in part} for part in (train, validation)]
        assert not together[0] & together[1]
        assert not {"p0", "p9"} & together[0] or not {"p0", "p9"} & together[1]
        assert "rare" not in {Path(key).parent.name for key in validation}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--folds", 2, "--seeds", 2), "two ways"),
        (("--folds", 2, "--fold", "1/2"), "the fold 1/2 is chosen otherwise"),
        (("--folds", 2, "--blend", "soup"), "the blend soup is chosen otherwise"),
        pytest.param(
            ("--folds", 40),
            "40 folds of 30 training and validation images are too many",
            marks=pytest.mark.long,
        ),
        (("--fold", "3/2"), "fold must be all, or K/N"),
    ],
)
def test_what_contradicts_is_refused(
    small: Run, few: Path, options: tuple[object, ...], says: str
) -> None:
    done = small(*TUNE, "--data", few, *options, "--save", "team/x")
    assert done.code
    assert says in done.err


@pytest.mark.long
def test_the_result_is_trained_as_the_folds_were(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same base, though its name moves; with the batch norms of fewer images."""
    real = zoo.Zoo.run_recipe

    def moving(z: zoo.Zoo, *arguments: Any, **options: Any) -> Any:
        done = real(z, *arguments, **options)
        z.tag(str(done.ref), NET, force=True)
        return done

    monkeypatch.setattr(zoo.Zoo, "run_recipe", moving)
    monkeypatch.setattr(preparing, "FEW", 20)  # a fold trains on 15 of 30 images
    line = (*TUNE, "--strategy", "partial", "--freeze", "80%", "--epochs", 1, "--data", few)
    found = small(*line, "--folds", 2, "--save", "team/x", "--json").done().json
    made = [*found["folds"], found["result"]]
    assert len({one["parent"] for one in made}) == 1
    runs = small("runs", "--json").json
    assert [run["recipe"]["batch_norm"] for run in runs] == ["frozen"] * 3


def test_of_an_epoch_and_its_average_the_latter_counts() -> None:
    lines = [
        {"kind": "probe", "accuracy": 0.4},
        {"kind": "step", "loss": 1.0},
        {"kind": "epoch", "name": "epoch 1", "accuracy": 0.5},
        {"kind": "epoch", "name": "average of epoch 1", "accuracy": 0.7},
        {"kind": "epoch", "name": "epoch 2", "accuracy": 0.6},
    ]
    assert scores_of(lines, "accuracy") == {0: 0.4, 1: 0.7, 2: 0.6}


def test_how_long_to_train_is_what_folds_agree_on() -> None:
    assert best_epochs([{0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.5, 1: 0.8, 2: 0.7}, {0: 0.5, 1: 0.9}]) == 1
    assert best_epochs([{0: 0.9, 1: 0.6, 2: 0.95}, {0: 0.9, 1: 0.5, 2: 0.4}]) == 0
    # The best of each is luck: after as many epochs in all folds the probe is better.
    assert best_epochs([{0: 0.8, 1: 0.81, 2: 0.5}, {0: 0.8, 1: 0.5, 2: 0.81}]) == 0
    assert best_epochs([{1: 0.1, 2: 0.1}, {1: 0.1, 2: 0.2}]) == 1
    gradual = Recipe(data="x", strategy="gradual", phases=("all:2", "none:3@1e-4"), patience=0)
    assert with_epochs(gradual, 4).phases == ("all:2", "none:2@1e-4")
    assert with_epochs(gradual, 1).phases == ("all:1",)
    tuned = Recipe(data="x", strategy="lp-ft", freeze="50%", ema=0.9, patience=2, probe="svm")
    assert with_epochs(tuned, 3) == Recipe(
        data="x", strategy="lp-ft", freeze="50%", ema=0.9, probe="svm", epochs=3
    )
    assert with_epochs(tuned, 0) == Recipe(data="x", strategy="probe", probe="svm")


@pytest.mark.parametrize("better", ["probe", "training"])
@pytest.mark.long
def test_auto_without_validation_images_is_not_worse_than_its_probe(
    small: Run, divided: Path, monkeypatch: pytest.MonkeyPatch, better: str
) -> None:
    """Three folds choose; the recipe is what they chose, and runs again to the same bits."""
    real, trials = running._trial, list[Scores]()

    def scripted(*arguments: Any) -> Scores:
        trials.append(real(*arguments))
        return {0: 0.5, 1: 0.6, 2: 0.55} if better == "training" else {0: 0.5, 1: 0.4, 2: 0.3}

    monkeypatch.setattr(running, "_trial", scripted)
    monkeypatch.setattr(preparing, "guessed_preprocessing", lambda *_: "its mean is a guess")
    line = (*QUICK, "--data", divided, "--validation-share", 0)
    said = small(*line, "--save", "team/x").done().err
    (run,) = small("runs", "--json").json
    how = run["recipe"]["strategy"], run["recipe"]["epochs"]
    assert how == (("probe", 5) if better == "probe" else ("lp-ft", 1))
    assert "on 3 folds held out in turn a probe alone had accuracy 0.5000" in said
    assert [table.keys() for table in trials] == [{0, 1, 2}] * 3
    assert said.count("its mean is a guess") == 1
    small("rerun", "team/x", "--save", "team/again").done()
    one, two = (small("show", name, "--json").json for name in ("team/x", "team/again"))
    assert one["metrics"] == two["metrics"]
    dry = small(*line, "--dry-run").done().out
    assert "choosing between the probe and training" in dry


def test_auto_with_validation_images_keeps_the_better(small: Run, few: Path) -> None:
    """At a rate that ruins the network the probe is kept."""
    line = (*TUNE, "--data", few, "--validation-share", 0.3, "--lr", 30, "--epochs", 1)
    found = small(*line, "--save", "team/x", "--json").done().json
    assert found["freeze"]["kept"] == "probe"
    assert "held out in turn" not in small("runs", "show", "last").done().out


@pytest.mark.long
def test_too_few_images_for_folds_are_for_a_probe(small: Run, few: Path, tmp_path: Path) -> None:
    for kind in few.iterdir():
        for number, path in enumerate(sorted(kind.iterdir())[:4]):
            part = "train" if number < 2 else "test"
            (tmp_path / "tiny" / part / kind.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "tiny" / part / kind.name)
    done = small(*TUNE, "--data", tmp_path / "tiny", "--validation-share", 0, "--save", "team/x")
    assert "6 images are too few to see what training gains (fold 1 of 3" in done.done().err
    assert small("show", "team/x", "--json").json["recipe"]["strategy"] == "probe"


@pytest.mark.long
def test_groups_that_make_no_three_folds_are_known_before_any_is_trained(
    small: Run, few: Path, tmp_path: Path
) -> None:
    """The reason is told, and no fold is trained in vain."""
    data = Path(shutil.copytree(few, tmp_path / "data"))
    for kind in data.iterdir():
        for number, path in enumerate(sorted(kind.iterdir())):
            path.rename(path.with_name(f"p{number % 3}_{number}.png"))
    rule = ("--group-by", "/(p[0-9])_", "--validation-share", 0)
    said = small(*QUICK, "--data", data, *rule, "--save", "team/x").done().err
    assert "images in 2 groups are too many: fold" in said
    assert "to choose between" not in said
    assert small("show", "team/x", "--json").json["recipe"]["strategy"] == "probe"


@pytest.mark.long
def test_seeds_are_of_one_choice(
    small: Run, divided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folds of the first seed choose for all."""
    trials = list[Recipe]()

    def tried(_: object, __: object, recipe: Recipe) -> Scores:
        trials.append(recipe)
        return {0: 0.5, 1: 0.6} if recipe.seed == 0 else {0: 0.5, 1: 0.4}

    monkeypatch.setattr("zoo.finetune.run._trial", tried)
    line = (*QUICK, "--data", divided, "--validation-share", 0, "--seeds", 2)
    small(*line, "--save", "team/x").done()
    recipes = [run["recipe"] for run in small("runs", "--json").json[::-1]]
    assert [(each["seed"], each["strategy"], each["epochs"]) for each in recipes] == [
        (0, "lp-ft", 1),
        (1, "lp-ft", 1),
    ]
    assert [(each.seed, each.fold) for each in trials] == [(0, "1/3"), (0, "2/3"), (0, "3/3")]


@pytest.mark.long
def test_an_error_in_a_fold_is_no_choice(
    small: Run, divided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = list[Path]()

    def refused(_: object, __: object, journal: Journal, *___: object) -> None:
        folders.append(journal.run.folder)
        raise InvalidOption("this fold cannot be trained")

    monkeypatch.setattr("zoo.finetune.trial.train", refused)
    line = (*QUICK, "--data", divided, "--validation-share", 0, "--save", "team/x")
    assert "this fold cannot be trained" in small(*line).err
    assert not small("runs", "--json").json
    assert [folder.parent.name for folder in folders] == ["trials"]
    assert json.loads((folders[0] / "run.json").read_text())["status"] == "failed"


@pytest.mark.usefixtures("small")
def test_a_count_of_folds_is_checked_in_python() -> None:
    with zoo.open(progress=False) as z, pytest.raises(InvalidOption, match="2 to 100 folds"):
        z.run_folds(Recipe(data="."), NET, "team/x", folds=1)
