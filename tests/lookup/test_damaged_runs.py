"""Runs whose files are not what a run writes: what is said of them, and no error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo.errors import Invalid
from zoo.lookup.runs import METRICS, REPORT, RUN, STATE, Run

NESTED = "[" * 100_000


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that was interrupted, and left something to go on from."""
    made = Run(folder=tmp_path, base="team/base", parent="", save="team/new", device="cpu",
               started="2026-01-01T00:00:00Z", status="interrupted", recipe={})  # fmt: skip
    (tmp_path / STATE).touch()
    return made.write()


@pytest.mark.parametrize("text", ["3", "null", NESTED, "{", "[1]", '"x"', "\x00"])
def test_a_report_that_is_none(run: Run, text: str) -> None:
    (run.folder / REPORT).write_text(text)
    assert run.report() is None


@pytest.mark.parametrize("text", ["3", "null", NESTED, "{", '{"base": 1}'])
def test_a_record_that_is_none(run: Run, text: str) -> None:
    (run.folder / RUN).write_text(text)
    with pytest.raises(Invalid):
        Run.read(run.folder)


def test_what_is_kept_is_not_said(run: Run) -> None:
    lines = [{"kind": "saved", "up_to": "epoch 1 of 2"}, {"kind": "saved"}]
    journal = run.folder / METRICS
    for count, said in ((1, "kept up to epoch 1 of 2"), (2, "what is done is kept")):
        journal.write_text("\n".join(map(json.dumps, lines[:count])))
        assert Run.read(run.folder).kept == said
