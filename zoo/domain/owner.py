"""Owner: the process that a sign in a store stands for, and whether it can still be alive.

A process id alone says little: ids come again, and each container has ids of its own. Together
with the start of the kernel, the space that ids are unique in, and the start of the process, it
names one process for good. Whoever is on the same machine sees at once that it has ended; whoever
is not goes by the age of the last sign of life.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from zoo.domain.limits import SIGN_BYTES
from zoo.errors import ZooError

__all__ = ["EVERY_SECONDS", "STALE_SECONDS", "Owner", "boot", "is_stale", "renewing", "under_way"]

EVERY_SECONDS = 60.0
"""Between two signs of life."""
STALE_SECONDS = 600.0
"""Without a sign of life after which a process counts as dead."""
UNOWNED_SECONDS = 24 * 3600.0
"""Likewise of a sign that does not say whose it is: earlier versions never renew theirs."""
TEXT = 200
BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One process.

    Attributes:
        by: Who runs it.
        host: The name of the machine, for people.
        pid: Its id.
        since: When it set the sign: UTC, ISO 8601, by its own clock.
        machine: Names the kernel since it was started; empty where nothing does.
        space: Names what ``pid`` is unique in.
        born: When the process was started, as the kernel counts it; empty where it does not say.
    """

    by: str
    host: str
    pid: int
    since: str
    machine: str = ""
    space: str = ""
    born: str = ""

    @classmethod
    def here(cls, by: str) -> Self:
        """This process, run by ``by``."""
        return cls(
            by=by,
            host=socket.gethostname(),
            pid=os.getpid(),
            since=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            machine=boot(),
            space=_space(),
            born=_state(os.getpid())[1],
        )

    def to_bytes(self) -> bytes:
        """JSON, for `from_bytes`."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """Inverse of `to_bytes`; None if ``data`` is something else, or empty."""
        try:
            raw = json.loads(data[:SIGN_BYTES])
            pid = raw.pop("pid")
            texts = {str(name): str(value)[:TEXT] for name, value in raw.items()}
            return cls(pid=pid, **texts) if type(pid) is int else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to be gone; False also where that cannot be told here."""
        if not self.machine or (self.machine, self.space) != (boot(), _space()) or self.pid < 1:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass  # somebody else's
        # A zombie still takes signals; and another process may have its id by now.
        state, born = _state(self.pid)
        return state in ("Z", "X") or bool(born and self.born and born != self.born)

    def __str__(self) -> str:
        return f"{self.by} on {self.host}, process {self.pid}, since {self.since}"


@contextmanager
def renewing(renew: Callable[[], object], *, every: float = EVERY_SECONDS) -> Iterator[None]:
    """Call ``renew`` again and again, beside what is done meanwhile."""
    done = threading.Event()

    def keep_renewing() -> None:
        while not done.wait(every):
            with suppress(OSError, ZooError):  # the next one may come through
                renew()

    thread = threading.Thread(target=keep_renewing, daemon=True)
    try:
        thread.start()  # an interrupt may come once it has
        yield
    finally:
        done.set()
        if thread.is_alive():  # one that begins later sees that it is done
            _ended(thread)


def _ended(thread: threading.Thread) -> None:
    try:
        thread.join()
    except KeyboardInterrupt:
        thread.join()  # what it writes just now must not come after it was deleted
        raise


def is_stale(age: float, owner: Owner | None) -> bool:
    """Whether a last sign of life of ``owner`` that is ``age`` seconds old counts as none.

    By the clock of the store there is none in the future: a wrong clock has dated it.
    """
    return abs(age) >= (STALE_SECONDS if owner else UNOWNED_SECONDS)


def under_way(what: str, where: str, owner: Owner | None, age: float) -> str:
    """What stands in the way, whose it is, and when it is over.

    ``what`` is such as ``a prune of this store is``, ``where`` the file that says so, ``age`` the
    seconds since the last sign of life of ``owner``.
    """
    whose = f" by {owner}" if owner else ""
    patience = STALE_SECONDS if owner else UNOWNED_SECONDS
    return (
        f"{what} under way{whose}; the last sign of life, {where}, is "
        f"{max(age, 0):.0f} s old. Run the same command again after that: what "
        f"gives no sign for {patience / 60:.0f} minutes counts as dead. "
        "If you know that it is dead, delete that file"
    )


def boot() -> str:
    """What names the kernel since it was started, in all of its containers; empty if nothing."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _state(pid: int) -> tuple[str, str]:
    """The state of a process, and when it was started; empty where the kernel does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", ""
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    # Fields 3 (state) and 22 (start in clock ticks after boot) of proc(5).
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")
