"""Files out of objects: plain, encoded, missing, cut short; past memory, and through it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import Tensors, add_checkpoint, flip_byte
from fakes.served import CONFIG, Served, serving, with_files
from fakes.smuggled import smuggled
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import http_backoff

from zoo.codec.frame import encode
from zoo.codec.header import Codec
from zoo.codec.layouts import LAYOUTS
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, WeightsFile
from zoo.domain.reference import Reference
from zoo.serve.http.answer import ZERO_COPY, Answer, send_answer
from zoo.serve.keep.files import Files
from zoo.store.files import object_ranges
from zoo.store.listing import name_of
from zoo.workspace import Workspace

NAME = "model.safetensors"


def values() -> Tensors:
    """Large tensors, and small ones between them that share objects."""
    draw = np.random.default_rng(0).standard_normal
    made: Tensors = {}
    for block in range(3):
        made[f"blocks.{block}.weight"] = draw((160, 160)).astype(np.float32)
        made |= {f"blocks.{block}.norm{i}": draw(64).astype(np.float32) for i in range(4)}
    made["empty"] = np.zeros((0, 4), np.float32)
    return made


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        bare = add_checkpoint(workspace, "team/bare", values())
        whole = with_files(workspace, bare, config_json=CONFIG)
        workspace.commit(whole, Reference.parse("team/net"), "import")
        yield workspace


def stored(workspace: Workspace) -> tuple[Digest, WeightsFile, bytes]:
    """The checkpoint, its weights, and their bytes."""
    digest = workspace.names.resolve("team/net")[1]
    manifest: Manifest = workspace.store.manifest(digest)
    (weights,) = manifest.weights
    data = b"".join(
        bytes(workspace.store.view("objects", name)[offset : offset + count])
        for name, offset, count in object_ranges(weights)
    )
    return digest, weights, data


def sent(answer: Answer, *, zero_copy: bool) -> bytes:
    """The body as a server would send it."""
    body = bytearray()

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == ZERO_COPY:
            message["file"].seek(message["offset"])
            body.extend(message["file"].read(message["count"]))
        elif message["type"] == "http.response.body":
            body.extend(message["body"])

    asyncio.run(send_answer(answer, send, head=False, zero_copy=zero_copy))
    return bytes(body)


@pytest.mark.parametrize("zero_copy", [True, False])
def test_any_range_is_that_of_the_file(workspace: Workspace, zero_copy: bool) -> None:
    digest, weights, data = stored(workspace)
    files, rng = Files(workspace.store), np.random.default_rng(0)
    spans = [(0, weights.size), (0, 1), (weights.size - 1, weights.size), (7, 7)]
    spans += [tuple(sorted(rng.integers(0, weights.size, 2))) for _ in range(30)]
    for begin, end in spans:
        answer = Answer(body=files.parts(digest, NAME, begin, end))
        assert answer.size == end - begin
        assert sent(answer, zero_copy=zero_copy) == data[begin:end]


def test_what_is_encoded_is_decoded(workspace: Workspace) -> None:
    digest, weights, data = stored(workspace)
    for name, _, _ in [*object_ranges(weights)][1:]:
        path = workspace.store.path("objects", name)
        if path.exists() and path.stat().st_size:
            packed = encode(Codec.FULL, path.read_bytes(), LAYOUTS["F32"])
            workspace.store.write("encoded", name, [packed])
            path.unlink()
    files = Files(workspace.store)
    for begin, end in ((0, weights.size), (1000, weights.size - 1000), (120_000, 120_010)):
        answer = Answer(body=files.parts(digest, NAME, begin, end))
        assert sent(answer, zero_copy=True) == data[begin:end]


def parts_of(served: Served) -> tuple[str, Path]:
    """The pinned address of the weights, and the largest object that they need."""
    moved = served.ask(f"/team/net/resolve/main/{NAME}", "HEAD", token=served.token("ann"))
    store = served.server.hub.workspace.store
    _, weights, _ = stored(served.server.hub.workspace)
    largest = max(object_ranges(weights), key=lambda each: each[2])[0]
    return moved.headers["location"], store.path("objects", largest)


def test_damage_is_told_before_or_ends_the_connection(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never wrong bytes of the right number that nobody has checked for length."""
    with serving(workspace.root) as served:
        pinned, path = parts_of(served)
        token, kept = served.token("ann"), path.read_bytes()
        whole = stored(workspace)[1].size
        path.chmod(0o644)
        path.write_bytes(kept[:-10])
        with pytest.raises(Exception, match="IncompleteRead"):
            served.ask(pinned, token=token)
        path.unlink()
        missing = served.ask(pinned, token=token)
        assert (missing.status, missing.code) == (500, "Damaged")
        assert str(workspace.root) not in missing.body.decode()
        with monkeypatch.context() as patch:
            patch.delattr(Files, "parts")  # what lies where is not worked out for that
            head = served.ask(pinned, "HEAD", token=token)
        assert (head.status, head.headers["content-length"]) == (200, str(whole))
        assert served.ask(pinned, token=token, Range="bytes=0-9").status == 206
        path.write_bytes(kept)
        assert served.ask(pinned, token=token).status == 200


def test_a_view_that_is_damaged_is_told(workspace: Workspace) -> None:
    with serving(workspace.root) as served:
        parts_of(served)
    (view,) = (workspace.root / "views").rglob("*.json")
    flip_byte(view, 0)
    with serving(workspace.root) as served:
        got = served.ask("/api/models/team/net", token=served.token("ann"))
        assert (got.status, got.code) == (500, "Failed")


def test_who_leaves_early_does_no_harm(workspace: Workspace) -> None:
    with serving(workspace.root) as served:
        pinned, _ = parts_of(served)
        token = served.token("ann")
        host, port = served.url.removeprefix("http://").split(":")
        for taken in (0, 10, 40_000):
            with socket.create_connection((host, int(port))) as client:
                said = (f"Host: {host}", f"Authorization: Bearer {token}", "", "")
                client.sendall("\r\n".join([f"GET {pinned} HTTP/1.1", *said]).encode())
                if taken:
                    client.recv(taken)
        assert served.ask(pinned, token=token).status == 200


def test_files_go_past_memory(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn is still as `zoo.serve.http.cycle` expects it."""
    spans: list[int] = []
    sendfile = asyncio.BaseEventLoop.sendfile

    async def counted(loop: Any, transport: Any, file: Any, offset: int, count: int) -> int:
        spans.append(count)
        return await sendfile(loop, transport, file, offset, count)

    monkeypatch.setattr(asyncio.BaseEventLoop, "sendfile", counted)
    with serving(workspace.root) as served:
        pinned, _ = parts_of(served)
        got = served.ask(pinned, token=served.token("ann"))
    assert got.body == stored(workspace)[2]
    assert spans == [4 * 160 * 160] * 3


def test_raw_bytes_on_the_socket(workspace: Workspace) -> None:
    """What is no request, or two in one, ends the connection."""
    with serving(workspace.root) as served:
        host, port = served.url.removeprefix("http://").split(":")
        for said in smuggled(host):
            with socket.create_connection((host, int(port)), timeout=20) as client:
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 400"), said
            assert answer.count(b"HTTP/1.1") == 1
        assert served.ask("/healthz").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/team/net/resolve/main/../../../registry.db",
        "/team/net/resolve/main/..%2f..%2f..%2fregistry.db",
        "/team/net/resolve/main/%2e%2e/%2e%2e/%2e%2e/registry.db",
        "/team/net/resolve/main/%252e%252e/registry.db",
        "/team/net/resolve/main/%c0%ae%c0%ae/registry.db",  # a dot in more bytes than it needs
        "/team/net/resolve/main/..\\..\\registry.db",
        "/team/net/resolve/main/%00/registry.db",
        "/team/net/resolve/main//etc/passwd",
        "/team/net/resolve/../../registry.db",
        "/team/net/resolve/%2e%2e%2f%2e%2e/registry.db",
        "/../registry.db",
        "//registry.db",
        "/static/../../../registry.db",
        "/static/..%2f..%2faccounts.db",
    ],
)
def test_no_path_leads_out_of_a_repository(served: Served, path: str) -> None:
    """As it is written on the socket: a client would have made it shorter."""
    host, port = served.url.removeprefix("http://").split(":")
    token = served.token("ann", "write")
    head = f"Host: {host}:{port}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert int(answer[9:12]) in (400, 404, 405), (method, answer[:200])
        assert b"SQLite format 3" not in answer
        assert b"root:" not in answer


def test_a_commit_outlives_its_files(workspace: Workspace) -> None:
    """What a prune has taken is gone, and no id changes."""
    ref = Reference.parse("team/net")
    old, _, _ = stored(workspace)
    new = replace(workspace.store.manifest(old), license="mit")
    workspace.commit(new, ref, "state the license")
    with serving(workspace.root) as served:
        token = served.token("ann")
        commits = served.ask("/api/models/team/net/commits/main", token=token).json
        first = f"/team/net/resolve/{commits[1]['id']}"
        assert served.ask(f"{first}/{NAME}", "HEAD", token=token).status == 200
        workspace.store.remove(name_of("manifests", old))
        for server in (served, None):
            with nullcontext(server) if server else serving(workspace.root) as asked:
                again = asked.ask("/api/models/team/net/commits/main", token=token).json
                assert again == commits
                gone = asked.ask(f"{first}/{NAME}", token=token)
                assert (gone.status, gone.code) == (404, "EntryNotFound")
                assert "was deleted" in gone.json["error"]
                kept = asked.ask(f"{first}/README.md", token=token)
                assert kept.status == 200
                assert asked.ask(f"/team/net/resolve/main/{NAME}", token=token).status == 307
    shutil.rmtree(workspace.root / "views")
    with serving(workspace.root) as served:
        token = served.token("ben")
        assert len(served.ask("/api/models/team/net/commits/main", token=token).json) == 2
        assert served.ask("/api/models/team/net", token=token).json["cardData"]["license"] == "mit"


def test_what_describes_networks_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zoo.serve.keep.worker.sys.executable", shutil.which("false"))
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        add_checkpoint(workspace, "team/bare", values())
        with serving(workspace.root) as served:
            token = served.token("ann")
            info = served.ask("/api/models/team/bare", token=token).json
            files = [each["rfilename"] for each in info["siblings"]]
            assert files == ["README.md", NAME]
            pinned = f"/team/bare/resolve/{info['sha']}/{NAME}"
            assert served.ask(pinned, token=token).status == 200
    assert "has no config.json: what describes networks has failed" in caplog.text
    assert not list((tmp_path / "zoo").glob("views/*/*"))


@pytest.mark.long
def test_what_describes_networks_ends_quietly_with_the_server(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "zoo").close()
    command = [sys.executable, "-m", "zoo.serve.keep.describe", str(tmp_path / "zoo")]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.close()
        process.stdin.write(f"blake3:{'0' * 64}\n".encode())
        process.stdin.flush()
        _, said = process.communicate()
    assert (process.returncode, said) == (0, b"")


def test_who_waits_too_long_asks_again_and_is_not_called_rate_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr("zoo.serve.keep.worker.sys.executable", str(slow))
    monkeypatch.setattr("zoo.serve.hub.ask.SOON", 0.05)
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        add_checkpoint(workspace, "team/bare", values())
        with serving(workspace.root) as served:
            url = f"/team/bare/resolve/main/{NAME}"
            token = served.token("ann")
            got = served.ask(url, "HEAD", token=token)
            assert (got.status, got.code) == (503, "Busy")
            assert "retry-after" not in got.headers
            monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
            headers = {"authorization": f"Bearer {token}"}
            with pytest.raises(HfHubHTTPError, match="503"):
                http_backoff(
                    "HEAD", served.url + url, headers=headers, max_retries=1, base_wait_time=0.01
                )
            assert "Retrying in 0.01s" in caplog.text
            assert "ate limited" not in caplog.text


def test_many_at_once_get_the_same_bytes(workspace: Workspace) -> None:
    data = stored(workspace)[2]
    with serving(workspace.root) as served:
        pinned, _ = parts_of(served)
        token = served.token("ann")
        with ThreadPoolExecutor(16) as pool:
            got = pool.map(lambda _: served.ask(pinned, token=token).body, range(48))
            assert set(map(len, got)) == {len(data)}
        assert served.ask(pinned, token=token).body == data
