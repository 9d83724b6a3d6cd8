"""PostgreSQL is killed, or the bucket is cut off, below a server that goes on: whatever it has just
asked for. What was acknowledged is there; clients are told to ask again, and that works.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import psycopg
import pytest
from fakes import postgres
from fakes.killed import DONE, IN_PARTS, STORIES, Step, look, told_by
from fakes.s3_front import CUT, Answer, Front
from fakes.served import Served, serving
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect

from zoo.machine import join
from zoo.remotes import connect
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.seals import seals_of
from zoo.store.verify import verify
from zoo.workspace import Workspace

pytestmark = pytest.mark.long
EVERY = int(os.environ.get("KILL_EVERY", "61"))
ROOM = 64 << 20
BASE = "base"
FILES = ("zoo.json", "registry.id")
"""Of a zoo where nothing is yet, and its database knows which one it is."""
SURE = ("synchronous_commit=on",)  # what a commit has said is in a file, whoever is killed then


class Service(Protocol):
    """What fails below a server.

    Attributes:
        count: How often it was asked since it was `armed`.
        is_away: Whether it has failed.
    """

    count: int
    is_away: bool

    def arm(self, at: int) -> None:
        """Fail when it is asked for the ``at``-th time from now on; 0: never."""

    def mend(self) -> None:
        """Be there again."""


class Database:
    """A PostgreSQL server that is killed before a statement, or around a commit."""

    def __init__(self, server: postgres.Server, patch: pytest.MonkeyPatch) -> None:
        self.server, self.count, self.at, self.is_away = server, 0, 0, False
        self._lock = Lock()
        event.listen(Engine, "before_cursor_execute", self._asked)
        really: Callable[..., None] = DefaultDialect.do_commit

        def commit(dialect: DefaultDialect, connection: Any) -> None:
            """Also where it has committed, and its answer is lost."""
            if not isinstance(connection.dbapi_connection, psycopg.Connection):
                really(dialect, connection)
                return
            self._asked()
            really(dialect, connection)
            if self._asked():
                raise psycopg.OperationalError("the line is cut")

        patch.setattr(DefaultDialect, "do_commit", commit)

    def arm(self, at: int) -> None:
        """Fail when it is asked for the ``at``-th time from now on; 0: never."""
        self.count, self.at = 0, at

    def _asked(self, connection: Any = None, *_: object) -> bool:
        if connection is not None and connection.dialect.name != "postgresql":
            return False
        with self._lock:
            self.count += 1
            if self.count != self.at:
                return False
            self.is_away = True  # first: another thread may be told so by now
            self.server.kill()
            return True

    def mend(self) -> None:
        """Be there again."""
        with self._lock:
            self.server.start()
            self.is_away = False


class Bucket(Front):
    """A bucket that is cut off at a request: half of the times, once it has done what was asked."""

    def __init__(self, port: int) -> None:
        self.count, self.at, self.is_away = 0, 0, False
        super().__init__(port)

    def arm(self, at: int) -> None:
        """Fail when it is asked for the ``at``-th time from now on; 0: never."""
        self.count, self.at = 0, at

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        self.count += 1
        if self.count == self.at:
            self.is_away = True
            if self.at % 2:
                super().answer(request, body)
        return (CUT, [], b"") if self.is_away else super().answer(request, body)

    def mend(self) -> None:
        """Be there again."""
        self.is_away = False


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    programs = postgres.programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian's package postgresql)")
    with postgres.running(programs, *SURE) as server:
        yield server


@pytest.fixture
def template(
    server: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, str]:
    """A zoo with an account, whose database is copied for each try; the account's token."""
    monkeypatch.setenv("ZOO_DB", server.database(BASE))
    root = tmp_path / "template"
    with closing(Workspace.create(root)) as made, closing(Accounts.of(made)) as who:
        made.registry  # noqa: B018 - it makes its tables
        seals_of(made.store)
        who.add("ann")
        return root, str(who.new_token("ann", "x", "write")[1])


@contextmanager
def copied(server: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copy of the database, for a while."""
    name = f"copy{uuid.uuid4().hex[:8]}"
    with server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {BASE}")
    monkeypatch.setenv("ZOO_DB", server.url(name))
    yield
    with server.connect() as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def play(served: Served, token: str, steps: tuple[Step, ...], states: list[object],
         service: Service) -> int:  # fmt: skip
    """Ask for one step after the other; ``states`` gets what the server tells before and after
    each. How often ``service`` was asked for them.
    """
    asked = 0
    states.append(told_by(served, token))
    for step in steps:
        service.arm(0)
        assert step(served, token) in DONE
        asked += service.count
        states.append(told_by(served, token))
    return asked


def meet(served: Served, token: str, steps: tuple[Step, ...], states: list[object],
         service: Service, at: int) -> None:  # fmt: skip
    """The same, where ``service`` fails at some time."""
    service.arm(at)
    for count, step in enumerate(steps):
        status = step(served, token)
        if status not in DONE:
            assert service.is_away
            assert status == 503, (at, count)
            service.mend()
            whole = told_by(served, token) in states[count : count + 2]
            assert whole or step in IN_PARTS, (at, count)
            assert step(served, token) in DONE, (at, count)
    service.arm(0)
    if service.is_away:
        service.mend()
    assert told_by(served, token) == states[-1], at


def planned(count: int) -> range:
    return range(1, count + 1, EVERY)


@pytest.mark.parametrize("story", STORIES)
def test_the_database_is_killed(
    story: str, server: postgres.Server, template: tuple[Path, str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, told: Callable[[str], None],
) -> None:  # fmt: skip
    """``KILL_EVERY=1`` kills it at each statement and commit, and not at one of 61."""
    made, token = template
    service, steps, states = Database(server, monkeypatch), tuple(STORIES[story]), list[object]()
    root = tmp_path / "zoo"

    @contextmanager
    def fresh() -> Iterator[Served]:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(made, root)
        with copied(server, monkeypatch):
            with serving(root) as served:
                yield served
            assert look(root, token) == states[-1]

    try:
        with fresh() as served:
            asked = play(served, token, steps, states, service)
        for at in planned(asked):
            with fresh() as served:
                meet(served, token, steps, states, service, at)
    finally:
        if service.is_away:
            service.mend()
        event.remove(Engine, "before_cursor_execute", service._asked)
    told(f"kills | PostgreSQL, {story} | {len(planned(asked))} at {asked} statements and commits")


@pytest.mark.parametrize("story", STORIES)
def test_the_bucket_is_cut_off(
    story: str, server: postgres.Server, template: tuple[Path, str], s3_service: int,
    tmp_path: Path, bucket_env: pytest.MonkeyPatch, told: Callable[[str], None],
) -> None:  # fmt: skip
    """``KILL_EVERY=1`` does so at each request, and not at one of 61."""
    made, token = template
    service, steps, states = Bucket(s3_service), tuple(STORIES[story]), list[object]()
    bucket_env.setenv("AWS_ENDPOINT_URL", service.url)
    for name, value in {
        "zoo_bucket.location.TRIES": 0,
        "zoo_bucket.location.BACKOFF": {"init_backoff": timedelta(milliseconds=1)},
        "zoo.store.retry.FIRST_PAUSE": 0.001,
    }.items():
        bucket_env.setattr(name, value)
    files: Mapping[str, bytes] = {name: (made / name).read_bytes() for name in FILES}
    root = tmp_path / "zoo"

    @contextmanager
    def fresh() -> Iterator[Served]:
        store = f"s3://models/{uuid.uuid4().hex}/zoo"
        backend = connect(store, create=True).backend
        for name, data in files.items():
            backend.put(name, [data])
        shutil.rmtree(root, ignore_errors=True)
        with copied(server, bucket_env):
            root.mkdir()
            shutil.copy2(made / "seals.key", root)
            join(root, store, ROOM)
            with serving(root) as served:
                yield served
            assert look(root, token) == states[-1]
            assert verify(connect(store)).damages == ()

    with fresh() as served:
        asked = play(served, token, steps, states, service)
    for at in planned(asked):
        with fresh() as served:
            meet(served, token, steps, states, service, at)
    service.stop()
    told(f"cuts | bucket, {story} | {len(planned(asked))} at {asked} requests")
