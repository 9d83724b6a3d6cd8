"""The first pull from a hub beside `hf_hub_download` of the same files, as whole processes.

    python benchmarks/pull.py

Real ImageNet weights of timm (18.8 MB), as timm pushes them, from a hub on this machine. Each round
is one process of each kind, in turns, with nothing in any cache: ``zoo pull`` into a zoo that has
just been made, and a program that only calls `hf_hub_download` once for each file.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

ROUNDS = 11
REPO = "lab/lite0"
FILES = ("README.md", "config.json", "model.safetensors")
PEER = f"""
from huggingface_hub import hf_hub_download
for name in {FILES}:
    hf_hub_download({REPO!r}, name)
"""
ZOO = (sys.executable, "-m", "zoo_cli")
PULL = (*ZOO, "pull", "bench/lite0", "--from", f"hf://{REPO}")


def main() -> None:
    """Measure and print one table."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    hub = multiprocessing.get_context("spawn").Process(target=serve, args=(sending,), daemon=True)
    hub.start()
    url = receiving.recv()
    try:
        rounds = [measure(url) for _ in range(ROUNDS + 1)][1:]
    finally:
        hub.terminate()
    ours, theirs = ([times[name] for times in rounds] for name in ("zoo pull", "hf_hub_download"))
    print(f"18.8 MB from a hub on this machine, median of {ROUNDS} rounds in turns")
    print("                     seconds   of CPU")
    for name, times in (("zoo pull", ours), ("hf_hub_download", theirs)):
        wall, cpu = (statistics.median(time[part] for time in times) for part in (0, 1))
        print(f"  {name:16} {wall:9.2f} {cpu:8.2f}")
    more = statistics.median(a[0] - b[0] for a, b in zip(ours, theirs, strict=True))
    print(f"  zoo pull takes {more:.2f} s more (median of the differences)")


def serve(sending: Connection) -> None:
    """Be a hub with one repository."""
    import timm
    from fakes.hub_server import HubServer
    from lite0 import ARCHITECTURE, pretrained
    from timm.models import save_for_hf

    with tempfile.TemporaryDirectory() as folder, HubServer() as server:
        module = timm.create_model(ARCHITECTURE)
        module.load_state_dict(pretrained())
        save_for_hf(module, folder, safe_serialization=True)
        (Path(folder) / "README.md").write_text("---\nlicense: apache-2.0\n---\n# lite0\n")
        server.commit(REPO, {name: (Path(folder) / name).read_bytes() for name in FILES})
        sending.send(server.url)
        time.sleep(3600)


def measure(url: str) -> dict[str, tuple[float, float]]:
    """Seconds of either, on the clock and of processors."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*ZOO, "init", f"{folder}/zoo"], check=True, capture_output=True)
        kinds = {"zoo pull": PULL, "hf_hub_download": (sys.executable, "-c", PEER)}
        return {name: run(command, url, Path(folder), name) for name, command in kinds.items()}


def run(command: tuple[str, ...], url: str, folder: Path, name: str) -> tuple[float, float]:
    """Seconds that a command takes, with no cache of the hub."""
    told = {"HF_ENDPOINT": url, "HF_HOME": folder / name, "ZOO_HOME": folder / "zoo",
            "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": 1}  # fmt: skip
    within = ("env", *(f"{variable}={value}" for variable, value in told.items()), *command)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(within, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


if __name__ == "__main__":
    main()
