"""Training steps beside other work: how long threads spin before they hand over the core.

    python benchmarks/busy_cores.py [--rounds 4]

A step of tf_efficientnet_lite0 on 32 images of 64 pixels, in as many threads as there are cores:
alone, and beside one process of another session that computes all the time. Each setting in a
process of its own, in turns. Prints the median, and the ratio to what libgomp does by default.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

STEPS = 6
BUSY = [sys.executable, "-c", "while True: pass"]
"""In a session of its own, as another user's is: Linux then shares the cores between sessions."""
SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def steps() -> list[float]:
    """Seconds of steps, but for the first."""
    import timm
    import torch

    model = timm.create_model("tf_efficientnet_lite0")
    images = torch.rand(32, 3, 64, 64)
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        model(images).sum().backward()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def measured(setting: dict[str, str]) -> list[float]:
    """`steps` in a process of its own."""
    kept = {key: each for key, each in os.environ.items() if "OMP_" not in key}  # noqa: TID251
    ran = subprocess.run(
        [sys.executable, __file__, "--one"], env=kept | setting, capture_output=True, check=True
    )
    return [float(each) for each in json.loads(ran.stdout)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(steps()))
        return
    for beside in ("alone", "beside one that computes"):
        other = [] if beside == "alone" else [subprocess.Popen(BUSY, start_new_session=True)]
        found: dict[str, list[float]] = defaultdict(list)
        try:
            for _ in range(asked.rounds):
                for name, setting in SETTINGS.items():
                    found[name] += measured(setting)
        finally:
            for each in other:
                each.kill()
                each.wait()
        base = statistics.median(found["default"])
        for name, seconds in found.items():
            median = statistics.median(seconds)
            print(f"{beside:26} {name:22} {1000 * median:6.0f} ms  {median / base:.2f}", flush=True)


if __name__ == "__main__":
    main()
