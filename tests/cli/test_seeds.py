"""`zoo finetune --seeds`: several runs of one recipe."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import fmean, stdev
from subprocess import PIPE, Popen
from typing import Any

import pytest
from fakes.prepared import NET, Run
from fakes.sampled import sampled
from fakes.typed import shown

from zoo.domain.progress import Progress, Task, silent
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption
from zoo.facade import Zoo
from zoo.finetune import launched
from zoo.finetune.conclude import Finetuned

TUNE = ("finetune", NET, "--strategy", "probe", "--image-size", 32, "--validation-share", 0.25)


def test_each_is_saved_and_the_name_is_the_best(small: Run, few: Path) -> None:
    done = small(*TUNE, "--data", few, "--seed", 2, "--seeds", 2, "--save", "team/x", "--json")
    found = done.done().json
    assert found["seeds"] == [2, 3]
    runs = small("runs", "--json").json
    assert [run["save"] for run in reversed(runs)] == [f"team/x:seed-{seed}" for seed in (2, 3)]
    best = max(zip(found["validation"], (-2, -3), strict=True))
    if found["validation"].count(best[0]) == 1:  # else the loss decides
        assert found["best"] == -best[1]
    tag = f"team/x:seed-{found['best']}"
    assert small("show", "team/x", "--json").json["manifest"] == found["manifest"]
    assert small("show", tag, "--json").json["manifest"] == found["manifest"]
    values = [run["result"]["metrics"]["accuracy"] for run in runs]
    spread = found["metrics"]["accuracy"]
    assert spread == {"mean": pytest.approx(fmean(values)), "std": pytest.approx(stdev(values))}
    columns = small("runs", "compare", *(run["id"] for run in runs), "--json").json["columns"]
    assert [column["seeds"] for column in columns] == [[3, 2]]
    assert columns[0]["metrics"]["accuracy"]["value"] == pytest.approx(spread["mean"])
    history = small("log", "team/x", "--json").json["history"]
    assert [entry["why"] for entry in history] == ["finetune: the best of 2 seeds"]


@pytest.mark.long
@pytest.mark.parametrize("moved", [False, True])
def test_each_in_several_processes(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """Each seed is a command of its own, which the processes run; here one runs it at once. They
    are told the options of a preset.
    """
    asked: list[list[str]] = []

    def run(command: list[str], *, shown: bool) -> Finetuned:
        assert shown
        asked.append(command)
        at = command.index("--launch")
        line = [*command[3:at], *command[at + 2 :]]
        done = Finetuned.from_json(small(*line).done().json)
        if moved:
            small("tag", asked[0][command.index("finetune") + 3], NET)
        return done

    monkeypatch.setattr(launched, "_run", run)
    line = (*TUNE, "--recipe", "small-data", "--data", few, "--seeds", 2, "--launch", 2)
    found = small(*line, "--save", "team/x", "--json").done().json
    assert [command[command.index("--launch") + 1] for command in asked] == ["2", "2"]
    assert [one["ref"] for one in found["runs"]] == ["team/x:seed-0", "team/x:seed-1"]
    assert len({one["parent"] for one in found["runs"]}) == 1
    assert small("show", "team/x", "--json").json["manifest"] == found["manifest"]
    if not moved:
        small(*line, "--save", "team/x").done()
        assert len(asked) == 2  # both are taken up


AGAIN = "this was seed 0, 1 of 2; when it is done, the same command again takes it up"
HINT = json.dumps({"error": {"code": "interrupted", "message": "interrupted", "hint": "go on so"}})
INTERRUPTED = f"""
import os, signal, time
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
if FROM == "terminal" and os.getpgrp() == os.getpgid(os.getppid()):
    os.kill(os.getpid(), signal.SIGINT)
os.kill(os.getppid(), signal.SIGINT)
while not got:
    time.sleep(0.01)
time.sleep(0.05)  # a second one would come meanwhile
told = {HINT!r} if got == [1] else "twice"
os.write(2, b"\\n" + told.encode() + b"\\n")
"""
"""A program that is interrupted with whoever started it, if that is of its group."""
TERMINATED = """
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: open("left", "w").close())
signal.alarm(5)
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
"""
"""A program that terminates whoever started it."""


@pytest.mark.long
def test_what_trains_no_batch_norm(small: Run, few: Path) -> None:
    """What ``auto`` stood for is repeated as it was asked, not as old versions meant it."""
    line = (*TUNE[:2], "--image-size", 32, "--freeze", "all", "--epochs", 1, "--data", few)
    small(*line, "--seeds", 2, "--save", "team/x").done()


def cut_off(*_: object) -> None:
    """A run is interrupted where its state is saved."""
    raise KeyboardInterrupt


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Interrupt the next several runs when so many are done; the names of those that ran."""
    real, ran = Zoo.run_recipe, list[str]()

    def run(zoo: Zoo, recipe: Recipe, base: str, save: str, **options: Any) -> Finetuned:
        if not after:
            raise KeyboardInterrupt
        ran.append(save)
        done = real(zoo, recipe, base, save, **options)
        if len(ran) == after:  # it is kept, and its command has not ended yet
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Zoo, "run_recipe", run)
    return ran


@pytest.mark.parametrize("kind", sampled(["seed", "fold"], ["seed"]))
@pytest.mark.long
def test_what_was_done_before_an_interrupt_is_taken_up(
    small: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = Path(shutil.copytree(few, tmp_path / "data"))
    line = (*TUNE[:-2], "--data", data, f"--{kind}s", 2, "--save", "team/x")
    names = {"seed": ["team/x:seed-0", "team/x:seed-1"], "fold": ["team/x:fold-1", "team/x:fold-2"]}
    first, second = names[kind]
    last = ["team/x"] if kind == "fold" else []
    with monkeypatch.context() as patch:
        interrupt(patch, 0)
        done = small(*line)
        assert (done.code, done.err) == (130, "\ninterrupted\n  nothing is kept yet, begin anew\n")
    with monkeypatch.context() as patch:
        with monkeypatch.context() as once:
            interrupt(once, 1)
            done = small(*line, "--json")
        told = json.loads(done.err.splitlines()[-1])["error"]
        kept = f"kept: {first}; the same command again takes them up"
        assert (done.code, told["hint"]) == (130, kept)
        # The next one is cut off: it can be ended alone.
        patch.setattr("zoo.finetune.run.conclude", cut_off)
        second_cut = small(*line).err.splitlines()[-1]
        at = {"seed": "seed 1, 2 of 2", "fold": "fold 2 of 2"}[kind]
        assert second_cut == f"  this was {at}; {kept}"
    with monkeypatch.context() as patch:
        ran = interrupt(patch, 9)
        whole = small(*line, "--json").done()
        assert ran == [second, *last]
        assert f"{first} is there already, from the run " in whole.err
        found = whole.json[f"{kind}s" if kind == "fold" else "runs"][0]
        shown = small("show", first, "--json").json
        assert (found["manifest"], found["metrics"]) == (shown["manifest"], shown["metrics"])
        # Not of other images, of another recipe, or where the name is another's by now.
        ran.clear()
        small(*line, "--probe", "svm").done()
        assert ran == [first, second, *last]
        small("tag", NET, first, "--force").done()
        ran.clear()
        small(*line, "--probe", "svm").done()
        assert ran == [first, *last]
        next((data / "1").iterdir()).unlink()
        ran.clear()
        small(*line, "--probe", "svm").done()
        assert ran == [first, second, *last]


@pytest.mark.long
def test_a_seed_that_was_cut_off_and_resumed_is_taken_up(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (*TUNE, "--data", few, "--seeds", 2, "--save", "team/x")
    with monkeypatch.context() as patch:
        patch.setattr("zoo.finetune.run.conclude", cut_off)
        said = small(*line).err
    run = small("runs", "--json").json[0]["id"]
    assert f"zoo finetune --resume {run}\n" in said
    assert "kept: team/x" not in said
    assert said.endswith(f"\n  {AGAIN}\n")
    small("finetune", "--resume", run).done()
    with monkeypatch.context() as patch:
        ran = interrupt(patch, 9)
        small(*line).done()
    assert ran == ["team/x:seed-1"]


STARTED = """
import os, signal
os.kill(os.getppid(), signal.SIGINT)
open("started", "w").close()
signal.pause()
"""
"""A program that interrupts whoever starts it, at once."""


def test_a_program_that_is_only_being_started_is_interrupted(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Popen[str]):
        """Known to whoever starts it a moment after it runs."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            deadline = time.monotonic() + 20
            while not Path("started").exists() and time.monotonic() < deadline:
                time.sleep(0.005)
            started.append(self)

    started: list[Popen[str]] = []
    monkeypatch.setattr(launched, "Popen", Slow)
    monkeypatch.setattr(launched, "PROGRAM", (sys.executable, "-Sc", STARTED))
    done = small(*TUNE, "--data", few, "--seeds", 2, "--launch", 2, "--save", "team/x")
    assert (done.code, done.err) == (130, "\ninterrupted\n  nothing is kept yet, begin anew\n")
    assert [program.returncode for program in started] == [-signal.SIGINT]


@pytest.mark.parametrize("by", ["terminal", "notebook"])
def test_processes_are_interrupted_once(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """By a terminal, which interrupts the whole group, and by what interrupts this process."""
    program = (sys.executable, "-Sc", f"FROM = {by!r}{INTERRUPTED}")
    monkeypatch.setattr(launched, "PROGRAM", program)
    done = small(*TUNE, "--data", few, "--seeds", 2, "--launch", 2, "--save", "team/x")
    assert (done.code, done.err) == (130, f"\ninterrupted\n  go on so\n  {AGAIN}\n")


def test_what_ends_this_process_ends_those_that_it_started(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(launched, "PROGRAM", (sys.executable, "-Sc", TERMINATED))
    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(ArithmeticError):
            small(*TUNE, "--data", few, "--seeds", 2, "--launch", 2, "--save", "team/x")
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not Path("left").exists()


@pytest.mark.long
def test_a_terminal_interrupts_two_processes(small: Run, few: Path) -> None:
    line = (*TUNE[:2], "--image-size", 32, "--data", few, "--freeze", "all", "--epochs", 400)
    # By itself it saves no more often than costs little: on a slow machine, when all is done.
    of = ("--batch-size", 8, "--seeds", 2, "--launch", 2, "--device", "cpu", "--save-every", 9)
    command = [sys.executable, "-m", "zoo_cli", *map(str, (*line, *of, "--save", "team/x"))]
    process = Popen(command, stderr=PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not [*Path("runs").glob("*/state.pt")]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    (run,) = small("runs", "--json").json
    assert (process.returncode, run["status"]) == (130, "interrupted")
    assert f"{run['kept']}; to resume: zoo finetune --resume {run['id']}\n" in said
    assert said.count("interrupted") == 1


@pytest.mark.long
def test_two_seeds_in_two_processes_each(small: Run, console: Run, few: Path) -> None:
    line = (*TUNE, "--data", few, "--seeds", 2, "--launch", 2, "--device", "cpu")
    done = console(*line, "--save", "team/x", cwd=Path.cwd())
    assert done.code == 0, done.err
    assert "mean ± standard deviation over 2 seeds" in done.out
    assert done.err.count("\nprobe  accuracy ") == 2
    for seed in (0, 1):
        known = small("show", f"team/x:seed-{seed}", "--json").json
        assert known["provenance"]["processes"] == "2"


@pytest.mark.long
def test_what_it_prints(small: Run, few: Path) -> None:
    said = small(*TUNE, "--data", few, "--seeds", 2, "--save", "team/x:v1").done().out
    assert said.splitlines()[0].split() == ["SEED", "VALIDATION", "TEST", "SAVED", "AS"]
    assert "team/x:v1-seed-0" in said
    assert "± " in said
    assert "mean ± standard deviation over 2 seeds" in said
    assert "the best on its validation images; each seed has drawn others, so that luck" in said
    assert small("show", "team/x:v1", "--json").done().json["recipe"]["seed"] in (0, 1)


@pytest.mark.long
def test_names_that_move_are_told_of(small: Run, few: Path) -> None:
    line = (*TUNE, "--data", few, "--seeds", 2, "--save", "team/x")
    first = small(*line, "--json").done().json
    again = small(*line, "--skip-bad").done().out
    for one in (first, *first["runs"]):
        assert one["moved_from"] is None
        was = f"moved; was {one['manifest'][7:19]} (zoo log {one['ref']})\n"
        assert f"\n  {'' if one is first else one['ref'] + ' '}{was}" in again


@pytest.mark.long
def test_the_frozen_part_runs_once(small: Run, few: Path) -> None:
    began: list[str] = []

    class Kept(Progress):
        def __call__(
            self, label: str, total: float | None, unit: str = ""
        ) -> AbstractContextManager[Task]:
            began.append(label)
            return silent(label, total, unit)

    recipe = Recipe(
        data=str(few), strategy="partial", freeze="-2", epochs=1, image_size=32,
        validation_share=0,
    )  # fmt: skip
    with Zoo.open(progress=Kept()) as zoo:
        done = zoo.run_seeds(recipe, NET, "team/x", seeds=2)
        assert done.validation == (None, None)
        assert done.best == 0  # nothing was there to choose on
        assert shown(zoo, "team/x").manifest == done.runs[0].manifest
    assert began.count("running the frozen part") == 1


def test_a_progress_that_cannot_say_a_line_is_refused(small: Run) -> None:
    with pytest.raises(InvalidOption, match=r"a subclass of zoo\.Progress"):
        Zoo.open(progress=lambda label, total, unit="": silent(label, total, unit))  # type: ignore[arg-type]


def test_what_cannot_be(small: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert small(*TUNE, "--data", few, "--seeds", 1, "--save", "team/x").code == 2
    assert small("finetune", "--resume", "last", "--seeds", 2).code == 2
    monkeypatch.setenv("WORLD_SIZE", "2")
    small(*TUNE, "--data", few, "--seeds", 2, "--save", "team/x").refused("--seeds 5 --launch 2")
    assert not small("runs", "--json").json
