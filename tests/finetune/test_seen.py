"""Images that a base was trained on or chosen by: they are not drawn to test on, and where they are
tested on all the same, that is said.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.tuned import KINDS, draw, quick, small_zoo

import zoo
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidData
from zoo.finetune.conclude import Finetuned
from zoo.finetune.dataset.dataset import Sample
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.dataset.split import Parts, Shares, split
from zoo.finetune.evaluation import CheckpointClasses, without_seen
from zoo.lookup.details import CheckpointDetails
from zoo.lookup.runs import DIGITS, RUNS, find_run
from zoo_cli.main import main

SHARES = Shares(0.1, 0.2)
TOLD = "7 of the 9 test images are among those that team/flat was trained on or chosen by"


def classes(count: int, kinds: int = 2) -> list[Sample]:
    return [Sample(f"{at:03}", at % kinds) for at in range(count * kinds)]


def held(parts: Parts, seen: set[str]) -> list[int]:
    """How many of each part are seen."""
    return [sum(sample.key in seen for sample in part) for part in parts]


def sizes(parts: Parts) -> list[int]:
    return [len(part) for part in parts]


def test_what_a_first_run_left_to_test_on_is_that_of_all_further_ones() -> None:
    samples = classes(30)
    first = split(samples, "classification", SHARES, 0)
    seen = {sample.key for sample in (*first.train, *first.validation)}
    further = split(samples, "classification", SHARES, 3, seen=seen)
    assert further.test == first.test != split(samples, "classification", SHARES, 3).test
    assert sizes(further) == sizes(first)


@pytest.mark.parametrize(
    ("others", "tested", "known"),
    [(10, 8, 0), (8, 8, 0), (5, 5, 0), (4, 4, 0), (3, 8, 5), (0, 8, 8)],
)
def test_half_of_its_share_of_a_class_is_enough(others: int, tested: int, known: int) -> None:
    seen = {sample.key for sample in classes(40) if sample.target == 0}
    seen -= set(sorted(seen)[:others])
    parts = split(classes(40), "classification", SHARES, 1, seen=seen)
    assert Counter(sample.target for sample in parts.test) == {0: tested, 1: 8}
    assert held(parts, seen)[2] == known


def test_what_is_new_is_trained_on_too() -> None:
    """What is to choose on comes from it where twice as much is left."""
    samples = classes(40, kinds=1)
    few, many = ({sample.key for sample in samples[n:]} for n in (14, 24))
    parts = split(samples, "classification", SHARES, 2, seen=few)
    assert held(parts, few)[2] == 0
    assert 14 - 8 - (4 - held(parts, few)[1]) >= 2
    assert held(split(samples, "classification", SHARES, 2, seen=many), many)[1:] == [0, 0]


@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
@pytest.mark.parametrize("each", [1, 3])
def test_labels_numbers_and_groups(task: Any, each: int) -> None:
    """Nothing of a group is tested on of which an image is seen."""
    samples = [Sample(f"{at:03}", (float(at % 2), float(at % 5 == 0))) for at in range(180)]
    if task == "classification":
        samples = [Sample(key, at % 2) for at, (key, _) in enumerate(samples)]
    groups = {f"{at:03}": f"g{at // each}" for at in range(180)} if each > 1 else {}
    seen = {f"{at:03}" for at in range(180) if at // each % 3}
    if each > 1:
        seen -= {f"{at:03}" for at in range(0, 180, each)}
    parts = split(samples, task, SHARES, 4, groups, seen)
    assert sizes(parts) == pytest.approx([126, 18, 36], abs=4)
    assert held(parts, seen)[2] == 0
    if groups:
        whole = {groups[key] for key in seen}
        assert not whole & {groups[sample.key] for sample in parts.test}
    every = {sample.key for sample in samples}
    assert sizes(split(samples, task, SHARES, 4, groups, every)) == pytest.approx(
        [126, 18, 36], abs=4
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seen")


@pytest.fixture(scope="module")
def data(root: Path) -> Path:
    """Fifteen drawings of each kind, in no splits."""
    for number in range(45):
        draw(root / "flat" / KINDS[number % 3] / f"{number:02}.png", KINDS[number % 3], number)
    return root / "flat"


@pytest.fixture(scope="module")
def small(root: Path, data: Path) -> Iterator[zoo.Zoo]:
    """With ``team/flat``, a probe of them."""
    with quick(), small_zoo(root) as made:
        tune(made, "team/base", data, "flat")
        yield made


def tune(made: zoo.Zoo, base: str, data: Path, name: str, **options: Any) -> Finetuned:
    how: dict[str, Any] = {"strategy": "probe", "image_size": 32, "device": "cpu", **options}
    return made.finetune(base, data, f"team/{name}", **how)


def remarks(made: zoo.Zoo, run: str) -> Sequence[str]:
    lines = find_run(made.workspace, run).lines()
    return [line["text"] for line in lines if line["kind"] == "remark"]


def digests(made: zoo.Zoo, name: str) -> Sequence[str]:
    known = made.show(name).to_json()["provenance"]
    return [known[f"{part}_digest"] for part in ("test", "split")]


@pytest.mark.long
def test_a_further_run_is_tested_on_what_its_base_has_not_seen(small: zoo.Zoo, data: Path) -> None:
    asked = Recipe(data=str(data), strategy="probe", image_size=32, seed=3)
    line = "drawn from the 9 of these 45 images that team/flat was neither trained on nor chosen by"
    assert any(line in text for text in small.plan_finetune(asked, "team/flat").remarks)
    done = tune(small, "team/flat", data, "flat3", seed=3)
    assert any(line in text for text in remarks(small, done.run))
    assert "test_seen" not in done.metrics
    assert done.warning == ""
    assert small.show("team/flat3").to_json()["recipe"]["held_out"] == "unseen"
    assert digests(small, "team/flat3")[0] == digests(small, "team/flat")[0]
    assert digests(small, "team/flat3")[1] != digests(small, "team/flat")[1]
    small.rerun("team/flat3", "team/again", device="cpu")
    assert digests(small, "team/again") == digests(small, "team/flat3")
    assert small.evaluate("team/again", data).seen == 0


@pytest.mark.long
def test_of_several_seeds_and_elsewhere(small: zoo.Zoo, data: Path) -> None:
    asked = Recipe(data=str(data), strategy="probe", image_size=32, seed=4)
    both = [small.run_seeds(asked, "team/flat", "team/s", seeds=2, device="cpu") for _ in "12"]
    assert {digests(small, f"team/s:seed-{seed}")[0] for seed in (4, 5)} == {
        digests(small, "team/flat")[0]
    }
    assert [one.run for one in both[0].runs] == [one.run for one in both[1].runs]  # taken up
    # As with a teammate, who has no run of it: the recipe tells what it was trained on.
    done = tune(small, "team/flat", data, "again", seed=5)
    small.rerun("team/again", "team/further", device="cpu")
    runs = small.root / RUNS
    runs.rename(small.root / "away")
    try:
        again = small.rerun("team/further", "team/elsewhere", data=data, device="cpu")
        assert digests(small, "team/elsewhere") == digests(small, "team/again")
        assert again.metrics == done.metrics
    finally:
        shutil.rmtree(runs)
        (small.root / "away").rename(runs)


@pytest.mark.long
def test_what_is_tested_on_all_the_same_is_said(small: zoo.Zoo, data: Path, root: Path) -> None:
    """Also by what an older version recorded, which asked nothing."""
    recorded = small.show("team/flat").to_json()["recipe"]
    assert "held_out" not in recorded
    assert Recipe.recorded(recorded).held_out == "any"
    done = tune(small, "team/flat", data, "any", seed=1, held_out="any")
    assert any(text.startswith(TOLD) for text in remarks(small, done.run))
    assert done.warning.startswith(TOLD)
    assert done.metrics["test_seen"] == 7
    shown = small.show("team/any").to_json()
    assert (shown["metrics"]["test_seen"], shown["provenance"]["warning"]) == (7, done.warning)
    small.rerun("team/any", "team/again", device="cpu")
    assert digests(small, "team/again") == digests(small, "team/any")
    small.export("team/any", root / "exported")
    assert TOLD in (root / "exported" / "README.md").read_text()
    assert small.best("name:team/any").warning == done.warning
    found = small.evaluate("team/any", data)
    assert (found.seen, found.kept, found.split) == (7, False, "test")
    assert "team/any was trained on 7 of the 9 images" in " ".join(found.remarks)


@pytest.mark.long
def test_of_other_data_what_is_among_it_is_known(small: zoo.Zoo, data: Path, root: Path) -> None:
    """A test folder is what it is; and an evaluation knows what else an ancestor has seen."""
    parts = root / "parts"
    for at, path in enumerate(sorted(data.glob("*/*.png"))):
        part = "test" if at % 3 == 0 else "train"
        (parts / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, parts / part / path.parent.name / f"other{at}.png")
    plan = small.plan_finetune(
        Recipe(data=str(parts), strategy="probe", image_size=32), "team/flat"
    )
    (told,) = [text for text in plan.remarks if "too good" in text]
    known = small.evaluate("team/flat", parts)
    assert told.startswith(f"{known.seen} of the 15 test images are among those")
    assert 0 < known.seen < 15
    assert known.to_json()["seen"] == known.seen


@pytest.mark.long
def test_what_the_run_itself_has_seen_is_said_alike(
    small: zoo.Zoo, data: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test folder with copies of images that are trained on, and of one that is chosen by."""
    leaky = root / "leaky"
    for at, path in enumerate(sorted(data.glob("*/*.png"))):
        part = ("train", "train", "val", "test")[at % 4]
        (leaky / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, leaky / part / path.parent.name)
    for part, count in (("train", 2), ("val", 1)):
        for path in sorted(leaky.glob(f"{part}/bar/*"))[:count]:
            shutil.copy(path, leaky / "test" / "bar" / f"copy{path.name}")
    done = tune(small, "team/base", leaky, "leaky")
    told = "3 of the 14 test images are among those that this run was trained on or chosen by"
    assert (done.metrics["test_seen"], done.warning.partition(":")[0]) == (3, told)
    (said,) = [text for text in remarks(small, done.run) if "say nothing about new" in text]
    assert said.startswith("3 of 14 test images are trained on or chosen by, too, such as")
    shown = small.show("team/leaky").to_json()
    assert (shown["metrics"]["test_seen"], shown["provenance"]["warning"]) == (3, done.warning)
    assert small.best("name:team/leaky").warning == done.warning
    assert any(told in text for text in small.compare("team/leaky", "team/flat").remarks)
    with pytest.raises(SystemExit, match="0"):
        main(["--home", str(small.root), "compare", "team/leaky", "team/flat"])
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"test images 14 9", "test images seen in training 3 -"} <= {*rows}
    assert any(row.startswith("groups of test images 14 ") for row in rows)
    small.export("team/leaky", root / "leaked")
    readme = (root / "leaked" / "README.md").read_text()
    assert f"**Warning:** {told}" in readme
    assert "| test images seen in training | 3 |" in readme
    found = small.evaluate("team/leaky", leaky)
    assert (found.seen, found.report.images) == (3, 14)
    # Of both, each image counts once.
    both = tune(small, "team/flat", leaky, "both")
    seen = small.evaluate("team/both", leaky).seen
    assert both.metrics["test_seen"] == seen > 3
    assert both.warning.startswith(
        f"{seen} of the 14 test images are among those that team/flat or this run was trained on"
    )


@pytest.mark.long
def test_what_was_seen_can_be_left_out(small: zoo.Zoo, data: Path, root: Path) -> None:
    """Also what only the other checkpoint has seen."""
    tune(small, "team/base", data, "rival", seed=5)
    whole = small.evaluate("team/flat", data, against="team/rival")
    assert whole.against
    assert whole.against.seen > 0
    assert whole.against.verdict.endswith("; --unseen measures on the others alone")
    noted = " ".join(whole.remarks)
    assert "and are not kept; --unseen measures on the others alone" in noted
    found = small.evaluate("team/flat", data, against="team/rival", unseen=True)
    assert found.against
    assert (found.seen, found.against.seen) == (0, 0)
    assert found.left_out == whole.against.seen == found.to_json()["left_out"]
    assert found.report.images == whole.report.images - found.left_out
    assert "cannot be told, as" not in found.against.verdict
    assert found.kept
    # The figures of the whole split are other ones, and stay.
    shown = small.show("team/flat")
    assert isinstance(shown, CheckpointDetails)
    of = [each for each in shown.evaluations if each.data == "flat"]
    assert {each.images for each in of} == {whole.report.images, found.report.images}
    assert len({each.data_digest for each in of}) == 2
    assert [each.split_digest != "" for each in of if each.images == found.report.images] == [False]
    again = small.evaluate("team/flat", data, unseen=True)
    assert (again.left_out, again.report.images) == (0, whole.report.images)
    rest = small.evaluate("team/flat", data, split="all", unseen=True)
    assert (rest.left_out, rest.report.images) == (36, 9)
    with pytest.raises(InvalidData, match="none of these images is new"):
        small.evaluate("team/flat", data, split="train", unseen=True)


def test_what_is_of_one_group_with_a_seen_image_is_left_out(data: Path) -> None:
    dataset = open_dataset(str(data))
    (one, other, *_), trained = dataset.test, dataset.train[0]
    dataset = replace(dataset, groups={one.key: "g", trained.key: "g", other.key: "h"})
    known = CheckpointClasses(None, frozenset({dataset.digests[trained.key][:DIGITS]}))
    rest, left_out = without_seen(dataset, [known])
    assert (rest.test, left_out) == (tuple(each for each in dataset.test if each != one), 1)
    assert rest.digest != dataset.digest


@pytest.mark.long
def test_a_split_that_cannot_be_drawn_again_is_refused(
    small: zoo.Zoo, data: Path, root: Path
) -> None:
    more = root / "more"
    for path in sorted(data.glob("*/*.png"))[::2]:
        (more / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, more / path.parent.name)
    tune(small, "team/flat", more, "more", seed=3)
    (small.root / RUNS).rename(small.root / "gone")
    try:
        with pytest.raises(InvalidData, match="are split") as refused:
            small.rerun("team/more", "team/again", data=more, device="cpu")
    finally:
        (small.root / "gone").rename(small.root / RUNS)
    assert "where the base was trained knows it" in str(refused.value.hint)
