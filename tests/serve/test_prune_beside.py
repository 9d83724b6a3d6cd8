"""A prune beside a server that is written to: neither keeps the other away for long."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner
from fakes.sending import sha256
from fakes.served import Served, serving

from zoo.errors import Conflict, MissingObject
from zoo.serve.hub import blobs, commit
from zoo.serve.hub.commit_tree import tree_of
from zoo.serve.watch import scrub
from zoo.serve.watch.scrub import read_scrubbed
from zoo.store import Store, turn
from zoo.store.prune import FileToDelete, execute, plan
from zoo.store.sent import clear_sent
from zoo.store.turn import asking_for_turn, is_turn_asked_for, patient_upload
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


@pytest.mark.long
def test_downloads_beside_writers_prunes_and_a_scrub(
    tmp_path: Path, make_zoo: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred downloads, sixteen at once, of what stays, while other versions come and go: each
    has the bytes that its address names.
    """
    monkeypatch.setattr(scrub, "START_SECONDS", 0.0)
    make_zoo(tmp_path / "zoo")
    with serving(tmp_path / "zoo", scrub=10**12) as served:
        token, store = served.token("ann", "write"), served.server.hub.workspace.store
        body = json.dumps({"name": "net"}).encode()
        assert served.ask("/api/repos/create", "POST", token=token, body=body).status == 200
        names = ("model.safetensors", "more.safetensors", "config.json")
        paths = [f"/team/net/resolve/v1/{name}" for name in names]
        paths = [served.ask(path, "HEAD", token=token).headers["location"] for path in paths]
        wanted = {path: served.ask(path, token=token).body for path in paths}
        assert all(map(len, wanted.values()))
        ended = threading.Event()

        def disturb() -> list[tuple[int, int]]:
            found = []
            while not ended.is_set():
                status = served.commit("ann/net", os.urandom(8).hex(), token).status
                old = leave(store, os.urandom(8).hex())
                arguments = ["prune", "--home", str(served.root), "--keep", "0", "--yes"]
                code = CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code
                assert not old.exists()
                found.append((status, code))
            return found

        with ThreadPoolExecutor(17) as pool:
            disturbed = pool.submit(disturb)
            asked = paths * 40
            got = list(pool.map(lambda path: served.ask(path, token=token), asked))
            while not read_scrubbed(store).last:  # a whole pass
                time.sleep(0.05)
            ended.set()
            assert {*disturbed.result()} == {(200, 0)}
        assert [each.body == wanted[path] for each, path in zip(got, asked, strict=True)] == (
            [True] * len(asked)
        )
        assert verify(store).damages == ()


def test_what_is_here_is_taken_by_a_prune_before_a_commit_has_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is seen to be here and is kept under one sign, so that no prune comes in between."""
    token, store = served.token("ann", "write"), served.server.hub.workspace.store
    old = leave(store, "# Here already")
    made_repo(served, token)
    doomed = list[FileToDelete]()

    @contextmanager
    def pruned_first(store: Store) -> Iterator[None]:
        with suppress(Conflict):
            shown = plan(store, keep=timedelta(), grace=timedelta())
            doomed.extend(execute(store, shown, keep=timedelta(), grace=timedelta()).doomed)
        with patient_upload(store):
            yield

    monkeypatch.setattr(blobs, "patient_upload", pruned_first)
    made = served.commit("ann/net", "# Here already", token)
    assert made.status == 200
    assert old.name in [item.file.rpartition("/")[2] for item in doomed]
    got = served.ask(f"/ann/net/resolve/{made.json['commitOid']}/README.md", token=token)
    assert (got.status, got.body) == (200, b"# Here already")
    assert verify(store).damages == ()


def test_what_was_cleared_while_it_came_is_sent_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if an hour had gone between its arrival and its name."""
    token = served.token("ann", "write")
    made_repo(served, token)

    @contextmanager
    def cleared_first(store: Store) -> Iterator[None]:
        for path in (store.root / "sent").rglob("*"):
            os.utime(path, (0, 0))
        clear_sent(store)
        with patient_upload(store):
            yield

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "patient_upload", cleared_first)
        got = served.commit("ann/net", "# New", token)
        assert (got.status, got.code) == (503, "Busy")
    assert served.commit("ann/net", "# New", token).status == 200


def test_a_commit_that_a_prune_meets_is_no_damage(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a version that goes as it is looked for; and the parent of the last commit, as it
    is looked at whether that was sent before.
    """
    token, hub = served.token("ann", "write"), served.server.hub
    made_repo(served, token)
    assert served.commit("ann/net", "# One", token).status == 200
    data = b"x" * 5000
    large = {"path": "large.bin", "algo": "sha256", "oid": sha256(data), "size": len(data)}
    lines = [{"key": "header", "value": {"summary": "# One"}}, {"key": "lfsFile", "value": large}]
    body = "\n".join(map(json.dumps, lines)).encode()

    def gone(*_: object) -> NoReturn:
        raise MissingObject("manifest", "blake3:00", "")

    with monkeypatch.context() as patch:
        patch.setattr(hub.blobs.holders, "repos", lambda _: {"ann/net"})
        patch.setattr(hub.blobs.holders, "places", gone)
        got = served.ask("/api/models/ann/net/commit/main", "POST", token=token, body=body)
    assert (got.status, got.code) == (400, "BadRequest"), "it was not sent"
    with monkeypatch.context() as patch:
        heads = iter([gone])
        patch.setattr(commit, "tree_of", lambda *args: next(heads, tree_of)(*args))
        assert served.commit("ann/net", "# One", token).status == 200


def made_repo(served: Served, token: str) -> None:
    """Make ``ann/net``."""
    assert (
        served.ask("/api/repos/create", "POST", token=token, body=b'{"name": "net"}').status == 200
    )


def test_who_waits_for_long_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    store = served.server.hub.workspace.store
    monkeypatch.setattr(turn, "UPLOAD_PATIENCE", 0.05)
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
            assert time.monotonic() - began < turn.UPLOAD_PATIENCE / 2
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
