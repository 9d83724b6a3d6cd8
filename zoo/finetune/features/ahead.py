"""Ahead: the next batches are made in a thread while one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
READY = 2
"""How many are made ahead."""


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same ``items``, in order, of which a thread makes the next ones. It ends with whoever
    stops asking.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = deque(thread.submit(list, islice(items, 1)) for _ in range(READY))
        while found := coming.popleft().result():
            coming.append(thread.submit(list, islice(items, 1)))
            yield from found
