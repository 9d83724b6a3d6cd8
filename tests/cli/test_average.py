"""``zoo average``: the mean of fine-tunes, and what has none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.checkpoints import Tensors
from fakes.derived import derive, weights_of
from fakes.prepared import NET

import zoo
from zoo.domain.manifest import FLAT, Head
from zoo.errors import InvalidOption
from zoo.workspace import Workspace

Run = Callable[..., Any]
NORM = "bn1"
KNOWN: dict[str, Any] = {
    "head": Head(kind="native", num_classes=3),
    "classes": ("1", "2", "3"),
    "freeze": None,
}


def tuned(workspace: Workspace, name: str, *, by: float, norms: float = 0, **more: Any) -> Tensors:
    """A fine-tune whose weights, and statistics of a batch norm, have moved by so much."""
    values = weights_of(workspace, NET)
    values["conv1.0.weight"] = values["conv1.0.weight"] + values["conv1.0.weight"].dtype.type(by)
    values[f"{NORM}.running_mean"] += values[f"{NORM}.running_mean"].dtype.type(norms)
    derive(workspace, NET, name, values, **{**KNOWN, **more})
    return values


@pytest.fixture
def workspace(small: Run) -> Iterator[Workspace]:
    with closing(Workspace(Path())) as opened:
        yield opened


def test_the_mean_derives_from_all(small: Run, workspace: Workspace) -> None:
    weights = [tuned(workspace, f"team/{by}", by=by) for by in (1, 2, 6)]
    names = ("team/1", "team/2", "team/6")
    said = small("average", *names, "team/1", "--as", "team/soup").done()
    assert said.out.splitlines()[1:] == [
        "  mean of 3 checkpoints", "  not measured yet: zoo evaluate team/soup DATA",
    ]  # fmt: skip
    found = weights_of(workspace, "team/soup")
    assert found["conv1.0.weight"] == pytest.approx(weights[0]["conv1.0.weight"] + 2, abs=1e-5)
    assert (found["fc.weight"] == weights[0]["fc.weight"]).all(), "what is equal stays"
    shown = small("show", "team/soup", "--json").json
    assert shown["metrics"] == {}
    assert shown["classes"] == ["1", "2", "3"]
    log = small("log", "team/soup").done().out
    assert all(f"{name}  " in log for name in (*names, NET))
    assert "DISAGREES" not in log
    small("verify").done()
    small("push", "team/soup", "--to", "./far").done()
    small("verify", "./far").done()
    small("init", "other").done()
    small("pull", "team/soup", "--from", "./far", "--home", "other").done()
    with zoo.open("other") as opened:
        assert opened.load("team/soup")(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.long
def test_batch_norms_take_their_statistics_anew(
    small: Run, workspace: Workspace, few: Path
) -> None:
    names = ("team/a", "team/b")
    for number, name in enumerate(names):
        tuned(workspace, name, by=0.01 * number, norms=1 + number)
    line = ("average", *names, "--as", "team/soup")
    small(*line).refused("the statistics of their batch norms differ", "--data FOLDER")
    small(*line, "--data", few, "--batch-size", 1).refused("one alone has no variance")
    flat = Path("flat")
    flat.mkdir()
    for path in sorted(few.rglob("*.png")):
        shutil.copy(path, flat / f"{path.parent.name}-{path.name}")
    count = len([*flat.iterdir()])
    said = small(*line, "--data", flat, "--batch-size", count).done()
    assert f"  statistics of 1 batch norm taken anew from {count} images\n" in said.out
    with zoo.open() as opened:
        model = opened.load("team/soup")
        seen: list[torch.Tensor] = []
        norm = model.get_submodule(NORM)
        norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        images = [model.zoo.preprocess(path) for path in sorted(flat.iterdir())]  # type: ignore[operator, union-attr]
        with torch.no_grad():
            model(torch.stack(images))
    mean = seen[0].mean(dim=(0, 2, 3))
    assert torch.allclose(norm.running_mean, mean, atol=1e-4)  # type: ignore[arg-type]


def test_statistics_are_of_training_images_alone(
    small: Run, workspace: Workspace, few: Path
) -> None:
    """Where the images have splits; and a norm whose variance alone moved is taken anew, too."""
    for number, name in enumerate(("team/a", "team/b")):
        values = weights_of(workspace, NET)
        values[f"{NORM}.running_var"] *= 1 + number
        derive(workspace, NET, name, values, **KNOWN)
    for split, count in (("train", 3), ("val", 2), ("test", 4)):
        for kind in "123":
            folder = Path("split", split, kind)
            folder.mkdir(parents=True)
            for path in sorted((few / kind).iterdir())[:count]:
                shutil.copy(path, folder)
    line = ("average", "team/a", "team/b", "--as", "team/soup")
    small(*line).refused("the statistics of their batch norms differ")
    said = small(*line, "--data", "split").done()
    assert f"  statistics of 1 batch norm taken anew from {3 * 3} images\n" in said.out


@pytest.mark.parametrize("task", ["regression", "multi-label"])
def test_the_mean_has_the_task_of_all(
    small: Run, workspace: Workspace, few: Path, task: str
) -> None:
    for number, name in enumerate(("team/a", "team/b")):
        tuned(workspace, name, by=number / 100, recipe={"task": task, "data": "/data/x"})
    tuned(workspace, "team/other", by=0.02, recipe={"data": "/data/x"})
    small("average", "team/a", "team/other", "--as", "team/soup").refused("differ in their task")
    small("average", "team/a", "team/b", "--as", "team/soup").done()
    with zoo.open() as opened:
        (found,) = opened.predict("team/soup", next(few.rglob("*.png")), top=3)
    shares = sorted(torch.tensor(found.logits).sigmoid().tolist(), reverse=True)
    expected = () if task == "regression" else pytest.approx(shares, abs=1e-5)
    assert found.probabilities == expected
    compared = small("compare", "team/a", "team/soup").done()
    assert "no recipe is known of team/soup" in compared.err


def test_an_export_of_it_is_imported(small: Run, workspace: Workspace) -> None:
    """It names no parent: one of several would pass for all."""
    names = ("team/a", "team/b")
    for number, name in enumerate(names):
        tuned(workspace, name, by=number)
    small("average", *names, "--as", "team/soup").done()
    values = weights_of(workspace, "team/soup")
    _, soup = workspace.names.resolve("team/soup")
    line = workspace.store.manifest(soup)
    table = {"ancestors": {**line.ancestors, soup: line.parents}, "format": FLAT}
    derive(workspace, "team/soup", "team/tuned", values, **KNOWN, **table)
    small("init", "other").done()
    for name in ("soup", "tuned"):
        small("export", f"team/{name}", name).done()
        small("import", name, "--as", f"team/{name}", "--home", "other").done()
        shown = small("show", f"team/{name}", "--json", "--home", "other").json
        assert shown["classes"] == ["1", "2", "3"]
        assert [each["ref"] for each in shown["parents"]] == ["team/soup"] * (name == "tuned")


@pytest.mark.long
def test_adapters_are_merged_first(small: Run, few: Path) -> None:
    tune = ("finetune", NET, "--data", few, "--strategy", "lora", "--image-size", 32)
    more = ("--at", "layer3,layer4", "--epochs", 1, "--batch-size", 8, "--validation-share", 0)
    names = ("team/a", "team/b")
    for rank, name in enumerate(names, 2):
        small(*tune, *more, "--rank", rank, "--seed", 1, "--save", name).done()
    small("average", *names, "--as", "team/soup").done()
    assert "adapter" not in small("show", "team/soup", "--json").json
    with zoo.open() as opened:
        a, b, mean = (opened.load(name).state_dict() for name in (*names, "team/soup"))
    assert any(not torch.equal(a[name], b[name]) for name in a if name.startswith("layer"))
    for name, each in mean.items():
        assert torch.allclose(each.float(), (a[name].float() + b[name].float()) / 2, atol=1e-6)


def test_one_name_or_none_is_refused(workspace: Workspace) -> None:
    with zoo.open() as opened:
        for names in ([], [NET]):
            with pytest.raises(InvalidOption, match="name two of them"):
                opened.average(names, "team/soup")


def test_values_that_have_no_mean_are_refused(small: Run, workspace: Workspace) -> None:
    soup = ("--as", "team/soup")
    for number, name in enumerate(("team/a", "team/b", "team/nan")):
        values = weights_of(workspace, NET)
        values["steps"] = np.array([number], dtype="i8")
        values[f"{NORM}.num_batches_tracked"] += number
        if name == "team/nan":
            values["fc.bias"][0] = np.nan
        derive(workspace, NET, name, values, **KNOWN)
    small("average", "team/a", "team/nan", *soup).refused(
        "team/nan has NaN or infinite values in fc.bias"
    )
    small("average", "team/a", "team/b", *soup).refused("differ in 'steps'", "torch.int64")
    small("show", "team/soup").refused("unknown checkpoint")


def test_what_has_no_mean_is_refused(small: Run, workspace: Workspace, few: Path) -> None:
    tuned(workspace, "team/a", by=1)
    tuned(workspace, "team/b", by=2)
    tuned(workspace, "team/others", by=2, classes=("1", "2", "4"))
    tuned(workspace, "team/alone", by=2, parents=())
    half = {name: value.astype("f2") for name, value in weights_of(workspace, "team/b").items()}
    derive(workspace, NET, "team/half", half, **KNOWN)
    soup = ("--as", "team/soup")
    for line, says in (
        (("team/a", "team/a"), "a mean is of several checkpoints, and team/a is one"),
        (("team/a", "team/others"), "team/a and team/others differ in their classes"),
        (("team/a", "team/alone"), "do not derive from one checkpoint"),
        (("team/a", "team/half"), "differ in shape or dtype"),
        (("team/a", "team/b", "--data", few), "--data has no effect"),
        (("team/a", "team/gone"), "unknown checkpoint 'team/gone'"),
    ):
        small("average", *line, *soup).refused(says)
    small("show", "team/soup").refused("unknown checkpoint")
    small("average", "team/a", NET, *soup).refused("differ in their")
