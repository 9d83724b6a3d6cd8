"""A zoo whose index is on a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, entry
from fakes.postgres import Server

from zoo.domain.reference import Reference
from zoo.errors import Conflict
from zoo.registry import Query, Registry
from zoo.workspace import Workspace

FLOWERS = "team/flowers"


@pytest.fixture
def zoo(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("ZOO_DB", database)
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(workspace, FLOWERS)
    yield workspace
    workspace.close()


def names(workspace: Workspace) -> list[str]:
    return [found.name for found in workspace.registry.search(Query())]


def test_no_file_is_made(zoo: Workspace) -> None:
    assert names(zoo) == [FLOWERS]
    assert not (zoo.root / "registry.db").exists()
    again = Workspace(zoo.root)
    assert names(again) == [FLOWERS]
    again.close()


def test_an_empty_database_is_filled_from_the_store(
    zoo: Workspace, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.close()
    url = postgres_server.database("fresh")
    monkeypatch.setenv("ZOO_DB", url)
    assert names(zoo) == [FLOWERS]
    zoo.close()
    monkeypatch.delenv("ZOO_DB")
    assert names(zoo) == [FLOWERS]  # in a file, as there was none
    assert (zoo.root / "registry.db").exists()


def test_an_index_that_was_cut_short_is_filled(
    zoo: Workspace, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.close()
    monkeypatch.setenv("ZOO_DB", postgres_server.database("fresh"))
    with monkeypatch.context() as stopped:
        stopped.setattr(Registry, "set_ref", _stop)
        with pytest.raises(KeyboardInterrupt):
            names(zoo)
    assert names(zoo) == [FLOWERS]


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_another_zoo_is_refused_and_changes_nothing(zoo: Workspace, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="ZOO_DB"):
        Workspace.create(tmp_path / "other")
    assert names(zoo) == [FLOWERS]


def test_reindex(zoo: Workspace) -> None:
    _, digest = zoo.names.resolve(FLOWERS)
    zoo.registry.remove_ref(Reference.parse(FLOWERS), entry(2, digest))
    zoo.registry.forget([digest])
    assert names(zoo) == []
    assert zoo.reindex().to_json() == {"refs": 1, "checkpoints": 1, "replaced": False}
    assert names(zoo) == [FLOWERS]
