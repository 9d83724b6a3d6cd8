"""Adapters: strategies that train the head and a small part of each unit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, UnknownName
from zoo.finetune.plan import plan_finetune
from zoo.finetune.run import Finetuned, finetune
from zoo.lookup.runs import find_run
from zoo.workspace import Workspace

Run = Callable[..., Finetuned]


@pytest.fixture
def workspace(shared: Workspace) -> Workspace:
    """One for all: no test looks at what another has made."""
    return shared


@pytest.fixture
def run(workspace: Workspace, drawn: Path) -> Run:
    def run(save: str = "team/x", **options: Any) -> Finetuned:
        quick = {"batch_size": 8, "image_size": 32, "epochs": 2, "lr": 0.05}
        recipe = Recipe(data=str(drawn), **{**quick, **options})
        return finetune(workspace, "team/base", recipe, Reference.parse(save), device="cpu")

    return run


def moved(workspace: Workspace, result: Finetuned) -> set[str]:
    """Names of tensors that are other ones than in the parent."""
    before = load(workspace.store, result.parent).state_dict()
    after = load(workspace.store, result.manifest).state_dict()
    return {n for n in after if n not in before or not torch.equal(before[n], after[n])}


def test_bitfit_moves_biases_and_the_head(workspace: Workspace, run: Run) -> None:
    result = run(strategy="bitfit", head="mlp")
    epochs = [x for x in find_run(workspace, result.run).lines() if x["kind"] == "epoch"]
    assert [x["name"] for x in epochs] == ["epoch 1", "epoch 2"]
    changed = {name for name in moved(workspace, result) if not name.startswith("fc.")}
    assert len(changed) > 5
    assert all(name.endswith(".bias") for name in changed)


def test_a_probe_comes_first_where_the_head_is_linear(workspace: Workspace, run: Run) -> None:
    lines = find_run(workspace, run(strategy="bitfit").run).lines()
    probe, *_ = [x for x in lines if x["kind"] == "probe"]
    assert probe["accuracy"] > 0.5


def test_norms_move_normalization_and_the_head_alone(workspace: Workspace, run: Run) -> None:
    changed = moved(workspace, run(strategy="norms", head="mlp", batch_norm="live"))
    own = {name for name in changed if not name.startswith("fc.")}
    assert {name.rpartition(".")[2] for name in own} >= {"weight", "bias", "running_mean"}
    assert all(
        "bn" in name or "conv1.1." in name or "conv1.4." in name or "downsample" in name
        for name in own
    ), own


def test_units_that_are_named_are_the_only_ones(workspace: Workspace, run: Run) -> None:
    result = run(strategy="norms", at="layer2,layer4", head="mlp")
    changed = {name for name in moved(workspace, result) if not name.startswith("fc.")}
    assert {name.split(".")[0] for name in changed} == {"layer2", "layer4"}
    assert result.freeze["boundary"] == "layer2.0"  # what is below is run once


def test_the_cache_changes_nothing(workspace: Workspace, run: Run) -> None:
    kept = run(strategy="bitfit", freeze="layer2", ema=0.9)
    whole = run("team/y", strategy="bitfit", freeze="layer2", ema=0.9, cache=False)
    one, other = (load(workspace.store, each.manifest).state_dict() for each in (kept, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_planned_is_what_is_trained(workspace: Workspace, drawn: Path) -> None:
    recipe = Recipe(data=str(drawn), strategy="norms", at="layer4", image_size=32)
    (phase,) = plan_finetune(workspace, "team/base", recipe, device="cpu").phases
    model = load(workspace.store, workspace.names.resolve("team/base")[1])
    norms = sum(
        p.numel() for n, p in model.named_parameters() if n.startswith("layer4") and p.dim() == 1
    )
    features = model.get_submodule("fc").in_features
    assert phase.trained_parameters == norms + 3 * features + 3  # type: ignore[operator]
    assert phase.boundary == "layer4.0"
    assert phase.cached_at == "layer4.0"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": "bitfit", "at": "layer2", "freeze": "layer1"}, "leave freeze out"),
        ({"strategy": "norms", "at": "auto"}, "wants names of units or stages"),
        ({"strategy": "partial", "at": "layer2"}, "units are named for"),
        ({"strategy": "norms", "layer_decay": 0.5}, "does not use layer decay"),
        ({"strategy": "bitfit", "head": "mlp", "blend": "wise-ft"}, "random head"),
        ({"strategy": "bitfit", "phases": ("all:1",)}, "gradual and phases need each other"),
    ],
)
def test_what_has_no_effect_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        Recipe(data="x", **options)


def test_what_cannot_be_trained_is_refused(run: Run) -> None:
    with pytest.raises(UnknownName, match="layer9"):
        run(strategy="bitfit", at="layer9")
    with pytest.raises(InvalidOption, match="nothing to train"):
        run(strategy="bitfit", freeze="all")
