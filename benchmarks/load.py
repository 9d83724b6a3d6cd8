"""Load times: zoo against timm, safetensors and torch.load, on one set of random weights.

    python benchmarks/load.py [ARCHITECTURE]

All read the same weights from the local disk, warm. Quote the ratios: the machine's speed drifts.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file

import zoo

ROUNDS = 5


def main(architecture: str) -> None:
    """Measure and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        state = timm.create_model(architecture).state_dict()
        save_file(state, root / "model.safetensors")
        torch.save(state, root / "model.pth")
        with zoo.init(root / "zoo") as z:
            z.import_file(root / "model.safetensors", "bench/model", architecture=architecture)
            z.export("bench/model", root / "export")
            rows = measure({
                "zoo.load (hashed)": lambda: z.load("bench/model"),
                "timm.create_model(pretrained=True)": lambda: timm.create_model(
                    f"local-dir:{root / 'export'}", pretrained=True
                ),
                "timm + safetensors": lambda: timm.create_model(architecture).load_state_dict(
                    load_file(root / "model.safetensors")
                ),
                "timm + torch.load": lambda: timm.create_model(architecture).load_state_dict(
                    torch.load(root / "model.pth", weights_only=True)
                ),
            })  # fmt: skip
        size = (root / "model.safetensors").stat().st_size
    print(f"{architecture}, {size / 1e6:.0f} MB, median of {ROUNDS} rounds")
    ours = rows["zoo.load (hashed)"]
    for name, seconds in rows.items():
        print(f"  {name:36} {seconds:7.3f} s   {seconds / ours:6.1f} x")


def measure(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["vit_large_patch16_224"]))
