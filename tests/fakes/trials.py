"""Trials for workers, which import them here."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from zoo.errors import Unavailable

__all__ = ["Deadly", "dies", "gone", "lasts", "noted", "raises", "where"]


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
    """Note the process that a loader would be, and go on for longer than a test."""
    loader = get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
    loader.start()
    notes.write_text(f"{os.getpid()} {loader.pid}")
    time.sleep(600)


def raises(odd: bool) -> None:
    """What zoo raises, or an error that only its own process can make."""

    class OddError(ValueError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    raise OddError(1, 2) if odd else Unavailable("it", "is away", hint="wait")


def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds."""
    for _ in range(200):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def noted(notes: Path) -> tuple[int, ...]:
    """The processes that a trial has noted."""
    while not (notes.exists() and notes.read_text()):
        time.sleep(0.02)
    return tuple(map(int, notes.read_text().split()))


class Deadly(Image.Image):
    """A picture that kills the process that opens it so many times."""

    def __init__(self, notes: Path, times: int, path: Path) -> None:
        super().__init__()
        self.asked = notes, times, path

    def __reduce__(self) -> Any:
        return _survived, self.asked


def _survived(notes: Path, times: int, path: Path) -> Image.Image:
    dies(notes, times)
    with Image.open(path) as image:
        return image.copy()
