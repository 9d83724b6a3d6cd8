"""Whoever looks at a page first does not wait for what is made once, nor for anything twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.paged import HTML
from fakes.served import Served
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import CacheStats

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.errors import Unavailable
from zoo.serve.http.guard import Address
from zoo.serve.keep.views import Views
from zoo.serve.keep.worker import Worker
from zoo.serve.run import Server
from zoo.store import manifests
from zoo.store.files import add_file
from zoo.workspace import Workspace

NAMES = ("team/a", "team/b", "team/c")


@contextmanager
def started(root: Path) -> Iterator[Served]:
    """A server, once it is warm."""
    server = Server(Workspace(root), Address.checked("127.0.0.1", 0, ""))
    # Networks that are made up cannot be described, which another thread would try.
    (looking,) = server._threads = [each for each in server._threads if each.name == "warm"]
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while looking.ident is None:
        time.sleep(0.005)
    looking.join()
    yield Served(server.url, root, server)
    server.should_exit = True
    thread.join()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A zoo of three checkpoints of the same tensors, served."""
    config = tmp_path / "config.json"
    config.write_text("{}")
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        file = add_file(workspace.store, config, name=config.name)
        for name in NAMES:
            add_checkpoint(workspace, name, tensors(0), license=name, files=(file,))
    with started(tmp_path / "zoo") as served:
        yield served


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
    for path in ("/", f"/{NAMES[-1]}"):
        assert served.ask(path, token=token, Accept=HTML).status == 200
    assert asked
    assert [statement for statement, made in asked if made] == []
    assert served.ask("/?q=accuracy>0.5&sort=-accuracy", token=token, Accept=HTML).status == 200
    assert any(made for _, made in asked), "what was not asked before is seen"


@pytest.mark.parametrize("path", [
    f"/{NAMES[0]}", f"/{NAMES[0]}/layers", f"/{NAMES[0]}/lineage",
    f"/compare?names={NAMES[0]}&names={NAMES[1]}:latest",
])  # fmt: skip
def test_no_network_is_built_for_a_page(
    served: Served, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def fails(_: Views, digest: Digest, patience: float) -> None:
        assert patience == 0, "it takes seconds to describe a network"
        raise Unavailable(digest.short, "it is not described")

    monkeypatch.setattr(Views, "of", fails)
    assert served.ask(path, token=served.token("ann"), Accept=HTML).status == 200
    assert served.ask(f"/{NAMES[0]}/files", token=served.token("ann")).status == 500


def test_none_is_built_as_a_server_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        add_checkpoint(workspace, NAMES[0])
    asked: list[object] = []
    monkeypatch.setattr(Worker, "ask", lambda *given, **_: asked.append(given))
    with started(tmp_path / "zoo"):
        assert asked == []


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
