"""Trials for workers, which import them here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from zoo.errors import Unavailable

__all__ = ["dies", "lasts", "raises", "where"]


def where() -> tuple[int, str, str]:
    """The process, the GPU that it sees, and how many threads it is to have."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return os.getpid(), seen, os.environ.get("OMP_NUM_THREADS", "")


def dies(notes: Path, times: int) -> str:
    """Be killed so many times, noted in a file, before it answers."""
    with notes.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len(notes.read_text().splitlines()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def lasts(notes: Path) -> None:
    """Note the process, and go on for longer than a test."""
    notes.write_text(str(os.getpid()))
    time.sleep(600)


def raises(odd: bool) -> None:
    """What zoo raises, or an error that only its own process can make."""

    class OddError(ValueError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    raise OddError(1, 2) if odd else Unavailable("it", "is away", hint="wait")
