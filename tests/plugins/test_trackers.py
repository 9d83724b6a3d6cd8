"""The trackers that come with zoo, against the conformance suite; each where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.aim_runs import in_aim

from zoo import plugins
from zoo.contracts import Tracker
from zoo.testing.trackers import Curve, TrackerSuite

Made = Callable[[], Tracker]


class TestTensorboard(TrackerSuite):
    @pytest.fixture
    def tracker(self) -> Made:
        pytest.importorskip("tensorboard")
        return lambda: plugins.tracker("tensorboard")

    @pytest.fixture
    def curve(self) -> Curve:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        def read(run: str, name: str) -> Iterator[tuple[int, float]]:
            events = EventAccumulator(str(Path("runs", run, "team-new")))
            events.Reload()
            for each in events.Scalars(name):
                yield each.step, each.value

        return read


@pytest.mark.filterwarnings("default")
class TestMlflow(TrackerSuite):
    @pytest.fixture
    def tracker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
        pytest.importorskip("mlflow", reason="mlflow is no part of [dev]")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
        return lambda: plugins.tracker("mlflow")

    @pytest.fixture
    def curve(self) -> Curve:
        import mlflow

        def read(run: str, name: str) -> Iterator[tuple[int, float]]:
            (found,) = mlflow.search_runs(
                filter_string=f"tags.`zoo.run` = '{run}'", output_format="list"
            )
            for each in mlflow.MlflowClient().get_metric_history(found.info.run_id, name):
                yield each.step, each.value

        return read


@pytest.mark.filterwarnings("default")
class TestWandb(TrackerSuite):
    """Offline, where nothing can be read back."""

    @pytest.fixture
    def tracker(self, monkeypatch: pytest.MonkeyPatch) -> Made:
        pytest.importorskip("wandb", reason="wandb is no part of [dev]")
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("WANDB_SILENT", "true")
        return lambda: plugins.tracker("wandb")


@pytest.mark.filterwarnings("default")
class TestAim(TrackerSuite):
    @pytest.fixture
    def tracker(self) -> Made:
        pytest.importorskip("aim", reason="aim is no part of [dev]")
        return lambda: plugins.tracker("aim")

    @pytest.fixture
    def curve(self) -> Curve:
        return in_aim
