"""zoo log --ref, zoo tag --at, zoo protect, as typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BASE, TUNED = "timm/tf_efficientnet_lite0.in1k", "team/digits"


def manifest(run: Any, name: str) -> str:
    found: str = run("show", name, "--json").json["manifest"]
    return found


def test_the_history_alone(run: Any, home: Path) -> None:
    got = run("log", TUNED, "--ref", "--json").json
    assert set(got) == {"name", "manifest", "deleted", "at_remotes", "history"}
    text = run("log", TUNED, "--ref").out
    assert ("lineage" in text, "ENTRY" in text) == (False, True)


def test_a_tag_from_the_past(run: Any, home: Path) -> None:
    before = manifest(run, TUNED)
    run("tag", BASE, TUNED)
    assert manifest(run, TUNED) == manifest(run, BASE)
    moves = run("log", TUNED, "--json").json["history"]
    when = moves[-1]["at"].rstrip("Z")
    if moves[0]["at"] != moves[-1]["at"]:
        run("tag", TUNED, "team/then", "--at", when)
        assert manifest(run, "team/then") == before
    early = run("tag", TUNED, "team/never", "--at", "2020-01-01")
    assert (early.code, "2020-01-01" in early.err) == (1, True)
    run("tag", before, TUNED)  # and back
    assert manifest(run, TUNED) == before


def test_a_protected_name_stays(run: Any, home: Path) -> None:
    before = manifest(run, TUNED)
    assert "is protected" in run("protect", TUNED).out
    for line in (("tag", BASE, TUNED), ("delete", TUNED)):
        refused = run(*line)
        assert (refused.code, "protected" in refused.err) == (1, True)
    assert manifest(run, TUNED) == before
    run("protect", "--off", TUNED)
    assert run("tag", BASE, TUNED).code == 0
    assert run("verify").code == 0
