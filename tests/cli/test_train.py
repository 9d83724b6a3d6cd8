"""zoo finetune, rerun and runs: recipes from files, runs that are cut off, runs done again."""

from __future__ import annotations

import json
import re
import shutil
import signal
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from blake3 import blake3
from fakes.program import Said
from fakes.reported import make_run
from huggingface_hub import ModelCard
from PIL import Image

import zoo
from zoo.domain import presets
from zoo.domain.presets import PRESETS, purpose
from zoo.finetune import run as tuning
from zoo.finetune.conclude import Finetuned
from zoo.finetune.loop import evaluate as evaluating
from zoo.finetune.loop import train as training
from zoo.lookup import runs

BASE, NET = "timm/tf_efficientnet_lite0.in1k", "team/net"
TUNED = "team/digits"
Run = Callable[..., Any]


@pytest.fixture
def recipe(tmp_path: Path, few: Path) -> Path:
    path = tmp_path / "digits.toml"
    path.write_text(
        f'data = {json.dumps(str(few))}\nfreeze = "all"\nimage-size = 32\nepochs = 2\n'
        'batch-size = 8\nstrategy = "partial"\n'
    )
    return path


@pytest.mark.long
def test_a_recipe_from_a_file(small: Run, recipe: Path, few: Path) -> None:
    done = small("finetune", NET, "--recipe", recipe, "--epochs", 1, "--save", "team/a", "--json")
    assert done.code == 0, done.err
    shown = small("show", "team/a", "--json").json
    given = shown["checkpoint"]["recipe"] if "checkpoint" in shown else shown["recipe"]
    assert (given["epochs"], given["image_size"], given["freeze"]) == (1, 32, "all")
    recipe.write_text("data = 'x'\nepoch = 3\n")
    done = small("finetune", NET, "--recipe", recipe, "--save", "team/b")
    assert done.code == 1
    assert f"{recipe}: a recipe has no option 'epoch'; did you mean epochs?" in done.err
    recipe.write_text('data = "x"\nlerning_rate = 0.1')
    done = small("finetune", NET, "--recipe", recipe, "--save", "team/b")
    assert f"{recipe}: a recipe has no option 'lerning_rate'; did you mean lr (lea" in done.err
    recipe.write_text("data = [")
    assert (
        f"{recipe}: the recipe is not TOML"
        in small("finetune", NET, "--recipe", recipe, "--save", "team/b").err
    )
    Path("small-dat").write_text("data = 'x'\n")
    for name, says in {
        "small-dat": "no preset 'small-dat': did you mean small-data? ./small-dat is the file",
        "quick": "no preset 'quick': presets are small-data, standard, long, and a file's path has",
        "quick.toml": "the recipe quick.toml cannot be read",
        "./small-data": "the recipe ./small-data cannot be read",
    }.items():
        small("finetune", NET, "--recipe", name, "--save", "team/b").refused(says)
    Path("small-data").write_text(f"data = {json.dumps(str(few))}\nstrategy = 'full'\n")
    plan = small("finetune", NET, "--recipe", "./small-data", "--dry-run", "--json").done().json
    assert plan["strategy"] == "full"


@pytest.mark.long
def test_a_preset_is_recorded_and_options_beside_it_count_more(small: Run, few: Path) -> None:
    line = ("finetune", NET, "--data", few, "--image-size", 32, "--recipe", "small-data")
    done = small(*line, "--at", "head", "--save", "team/a", "--json").done().json
    recorded = small("show", "team/a", "--json").json["recipe"]
    assert (recorded["preset"], recorded["strategy"]) == ("small-data", "probe")
    assert recorded["at"] == "head"
    assert "preset=small-data" in " ".join(small("runs", "show", "last").out.split())
    said = small("rerun", "team/a", "--save", "team/b", "--quiet").done().out
    assert "\n  7 units frozen, only the head is new: a probe, fitted in one go; " in said
    again = small("show", "team/b", "--json").json
    assert again["metrics"] == done["metrics"]
    assert again["recipe"] == recorded
    with zoo.open(progress=False) as z:
        z.finetune(NET, few, "team/c", recipe="small-data", at="head", image_size=32)
        assert z.show("team/c").to_json()["recipe"] == recorded
    # Another strategy, and what it does not use of the preset is left out.
    plan = small(*line, "--strategy", "partial", "--epochs", 1, "--dry-run", "--json").done().json
    assert plan["strategy"] == "partial"
    small(*line, "--epochs", 3, "--save", "team/d").refused(
        "the strategy probe does not use epochs"
    )


def test_what_a_run_prints_reads_back(prepared: Any) -> None:
    """As from Python with ``launch=2``, where another process has printed it."""
    assert prepared.finetune["gained"]
    assert "paired" not in prepared.finetune["gained"]
    assert Finetuned.from_json(prepared.finetune).to_json() == prepared.finetune


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ("epoch 2", "trained from layer3.0, kept epoch 2; "),
        ("probe", "trained from layer3.0, but no epoch was better than the probe: that is kept; "),
    ],
)
def test_a_run_says_which_weights_are_kept(
    run: Run, prepared: Any, kept: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze = {"frozen_units": 5, "trainable_units": 2, "boundary": "layer3.0", "kept": kept}
    done = Finetuned.from_json({**prepared.finetune, "freeze": freeze})
    monkeypatch.setattr(zoo.Zoo, "run_recipe", lambda *_, **__: done)
    said = run("finetune", TUNED, "--data", "x", "--save", "team/x").done().out
    assert f"\n  5 units frozen, {says}" in said


def test_each_preset_is_a_documented_file_and_in_the_help(small: Run) -> None:
    page = (Path(__file__).parents[2] / "docs/finetune.md").read_text()
    told = " ".join(small("finetune", "--help-all").out.split())
    for name in PRESETS:
        text = (Path(presets.__file__).parent / f"{name}.toml").read_text()
        assert text in page, name
        assert f"{name}: {purpose(name)}" in told
        table = {**tomllib.loads(text), "data": "x", "preset": name}
        assert zoo.Recipe.read(name, data="x") == zoo.Recipe.from_json(table)


LINE = (
    r"epoch {0}/2  loss [\d.e+-]+  accuracy [01]\.\d{{4}}  rate [\d.e-]+  [\d,]+ images/s  {1}"
    r"\d+\.\d GB memory"
)


@pytest.mark.long
def test_a_run_speaks(small: Run, recipe: Path, few: Path) -> None:
    """Where it is, and a line for each epoch, all on stderr: stdout is for data."""
    done = small("finetune", NET, "--recipe", recipe, "--strategy", "lp-ft", "--save", "team/a",
                 "--json")  # fmt: skip
    folder = max(Path("runs").iterdir()).resolve()
    begun, outline, probe, *epochs, trust = done.err.splitlines()
    images = {blake3(path.read_bytes()).hexdigest()[:16] for path in few.rglob("*.png")}
    noted = (folder / "images.txt").read_text().split()
    assert set(noted) < images  # those to test on are not among them
    assert len(noted) == sum(map(int, re.findall(r"(\d+) (?:training|validation)", outline)))
    assert begun == f"run {done.json['run']} in {folder}"
    assert re.fullmatch(
        r"\d+ training, \d+ validation and \d+ test images; (\d+) of \1 units frozen; lp-ft on cpu",
        outline,
    )
    assert re.fullmatch(r"probe  accuracy [01]\.\d{4}", probe)
    assert re.fullmatch(LINE.format(1, r"0:00:\d\d left  "), epochs[0])
    assert re.fullmatch(LINE.format(2, ""), epochs[1])
    assert len(epochs) == 2
    assert "too few to fit a temperature" in trust
    assert small("rerun", "team/a", "--save", "team/b", "--quiet").err == ""
    noted = small("runs", "show", "last", "--json").json["lines"]
    steps = [line["steps"] for line in noted if line["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.long
def test_a_batch_size_is_a_number_or_found(small: Run, few: Path) -> None:
    line = ("finetune", NET, "--data", few, "--image-size", 32, "--dry-run", "--json")
    plan = small(*line, "--batch-size", "auto").done().json
    assert [text for text in plan["remarks"] if text.startswith("batch size 16, ")]
    plan = small(*line, "--batch-size", 2).done().json
    assert not [text for text in plan["remarks"] if "batch size" in text]
    said = small(*line, "--batch-size", "many")
    assert said.code == 2
    assert "'many' is neither a whole number nor auto" in said.err
    said = small(*line, "--batch-size", 1)
    assert said.code == 1
    assert "at least 2, or auto" in said.err


def test_a_dry_run_says_what_would_be_done(small: Run, few: Path, tmp_path: Path) -> None:
    data = shutil.copytree(few, tmp_path / "few")
    (data / "1" / "broken.png").write_bytes(b"no image")
    line = ("finetune", NET, "--data", data, "--image-size", 32, "--freeze", "layer2",
            "--batch-size", 8, "--epochs", 3, "--skip-bad")  # fmt: skip
    before = sorted(map(str, Path.cwd().rglob("*")))
    plan = small(*line, "--dry-run", "--json").json
    said = small(*line, "--dry-run").out
    assert sorted(map(str, Path.cwd().rglob("*"))) == before
    done = small(*line, "--save", "team/a", "--json")
    assert done.code == 0, done.err
    noted = small("runs", "show", "last", "--json").json["lines"]
    (phase,) = plan["phases"]
    assert phase["epochs"] * phase["steps"] == max(one["steps"] for one in noted)
    assert phase["frozen_units"] == done.json["freeze"]["frozen_units"]
    assert phase["boundary"] == done.json["freeze"]["boundary"]
    assert plan["split"]["test"] == done.json["metrics"]["test_images"]
    assert plan["classes"] == {"1": 12, "2": 12, "3": 12}
    assert [path.rpartition("/")[2] for path, _ in plan["skipped"]] == ["broken.png"]
    assert set(plan["seconds"]) == {
        "checking the images", "running what is frozen", "fitting the probe", "training",
        "validation", "testing",
    }  # fmt: skip
    assert all(seconds >= 0 for seconds in plan["seconds"].values())
    (size,) = {sum(file.stat().st_size for file in home.glob("*.bin"))
               for home in Path("cache/crossings").iterdir()}  # fmt: skip
    assert (phase["cache_bytes"], phase["cache_there"]) == (size, False)
    assert small(*line, "--dry-run", "--json").json["phases"][0]["cache_there"]
    assert "36 in 3 classes, 1 left out" in said
    assert "1/broken.png: " in said
    assert "3 epochs of " in said
    assert "nothing was written" in said
    assert small("finetune", "--resume", "last", "--dry-run").code == 2


@pytest.mark.parametrize(
    ("options", "strategy", "parts", "unknown"),
    [
        pytest.param(("--strategy", "probe"), "probe", {"fitting the probe", "testing"}, [],
                     marks=pytest.mark.long),
        (("--strategy", "probe", "--at", "auto"), "probe", set(), ["the probes at all depths"]),
        (("--strategy", "full", "--augment", "light", "--ema", 0.9), "full", {"training"}, []),
        pytest.param(
            ("--strategy", "gradual", "--phases", "all:1", "--phases", "layer2:2",
             "--blend", "soup"),
            "gradual", {"training", "blending", "running what is frozen"}, [],
            marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_any_strategy_is_planned(
    small: Run, few: Path, options: tuple[object, ...], strategy: str, parts: set[str],
    unknown: list[str],
) -> None:  # fmt: skip
    line = ("finetune", NET, "--data", few, "--image-size", 32, *options, "--dry-run", "--json")
    done = small(*line)
    assert done.code == 0, done.err
    assert done.json["strategy"] == strategy
    assert parts < set(done.json["seconds"])
    assert done.json["unknown"] == unknown


def test_a_profile_is_said_and_lies_beside_the_run(
    small: Run, recipe: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("finetune", NET, "--recipe", recipe, "--batch-size", 4, "--save", "team/a", "--profile")
    said = small(*line).done().err
    folder = max(Path("runs").iterdir()).resolve()
    assert re.search(r"\d+ steps timed, \d images and [\d.]+ ms each: [\d,]+ images/s\n", said)
    assert re.search(r"\n  backward +[\d.]+ ms +\d+%\n", said)
    assert f"trace of 3 steps, for ui.perfetto.dev: {folder / 'trace.json.gz'}\n" in said
    assert {"trace.json.gz", "profile.json"} < {path.name for path in folder.iterdir()}
    # Processes that are launched are told, too.
    passed: list[tuple[object, ...]] = []
    launched = "zoo.finetune.launched.launched"
    monkeypatch.setattr(launched, lambda _, words, *rest, **more: passed.append(words))
    zoo.open().finetune(NET, few, "team/b", launch=2, profile=True)
    assert "--profile" in passed.pop()


def test_a_rerun_gives_the_same_weights(small: Run, few: Path, tmp_path: Path) -> None:
    run = small
    tune = ("finetune", NET, "--data", few, "--image-size", 32, "--epochs", 1, "--save", TUNED)
    run(*tune, "--freeze", "layer2").done()
    done = run("rerun", TUNED, "--save", "team/again", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert [one["save"] for one in run("runs", "--json").json] == ["team/again", TUNED]
    base, first, again = (run("show", name, "--json").json for name in (NET, TUNED, "team/again"))
    digests = [[file["sha256"] for file in shown["weights"]] for shown in (base, first, again)]
    assert digests[1] == digests[2] != digests[0]
    diff = run("diff", TUNED, "team/again", "--json").json
    assert diff["identical_share"] == 1.0
    assert first["metrics"] == again["metrics"]
    other = tmp_path / "other"
    other.mkdir()
    for folder in few.iterdir():
        (other / folder.name).symlink_to(folder)
    (other / "3").unlink()
    done = run("rerun", TUNED, "--save", "team/third", "--data", other)
    assert (done.code, "not what it was when team/digits was trained" in done.err) == (1, True)
    done = run("rerun", NET, "--save", "team/third")
    assert (done.code, "not the result of a fine-tune" in done.err) == (1, True)


def test_runs_are_listed_and_shown(run: Run) -> None:
    (listed,) = run("runs", "--json").json
    assert (listed["status"], listed["save"], listed["base"]) == ("done", TUNED, BASE)
    text = run("runs").out
    assert listed["id"] in text
    assert "accuracy 0." in text
    shown = run("runs", "show", "last").out
    assert "epoch 1" in shown
    probe = r"^  probe: C [\d.e-]+; nearest neighbors: accuracy 0\.\d{4} \(k = 1\), 0"
    assert re.search(probe, shown, re.MULTILINE)
    assert "curves.png" in shown
    lines = run("runs", "show", listed["id"][:12], "--json").json["lines"]
    assert {line["kind"] for line in lines} == {"remark", "probe", "step", "saved", "epoch", "test"}
    done = run("runs", "show", "nosuch")
    assert done.code == 1
    assert listed["id"] in done.err


@pytest.mark.long
def test_labels_are_judged_by_their_precision(small: Run, few: Path, tmp_path: Path) -> None:
    """It chose the weights, and has an interval; accuracy is there, too."""
    rows = [f"{path},{'odd' if int(path.parent.name) % 2 else 'even|round'}"
            for path in sorted(few.rglob("*.png"))]  # fmt: skip
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,labels", *rows]))
    done = small("finetune", NET, "--data", table, "--freeze", "all", "--image-size", 32,
               "--epochs", 1, "--save", "team/labels")  # fmt: skip
    told = re.search(
        r"  (mean average precision [01]\.\d{4} \(0\.\d{3} to [01]\.\d{3}\)) on", done.out
    )
    assert told, done.out + done.err
    (metrics,) = [one["result"]["metrics"] for one in small("runs", "--json").json[:1]]
    assert f"{metrics['mean_average_precision']:.4f}" in told[1]
    assert metrics["accuracy"] > 0
    assert told[1].partition(" (")[0] in small("runs").out


def test_an_interrupted_run_is_resumed(
    small: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = ("finetune", NET, "--recipe", recipe, "--augment", "light")
    whole = small(*changing, "--save", "team/whole", "--json").json
    real = training.learn

    def cut_off(*arguments: Any) -> Any:
        for number, step in enumerate(real(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(training, "learn", cut_off)
        done = small(*changing, "--save", "team/cut", "--save-every", 2)
    assert done.code == 130
    assert "zoo finetune --resume" in done.err
    cut = runs.Run.read(max(Path("runs").iterdir()))

    def interrupt(*_: Any, **_more: Any) -> None:
        other = replace(cut, folder=cut.folder.with_name("9"), pid=1)  # begun meanwhile, elsewhere
        shutil.copytree(cut.folder, other.folder)
        other.write()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "prepare", interrupt)
        done = small(*changing, "--save", "team/other")
        shutil.rmtree(cut.folder.with_name("9"))
        assert (done.code, "--resume" in done.err) == (130, False)
        done = small("finetune", "--resume", "last")
        shutil.rmtree(cut.folder.with_name("9"))
        assert done.code == 130
        assert done.err.count("--resume") == done.err.count(f"--resume {cut.id}\n") == 1
    shown = small("runs", "show", "last").out
    assert "note: what is frozen runs in each epoch: images are changed anew" in shown
    assert "resume it: zoo finetune --resume" in shown
    more: tuple[object, ...]
    for more in (
        ("--epochs", 3), ("--find-lr",), ("--seed", 1), ("--seed", 0), ("--weight-decay", 0),
        ("--epochs", 0), ("--no-cache",), ("--save", ""), (NET,),
    ):  # fmt: skip
        done = small("finetune", "--resume", "last", *more)
        assert (done.code, "takes the options of the run" in done.err) == (2, True)
    done = small("finetune", "--resume", "last", "--device", "nonsense")
    assert (done.code, "'nonsense' cannot be used here" in done.err) == (1, True)
    resumed = small("finetune", "--resume", "last", "--json").json
    assert resumed["metrics"] == whole["metrics"]
    done = small("finetune", "--resume", "last")
    assert (done.code, "is done" in done.err) == (1, True)


def test_a_batch_system_that_ends_a_run_learns_how_to_resume_it(
    small: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm and Kubernetes send SIGTERM."""
    real, before = training.learn, signal.signal(signal.SIGTERM, signal.SIG_DFL)
    whole = small("finetune", NET, "--recipe", recipe, "--save", "team/whole", "--json").json

    def ended(*arguments: Any) -> Any:
        for number, step in enumerate(real(*arguments)):
            if number == 2:
                signal.raise_signal(signal.SIGTERM)
            yield step

    try:
        with monkeypatch.context() as patch:
            patch.setattr(training, "learn", ended)
            done = small("finetune", NET, "--recipe", recipe, "--save", "team/cut")
        assert (done.code, signal.getsignal(signal.SIGTERM)) == (130, signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGTERM, before)
    run = max(Path("runs").iterdir()).name
    kept = "kept up to step 3, in epoch 1 of 2; to resume"  # the step that it came in
    assert f"{kept}: zoo finetune --resume {run}\n" in done.err
    resumed = small("finetune", "--resume", "last", "--json").done().json
    assert resumed["metrics"] == whole["metrics"]


def test_an_epoch_is_kept_where_ctrl_c_comes_while_it_is_measured(
    small: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is measured, which is for the second one to break off."""
    real = evaluating.validate
    for times, kept in ((1, "epoch 2 of 2"), (2, "epoch 1 of 2")):
        begun: list[int] = []

        def measured(*arguments: Any, times: int = times, begun: list[int] = begun) -> Any:
            begun.append(1)
            for _ in range(times if len(begun) == 2 else 0):
                signal.raise_signal(signal.SIGINT)
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr("zoo.finetune.loop.state.RARELY", 1e9)  # a save at the beginning only
            patch.setattr(training, "validate", measured)
            done = small("finetune", NET, "--recipe", recipe, "--save", "team/cut")
        assert done.code == 130
        assert f"kept up to {kept}; to resume: zoo finetune --resume" in done.err


@pytest.mark.parametrize(
    ("where", "at", "kept"),
    [("loop.phases.make_loaders", 2, "epoch 2 of 3"), ("run.conclude", 1, "epoch 3 of 3")],
)
def test_a_phase_is_kept_where_ctrl_c_comes_after_it(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch, where: str, at: int, kept: str
) -> None:
    """Also as the next one begins, and as all is concluded."""
    real, begun = resolve_name(f"zoo.finetune.{where}"), list[int]()

    def interrupted(*arguments: Any) -> Any:
        begun.append(1)
        if len(begun) == at:
            signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    tune = ("finetune", NET, "--data", few, "--image-size", 32, "--batch-size", 8,
            "--strategy", "gradual", "--phases", "all:2", "--phases", "layer2:1")  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("zoo.finetune.loop.state.RARELY", 1e9)  # a save at the beginning only
        patch.setattr(f"zoo.finetune.{where}", interrupted)
        done = small(*tune, "--save", "team/cut")
    assert done.code == 130
    assert f"kept up to {kept}; to resume: zoo finetune --resume" in done.err
    small("finetune", "--resume", "last").done()


@pytest.mark.long
def test_a_run_that_is_cut_off_says_how_far_it_is_kept(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = training.learn, []

    def interrupt(*_: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    def cut(*arguments: Any) -> Any:
        begun.append(1)
        for number, step in enumerate(real(*arguments)):
            if len(begun) == 2 and number == 1:
                raise KeyboardInterrupt
            yield step

    tune = ("finetune", NET, "--data", few, "--image-size", 32, "--freeze", "all", "--epochs", 3,
            "--batch-size", 8, "--save", "team/cut", "--quiet")  # fmt: skip
    for often, kept in (((), "epoch 1 of 3"), (("--save-every", 1), "step 5, in epoch 2 of 3")):
        begun.clear()
        with monkeypatch.context() as patch:
            patch.setattr(training, "learn", cut)
            patch.setattr("zoo.finetune.loop.state.RARELY", 0)  # an epoch here is over at once
            done = small(*tune, *often)
        run = small("runs", "--json").json[0]
        assert done.code == 130
        assert f"kept up to {kept}; to resume: zoo finetune --resume {run['id']}\n" in done.err
        assert run["kept"] == f"kept up to {kept}"
        assert f"interrupted, kept up to {kept}  {run['id']}" in small("runs").out
        assert f"kept up to {kept}; resume it: zoo finetune" in small("runs", "show", "last").out
        assert re.search(rf"  {run['id']}  \(team/cut\)  ", small("runs").out)
        with monkeypatch.context() as patch:  # after a kill, it says that it is running
            patch.setattr(tuning, "prepare", interrupt)
            replace(runs.Run.read(Path(run["folder"])), status="running").write()
            done = small("finetune", "--resume", "last")
        assert f"kept up to {kept}; to resume: zoo finetune --resume {run['id']}\n" in done.err
    small("finetune", "--resume", "last", "--quiet").done()
    assert "kept up to epoch" in small("runs").out  # the other one
    assert re.search(rf"  {run['id']}  team/cut  ", small("runs").out)
    assert small("runs", "--json").json[0]["kept"] == ""


@pytest.mark.long
def test_a_name_that_moves_is_told_of(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = ("finetune", NET, "--data", few, "--image-size", 32, "--strategy", "probe", "--quiet")
    was = small("show", NET, "--json").json["manifest"]
    small("tag", NET, "team/x")
    told = "  moved; was {} (zoo log team/x)\n"

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "conclude", interrupt)
        assert small(*tune, "--save", "team/x").code == 130
    assert told.format(was[7:19]) in small("finetune", "--resume", "last").done().out
    known = small("show", "team/x", "--json").json["manifest"]
    done = small("rerun", "team/x", "--save", NET, "--json").done()
    assert done.json["moved_from"] == was
    again = small(*tune, "--seed", 1, "--save", "team/x").done().out
    assert again.splitlines()[1] == told.format(known[7:19]).rstrip()


def test_a_name_among_published_ones_is_told_of(small: Run, few: Path) -> None:
    tune = ("finetune", NET, "--data", few, "--image-size", 32, "--strategy", "probe", "--dry-run")
    assert "timm/ is where published names stand" in small(*tune, "--save", "timm/mine").done().err
    assert "published names" not in small(*tune, "--save", "team/mine").done().err


def test_errors_of_numbers_are_told_in_their_unit(small: Run, few: Path) -> None:
    rows = [f"{path},{40 * int(path.parent.name)}" for path in few.rglob("*.png")]
    Path("ages.csv").write_text("\n".join(["path,target", *sorted(rows)]))
    tune = ("--strategy", "lp-ft", "--epochs", 1, "--save", "team/age")
    done = small("finetune", NET, "--data", "ages.csv", "--image-size", 32, *tune).done()
    errors = r"r2 -?[\d.]+  mae [\d.]+  rmse [\d.]+"
    assert re.search(rf"^probe  {errors}$", done.err, re.M)
    assert re.search(rf"^epoch 1/1  loss [\d.]+  {errors}  rate", done.err, re.M)
    figures = small("show", "team/age", "--json").json["metrics"]
    told = f"), mae {figures['mae']:.4f}, rmse {figures['rmse']:.4f} on "
    assert told in done.out


@pytest.mark.long
def test_few_images_are_told_of(small: Run, few: Path, tmp_path: Path) -> None:
    tune = ("finetune", NET, "--data", few, "--image-size", 32, "--epochs", 1, "--save", "team/x")
    told = "note: 9 training images of a class are few: --recipe small-data, which may"
    assert told in small(*tune).done().err
    assert told in small("runs", "show", "last").out
    small(*tune, "--seed", 1).done()
    assert told not in small("runs", "show", "last").out  # as it was told of these images
    dry = small(*tune, "--dry-run", "--seeds", 3).done()
    assert told.removeprefix("note: ") in dry.out
    assert "with --seeds 3 it is done 3 times\n" in dry.err
    small(*tune, "--dry-run", "--log", "tensorbord").refused("tensorboard")
    assert "are few" not in small(*tune, "--recipe", "standard", "--dry-run").done().out
    dry = small(*tune[:-4], "--recipe", "small-data", "--dry-run").done()
    assert "are few" not in dry.out
    assert "zoo loads that, timm does not. --at head keeps the whole network" in dry.out
    many = tmp_path / "many"
    for kind in "12":
        (many / kind).mkdir(parents=True)
        for number in range(72):
            Image.new("L", (8, 8), number).save(many / kind / f"{number}.png")
    assert "are few" not in small(*tune, "--data", many, "--dry-run").done().out


@pytest.mark.long
def test_learning_rates_are_tried(
    small: Run, recipe: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = small("finetune", NET, "--recipe", recipe, "--find-lr", "--json")
    assert done.code == 0, done.err
    assert done.json["suggestion"] is None
    table = (Path(done.json["folder"]) / "rates.csv").read_text().splitlines()
    assert table[0] == "rate,loss"
    assert [float(row.split(",")[1]) for row in table[1:]] == done.json["losses"]
    assert (Path(done.json["folder"]) / "rates.png").is_file()
    assert len(small("runs", "--json").json) == 0
    said = small("finetune", NET, "--recipe", recipe, "--find-lr").done()
    assert "no clear answer: the loss falls by less than 0.0" in said.out
    assert "rates.png" in said.err
    monkeypatch.setattr("zoo.finetune.loop.find_lr.CLEAR", 0.0)
    said = small("finetune", NET, "--recipe", recipe, "--find-lr").done()
    assert re.search(r"the loss is least at --lr [\d.e-]+$", said.out)
    recipe.write_text(f"data = {json.dumps(str(few))}\nimage-size = 32\nbatch-size = 8\n")
    phases = ("--strategy", "gradual", "--phases", "all:1@1e-3")
    done = small("finetune", NET, "--recipe", recipe, *phases, "--find-lr")
    assert re.search(r"least at --phases all:1@[\d.e-]+$", done.out)
    phases = ("--strategy", "gradual", "--phases", "all:1@1e30")
    done = small("finetune", NET, "--recipe", recipe, *phases, "--save", "team/far")
    assert "try a smaller rate: --phases all:1@1e+29" in done.err


@pytest.mark.long
def test_processes_from_one_command(small: Run, console: Run, recipe: Path, tmp_path: Path) -> None:
    configured = tmp_path / "team.yaml"
    configured.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nuse_cpu: true\n"
        "machine_rank: 0\nnum_machines: 1\nnum_processes: 2\nmixed_precision: 'no'\n"
    )
    said = {}
    ways: tuple[tuple[object, ...], ...] = (("--launch", 2), (f"--launch={configured}",), ())
    for number, how in enumerate(ways):
        done = console(
            "finetune", NET, "--recipe", recipe, "--epochs", 1, "--save", f"team/{number}", *how,
            "--device", "cpu", "--json", cwd=Path.cwd(),
        )  # fmt: skip
        assert done.code == 0, done.err
        assert done.json["ref"] == f"team/{number}"
        said[number] = small("show", f"team/{number}", "--json").json
    assert [shown["provenance"]["processes"] for shown in said.values()] == ["2", "2", "1"]
    for shown in said.values():
        assert shown["metrics"] == pytest.approx(said[2]["metrics"], rel=1e-3)
    folders = [Path(one["folder"]) for one in small("runs", "--json").json]
    assert len(folders) == 3  # one each
    files = [{path.name for path in folder.glob("[!e]*.*")} for folder in folders]  # no events…
    assert files[0] == files[1] == files[2] >= {"doubtful.csv", "doubtful.png", "confusion.json"}
    again = ("rerun", "team/0", "--device", "cpu", "--save")
    done = console(*again, "team/again", "--launch", 2, cwd=Path.cwd())
    assert done.code == 0, done.err
    assert small("show", "team/again", "--json").json["weights"] == said[0]["weights"]
    assert "other bits" not in small("runs", "show", "last").out
    assert small(*again, "team/alone").code == 0
    remark = "note: other bits than when team/0 was trained are to be expected: processes 1 (was 2)"
    assert remark in small("runs", "show", "last").out


def test_what_cannot_be_launched(small: Run, console: Run, recipe: Path) -> None:
    done = small("finetune", NET, "--recipe", recipe, "--save", "a/b", "--launch", "no")
    assert (done.code, "number of processes or a config file" in done.err) == (1, True)
    done = console("finetune", "no/such", "--recipe", recipe, "--save", "a/b", "--launch", 2,
                   "--device", "cpu", cwd=Path.cwd())  # fmt: skip
    alone = small("finetune", "no/such", "--recipe", recipe, "--save", "a/b")
    assert (done.code, done.err) == (alone.code, alone.err)
    assert alone.code == 1
    done = console("finetune", NET, "--save", "a/b", "--launch", 2, "--epochs", "x", cwd=Path.cwd())
    assert (done.code, done.err.count("Error: ")) == (2, 1)


def test_the_card_is_what_a_hub_reads(run: Run, tmp_path: Path) -> None:
    run("export", TUNED, tmp_path / "folder")
    card = ModelCard.load(tmp_path / "folder" / "README.md")
    assert card.data.base_model == [BASE]
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license == "apache-2.0"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    accuracy = run("show", TUNED, "--json").json["metrics"]["accuracy"]
    assert found["accuracy"] == round(accuracy, 6)
    assert {result.dataset_name for result in card.data.eval_results} == {"digits"}
    assert "## Recipe" in card.text


def test_last_is_ones_own_run(empty: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a zoo that colleagues share; of somebody who began none, it is nobody's."""
    whose = ("ann", "ben", "ben", "ann", "cat")
    for number, author in enumerate(whose):
        status = "done" if author == "cat" else "interrupted"
        make_run(Path("runs"), f"team/{number}", number, status=status,
                 provenance={"author": author})  # fmt: skip
    for me, shown, resumed in (("ann", 3, 3), ("ben", 2, 2), ("cat", 4, None)):
        monkeypatch.setenv("ZOO_AUTHOR", me)
        assert f"-> team/{shown}," in empty("runs", "show", "last").done().out
        id_ = f"20260101-000000-{resumed or shown:06}"
        told = f"resuming {id_} -> team/{resumed}, begun by {me}" if resumed else f"{id_} is done"
        empty("finetune", "--resume", "last").refused(told)
    monkeypatch.setenv("ZOO_AUTHOR", "dan")
    for command in (("runs", "show", "last"), ("finetune", "--resume", "last")):
        empty(*command).refused("unknown run 'last'", "none was begun by dan")
