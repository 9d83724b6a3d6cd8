"""A remote in memory keeps the contract, and pushes and pulls work with it as with any."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, tensors

from zoo.contracts import Remote
from zoo.domain.manifest import Parent
from zoo.testing.memory import MemoryRemote
from zoo.testing.remotes import RemoteSuite
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace


class TestMemory(RemoteSuite):
    @pytest.fixture
    def remote(self) -> Remote:
        return MemoryRemote.connect("memory://zoo", create=True)


def test_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = Workspace.create(tmp_path / "mine"), Workspace.create(tmp_path / "theirs")
    memory = MemoryRemote()
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
    assert theirs.resolve("team/tuned") == mine.resolve("team/tuned")
