"""Several names at once: listed, deleted and brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import Run

NAMES = ("q/a", "q/a:v1", "q/b", "q/c")


@pytest.fixture
def several(toy: Run) -> Run:
    for name in NAMES:
        toy("tag", "team/base", name).done()
    return toy


def listed(run: Run, *query: object) -> list[str]:
    return sorted(row["name"] for row in run("ls", *query, "--json").done().json)


def test_ls_takes_patterns(several: Run) -> None:
    assert listed(several, "q/*") == [*NAMES]
    assert listed(several, "q/a*", "team/b*") == ["q/a", "q/a:v1", "team/base"]
    assert listed(several, "q/a:*") == ["q/a:v1"]
    assert listed(several, "q/[bc]", "arch:toy*") == ["q/b", "q/c"]
    assert listed(several, "arch:no*") == []
    assert len(listed(several, "q/*", "--limit", 3)) == 3
    assert listed(several, "q/a*", "team/base") == ["q/a", "q/a:v1", "team/base"]
    assert listed(several, "Q/b", "q/c", "arch:toy*") == ["q/b", "q/c"]
    assert listed(several, "q/a") == ["q/a", "q/a:v1"]
    none = several("ls", "x/*", "y/z", "arch:toy*").done()
    told = "nothing here matches x/* or y/z and arch:toy*; zoo ls lists all"
    assert (none.out, told in none.err) == ("", True)


def test_several_names_are_deleted_and_come_back(several: Run) -> None:
    done = several("delete", "q/b", "q/c").done()
    assert done.out.splitlines() == [
        f"deleted {name}; restore it: zoo delete --restore {name}" for name in ("q/b", "q/c")
    ]
    assert listed(several, "q/*") == ["q/a", "q/a:v1"]
    several("delete", "q/a", "q/missing").refused("unknown checkpoint 'q/missing'")
    assert listed(several, "q/*") == ["q/a", "q/a:v1"]
    told = several("delete", "--restore", "q/*", "--json").done().json
    assert [each["ref"] for each in told] == ["q/b", "q/c"]
    assert listed(several, "q/*") == [*NAMES]
    several("delete", "--restore", "q/*").refused("unknown deleted checkpoint 'q/*'")
    assert isinstance(several("delete", "q/b", "--json").done().json, dict)


def test_a_pattern_is_shown_and_asked_for(several: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = several("delete", "q/*")
    assert refused.code == 2
    assert "this deletes 4 names, q/a, q/a:v1, q/b, q/c: --yes does it without" in refused.err
    plan = several("delete", "q/*", "--dry-run").done().out.splitlines()
    assert [line.split()[2].rstrip(":") for line in plan] == [*NAMES]
    several("delete", "x/*", "--yes").refused("unknown checkpoint 'x/*'")
    several("protect", "q/c").done()
    several("delete", "q/*", "--yes").refused("q/c is protected")
    assert listed(several, "q/*") == [*NAMES]
    several("protect", "--off", "q/c").done()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[Any] = []
    monkeypatch.setattr("click.confirm", lambda question, **_: asked.append(question))
    assert several("delete", "q/*").done().out.count("deleted q/") == 4
    assert asked == ["delete those 4 names?"]


def test_at_a_remote_too(several: Run, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    sent = several("push", "q/[ab]", "--to", lab, "--json").done().json
    assert [each["ref"] for each in sent] == ["q/a", "q/b"]
    usage = several("push", "q/*", "--to", "hf://q/a")
    assert (usage.code, "takes one checkpoint; q/* is 4" in usage.err) == (2, True)
    refused = several("delete", "q/*", "--from", lab)
    assert (refused.code, "for all who use that remote" in refused.err) == (2, True)
    several("delete", "q/*", "--from", lab, "--yes").done()
    several("delete", "q/*", "--from", lab, "--yes").refused(f"unknown checkpoint 'q/*' in {lab}")
    several("delete", "--restore", "q/*", "--from", lab).done()
    assert listed(several, "q/*") == [*NAMES]
    several("delete", "q/*", "--yes").done()
    usage = several("pull", "q/*")
    assert (usage.code, "(--from REMOTE)" in usage.err) == (2, True)
    got = several("pull", "q/*", "--from", lab, "--json").done().json
    assert [each["ref"] for each in got] == ["q/a", "q/b"]
    assert listed(several, "q/*") == ["q/a", "q/b"]
    several("pull", "x/*", "--from", lab).refused("unknown checkpoint 'x/*' in")
