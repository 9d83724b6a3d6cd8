"""Tryouts: have images tried by a process with torch, of which a machine has one, whichever of the
server's processes is asked. It is started when it is needed, and ends by itself.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EPERM
from pathlib import Path
from threading import Lock

import msgspec

from zoo.serve.keep.tryout import TURN, TryoutAnswer, TryoutRequest

__all__ = ["RATE", "RATE_SECONDS", "QueueFull", "TooOften", "Tryouts"]

SECONDS = 60
"""A question is answered in so long, or not at all."""
IDLE_SECONDS = 300
"""The process ends when nobody has asked for so long."""
WAITING = 4
"""So many questions wait for their turn in a process of the server."""
WAIT_SECONDS = 60.0
"""They wait for so long."""
RATE, RATE_SECONDS = 20, 60.0
"""So many questions of one account are answered by a process of the server in so long."""
STARTS = 2
"""A process may end just when somebody asks: then another one is started."""
BACKLOG = 256
ANSWER = msgspec.json.Decoder(TryoutAnswer)
LATE = "it took more than {} seconds, and was stopped"
DEAD = "what tries images has died, perhaps for want of memory; the server's log may tell why"


class QueueFull(Exception):
    """Too many wait already."""


class TooOften(Exception):
    """Who asks has one under way, or has asked too often."""


class Tryouts:
    """Tries images with the checkpoints of the zoo in ``root``. The server's processes meet in
    ``folder``, which is theirs alone.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder, self._path = root, folder, folder / "tryout"
        self._lock, self._closed = Lock(), False
        self._under_way: set[str] = set()
        self._times: dict[str, deque[float]] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def admitted(self, who: str) -> Iterator[None]:
        """Within, somebody may ask; before an image is taken from them, as it takes memory.

        Raises:
            Crowded: Too many do.
            TooOften: ``who`` does already, or has too often.
        """
        now = time.monotonic()
        with self._lock:
            if self._closed or len(self._under_way) > WAITING:
                raise QueueFull
            if who in self._under_way:
                raise TooOften
            self._times = {
                each: times
                for each, times in self._times.items()
                if times and now - times[-1] < RATE_SECONDS
            }
            times = self._times.setdefault(who, deque(maxlen=RATE))
            if len(times) == RATE and now - times[0] < RATE_SECONDS:
                raise TooOften
            times.append(now)
            self._under_way.add(who)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(who)

    def ask(self, checkpoint: str, image: bytes, output: str = "") -> TryoutAnswer:
        """What a checkpoint says of an image; for who was `admitted`.

        Raises:
            Crowded: Too many ask.
        """
        asked = TryoutRequest(checkpoint=checkpoint, size=len(image), output=output)
        for _ in range(STARTS):
            with self._connected() as connection:
                if self._is_its_turn(connection):
                    return _answer(connection, msgspec.json.encode(asked) + b"\n" + image)
        return TryoutAnswer(problem=DEAD, fault=True)

    def close(self) -> None:
        """End the process, if it was started here."""
        with self._lock:
            self._closed = True
            if self._process:
                with self._process:
                    self._process.kill()

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        # It may have been taken for old, and deleted; then anybody could have made it.
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        if self._folder.lstat().st_uid != os.geteuid():
            raise PermissionError(EPERM, "another account's folder", str(self._folder))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT_SECONDS)
            try:
                if not self._reaches(connection):
                    with (self._folder / "lock").open("w") as lock:
                        fcntl.flock(lock, fcntl.LOCK_EX)
                        if not self._reaches(connection):
                            self._start()
                            connection.connect(str(self._path))
            except BlockingIOError:
                raise QueueFull from None
            yield connection

    def _reaches(self, connection: socket.socket) -> bool:
        try:
            connection.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def _start(self) -> None:
        """Start the process; who connects meanwhile waits."""
        with self._lock, socket.socket(socket.AF_UNIX) as listening:
            if self._closed:
                raise QueueFull
            if self._process:
                with self._process:  # it has ended, or does now
                    pass
            self._path.unlink(missing_ok=True)
            listening.bind(str(self._path))
            listening.listen(BACKLOG)
            number = listening.fileno()
            given = self._root, self._path, number, SECONDS, IDLE_SECONDS
            self._process = subprocess.Popen(
                [sys.executable, "-m", "zoo.serve.keep.tryout", *map(str, given)],
                pass_fds=(number,),
                stdin=subprocess.PIPE,  # which ends when this process does, however that is
                start_new_session=True,  # Ctrl-C is for the server
            )

    def _is_its_turn(self, connection: socket.socket) -> bool:
        """Wait for the turn; whether it comes, and the process has not ended before.

        Raises:
            Crowded: It does not come for long.
        """
        try:
            return connection.recv(1) == TURN
        except TimeoutError:
            raise QueueFull from None
        except OSError:
            return False


def _answer(connection: socket.socket, question: bytes) -> TryoutAnswer:
    began = time.monotonic()
    connection.settimeout(SECONDS + 5)
    with suppress(OSError, msgspec.DecodeError):  # it has ended
        connection.sendall(question)
        with connection.makefile("rb") as file:
            return ANSWER.decode(file.readline())
    late = time.monotonic() - began > SECONDS - 0.5
    return TryoutAnswer(problem=LATE.format(SECONDS) if late else DEAD, fault=True)
