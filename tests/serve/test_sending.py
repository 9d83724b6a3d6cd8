"""Bytes that come in: by Git LFS and by Xet, whole, in parts, wrong, cut off."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import lz4.frame
import numpy as np
import pytest
from fakes.checkpoints import objects_in, store_checkpoint
from fakes.sending import packed, raw, sha256, shard, xorb
from fakes.served import CONFIG, Got, Served, serving, with_files
from safetensors.numpy import save

from zoo.domain.digest import Digest
from zoo.domain.manifest import objects_of
from zoo.domain.reference import Reference
from zoo.domain.snapshot import SnapshotFile
from zoo.errors import Conflict
from zoo.serve import run
from zoo.serve.app import SHARE
from zoo.serve.http import call, cycle, slots
from zoo.serve.hub import lfs
from zoo.serve.run import Server
from zoo.serve.who.accounts import Accounts
from zoo.store import Store, turn
from zoo.store.files import add_weights, object_ranges
from zoo.store.prune import execute, plan
from zoo.store.sent import clear_sent, sent
from zoo.store.verify import verify
from zoo.workspace import Workspace

OWN = Reference("secret", "own")
WEIGHTS = save({"a": np.arange(40_000, dtype=np.float32), "b.bias": np.ones(9, np.float32)})


@dataclass(frozen=True)
class Sender:
    """Somebody who may write, and their requests."""

    served: Served
    token: str
    name: str = "ann"
    repo: str = "team/net"

    @property
    def store(self) -> Store:
        """What the server keeps."""
        return self.served.server.hub.workspace.store

    def batch(self, *files: tuple[str, int], transfers: tuple[str, ...] = ("basic",)) -> Any:
        """What is answered of these files."""
        objects = [{"oid": oid, "size": size} for oid, size in files]
        asked = {"operation": "upload", "transfers": transfers, "objects": objects}
        got = self.served.ask(f"/{self.repo}.git/info/lfs/objects/batch", "POST",
                              token=self.token, body=json.dumps(asked).encode())  # fmt: skip
        assert got.status == 200, got
        return got.json["objects"]

    def upload(self, data: bytes, oid: str = "") -> str:
        """Where to send a file."""
        (told,) = self.batch((oid or sha256(data), len(data)))
        return path_of(told["actions"]["upload"]["href"])

    def put(self, path: str, data: bytes) -> Got:
        """Send bytes."""
        return self.served.ask(path, "PUT", body=data)

    def verified(self, data: bytes) -> bool:
        """Whether a file is there."""
        asked = json.dumps({"oid": sha256(data), "size": len(data)}).encode()
        path = f"/{self.repo}.git/info/lfs/objects/verify"
        return self.served.ask(path, "POST", token=self.token, body=asked).status == 200

    def sent(self, data: bytes) -> SnapshotFile | None:
        """What is kept of a file that was sent."""
        return sent(self.store, self.name, self.repo, Digest("sha256", sha256(data)))

    def space(self) -> tuple[str, str]:
        """Where to send by Xet, and the token."""
        path = "/api/models/team/net/xet-write-token/main"
        told = self.served.ask(path, token=self.token).json
        return path_of(told["casUrl"]), told["accessToken"]

    def left(self) -> list[str]:
        """What of uploads is on the disk, but for what is told of those that are whole."""
        files = self.store.backend.list("sent/")
        return sorted(file.name for file in files if not file.name.endswith(".json"))


def path_of(url: str) -> str:
    """The part of a URL that the server is asked for."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@pytest.fixture
def ann(served: Served) -> Iterator[Sender]:
    sender = Sender(served, served.token("ann", "append"))
    served.accounts.grant("team", "ann", "writer")
    yield sender
    assert sender.left() == []


def rebuilt(store: Store, file: SnapshotFile) -> bytes:
    """The bytes of a file that is kept."""
    return b"".join(
        b"".join(store.read("objects", digest, offset, count))
        for digest, offset, count in object_ranges(file.stored)
    )


@pytest.mark.parametrize("data", [WEIGHTS, os.urandom(5000), b""], ids=["weights", "any", "empty"])
def test_a_file_is_sent_in_one_piece(ann: Sender, data: bytes, tmp_path: Path) -> None:
    assert not ann.verified(data)
    got = ann.put(ann.upload(data), data)
    assert (got.status, got.body) == (200, b"")
    assert ann.verified(data)
    file = ann.sent(data)
    assert file
    assert (file.size, file.git, rebuilt(ann.store, file)) == (len(data), None, data)
    assert "actions" not in ann.batch((sha256(data), len(data)))[0], "it is there already"
    if data is WEIGHTS:
        (tmp_path / "x").write_bytes(data)
        expected = add_weights(ann.store, tmp_path / "x")
        assert file.weights
        assert (file.weights.header, file.weights.tensors) == (expected.header, expected.tensors)


def test_what_is_not_what_was_promised_is_refused(ann: Sender) -> None:
    data = os.urandom(300_000)
    kept = objects_in(ann.store)
    flipped = bytes([data[0] ^ 1]) + data[1:]
    for wrong in (flipped, data[:-1], data + b"x", b""):
        got = ann.put(ann.upload(data), wrong)
        assert (got.status, got.code) == (422, "Mismatch"), len(wrong)
        assert not ann.verified(data)
    assert objects_in(ann.store) == kept
    assert ann.put(ann.upload(data), data).status == 200, "the right one is taken afterwards"


@pytest.mark.parametrize("data", [WEIGHTS, os.urandom(5000)], ids=["weights", "any"])
def test_on_a_full_disk_nothing_stays(
    ann: Sender, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    data = data[:-1] + b"!"  # another one than elsewhere
    path, kept = ann.upload(data), objects_in(ann.store)
    for where, what in (("zoo.serve.hub.blobs.shutil.disk_usage", usage), (FSYNC, full)):
        with monkeypatch.context() as patch:
            patch.setattr(where, what)
            got = ann.put(path, data)
        assert (got.status, got.code) == (413, "DiskFull")
        assert objects_in(ann.store) == kept
    assert ann.put(path, data).status == 200


def usage(_: object) -> SimpleNamespace:
    """That a disk has little room."""
    return SimpleNamespace(free=10)


FSYNC = "zoo.store.disk.Disk.fsync_file"


def full(*_: object) -> None:
    """Find that it has none."""
    raise OSError(ENOSPC, "no space")


def test_a_file_is_sent_in_parts(ann: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lfs, "PART_BYTES", 100_000)
    data = save({"w": np.arange(70_000, dtype=np.float32)})
    (told,) = ann.batch((sha256(data), len(data)), transfers=("basic", "multipart"))
    upload = told["actions"]["upload"]
    header = upload["header"]
    assert header.pop("chunk_size") == "100000"
    assert sorted(header) == ["1", "2", "3"]
    parts = {number: data[100_000 * (int(number) - 1) :][:100_000] for number in header}
    complete = path_of(upload["href"])
    last = path_of(header["3"])
    assert ann.put(last, parts["3"] + b"x").code == "Mismatch"
    assert ann.put(last.replace("/3?", "/4?"), parts["3"]).code == "BadRequest"
    for number in ("3", "1", "1"):  # in any order, and again
        got = ann.put(path_of(header[number]), parts[number])
        assert got.status == 200
        assert got.headers["etag"]
    asked = json.dumps({"oid": sha256(data), "parts": []}).encode()
    assert ann.served.ask(complete, "POST", body=asked).code == "Mismatch", "a part is missing"
    assert ann.put(path_of(header["2"]), parts["2"]).status == 200
    for _ in range(2):  # the answer may be lost
        assert ann.served.ask(complete, "POST", body=asked).status == 200
    file = ann.sent(data)
    assert file
    assert file.weights
    assert rebuilt(ann.store, file) == data


def test_one_piece_is_asked_for_where_parts_would_be_too_many(
    ann: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ("basic", "multipart")
    monkeypatch.setattr(lfs, "MOST_PARTS", 3)
    files = [(f"{n:064x}", lfs.PART_BYTES * 2) for n in range(3)]
    told = [each["actions"]["upload"].keys() for each in ann.batch(*files, transfers=both)]
    assert [sorted(each) for each in told] == [["header", "href"], ["href"], ["href"]]
    assert ann.batch((f"{1:064x}", 1 << 50))[0]["error"]["code"] == 413


def test_a_seal_is_for_one_thing(ann: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    data, other = os.urandom(100), os.urandom(100)
    path = ann.upload(data)
    seal = path.partition("?")[2]
    assert ann.put(f"/lfs/objects/{sha256(other)}?{seal}", other).code == "InvalidSeal"
    assert ann.put(f"/lfs/parts/{sha256(data)}/1?{seal}", data).code == "InvalidSeal"
    assert ann.put(path[:-1] + "x", data).code == "InvalidSeal"
    assert ann.put(path.partition("?")[0], data).code == "InvalidSeal"
    space, token = ann.space()
    assert send(ann, f"{space}x/v1/shards", b"", token).code == "InvalidSeal"
    assert send(ann, f"{space}/v1/shards", b"", ann.token).code == "InvalidSeal"
    with monkeypatch.context() as patch:
        patch.setattr("zoo.serve.who.seals.time.time", lambda: 1e10)
        assert ann.put(path, data).code == "InvalidSeal", "it has expired"
    ann.served.accounts.revoke(ann.token[4:12])
    assert ann.put(path, data).code == "InvalidSeal", "the token that it was made by is revoked"


def send(ann: Sender, path: str, data: bytes, token: str) -> Got:
    """Send something of Xet."""
    return ann.served.ask(path, "POST", body=data, Authorization=f"Bearer {token}")


def test_files_are_sent_by_xet(ann: Sender) -> None:
    space, token = ann.space()
    assert send(ann, f"{space}/v2/shards", b"", token).status == 404
    path = f"{space}/v1/chunks/default/{'0' * 64}"
    assert ann.served.ask(path, Authorization=f"Bearer {token}").status == 404
    more = os.urandom(150_000)
    one, two = xorb(WEIGHTS), xorb(more)
    for (name, body, _), new in ((one, True), (two, True), (one, False)):
        got = send(ann, f"{space}/v1/xorbs/default/{name}", body, token)
        assert got.json == {"was_inserted": new}
    both = more + WEIGHTS + more[65536:131072]
    spans = [(two[0], 0, 3, 150_000), (one[0], 0, one[2], len(WEIGHTS)), (two[0], 1, 2, 65536)]
    files = [(sha256(both), spans), (sha256(WEIGHTS), spans[1:2]), (sha256(b""), [])]
    for _ in range(2):
        got = send(ann, f"{space}/v1/shards", shard(files), token)
        assert (got.status, got.json) == (200, {"result": 1})
    for data in (both, WEIGHTS, b""):
        file = ann.sent(data)
        assert file
        assert rebuilt(ann.store, file) == data
    tidy(ann)


def tidy(ann: Sender) -> None:
    """Clear uploads as if a day had gone."""
    with suppress(FileNotFoundError):  # it is gone meanwhile
        for path in (ann.store.root / "sent").rglob("*"):
            os.utime(path, (0, 0))
    clear_sent(ann.store)


def bad_xorbs() -> Iterator[tuple[str, bytes]]:
    """Bytes that are no xorb of the name."""
    data = os.urandom(100_000)
    name, body, _ = xorb(data)
    yield name, body[:-1]
    yield name, body[: 8 + 65536]
    yield name, body + b"\0\0"
    yield name, bytes([*body[:99], body[99] ^ 1, *body[100:]])
    yield name[:-1] + ("0" if name[-1] != "0" else "1"), body
    yield name, b""
    yield name, b"\1" + body[1:]
    yield name, body[:4] + b"\7" + body[5:]
    bomb = lz4.frame.compress(bytes(60 << 20))
    for told in (1, 128 * 1024, 0, (1 << 24) - 1):
        sizes = len(bomb).to_bytes(3, "little") + b"\1" + told.to_bytes(3, "little")
        yield name, b"\0" + sizes + bomb
    yield name, packed(b"x") * 8193


@pytest.mark.parametrize(("name", "body"), [*bad_xorbs()], ids=lambda each: f"{len(each)}")
def test_what_is_no_xorb_of_that_name_is_refused(ann: Sender, name: str, body: bytes) -> None:
    space, token = ann.space()
    got = send(ann, f"{space}/v1/xorbs/default/{name}", body, token)
    assert (got.status, got.code) == (422, "Mismatch")


def test_a_shard_cannot_make_up_files(ann: Sender) -> None:
    space, token = ann.space()
    data = os.urandom(100_000)
    name, body, count = xorb(data)
    send(ann, f"{space}/v1/xorbs/default/{name}", body, token)
    whole, kept = (name, 0, count, len(data)), objects_in(ann.store)
    good = shard([(sha256(data), [whole])])
    for wrong in (
        b"", good[:47], good[:-60], b"x" + good[1:], good[:48] + b"f" * 32 + raw("f" * 64),
        good.replace(raw(sha256(data)), raw("1" * 64)),
        shard([(sha256(data), [("1" * 64, 0, count, len(data))])]),
        shard([(sha256(data), [(name, 0, count + 1, len(data))])]),
        shard([(sha256(data), [(name, 0, count, len(data) + 1)])]),
        shard([(sha256(data), [(name, 1, 1, 0), whole])]),
        shard([(sha256(data), [whole] * 3)]), shard([(sha256(data), [])]),
        shard([("1" * 64, [(name, 0, count, (1 << 32) - 1)] * 70)]),
    ):  # fmt: skip
        got = send(ann, f"{space}/v1/shards", wrong, token)
        assert (got.status, got.code) == (422, "Mismatch"), wrong[:100]
    assert objects_in(ann.store) == kept
    assert send(ann, f"{space}/v1/shards", good, token).status == 200
    other, _ = ann.space()
    assert send(ann, f"{other}/v1/shards", good, token).code == "InvalidSeal"
    tidy(ann)


def test_a_shard_of_many_empty_files_is_soon_read(
    ann: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, token = ann.space()
    blobs, came = ann.served.server.hub.blobs, []
    find = type(blobs).find
    monkeypatch.setattr(
        type(blobs),
        "find",
        lambda *args: came.append(args[1]) or find(*args),  # type: ignore[func-returns-value]
    )
    many = shard([(sha256(b""), [])] * 5000)
    assert send(ann, f"{path}/v1/shards", many, token).status == 200
    assert came == [sha256(b"")]
    monkeypatch.setattr("zoo.serve.keep.shard.SNAPSHOT_FILES", 4999)
    got = send(ann, f"{path}/v1/shards", many, token)
    assert (got.status, got.code) == (422, "Mismatch")


def gone(sender: Sender) -> None:
    """See that what has begun to arrive is deleted, as soon as whoever takes it in notices."""
    for _ in range(1000):
        if not sender.left():
            return
        time.sleep(0.01)
    assert not sender.left()


def test_of_an_upload_that_is_cut_off_nothing_stays(ann: Sender) -> None:
    data = os.urandom(1 << 20)
    path = ann.upload(data)
    begin(ann.served.url, path, len(data), data[:300_000]).close()
    gone(ann)
    assert not ann.verified(data)
    assert ann.put(path, data).status == 200, "the address is good for another try"


def begin(
    url: str, path: str, size: int, data: bytes, method: str = "PUT", token: str = ""
) -> http.client.HTTPConnection:
    """Begin to send a file of a size, and stop after ``data``."""
    connection = http.client.HTTPConnection(url.partition("://")[2], timeout=30)
    connection.putrequest(method, path)
    if token:
        connection.putheader("Authorization", f"Bearer {token}")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    connection.send(data)
    return connection


def test_a_client_that_sends_nothing_is_not_waited_for(
    ann: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "IDLE_SECONDS", 0.2)
    with closing(begin(ann.served.url, ann.upload(b"x" * 100), 100, b"x" * 50)) as connection:
        answer = connection.getresponse()
        answer.read()  # else it holds the socket
        assert (answer.status, answer.headers["x-error-code"]) == (408, "TooSlow")


def test_a_client_that_sends_a_byte_now_and_then_is_not_waited_for(
    ann: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "IDLE_SECONDS", 0.1)
    with closing(begin(ann.served.url, ann.upload(b"x" * 900), 900, b"x")) as connection:
        with suppress(ConnectionError):
            for _ in range(8):
                time.sleep(0.02)
                connection.send(b"x")
        answer = connection.getresponse()
        answer.read()
        assert answer.headers["x-error-code"] == "TooSlow"
    path = "/api/validate-yaml"
    with closing(begin(ann.served.url, path, 9, b"x", "POST", ann.token)) as connection:
        assert connection.getresponse().headers["x-error-code"] == "TooSlow"


def test_of_a_stranger_no_body_is_taken(served: Served) -> None:
    for path, status in (("/api/validate-yaml", 401), ("/lfs/complete/x?seal=y", 403)):
        with closing(begin(served.url, path, 1 << 20, b"x" * 99, "POST")) as connection:
            assert connection.getresponse().status == status


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: ", b"G\r\n", b"\r\n"])
def test_half_a_request_is_not_waited_for(
    served: Served, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "HEAD_SECONDS", 0.05)
    with closing(raw_connection(served)) as connection:
        connection.sendall(sent)
        with suppress(ConnectionError):
            connection.recv(999)
            assert connection.recv(1) == b""


def test_a_head_or_a_rest_without_end_is_not_taken(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "REST_SECONDS", 0.05)
    with closing(raw_connection(served)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000)
        assert connection.recv(99).startswith(b"HTTP/1.1 400")
    host = f"Host: {urlsplit(served.url).netloc}\r\n".encode()
    with closing(raw_connection(served)) as connection:
        connection.sendall(b"POST /api/x HTTP/1.1\r\n" + host + b"Content-Length: 99\r\n\r\nx")
        assert connection.recv(12) == b"HTTP/1.1 404"
        with suppress(ConnectionError):
            while connection.recv(9999):
                pass
    with closing(raw_connection(served)) as connection:
        coded = b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
        connection.sendall(b"POST /api/validate-yaml HTTP/1.1\r\n" + host + coded)
        assert connection.recv(99).startswith(b"HTTP/1.1 400")


def raw_connection(served: Served) -> socket.socket:
    at = urlsplit(served.url)
    return socket.create_connection((at.hostname, at.port), timeout=20)


def test_nobody_takes_all_slots(ann: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "WAIT_SECONDS", 0.05)
    ben = Sender(ann.served, ann.served.token("ben", "append"), "ben")
    ann.served.accounts.grant("team", "ben", "writer")
    data = os.urandom(500)
    held = [begin(ann.served.url, ann.upload(data), 500, b"x") for _ in range(SHARE)]
    try:
        for _ in range(100):
            other = os.urandom(500)
            got = ann.put(ann.upload(other), other)
            if got.status != 200:  # all of them have arrived
                break
        assert (got.status, got.code, got.headers["retry-after"]) == (503, "Busy", "5")
        assert ann.space(), "clients of Xet fail for good if they get no address"
        assert ben.put(ben.upload(data), data).status == 200
    finally:
        for connection in held:
            connection.close()
    gone(ann)
    assert ann.put(ann.upload(data), data).status == 200


def test_what_is_refused_early_is_told_all_the_same(ann: Sender) -> None:
    """The client sends all of it before it looks."""
    got = ann.put(ann.upload(b"x"), bytes(30 << 20))
    assert (got.status, got.code) == (422, "Mismatch")


def test_a_server_that_ends_waits_for_no_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "DRAIN_SECONDS", 0)
    with serving(made(tmp_path / "zoo")) as served:
        sender = Sender(served, served.token("team", "append"), "team")
        data = bytes(2 << 20)
        connection = begin(served.url, sender.upload(data), len(data), data[: 1 << 20])
        while not sender.left():
            time.sleep(0.01)
    gone(sender)
    connection.close()


def test_several_may_send_one_file_at_once(ann: Sender) -> None:
    data = save({"w": np.random.default_rng(1).random((200, 400), np.float32)})
    paths = [ann.upload(data) for _ in range(4)]
    got: list[int] = []
    threads = [threading.Thread(target=lambda path=path: got.append(ann.put(path, data).status))
               for path in paths]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [200] * 4
    assert ann.verified(data)


def test_a_file_is_there_for_who_may_read_it_or_has_sent_it(served: Served, ann: Sender) -> None:
    """To know its SHA-256 is no right to it."""
    ben = Sender(served, served.token("ben", "append"), "ben")
    served.accounts.grant("team", "ben", "writer")
    data, private = os.urandom(2000), os.urandom(3000)
    assert ann.put(ann.upload(data), data).status == 200
    assert ann.verified(data)
    assert not ben.verified(data), "ann alone has sent it, and no repository has it"
    served.accounts.repos.add("ann/shown")
    only = served.token("ann", "write", only=("ann/shown",))
    limited = Sender(served, only, repo="ann/shown")
    assert not limited.verified(data), "it was sent to what the token is not for"
    assert "actions" in limited.batch((sha256(data), len(data)))[0]
    assert limited.put(limited.upload(data), data).status == 200
    assert limited.verified(data)

    workspace = served.server.hub.workspace
    base = workspace.names.resolve("team/net")[1]
    workspace.commit(
        with_files(workspace, base, own_safetensors=private, config_json=CONFIG), OWN, "import"
    )
    served.server.hub.blobs.holders.look_at_all()
    assert not ben.verified(private), "it is in a repository that he may not read"
    served.accounts.grant("secret", "ben", "reader")
    assert ben.verified(private)
    told = ben.batch((sha256(private), 3000), (sha256(private), 3001))
    assert "actions" not in told[0]
    assert told[1]["error"]["code"] == 422
    workspace.delete(OWN)
    assert not ben.verified(private), "the name is gone"
    workspace.restore(OWN)
    assert ben.verified(private)
    served.accounts.grant("secret", "ben", None)
    assert not ben.verified(private)


def test_a_prune_leaves_what_was_sent_for_a_day(ann: Sender) -> None:
    data = save({"w": np.random.default_rng(2).random((300, 200), np.float32)})
    assert ann.put(ann.upload(data), data).status == 200
    file = ann.sent(data)
    assert file
    assert file.weights
    for digest in (file.weights.header, file.weights.tensors[0].object):
        os.utime(ann.store.path("objects", digest), (0, 0))
    now, none = timedelta(0), timedelta(0)
    doomed = {item.name for item in plan(ann.store, keep=now, grace=none).doomed}
    assert not doomed & {str(digest) for digest, _ in objects_of([file.stored])}
    tidy(ann)
    assert not ann.verified(data)
    doomed = {item.name for item in plan(ann.store, keep=now, grace=none).doomed}
    assert doomed >= {str(digest) for digest, _ in objects_of([file.stored])}


def test_while_a_prune_is_under_way_for_long_a_client_asks_again(
    ann: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "UPLOAD_PATIENCE", 0.0)
    data = os.urandom(1000)
    path = ann.upload(data)
    with ann.store.pruning():
        got = ann.put(path, data)
        assert (got.status, got.code, got.headers["retry-after"]) == (503, "Busy", "2")
    assert ann.put(path, data).status == 200


def test_what_does_not_go_on_arriving_is_cleared(ann: Sender) -> None:
    space, token = ann.space()
    name, body, _ = xorb(os.urandom(1000))
    send(ann, f"{space}/v1/xorbs/default/{name}", body, token)
    clear_sent(ann.store)
    assert len(ann.left()) == 1
    for path in (ann.store.root / "sent").rglob("xet-*/*"):
        os.utime(path, times=(time.time() - 3700,) * 2)
    clear_sent(ann.store)
    assert not ann.left()


def test_no_seal_is_logged(ann: Sender, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zoo.serve")
    path = ann.upload(b"secret")
    assert ann.put(path, b"secret").status == 200
    assert "/lfs/objects/" in caplog.text
    assert path.partition("seal=")[2][:20] not in caplog.text


NO_SERVER = cast("Server", None)
"""It is in another process."""
RUN = """
import sys
from functools import partial
from pathlib import Path
from zoo.serve.run import Address, run
from zoo.workspace import Workspace
run(Workspace(Path(sys.argv[1])), Address.checked("127.0.0.1", 0, ""), partial(print, flush=True),
    quiet=True)
"""


def made(root: Path) -> Path:
    """A zoo with ``team/net``, which needs no torch to be described."""
    with closing(Workspace.create(root)) as workspace:
        whole = with_files(workspace, store_checkpoint(workspace.store), config_json=CONFIG)
        workspace.commit(whole, Reference.parse("team/net"), "import")
    return root


@contextmanager
def running(root: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and where it answers."""
    command = [sys.executable, "-c", RUN, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process, process.stdout.readline().strip()
        process.kill()


@pytest.mark.long
def test_a_server_that_is_killed_leaves_nothing_and_goes_on(tmp_path: Path) -> None:
    """An address that it gave is good afterwards."""
    root, data = made(tmp_path / "zoo"), os.urandom(3 << 20)
    with closing(Workspace(root)) as workspace:
        with closing(Accounts.of(workspace)) as accounts:
            accounts.add("team")
            _, token = accounts.new_token("team", "first", "append")
        kept = objects_in(workspace.store)
    with running(root) as (process, url):
        path = Sender(Served(url, root, NO_SERVER), str(token)).upload(data)
        connection = begin(url, path, len(data), data[: 2 << 20])
        while not [*(root / "sent").rglob("tmp-*/*")]:
            time.sleep(0.01)
        process.kill()
        connection.close()
    store = Store.open(root)
    assert objects_in(store) == kept
    with running(root) as (_, url):
        assert Served(url, root, NO_SERVER).ask(path, "PUT", body=data).status == 200
    assert len(objects_in(store)) == len(kept) + 1
    assert verify(store).damages == ()


@pytest.mark.long
def test_nothing_is_lost_to_prunes_while_files_are_sent_and_committed(tmp_path: Path) -> None:
    """Without any grace, and while what was sent is cleared, too."""
    with serving(made(tmp_path / "zoo")) as served:
        sender = Sender(served, served.token("team", "write"), "team")
        done: list[tuple[str, bytes]] = []
        threads = [threading.Thread(target=send_some, args=(sender, n, done)) for n in range(3)]
        for thread in threads:
            thread.start()
        pruned = 0
        while any(thread.is_alive() for thread in threads):
            with suppress(Conflict):
                shown = plan(sender.store, keep=DAY, grace=NOW)
                pruned += len(execute(sender.store, shown, keep=DAY, grace=NOW).doomed)
            tidy(sender)
        assert len(done) == 3 * SENDS
        for path, data in done:
            assert served.ask(path, token=sender.token).body == data
        assert verify(sender.store).damages == ()


DAY, NOW = timedelta(days=1), timedelta(0)
SENDS = 8


def send_some(sender: Sender, number: int, done: list[tuple[str, bytes]]) -> None:
    """Send and commit files that share a tensor, each again until it is taken."""
    for at in range(SENDS):
        own = np.full((200, 100), number * SENDS + at // 2, np.float32)
        data = save({"base": np.ones((200, 100), np.float32), "own": own})
        head = {"key": "header", "value": {"summary": "more"}}
        file = {"path": f"{number}.safetensors", "algo": "sha256", "oid": sha256(data)}
        lines = [head, {"key": "lfsFile", "value": file | {"size": len(data)}}]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        while True:
            told = sender.batch((sha256(data), len(data)))[0]
            if "actions" in told:
                sender.put(path_of(told["actions"]["upload"]["href"]), data)
            path = "/api/models/team/net/commit/main"
            got = sender.served.ask(path, "POST", token=sender.token, body=body)
            if got.status == 200:
                break
            assert got.code in ("Busy", "BadRequest", "Conflict"), got  # it was cleared
        done.append((f"/team/net/resolve/{got.json['commitOid']}/{file['path']}", data))
