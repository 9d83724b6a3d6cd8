"""No push or pull takes a name from work that only one side has, unless it is told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import Run
from fakes.teammates import NAME, digest_of, grow, move_at_lab

import zoo
from zoo.errors import (
    WouldReplace,
)


def test_a_pull_takes_no_name_from_work_that_was_not_pushed(
    bare: Run, mine: Path, theirs: Path
) -> None:
    move_at_lab(bare, theirs)
    own = grow(mine, NAME, NAME, bias=3)
    done = bare("pull", NAME, "--from", "lab")
    assert (done.code, done.out) == (1, "")
    for part in (own, "never had", "--as team/flowers:theirs", "--force", "team/flowers:mine"):
        assert part in done.err
    assert digest_of(bare, NAME, mine) == own
    # Both ways on work as they are told.
    there = digest_of(bare, NAME, theirs)
    assert bare("pull", NAME, "--from", "lab", "--as", f"{NAME}:theirs").code == 0
    assert digest_of(bare, f"{NAME}:theirs", mine) == there
    assert digest_of(bare, NAME, mine) == own
    assert bare("pull", NAME, "--from", "lab", "--force").code == 0
    assert digest_of(bare, NAME, mine) == there
    history = bare("log", NAME, "--ref", "--json").json["history"]
    assert own in [move["manifest"] for move in history]


def test_a_pull_does_not_go_back_from_what_is_ahead(bare: Run, mine: Path) -> None:
    own = grow(mine, NAME, NAME, bias=3)
    assert bare("pull", NAME, "--from", "lab").code == 1
    assert digest_of(bare, NAME, mine) == own


def test_a_pull_goes_on_from_what_is_known_there(bare: Run, mine: Path, theirs: Path) -> None:
    # From what was pushed: the history there has it, though nothing derives from it.
    made = grow(theirs, NAME, bias=9)
    assert bare("push", NAME, "--to", "origin", "--home", theirs).code == 0
    assert bare("pull", NAME, "--from", "lab").code == 0
    assert digest_of(bare, NAME, mine) == made
    # From what was pulled, and from what theirs derives from.
    for bias in (10, 11):
        made = move_at_lab(bare, theirs, bias)
        assert bare("pull", NAME, "--from", "lab").code == 0
        assert digest_of(bare, NAME, mine) == made


def test_a_pull_may_follow_a_lineage(bare: Run, mine: Path, theirs: Path) -> None:
    own = grow(mine, "team/own", bias=4)
    bare("push", "team/own", "--to", "lab")
    bare("pull", "team/own", "--from", "origin", "--home", theirs)
    grow(theirs, "team/x", "team/own", bias=1)
    made = grow(theirs, "team/next", "team/x", bias=2)
    bare("push", "team/next", "--to", "origin", "--home", theirs)
    bare("tag", own, "team/next")  # a name that it never had there
    assert bare("pull", "team/next", "--from", "lab").code == 0
    assert digest_of(bare, "team/next", mine) == made


def test_work_that_comes_during_a_pull_is_safe(
    mine: Path, theirs: Path, bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_at_lab(bare, theirs)
    with zoo.open(mine) as opened:
        store, made = opened.workspace.store, []
        upload = store.upload

        def upload_while_a_run_ends() -> Any:
            monkeypatch.setattr(store, "upload", upload)
            made.append(grow(mine, NAME, NAME, bias=5))
            return upload()

        monkeypatch.setattr(store, "upload", upload_while_a_run_ends)
        with pytest.raises(WouldReplace):
            opened.pull(NAME, remote="lab")
    assert [digest_of(bare, NAME, mine)] == made


def test_a_pull_from_the_hub_asks_too(bare: Run, mine: Path) -> None:
    before = digest_of(bare, NAME, mine)
    done = bare("pull", NAME, "--from", "hf://other/net")
    assert (done.code, "zoo pull team/flowers:theirs --from hf://other/net" in done.err) == (
        1,
        True,
    )
    assert "--force" in done.err
    assert digest_of(bare, NAME, mine) == before


def test_as_is_for_stores(bare: Run, mine: Path) -> None:
    for line in ((NAME, "--from", "hf://other/net"), ("timm/net",)):
        done = bare("pull", *line, "--as", "team/x")
        assert (done.code, "--as is for" in done.err) == (1, True)
    done = bare("pull", NAME, "--from", "lab", "--as", "x")
    assert (done.code, "is not a reference" in done.err) == (1, True)


def test_a_push_over_others_work_says_whose(bare: Run, mine: Path, theirs: Path) -> None:
    theirs_now = move_at_lab(bare, theirs)
    grow(mine, NAME, NAME, bias=3)
    done = bare("push", NAME, "--to", "lab")
    assert done.code == 1
    for part in (theirs_now, "push by tester", f"zoo pull {NAME} --from lab --as {NAME}:theirs"):
        assert part in done.err
    assert bare("push", NAME, "--to", "lab", "--force").code == 0


def test_a_push_of_what_is_behind_is_told_to_pull(bare: Run, mine: Path, theirs: Path) -> None:
    """By lineage, and by the history of the name there; what it is told to do works."""
    for parent in (NAME, None):
        there = grow(theirs, NAME, parent, bias=9 if parent else 7)
        bare("push", NAME, "--to", "origin", "--home", theirs).done()
        told = bare("push", NAME, "--to", "lab").refused(there, "is behind")
        assert f"zoo pull {NAME} --from lab\n" in told.err
        assert not any(option in told.err for option in ("--force", "--as"))
        bare("pull", NAME, "--from", "lab").done()
        assert digest_of(bare, NAME, mine) == there


def test_a_prune_says_which_manifests_it_encodes_anew(bare: Run, mine: Path) -> None:
    """One that stays is the difference from one that goes."""
    child = grow(mine, "team/child", NAME, bias=1)
    bare("push", "team/child", "--to", "lab").done()
    bare("delete", NAME, "--from", "lab", "--yes").done()
    line = ("prune", "lab", "--keep", "0", "--grace", "0")
    assert "; 1 manifest that stays is encoded anew\n" in bare(*line).done().out
    assert bare(*line, "--json").done().json["rebased"] == [child]
    assert bare(*line, "--yes", "--json").done().json["rebased"] == [child]
    assert bare(*line, "--json").done().json["rebased"] == []
