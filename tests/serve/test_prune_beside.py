"""A prune beside a server that is written to: neither keeps the other away for long."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.served import Served, serving

from zoo.errors import Conflict
from zoo.serve.keep import patient
from zoo.serve.keep.patient import patient_upload
from zoo.store import Store, turn
from zoo.store.turn import asking_for_turn, is_turn_asked_for
from zoo.store.verify import verify
from zoo_cli.main import cli

WRITERS = 4
PRUNES = 1
OLD = 90 * 86400


@pytest.fixture
def served(tmp_path: Path, make_zoo: Callable[[Path], None]) -> Iterator[Served]:
    make_zoo(tmp_path / "zoo")
    with serving(tmp_path / "zoo") as served:
        yield served


def leave(store: Store, text: str) -> Path:
    """An object that nothing needs, for long."""
    path = store.path("objects", store.put("objects", text.encode()))
    os.utime(path, (time.time() - OLD,) * 2)
    return path


def test_writers_and_prunes_beside_each_other(served: Served) -> None:
    token, store = served.token("ann", "write"), served.server.hub.workspace.store
    ended, sent = threading.Event(), list[int]()

    def write(who: int) -> None:
        body = json.dumps({"name": f"net{who}"}).encode()
        served.ask("/api/repos/create", "POST", token=token, body=body)
        for number in range(10_000):
            sent.append(served.commit(f"ann/net{who}", f"{who} {number}", token).status)
            if ended.is_set():
                return

    threads = [threading.Thread(target=write, args=(who,)) for who in range(WRITERS)]
    for thread in threads:
        thread.start()
    for number in range(PRUNES):
        old, before = leave(store, f"{number}"), len(sent)
        arguments = ["prune", "--home", str(served.root), "--grace", "1", "--yes", "--json"]
        said = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert (said.exit_code, json.loads(said.stdout)["deleted"]) == (0, True)
        assert not old.exists()
        while len(sent) == before:  # and writers go on
            time.sleep(0.005)
    ended.set()
    for thread in threads:
        thread.join()
    assert {*sent} == {200}
    report = verify(store)
    assert report.damages == ()
    told = [row.action for row in served.accounts.audit.newest(limit=10_000)]
    assert told.count("pruned") == PRUNES


def test_who_waits_for_long_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    store = served.server.hub.workspace.store
    monkeypatch.setattr(patient, "SECONDS", 0.05)
    with store.pruning(), pytest.raises(Conflict), patient_upload(store):
        raise AssertionError("unreachable")
    monkeypatch.setattr(turn, "PATIENCE", 0.05)
    leave(store, "x")
    with store.upload():
        arguments = ["prune", "--home", str(served.root), "--grace", "1", "--yes"]
        said = CliRunner().invoke(cli, arguments)
    assert isinstance(said.exception, Conflict)


def test_who_is_within_an_upload_does_not_wait_for_whom_it_keeps_waiting(served: Served) -> None:
    store = served.server.hub.workspace.store
    with patient_upload(store), asking_for_turn(store):
        began = time.monotonic()
        assert not is_turn_asked_for(store)
        with patient_upload(store):
            assert time.monotonic() - began < patient.SECONDS / 2
    with asking_for_turn(store):
        assert is_turn_asked_for(store)
        old = time.time() - turn.SECONDS - 1
        os.utime(served.root / turn.FILE, (old, old))
        assert not is_turn_asked_for(store), "who asked has died"
    assert not (served.root / turn.FILE).exists()


def test_an_error_within_is_no_reason_to_wait(served: Served) -> None:
    @contextmanager
    def failing() -> Iterator[None]:
        with patient_upload(served.server.hub.workspace.store):
            yield

    with pytest.raises(Conflict, match="mine"), failing():
        raise Conflict("mine")
