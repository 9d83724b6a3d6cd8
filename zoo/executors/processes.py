"""Processes: trials run on several devices of this machine, in a worker process for each.

A worker sees its GPU alone, and calls it ``cuda``. The pools of `concurrent.futures` and loky give
up all that they do when one worker is killed; here that one is replaced.
"""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import active_children, connection, get_context, parent_process
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, TypeVar

import psutil

from zoo import config
from zoo.domain.progress import Progress, silent
from zoo.executors.executor import TIMES, Executor, carried_out, ended, killed

__all__ = ["open_processes"]

K = TypeVar("K")
T = TypeVar("T")
SPAWN = get_context("spawn")
"""Threads of torch, and what is on a GPU, do not survive a fork."""


@contextmanager
def open_processes(devices: Sequence[str], progress: Progress) -> Iterator[Executor]:
    """A worker for each of these ``devices``, which are of one kind, started when needed."""
    workers = [_Worker(device, len(devices)) for device in devices]
    try:
        yield _Processes(workers, progress)
    finally:
        for worker in workers:
            worker.stop()


class _Processes:
    """See `Executor`."""

    host = platform.node()
    progress = silent  # bars of several would overwrite each other

    def __init__(self, workers: Sequence[_Worker], progress: Progress) -> None:
        self.own = workers[0].device
        self.device = self.own.partition(":")[0]
        self._workers, self._say = workers, progress.say

    def run(
        self, trials: Iterable[tuple[K, Callable[[], T]]]
    ) -> Iterator[tuple[K, Callable[[], T]]]:
        """See `Executor.run`."""
        waiting = iter(trials)
        busy = dict[_Worker, tuple[K, Callable[[], T], int]]()
        try:
            while True:
                for worker in self._workers:
                    if worker not in busy and (trial := next(waiting, None)):
                        worker.begin(trial[1])
                        busy[worker] = (*trial, 1)
                if not busy:
                    return
                for worker in _ready(list(busy)):
                    key, trial_of_it, times = busy.pop(worker)
                    if outcome := worker.result():
                        yield key, partial(ended, *outcome)
                    elif times == TIMES:
                        yield key, partial(ended, None, killed(worker.device))
                    else:
                        self._say(f"{worker.device}: the worker was killed, and begins again")
                        worker.begin(trial_of_it)
                        busy[worker] = (key, trial_of_it, times + 1)
        finally:
            for worker in busy:
                worker.stop()


class _Worker:
    """A process that runs trials on one device, started with the first of them."""

    def __init__(self, device: str, count: int) -> None:
        self.device, self._count = device, count
        self._process: Any = None
        self.pipe: Connection

    def begin(self, trial: Callable[[], object]) -> None:
        """Hand it a trial."""
        if self._process is None:
            self._start()
        with suppress(BrokenPipeError):  # it was killed meanwhile, which its result shows
            self.pipe.send(trial)

    def _start(self) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        asked = (theirs, self.device, self._count)
        self._process = SPAWN.Process(target=_work, args=asked, name=f"zoo {self.device}")
        with _ctrl_c_ignored():
            self._process.start()
        theirs.close()

    def result(self) -> tuple[Any, Exception | None] | None:
        """What the trial gave, or raised; None where the process was killed."""
        try:
            outcome: tuple[object, Exception | None] = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.stop()
            return None
        return outcome

    def stop(self) -> None:
        """End it: what a trial has kept until then stays."""
        if self._process is not None:
            _end(self._process.pid)
            self._process.join()
            self.pipe.close()
            self._process = None


def _end(pid: int) -> None:
    """End a worker and those that load images for it: they look whether it is there once they have
    started, and would stay for ever if it ends before.
    """
    with suppress(psutil.NoSuchProcess):
        worker = psutil.Process(pid)
        worker.suspend()
        for each in (*worker.children(recursive=True), worker):
            with suppress(psutil.NoSuchProcess):
                each.kill()


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """Those that have a result, or were killed: at least one, in the order of these."""
    ready = connection.wait([worker.pipe for worker in workers])
    return [worker for worker in workers if worker.pipe in ready]


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """By processes that are started: the one that starts them ends them."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, which Ctrl-C goes to
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(pipe: Connection, device: str, count: int) -> None:
    """What a worker does until it is ended."""
    Thread(target=_end_with_parent, daemon=True).start()
    kind, _, number = device.partition(":")
    if kind == "cuda":
        config.show_gpu(int(number or 0))
    config.share_cores(count)  # the first trial loads torch, which heeds it
    with suppress(EOFError):
        while True:
            pipe.send(carried_out(pipe.recv()))


def _end_with_parent() -> None:
    """Whoever is killed leaves no worker behind that goes on, and holds the lock of its trial."""
    if parent := parent_process():
        parent.join()
        for child in active_children():
            child.kill()
        os._exit(1)
