"""``zoo average``: the mean of fine-tunes, and what has none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.checkpoints import Tensors
from fakes.derived import derive, weights_of
from fakes.prepared import NET

import zoo
from zoo.domain.manifest import Head
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
