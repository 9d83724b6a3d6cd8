"""The index follows the store, whoever is stopped in between, and whatever fails."""

from __future__ import annotations

import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, flip_byte, store_checkpoint, tensors
from fakes.moves import append
from fakes.program import Said, zoo

from zoo.domain.reference import Reference
from zoo.errors import DiskFull, Unavailable
from zoo.registry import Registry
from zoo.store import Store
from zoo.workspace import Workspace

NAME, OTHER = "team/flowers", "team/other"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(workspace, NAME)
    workspace.close()
    return tmp_path / "zoo"


@pytest.fixture
def team(tmp_path: Path) -> Path:
    store = Store.create(tmp_path / "team")
    append(store, Reference.parse(OTHER), store_checkpoint(store, tensors(1)), "x")
    return store.root


def names(home: Path) -> list[str]:
    return [row["name"] for row in zoo("--home", home, "search", "--json").done().json]


def killed(home: Path, *line: object) -> None:
    """Run a command that is killed after its name has moved, and before that is indexed."""
    child = os.fork()
    if not child:
        for change in ("set_ref", "remove_ref"):
            setattr(Registry, change, lambda *_: os._exit(9))
        zoo("--home", home, *line)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def lines(team: Path) -> list[tuple[tuple[object, ...], list[str]]]:
    return [
        (("tag", NAME, OTHER), [NAME, OTHER]),
        (("delete", NAME), []),
        (("pull", OTHER, "--from", team), [OTHER, NAME]),
    ]


@pytest.mark.parametrize("which", range(3), ids=["tag", "delete", "pull"])
def test_the_next_command_notices_who_was_killed(home: Path, team: Path, which: int) -> None:
    line, wanted = lines(team)[which]
    killed(home, *line)
    assert sorted(names(home)) == sorted(wanted)


def test_what_is_noticed_is_looked_at_for_an_hour(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(home, "tag", NAME, OTHER)
    assert names(home) == [NAME, OTHER]
    workspace = Workspace(home)
    assert [str(note.ref) for note in workspace.registry.moving()] == [OTHER]
    workspace.close()
    monkeypatch.setattr("zoo.indexed.STOPPED", timedelta(0))
    assert workspace.registry.moving() == []
    workspace.close()


def test_what_went_well_leaves_no_note(home: Path, team: Path) -> None:
    for line, _ in lines(team):
        zoo("--home", home, *line)
    zoo("--home", home, "protect", OTHER).done()
    zoo("--home", home, "tag", OTHER, OTHER)
    zoo("--home", home, "delete", OTHER).refused("protected")
    workspace = Workspace(home)
    assert workspace.registry.moving() == []
    workspace.close()


def test_a_verify_brings_the_index_up_to_date(home: Path) -> None:
    """What somebody else moved, who knows no index: as a push to this zoo does."""
    store = Store.open(home)
    append(store, Reference.parse(OTHER), store_checkpoint(store, tensors(1)), "push")
    assert names(home) == [NAME]
    said = zoo("--home", home, "verify").done()
    assert "all sound" in said.out
    assert f"the index lacked {OTHER}" in said.err
    assert names(home) == [NAME, OTHER]
    assert zoo("--home", home, "verify").done().err == ""


def test_a_verify_ends_well_where_the_index_cannot_be_opened(home: Path) -> None:
    connection = sqlite3.connect(home / "registry.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    said = zoo("--home", home, "verify").done()
    assert "all sound" in said.out
    assert "the index may lack what the store holds" in said.err


def test_a_repair_brings_the_index_up_to_date(home: Path, tmp_path: Path) -> None:
    zoo("--home", home, "push", NAME, "--to", tmp_path / "mirror").done()
    workspace = Workspace(home)
    manifest = workspace.store.path("manifests", workspace.names.resolve(NAME)[1])
    flip_byte(manifest)
    workspace.reindex()
    workspace.close()
    assert names(home) == []
    said = zoo("--home", home, "verify", "--repair", "--from", tmp_path / "mirror").done()
    assert f"the index lacked {NAME}" in said.err
    assert names(home) == [NAME]


FAILURES = {
    "a full disk": DiskFull("registry.db"),
    "a server that is away": Unavailable("the database", "it does not answer"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("which", range(3), ids=["tag", "delete", "pull"])
def test_a_move_that_is_done_is_no_error(
    home: Path, team: Path, monkeypatch: pytest.MonkeyPatch, which: int, failure: Exception
) -> None:
    line, wanted = lines(team)[which]

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        for change in ("set_ref", "remove_ref"):
            patch.setattr(Registry, change, fail)
        said: Said = zoo("--home", home, *line).done()
    assert "has moved, but is not indexed yet" in said.err
    assert sorted(names(home)) == sorted(wanted)


def test_nothing_moves_where_no_note_can_be_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DiskFull("registry.db")

    monkeypatch.setattr(Registry, "announce", fail)
    for line in (("tag", NAME, OTHER), ("delete", NAME)):
        zoo("--home", home, *line).refused("no space left")
    assert len(Store.open(home).history(Reference.parse(NAME))) == 1
    assert len(list(Store.open(home).refs())) == 1
