"""Batches that a thread makes ahead: the same, in order, and nothing of it is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from zoo.finetune.features.ahead import READY, ahead, behind


def threads() -> set[str]:
    return {
        each.name for each in threading.enumerate() if each.name.startswith(("ahead", "behind"))
    }


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


def test_the_last_ones_are_written_while_others_are_made() -> None:
    """The first write ends when so many others are there, and no more can be by then."""
    made: list[int] = []
    written: list[int] = []
    enough = threading.Event()

    def write(item: int) -> None:
        if item == 0:
            assert enough.wait(10)  # though nothing is written yet
            assert made == [*range(READY + 1)]
        written.append(item)

    with behind(write) as hand_over:
        for item in range(6):
            made.append(item)
            if len(made) == READY + 1:
                enough.set()
            hand_over(item)
    assert written == made == [*range(6)]
    assert not threads()


@pytest.mark.parametrize("bad", [0, 5])
def test_what_is_not_written_is_raised(bad: int) -> None:
    """Also of the last ones."""

    def write(item: int) -> None:
        if item == bad:
            raise OSError("full")

    def hand_all() -> None:
        with behind(write) as hand_over:
            for item in range(6):
                hand_over(item)

    with pytest.raises(OSError, match="full"):
        hand_all()
    assert not threads()


def test_what_is_left_is_written_where_others_fail() -> None:
    written: list[int] = []

    def fail() -> None:
        with behind(written.append) as hand_over:
            hand_over(0)
            raise KeyError("gone")

    with pytest.raises(KeyError):
        fail()
    assert written == [0]
    assert not threads()
