"""An index that a newer program has opened: refused in one clear line, never changed unasked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint
from fakes.program import zoo

from zoo.workspace import Workspace

NAME = "team/flowers"


@pytest.fixture(autouse=True)
def no_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reindex lists what libraries publish, too, which takes seconds."""
    monkeypatch.setattr("zoo.exchange.indexing.index_local", lambda *_, **__: None)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(workspace, NAME)
    return workspace


def execute(home: Path, *statements: str) -> None:
    connection = sqlite3.connect(home / "registry.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def make_newer(home: Path) -> None:
    """As a newer program's migration leaves it: a table has gone, others may have come."""
    execute(
        home,
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE ref RENAME TO reference",
        "CREATE TABLE brand_new (id INTEGER)",
    )


@pytest.fixture
def newer(workspace: Workspace) -> Path:
    workspace.close()
    make_newer(workspace.root)
    return workspace.root


@pytest.mark.parametrize(
    "line", [("search",), ("show", NAME), ("tag", NAME, "team/x"), ("delete", NAME)]
)
def test_it_is_refused_and_left_alone(newer: Path, line: tuple[str, ...]) -> None:
    before = (newer / "registry.db").read_bytes()
    said = zoo("--home", newer, *line)
    said.refused(
        f"{newer / 'registry.db'} was made by a newer zoo", "9999",
        "update zoo where it was installed", f"zoo reindex --home {newer}",
    )  # fmt: skip
    assert (newer / "registry.db").read_bytes() == before
    assert [path.name for path in newer.glob("registry.db.*")] == []
    assert [path.name for path in (newer / "refs" / "team").iterdir()] == ["flowers"]


def test_a_reindex_makes_it_again_and_keeps_the_newer_one(newer: Path) -> None:
    before = (newer / "registry.db").read_bytes()
    said = zoo("reindex", "--home", newer, "--json").done()
    assert said.json["replaced"] is True
    (kept,) = newer.glob("registry.db.newer-*")
    assert kept.read_bytes() == before
    assert f"the newer one is kept: {kept}" in said.err
    found = zoo("--home", newer, "search", "--json").done()
    assert [row["name"] for row in found.json] == [NAME]
    assert found.err == ""


def test_it_can_be_deleted(newer: Path) -> None:
    (newer / "registry.db").unlink()
    assert [row["name"] for row in zoo("--home", newer, "search", "--json").json] == [NAME]


def test_one_that_is_opened_by_a_newer_one_meanwhile(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(workspace.registry.refs()) == 1
    make_newer(workspace.root)
    home = workspace.root
    monkeypatch.setattr(Workspace, "find", lambda *_: workspace)
    for line in (("search", "flowers"), ("tag", NAME, "team/x"), ("delete", NAME)):
        zoo(*line).refused("was made by a newer zoo", "nothing was changed")
    assert [path.name for path in home.glob("registry.db.*-2*")] == []
    assert [path.name for path in (home / "refs" / "team").iterdir()] == ["flowers"]
    workspace.close()


def test_nothing_is_written_to_one_whose_tables_are_the_same(workspace: Workspace) -> None:
    assert len(workspace.registry.refs()) == 1
    execute(workspace.root, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Exception, match="was made by a newer zoo"):
        add_checkpoint(workspace, "team/x")
    workspace.close()
    assert [path.name for path in (workspace.root / "refs" / "team").iterdir()] == ["flowers"]
