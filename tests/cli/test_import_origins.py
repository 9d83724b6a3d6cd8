"""What an import takes from checkpoints that are here: facts, a parent, the checkpoint itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import timm
import torch
from fakes.program import Said
from safetensors.torch import save_file

Run = Callable[..., Said]
State = dict[str, torch.Tensor]
NET = "test_vit"


def weights(seed: int = 1, outputs: int = 3, architecture: str = NET) -> State:
    torch.manual_seed(seed)
    return dict(timm.create_model(architecture, num_classes=outputs).state_dict())


def test_a_fine_tune_says_nothing_of_the_weights_of_its_base(empty: Run, few: Path) -> None:
    save_file(weights(outputs=0), "net.safetensors")
    empty("import", "net.safetensors", "--architecture", NET, "--as", "team/none").done()
    tune = ("finetune", "team/none", "--data", few, "--strategy", "probe", "--image-size", 32)
    empty(*tune, "--save", "team/probe", "--quiet").done()
    empty("export", "team/none", "out").done()
    done = empty("import", "out", "--as", "back/none").done()
    assert "unknown: preprocessing" in done.out, done
    # One more layer was trained: what it has of the probe is the base's, of which nothing is known.
    moved = {**weights(outputs=0), "norm.weight": torch.full((64,), 2.0)}
    save_file(moved, "moved.safetensors")
    done = empty("import", "moved.safetensors", "--architecture", NET, "--as", "team/moved").done()
    assert "unknown: preprocessing" in done.out, done
    # Of the probe's own weights it is known: they were made with it.
    empty("export", "team/probe", "probe").done()
    (Path("probe") / "config.json").unlink()
    done = empty("import", "probe/model.safetensors", "--architecture", NET, "--as", "back/probe")
    assert "preprocessing from team/probe, which has 100.0% of the weights" in done.out, done
