"""A backend that was asked ahead is one, and asks nothing that it knows."""

from __future__ import annotations

import pytest

from zoo.contracts import Backend
from zoo.domain.stored import StoredFile
from zoo.store.remembering import Remembering
from zoo.testing.memory import MemoryBackend
from zoo.testing.remotes import BackendSuite, StoreSuite


class OfRemembering:
    @pytest.fixture
    def backend(self) -> Backend:
        return Remembering(MemoryBackend())


class TestConformance(OfRemembering, BackendSuite):
    pass


class TestStoreConformance(OfRemembering, StoreSuite):
    pass


class Counted(MemoryBackend):
    asked = 0

    def stat(self, key: str) -> StoredFile | None:
        self.asked += 1
        return super().stat(key)


def test_what_it_learned_is_not_asked_again_until_it_is_written() -> None:
    inner = Counted()
    inner.put("a", [b"one"])
    backend = Remembering(inner)
    assert backend.learn(["a", "b"], "team/net") == {"b"}
    backend.rule_out(["c"])
    inner.asked = 0
    assert [*backend.present(["a", "b", "c"])] == ["a"]
    assert (backend.stat("a"), backend.stat("c")) == (inner.stat("a"), None)
    assert inner.asked == 1
    for key, write in (("b", backend.create), ("c", lambda k, d: backend.put(k, [d]))):
        write(key, b"new")
        assert backend.stat(key)
    backend.delete("a")
    assert backend.stat("a") is None
    assert [*backend.present(["b", "d"])] == ["b"]
