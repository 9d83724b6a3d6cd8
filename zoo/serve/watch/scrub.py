"""Scrub: what the store holds is read again, slowly, beside all else, to see that it is what was
stored. Nothing is mended: `zoo.store.verify` and a sound copy do that.

Of a bucket, which bills what is read of it, as many bytes are read a day as somebody has said. How
far it is, and how many bytes that were, lies in the store: whoever resumes it knows both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from secrets import token_hex
from threading import Event
from typing import Annotated

import msgspec
from blake3 import blake3

from zoo.codec.header import FIXED
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.limits import JSON_FILE_BYTES, SCRUB_BYTES
from zoo.domain.stored import StoredFile
from zoo.errors import Corrupt, MissingObject, NotAFile, Unavailable, Unsupported, ZooError
from zoo.store import Store
from zoo.store.cached import CachedBackend
from zoo.store.capabilities import read_small
from zoo.store.encoded import encoded_header, read_encoded
from zoo.store.listing import KIND_NAMES, list_folder, name_of
from zoo.store.manifests import decode_manifest, manifest_header
from zoo.store.refs import MARKER

__all__ = ["FILE", "Pass", "Scrub", "ScrubState", "read_scrubbed", "verify_command"]

LOG = logging.getLogger("zoo.serve")
FILE = "scrub.json"
BASES: Mapping[Kind, tuple[Kind, ...]] = {
    "encoded": ("objects", "encoded"),
    "encoded-manifests": ("manifests", "encoded-manifests"),
}
"""Where the base of something encoded is."""
KINDS: tuple[Kind, ...] = ("manifests", "encoded", "objects", "encoded-manifests")
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
NOTES_A_DAY = 100
"""Of a bucket it is also written down each time that another such part of a day's bytes is about to
be read: who is killed again and again reads no more than that uncounted.
"""
SKEW = timedelta(days=1)
"""Clocks of machines are not further apart: what is later than that is wrong."""
MOST = 1000
"""Damaged files that are told by name."""


Time = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


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
    files: Count = 0
    bytes: Count = 0
    damaged: list[str] = msgspec.field(default_factory=list)


class ScrubState(msgspec.Struct, kw_only=True):
    """What is known of a store.

    Attributes:
        by: Which process has written this.
        written: When.
        now: The pass that goes on.
        last: The last one that has ended.
        day: Of a bucket: the last day on which bytes were counted, by UTC.
        spent: How many bytes count for that day: what was read on it, and what was read before and
            was more than those days' share.
    """

    by: str = ""
    written: Time | None = None
    now: Pass | None = None
    last: Pass | None = None
    day: date | None = None
    spent: Count = 0


DECODER = msgspec.json.Decoder(ScrubState)


class _Ended(Exception):
    """The server ends, or another machine does this from now on."""


def read_scrubbed(store: Store) -> ScrubState:
    """What is known of a store; nothing if the file that says it is not there, or damaged. What has
    a time that is yet to come is left out: it would keep scrubs from beginning until then.

    Raises:
        Unavailable: The bucket does not answer.
    """
    state, latest = ScrubState(), _now() + SKEW
    with suppress(FileNotFoundError, NotAFile, Corrupt, msgspec.MsgspecError, RecursionError):
        state = DECODER.decode(read_small(store.backend, FILE, JSON_FILE_BYTES))
    if state.written and state.written > latest:
        state.written = None
    if state.day and state.day > latest.date():
        state.day = None
    state.now, state.last = (_unless_after(latest, each) for each in (state.now, state.last))
    return state


def _unless_after(latest: datetime, one: Pass | None) -> Pass | None:
    return one if one and max(one.began, one.ended or one.began) <= latest else None


def verify_command(store: Store) -> str:
    """What tells who needs something damaged."""
    return f"zoo verify {store}" if isinstance(store.backend, CachedBackend) else "zoo verify"


class Scrub:
    """Reads a store, until ``ended``: at most `SCRUB_BYTES` a second, and while ``is_busy`` hardly
    any; ``note_damage`` learns of each file that is damaged.

    Args:
        store: The store; of one that machines share, what they share is read.
        is_busy: Whether requests are answered.
        note_damage: Learns of each file that is damaged.
        ended: Set once the server ends.
        daily: Bytes that may be read a day, by UTC: one day with another, as a file that has more
            is read in one go, and the days after it pay for that. None: as many as there are.
        leads: Whether this machine is the one that does so.
    """

    def __init__(
        self,
        store: Store,
        is_busy: Callable[[], bool],
        note_damage: Callable[[str], None],
        ended: Event,
        *,
        daily: int | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        backend = store.backend
        self._command = verify_command(store)
        self._store = Store(backend.shared) if isinstance(backend, CachedBackend) else store
        self._is_busy, self._told, self._ended = is_busy, note_damage, ended
        self._daily, self._leads = daily, leads
        self._id = token_hex(8)
        self._state, self._uncounted = ScrubState(), 0

    def work(self) -> None:
        """Read it again and again, with pauses."""
        pause = START_SECONDS
        while not self._ended.wait(pause):
            with suppress(_Ended):
                try:
                    self.look()
                except (ZooError, OSError) as error:
                    LOG.warning("the store is not scrubbed: %s", error)
            pause = NOTE_SECONDS

    def look(self) -> None:
        """Begin a pass if it is time, or resume one, to its end."""
        if not self._leads():
            return
        self._state = state = read_scrubbed(self._store)
        now = _now()
        if state.by != self._id and state.written and now - state.written < OTHERS:
            return
        if state.now is None and state.last and now - state.last.began < EVERY:
            return
        state.now = state.now or Pass(began=now)
        state.spent = self._credible(state.spent)
        try:
            self._continue(state.now)
        finally:
            self._note()

    def _continue(self, now: Pass) -> None:
        noted = time.monotonic()
        for place, kind, digest, file in self._files(now.at):
            self._afford(kind, digest, file)
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

    def _files(
        self, after: tuple[int, str]
    ) -> Iterator[tuple[tuple[int, str], Kind, Digest, StoredFile]]:
        for turn, kind in enumerate(KINDS):
            for digest, file in list_folder(self._store, kind).files.items():
                if (turn, digest.hex) > after:
                    yield (turn, digest.hex), kind, digest, file

    def _afford(self, kind: Kind, digest: Digest, file: StoredFile) -> None:
        """Wait until a file may be read, and count it.

        Raises:
            _Ended: The server ends, or another machine does this now.
        """
        if self._daily is None:
            return
        cost, state = file.bytes + self._base_bytes(kind, digest), self._state
        while True:
            if not self._leads():
                raise _Ended
            today = max(_now().date(), state.day or date.min)  # the last leader's clock may be fast
            days = (today - (state.day or today)).days
            state.day, state.spent = today, max(0, state.spent - days * self._daily)
            if state.spent == 0 or state.spent + cost <= self._daily:
                break
            self._note()
            self._wait(NOTE_SECONDS)
        state.spent += cost
        self._uncounted += cost
        if self._uncounted * NOTES_A_DAY >= self._daily:
            self._note()

    def _credible(self, spent: int) -> int:
        """Bytes that were spent, as far as they can be: more than a day's are those of one file,
        and of its base.
        """
        if self._daily is None or spent <= self._daily:
            return spent
        folders = (list_folder(self._store, kind).files for kind in KINDS)
        largest = max((file.bytes for files in folders for file in files.values()), default=0)
        return min(spent, max(self._daily, 2 * (largest + FIXED.size)))

    def _base_bytes(self, kind: Kind, digest: Digest) -> int:
        """What has to be read beside something to decode it: its header first, and that of its
        base, which may be encoded, too.
        """
        if kind not in BASES:
            return 0
        with suppress(Corrupt, MissingObject, Unsupported):  # which is told once it is read
            read = encoded_header if kind == "encoded" else manifest_header
            if base := read(self._store, digest).base:
                files = (self._store.backend.stat(name_of(each, base)) for each in BASES[kind])
                return 2 * FIXED.size + next((each.bytes for each in files if each), 0)
        return FIXED.size

    def _is_sound(self, kind: Kind, digest: Digest, now: Pass) -> bool:
        """Whether a file is what was stored; one that is gone by now was pruned."""
        hasher = blake3()
        try:
            for piece in self._pieces(kind, digest):
                hasher.update(piece)
                now.bytes += len(piece)
                self._pace(len(piece))
        except MissingObject:
            return True
        except Unavailable as error:
            self._store.backend.stat(MARKER)  # fails, too, where all of the store is away
            LOG.warning("%s %s is not scrubbed: %s", KIND_NAMES[kind], digest, error)
            return True
        except (ZooError, OSError) as error:
            LOG.error("%s %s cannot be read: %s", KIND_NAMES[kind], digest, error)
            return False
        return hasher.hexdigest() == digest.hex

    def _pieces(self, kind: Kind, digest: Digest) -> Iterable[bytes | memoryview]:
        if kind == "encoded":
            return read_encoded(self._store, digest)
        if kind == "encoded-manifests":
            return [decode_manifest(self._store, digest)]
        return self._store.read(kind, digest)

    def _pace(self, count: int) -> None:
        until = time.monotonic() + BUSY_SECONDS
        while self._is_busy() and time.monotonic() < until:
            self._wait(LOOK_SECONDS)
        self._wait(count / SCRUB_BYTES)

    def _wait(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise _Ended

    def _tell(self, now: Pass, name: str) -> None:
        LOG.error("DAMAGED: %s is not what was stored: %s says who needs it", name, self._command)
        self._told(name)
        if len(now.damaged) < MOST:
            now.damaged.append(name)
        self._note()

    def _note(self) -> None:
        if not self._leads():  # whoever does has read what was noted before
            raise _Ended
        self._state.by, self._state.written = self._id, _now()
        self._store.backend.put(FILE, [msgspec.json.encode(self._state)])
        self._uncounted = 0


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
