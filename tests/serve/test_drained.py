"""A server that is told to end: what is under way ends whole, and nothing else begins."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from fakes.checkpoints import stored_snapshot
from fakes.served import running, serving

from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot
from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

BYTES = 16 << 20
"""More than the system takes of an answer that nobody reads."""
NEW = "what was sent while it ended\n" * 999
Ends = Callable[[], None]


@contextmanager
def in_a_thread(root: Path) -> Iterator[tuple[str, Ends]]:
    with serving(root) as served:
        yield served.url, lambda: setattr(served.server, "should_exit", True)


def in_processes(*options: str) -> Callable[[Path], AbstractContextManager[tuple[str, Ends]]]:
    @contextmanager
    def run(root: Path) -> Iterator[tuple[str, Ends]]:
        with running(root, *options) as (url, process):
            yield url, lambda: process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0

    return run


@pytest.mark.parametrize(
    "serve",
    [
        in_a_thread, pytest.param(in_processes(), marks=pytest.mark.long),
        pytest.param(in_processes("--workers", "2"), marks=pytest.mark.long),
    ],
    ids=["thread", "process", "workers"],
)  # fmt: skip
def test_what_is_under_way_ends_whole(
    tmp_path: Path, serve: Callable[[Path], AbstractContextManager[tuple[str, Ends]]]
) -> None:
    large, name = os.urandom(BYTES), Reference.parse("ann/net")
    with closing(Workspace.create(tmp_path / "zoo")) as made, closing(Accounts.of(made)) as who:
        made.move(name, stored_snapshot(made.store, {"large.bin": large}), "commit")
        who.add("ann")
        said = {"Authorization": f"Bearer {who.new_token('ann', 'x', 'write')[1]}"}
    lines = [{"key": "header", "value": {"summary": "late"}},
             {"key": "file", "value": {"path": "README.md", "content": NEW}}]  # fmt: skip
    body = "\n".join(map(json.dumps, lines)).encode()
    with serve(tmp_path / "zoo") as (url, end):
        address = url.partition("://")[2]
        idle = [http.client.HTTPConnection(address, timeout=60) for _ in range(4)]
        for each in idle:
            each.request("GET", "/ann/net/resolve/main/large.bin", headers=said)
            found = each.getresponse()
            at = found.headers["location"]
            found.read()
        download, upload = (http.client.HTTPConnection(address, timeout=60) for _ in "12")
        download.request("GET", at, headers=said)
        answer = download.getresponse()
        begun = answer.read(1 << 16)
        upload.putrequest("POST", "/api/models/ann/net/commit/main")
        sent = {"Content-Length": f"{len(body)}", "Expect": "100-continue"}
        for header, value in {**said, **sent}.items():
            upload.putheader(header, value)
        upload.endheaders(body[:999])
        assert isinstance(upload.sock, socket.socket)
        assert upload.sock.recv(1, socket.MSG_PEEK), "it is read: until then it is not under way"
        end()
        for each in idle:
            assert isinstance(each.sock, socket.socket)
            assert each.sock.recv(1) == b"", "who asks for nothing is let go"
            each.close()
        time.sleep(0.3)  # longer than it takes to cut what is under way
        upload.send(body[999:])
        assert upload.getresponse().status == 200
        assert begun + answer.read() == large
        download.close()
        upload.close()
    with closing(Workspace(tmp_path / "zoo")) as kept:
        snapshot = kept.store.document(kept.names.target("ann/net")[1])
        assert isinstance(snapshot, Snapshot)
        assert {file.path for file in snapshot.files} == {"README.md", "large.bin"}
