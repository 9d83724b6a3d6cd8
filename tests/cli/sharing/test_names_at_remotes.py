"""Names at a remote: deleted, restored and protected there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import Run
from fakes.teammates import NAME, digest_of, grow, move_at_lab

import zoo
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Unavailable
from zoo.store import Store
from zoo.transfer import sync
from zoo.workspace import Workspace


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
    assert (again.code, f"unknown checkpoint '{NAME}' in lab" in again.err) == (1, True)
    assert bare("delete", "--restore", NAME, "--from", "lab").code == 0
    assert bare("pull", NAME, "--from", "lab").code == 0


def test_what_is_written_as_a_path_at_a_remote_is_pulled_under_another_name(
    bare: Run, mine: Path, lab: Path
) -> None:
    bare("fetch", "lab").done()
    pull = ("pull", NAME, "--from", "lab", "--as", f"{NAME}:theirs")
    bare("compare", NAME, f"lab/{NAME}").refused(f"zoo {' '.join(pull)}")
    assert "did you mean" not in bare("compare", NAME, f"lab/{NAME}").err
    bare(*pull).done()
    bare("compare", NAME, f"{NAME}:theirs").done()


def test_a_name_is_deprecated_and_who_pulls_it_is_told(bare: Run, mine: Path, lab: Path) -> None:
    bare("deprecate", NAME, "wrong labels", "--at", "lab")
    told = bare("pull", NAME, "--from", "lab")
    assert f"{NAME} is deprecated there: wrong labels" in told.err
    assert bare("pull", NAME, "--from", "lab", "--json").json["deprecated"] == "wrong labels"
    assert "deprecated" not in bare("show", NAME).out
    assert bare("deprecate", NAME, "use team/b").out == f"{NAME} is deprecated: use team/b\n"
    assert re.search("^deprecated: +use team/b$", bare("show", NAME).out, re.MULTILINE)
    for listing in ("ls", "search"):
        assert f"\n{NAME} (deprecated) " in bare(listing).done().out
        told_why = {row["name"]: row["deprecated"] for row in bare(listing, "--json").json}
        assert told_why == {NAME: "use team/b"}
    for on in ((), ("--off",)):
        bare("protect", NAME, *on)
        assert "use team/b" in bare("show", NAME).out, "a protection leaves it"
    said = bare("predict", NAME, mine / "none.png").err
    assert said.startswith(f"WARNING: {NAME} is deprecated: use team/b\n")
    assert bare("push", NAME, "--to", "lab").err == ""  # it says so there, too
    bare("deprecate", NAME, "--off", "--at", "lab")
    pushed = bare("push", NAME, "--to", "lab").err
    assert f"lab is not told: zoo deprecate {NAME} 'use team/b' --at lab" in pushed
    bare("delete", NAME)
    bare("delete", "--restore", NAME)
    assert "use team/b" in bare("show", NAME).out
    bare("tag", NAME, "team/copy")
    assert "deprecated" not in bare("show", "team/copy").out
    for line in ((NAME,), (NAME, "  "), (NAME, "why", "--off")):
        asked = bare("deprecate", *line)
        assert (asked.code, "say why" in asked.err) == (2, True)
    bare("deprecate", NAME, "--off")
    assert "deprecated" not in bare("show", NAME).out + bare("ls").out


def test_a_name_without_a_number_left_is_not_said_to_move(bare: Run, mine: Path, lab: Path) -> None:
    moves = lab / "refs" / NAME / "latest"
    entry = json.loads((moves / "00000001.json").read_bytes())
    (moves / "99999999.json").write_text(json.dumps({**entry, "number": 99_999_999}))
    for line in (("delete", NAME, "--from", "lab", "--yes"), ("protect", NAME, "--at", "lab")):
        bare(*line).refused("the last that a name can have", f"zoo tag {NAME} NAME")
    assert {path.name for path in moves.iterdir()} == {"00000001.json", "99999999.json"}


@pytest.mark.long
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
        assert ("under a name that you may move: push --as NAME" in done.err) == ("push" in line)
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


def test_a_name_that_is_there_is_not_said_to_be_restored(bare: Run, mine: Path, lab: Path) -> None:
    for where in ((), ("--from", "lab")):
        for _ in range(2):
            done = bare("delete", "--restore", NAME, *where)
            assert done.code == 0
            assert done.out.startswith(f"{NAME} is not deleted, nothing was changed"), where
        bare("delete", NAME, *where, *(("--yes",) if where else ()))
        assert bare("delete", "--restore", NAME, *where).out.startswith(f"restored {NAME}")
        assert bare("delete", "--restore", NAME, *where).out.startswith(f"{NAME} is not deleted")


def test_what_is_restored_at_a_remote_is_safe_from_a_prune_meanwhile(
    bare: Run, mine: Path, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare("delete", NAME, "--from", "lab", "--yes")
    require, refused = Store.require_manifest, []

    def prune_meanwhile(store: Store, digest: Any) -> None:
        require(store, digest)
        if store.root == lab:
            with pytest.raises(Conflict), Store.open(lab).pruning():
                pass
            refused.append(digest)

    monkeypatch.setattr(Store, "require_manifest", prune_meanwhile)
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


def test_all_tags_of_a_name_are_pushed_in_one_command(bare: Run, mine: Path, theirs: Path) -> None:
    first = digest_of(bare, NAME, mine)
    second = grow(mine, f"{NAME}:e2", NAME, bias=1)
    bare("tag", NAME, f"{NAME}:e1").done()
    bare("tag", f"{NAME}:e2", f"{NAME}:gone").done()
    bare("delete", f"{NAME}:gone").done()
    grow(mine, "team/other")
    line = ("push", NAME, "--all-tags", "--to", "lab")
    done = bare(*line, "--json").done().json
    assert [(each["ref"], each["manifest"]) for each in done] == [
        (f"{NAME}:e1", first), (f"{NAME}:e2", second), (NAME, first),
    ]  # fmt: skip
    with zoo.open(theirs) as opened:
        opened.fetch("origin")
        found = opened.search()
        here = {NAME: "yes", f"{NAME}:e1": "origin", f"{NAME}:e2": "origin"}
        assert {row.name: row.here for row in found} == here
        assert "  HERE" in repr(found)
    said = bare(*line).done().out
    assert [text.split()[0] for text in said.splitlines()[::2]] == [
        f"{NAME}:e1",
        f"{NAME}:e2",
        NAME,
    ]


@pytest.mark.parametrize("error", [Unavailable("lab", "the disk is gone"), KeyboardInterrupt()])
def test_of_all_tags_those_that_were_sent_before_a_failure_are_told(
    bare: Run, mine: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    for tag in ("e1", "e2"):
        bare("tag", NAME, f"{NAME}:{tag}").done()
    real = sync.push

    def failing(workspace: Workspace, name: str, *arguments: Any, **options: Any) -> Any:
        if name == NAME:
            raise error
        return real(workspace, name, *arguments, **options)

    monkeypatch.setattr(sync, "push", failing)
    failed = bare("push", NAME, "--all-tags", "--to", "lab")
    assert failed.code
    assert f"sent before that: {NAME}:e1, {NAME}:e2" in failed.err


def test_of_all_tags_none_is_pushed_if_one_would_hide_work(
    bare: Run, mine: Path, theirs: Path
) -> None:
    bare("tag", NAME, f"{NAME}:e1").done()
    move_at_lab(bare, theirs)
    grow(mine, NAME, NAME, bias=3)
    line = ("push", NAME, "--all-tags", "--to", "lab")
    bare(*line).refused("push by tester")
    bare("pull", f"{NAME}:e1", "--from", "lab").refused("unknown checkpoint")
    assert len(bare(*line, "--force", "--json").done().json) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ((f"{NAME}:e1", "--to", "lab"), "all tags are those of a name: team/flowers, not"),
        (("team/flowes", "--to", "lab"), f"did you mean {NAME}?"),
        ((NAME, "--to", "hf://team/x"), "hf://team/x takes one checkpoint at a time"),
    ],
)
def test_what_has_no_tags_to_push(bare: Run, mine: Path, line: tuple[str, ...], says: str) -> None:
    bare("push", *line, "--all-tags").refused(says)
