"""Two processes train what one trains with the whole batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from zoo.backbones.load import load
from zoo.errors import Unsupported
from zoo.facade import Zoo
from zoo.finetune.processes import ALONE, Processes
from zoo.lookup.runs import list_runs, metrics
from zoo.workspace import Workspace

PROGRAM = """
import sys, json, torch, zoo
torch.set_num_threads(1)
z = zoo.open(sys.argv[1])
result = z.finetune("team/vit", sys.argv[2], sys.argv[3], device="cpu", **json.loads(sys.argv[4]))
print(result.manifest)
"""
OPTIONS: dict[str, Any] = {
    "strategy": "partial", "freeze": "blocks.0", "epochs": 2, "batch_size": 7, "lr": 0.003,
    "class_weights": "balanced", "clip_norm": 5.0, "ema": 0.5,
}  # fmt: skip


@pytest.fixture
def vit(workspace: Workspace, tmp_path: Path) -> str:
    """A network with layer norm, whose statistics do not depend on the share of a batch."""
    torch.manual_seed(1)
    module = timm.create_model("test_vit", num_classes=2)
    save_file(module.state_dict(), tmp_path / "vit.safetensors")
    Zoo(workspace).import_file(tmp_path / "vit.safetensors", "team/vit", architecture="test_vit")
    return "team/vit"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def run(size: int, *arguments: str) -> list[str]:
    """What each of so many processes printed."""
    port, processes = str(free_port()), []
    for rank in range(size):
        more = {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-c", PROGRAM, *arguments]
        processes.append(
            subprocess.Popen(command, env=os.environ | more, stdout=subprocess.PIPE, text=True)
        )
    said = [process.communicate(timeout=300)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * size
    return said


def weights(workspace: Workspace, name: str) -> dict[str, torch.Tensor]:
    return load(workspace.store, workspace.resolve(name)[1]).state_dict()


@pytest.mark.parametrize("cache", [True, False])
def test_two_processes_equal_one(workspace: Workspace, vit: str, shapes: Path, cache: bool) -> None:
    options = json.dumps({**OPTIONS, "cache": cache})
    (alone,) = run(1, str(workspace.root), str(shapes), "team/one", options)
    said = run(2, str(workspace.root), str(shapes), "team/two", options)
    assert said[0] == said[1] == str(workspace.resolve("team/two")[1])
    assert alone == str(workspace.resolve("team/one")[1])
    assert len(list_runs(workspace)) == 2  # one each: the second process wrote none
    start, one, two = (weights(workspace, name) for name in (vit, "team/one", "team/two"))
    for name in one:
        assert torch.allclose(one[name], two[name], rtol=1e-3, atol=2e-5), name
    assert not torch.allclose(one["blocks.3.mlp.fc1.weight"], start["blocks.3.mlp.fc1.weight"])
    losses = [
        [line["loss"] for line in metrics(run) if line["kind"] == "step"]
        for run in list_runs(workspace)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_weights_that_are_spread_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(Unsupported, match="FSDP"):
        Processes.join("cpu")


def test_one_process_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert Processes.join("cpu") == (ALONE, "cpu")
