"""The newest entry of a name is not read again while it is that; another one is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, store_checkpoint

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.serve.keep.history import History
from zoo.serve.keep.views import Views
from zoo.store.refs import Refs, entry_name
from zoo.workspace import Workspace

REF = Reference("team", "net")


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Workspace]:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        add_checkpoint(workspace, "team/net")
        yield workspace


@pytest.fixture
def history(zoo: Workspace) -> Iterator[History]:
    with closing(Views(zoo.store)) as views:
        yield History(zoo.store, views)


def at(history: History) -> Digest | None:
    version = history.version_of(REF)
    return version.entry.manifest if version else None


def test_it_is_read_once(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    first = at(history)
    monkeypatch.setattr(Refs, "read_ref", None)
    assert (at(history), at(history)) == (first, first)


def test_what_others_do_with_the_name_is_told_at_once(
    history: History, zoo: Workspace, tmp_path: Path
) -> None:
    first = at(history)
    second = store_checkpoint(zoo.store, {"w": np.ones(3, np.float32)})
    with closing(Workspace(tmp_path / "zoo")) as other:
        other.move(REF, second, "tag")
        assert at(history) == second
        other.delete(REF)
        assert at(history) is None
        other.restore(REF)
        assert at(history) == second
    files = [zoo.root / entry_name(REF, number) for number in (1, 2, 3, 4)]
    data = [file.read_bytes() for file in files]
    for file in files[1:]:  # as by hand, where one is damaged
        file.unlink()
    assert at(history) == first
    files[1].write_bytes(data[1])
    assert at(history) == second
    files[0].unlink()
    files[1].unlink()
    assert at(history) is None


def test_an_entry_in_the_place_of_another_one_is_read(history: History, zoo: Workspace) -> None:
    """As where a name was moved away, and is made again."""
    first, file = at(history), zoo.root / entry_name(REF, 1)
    other = store_checkpoint(zoo.store, {"w": np.ones(3, np.float32)})
    zoo.move(Reference("team", "other"), other, "tag")
    file.unlink()
    file.write_bytes((zoo.root / entry_name(Reference("team", "other"), 1)).read_bytes())
    assert (first, at(history)) == (first, other)
