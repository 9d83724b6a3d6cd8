"""Transfers run side by side, within bounds, and end together."""

from __future__ import annotations

import threading
import time

import pytest
from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.errors import Unavailable
from zoo.transfer import at_once as module
from zoo.transfer.at_once import BUDGET, WORKERS, at_once


def digests(count: int) -> list[Digest]:
    return [Digest("blake3", blake3(bytes([number])).hexdigest()) for number in range(count)]


class Watch:
    """Work that takes a moment and knows how many do it at once."""

    def __init__(self, sizes: dict[Digest, int]) -> None:
        self.sizes, self.lock = sizes, threading.Lock()
        self.running: set[Digest] = set()
        self.most, self.most_bytes = 0, 0
        self.begun: list[Digest] = []

    def __call__(self, item: Digest) -> int:
        with self.lock:
            self.begun.append(item)
            self.running.add(item)
            self.most = max(self.most, len(self.running))
            together = sum(self.sizes[each] for each in self.running)
            if len(self.running) > 1:
                self.most_bytes = max(self.most_bytes, together)
        time.sleep(0.02)
        with self.lock:
            self.running.discard(item)
        return self.sizes[item]


def test_all_is_done_several_at_once() -> None:
    sizes = {item: number for number, item in enumerate(digests(40))}
    watch = Watch(sizes)
    assert sorted(at_once(watch, sizes, threading.Event())) == sorted(sizes.values())
    assert 2 <= watch.most <= WORKERS


def test_large_ones_do_not_pile_up() -> None:
    sizes = dict.fromkeys(digests(12), BUDGET // 3)
    sizes[digests(13)[12]] = 3 * BUDGET  # alone
    watch = Watch(sizes)
    assert sum(at_once(watch, sizes, threading.Event())) == 7 * BUDGET
    assert watch.most_bytes <= BUDGET


def test_the_first_error_ends_it() -> None:
    stop = threading.Event()
    sizes = dict.fromkeys(digests(60), 1)
    watch = Watch(sizes)

    def work(item: Digest) -> int:
        done = watch(item)
        if len(watch.begun) >= 10:
            raise Unavailable("the line", "broke")
        return done

    with pytest.raises(Unavailable):
        list(at_once(work, sizes, stop))
    assert stop.is_set()
    assert len(watch.begun) < 40
    assert watch.running == set()  # nobody is left behind


def test_an_interrupt_stops_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, waits = threading.Event(), []

    def interrupted(*arguments: object, **options: object) -> None:
        waits.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "wait", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(at_once(lambda _: stop.wait(30), dict.fromkeys(digests(2), 1), stop))
    assert waits
    assert time.monotonic() - began < 10
