"""Interrupts wait for the step that runs; loaders of a phase make room for those of the next."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from zoo.finetune.loop import phases
from zoo.finetune.loop.interrupts import deferred_interrupts
from zoo.finetune.setup.prepare import PreparedRun


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(times: int) -> list[str]:
    """What was done of a block in which so many interrupts come."""
    done = ["begun"]

    def block() -> None:
        with deferred_interrupts() as came:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            done.append("ended" if came() else "")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return done


def test_one_is_raised_after_the_block_and_a_second_at_once() -> None:
    assert interrupted(1) == ["begun", "ended"]
    assert interrupted(2) == ["begun"]


def test_none_is_held_where_several_processes_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would stop after another step."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert interrupted(1) == ["begun"]


def test_loaders_go_before_the_next_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of a device may not have room for both."""
    made: list[weakref.ref[Any]] = []

    class Parts:
        remark = ""

    def make(*_: object) -> Parts:
        assert not any(each() for each in made)
        parts = Parts()
        made.append(weakref.ref(parts))
        return parts

    monkeypatch.setattr(phases, "make_loaders", make)
    monkeypatch.setattr(phases, "not_synced", lambda _: "")
    prepared = cast(PreparedRun, SimpleNamespace(freeze=lambda _: None, teacher=None))
    loaders = phases.phase_loaders(tmp_path, prepared, lambda _: None)
    for boundary in (3, 3, 1, 0, 0):
        loaders(boundary)
    assert len(made) == 3
