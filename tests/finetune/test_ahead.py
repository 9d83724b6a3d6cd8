"""Batches that a thread makes ahead: the same, in order, and nothing of it is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from zoo.finetune.features.ahead import READY, ahead


def threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("ahead")}


def test_the_next_is_made_while_one_is_used() -> None:
    made, ready = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(5):
            made.append((number, threading.current_thread().name))
            if number == READY:
                ready.set()
            yield number

    found = ahead(items())
    assert next(found) == 0
    assert ready.wait(10)  # though nobody has asked for it
    assert threads()
    assert list(found) == [1, 2, 3, 4]
    assert [number for number, _ in made] == [0, 1, 2, 3, 4]
    assert all(name.startswith("ahead") for _, name in made)
    assert not threads()


def test_of_nothing_there_is_nothing() -> None:
    assert list(ahead(iter(()))) == []


def test_what_fails_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise KeyError("gone")

    found = ahead(items())
    assert next(found) == 0
    with pytest.raises(KeyError, match="gone"):
        next(found)
    assert not threads()


def test_it_ends_with_whoever_stops_asking() -> None:
    left = iter(range(100))
    found = ahead(left)
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    assert not threads()
    assert next(left) <= READY + 1
