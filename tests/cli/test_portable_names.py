"""Names that some systems cannot hold, or cannot tell from others: read, but made no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.sampled import sampled

TUNED = "team/digits"
Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CON/net", "Windows has no files called 'CON'"),
        ("team/nul", "Windows has no files called 'nul'"),
        ("team/aux.v1", "'aux.v1'"),
        ("team/net:COM1", "'COM1'"),
        ("Team/net", "'team' is there"),
        ("team/DIGITS", "'digits' is there"),
        ("team/digits:Latest", "'latest' is there"),
    ],
)
def test_no_such_name_is_made(
    fails: Callable[..., str], digits: Path, tmp_path: Path, name: str, says: str
) -> None:
    fails("tag", TUNED, name, says=("cannot be a new name", says))
    fails("import", tmp_path, "--as", name, says=("cannot be a new name", says))
    # Before anything is trained.
    fails("finetune", TUNED, "--data", digits, "--save", name, says=("cannot be a new name", says))


def test_names_that_begin_alike_or_hold_such_words_are_free(run: Run) -> None:
    for name in ("team/console", "team/v.con", "team/digits2", "teams/digits", "team/digits:com"):
        assert run("tag", TUNED, name).code == 0, name


def older(root: Path, name: str) -> None:
    """A name as zoo made it before."""
    folder = root / "refs" / name.replace(":", "/") / "latest"
    folder.mkdir(parents=True)
    entry = (root / "refs" / TUNED / "latest/00000001.json").read_bytes()
    (folder / "00000001.json").write_bytes(entry)


@pytest.mark.parametrize("name", sampled(["CON/nul", "team/DIGITS"], ["team/DIGITS"]))
def test_older_ones_are_read_moved_and_sent(
    run: Run, home: Path, tmp_path: Path, name: str
) -> None:
    older(home, name)
    assert run("reindex").code == 0
    assert run("show", name).code == 0
    assert run("delete", name).code == 0
    assert run("tag", TUNED, name).code == 0
    assert run("verify").code == 0


def test_neither_is_one_made_at_a_remote_nor_by_a_pull(
    run: Run, home: Path, tmp_path: Path
) -> None:
    team = tmp_path / "team"
    run("push", TUNED, "--to", team)
    older(home, "team/DIGITS")
    done = run("push", "team/DIGITS", "--to", team)
    assert (done.code, "'digits' is there" in done.err) == (1, True)
    older(team, "CON/net")
    done = run("pull", "CON/net", "--from", team)
    assert (done.code, "Windows" in done.err) == (1, True)
