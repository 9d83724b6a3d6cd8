"""zoo remote: short names of places."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.sampled import sampled

from zoo.domain.limits import ENTRY_BYTES
from zoo.workspace import Workspace

TUNED = "team/digits"
Run = Callable[..., Any]


@pytest.mark.parametrize(
    "location",
    [
        "s3://lab/zoo#SECRET",
        "s3://lab/zoo?key=SECRET",
        "s3://me:SECRET@lab/zoo",
        "folder://me:SECRET@host",
        "folder://SECRET@host/zoo",
    ],
)
def test_credentials_are_neither_stored_nor_made_a_folder(
    run: Run, home: Path, location: str
) -> None:
    for command in (("remote", "add", "x", location), ("push", TUNED, "--to", location),
                    ("pull", TUNED, "--from", location), ("clone", location, "new")):  # fmt: skip
        done = run(*command)
        assert (done.code, "credentials" in done.err, "SECRET" in done.err) == (1, True, False)
    assert run("remote", "--json").json == []
    assert not [path for path in home.parent.rglob("*") if "SECRET" in path.name]


@pytest.mark.parametrize("location", ["ftp://lab/zoo", "S4://lab"])
def test_a_kind_of_remote_that_nobody_knows_is_not_added(run: Run, location: str) -> None:
    done = run("remote", "add", "x", location)
    assert (done.code, "unknown kind of remote" in done.err) == (1, True)
    assert run("remote", "--json").json == []


def test_two_who_add_at_once_lose_nothing(run: Run, home: Path) -> None:
    names = [f"r{number}" for number in range(8)]
    pids = []
    for name in names:
        pid = os.fork()
        if not pid:
            Workspace(home).remotes.add(name, f"/mnt/{name}")
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(names)
    assert [remote["name"] for remote in run("remote", "--json").json] == names


def test_what_lies_beside_the_store_has_its_rights(run: Run, home: Path) -> None:
    for mode in (0o755, 0o770, 0o700):
        home.chmod(mode)
        run("remote", "add", "x", f"/mnt/{mode}")
        assert stat.S_IMODE((home / "remotes.json").stat().st_mode) == mode & 0o666
        run("remote", "remove", "x")


@pytest.mark.parametrize(
    "text",
    sampled(["true", "1.0", '"1"', "null", "[1]"], ["true", "[1]"]),
)
def test_a_format_is_a_whole_number(run: Run, home: Path, tmp_path: Path, text: str) -> None:
    run("push", TUNED, "--to", tmp_path / "team")
    for marker in (tmp_path / "team/zoo.json", home / "zoo.json"):
        marker.unlink()
        marker.write_text(f'{{"format": {text}}}')
    for command in (("fetch",), ("search", "x"), ("verify",)):
        assert run(*command).code == 1
    home.joinpath("zoo.json").write_text('{"format": 1}')
    assert run("pull", TUNED, "--from", tmp_path / "team").code == 1


@pytest.mark.parametrize(
    "number",
    [
        True,
        pytest.param(1.0, marks=pytest.mark.long),
        pytest.param("1", marks=pytest.mark.long),
        2**70,
        pytest.param(0, marks=pytest.mark.long),
    ],
)
def test_the_number_of_a_move_is_a_whole_number(run: Run, home: Path, number: Any) -> None:
    path = home / f"refs/{TUNED}/latest/00000001.json"
    entry = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps({**entry, "number": number}))
    done = run("verify")
    assert (done.code, "not a ref entry" in done.out) == (1, True)


def test_a_move_that_nobody_could_read_is_not_made(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_AUTHOR", "a" * 70_000)
    done = run("tag", TUNED, "team/new")
    assert (done.code, "at most 65536" in done.err) == (1, True)
    assert not (home / "refs/team/new").exists()


def test_a_move_of_more_bytes_than_any_has_is_not_read(run: Run, home: Path) -> None:
    path = home / f"refs/{TUNED}/latest/00000001.json"
    entry = path.read_bytes()
    path.unlink()
    path.write_bytes(entry + b" " * ENTRY_BYTES)
    done = run("verify")
    assert (done.code, f"at most {ENTRY_BYTES} bytes" in done.out) == (1, True)


def test_a_push_to_a_store_in_this_folder_says_so_and_one_to_a_remote_does_not(
    toy: Run, tmp_path: Path
) -> None:
    toy("push", "team/base", "--to", "./lab").done()
    assert (
        "to the folder ./lab: no remote is called so" in toy("push", "team/base", "--to", "lab").err
    )
    toy("remote", "add", "lab", tmp_path / "other").done()
    (tmp_path / "other").mkdir()
    assert "to the folder" not in toy("push", "team/base", "--to", "lab").done().err
