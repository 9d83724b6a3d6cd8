"""Workers: several processes that answer at one address. One that dies is started again.

Each is this module, run as a program. The operating system hands every connection to one of them.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from prometheus_client.multiprocess import mark_process_dead

from zoo import config
from zoo.errors import Unavailable
from zoo.serve.run import DRAIN_SECONDS, END_SECONDS, Address, Server, listen, serve, url_of
from zoo.serve.watch.logs import Format, logging_as
from zoo.workspace import Workspace

__all__ = ["run_workers"]

LOG = logging.getLogger("zoo.serve")
LOOK_SECONDS = 0.1
START_SECONDS = 60.0
"""A worker answers in so long, or it never will."""
MOST_PAUSE = 30.0
"""So long is waited at most before one is started again that keeps dying."""


class _Setup(msgspec.Struct, kw_only=True):
    """What a worker is told: descriptors of where it listens, of a pipe that it writes to once it
    answers, and of one that ends when whoever started it does; ``tries`` is the folder in which the
    workers find what tries images; empty: nothing does; ``scrub`` as of `zoo.serve.run.Server`.
    """

    root: str
    address: Address
    number: int
    quiet: bool
    log_format: Format
    listening: int
    ready: int
    alive: int
    tries: str = ""
    scrub: int | None = None


class _Worker:
    """A process that answers; ``began`` is when it was started last, ``died`` when that was seen to
    have ended, and ``pause`` how long is waited then before it is started again.
    """

    def __init__(self, setup: _Setup, figures: str) -> None:
        self._setup, self._figures = setup, figures
        self.began, self.pause, self.answers = 0.0, 0.0, False
        self.died: float | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        setup = msgspec.structs.replace(self._setup, ready=writing)
        self.began, self.died, self.answers = time.monotonic(), None, False
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, msgspec.json.encode(setup).decode()],
            pass_fds=(setup.listening, writing, setup.alive),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for who started it
        )
        os.close(writing)

    def look(self) -> None:
        """See whether it answers, and start it again if it has died."""
        assert self.process
        with suppress(BlockingIOError):
            self.answers = self.answers or bool(os.read(self._reading, 1))
        if self.process.poll() is None:
            return
        now = time.monotonic()
        if self.died is None:
            self.died = now
            LOG.error("worker %s has died: it is started again", self._setup.number)
            if now - self.began >= MOST_PAUSE:  # it was well for long
                self.pause = 0.0
        if now - self.died < self.pause:
            return
        self.close()
        self.pause = min(MOST_PAUSE, 2 * self.pause + 1)
        self.start()

    def close(self) -> None:
        """Forget a process that has ended."""
        os.close(self._reading)
        if self.process:
            mark_process_dead(self.process.pid, self._figures)  # type: ignore[no-untyped-call]


def run_workers(
    root: Path,
    address: Address,
    count: int,
    announce: Callable[[str], None],
    *,
    quiet: bool,
    log_format: Format = "text",
    tries: bool = False,
    scrub: int | None = None,
) -> None:
    """Serve the zoo in ``root`` by ``count`` processes until told to end, as `zoo.serve.run` does.

    Raises:
        Unavailable: It cannot listen there, or no worker answers.
    """
    level = logging.WARNING if quiet else logging.INFO
    alive, held = os.pipe()
    with listen(address) as listening, TemporaryDirectory() as figures, _ending() as ended:
        config.share_figures(figures)
        trying = Path(figures) / "try"
        trying.mkdir()
        setup = _Setup(
            root=str(root),
            address=address,
            number=0,
            quiet=quiet,
            log_format=log_format,
            listening=listening.fileno(),
            ready=-1,
            alive=alive,
            tries=str(trying) if tries else "",
            scrub=scrub,
        )
        setups = (msgspec.structs.replace(setup, number=number) for number in range(count))
        workers = [_Worker(each, figures) for each in setups]
        try:
            with logging_as(log_format, level):
                _look_after(workers, lambda: announce(url_of(address, listening)), ended)
        finally:
            _end(workers)
            for end in (alive, held):
                os.close(end)


def _look_after(
    workers: list[_Worker], announce: Callable[[], None], ended: threading.Event
) -> None:
    for worker in workers:
        worker.start()
    waiting = True
    while not ended.wait(LOOK_SECONDS):
        for worker in workers:
            if waiting and worker.process and worker.process.poll() is not None:
                raise Unavailable("a worker", "it ended before it answered; its log says why")
            worker.look()
        if waiting and all(worker.answers for worker in workers):
            waiting = False
            announce()
        if waiting and time.monotonic() - workers[0].began > START_SECONDS:
            raise Unavailable("a worker", f"it does not answer within {START_SECONDS:.0f} s")


def _end(workers: list[_Worker]) -> None:
    """Let all answer what they are at; what takes too long is cut."""
    processes = [worker.process for worker in workers if worker.process]
    for process in processes:
        process.terminate()
    until = time.monotonic() + DRAIN_SECONDS + 2 * END_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for worker in workers:
        if worker.process:
            worker.close()


@contextmanager
def _ending() -> Iterator[threading.Event]:
    """An event that is set when this process is told to end."""
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answer(setup: _Setup) -> None:
    """Be a worker, until told to end, or until whoever started this has died."""

    def announce(_: str) -> None:
        os.write(setup.ready, b"\n")

    def follow() -> None:
        os.read(setup.alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    with socket.socket(fileno=setup.listening) as listening:
        workspace = Workspace(Path(setup.root))
        worker, tries = (setup.number, listening), Path(setup.tries) if setup.tries else None
        server = Server(
            workspace, setup.address, announce, worker=worker, tries=tries, scrub=setup.scrub
        )
        threading.Thread(target=follow, daemon=True).start()
        with logging_as(setup.log_format, logging.WARNING if setup.quiet else logging.INFO):
            serve(server)


if __name__ == "__main__":
    _answer(msgspec.json.decode(sys.argv[1], type=_Setup))
