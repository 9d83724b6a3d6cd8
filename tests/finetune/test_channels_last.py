"""Weights that lie as images do, as on a GPU: the same checkpoint, and resumed to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.cuts import Cut, cut_at
from torch import Tensor

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.loop import train as training
from zoo.finetune.loop.evaluate import validate
from zoo.finetune.run import Finetuned, finetune, resume
from zoo.finetune.setup import prepare
from zoo.workspace import Workspace

HOW: dict[str, Any] = {
    "strategy": "partial", "freeze": "layer3", "epochs": 1, "batch_size": 4, "image_size": 32,
    "ema": 0.9, "batch_norm": "live",
}  # fmt: skip


def tuned(workspace: Workspace, shapes: Path, save: str, **how: Any) -> Finetuned:
    recipe = Recipe(data=str(shapes), **{**HOW, **how})
    ref = Reference.parse(save)
    return finetune(workspace, "team/base", recipe, ref, device="cpu", save_every=2)


def cut_off(workspace: Workspace, shapes: Path, save: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 5)
        with pytest.raises(Cut):
            tuned(workspace, shapes, save, channels_last=True)


def weights(workspace: Workspace, name: str) -> dict[str, Tensor]:
    return load(workspace.store, workspace.names.resolve(name)[1]).state_dict()


@pytest.mark.long
@pytest.mark.usefixtures("base")
def test_weights_lie_as_images_do(
    workspace: Workspace, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned(workspace, shapes, "team/plain", channels_last=True)
    cut_off(workspace, shapes, "team/moved")
    monkeypatch.setattr(prepare, "TURNED", ("cpu",))
    lying: list[bool] = []
    real = training.learn

    def learn(learner: Any, *args: Any) -> Iterator[Any]:
        for step in real(learner, *args):
            wide = [p for p in learner.parameters if p.dim() == 4 and min(p.shape[1:]) > 1]
            assert wide
            moments = [learner.optimizer.state[p]["exp_avg"] for p in wide]
            lying.extend(
                each.is_contiguous(memory_format=torch.channels_last) for each in (*wide, *moments)
            )
            yield step

    monkeypatch.setattr(training, "learn", learn)
    resume(workspace, "last", device="cpu")  # from where weights lie otherwise
    tuned(workspace, shapes, "team/turned", channels_last=True)
    cut_off(workspace, shapes, "team/cut")
    resume(workspace, "last", device="cpu")
    assert len(lying) > 50
    assert all(lying)
    plain, turned, cut = (weights(workspace, f"team/{name}") for name in ("plain", "turned", "cut"))
    for name, value in turned.items():
        assert value.is_contiguous()
        assert torch.equal(value, cut[name]), name
        assert torch.allclose(value.float(), plain[name].float(), atol=1e-3), name
    lying.clear()
    tuned(workspace, shapes, "team/other")
    assert not all(lying)


@pytest.mark.usefixtures("base")
def test_ways_to_convolve_are_tried_while_it_trains(
    workspace: Workspace, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for validation, whose last batch is another one."""
    seen: dict[str, set[bool]] = {"training": set(), "validation": set()}
    real = training.learn

    def tries() -> bool:
        return bool(torch.backends.cudnn.benchmark)

    def learn(*args: Any) -> Iterator[Any]:
        for step in real(*args):
            seen["training"].add(tries())
            yield step

    def watched(*args: Any) -> dict[str, float]:
        seen["validation"].add(tries())
        return validate(*args)

    monkeypatch.setattr(training, "learn", learn)
    monkeypatch.setattr(training, "validate", watched)
    before = tries()
    tuned(workspace, shapes, "team/a")
    assert seen == {"training": {True}, "validation": {False}}
    assert tries() == before
