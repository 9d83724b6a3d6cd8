"""Tests of what an accelerator must do: on the one that there is, or, to try the tests themselves,
on the device that ZOO_TEST_DEVICE names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.run import Finetuned, finetune
from zoo.workspace import Workspace

Tune = Callable[..., Finetuned]
Same = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]

SGD: dict[str, Any] = {
    # Rounding stays small: AdamW takes steps of one size where gradients are almost 0.
    "strategy": "partial", "freeze": "blocks.1", "epochs": 2, "batch_size": 4, "image_size": 32,
    "optimizer": "sgd", "lr": 0.02, "backbone_lr_ratio": 1.0, "layer_decay": 1.0,
}  # fmt: skip
"""A quick fine-tune of the transformer: 26 images to train on, 7 steps an epoch."""


@pytest.fixture(scope="session")
def device() -> str:
    """Its type."""
    if asked := os.environ.get("ZOO_TEST_DEVICE"):
        return asked
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        pytest.skip("no accelerator here; ZOO_TEST_DEVICE=cpu tries these tests without one")
    return found.type


@pytest.fixture
def tune(workspace: Workspace, shapes: Path, device: str) -> Tune:
    """Fine-tunes a checkpoint on the device."""

    def tune(
        base: str,
        save: str,
        *,
        on: str = device,
        save_every: int = 0,
        bare: bool = False,
        **how: Any,
    ) -> Finetuned:
        quick = {"image_size": 32} if bare else SGD
        recipe = Recipe(data=str(shapes), **{**quick, "precision": "fp32", **how})
        ref = Reference.parse(save)
        return finetune(workspace, base, recipe, ref, device=on, save_every=save_every)

    return tune


@pytest.fixture
def tensors(workspace: Workspace) -> Callable[[str], dict[str, Tensor]]:
    """All tensors of a checkpoint."""

    def tensors(name: str) -> dict[str, Tensor]:
        return load(workspace.store, workspace.names.resolve(name)[1]).state_dict()

    return tensors


@pytest.fixture
def same(device: str) -> Same:
    """Asserts that two trainings gave the same: on a CPU to the bit, on others, where sums are
    taken in any order, to a thousandth of the largest value of each tensor.
    """

    def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
        assert one.keys() == other.keys()
        for name, value in one.items():
            largest = float(value.abs().max())
            allowed = 0.0 if device == "cpu" else 1e-6 + 1e-3 * largest
            assert float((value - other[name]).abs().max()) <= allowed, name

    return same
