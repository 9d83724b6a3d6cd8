"""What was advised is kept by what is known more, and what is damaged is passed over."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from zoo.errors import Invalid
from zoo.lookup import history as module
from zoo.lookup.history import Row, StoredAdvice, history, known_advice, remember
from zoo.workspace import Workspace

ROW = Row(name="probe at head", kind="probe", score=0.5, low=0.4, high=0.6, images=9, seconds=1)
PROBES = StoredAdvice(
    base="team/net", manifest="m", data="flow\udcffers", data_digest="d", image_size=(32, 32),
    measure="accuracy", at="2026-01-01T00:00:00Z", name=ROW.name, options={"strategy": "probe"},
    trained=False, tried=(ROW,),
)  # fmt: skip
CUT = replace(PROBES, trained=True, stopped="interrupted")
WHOLE = replace(PROBES, trained=True)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [(PROBES, PROBES, True), (PROBES, CUT, True), (CUT, WHOLE, True), (CUT, CUT, True),
     (CUT, PROBES, False), (WHOLE, PROBES, False), (WHOLE, CUT, False), (WHOLE, WHOLE, True)],
)  # fmt: skip
def test_what_knows_more_stays(
    tmp_path: Path, before: StoredAdvice, after: StoredAdvice, kept: bool
) -> None:
    after = replace(after, at="2026-02-02T00:00:00Z")
    assert remember(tmp_path, before)
    assert remember(tmp_path, after) is kept
    (path,) = (tmp_path / "trials" / "advice").iterdir()
    assert StoredAdvice.read(path) == (after if kept else before)


@pytest.mark.parametrize(
    "change",
    [{"tried": [{}]}, {"options": [1]}, {"at": 5}, {"image_size": "32"}, {"trained": "yes"}],
)
def test_what_is_damaged_is_passed_over(
    tmp_path: Path, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        remember(workspace.root, WHOLE)
        (path,) = (workspace.root / "trials" / "advice").iterdir()
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        assert known_advice(workspace, "m", "d", (32, 32)) is None
        assert history(workspace) == []
    assert f"{path} cannot be read" in caplog.text


def test_advice_for_groups_is_beside_that_without(tmp_path: Path) -> None:
    """Neither replaces the other, however much it knows."""
    grouped = replace(CUT, groups_digest="g", name="grouped")
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        assert remember(workspace.root, WHOLE)
        assert remember(workspace.root, grouped)
        assert known_advice(workspace, "m", "d", (32, 32)) == WHOLE
        assert known_advice(workspace, "m", "d", (32, 32), "g") == grouped
        assert known_advice(workspace, "m", "d", (32, 32), "other") is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", '"0.5"', "[" * 100_000])
def test_scores_are_finite_numbers(tmp_path: Path, number: str) -> None:
    remember(tmp_path, WHOLE)
    (path,) = (tmp_path / "trials" / "advice").iterdir()
    path.write_text(path.read_text().replace('"score": 0.5', f'"score": {number}'))
    with pytest.raises(Invalid):
        StoredAdvice.read(path)


def test_the_newest_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_ADVICE", 1)
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        for digest in "abc":
            remember(workspace.root, replace(WHOLE, data_digest=digest))
        for path in (workspace.root / "trials" / "advice").iterdir():
            known = StoredAdvice.read(path)
            if known.data_digest != "b":
                os.utime(path, (1, 1))
        assert [past.data_digest for past in history(workspace)] == ["b"]
