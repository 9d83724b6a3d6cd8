"""What it costs to import a folder with all below it: time beside hashing it twice, and memory.

    python benchmarks/import_folder.py [FILES] [--pickled] [--architecture NAME]

A fine-tune of every weight for each file, in runs of ten epochs, as safetensors or as timm's
pickles. Planned and imported by one `zoo import FOLDER --recursive`, start-up included, into an
empty zoo on the same disk; then once more, which finds all of it there. The peer is `sha256sum` of
all files, twice. The ratio is of processor time, which other work on the machine changes least.
Memory is what the process holds beside mapped files (RssAnon of Linux).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import timm
import torch
from cost import ZOO, settle, watched
from safetensors.torch import save_file

EPOCHS = 10

Times = tuple[float, float, float]


def main(files: int, architecture: str, *, pickled: bool, rounds: int) -> None:
    """Measure and print one table."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        root = Path(folder) / "runs"
        total = make(root, files, architecture, pickled=pickled)
        measured = [measure(root) for _ in range(rounds)]
    kind = "pickles" if pickled else "safetensors"
    print(f"{files} {kind} of {architecture}, {total / 1e6:.0f} MB, median of {rounds} rounds")
    print("  step               seconds   of a processor   of sha256sum twice   MB of memory")
    for step in measured[0]:
        wall, processor = (statistics.median(each[step][i] for each in measured) for i in (0, 1))
        peer = (each[step][1] / each["sha256sum twice"][1] for each in measured)
        memory = max(each[step][2] for each in measured) / 1e6
        ratio = statistics.median(peer)
        print(f"  {step:17} {wall:8.2f}   {processor:14.2f}   {ratio:18.2f}   {memory:12.0f}")


def make(root: Path, files: int, architecture: str, *, pickled: bool) -> int:
    """Write the folder; its bytes."""
    torch.manual_seed(0)
    state = timm.create_model(architecture).state_dict()
    total = 0
    for number in range(files):
        state = {
            name: tensor * (1 + 1e-4 * torch.randn(())) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
        run_folder = root / f"run{number // EPOCHS}"
        run_folder.mkdir(parents=True, exist_ok=True)
        name = f"checkpoint-{number % EPOCHS}"
        if pickled:
            path = run_folder / f"{name}.pth.tar"
            torch.save({"arch": architecture, "epoch": number, "state_dict": state}, path)
        else:
            path = run_folder / f"{name}.safetensors"
            save_file(state, path)
            (run_folder / "args.yaml").write_text(f"model: {architecture}\n")
        total += path.stat().st_size
    return total


def measure(root: Path) -> dict[str, Times]:
    """What each step takes, once, into an empty zoo."""
    home, other = root.parent / "zoo", root.parent / "other"
    for each in (home, other):
        shutil.rmtree(each, ignore_errors=True)
        run(*ZOO, "init", str(each))
    imported = (*ZOO, "import", str(root), "--recursive", "--as", "team/{stem}", "--home")
    hashed = ("sh", "-c", 'for _ in 1 2; do find "$0" -type f -exec sha256sum {} +; done')
    return {
        "sha256sum twice": run(*hashed, str(root)),
        "dry run": run(*imported, str(home), "--dry-run"),
        "import": run(*imported, str(home)),
        "import again": run(*imported, str(home)),
        "--parent auto": run(*imported, str(other), "--parent", "auto"),
    }


def run(*command: str) -> Times:
    """Seconds, seconds of a processor, and the most memory beside mapped files, of a command."""
    settle()
    began = time.perf_counter()
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        watched(process.pid) as most,
    ):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, most[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=int, nargs="?", default=60)
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--pickled", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.files, given.architecture, pickled=given.pickled, rounds=given.rounds)
