"""Who trained a checkpoint and what for: it goes with it, wherever it is pulled."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.hub_zoo import weights
from fakes.prepared import Run
from fakes.teammates import NAME, move_at_lab

import zoo

NOTE = "for the greenhouse, with photos of May"
BEFORE_0015 = """
ALTER TABLE checkpoint DROP COLUMN note;
ALTER TABLE item DROP COLUMN note;
ALTER TABLE remote_ref DROP COLUMN note;
ALTER TABLE remote_ref DROP COLUMN author;
ALTER TABLE checkpoint DROP COLUMN stated;
ALTER TABLE item DROP COLUMN stated;
DROP TABLE bench;
DROP INDEX ix_ref_name;
DROP INDEX ix_remote_ref_name;
UPDATE alembic_version SET version_num = '0014';
"""


@pytest.fixture
def trained(small: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A zoo with ``team/x``, which Ana trained."""
    monkeypatch.setenv("ZOO_AUTHOR", "ana")
    tune = ("finetune", "team/net", "--data", few, "--strategy", "probe", "--image-size", 32)
    small(*tune, "--save", "team/x", "--note", f" {NOTE}\n", "--quiet").done()
    return small


def test_a_teammate_sees_who_trained_it_and_what_for(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("push", "team/x", "--to", tmp_path / "lab").done()
    monkeypatch.setenv("ZOO_AUTHOR", "ben")
    trained("clone", tmp_path / "lab", tmp_path / "bens").done()
    at = ("--home", tmp_path / "bens")
    assert "team/x" in trained("search", "greenhouse", *at).done().out  # fetched, and not here yet
    trained("pull", "team/x", *at).done()
    shown = trained("show", "team/x", *at).done().out
    assert f"\nnote: {NOTE}\n" in "\n".join(" ".join(x.split()) for x in shown.splitlines())
    assert "\ntrained by: ana\n" in "\n".join(" ".join(x.split()) for x in shown.splitlines())
    logged = trained("log", "team/x", *at).done().out
    assert "trained by ana" in logged
    assert f"({NOTE})" in logged
    step = trained("log", "team/x", "--json", *at).json["ancestors"][0]
    assert (step["author"], step["note"]) == ("ana", NOTE)
    assert "team/x" in trained("search", "may", "ana", *at).done().out
    trained("export", "team/x", tmp_path / "out", *at).done()
    card = (tmp_path / "out/README.md").read_text()
    assert f"\n{NOTE}\n" in card
    assert "outputs), by ana." in card


def test_a_note_is_a_line_of_bounded_length(small: Run, few: Path) -> None:
    tune = ("finetune", "team/net", "--data", few, "--save", "team/x")
    small(*tune, "--note", "x" * 501).refused("the note has 501 letters; the most is 500")
    small(*tune, "--note", "red \x1b[31m").refused("characters that cannot be shown")
    assert small("runs", "--json").json == []


@pytest.mark.long
def test_an_import_takes_a_note(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.safetensors").write_bytes(weights(7))
    how = ("import", "a.safetensors", "--architecture", "test_resnet", "--as", "team/a")
    plain = small(*how, "--json").done().json["manifest"]
    monkeypatch.setenv("ZOO_AUTHOR", "ben")  # the same file is the same checkpoint for everybody
    assert small(*how, "--json").done().json["manifest"] == plain
    small(*how, "--note", NOTE).done()
    assert small("show", "team/a", "--json").json["provenance"]["note"] == NOTE
    assert "team/a" in small("search", "greenhouse").out
    for earlier in (False, True):  # an index that knows no notes, too
        if earlier:
            with closing(sqlite3.connect("registry.db")) as index:
                index.executescript(BEFORE_0015)
        rows = small("ls", "--json").done().json
        assert {row["name"]: row["note"] for row in rows}["team/a"] == NOTE


@pytest.mark.long
def test_a_rerun_takes_a_note_of_its_own(trained: Run) -> None:
    again = ("rerun", "team/x", "--save", "team/again", "--quiet", "--json")
    for more, said in (((), None), (("--note", "once more"), "once more")):
        trained(*again, *more).done()
        assert trained("log", "team/again", "--json").json["ancestors"][0]["note"] == said


def test_a_move_at_a_remote_has_who_and_what_for(
    bare: Run, mine: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_AUTHOR", "ben")
    move_at_lab(bare, theirs, 7, "--note", f" {NOTE}\n")
    assert f"push ({NOTE})" in bare("log", NAME, "--home", theirs.parent / "lab").done().out
    bare("fetch", "lab").done()
    told = f" by ben ({NOTE}), here: behind\n"
    assert told in bare("log", NAME).done().out
    (there,) = bare("show", NAME, "--json").json["at_remotes"]
    assert (there["by"], there["note"]) == ("ben", NOTE)
    # What an earlier version has fetched, the next fetch tells.
    with closing(sqlite3.connect("registry.db")) as index, index:
        index.execute("UPDATE remote_ref SET author = NULL, note = NULL")
    assert "Z, here: behind\n" in bare("log", NAME).done().out
    bare("fetch", "lab").done()
    assert told in bare("log", NAME).done().out


def test_a_tag_and_a_push_take_a_note(bare: Run, mine: Path) -> None:
    def notes(*where: object) -> list[str]:
        history = bare("log", f"{NAME}:v1", "--json", *where).done().json["history"]
        return [entry.get("note", "") for entry in history]

    tag = ("tag", NAME, f"{NAME}:v1")
    for more in ((), ("--note", "for the demo"), ("--note", "for the demo"), ()):
        bare(*tag, *more).done()
    assert notes() == ["for the demo", ""]
    assert f"tag {NAME} (for the demo)" in bare("log", f"{NAME}:v1").out
    push = ("push", NAME, "--all-tags", "--to", "lab")
    bare(*push).done()
    bare(*push, "--note", "the final one").done()
    assert notes("--home", mine.parent / "lab") == ["the final one", ""]
    bare("protect", f"{NAME}:v1").done()
    bare(*tag, "--note", "another").refused("protected")
    for command in (tag, push):
        bare(*command, "--note", "x" * 501).refused("the note has 501 letters; the most is 500")


def test_what_strangers_say_is_escaped_and_cut(toy: Run) -> None:
    said = {"author": "\x1b[31mred" + "y" * 9999, "note": "\x07" + "x" * 9999}
    with zoo.open() as here:
        add_checkpoint(here.workspace, "x/y", tensors(3), provenance=said)
    for command in ("show", "log"):
        out = toy(command, "x/y").done().out
        assert all(char.isprintable() or char == "\n" for char in out)
        assert len(out) < 3000
