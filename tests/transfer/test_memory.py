"""A backend in memory keeps the contract, and pushes and pulls work with it as with any."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, tensors
from fakes.wired import Wired

from zoo.contracts import Backend
from zoo.domain.manifest import Parent
from zoo.store import Store
from zoo.testing.memory import MemoryBackend
from zoo.testing.remotes import BackendSuite, StoreSuite
from zoo.transfer.sync import pull, push


class OfMemory:
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend.connect("memory://zoo", create=True)


class TestMemory(OfMemory, BackendSuite):
    pass


class TestStore(OfMemory, StoreSuite):
    pass


def test_there_and_back(tmp_path: Path) -> None:
    memory = Store.connect(MemoryBackend(), create=True)
    mine, theirs = Wired.create(tmp_path / "mine"), Wired.create(tmp_path / "theirs")
    mine.wire = theirs.wire = memory
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
