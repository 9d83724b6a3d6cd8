"""Runs that are cut off."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.finetune.loop import train as training

__all__ = ["Cut", "cut_at"]


class Cut(BaseException):
    """As sudden as an interrupt."""


def cut_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """End the run after so many steps have been learned, without saving."""
    learned = 0
    real = training.learn

    def learn(*args: Any) -> Any:
        nonlocal learned
        for step in real(*args):
            if learned == number:
                raise Cut
            learned += 1
            yield step

    monkeypatch.setattr(training, "learn", learn)
