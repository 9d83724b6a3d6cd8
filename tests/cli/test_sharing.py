"""Sharing that cannot go wrong unseen, as typed: two zoos of tiny checkpoints and a folder between
them.
"""

from __future__ import annotations

import errno
import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, flip_byte, tensors
from fakes.prepared import Run

import zoo
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    InvalidOption,
    Protected,
    UnknownName,
    WouldReplace,
)
from zoo.store import Store
from zoo.store.disk import Disk
from zoo_cli.errors import failure

NAME = "team/flowers"


def grow(root: Path, name: str, parent: str | None = None, *, bias: float = 0) -> str:
    """Make a checkpoint under ``name``; its digest."""
    values = tensors()
    values["fc.bias"] = values["fc.bias"] + bias
    with zoo.open(root) as opened:
        lineage: dict[str, Any] = {}
        if parent:
            digest = opened.workspace.resolve(parent)[1]
            base = opened.workspace.store.manifest(digest)
            further = {digest: base.parents} if base.parents else {}
            lineage = {
                "parents": (Parent(manifest=digest, relation="finetune", ref=parent),),
                "ancestors": {**base.ancestors, **further},
            }
        return str(add_checkpoint(opened.workspace, name, values, **lineage))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests copy: a zoo, ``mine``, that has pushed its first flowers to ``lab``, and one of a
    teammate, ``theirs``, that has pulled them.
    """
    root = tmp_path_factory.mktemp("shared")
    with zoo.init(root / "mine") as mine:
        grow(root / "mine", NAME)
        mine.push(NAME, str(root / "lab"))
    with zoo.clone(str(root / "lab"), root / "theirs") as theirs:
        theirs.fetch("origin")
        theirs.pull_from(NAME, "origin")
    return root


@pytest.fixture
def lab(shared: Path, tmp_path: Path) -> Path:
    for name in ("lab", "mine", "theirs"):
        shutil.copytree(shared / name, tmp_path / name)
    for name, remote in (("mine", "lab"), ("theirs", "origin")):
        place = {remote: str(tmp_path / "lab")}
        (tmp_path / name / "remotes.json").write_text(json.dumps(place))
    return tmp_path / "lab"


@pytest.fixture
def mine(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """My zoo; the current folder."""
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def theirs(lab: Path, tmp_path: Path) -> Path:
    return tmp_path / "theirs"


def digest_of(run: Run, name: str, home: Path) -> str:
    found: str = run("show", name, "--json", "--home", home).json["manifest"]
    return found


def move_at_lab(run: Run, theirs: Path, bias: float = 7, *flags: str) -> str:
    """The teammate pushes a fine-tune of what is there."""
    made = grow(theirs, NAME, NAME, bias=bias)
    assert run("push", NAME, "--to", "origin", *flags, "--home", theirs).code == 0
    return made


# A word that no remote is called


@pytest.mark.parametrize("word", ["lap", "nosuch", "team.v2"])
def test_a_push_to_a_word_makes_no_folder(bare: Run, mine: Path, word: str) -> None:
    done = bare("push", NAME, "--to", word)
    assert (done.code, done.out) == (1, "")
    for part in (f"unknown remote '{word}'", "did you mean lab?", f"./{word}"):
        assert part in done.err
    assert not (mine / word).exists()


def test_a_word_is_none_either_where_no_remote_has_a_name(bare: Run, mine: Path) -> None:
    bare("remote", "remove", "lab")
    done = bare("push", NAME, "--to", "lab")
    assert (done.code, "./lab" in done.err) == (1, True)
    assert not (mine / "lab").exists()


@pytest.mark.parametrize("where", ["./new", "{tmp}/new", "sub/../new"])
def test_a_path_may_be_made(bare: Run, mine: Path, tmp_path: Path, where: str) -> None:
    (mine / "sub").mkdir()
    assert bare("push", NAME, "--to", where.format(tmp=tmp_path)).code == 0


@pytest.mark.parametrize(
    "line",
    [
        ("pull", NAME, "--from", "lap"), ("verify", "lap"), ("prune", "lap"),
        ("verify", "--repair", "--from", "lap"), ("delete", NAME, "--from", "lap", "--yes"),
        ("protect", NAME, "--at", "lap"), ("fetch", "lap"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_other_commands_do_not_take_a_word_for_a_folder(
    bare: Run, mine: Path, line: tuple[str, ...]
) -> None:
    done = bare(*line)
    assert (done.code, "unknown remote 'lap'" in done.err) == (1, True)
    assert "did you mean lab?" in done.err


def test_a_store_in_this_folder_has_its_word(bare: Run, mine: Path, tmp_path: Path) -> None:
    bare("push", NAME, "--to", "./store")
    assert bare("pull", NAME, "--from", "store").code == 0


# A pull and what was made here


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
            opened.pull_from(NAME, "lab")
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
        assert (done.code, "--as is for" in done.err) == (2, True)
    done = bare("pull", NAME, "--from", "lab", "--as", "x")
    assert (done.code, "is no reference" in done.err) == (1, True)


def test_a_push_over_others_work_says_whose(bare: Run, mine: Path, theirs: Path) -> None:
    theirs_now = move_at_lab(bare, theirs)
    grow(mine, NAME, NAME, bias=3)
    done = bare("push", NAME, "--to", "lab")
    assert done.code == 1
    for part in (theirs_now, "push by tester", f"zoo pull {NAME} --from lab --as {NAME}:theirs"):
        assert part in done.err
    assert bare("push", NAME, "--to", "lab", "--force").code == 0


# What moved, and who is ahead


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
    bare: Run, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_cli.follow.SHOWN", 2)
    for number in range(4):
        bare("tag", NAME, f"{NAME}:v{number}")
        bare("push", f"{NAME}:v{number}", "--to", "./store")
    bare("remote", "add", "store", "./store")
    out = bare("fetch", "store").out
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
    assert set(there) == {"remote", "manifest", "at", "here"}
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


# A team's folder of which not all can be read


def forbid(monkeypatch: pytest.MonkeyPatch, what: str, path: Path) -> None:
    """As if the rights of ``path``, that a method of every disk is asked for, did not allow it."""
    real = getattr(Disk, what)

    def refusing(disk: Disk, name: str, *more: Any) -> Any:
        if disk.root / name == path:
            raise Forbidden(path, "cannot be read", "chmod -R g+rX .")
        return real(disk, name, *more)

    monkeypatch.setattr(Disk, what, refusing)


@pytest.mark.parametrize("folder", ["secret", "secret/net"])
def test_names_in_a_folder_that_cannot_be_listed_cost_no_others(
    bare: Run, mine: Path, lab: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    bare("tag", NAME, "secret/net:v1")
    bare("push", "secret/net:v1", "--to", "lab")
    bare("fetch", "lab")
    forbid(monkeypatch, "kinds", lab / "refs" / folder)
    told = bare("fetch", "lab", "--json")
    assert told.code == 0, told.err
    (fetched,) = told.json
    assert (list(fetched["refs"]), fetched["gone"]) == ([f"{NAME}"], [])
    assert "cannot be read" in fetched["unlisted"][folder]
    assert f"names in {folder} at lab are left out" in bare("fetch", "lab").err
    pruned = bare("prune", "lab", "--yes")  # what it points at may be all that is needed
    assert "cannot be read" in pruned.err
    assert "no checkpoint is deleted while that is so" in pruned.err


def test_names_here_in_a_folder_that_cannot_be_listed_cost_no_others(
    bare: Run, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare("tag", NAME, "secret/net")
    forbid(monkeypatch, "kinds", mine / "refs" / "secret")
    (mine / "registry.db").unlink()
    found = bare("search", "pulled:yes", "--json")
    assert [row["name"] for row in found.json] == [NAME]
    assert "names in secret are left out" in found.err


def test_an_older_move_that_cannot_be_read_ends_no_fetch(
    bare: Run, mine: Path, theirs: Path, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = move_at_lab(bare, theirs)
    forbid(monkeypatch, "read", lab / "refs" / NAME / "latest" / "00000001.json")
    (fetched,) = bare("fetch", "lab", "--json").json
    assert fetched["refs"] == {NAME: made}


# Names at a remote


def test_a_name_is_deleted_at_a_remote_and_restored(bare: Run, mine: Path, lab: Path) -> None:
    digest = digest_of(bare, NAME, mine)
    bare("fetch", "lab")
    asked = bare("delete", NAME, "--from", "lab")
    assert (asked.code, "--yes" in asked.err, digest[7:19] in asked.err) == (2, True, True)
    done = bare("delete", NAME, "--from", "lab", "--yes")
    assert (done.code, f"zoo delete --restore {NAME} --from lab" in done.out) == (0, True)
    assert digest_of(bare, NAME, mine) == digest, "here it stays"
    assert bare("show", NAME, "--json").json["at_remotes"] == []
    gone = bare("pull", NAME, "--from", "lab")
    assert (gone.code, f"zoo delete --restore {NAME} --from lab" in gone.err) == (1, True)
    moves = sorted((lab / "refs" / NAME / "latest").iterdir())
    assert [json.loads(move.read_bytes()).get("deleted", False) for move in moves] == [False, True]
    again = bare("delete", NAME, "--from", "lab", "--yes")
    assert (again.code, "unknown checkpoint in lab" in again.err) == (1, True)
    assert bare("delete", "--restore", NAME, "--from", "lab").code == 0
    assert bare("pull", NAME, "--from", "lab").code == 0


def test_a_name_is_deleted_in_a_bucket(bare: Run, mine: Path, s3: str) -> None:
    bare("push", NAME, "--to", s3)
    assert bare("delete", NAME, "--from", s3, "--yes").code == 0
    assert bare("pull", NAME, "--from", s3, "--as", "team/x").code == 1
    assert bare("delete", "--restore", NAME, "--from", s3).code == 0
    assert bare("pull", NAME, "--from", s3, "--as", "team/x").code == 0


def test_a_name_that_moves_while_it_is_asked_about_stays(
    mine: Path, theirs: Path, bare: Run
) -> None:
    with zoo.open(mine) as opened:
        seen = opened.entry(NAME, remote="lab")
        new = move_at_lab(bare, theirs)
        with pytest.raises(zoo.ZooError, match="moved by someone else"):
            opened.delete(NAME, remote="lab", of=seen)
        assert str(opened.entry(NAME, remote="lab").manifest) == new


def test_a_question_that_is_denied_deletes_nothing(
    bare: Run, mine: Path, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("click.confirm", lambda *_, **__: (_ for _ in ()).throw(_abort()))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    done = bare("delete", NAME, "--from", "lab")
    assert done.code == 130
    assert len(list((lab / "refs" / NAME / "latest").iterdir())) == 1


def _abort() -> Exception:
    import click

    return click.Abort()


def test_a_protected_name_at_a_remote_stays(bare: Run, mine: Path, theirs: Path) -> None:
    assert bare("protect", NAME, "--at", "lab").code == 0
    off = f"zoo protect --off {NAME} --at "
    for line, where in (
        (("delete", NAME, "--from", "lab", "--yes"), "lab"),
        (("push", NAME, "--to", "lab"), "lab"),
    ):
        grow(mine, NAME, NAME, bias=2)
        done = bare(*line)
        assert (done.code, off + where in done.err) == (1, True)
        assert "push --force" not in done.err
    assert bare("push", NAME, "--to", "lab", "--force").code == 1
    assert bare("protect", "--off", NAME, "--at", "lab").code == 0
    assert bare("push", NAME, "--to", "lab").code == 0


def test_a_name_here_is_restored(bare: Run, mine: Path) -> None:
    digest = digest_of(bare, NAME, mine)
    bare("delete", NAME)
    log = bare("log", NAME)
    assert (log.code, "delete" in log.out) == (0, True)
    assert f"restore it: zoo delete --restore {NAME}\n" in log.err
    assert bare("log", NAME, "--json").json["deleted"] is True
    assert bare("delete", "--restore", NAME).code == 0
    assert digest_of(bare, NAME, mine) == digest
    assert bare("search", NAME, "--json").json[0]["name"] == NAME


def test_what_is_restored_at_a_remote_is_safe_from_a_prune_meanwhile(
    bare: Run, mine: Path, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare("delete", NAME, "--from", "lab", "--yes")
    size, refused = Store.size, []

    def prune_meanwhile(store: Store, kind: Any, digest: Any) -> int:
        found = size(store, kind, digest)
        if store.root == lab:
            with pytest.raises(Conflict), Store.open(lab).pruning():
                pass
            refused.append(digest)
        return found

    monkeypatch.setattr(Store, "size", prune_meanwhile)
    assert bare("delete", "--restore", NAME, "--from", "lab").code == 0
    assert refused


def test_a_push_to_a_protected_name_sends_nothing(bare: Run, mine: Path, lab: Path) -> None:
    bare("protect", NAME, "--at", "lab")
    grow(mine, NAME, NAME, bias=2)
    before = {path for path in lab.rglob("*") if path.is_file()}
    for flags in ((), ("--force",)):
        assert bare("push", NAME, "--to", "lab", *flags).code == 1
        assert {path for path in lab.rglob("*") if path.is_file()} == before


def test_the_index_knows_of_a_protection_at_a_remote(bare: Run, mine: Path) -> None:
    bare("fetch", "lab")
    assert bare("protect", NAME, "--at", "lab").code == 0
    with zoo.open(mine) as opened:
        there = opened.workspace.registry.remote_refs("lab")[Reference.parse(NAME)]
        assert there.number == opened.entry(NAME, remote="lab").number == 2


def test_a_name_here_that_moved_since_it_was_looked_at_stays(bare: Run, mine: Path) -> None:
    with zoo.open(mine) as opened:
        seen = opened.entry(NAME)
        made = grow(mine, NAME, NAME, bias=3)
        with pytest.raises(Conflict, match="moved by someone else"):
            opened.delete(NAME, of=seen)
        assert opened.delete(NAME, of=opened.entry(NAME)).deleted
    assert bare("log", NAME, "--json").json["manifest"] == made


@pytest.mark.parametrize("kind", ["objects", "manifests"])
def test_a_remote_that_can_replace_nothing_is_not_named_like_a_folder(
    bare: Run, mine: Path, lab: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    flip_byte(next((lab / kind).glob("*/*")))
    for module in ("there", "copy"):
        monkeypatch.setattr(f"zoo.transfer.{module}.maintained", lambda _: None)
    done = bare("push", NAME, "--to", "lab")
    assert (done.code, "the remote --repair" in done.err) == (1, False)
    assert "zoo verify REMOTE --repair" in done.err


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
    assert (refused.code, "nan is no number of days" in refused.err) == (1, True)


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


# The hub is no store


@pytest.mark.parametrize(
    "where", ["hf://org/net", "HF://org/net", "https://huggingface.co/org/net"]
)
def test_what_is_no_store_says_what_takes_it(bare: Run, mine: Path, where: str) -> None:
    for line in (
        ("delete", NAME, "--from", where, "--yes"), ("verify", where), ("prune", where),
        ("remote", "add", "hub", where), ("clone", where, "there"),
    ):  # fmt: skip
        done = bare(*line)
        assert (done.code, "is no store" in done.err) == (1, True), line
        assert "--to hf://org/net publishes there" in done.err
    done = bare("pull", NAME, "--from", where)
    assert "zoo pull team/flowers:theirs --from hf://org/net" in done.err
    assert bare("remote", "--json").json[0]["name"] == "lab"


def test_python_offers_the_same(mine: Path, theirs: Path, bare: Run) -> None:
    new = move_at_lab(bare, theirs)
    own = grow(mine, NAME, NAME, bias=3)
    with zoo.open(mine) as opened:
        with pytest.raises(WouldReplace) as caught:
            opened.pull_from(NAME, "lab")
        assert (caught.value.ref, caught.value.current) == (NAME, own)
        ref, _ = opened.pull_from(NAME, "lab", save=f"{NAME}:theirs")
        assert str(ref) == f"{NAME}:theirs"
        assert opened.search(NAME, pulled=True)[0].at_remotes[0]["manifest"] == new
        opened.pull_from(NAME, "lab", force=True)
        for call in (opened.push, opened.pull_from):
            with pytest.raises(InvalidOption, match="is no store") as refused:
                call(NAME, "hf://org/net")
            assert "publish, pull_published" in str(refused.value.hint)
        opened.protect(NAME, remote="lab")
        with pytest.raises(Protected):
            opened.delete(NAME, remote="lab")
        opened.protect(NAME, on=False, remote="lab")
        assert opened.delete(NAME, remote="lab").deleted
        assert not opened.restore(NAME, remote="lab").deleted
        with pytest.raises(UnknownName) as unknown:
            opened.show("team/flower")
        assert unknown.value.__notes__ == [f"did you mean {' or '.join(unknown.value.near)}?"]
