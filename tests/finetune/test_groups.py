"""Images that belong together stay together: copies, and what ``--group-by`` names."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.tuned import KINDS, draw, drawings, quick, small_zoo
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidData, InvalidOption
from zoo.finetune.dataset.allot import allot
from zoo.finetune.dataset.dataset import PARTS, Dataset, Sample
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.dataset.split import Shares, split
from zoo.finetune.strategies.linear import folds
from zoo.lookup.runs import find_run


def parts_of(dataset: Dataset, group: Callable[[Sample], str]) -> dict[str, set[str]]:
    """The parts that each group is in."""
    found = defaultdict(set)
    for name in PARTS:
        for sample in getattr(dataset, name):
            found[group(sample)].add(name)
    return found


def patients(root: Path, *, count: int = 10, each: int = 3) -> Path:
    """Drawings of each kind, so many of each patient, whose name is in that of the file."""
    number = 0
    for patient in range(count):
        for kind in KINDS:
            for at in range(each):
                draw(root / kind / f"p{patient}_{at}.png", kind, number)
                number += 1
    return root


def patient(sample: Sample) -> str:
    return sample.key.rpartition("/")[2].partition("_")[0]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=6, max_size=80),
    st.integers(0, 1 << 30),
)
@settings(max_examples=50, deadline=None)
def test_a_group_is_in_one_part_and_each_class_is_trained_on(
    drawn: list[tuple[int, int]], seed: int
) -> None:
    samples = [Sample(f"{at:03}", label) for at, (label, _) in enumerate(drawn)]
    groups = {sample.key: f"g{group}" for sample, (_, group) in zip(samples, drawn, strict=True)}
    shares = Shares(0.1, 0.2)
    parts = split(samples, "classification", shares, seed, groups)
    assert sorted([*parts.train, *parts.validation, *parts.test]) == sorted(samples)
    where = [{groups[sample.key] for sample in part} for part in parts]
    assert sum(map(len, where)) == len(set.union(*where))
    assert {s.target for s in parts.train} == {s.target for s in samples}
    assert parts == split(samples[::-1], "classification", shares, seed, groups)


def test_parts_have_their_shares_where_groups_are_many() -> None:
    samples = [Sample(f"{at:04}", at % 3) for at in range(900)]
    groups = {f"{at:04}": f"g{at // 5}" for at in range(900)}
    drawn = [split(samples, "classification", Shares(0.1, 0.2), seed, groups) for seed in range(5)]
    for parts in drawn:
        for label in range(3):
            counts = [sum(sample.target == label for sample in part) for part in parts]
            assert counts == pytest.approx([210, 30, 60], abs=3)
    assert drawn[0].test != drawn[1].test


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_groups_of_labels_and_numbers(task: Any) -> None:
    samples = [Sample(f"{at:03}", (float(at % 2), float(at % 7 == 0))) for at in range(120)]
    groups = {f"{at:03}": f"g{at // 4}" for at in range(120)}
    parts = split(samples, task, Shares(0.2, 0.2), 0, groups)
    assert [len(part) for part in parts] == pytest.approx([72, 24, 24], abs=4)
    assert sum(len({groups[sample.key] for sample in part}) for part in parts) == 30


def test_folds_keep_groups() -> None:
    targets = torch.arange(60) % 3
    groups = [f"g{at // 6}" for at in range(60)]
    for fit, held in folds(targets, 3, 0, groups):
        assert not {groups[at] for at in fit} & {groups[at] for at in held}
        assert len(held) == pytest.approx(20, abs=4)
    plain = folds(targets, 3, 0)
    for (a, b), (c, d) in zip(plain, folds(targets, 3, 0, [""] * 60), strict=True):
        assert (a.tolist(), b.tolist()) == (c.tolist(), d.tolist())
    assert len(folds(targets, 3, 0, ["one"] * 60)) == 3


def test_without_groups_a_split_is_what_it_was(tmp_path: Path) -> None:
    """Digests that the version before had for these images."""
    data = patients(tmp_path / "data", count=4)
    found = open_dataset(str(data))
    assert found.split_digest == SPLIT
    assert open_dataset(str(data), split_copies=True).split_digest == SPLIT
    assert found.remarks == ()


SPLIT = "blake3:436893ed3a18c413500d32f044f5fa7ecc9ba3024dc42c6425b23451c01312db"


def test_copies_are_said_and_kept_in_one_part(tmp_path: Path) -> None:
    data = patients(tmp_path / "data", count=4)
    bars = sorted((data / "bar").iterdir())
    for path in bars:
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    found = open_dataset(str(data))
    copied = parts_of(found, lambda sample: sample.key.replace("copy_", ""))
    assert {len(parts) for parts in copied.values()} == {1}
    assert [len(getattr(found, part)) for part in PARTS] == pytest.approx([34, 5, 9], abs=2)
    (remark,) = found.remarks
    assert (
        "12 images are copies of others, such as 'bar/copy_p0_0.png' and 'bar/p0_0.png'" in remark
    )
    apart = open_dataset(str(data), split_copies=True)
    assert any("test images are trained on, too" in remark for remark in apart.remarks)


def test_copies_with_another_label_are_said(tmp_path: Path) -> None:
    data = patients(tmp_path / "data", count=4)
    shutil.copy(data / "bar" / "p0_0.png", data / "disc" / "other.png")
    found = open_dataset(str(data))
    assert any("1 image has copies with another label" in text for text in found.remarks)
    at = parts_of(found, lambda sample: sample.key)
    assert at["bar/p0_0.png"] == at["disc/other.png"]


def test_copies_in_given_splits_are_said_and_left(tmp_path: Path) -> None:
    data = drawings(tmp_path / "data")
    one = next((data / "train" / "bar").iterdir())
    shutil.copy(one, data / "test" / "bar" / "again.png")
    found = open_dataset(str(data))
    assert [len(found.train), len(found.test)] == [18, 16]
    assert any("1 of 16 test images is trained on, too" in text for text in found.remarks)


@pytest.mark.parametrize("rule", ["/(p[0-9]+)_", "([^/_]+)_[^/]*$"])
def test_groups_by_a_pattern_in_the_path(tmp_path: Path, rule: str) -> None:
    found = open_dataset(str(patients(tmp_path / "data")), group_by=rule)
    where = parts_of(found, patient)
    assert {len(parts) for parts in where.values()} == {1}
    counts = Counter(part for (part,) in where.values())
    assert counts == {"train": 7, "validation": 1, "test": 2}


def test_groups_by_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for path in sorted(patients(data).glob("*/*.png")):
        name = path.name.partition("_")[0]
        (path.parent / name).mkdir(exist_ok=True)
        path.rename(path.parent / name / path.name)
    found = open_dataset(str(data), group_by="folder")
    assert {len(parts) for parts in parts_of(found, patient).values()} == {1}


def table(data: Path, *, leave_out: str = "") -> Path:
    rows = [f"{path.relative_to(data.parent)},{path.parent.name},{patient(Sample(path.name, 0))}"
            for path in sorted(data.glob("*/*.png"))]  # fmt: skip
    rows = [row.replace(f",{leave_out}", ",") if leave_out else row for row in rows]
    target = data.parent / "table.csv"
    target.write_text("\n".join(["path,label,patient", *rows]))
    return target


def test_groups_by_a_column(tmp_path: Path) -> None:
    data = patients(tmp_path / "data")
    found = open_dataset(str(table(data)), group_by="patient")
    assert {len(parts) for parts in parts_of(found, patient).values()} == {1}
    with pytest.raises(InvalidData, match=r"no column 'patiant' .* did you mean 'patient'"):
        open_dataset(str(table(data)), group_by="patiant")
    with pytest.raises(InvalidData, match="has no group in the column 'patient'"):
        open_dataset(str(table(data, leave_out="p3")), group_by="patient")


def test_what_cannot_be_grouped_by(tmp_path: Path) -> None:
    data = str(patients(tmp_path / "data", count=2, each=2))
    for rule, says in (
        ("patient", "only tables have columns"), ("(p[0-9+_", "not a regular expression"),
        (r"\(p", "no group in it"),
    ):  # fmt: skip
        with pytest.raises(InvalidOption, match=says):
            open_dataset(data, group_by=rule)
    for rule in ("folder", "(nobody)"):
        with pytest.raises(InvalidData, match="has no group"):
            open_dataset(data, group_by=rule)
    with pytest.raises(InvalidData, match="all are in one group"):
        open_dataset(data, group_by="(p)")


def test_labels_in_one_group_only() -> None:
    labels = [(0,), (0,), (1,), (1,), (2,)]
    assert allot(labels, ["a", "a", "a", "b", "c"], (0.5, 0, 0.5), 0, every=True)[0] == 0
    assert set(allot(labels, ["a"] * 5, (0.7, 0.1, 0.2), 0)) == {0}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.Zoo]:
    root = tmp_path_factory.mktemp("groups")
    with quick(), small_zoo(root) as made:
        yield made


def tuned(small: zoo.Zoo, data: Path, **options: Any) -> tuple[dict[str, Any], Sequence[str]]:
    result = small.finetune(
        "team/base", data, "team/tuned", device="cpu", strategy="probe", image_size=32, **options
    )
    notes = find_run(small.workspace, result.run).lines()
    return small.show("team/tuned").to_json(), [x["text"] for x in notes if x["kind"] == "remark"]


@pytest.mark.long
def test_a_run_records_its_groups_and_is_done_again(small: zoo.Zoo, tmp_path: Path) -> None:
    data = patients(tmp_path / "data", count=5, each=2)
    shutil.copy(data / "bar" / "p0_0.png", data / "bar" / "p1_7.png")
    shown, remarks = tuned(small, data, group_by="/(p[0-9])_")
    assert shown["recipe"]["group_by"] == "/(p[0-9])_"
    assert any("1 image is a copy of another" in text for text in remarks)
    small.rerun("team/tuned", "team/again", device="cpu")
    again = small.show("team/again").to_json()
    assert again["provenance"]["split_digest"] == shown["provenance"]["split_digest"]
    assert again["metrics"] == shown["metrics"]


@pytest.mark.long
def test_a_run_of_an_older_version_is_done_again(
    small: zoo.Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of images apart, and nothing of them in the recipe."""
    data = patients(tmp_path / "data", count=5, each=2)
    for path in sorted((data / "bar").iterdir()):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    to_json = Recipe.to_json
    with monkeypatch.context() as patch:
        older = ("group_by", "duplicates")
        patch.setattr(
            Recipe, "to_json", lambda x: {k: v for k, v in to_json(x).items() if k not in older}
        )
        shown, _ = tuned(small, data, duplicates="apart")
    assert "duplicates" not in shown["recipe"]
    small.rerun("team/tuned", "team/again", device="cpu")
    again = small.show("team/again").to_json()
    assert again["recipe"]["duplicates"] == "apart"
    assert again["provenance"]["split_digest"] == shown["provenance"]["split_digest"]
    together, _ = tuned(small, data)
    assert together["provenance"]["split_digest"] != shown["provenance"]["split_digest"]
