"""Where the figures of a run go beside its folder: --log, and objects of one's own."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.aim_runs import in_aim
from fakes.plugin_code import Install

import zoo
from zoo.finetune.loop import train as training
from zoo.lookup.runs import list_runs

NET = "team/net"
Run = Callable[..., Any]
TRACKER = """
import json
from pathlib import Path
class Plugin:
    def _write(self, *what):
        with open("told.jsonl", "a") as file: file.write(json.dumps(what, default=str) + "\\n")
    def start(self, run, step): self._write("start", run["id"], run["save"], run["recipe"], step)
    def log(self, step, values): self._write("log", step, values)
    def picture(self, name, file): self._write("picture", name, Path(file).read_bytes()[:4].hex())
    def finish(self, report): self._write("finish", report)
"""
FAILS = """
class Plugin:
    def start(self, run, step): pass
    def log(self, step, values): raise SystemExit("no account")
    def picture(self, name, file): raise KeyError("never asked")
    def finish(self, report): raise KeyError("never asked")
"""


@pytest.fixture
def line(few: Path) -> tuple[object, ...]:
    return ("finetune", NET, "--data", few, "--image-size", 32, "--freeze", "all", "--epochs", 2,
            "--batch-size", 8, "--save", "team/new", "--quiet")  # fmt: skip


def told() -> list[Any]:
    return [json.loads(text) for text in Path("told.jsonl").read_text().splitlines()]


def test_a_plugin_is_told_of_all(
    small: Run, install: Install, line: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme_track", "zoo.trackers", "acme = acme_track:Plugin", TRACKER)
    real = training.learn

    def cut(*arguments: Any) -> Any:
        for number, step in enumerate(real(*arguments)):
            if number == 2:
                raise KeyboardInterrupt
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(training, "learn", cut)
        assert small(*line, "--log", "acme", "--save-every", 1).code == 130
    begun, *_, ended = told()
    (run,) = small("runs", "--json").json
    assert begun == ["start", run["id"], "team/new", run["recipe"], 0]
    assert ended[1]["status"] == "interrupted"
    Path("told.jsonl").unlink()
    done = small("finetune", "--resume", "last", "--json", "--quiet").json  # where it went before
    begun, *between, ended = told()
    assert begun[-1] == 2
    steps = [(step, values) for kind, step, values in between if kind == "log"]
    curve = [step for step, values in steps if "step/loss" in values]
    assert curve == list(range(3, len(curve) + 3))
    assert {"epoch/accuracy", "epoch/memory_bytes"} < {key for _, each in steps for key in each}
    assert steps[-1][0] == curve[-1]
    assert steps[-1][1]["test/accuracy"] == done["metrics"]["accuracy"]
    assert [each[1:] for each in between if each[0] == "picture"] == [
        ["curves", "89504e47"], ["confusion", "89504e47"]
    ]  # fmt: skip
    assert (ended[1]["status"], ended[1]["metrics"]) == ("done", done["metrics"])


@pytest.mark.long
def test_one_that_fails_ends_no_run(small: Run, install: Install, line: tuple[object, ...]) -> None:
    install("acme_bad", "zoo.trackers", "bad = acme_bad:Plugin", FAILS)
    done = small(*line, "--log", "bad")
    assert done.code == 0, done.err
    assert done.err == "the tracker bad fails and is left out; the run goes on: no account\n"
    assert "note: the tracker bad fails" in small("runs", "show", "last").out


def test_one_that_cannot_be_used_is_refused_at_once(
    small: Run, install: Install, line: tuple[object, ...]
) -> None:
    install("acme_lacks", "zoo.trackers", "lacks = acme_lacks:Plugin", "import not_there")
    small(*line, "--log", "lacks").refused("pip install not_there")
    small(*line, "--log", "tensorbord").refused("tensorbord", "tensorboard")
    with zoo.open(progress=False) as z, pytest.raises(zoo.ZooError, match="int lacks start"):
        z.run_recipe(zoo.Recipe(data=str(line[3])), NET, "team/x", log=[3])  # type: ignore[list-item]
    assert small("runs", "--json").json == []


class Mine:
    """As a user would write one in a notebook."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def start(self, run: Mapping[str, Any], step: int) -> None: ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if "step/loss" in values:
            self.losses.append(values["step/loss"])

    def picture(self, name: str, file: Path) -> None: ...

    def finish(self, report: Mapping[str, Any]) -> None:
        self.report = report


@pytest.mark.long
def test_an_object_of_ones_own(small: Run, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, options = Mine(), {"image_size": 32, "freeze": "all", "epochs": 1, "batch_size": 8}
    with zoo.open() as z:
        done = z.finetune(NET, few, "team/a", log=mine, **options)  # type: ignore[arg-type]
        (run,) = list_runs(z.workspace)
    assert mine.report["metrics"] == done.metrics
    assert mine.losses == [each["loss"] for each in run.lines() if each["kind"] == "step"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"run {run.id} in {run.folder}\n")
    assert "\nepoch 1/1  loss " in err
    with zoo.open(progress=False) as z:
        z.rerun("team/a", "team/b")
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="tensorboard is missing")
def test_tensorboard_has_names_curves_options_and_pictures(
    small: Run, line: tuple[object, ...]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = small(*line, "--json").json
    folder = Path("runs") / done["run"]
    events = EventAccumulator(str(folder / "team-new"))
    events.Reload()
    noted = [
        each for each in small("runs", "show", "last", "--json").json["lines"]
        if each["kind"] == "step"
    ]  # fmt: skip
    scalars = events.Scalars("step/loss")
    assert [(each.step, each.value) for each in scalars] == [
        (each["steps"], pytest.approx(each["loss"])) for each in noted
    ]
    assert events.Tags()["images"] == ["samples", "curves", "confusion"]
    known = events.summary_metadata
    content = known["_hparams_/session_start_info"].plugin_data.content
    assert b"batch_size" in content
    assert "_hparams_/session_end_info" in known


@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="mlflow is no part of [dev]")
@pytest.mark.filterwarnings("default")
def test_mlflow(
    small: Run, line: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    done = small(*line, "--log", "mlflow", "--json").json
    (run,) = mlflow.search_runs(output_format="list")
    assert (run.info.run_name, run.info.status) == ("team/new", "FINISHED")
    assert run.data.tags["zoo.run"] == done["run"]
    assert run.data.params["batch_size"] == "8"
    assert run.data.metrics["test/accuracy"] == done["metrics"]["accuracy"]
    client = mlflow.MlflowClient()
    noted = small("runs", "show", "last", "--json").json["lines"]
    curve = client.get_metric_history(run.info.run_id, "step/loss")
    assert [each.value for each in sorted(curve, key=lambda each: each.step)] == [
        each["loss"] for each in noted if each["kind"] == "step"
    ]
    pictures = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert pictures == {"samples.png", "curves.png", "confusion.png"}


@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is no part of [dev]")
@pytest.mark.filterwarnings("default")
def test_wandb_offline(
    small: Run, line: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    done = small(*line, "--log", "wandb", "--json")
    assert "is left out" not in done.err
    (file,) = (Path("runs") / done.json["run"]).glob("wandb/offline-run-*/run-*.wandb")
    kept = file.read_bytes()
    assert all(name in kept for name in (b"team/new", b"batch_size", b"loss", b"accuracy"))


@pytest.mark.skipif(not importlib.util.find_spec("aim"), reason="aim is no part of [dev]")
@pytest.mark.filterwarnings("default")
def test_aim(small: Run, line: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was cut off goes on in the one that it was there."""
    import aim

    real = training.learn

    def cut(*arguments: Any) -> Any:
        for number, step in enumerate(real(*arguments)):
            if number == 2:
                raise KeyboardInterrupt
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(training, "learn", cut)
        assert small(*line, "--log", "aim", "--save-every", 1).code == 130
    done = small("finetune", "--resume", "last", "--quiet", "--json").done()
    assert "is left out" not in done.err
    assert len(list(aim.Repo(str(Path.cwd())).list_all_runs())) == 1
    noted = small("runs", "show", "last", "--json").json["lines"]
    curve = dict(in_aim(done.json["run"], "step/loss"))
    assert curve == {each["steps"]: each["loss"] for each in noted if each["kind"] == "step"}
