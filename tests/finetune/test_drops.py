"""Drop path and dropout of a fine-tune, in networks that take them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from timm.layers import DropPath

from zoo.backbones.load import load
from zoo.domain.progress import silent
from zoo.domain.recipe import ADAPTERS, Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption
from zoo.exchange.importing import Origin, import_file
from zoo.finetune.run import finetune
from zoo.finetune.setup.prepare import PreparedRun, prepare
from zoo.workspace import Workspace


def prepared(workspace: Workspace, base: str, shapes: Path, **options: Any) -> PreparedRun:
    recipe = Recipe(data=str(shapes), strategy="full", epochs=1, batch_size=8, **options)
    return prepare(workspace, base, recipe, "cpu", silent)


def test_residual_branches_are_dropped_in_training(
    workspace: Workspace, transformer: str, shapes: Path
) -> None:
    ready = prepared(workspace, transformer, shapes, drop_path=0.6, drop=0.0)
    rates = [child.drop_prob for child in ready.model.modules() if isinstance(child, DropPath)]
    assert max(rates) == pytest.approx(0.6)
    plain = prepared(workspace, transformer, shapes)
    one, other = ready.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)  # the head's, too
    images = torch.randn(4, *ready.network.planned.preprocessing.input_size)
    assert not torch.equal(ready.model.train()(images), ready.model(images))
    assert torch.equal(ready.model.eval()(images), plain.model.eval()(images))


@pytest.mark.long
def test_outputs_of_the_result_do_not_depend_on_chance(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    how: dict[str, Any] = {"strategy": "partial", "freeze": "layer3", "epochs": 2}
    recipe = Recipe(data=str(shapes), image_size=32, batch_size=8, drop=0.5, **how)
    saved = [Reference.parse(name) for name in ("team/a", "team/b")]
    one, again = (finetune(workspace, base, recipe, name, device="cpu") for name in saved)
    plain = Recipe(data=str(shapes), image_size=32, batch_size=8, **how)
    other = finetune(workspace, base, plain, Reference.parse("team/c"), device="cpu")
    weights = [load(workspace.store, each.manifest).state_dict() for each in (one, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
    assert not load(workspace.store, one.manifest).training


def test_networks_that_drop_nothing_are_refused(
    workspace: Workspace, shapes: Path, tmp_path: Path
) -> None:
    save_file(torchvision.models.resnet18().state_dict(), tmp_path / "r.safetensors")
    origin = Origin(plugin="torchvision", architecture="resnet18")
    import_file(workspace, tmp_path / "r.safetensors", Reference.parse("team/r"), origin)
    with pytest.raises(InvalidOption, match="resnet18 takes no drop path and no dropout"):
        prepared(workspace, "team/r", shapes, drop_path=0.1, drop=0.1)


def test_rates_are_shares() -> None:
    with pytest.raises(InvalidOption, match="drop path must be 0 or more"):
        Recipe(data="x", drop_path=1.0)
    with pytest.raises(InvalidOption, match="drop must be 0 or more"):
        Recipe(data="x", drop=-0.1)
    with pytest.raises(InvalidOption, match="does not use drop path"):
        Recipe(data="x", strategy="probe", drop_path=0.1)


@pytest.mark.long
def test_layer_scales_are_new_weights_that_are_trained(
    workspace: Workspace, transformer: str, shapes: Path
) -> None:
    """One for each channel of each branch; at 1 the network is what it was."""
    ready, small, plain = (
        prepared(workspace, transformer, shapes, layer_scale=scale) for scale in (1.0, 0.1, None)
    )
    one, other = ready.model.state_dict(), plain.model.state_dict()
    scales = {*one} - {*other}
    assert len(scales) == 2 * sum(unit.name.startswith("blocks") for unit in plain.hierarchy.units)
    assert scales <= {name for unit in ready.hierarchy.units for name in unit.parameters}
    found = small.model.state_dict()
    assert all(bool((found[name] == 0.1).all()) for name in scales)
    images = torch.randn(4, *ready.network.planned.preprocessing.input_size)
    given = [each.model.eval()(images) for each in (ready, small, plain)]
    assert torch.equal(given[0], given[2])
    assert not torch.allclose(given[1], given[2])
    recipe = replace(ready.recipe, batch_size=8)
    done = finetune(workspace, transformer, recipe, Reference.parse("team/a"), device="cpu")
    tuned = load(workspace.store, done.manifest).state_dict()
    assert all(bool((tuned[name] != 1).any()) for name in scales)
    with pytest.raises(InvalidOption, match="test_vit has layer scales of its own"):
        prepared(workspace, "team/a", shapes, layer_scale=0.5)


def test_layer_scales_that_nobody_would_train_are_refused(
    workspace: Workspace, transformer: str, shapes: Path
) -> None:
    """Where they change what the base has learned; at 1 they change nothing."""
    options: dict[str, Any] = {"strategy": "partial", "freeze": "blocks.1", "epochs": 1}
    recipe = Recipe(data=str(shapes), layer_scale=0.1, **options)
    with pytest.raises(InvalidOption, match=r"0\.1 would switch off most of blocks\.0"):
        prepare(workspace, transformer, recipe, "cpu", silent)
    prepare(workspace, transformer, replace(recipe, layer_scale=1.0), "cpu", silent)
    for strategy in ADAPTERS:
        with pytest.raises(InvalidOption, match="does not use layer scale"):
            Recipe(data=str(shapes), strategy=strategy, layer_scale=1.0)


def test_networks_without_residual_scales_are_refused(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    with pytest.raises(InvalidOption, match="test_resnet takes no layer scale"):
        prepared(workspace, base, shapes, layer_scale=0.1)
    with pytest.raises(InvalidOption, match="layer scale must be above 0"):
        Recipe(data="x", layer_scale=0.0)
