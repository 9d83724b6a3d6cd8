"""Scrub: what the store holds is read again, slowly, beside all else, to see that it is what was
stored. Nothing is mended: `zoo.store.verify` and a sound copy do that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from threading import Event
from typing import Annotated

import msgspec
from blake3 import blake3

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.limits import JSON_FILE_BYTES, SCRUB_BYTES
from zoo.errors import MissingObject, NotAFile, Unavailable, ZooError
from zoo.store import Store
from zoo.store.encoded import read_encoded
from zoo.store.listing import KIND_NAMES, list_folder

__all__ = ["FILE", "Pass", "Scrub", "ScrubState", "read_scrubbed"]

LOG = logging.getLogger("zoo.serve")
FILE = "scrub.json"
KINDS: tuple[Kind, ...] = ("manifests", "encoded", "objects")
START_SECONDS = 60.0
EVERY = timedelta(days=7)
"""So long after one pass has begun the next one does, or once it has ended."""
NOTE_SECONDS = 60.0
"""So often is written down where it is."""
OTHERS = timedelta(minutes=5)
"""Another process that has written it so lately is at it."""
BUSY_SECONDS = 10.0
"""So long a piece waits while requests are answered: where that never ends, scrubs end, too."""
LOOK_SECONDS = 0.05
MOST = 1000
"""Damaged files that are told by name."""


Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Pass(msgspec.Struct, kw_only=True):
    """One time through the store.

    Attributes:
        began: When; all times are UTC.
        ended: When; None if it goes on.
        at: The last file that was read.
        files: How many were.
        bytes: Their size.
        damaged: Those that are not what was stored.
    """

    began: Time
    ended: Time | None = None
    at: tuple[int, str] = (0, "")
    files: int = 0
    bytes: int = 0
    damaged: list[str] = msgspec.field(default_factory=list)


class ScrubState(msgspec.Struct, kw_only=True):
    """What is known of a store: the pass that goes on, the last one that has ended, and which
    process has written that, and when.
    """

    by: str = ""
    written: Time | None = None
    now: Pass | None = None
    last: Pass | None = None


DECODER = msgspec.json.Decoder(ScrubState)


class _Ended(Exception):
    """The server ends."""


def read_scrubbed(store: Store) -> ScrubState:
    """What is known of a store; nothing if the file that says it is not there, or damaged."""
    with suppress(FileNotFoundError, NotAFile, msgspec.MsgspecError):
        return DECODER.decode(store.disk.read(FILE, JSON_FILE_BYTES))
    return ScrubState()


class Scrub:
    """Reads a store, until ``ended``: at most `SCRUB_BYTES` a second, and while ``is_busy`` hardly
    any; ``told`` learns of each file that is damaged.
    """

    def __init__(
        self, store: Store, is_busy: Callable[[], bool], told: Callable[[str], None], ended: Event
    ) -> None:
        self._store, self._is_busy, self._told, self._ended = store, is_busy, told, ended
        self._id = token_hex(8)
        self._state = ScrubState()

    def work(self) -> None:
        """Read it again and again, with pauses."""
        pause = START_SECONDS
        while not self._ended.wait(pause):
            try:
                self.look()
            except _Ended:
                return
            except (ZooError, OSError) as error:
                LOG.warning("the store is not scrubbed: %s", error)
            pause = NOTE_SECONDS

    def look(self) -> None:
        """Begin a pass if it is time, or go on with one, to its end."""
        self._state = state = read_scrubbed(self._store)
        now = _now()
        if state.by != self._id and state.written and now - state.written < OTHERS:
            return
        if state.now is None and state.last and now - state.last.began < EVERY:
            return
        state.now = state.now or Pass(began=now)
        try:
            self._go_on(state.now)
        finally:
            self._note()

    def _go_on(self, now: Pass) -> None:
        noted = time.monotonic()
        for place, kind, digest in self._files(now.at):
            if not self._is_sound(kind, digest, now):
                self._tell(now, f"{KIND_NAMES[kind]} {digest}")
            now.at, now.files = place, now.files + 1
            if time.monotonic() - noted >= NOTE_SECONDS:
                self._note()
                noted = time.monotonic()
        now.ended = _now()
        self._state.last, self._state.now = now, None
        done = now.files, now.bytes, len(now.damaged)
        LOG.info("scrubbed: %s files, %s bytes, of which %s files are damaged", *done)

    def _files(self, after: tuple[int, str]) -> Iterator[tuple[tuple[int, str], Kind, Digest]]:
        for turn, kind in enumerate(KINDS):
            for digest in list_folder(self._store, kind).files:
                if (turn, digest.hex) > after:
                    yield (turn, digest.hex), kind, digest

    def _is_sound(self, kind: Kind, digest: Digest, now: Pass) -> bool:
        """Whether a file is what was stored; one that is gone by now was pruned."""
        hasher = blake3()
        encoded = kind == "encoded"
        pieces = read_encoded(self._store, digest) if encoded else self._store.read(kind, digest)
        try:
            for piece in pieces:
                hasher.update(piece)
                now.bytes += len(piece)
                self._pace(len(piece))
        except (MissingObject, Unavailable):
            return True
        except (ZooError, OSError) as error:
            LOG.error("%s %s cannot be read: %s", KIND_NAMES[kind], digest, error)
            return False
        return hasher.hexdigest() == digest.hex

    def _pace(self, count: int) -> None:
        until = time.monotonic() + BUSY_SECONDS
        while self._is_busy() and time.monotonic() < until:
            self._wait(LOOK_SECONDS)
        self._wait(count / SCRUB_BYTES)

    def _wait(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise _Ended

    def _tell(self, now: Pass, name: str) -> None:
        LOG.error("DAMAGED: %s is not what was stored: zoo verify says who needs it", name)
        self._told(name)
        if len(now.damaged) < MOST:
            now.damaged.append(name)
        self._note()

    def _note(self) -> None:
        self._state.by, self._state.written = self._id, _now()
        self._store.disk.put(FILE, msgspec.json.encode(self._state))


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
