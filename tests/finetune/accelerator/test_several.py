"""Two GPUs (NCCL), with the whole network in each or with shards (FSDP), train what one does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.torchrun import FSDP, PROGRAM, run, weights
from torch.distributed.fsdp import FSDPModule

from zoo.facade import Zoo
from zoo.workspace import Workspace

pytestmark = pytest.mark.gpu

HOW: dict[str, Any] = {
    "base": "team/transformer", "strategy": "partial", "freeze": "blocks.0", "epochs": 2,
    "batch_size": 5, "optimizer": "sgd", "lr": 0.02, "class_weights": "balanced", "ema": 0.5,
    "image_size": 32,
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_cs() -> None:
    """Here a probe tries as many as in the other processes."""


SYNCED: dict[str, Any] = {
    "base": "team/base", "freeze": "layer2", "batch_norm": "synced", "batch_size": 9, "lr": 0.01,
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "more", "moved"),
    [
        ({}, {}, "blocks.1.mlp.fc1.weight"),
        (FSDP, {}, "blocks.1.mlp.fc1.weight"),
        (FSDP, {"precision": "bf16"}, "blocks.1.mlp.fc1.weight"),
        ({}, SYNCED, "layer4.0.conv1.weight"),
    ],
    ids=["whole", "sharded", "gathered in bf16", "batch norm"],
)
@pytest.mark.usefixtures("transformer", "base")
def test_two_train_what_one_does(
    workspace: Workspace, shapes: Path, tmp_path: Path, device: str, settings: Mapping[str, str],
    more: Mapping[str, Any], moved: str,
) -> None:  # fmt: skip
    if device == "mps" or (device == "cuda" and torch.cuda.device_count() < 2):
        pytest.skip("there are no two of them here")
    if settings and not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        pytest.skip(f"torch {torch.__version__} is too old for FSDP here")
    how = {**HOW, **more}
    Zoo(workspace).finetune(data=shapes, save="team/one", device=device, **how)
    text = PROGRAM.replace('device="cpu"', f"device={device!r}")
    arguments = (str(workspace.root), str(shapes), "team/two", json.dumps(how))
    run(tmp_path, 2, *arguments, text=text, settings=settings)
    one, two = (weights(workspace, name) for name in ("team/one", "team/two"))
    near = 5e-2 if how.get("precision") == "bf16" else 1e-3
    for name, value in one.items():
        assert torch.allclose(
            value, two[name], rtol=near, atol=1e-6 + near * float(value.abs().max())
        )
    start = weights(workspace, how["base"])[moved]
    assert not torch.equal(start, two[moved])
