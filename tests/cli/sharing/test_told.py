"""What is told of damage, of a full disk, and of what a prune leaves."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from fakes.prepared import Run
from fakes.teammates import NAME

from zoo.errors import (
    Corrupt,
)
from zoo_cli.errors import failure


def test_a_zoo_whose_index_is_on_a_server_is_no_remote(mine: Path) -> None:
    (mine / "registry.db").unlink()
    (mine / "registry.id").write_text("the zoo's own id\n")
    told = failure(Corrupt(f"manifest blake3:{'0' * 64}", "this", "that", str(mine)))
    assert "zoo verify --repair --from REMOTE" in told.hint


@pytest.mark.parametrize("days", ["1e12", "inf"])
def test_very_many_days_are_all_that_there_are(bare: Run, mine: Path, days: str) -> None:
    bare("delete", NAME)
    for flag in ("--keep", "--grace"):
        done = bare("prune", flag, days, "--json")
        assert (done.code, done.json["items"]) == (0, []), done.err
    refused = bare("prune", "--keep", "nan")
    assert (refused.code, "nan is not a number of days" in refused.err) == (1, True)


def test_a_prune_tells_programs_what_it_could_not_read(bare: Run, mine: Path) -> None:
    assert bare("prune", "--json").json["unread"] == []
    move = mine / "refs" / NAME / "latest" / "00000001.json"
    move.unlink()
    move.write_text("{")
    (problem,) = bare("prune", "--json").json["unread"]
    assert NAME in problem


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_whatever_the_system_calls_it(
    bare: Run, mine: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(code, "refused", "somewhere")

    monkeypatch.setattr("zoo.Zoo.plan_prune", full)
    done = bare("prune", "--json")
    assert (done.code, json.loads(done.err)["error"]["code"]) == (1, "disk_full")
