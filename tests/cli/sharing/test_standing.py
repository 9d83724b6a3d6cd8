"""What moved at a remote, and whether what is here is ahead of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from fakes.prepared import Run
from fakes.teammates import NAME, digest_of, grow, move_at_lab


def test_a_fetch_names_what_is_new_what_moved_and_what_is_gone(
    bare: Run, mine: Path, theirs: Path
) -> None:
    old = digest_of(bare, NAME, mine)
    bare("fetch", "lab")
    new = move_at_lab(bare, theirs)
    grow(theirs, "team/roses", bias=2)
    bare("push", "team/roses", "--to", "origin", "--home", theirs)
    text = bare("fetch", "lab")
    assert f"  moved  {NAME}  {old[7:19]} to {new[7:19]}\n" in text.out
    assert "  new    team/roses  " in text.out
    again = bare("fetch", "lab", "--json").json[0]
    assert (again["added"], again["moved"], again["gone"]) == ([], {}, [])
    bare("delete", "team/roses", "--from", "origin", "--yes", "--home", theirs)
    newer = move_at_lab(bare, theirs, 8)
    told = bare("fetch", "lab", "--json").json[0]
    assert told["moved"] == {NAME: {"from": new, "to": newer}}
    assert (told["added"], told["gone"]) == ([], ["team/roses"])


def test_a_fetch_of_many_names_prints_some(
    bare: Run, mine: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_cli.remotes.SHOWN", 2)
    for number in range(4):
        bare("tag", NAME, f"{NAME}:v{number}")
        bare("push", f"{NAME}:v{number}", "--to", "./store")
    for home in (mine, theirs):
        bare("remote", "add", "store", "./store", "--home", home)
    assert "new  " not in bare("fetch", "store").done().out  # it was pushed from here
    out = bare("fetch", "store", "--home", theirs).out
    assert "new    team/flowers:v1" in out
    assert "new    and 2 more" in out
    assert "v2" not in out


def stands(run: Run, home: Path, remote: str = "lab") -> set[str]:
    """What search, show and log, each in its way, say of the name here."""
    rows = run("search", NAME, "pulled:yes", "--json", "--home", home).json
    found = [row["at_remotes"] for row in rows if row["name"] == NAME]
    found += [run(line, NAME, "--json", "--home", home).json["at_remotes"]
              for line in ("show", "log")]  # fmt: skip
    return {there["here"] for listed in found for there in listed if there["remote"] == remote}


def test_what_is_here_and_there_is_told_apart(bare: Run, mine: Path, theirs: Path) -> None:
    bare("fetch", "lab")
    assert stands(bare, mine) == {"same"}
    own = grow(mine, NAME, NAME, bias=3)
    assert stands(bare, mine) == {"ahead"}
    bare("push", NAME, "--to", "lab")
    assert stands(bare, mine) == {"same"}, "a push knows what it left there"
    bare("pull", NAME, "--from", "origin", "--home", theirs)
    new = grow(theirs, NAME, bias=9)  # not a fine-tune of what was there, but pushed over it
    bare("push", NAME, "--to", "origin", "--home", theirs)
    bare("fetch", "lab")
    assert stands(bare, mine) == {"behind"}
    text = bare("search", NAME).out
    assert "yes, behind lab" in text
    assert "lab (here: behind)" in text
    for digest in (own, new):
        assert digest[7:19] in text
    assert "at lab: " + new[7:19] in bare("log", NAME).out
    assert "behind" in bare("show", NAME).out
    grow(mine, NAME, NAME, bias=5)
    assert stands(bare, mine) == {"diverged"}
    bare("fetch", "lab")
    assert stands(bare, mine) == {"diverged"}
    bare("pull", NAME, "--from", "lab", "--force")
    assert stands(bare, mine) == {"same"}
    (there,) = bare("show", NAME, "--json").json["at_remotes"]
    assert set(there) == {"remote", "manifest", "at", "by", "note", "here"}
    assert there["manifest"] == new


def test_a_name_that_is_not_here_stands_nowhere(bare: Run, mine: Path, theirs: Path) -> None:
    grow(theirs, "team/roses", bias=2)
    bare("push", "team/roses", "--to", "origin", "--home", theirs)
    bare("fetch", "lab")
    assert bare("show", "team/roses", "--json").json["at_remotes"][0]["here"] is None
    table = bare("search", "roses").out
    assert "here:" not in table
    assert "CHECKPOINT" not in table


def damage_manifest(root: Path, digest: str) -> None:
    hexes = digest.removeprefix("blake3:")
    path = root / "manifests" / hexes[:2] / f"{hexes}.json"
    path.unlink()
    path.write_bytes(b"{}")


def test_a_damaged_move_of_a_name_that_a_remote_has_ends_no_search(bare: Run, mine: Path) -> None:
    """Neither the newest one nor one before it."""
    grow(mine, NAME, NAME, bias=3)
    bare("push", NAME, "--to", "lab")
    bare("fetch", "lab")
    grow(mine, NAME, NAME, bias=4)
    for number in (1, 3):
        move = mine / "refs" / NAME / "latest" / f"{number:08d}.json"
        move.unlink()
        move.write_text("{")
        found = bare("search", "flowers", "--json")
        assert found.code == 0, found.err
        assert {there["here"] for row in found.json for there in row["at_remotes"]} == {None}
    assert bare("search", "flowers").code == 0


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_damaged_manifest_ends_no_look_at_a_relative(bare: Run, mine: Path, which: int) -> None:
    names = [NAME, "team/child", "team/grandchild"]
    digests = [digest_of(bare, NAME, mine)]
    for parent, name in pairwise(names):
        digests.append(grow(mine, name, parent, bias=len(digests)))
    damage_manifest(mine, digests[which])
    for name in {*names} - {names[which]}:
        log = bare("log", name, "--json")
        assert log.code == 0, log.err
        steps = [*log.json["ancestors"], *log.json["descendants"]]
        told = {step["manifest"]: step["problem"] for step in steps if "problem" in step}
        assert set(told) == {digests[which]}
        assert "is damaged" in told[digests[which]]
        assert "cannot be read: manifest" in bare("log", name).out
        assert bare("show", name).code == 0
