"""Advice for a transformer may be an adapter; no network of convolutions has a trial of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
from fakes.colored import save_scenes
from fakes.tuned import small_zoo

import zoo
from zoo.advice import candidates, race
from zoo.advice.candidates import ROWS, candidates_of
from zoo.advice.cost import Speed
from zoo.finetune.strategies import linear
from zoo_timm.backbone import TimmBackbone

ROW = ROWS[-1]
SIZE: dict[str, Any] = {"image_size": 32, "device": "cpu"}


@pytest.fixture
def vit(tmp_path: Path) -> Iterator[zoo.Zoo]:
    with closing(small_zoo(tmp_path, "test_vit")) as made:
        yield made


def tried(architecture: str) -> dict[str, Any]:
    model = timm.create_model(architecture)
    hierarchy = TimmBackbone().hierarchy(architecture, model)
    parts = SimpleNamespace(train=range(400), validation=range(200), test=range(100))
    network: Any = SimpleNamespace(
        dataset=parts, hierarchy=hierarchy, model=model, recipe=SimpleNamespace(lr=0.003)
    )
    speed = Speed(0.01, tuple(at / len(hierarchy.units) for at in range(len(hierarchy.units))))
    return {each.name: each for each in candidates_of(network, "head", speed, held_out=200)}


def test_only_where_linear_layers_do_the_work() -> None:
    """It costs what training everything costs: gradients go through all that it corrects."""
    found = tried("test_vit")
    everything, adapters = found["everything, three times the rate"], found[ROW.name]
    assert adapters.options == {
        "strategy": "lora", "freeze": "none", "epochs": 9, "backbone_lr_ratio": 0.5
    }  # fmt: skip
    assert (adapters.begin, adapters.epoch) == (everything.begin, everything.epoch)
    for architecture in ("test_resnet", "test_efficientnet", "test_convnext", "test_mambaout"):
        assert ROW.name not in tried(architecture)


@pytest.mark.long
def test_it_is_tried_advised_and_followed(
    vit: zoo.Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ignorant(_: object, __: object, asked: list[int]) -> list[tuple[str, list[float]]]:
        return [("all", [0.0] * len(asked))]

    monkeypatch.setattr(candidates.Contest, "_scores", ignorant)
    monkeypatch.setattr(race, "best_epochs", lambda _: 2)
    monkeypatch.setattr(linear, "CS", (0.01, 1.0))
    for name, value in (("ROWS", (ROW,)), ("FOLDS", 2), ("EPOCHS", 2)):
        monkeypatch.setattr(candidates, name, value)
    data = save_scenes(tmp_path / "scenes", 10)
    plan = vit.advise("team/base", data, budget=120, **SIZE).plan
    assert plan
    assert plan.advised == ROW.name
    assert "--strategy lora --freeze none" in plan.command
    assert "--backbone-lr-ratio 0.5" in plan.command
    (one,) = (each for each in plan.tried if each.kind == "training")
    assert one.done == one.of == 2
    vit.finetune("team/base", data, save="team/auto", **SIZE)
    shown: Any = vit.show("team/auto")
    assert shown.checkpoint.recipe["strategy"] == "lora"
    assert shown.checkpoint.recipe["backbone_lr_ratio"] == 0.5
    assert shown.checkpoint.backbone.options["lora"] == 8
