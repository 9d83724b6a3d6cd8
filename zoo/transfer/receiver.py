"""Receiver: brings objects from a remote into a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from mmap import ACCESS_READ, mmap
from threading import Event

from zoo.codec.header import check
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.limits import OBJECT_SLACK
from zoo.errors import Corrupt
from zoo.store import Store
from zoo.store.encoded import decode_object, naming
from zoo.store.partial import Download, download, forget
from zoo.transfer.meter import Meter
from zoo.transfer.meter import check as go_on

__all__ = ["Receiver"]

TRIES = 3
"""Bytes that were damaged on the way are asked for so often, all in all."""


class Receiver:
    """Brings objects of one checkpoint; several threads may do so at once.

    Args:
        remote: Where they are.
        store: Where they are to be.
        sizes: Bytes of each object, at least.
        encoded: Those that ``remote`` holds encoded only.
        advance: Told of bytes that have arrived; over all, exactly the objects' sizes.
        stop: Once set, what is under way ends with an error soon.
    """

    def __init__(
        self,
        remote: Store,
        store: Store,
        sizes: Mapping[Digest, int],
        encoded: Set[Digest],
        advance: Callable[[float], None],
        stop: Event,
    ) -> None:
        self.remote = remote
        self.store = store
        self.sizes = sizes
        self.encoded = encoded
        self.advance = advance
        self.stop = stop

    def move(self, digest: Digest) -> int:
        """Bring one object; the bytes that were received for it.

        Raises:
            Corrupt: They did not arrive as the digest says, repeatedly; nothing was kept.
            Unavailable: The remote does not answer, or this is to stop.
        """
        go_on(self.stop)
        meter = Meter(self.sizes[digest], self.advance, self.stop)
        receive = self._decode if digest in self.encoded else self._plain
        for attempt in range(1, TRIES + 1):
            try:
                wrong = receive(digest, meter, resume=attempt == 1)
                break
            except Corrupt as error:
                if attempt == TRIES:
                    raise self._there(error) from None
        if wrong:
            raise wrong
        meter.done()
        return meter.passed

    def _plain(self, digest: Digest, meter: Meter, *, resume: bool) -> None:
        """Receive an object as it is; raises `Corrupt` for what may arrive whole the next time."""
        read = self._read("objects", digest, meter)
        limit = self.sizes[digest] + OBJECT_SLACK
        self.store.receive(digest, read, limit=limit, resume=resume)

    def _decode(self, digest: Digest, meter: Meter, *, resume: bool) -> Corrupt | None:
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
                return error
        forget(self.store.disk, name)
        return None

    def _there(self, error: Corrupt) -> Corrupt:
        """The error of bytes that come damaged each time: they lie so at the remote."""
        if type(error) is not Corrupt or error.where:
            return error
        return Corrupt(error.what, error.expected, error.found, str(self.remote))

    def _read(self, kind: Kind, digest: Digest, meter: Meter) -> Callable[[int], Iterator[bytes]]:
        return lambda offset: meter.through(self.remote.read(kind, digest, offset))


def _mapped(got: Download) -> memoryview:
    got.file.flush()
    # Nothing cannot be mapped, and is no encoded object either.
    size = got.file.tell()
    return memoryview(mmap(got.file.fileno(), size, access=ACCESS_READ) if size else b"")
