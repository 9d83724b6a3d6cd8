"""Programs in several processes that meet, as ``torchrun`` starts them."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE, Popen

import torch
from fakes import warm

from zoo.backbones.load import load
from zoo.workspace import Workspace

__all__ = ["FSDP", "PROGRAM", "run", "weights"]

CRASHES = {-signal.SIGABRT, -signal.SIGSEGV}
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

    As torchrun has it, they meet at an address in the environment, and when one fails the others
    are ended. Its own launcher is tried in ``tests/cli/test_launch.py``.

    Args:
        folder: Where the program may be written.
        size: How many.
        arguments: Of the program.
        text: The program.
        status: What the first that fails ends with.
        settings: More of the environment.
    """
    program = folder / "program.py"
    program.write_text(text)
    running, said = _launched([program, *arguments], size, settings or {})
    if not status and CRASHES & {process.returncode for process in running}:
        # Seen once in thousands of launches, in torch's own code: "malloc(): unaligned tcache
        # chunk" in a step of shards on a CPU. What zoo does of itself does not end so.
        sys.stderr.write(f"a process crashed, and is launched again: {said}\n")
        running, said = _launched([program, *arguments], size, settings or {})
    failed = [process.returncode for process in running if process.returncode]
    assert bool(failed) == bool(status), "".join(err for _, err in said)
    return [word for out, _ in said for word in out.split()]


def _launched(
    command: Sequence[object], size: int, settings: Mapping[str, str]
) -> tuple[list[Popen[str]], list[tuple[str, str]]]:
    """The processes, once all have ended, and what each printed."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), **settings}
    running = []
    for rank in range(size):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        count = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
        running.append(
            warm.popen(
                *command, env={**os.environ, **shared, **place, **count}, stdout=PIPE, stderr=PIPE
            )
        )
    with ThreadPoolExecutor(size) as pool:
        return running, list(pool.map(lambda one: _ended(one, running), running))


def _ended(process: Popen[str], others: list[Popen[str]]) -> tuple[str, str]:
    """What it printed; where it failed, the others are ended."""
    said = process.communicate(timeout=300)
    if process.returncode:
        for other in others:
            other.terminate()
    return said


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def weights(workspace: Workspace, name: str) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint."""
    return load(workspace.store, workspace.names.resolve(name)[1]).state_dict()
