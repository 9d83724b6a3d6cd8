"""A journal that is too long is not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.lookup.runs import Run
from zoo.serve.pages import course
from zoo.serve.pages.course import Course, Epoch, course_of


def test_columns_are_in_one_order_whatever_a_journal_has_first() -> None:
    names = ("loss", "f1", "accuracy", "balanced")
    for order in (names, names[::-1]):
        epoch = Epoch(name="epoch 1", step=1, figures=dict.fromkeys(order, 0.5))
        assert Course(epochs=(epoch,)).names == ("accuracy", "balanced", "f1", "loss")


def test_a_journal_that_is_too_long(tuned_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.read(max((tuned_home / "runs").iterdir()))
    assert course_of(run, remarks=True).loss
    monkeypatch.setattr(course, "METRICS_BYTES", 10)
    found = course_of(run, remarks=True)
    assert (found.too_long, found.loss, found.epochs) == (True, (), ())
