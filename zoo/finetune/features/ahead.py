"""Ahead and behind: a thread makes the next batches, or puts away the last, while one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

__all__ = ["ahead", "behind"]

T = TypeVar("T")
READY = 2
"""How many are made ahead, or left behind."""


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same ``items``, in order, of which a thread makes the next ones. It ends with whoever
    stops asking.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = deque(thread.submit(list, islice(items, 1)) for _ in range(READY))
        while chunk := coming.popleft().result():
            coming.append(thread.submit(list, islice(items, 1)))
            yield from chunk


@contextmanager
def behind(work: Callable[[T], object]) -> Iterator[Callable[[T], None]]:
    """While open, a thread does the ``work`` on whatever is handed over, in order; whoever hands
    over goes on, unless as many are left as may be. What the work raises comes out then, or at the
    end, when all is done.
    """
    with ThreadPoolExecutor(1, "behind") as thread:
        left: deque[Future[object]] = deque()

        def hand_over(item: T) -> None:
            if len(left) == READY:
                left.popleft().result()
            left.append(thread.submit(work, item))

        yield hand_over
        for each in left:
            each.result()
