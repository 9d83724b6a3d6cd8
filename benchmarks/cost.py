"""What import, push, pull and verify of a large checkpoint cost: time beside cp and b3sum, memory.

    python benchmarks/cost.py [ARCHITECTURE]

Random weights, which nothing shares. Each step is a process of its own, start-up included, on a
warm local disk; push and pull once more within a process that runs already, and so what they do
where all is there (what is there is read and proven), a fine-tune of all weights, each of which is
sent as a difference from a base that is hashed first, and a verify. zoo makes the disk
settle before it says that it is done; cp does not, so the second peer does. Memory is what the
process holds beside mapped files (RssAnon of Linux), read every 10 ms.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

import zoo
from zoo.backbones.mapped import mapped_state
from zoo.domain.manifest import Parent
from zoo.store.files import add_weights

ROUNDS = 5
ZOO = (sys.executable, "-m", "zoo_cli")


def main(architecture: str) -> None:
    """Measure and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        torch.manual_seed(0)
        save_file(timm.create_model(architecture).state_dict(), file)
        size = file.stat().st_size / 1e6
        rounds = [measure(architecture, file) for _ in range(ROUNDS + 1)][1:]
    print(f"{architecture}, {size:.0f} MB, median of {ROUNDS} rounds")
    print("  step               seconds   of cp + b3sum   MB beside mapped files")
    for step in rounds[0]:
        seconds = statistics.median(times[step][0] for times in rounds)
        ratio = statistics.median(times[step][0] / times["cp + b3sum"][0] for times in rounds)
        memory = max(times[step][1] for times in rounds) / 1e6
        shown = f"{memory:.0f}" if memory else "-"
        print(f"  {step:17} {seconds:8.2f}   {ratio:13.2f}   {shown:>22}")


def measure(architecture: str, file: Path) -> dict[str, tuple[float, float]]:
    """Seconds and bytes of each step, once, from an empty zoo and an empty remote."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        root = Path(folder)
        ours, theirs, remote = root / "ours", root / "theirs", root / "remote"
        again = root / "again"
        for home in (ours, theirs, again):
            run(*ZOO, "init", str(home))
        copied = ("sh", "-c", 'cp "$0" "$1" && b3sum "$1"')
        settled = ("sh", "-c", 'cp "$0" "$1" && sync "$1" && b3sum "$1"')
        return {
            "cp + b3sum": run(*copied, str(file), str(root / "copy")),
            "cp + sync + b3sum": run(*settled, str(file), str(root / "settled")),
            "zoo import": run(*ZOO, "import", str(file), "--architecture", architecture,
                              "--as", "bench/model", "--home", str(ours)),
            "zoo push": run(*ZOO, "push", "bench/model", "--to", str(remote), "--home", str(ours)),
            "zoo pull": run(*ZOO, "pull", "bench/model", "--from", str(remote),
                            "--home", str(theirs)),
            "push, running": within(ours, lambda z: z.push("bench/model", str(root / "other"))),
            "pull, running": within(
                again, lambda z: z.pull("bench/model", remote=str(root / "other"))
            ),
            "push, all there": within(ours, lambda z: z.push("bench/model", str(remote))),
            "pull, all there": within(
                theirs, lambda z: z.pull("bench/model", remote=str(remote))
            ),
            "verify": within(theirs, lambda z: z.verify()),
            "push, fine-tune": within(tuned(ours), lambda z: z.push("bench/tuned", str(remote))),
            "pull, fine-tune": within(
                theirs, lambda z: z.pull("bench/tuned", remote=str(remote))
            ),
        }  # fmt: skip


def tuned(home: Path) -> Path:
    """Add a checkpoint to the zoo whose weights are all a little other; the zoo."""
    with zoo.open(home) as opened:
        workspace = opened.workspace
        _, digest = workspace.names.resolve("bench/model")
        base = workspace.store.manifest(digest)
        state = {name: tensor * 1.0001 if tensor.is_floating_point() else tensor
                 for name, tensor in mapped_state(workspace.store, base).items()}  # fmt: skip
        with workspace.scratch() as scratch:
            save_file(state, scratch / "tuned.safetensors")
            weights = add_weights(workspace.store, scratch / "tuned.safetensors")
        parent = Parent(manifest=digest, relation="finetune", ref="bench/model")
        made = replace(base, weights=(weights,)).descending(base, parent)
        workspace.commit(made, zoo.Reference.parse("bench/tuned"), "benchmark")
    return home


def within(home: Path, call: Callable[[zoo.Zoo], object]) -> tuple[float, float]:
    """Seconds that a call takes in this process."""
    with zoo.open(home) as opened:
        settle()
        began = time.perf_counter()
        call(opened)
        return time.perf_counter() - began, 0.0


def settle() -> None:
    """Else a step pays for what the one before it left to be written."""
    os.sync()
    time.sleep(1)


def run(*command: str) -> tuple[float, float]:
    """Seconds that a command takes, and the most memory it holds beside mapped files."""
    settle()
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with watched(process.pid) as most:
        code = process.wait()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return time.perf_counter() - began, most[0]


@contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """The most anonymous memory that a process is seen with, in bytes, as the only item."""
    most, done = [0.0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(pid, most, done))
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def _watch(pid: int, most: list[float], done: threading.Event) -> None:
    status = Path(f"/proc/{pid}/status")
    while not done.wait(0.01):
        try:
            lines = status.read_text().splitlines()
        except OSError:  # it has ended
            return
        held = next((line for line in lines if line.startswith("RssAnon")), "RssAnon: 0 kB")
        most[0] = max(most[0], float(held.split()[1]) * 1024)


if __name__ == "__main__":
    if not shutil.which("b3sum"):
        sys.exit("b3sum is not installed (Debian: b3sum; else: cargo install b3sum)")
    main(*(sys.argv[1:] or ["vit_large_patch16_224"]))
