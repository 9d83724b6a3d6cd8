"""Whoever looks at a page first does not wait for what is made once, nor for anything twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.paged import HTML
from fakes.served import Served
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import CacheStats

from zoo.domain.manifest import Manifest
from zoo.serve.http.guard import Address
from zoo.serve.run import Server
from zoo.store import manifests
from zoo.workspace import Workspace

NAMES = ("team/a", "team/b", "team/c")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A zoo of three checkpoints, once its server is warm."""
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        for name in NAMES:  # of the same tensors
            add_checkpoint(workspace, name, tensors(0), license=name)
    server = Server(Workspace(tmp_path / "zoo"), Address.checked("127.0.0.1", 0, ""))
    # Networks that are made up cannot be described, which another thread would try.
    (looking,) = server._threads = [each for each in server._threads if each.name == "warm"]
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while looking.ident is None:
        time.sleep(0.005)
    looking.join()
    yield Served(server.url, tmp_path / "zoo", server)
    server.should_exit = True
    thread.join()


@pytest.fixture
def asked() -> Iterator[list[tuple[str, bool]]]:
    """Statements that the index was asked meanwhile; whether they were made, or known before."""
    found: list[tuple[str, bool]] = []

    def note(connection: Any, _: Any, statement: str, __: Any, context: Any, ___: Any) -> None:
        if str(connection.engine.url).endswith("registry.db"):
            found.append((statement, context.cache_hit is CacheStats.CACHE_MISS))

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("who", ["ann", "admin"])
def test_the_first_look_asks_nothing_new(
    served: Served, asked: list[tuple[str, bool]], who: str
) -> None:
    token = served.token(who)
    for path in ("/", f"/{NAMES[-1]}", f"/{NAMES[-1]}/versions"):
        assert served.ask(path, token=token, Accept=HTML).status == 200
    assert asked
    assert [statement for statement, made in asked if made] == []
    assert served.ask("/?q=accuracy>0.5&sort=-accuracy", token=token, Accept=HTML).status == 200
    assert any(made for _, made in asked), "what was not asked before is seen"


def test_names_of_those_that_share_are_asked_for_together(
    served: Served, asked: list[tuple[str, bool]]
) -> None:
    got = served.ask(f"/{NAMES[0]}/index.json", token=served.token("ann"))
    others = [share["other"]["name"] for share in got.json["checkpoint"]["shares"]]
    assert sorted(others) == [*NAMES[1:]]
    assert len([statement for statement, _ in asked if "FROM ref " in statement]) == 1


def test_a_comparison_reads_each_checkpoint_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, read = served.token("ann"), list[bytes]()
    whole = Manifest.from_bytes

    def noted(data: bytes) -> Manifest:
        read.append(data)
        return whole(data)

    monkeypatch.setattr(Manifest, "from_bytes", noted)
    manifests._known.cache_clear()
    path = "/compare?" + "&".join(f"names={name}" for name in NAMES)
    assert served.ask(path, token=token, Accept=HTML).status == 200
    assert len(read) == len({*read}) == len(NAMES)
