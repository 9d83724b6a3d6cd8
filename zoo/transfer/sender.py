"""Sender: brings objects from a store to a remote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

from zoo.domain.digest import Digest
from zoo.store import Store
from zoo.transfer.encode import Encoder
from zoo.transfer.meter import check

__all__ = ["Sender"]

PIECE = 1 << 20


class Sender:
    """Sends objects of one checkpoint; several threads may do so at once.

    Args:
        store: Where they are.
        remote: Where they are to be.
        encoder: Encodes them where that pays.
        advance: Told of bytes that are there; over all, exactly the objects' sizes.
        stop: Once set, what is under way ends with an error soon.
    """

    def __init__(
        self,
        store: Store,
        remote: Store,
        encoder: Encoder,
        advance: Callable[[float], None],
        stop: Event,
    ) -> None:
        self.store = store
        self.remote = remote
        self.encoder = encoder
        self.advance = advance
        self.stop = stop

    def move(self, digest: Digest) -> int:
        """Send one object; the bytes that were sent for it.

        Raises:
            Corrupt: The store holds it damaged.
            Unavailable: The remote does not answer, or this is to stop.
        """
        check(self.stop)
        data = self.store.view("objects", digest)
        encoded = self.encoder.encode(digest, data)
        if encoded is not None:
            self.remote.write("encoded", digest, [encoded])
        else:
            self.remote.write("objects", digest, _pieces(data))
        self.advance(len(data))
        return len(data if encoded is None else encoded)


def _pieces(data: memoryview) -> Iterator[memoryview]:
    for begin in range(0, len(data), PIECE):
        yield data[begin : begin + PIECE]
