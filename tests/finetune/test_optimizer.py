"""Who is trained and how fast: groups, layer decay, and courses that keep every ratio."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision.models import get_model

from zoo.backbones.freeze import freeze, trainable_parameters
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption
from zoo.finetune.setup.optimizer import layer_decay, make_optimizer, parameter_groups, schedule
from zoo_timm.backbone import TimmBackbone


def recipe(**options: Any) -> Recipe:
    given = {"strategy": "partial", "lr": 0.01, "backbone_lr_ratio": 0.1, "weight_decay": 0.05}
    return Recipe(data="", **{**given, **options})


def groups(model: nn.Module, hierarchy: Hierarchy, how: Recipe) -> list[dict[str, Any]]:
    return parameter_groups(model, hierarchy, how.plan()[0], how)


def identities(parameters: Iterable[nn.Parameter]) -> list[int]:
    return sorted(map(id, parameters))


@pytest.mark.parametrize("boundary", [0, 4, 7])
def test_groups_hold_exactly_what_is_trainable(
    model: nn.Module, hierarchy: Hierarchy, boundary: int
) -> None:
    freeze(model, hierarchy, boundary)
    held = [p for group in groups(model, hierarchy, recipe()) for p in group["params"]]
    above: list[Unit | HeadPart] = [*hierarchy.units[boundary:], hierarchy.head]
    expected = [model.get_parameter(name) for part in above for name in part.parameters]
    assert identities(held) == identities(expected)
    assert identities(p for _, p in trainable_parameters(model)) == identities(expected)


def test_rate_and_decay_of_each_parameter(model: nn.Module, hierarchy: Hierarchy) -> None:
    depth = {name: unit.depth for unit in hierarchy.units for name in unit.parameters}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = set()
    for group in groups(model, hierarchy, recipe(layer_decay=0.5)):
        for parameter in group["params"]:
            name = names[id(parameter)]
            expected = 0.001 * 0.5 ** (6 - depth[name]) if name in depth else 0.01
            assert group["lr"] == pytest.approx(expected), name
            assert group["weight_decay"] == (0.05 if parameter.dim() > 1 else 0), name
            seen.add(group["lr"])
    assert len(seen) == 8  # seven units and the head


def test_what_a_network_exempts_from_decay_is_exempt() -> None:
    model = timm.create_model("test_vit", num_classes=3)
    hierarchy = TimmBackbone().hierarchy("test_vit", model)
    how = recipe()
    held = {id(p): g["weight_decay"] for g in groups(model, hierarchy, how) for p in g["params"]}
    assert model.get_parameter("pos_embed").dim() > 1
    assert held[id(model.get_parameter("pos_embed"))] == 0
    assert held[id(model.get_parameter("blocks.0.attn.qkv.weight"))] == 0.05
    assert layer_decay(model, how) == 0.75


@pytest.mark.parametrize(
    ("architecture", "spared", "shrunk"),
    [
        pytest.param(
            "fastvit_t8",
            "stages.0.blocks.0.token_mixer.layer_scale.gamma",
            "head.fc.weight",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "xcit_nano_12_p16_224",
            "blocks.0.attn.temperature",
            "blocks.0.attn.qkv.weight",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "xcit_nano_12_p16_224",
            "pos_embed.token_projection.weight",
            "head.weight",
            marks=pytest.mark.long,
        ),
        ("resmlp_12_224", "blocks.0.norm1.alpha", "blocks.0.linear_tokens.weight"),
        ("test_vit", "cls_token", "head.weight"),
    ],
)
def test_scales_of_any_shape_are_spared_and_a_single_output_is_not(
    architecture: str, spared: str, shrunk: str
) -> None:
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=1)
    hierarchy = TimmBackbone().hierarchy(architecture, model)
    how = recipe()
    held = {id(p): g["weight_decay"] for g in groups(model, hierarchy, how) for p in g["params"]}
    one, other = model.get_parameter(spared), model.get_parameter(shrunk)
    assert (one.dim() > 1, held[id(one)], held[id(other)]) == (True, 0, 0.05)


TABLES = [
    ("timm", "visformer_tiny", "pos_embed3", "stage1.0.mlp.conv1.weight"),
    (
        "timm",
        "botnet26t_256",
        "stages.2.1.self_attn.pos_embed.height_rel",
        "stem.conv1.conv.weight",
    ),
    ("timm", "samvit_base_patch16", "blocks.0.attn.rel_pos_h", "blocks.0.attn.qkv.weight"),
    ("torchvision", "vit_b_16", "encoder.pos_embedding", "heads.head.weight"),
    ("torchvision", "swin_t", "features.1.0.attn.relative_position_bias_table", "head.weight"),
    ("transformers", "vit-tiny", "vit.embeddings.position_embeddings", "classifier.weight"),
]


@pytest.mark.parametrize(("plugin", "architecture", "table", "shrunk"), TABLES)
def test_tables_of_positions_are_spared_whoever_wrote_the_network(
    plugin: str, architecture: str, table: str, shrunk: str
) -> None:
    with torch.device("meta"):
        if plugin == "transformers":
            from transformers import ViTConfig, ViTForImageClassification  # takes seconds

            model: nn.Module = ViTForImageClassification(ViTConfig(num_hidden_layers=1))
        elif plugin == "timm":
            model = timm.create_model(architecture)
        else:
            model = get_model(architecture)
    phase = recipe().plan()[0]
    head = HeadPart(modules=(), parameters=(), buffers=(), params=0, shape=None, cut=True)
    empty = Hierarchy(architecture=architecture, units=(), head=head)
    held = {
        id(p): g["weight_decay"]
        for g in parameter_groups(model, empty, phase, recipe())
        for p in g["params"]
    }
    one, other = model.get_parameter(table), model.get_parameter(shrunk)
    assert (one.dim() > 1, held[id(one)], held[id(other)]) == (True, 0, 0.05)


@pytest.mark.parametrize("warmup", [None, 0.0, 0.1, 0.5])
@pytest.mark.parametrize("steps", [3, 12, 101])
def test_one_cycle_is_that_of_torch(steps: int, warmup: float | None) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.2)
    ours = schedule(optimizer, steps, recipe(schedule="one-cycle", warmup=warmup))
    other = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.2)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        other, max_lr=0.2, total_steps=steps, pct_start=0.3 if warmup is None else warmup,
        cycle_momentum=False,
    )  # fmt: skip
    for _ in range(steps - 1):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-9)
        for optimizer_, rates in ((optimizer, ours), (other, theirs)):
            optimizer_.step()
            rates.step()
    assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-9)


def test_layer_decay_by_kind_of_network(model: nn.Module) -> None:
    assert layer_decay(model, recipe()) == 0.9
    assert layer_decay(model, recipe(layer_decay=0.5)) == 0.5


@pytest.mark.parametrize("course", ["cosine", "one-cycle", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 9, 40, 101])
def test_ratios_hold_at_every_step(
    model: nn.Module, hierarchy: Hierarchy, course: str, steps: int
) -> None:
    how = recipe(schedule=course)
    optimizer = make_optimizer(groups(model, hierarchy, how), how)
    wanted = [group["lr"] / 0.01 for group in optimizer.param_groups]
    rates = schedule(optimizer, steps, how)
    seen = []
    for _ in range(steps):
        head = max(group["lr"] for group in optimizer.param_groups)
        assert head > 0
        assert [group["lr"] / head for group in optimizer.param_groups] == pytest.approx(wanted)
        seen.append(head)
        optimizer.step()
        rates.step()
    assert max(seen) <= 0.01 * (1 + 1e-9)
    top = seen.index(max(seen))
    assert seen[: top + 1] == sorted(seen[: top + 1])
    assert seen[top:] == sorted(seen[top:], reverse=True)
    if steps >= 40:
        assert max(seen) == pytest.approx(0.01, rel=0.01)
        assert (seen[-1] < 0.0001) == (course != "constant")
        share = {"cosine": 0.1, "one-cycle": 0.3, "constant": 0.1}[course]
        assert top == pytest.approx(steps * share, abs=2)


@pytest.mark.parametrize("course", ["cosine", "one-cycle", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_rates_rise_in_the_share_of_steps_that_is_given(
    model: nn.Module, hierarchy: Hierarchy, course: str, warmup: float
) -> None:
    how = recipe(schedule=course, warmup=warmup)
    rates = schedule(make_optimizer(groups(model, hierarchy, how), how), 100, how)
    seen = [rates.lr_lambdas[0](step) for step in range(100)]
    assert seen.index(max(seen)) == pytest.approx(100 * warmup, abs=1)
    assert max(seen) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_fused_steps_are_the_plain_ones(model: nn.Module, hierarchy: Hierarchy, name: str) -> None:
    how = recipe(optimizer=name)
    plain = deepcopy(model)
    made = make_optimizer(groups(model, hierarchy, how), how)
    assert made.defaults["fused"]
    options = {**made.defaults, "fused": False}
    options.pop("decoupled_weight_decay", None)  # what makes Adam AdamW
    other = type(made)(groups(plain, hierarchy, how), **options)
    for step in range(3):
        for network, optimizer in ((model, made), (plain, other)):
            generator = torch.Generator().manual_seed(step)
            for value in network.parameters():
                value.grad = torch.randn(value.shape, generator=generator)
            optimizer.step()
    for one, two in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_optimizers_by_name(model: nn.Module, hierarchy: Hierarchy) -> None:
    made = make_optimizer(groups(model, hierarchy, recipe()), recipe(optimizer="sgd"))
    assert isinstance(made, torch.optim.SGD)
    lamb = make_optimizer(groups(model, hierarchy, recipe()), recipe(optimizer="lamb"))
    assert type(lamb).__name__.lower() == "lamb"
    with pytest.raises(InvalidOption, match="near: adam"):
        make_optimizer(groups(model, hierarchy, recipe()), recipe(optimizer="adamv"))
    for name in ("adahessian", "lbfgs"):
        with pytest.raises(InvalidOption, match="more than a batch's gradients"):
            make_optimizer(groups(model, hierarchy, recipe()), recipe(optimizer=name))
