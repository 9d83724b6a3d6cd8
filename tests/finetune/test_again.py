"""A run that goes on, or is done again, is the same one; what is other than it was is told."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.cuts import Cut, cut_at

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidData, InvalidOption
from zoo.finetune import run as carrying
from zoo.finetune.results import journal as module
from zoo.finetune.run import Finetuned, finetune, rerun, resume
from zoo.lookup import runs
from zoo.lookup.runs import Run, find_run, list_runs
from zoo.workspace import Workspace

QUICK: dict[str, Any] = {
    "strategy": "partial", "freeze": "layer2", "epochs": 1, "batch_size": 8, "image_size": 32,
}  # fmt: skip


@pytest.fixture
def workspace(shared: Workspace) -> Workspace:
    """One for all: each test looks at its own runs."""
    return shared


@pytest.fixture
def base() -> str:
    return "team/base"


def tune(workspace: Workspace, base: str, data: Path, save: str, **options: Any) -> Finetuned:
    recipe = Recipe(data=str(data), **{**QUICK, **options})
    return finetune(workspace, base, recipe, Reference.parse(save), device="cpu", save_every=1)


def cut_off(workspace: Workspace, base: str, data: Path, **options: Any) -> Run:
    """A run that was cut off after two steps."""
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 2)
        with pytest.raises(Cut):
            tune(workspace, base, data, "team/cut", **options)
    return list_runs(workspace)[0]


def tabulate(shapes: Path, tested: int) -> Path:
    """A table of the shapes; of each kind every fourth is tested on, from ``tested`` on."""
    table = shapes / "shapes.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for folder in sorted(path for path in shapes.iterdir() if path.is_dir()):
            for number, path in enumerate(sorted(folder.iterdir())):
                part = {tested: "test", tested + 1: "val"}.get(number % 4, "train")
                writer.writerow((path.relative_to(shapes), folder.name, part))
    return table


@pytest.mark.long
def test_another_split_of_the_same_images_is_refused(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    table = tabulate(shapes, tested=0)
    tune(workspace, base, table, "team/whole")
    cut = cut_off(workspace, base, table)
    tabulate(shapes, tested=2)
    with pytest.raises(InvalidData, match=r"split .* differently than when the run began"):
        resume(workspace, cut.id)
    with pytest.raises(InvalidData, match=r"split .* differently than when team/whole was trained"):
        rerun(workspace, "team/whole", Reference.parse("team/again"), device="cpu")
    tabulate(shapes, tested=0)
    assert resume(workspace, cut.id).run == cut.id
    rerun(workspace, "team/whole", Reference.parse("team/again"), device="cpu")


def weights(workspace: Workspace, result: Finetuned) -> dict[str, torch.Tensor]:
    return load(workspace.store, result.manifest).state_dict()


@pytest.mark.long
def test_threads_are_as_many_as_they_were(workspace: Workspace, base: str, shapes: Path) -> None:
    with in_threads(2):
        whole = tune(workspace, base, shapes, "team/whole", strategy="lp-ft")
        cut = cut_off(workspace, base, shapes, strategy="lp-ft")
    assert torch.get_num_threads() == 1
    again = rerun(workspace, "team/whole", Reference.parse("team/again"), device="cpu")
    resumed = resume(workspace, cut.id)
    assert torch.get_num_threads() == 1
    one = weights(workspace, whole)
    for result in (again, resumed):
        other = weights(workspace, result)
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert workspace.store.manifest(result.manifest).provenance["threads"] == "2"
        assert set(remarks(workspace, result)) <= set(remarks(workspace, whole))


@pytest.mark.long
def test_other_versions_are_remarked_on_once(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = {"torch": "9.1", "timm": "8.2"}
    tune(workspace, base, shapes, "team/whole", freeze="all")
    cut = cut_off(workspace, base, shapes, freeze="all")
    monkeypatch.setattr(module, "version", lambda name: newer.get(name) or version(name))
    again = rerun(workspace, "team/whole", Reference.parse("team/again"), device="cpu")
    resumed = resume(workspace, cut.id)
    versions = f"torch 9.1 (was {version('torch')}), timm 8.2 (was {version('timm')})"
    for result, when in ((again, "team/whole was trained"), (resumed, "the run began")):
        text = f"other bits than when {when} are to be expected: {versions}"
        assert remarks(workspace, result).count(text) == 1


def test_it_goes_on_where_its_device_is_not(workspace: Workspace, base: str, shapes: Path) -> None:
    cut = cut_off(workspace, base, shapes, freeze="all")
    replace(cut, device="cuda:99", provenance={**cut.provenance, "device": "cuda"}).write()
    with pytest.raises(InvalidOption, match="'cuda:99' cannot be used here"):
        resume(workspace, cut.id)
    result = resume(workspace, cut.id, device="cpu")
    text = "other bits than when the run began are to be expected: device cpu (was cuda)"
    assert remarks(workspace, result).count(text) == 1
    made = workspace.store.manifest(result.manifest)
    assert made.provenance["device"] == "cuda, then cpu"
    assert find_run(workspace, cut.id).device == "cpu"


@contextmanager
def in_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def remarks(workspace: Workspace, result: Finetuned) -> list[str]:
    lines = find_run(workspace, result.run).lines()
    return [line["text"] for line in lines if line["kind"] == "remark"]


def test_what_another_process_ended_meanwhile_is_not_done_again(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut off when it was looked for, and is done when it is held."""
    stale = cut_off(workspace, base, shapes)
    result = resume(workspace, stale.id, device="cpu")
    before = (stale.folder / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(carrying, "find_run", lambda *_: stale)
    with pytest.raises(Conflict, match="is done"):
        resume(workspace, stale.id, device="cpu")
    assert Run.read(stale.folder).result["manifest"] == str(result.manifest)
    assert (stale.folder / "metrics.jsonl").read_bytes() == before


def test_what_ends_while_it_is_looked_at_was_not_interrupted(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(cut_off(workspace, base, shapes), status="running").write()

    def ends(*_: object) -> bool:
        replace(run, status="done").write()
        return False

    assert Run.read(run.folder).status == "interrupted"
    monkeypatch.setattr(runs, "alive", ends)
    assert Run.read(run.folder).status == "done"


def test_one_that_an_older_version_cut_off_is_resumed(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    """It kept a digest of the images alone, and not how they were read."""
    run = cut_off(workspace, base, shapes)
    kept = json.loads((run.folder / "run.json").read_bytes())
    kept["data_digest"] = kept.pop("provenance")["data_digest"]
    (run.folder / "run.json").write_text(json.dumps(kept))
    result = resume(workspace, run.id, device="cpu")
    noted = [line["text"] for line in find_run(workspace, result.run).lines() if "text" in line]
    assert any("reading 2 (was 1)" in text for text in noted)
