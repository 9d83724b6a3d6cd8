"""Commands are a contract: which there are, what they tell of themselves, which zoo they work in,
what goes where.
"""

from __future__ import annotations

import gc
import json
import os
import pty
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import click
import pytest
from fakes import warm
from fakes.prepared import NET, TUNED, Run
from fakes.sampled import sampled

from zoo_cli.command import _load
from zoo_cli.main import SECTIONS, cli

Words = tuple[str, ...]
NO_HOME = {("demo",): "it makes zoos of its own", ("plugins",): "it asks Python, not a zoo"}
NO_JSON = {("demo",): "it is read by people"}


def walk(group: click.Group, path: Words = ()) -> Iterator[tuple[Words, click.Command]]:
    """Each command of the program, and its path."""
    for name, command in sorted(group.commands.items()):
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


COMMANDS = dict(walk(cli))


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_says_what_it_does_and_shows_an_example(bare: Run, name: str) -> None:
    for flag in ("--help", "-h"):
        done = bare(name, flag)
        assert (done.code, done.err) == (0, "")
        assert f"Usage: zoo {name}" in done.out
        assert "Example" in done.out
        assert f"\n    zoo {name}" in done.out or f"\n  zoo {name}" in done.out


def test_the_list_has_the_first_sentence_of_the_help_of_each() -> None:
    rows = {name: text for rows in SECTIONS.values() for name, (_, text) in rows.items()}
    assert rows == {name: each.get_short_help_str(1000) for name, each in cli.commands.items()}
    assert all(each.name == name for name, each in cli.commands.items())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_takes_home_and_json_unless_there_is_a_reason(path: Words) -> None:
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert ("--home" in options) == (path not in NO_HOME)
    assert ("--json" in options) == (path not in NO_JSON)


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_each_option_is_explained(path: Words) -> None:
    for parameter in COMMANDS.get(path, cli).params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.show_default, f"{path} {parameter.opts}"


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("zoo, version 0.")


# Which zoo


def test_home_is_taken_before_and_after_the_command(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in (("--home", home, "search", "digits", "--json"),
                 ("search", "digits", "--json", "--home", home)):  # fmt: skip
        assert [row["name"] for row in run(*line).json] == [TUNED]
    run("--home", home, "remote", "add", "a", "/mnt/a")
    run("remote", "--home", home, "add", "b", "/mnt/b")
    run("remote", "add", "c", "/mnt/c", "--home", home)
    assert [row["name"] for row in run("remote", "--json", "--home", home).json] == ["a", "b", "c"]


def test_the_zoo_is_named_by_the_environment_or_found_upward(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = home / "some" / "where"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert run("show", TUNED).code == 0
    monkeypatch.chdir(tmp_path)
    assert run("show", TUNED).code == 1
    monkeypatch.setenv("ZOO_HOME", str(home))
    assert run("show", TUNED).code == 0
    run("init", tmp_path / "other")
    assert run("show", TUNED, "--home", tmp_path / "other").code == 1
    monkeypatch.chdir(tmp_path / "other")
    assert run("show", TUNED).code == 0, "ZOO_HOME wins over the current folder"


# What goes where


def test_a_command_leaves_the_garbage_collector_on(run: Run) -> None:
    _load.cache_clear()
    before = gc.get_freeze_count()
    run("search")
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    frozen = gc.get_freeze_count()
    run("search")
    assert gc.get_freeze_count() <= frozen  # once for a process: what is frozen is never freed
    gc.unfreeze()


def test_notes_go_to_stderr(run: Run, bare: Run) -> None:
    bare("init")
    done = bare("search")
    assert done.out == ""
    assert "zoo index timm" in done.err
    done = bare("search", "--json")
    assert (done.json, done.err) == ([], "")
    assert "zoo remote add" in bare("remote").err


def test_a_search_says_when_there_is_more_or_nothing(run: Run) -> None:
    more = run("search", "resnet50", "--limit", 2)
    assert len(more.out.splitlines()) == 3
    assert "2 of " in more.err
    assert "nothing matches" in run("search", "no-such-thing-at-all").err
    measures = "nothing here has ms.cpu: zoo bench NAME --device cpu measures it"
    assert measures in run("search", "ms.cpu<20").err


@pytest.mark.parametrize("plain", [True, False], ids=["text", "json"])
def test_a_pipe_gets_the_result_and_nothing_else(
    console: Run, home: Path, small: Run, few: Path, tmp_path: Path, plain: bool
) -> None:
    json_flag = () if plain else ("--json",)
    lines = [
        (home, "push", TUNED, "--to", tmp_path / "team", *json_flag),
        (Path.cwd(), "finetune", NET, "--data", few, "--save", "team/again", "--freeze", "all",
         "--image-size", 32, "--epochs", 1, *json_flag),
    ]  # fmt: skip
    for folder, *line in lines[: 1 if plain else 2]:  # training twice would only take time
        done = console(*line, cwd=folder)
        assert done.code == 0
        told = [text.split()[0] for text in done.err.splitlines()]
        assert told == ([] if line[0] == "push" else ["run", "27", "probe", "epoch", "calibration"])
        assert "\x1b" not in done.out + done.err
        assert "\r" not in done.out + done.err
        if plain:
            assert [line[:2].isspace() for line in done.out.splitlines()] == [False, True]
        else:
            assert done.json["ref"] in (TUNED, "team/again")


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
@pytest.mark.parametrize("command", sampled(["push", "finetune"], ["push"]))
def test_a_terminal_gets_a_bar_on_stderr(
    home: Path, small: Run, few: Path, tmp_path: Path, command: str
) -> None:
    folder, *arguments = {
        "push": [home, TUNED, "--to", tmp_path / "team"],
        "finetune": [Path.cwd(), NET, "--data", few, "--save", "team/again", "--freeze", "all",
                     "--image-size", "32", "--epochs", "1"],
    }[command]  # fmt: skip
    label = {"push": "sending", "finetune": "training"}[command]
    mine, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    call = ["-m", "zoo_cli", command, *arguments, "--json"]
    with warm.popen(*call, cwd=folder, stdout=PIPE, stderr=theirs, env=environment) as program:
        os.close(theirs)
        shown = _read_all(mine)
        assert program.stdout is not None
        out = program.stdout.read()
    assert program.returncode == 0
    assert json.loads(out)["ref"] in (TUNED, "team/again")
    assert label in shown
    assert "━" in shown
    assert "Traceback" not in shown


def _read_all(handle: int) -> str:
    pieces = []
    with os.fdopen(handle, "rb", buffering=0) as terminal:
        while True:
            try:
                piece = terminal.read(1 << 16)
            except OSError:  # Linux's way to say that the other side is closed
                break
            if not piece:
                break
            pieces.append(piece)
    return b"".join(pieces).decode(errors="replace")


@pytest.mark.long
def test_a_reader_that_leaves_is_no_error(home: Path) -> None:
    head = shutil.which("head")
    call = ["-m", "zoo_cli", "search", "--limit", "5000"]
    with (
        warm.popen(*call, cwd=home, stdout=PIPE, stderr=PIPE) as program,
        Popen([str(head), "-n", "1"], stdin=program.stdout, stdout=PIPE) as reader,
    ):
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        first, _ = reader.communicate()
        assert program.stderr.read() == ""
    assert first.startswith(b"NAME")


@pytest.mark.long
def test_closed_streams_are_no_error(home: Path) -> None:
    for redirect in ("1>&-", "2>&-"):
        line = f'"{sys.executable}" -m zoo_cli show {TUNED} --all {redirect}'
        with Popen(["/bin/sh", "-c", line], cwd=home, stdout=PIPE, stderr=PIPE) as program:
            _, err = program.communicate()
        assert (program.returncode, err) == (0, b"")
