"""Interrupts: Ctrl-C, and what ends a job, wait for the step that runs, so that it is kept."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

from zoo import config

__all__ = ["deferred_interrupts"]


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Note an interrupt, rather than raise it; whether one came. A second one is raised at once.

    Nothing is deferred where others handle signals, nor where several processes train: each would
    stop after another step.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            signal.default_int_handler(number, frame)
        came.append(number)

    alone = current_thread() is main_thread() and config.processes() == 1
    deferring = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if alone and signal.getsignal(number) is signal.default_int_handler
    ]
    for number in deferring:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number in deferring:
            signal.signal(number, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
