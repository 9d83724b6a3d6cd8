"""What every tracker plugin must do. Subclass, and supply fixtures ``tracker`` and ``curve``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from zoo.contracts import Tracker
from zoo.domain.recipe import Recipe
from zoo.lookup.runs import Run

__all__ = ["Curve", "TrackerSuite"]

Curve = Callable[[str, str], Iterable[tuple[int, float]]]
"""Steps and values of a figure (``step/loss``) that are found under the id of a run."""
DONE = {"status": "done", "error": "", "metrics": {"accuracy": 0.9}, "warning": "", "manifest": ""}


class TrackerSuite:
    """Conformance to `zoo.contracts.Tracker`.

    class TestMine(TrackerSuite):
        @pytest.fixture
        def tracker(self): return MyTracker  # what makes one: a run that is resumed has a new one
        @pytest.fixture
        def curve(self): return my_curve  # see `Curve`; without it, nothing is read back

    Each test is in an empty folder, which is the current one.
    """

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The current folder."""
        folder = tmp_path / "here"
        folder.mkdir()
        monkeypatch.chdir(folder)
        return folder

    @pytest.fixture
    def curve(self) -> Curve | None:
        """What reads a figure back; None: it cannot be read here."""
        return None

    def test_nothing_is_left_of_a_run_that_is_refused(
        self, tracker: Callable[[], Tracker], here: Path
    ) -> None:
        """It is made before the run is checked, and must not write then."""
        tracker()
        assert list(here.iterdir()) == []

    def test_a_run_has_its_curve(
        self, tracker: Callable[[], Tracker], curve: Curve | None, here: Path
    ) -> None:
        """All that a run tells is taken, and each step is found again."""
        run = _run(here, "1")
        _tell(tracker(), run, 0, {1: 0.5, 2: 0.25, 3: 0.125}, DONE)
        if curve:
            assert dict(curve(run["id"], "step/loss")) == {1: 0.5, 2: 0.25, 3: 0.125}
            assert dict(curve(run["id"], "test/accuracy")) == {3: 0.5}

    @pytest.mark.parametrize("status", ["interrupted", "failed"])
    def test_a_run_that_is_resumed_goes_on_where_it_was(
        self, tracker: Callable[[], Tracker], curve: Curve | None, here: Path, status: str
    ) -> None:
        """It stays one run: what was told of it before is there, too. Steps may be done again."""
        run = _run(here, "1")
        _tell(tracker(), run, 0, {1: 0.5, 2: 0.25, 3: 4.0}, {"status": status, "error": "full"})
        _tell(tracker(), run, 2, {3: 0.125, 4: 0.0625}, DONE)
        if curve:
            losses = dict(curve(run["id"], "step/loss"))
            assert sorted(losses) == [1, 2, 3, 4]
            assert (losses[1], losses[2], losses[4]) == (0.5, 0.25, 0.0625)

    def test_runs_are_told_apart(
        self, tracker: Callable[[], Tracker], curve: Curve | None, here: Path
    ) -> None:
        """One after the other in one process, saved under one name."""
        one, other = _run(here, "1"), _run(here, "2")
        _tell(tracker(), one, 0, {1: 0.5}, DONE)
        _tell(tracker(), other, 0, {1: 0.25}, DONE)
        if curve:
            assert dict(curve(one["id"], "step/loss")) == {1: 0.5}
            assert dict(curve(other["id"], "step/loss")) == {1: 0.25}

    def test_figures_may_be_infinite(self, tracker: Callable[[], Tracker], here: Path) -> None:
        """As those of a network that diverges are."""
        _tell(tracker(), _run(here, "1"), 0, {1: math.inf, 2: math.nan}, DONE)


def _run(here: Path, number: str) -> dict[str, Any]:
    """What `Tracker.start` is told of a run."""
    folder = here / "runs" / f"20261127-204653-00000{number}"
    folder.mkdir(parents=True)
    recipe = Recipe(data="photos", task="classification").to_json()
    return Run(
        folder=folder,
        base="team/base",
        parent="",
        save="team/new",
        recipe=recipe,
        device="cpu",
        started="2026-11-27T20:46:53Z",
    ).to_json()


def _tell(
    tracker: Tracker,
    run: dict[str, Any],
    after: int,
    losses: dict[int, float],
    report: dict[str, Any],
) -> None:
    """Tell a tracker of a run, or of the rest of it, as the run does."""
    picture = Path(run["folder"], "samples.png")
    Image.new("RGB", (8, 8)).save(picture)
    tracker.start(run, after)
    tracker.picture("samples", picture)
    for step, loss in losses.items():
        tracker.log(step, {"step/loss": loss, "step/lr": 0.001})
    if report is DONE:
        tracker.log(max(losses), {"test/accuracy": 0.5})
    tracker.finish(report)
