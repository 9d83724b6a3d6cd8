"""What people have: the folders of training scripts, with checkpoints of small networks."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from fakes.program import Said
from safetensors.torch import save_file

__all__ = ["ALL", "NET", "Run", "State", "by_file", "make_runs", "moved", "only_bees", "weights"]

Run = Callable[..., Said]
State = dict[str, torch.Tensor]
NET = "test_vit"
ALL = ("import", "runs", "--recursive", "--as", "team/{stem}")
"""The command that imports the folder ``runs``."""


def weights(seed: int = 1, architecture: str = NET, *, outputs: int = 3) -> State:
    """Untrained weights."""
    torch.manual_seed(seed)
    return dict(timm.create_model(architecture, num_classes=outputs).state_dict())


def moved(state: State, by: float) -> State:
    """All weights a little other, as after a full fine-tune."""
    torch.manual_seed(round(1 / by))
    return {
        name: tensor + by * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def make_runs(root: Path) -> None:
    """What timm, Lightning and timm's export for the hub wrote, and loose files."""
    base = weights(1)
    _timm(root / "flowers", base)
    _lightning(root / "birds" / "lightning_logs" / "version_0", base)
    _trainer(root / "moths", base)
    save_file(weights(2, "test_resnet"), root / "bees.safetensors")
    (root / "broken.pt").write_bytes(b"nothing")
    torch.save(torch.zeros(3), root / "features.pt")


def _timm(folder: Path, base: State) -> None:
    folder.mkdir(parents=True)
    script = {"model": NET, "mean": None, "std": None, "crop_pct": None, "interpolation": ""}
    (folder / "args.yaml").write_text(json.dumps(script))
    (folder / "summary.csv").write_text(
        "epoch,train_loss,eval_loss,eval_top1,eval_top5\n0,2,1.5,61.5,90\n1,1,0.5,72.5,99\n"
    )
    for epoch in (0, 1):
        raw = moved(base, 0.001 * (epoch + 1))
        saved = {
            "epoch": epoch, "arch": NET, "state_dict": raw, "state_dict_ema": moved(raw, 0.0001),
            "optimizer": {}, "args": Namespace(model=NET), "metric": 60.0, "version": 2,
        }  # fmt: skip
        torch.save(saved, folder / f"checkpoint-{epoch}.pth.tar")
    for name in ("model_best.pth.tar", "last.pth.tar"):
        shutil.copy(folder / "checkpoint-1.pth.tar", folder / name)


def _lightning(folder: Path, base: State) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "metrics.csv").write_text(
        "epoch,step,train_loss,val_acc\n0,9,1.0,\n0,10,,0.8\n1,20,,0.75\n"
    )
    for epoch, step in ((0, 10), (1, 20)):
        saved = {
            "epoch": epoch, "global_step": step, "pytorch-lightning_version": "2.5.0",
            "state_dict": {"model." + n: t for n, t in moved(base, 0.003 * (epoch + 1)).items()},
            "callbacks": {"ModelCheckpoint": {"best_model_path": "/gone/epoch=0-step=10.ckpt"}},
            "hyper_parameters": {"model_name": NET, "class_names": ["ant", "bee", "wasp"]},
        }  # fmt: skip
        torch.save(saved, folder / "checkpoints" / f"epoch={epoch}-step={step}.ckpt")
    (folder / "checkpoints" / "last.ckpt").symlink_to("epoch=1-step=20.ckpt")


def _trainer(folder: Path, base: State) -> None:
    config = {"architecture": NET, "num_classes": 3, "label_names": ["a", "b", "c"]}
    for step in (500, 1000):
        inner = folder / f"checkpoint-{step}"
        inner.mkdir(parents=True)
        (inner / "config.json").write_text(json.dumps(config))
        save_file(moved(base, 0.00001 * step), inner / "model.safetensors")
        torch.save({}, inner / "optimizer.pt")
        history = [{"step": 500, "eval_accuracy": 0.9}, {"step": 1000, "eval_accuracy": 0.8}]
        state = {"best_model_checkpoint": "/gone/checkpoint-500", "log_history": history}
        (inner / "trainer_state.json").write_text(json.dumps(state))


def only_bees() -> None:
    """Leave one file of the folder ``runs``, which is quick."""
    for path in Path("runs").iterdir():
        if path.name != "bees.safetensors":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def by_file(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The files of a plan by their path in ``runs``."""
    return {str(Path(file["path"]).relative_to("runs")): file for file in plan["files"]}
