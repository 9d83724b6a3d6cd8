"""Objects on their way to a remote or from one, each whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from threading import Event

from zoo.codec.header import check
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.limits import OBJECT_SLACK
from zoo.errors import Corrupt, MissingObject, Unavailable
from zoo.store import Store
from zoo.store.encoded import decode_object, naming
from zoo.store.partial import Download, download, forget
from zoo.transfer.encode import Encoder

__all__ = ["Advance", "Move", "Receiver", "sender"]

PIECE = 1 << 20
TRIES = 3
"""Bytes that were damaged on the way are asked for so often, all in all."""

Advance = Callable[[float], None]
"""Gets the bytes that are done; over all, exactly the objects' sizes."""
Move = Callable[[Digest], int]
"""Moves one object; the bytes that this took. Several threads may do so at once."""


def sender(store: Store, remote: Store, encoder: Encoder, advance: Advance, stop: Event) -> Move:
    """Sends objects of ``store`` to ``remote``, encoded where that pays, until it is to ``stop``.

    It raises `Corrupt` for what the store holds damaged, and `Unavailable` if the remote does not
    answer, or this is to stop.
    """

    def send(digest: Digest) -> int:
        _check_stop(stop)
        data = store.view("objects", digest)
        encoded = encoder.encode(digest, data)
        if encoded is None:
            pieces = (data[begin : begin + PIECE] for begin in range(0, len(data), PIECE))
            remote.write("objects", digest, pieces)
        else:
            remote.write("encoded", digest, [encoded])
        advance(len(data))
        return len(data if encoded is None else encoded)

    return send


@dataclass(frozen=True, slots=True)
class Receiver:
    """Brings objects of one checkpoint.

    Attributes:
        remote: Where they are.
        store: Where they are to be.
        sizes: Bytes of each object, at least.
        encoded: Those that ``remote`` holds encoded only.
        advance: Gets the bytes that have arrived.
        stop: Once set, what is under way ends with an error soon.
    """

    remote: Store
    store: Store
    sizes: Mapping[Digest, int]
    encoded: Set[Digest]
    advance: Advance
    stop: Event

    def move(self, digest: Digest) -> int:
        """Bring one object; the bytes that were received for it.

        Raises:
            Corrupt: They did not arrive as the digest says, repeatedly; nothing was kept.
            Unavailable: The remote does not answer, or this is to stop.
        """
        _check_stop(self.stop)
        meter = _Meter(self.sizes[digest], self.advance, self.stop)
        receive = self._decode if digest in self.encoded else self._plain
        for attempt in range(1, TRIES + 1):
            try:
                # A part that was kept may be what is damaged: only the first try begins with it.
                wrong = receive(digest, meter, resume=attempt == 1)
                break
            except MissingObject as error:
                if not error.encoded or receive == self._decode:
                    raise
                receive = self._decode  # a repack has just encoded it
            except Corrupt as error:
                if attempt == TRIES:
                    raise self._at_remote(error) from None
        if wrong:
            raise wrong
        meter.show(self.sizes[digest])
        return meter.passed

    def _plain(self, digest: Digest, meter: _Meter, *, resume: bool) -> None:
        """Receive an object as it is; raises `Corrupt` for what may arrive whole the next time."""
        read = self._read("objects", digest, meter)
        limit = self.sizes[digest] + OBJECT_SLACK
        self.store.receive(digest, read, limit=limit, resume=resume)

    def _decode(self, digest: Digest, meter: _Meter, *, resume: bool) -> Corrupt | None:
        """As `_plain`; what is wrong with an encoded object that did arrive as it was sent."""
        name = f"{digest.hex}-encoded"
        read = self._read("encoded", digest, meter)
        # An encoding that is larger than the object has no reason to be.
        limit = self.sizes[digest] + OBJECT_SLACK
        with download(self.store.disk, name, read, limit=limit, resume=resume) as got:
            size, near, data = self.sizes[digest], [self.store], _mapped(got)
            with naming(self.remote, digest):
                check(data)
            try:
                plain = decode_object(self.remote, digest, data, least=size, near=near)
                self.store.write("objects", digest, plain)
            except Corrupt as error:
                return error  # its checksum is right: to ask for it again would bring the same
        forget(self.store.disk, name)
        return None

    def _at_remote(self, error: Corrupt) -> Corrupt:
        """The error of bytes that come damaged each time: they lie so at the remote."""
        if type(error) is not Corrupt or error.where:
            return error
        return Corrupt(error.what, error.expected, error.found, str(self.remote))

    def _read(self, kind: Kind, digest: Digest, meter: _Meter) -> Callable[[int], Iterator[bytes]]:
        return lambda offset: meter.through(self.remote.read(kind, digest, offset))


class _Meter:
    """Counts the bytes of one object of ``size`` as they pass, and shows that many at most: what
    is encoded, or sent again, may be more.
    """

    def __init__(self, size: int, advance: Advance, stop: Event) -> None:
        self.passed = 0
        self._size, self._advance, self._stop = size, advance, stop
        self._shown = 0

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            _check_stop(self._stop)
            self.passed += len(piece)
            self.show(min(self.passed, self._size))
            yield piece

    def show(self, done: int) -> None:
        self._advance(done - self._shown)
        self._shown = done


def _check_stop(stop: Event) -> None:
    if stop.is_set():
        raise Unavailable("the transfer", "was stopped")


def _mapped(got: Download) -> memoryview:
    got.file.flush()
    # Nothing cannot be mapped, and is no encoded object either.
    size = got.file.tell()
    return memoryview(mmap(got.file.fileno(), size, access=ACCESS_READ) if size else b"")
