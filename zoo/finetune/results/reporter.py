"""Reporter: tells a server of a run while it goes on, in a thread: training never waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.domain.progress import Progress, clean
from zoo.errors import Conflict, Forbidden, Unavailable, ZooError
from zoo.lookup.reporting import Sender

__all__ = ["reported"]

EVERY, LONGEST = 1.0, 30.0
"""Seconds between two looks at what is new, and at most after failures."""
PATIENCE, HASTE, MOST = 10.0, 3.0, 60.0
"""So long a run that has ended waits for its report: from what came last, the same of one that was
interrupted, and in all."""
TRIES = 3
AGAIN = (Unavailable, Conflict)
"""What another try at the end may mend: a server restarts, or another process reports, too."""
SLOW = "it did not answer in time"


@contextmanager
def reported(folder: Path, location: str, progress: Progress) -> Iterator[None]:
    """While it is open, the run in ``folder`` is told to a server; ``location`` empty: to none.

    At the end a line says where it is there, or how to send what is left.
    """
    if not location:
        yield
        return
    reporter = _Reporter(folder, location, progress)
    try:
        yield
    except KeyboardInterrupt:  # whoever launched this is patient for five seconds
        progress.say(reporter.end(HASTE))
        raise
    except BaseException:
        progress.say(reporter.end(PATIENCE))
        raise
    progress.say(reporter.end(PATIENCE))


class _Reporter:
    def __init__(self, folder: Path, location: str, progress: Progress) -> None:
        self._progress = progress
        self._run, self._location = folder.name, location
        self._sender: Sender | None = None
        self._ending, self._given_up = threading.Event(), False
        self._problem = SLOW
        self._done = ""
        self._thread = threading.Thread(target=self._report, args=(folder,), daemon=True)
        self._thread.start()

    def end(self, patience: float) -> str:
        """Wait a little for what is left to come; what came of it, in words."""
        self._ending.set()
        began = time.monotonic()
        while self._thread.is_alive():
            answered = self._sender.answered if self._sender else 0.0
            if time.monotonic() > min(began + MOST, max(began, answered) + patience):
                break
            self._thread.join(0.1)
        self._given_up = True
        if self._done:
            return f"reported to {self._location}/-/runs/{self._done}"
        return (
            f"the report to {self._location} is not complete: {clean(self._problem)}; "
            f"to send the rest: zoo runs report {self._run} --to {self._location}"
        )

    def _report(self, folder: Path) -> None:
        try:
            self._work(folder)
        finally:
            if self._sender:
                self._sender.close()

    def _work(self, folder: Path) -> None:
        failures, pause = 0, EVERY
        while not self._given_up:
            ending = self._ending.is_set()
            try:
                self._send(folder)
                if ending:  # before, it may be about to be resumed
                    self._problem = "the run's folder does not say how it has ended"
                    return
            except (ZooError, OSError) as error:
                failures, pause = failures + 1, min(2 * pause, LONGEST)
                self._failed(error)
                if ending and (failures >= TRIES or not isinstance(error, AGAIN)):
                    return
            else:
                failures, pause = 0, EVERY
            if ending:
                time.sleep(EVERY / 2)
            else:
                self._ending.wait(pause)

    def _send(self, folder: Path) -> None:
        if self._sender is None:
            self._sender = Sender(folder, self._location)
        ended = self._sender.send()
        self._done = self._sender.heard.id if ended and self._sender.heard else ""
        self._problem = SLOW

    def _failed(self, error: Exception) -> None:
        """Tell at once of what will not mend itself."""
        refused = isinstance(error, Forbidden) and self._problem != str(error)
        self._problem, self._done = str(error), ""
        if refused:
            self._progress.say(f"the report fails, and the run goes on: {clean(self._problem)}")
