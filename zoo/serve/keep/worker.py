"""Worker: a process that has torch, started when it is needed, which ends when it is not."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import Empty, PriorityQueue

import msgspec

from zoo.domain.digest import Digest
from zoo.serve.keep.describe import ConfigTexts

__all__ = ["Worker"]

IDLE_SECONDS = 60.0
Asked = tuple[int, int, str, Future[ConfigTexts]]
"""Later ones go first where the first number is lower; an empty digest ends the thread."""
DECODER = msgspec.json.Decoder(ConfigTexts)
NONE = ConfigTexts(
    problem="what describes networks has failed; the log tells of what", passing=True
)


class Worker:
    """Describes the checkpoints of the zoo in ``root``, one at a time.

    Attributes:
        closed: Whether it does so no more.
    """

    def __init__(self, root: Path) -> None:
        self.closed = False
        self._root = root
        self._asked: PriorityQueue[Asked] = PriorityQueue()
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name="describe", daemon=True)
        self._thread.start()

    def ask(self, digest: Digest, *, waits: bool = True) -> Future[ConfigTexts]:
        """Have a checkpoint described; before others, if somebody ``waits`` for it."""
        future: Future[ConfigTexts] = Future()
        self._asked.put((0 if waits else 1, next(self._numbers), digest, future))
        return future

    def close(self) -> None:
        """End the process, whatever it is at; who waits for others gets none."""
        self.closed = True
        self._asked.put((-1, next(self._numbers), "", Future()))
        if self._process:
            self._process.kill()
        self._thread.join()

    def _work(self) -> None:
        while True:
            try:
                _, _, digest, future = self._asked.get(
                    timeout=IDLE_SECONDS if self._process else None
                )
            except Empty:
                self._end()
                continue
            future.set_result(NONE if self.closed else self._described(digest))
            if self.closed and self._asked.empty():
                self._end()
                return

    def _described(self, digest: str) -> ConfigTexts:
        self._process = process = self._process or subprocess.Popen(
            [sys.executable, "-m", "zoo.serve.keep.describe", str(self._root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server
        )
        assert process.stdin
        assert process.stdout
        with suppress(OSError, msgspec.DecodeError):  # it has died
            process.stdin.write(f"{digest}\n".encode())
            process.stdin.flush()
            return DECODER.decode(process.stdout.readline())
        self._end()
        return NONE

    def _end(self) -> None:
        if self._process:
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe
                with suppress(OSError):
                    pipe.close()
            self._process.kill()
            self._process.wait()
            self._process = None
