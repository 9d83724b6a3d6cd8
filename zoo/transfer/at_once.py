"""Several transfers at once, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

from zoo.domain.digest import Digest

__all__ = ["at_once"]

WORKERS = 8
"""Enough to hide how long a network, or a disk that is told to sync, takes to answer."""

BUDGET = 96 << 20
"""Bytes of the objects under way together: coding holds them, or parts of them, in memory."""

T = TypeVar("T")


def at_once(work: Callable[[Digest], T], sizes: Mapping[Digest, int], stop: Event) -> Iterator[T]:
    """Do ``work`` for each of the objects, whose ``sizes`` are in bytes, in threads.

    They begin in their order. One that is larger than the whole budget runs by itself. Results come
    as they are done. The first error, or an interrupt, ends it: what has not begun is dropped, and
    what is under way sees ``stop`` and is waited for.
    """
    running: dict[Future[T], int] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for item in sizes:
                while running and not _fits(running, sizes[item]):
                    yield from _finished(running)
                running[pool.submit(work, item)] = sizes[item]
            while running:
                yield from _finished(running)
        finally:
            stop.set()
            for future in running:
                future.cancel()


def _fits(running: dict[Future[T], int], size: int) -> bool:
    return len(running) < WORKERS and sum(running.values()) + size <= BUDGET


def _finished(running: dict[Future[T], int]) -> Iterator[T]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        del running[future]
        yield future.result()
