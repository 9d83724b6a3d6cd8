"""Adapters: strategies that train the head and a small part of each unit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.cuts import Cut, cut_at

from zoo.backbones.load import load
from zoo.backbones.mapped import mapped_state
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, UnknownName
from zoo.finetune.plan import plan_finetune
from zoo.finetune.run import Finetuned, finetune, resume
from zoo.lookup.runs import find_run, list_runs
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


@pytest.mark.parametrize("strategy", ["bitfit", "lora"])
def test_the_cache_changes_nothing(workspace: Workspace, run: Run, strategy: str) -> None:
    options = {"strategy": strategy, "freeze": "layer2", "ema": 0.9, "head": "mlp"}
    kept = run(**options)
    whole = run("team/y", **options, cache=False)
    one, other = (load(workspace.store, each.manifest).state_dict() for each in (kept, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert {name.split(".")[0] for name in moved(workspace, kept)} == {"layer3", "layer4", "fc"}


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


def test_lora_leaves_the_weights_of_the_parent(workspace: Workspace, run: Run) -> None:
    result = run(strategy="lora", rank=2, head="mlp", augment="light")
    manifest = workspace.store.manifest(result.manifest)
    parent = {t.name: t.object for t in workspace.store.manifest(result.parent).tensors}
    base, adapter = manifest.weights
    own = [t for t in base.tensors if not t.name.startswith("fc.")]
    assert own
    assert all(parent[t.name] == t.object for t in own)
    assert manifest.backbone.options["lora"] == 2
    assert {t.name.rpartition(".")[2] for t in adapter.tensors} == {"lora_A", "lora_B"}
    assert sum(t.nbytes for t in adapter.tensors) < manifest.logical_bytes / 4


def test_an_adapter_is_merged_as_by_hand(workspace: Workspace, run: Run) -> None:
    result = run(strategy="lora", rank=3, head="mlp")
    stored = mapped_state(workspace.store, workspace.store.manifest(result.manifest))
    merged = load(workspace.store, result.manifest)
    state, seen = merged.state_dict(), 0
    for name, tensor in stored.items():
        if name.endswith(("lora_A", "lora_B")):
            continue
        layer, _, kind = name.rpartition(".")
        if f"{layer}.lora_A" in stored and kind == "weight":
            b, a = stored[f"{layer}.lora_B"], stored[f"{layer}.lora_A"]
            seen += bool(b.any())
            tensor = tensor + (b.flatten(1) @ a.flatten(1)).view(tensor.shape)
        assert torch.equal(state[name], tensor), name
    assert seen > 3
    beside = load(workspace.store, result.manifest, merged=False)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(beside(images), merged(images))
    parent = workspace.store.manifest(result.parent)
    kept = mapped_state(workspace.store, parent)["layer4.0.conv1.weight"]
    assert torch.equal(beside.state_dict()["layer4.0.conv1.weight"], kept)


@pytest.mark.long
def test_a_run_that_is_cut_off_gives_the_same_bits(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"strategy": "lora", "freeze": "layer3", "head": "mlp", "ema": 0.5}
    whole = run(**options)
    with monkeypatch.context() as patch:
        cut_at(patch, 5)
        with pytest.raises(Cut):
            run("team/cut", **options)
    torch.manual_seed(1)
    again = resume(workspace, list_runs(workspace)[0].id)
    files = [workspace.store.manifest(each.manifest).weights for each in (whole, again)]
    assert files[0] == files[1]


@pytest.mark.long
def test_what_has_an_adapter_is_tuned_further(workspace: Workspace, run: Run, drawn: Path) -> None:
    first = run("team/first", strategy="lora", head="mlp")
    for strategy in ("lora", "partial"):
        recipe = Recipe(
            data=str(drawn), strategy=strategy, image_size=32, freeze="layer3", epochs=1
        )
        second = finetune(
            workspace, "team/first", recipe, Reference.parse("team/second"), device="cpu"
        )
        before, after = (load(workspace.store, x.manifest).state_dict() for x in (first, second))
        name = "layer2.0.downsample.1.weight"  # frozen: what the adapter made of it
        assert torch.equal(before[name], after[name])
        parent = load(workspace.store, first.parent).state_dict()
        assert not torch.equal(before[name], parent[name])
        options = workspace.store.manifest(second.manifest).backbone.options
        assert options.get("lora") == (8 if strategy == "lora" else None)
