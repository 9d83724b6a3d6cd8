"""A team's folder of which not all can be read costs what cannot be read, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import Run
from fakes.teammates import NAME, move_at_lab

from zoo.errors import (
    Forbidden,
)
from zoo.store.disk import Disk


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
