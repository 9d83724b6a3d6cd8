"""A backend in memory keeps the contract, and pushes and pulls work with it as with any."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, tensors

from zoo.contracts import Backend
from zoo.domain.manifest import Parent
from zoo.store import Store
from zoo.testing.memory import MemoryBackend
from zoo.testing.remotes import BackendSuite, StoreSuite
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace


class OfMemory:
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend.connect("memory://zoo", create=True)


class TestMemory(OfMemory, BackendSuite):
    pass


class TestStore(OfMemory, StoreSuite):
    pass


def test_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = Workspace.create(tmp_path / "mine"), Workspace.create(tmp_path / "theirs")
    memory = Store.connect(MemoryBackend(), create=True)
    for workspace in (mine, theirs):
        monkeypatch.setattr(workspace, "remote", lambda *_, **__: memory)
    values = tensors()
    base = add_checkpoint(mine, "team/base", values)
    parent = Parent(manifest=base, relation="finetune", ref="team/base")
    conv = "layer1.0.conv.weight"
    tuned = {**values, conv: values[conv] * values[conv].dtype.type(1.0001)}
    add_checkpoint(mine, "team/tuned", tuned, parents=(parent,))
    for name in ("team/base", "team/tuned"):
        push(mine, name, "memory")
    _, copied = pull(theirs, "team/tuned", "memory")
    assert copied.sent_bytes < copied.logical_bytes + 50_000
    assert_sound(theirs.store)
    assert theirs.names.resolve("team/tuned") == mine.names.resolve("team/tuned")
