"""Programs in several processes that meet, as ``torchrun`` starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from zoo.backbones.load import load
from zoo.workspace import Workspace

__all__ = ["FSDP", "PROGRAM", "run", "weights"]

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
"""What ``accelerate launch`` says to processes that are to share the weights."""

PROGRAM = """
import sys, json, torch, zoo
torch.set_num_threads(1)
z = zoo.open(sys.argv[1])
options = json.loads(sys.argv[4])
result = z.finetune(data=sys.argv[2], save=sys.argv[3], device="cpu", **options)
sys.stdout.write(f"{result.manifest}\\n")  # at once: they share a pipe
"""
"""Fine-tunes in the zoo, with the data, name and options that it is given; prints the digest."""


def run(
    folder: Path,
    size: int,
    *arguments: str,
    text: str = PROGRAM,
    status: int = 0,
    settings: Mapping[str, str] | None = None,
) -> list[str]:
    """What each of so many processes printed.

    Args:
        folder: Where the program may be written.
        size: How many.
        arguments: Of the program.
        text: The program.
        status: What they end with.
        settings: More of the environment.
    """
    program = folder / "program.py"
    program.write_text(text)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    done = subprocess.run(
        [sys.executable, *launcher, str(program), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(settings or {}),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout.split()


def weights(workspace: Workspace, name: str) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint."""
    return load(workspace.store, workspace.resolve(name)[1]).state_dict()
