"""Uploads by Xet of what is mostly here: clients are told which chunks are, and send the others."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint
from fakes.sending import raw, sha256, shard, xorb
from fakes.served import Got, Served, serving
from safetensors.numpy import save

from zoo.domain.digest import Digest
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.hints import open_virtual
from zoo.serve.keep.chunk_list import Chunk, keep_chunks, read_chunks
from zoo.serve.keep.cut import cut
from zoo.serve.keep.files import FileLayout, Files
from zoo.serve.keep.hint import VirtualXorb
from zoo.serve.keep.xorb import CHUNK_BYTES, chunk_hash
from zoo.serve.keep.xorbs import VirtualReader
from zoo.workspace import Workspace

SENDS = Path(__file__).parent / "stock_sends.py"
RNG = np.random.default_rng(0)
BODY = {f"blocks.{at}.weight": RNG.standard_normal((512, 1024), "f4") for at in range(8)}
BASE = {**BODY, "head.weight": RNG.standard_normal((100, 1024), "f4")}
SIZE = sum(each.nbytes for each in BASE.values())
NAME = b"HFRepoMetaData"


def tuned(classes: int = 7, changed: int = 0) -> bytes:
    """A file of the network with another head, and its last blocks changed."""
    values = {**BODY, "head.weight": RNG.standard_normal((classes, 1024), "f4")}
    for name in [*BODY][len(BODY) - changed :]:
        values[name] = values[name] * np.float32(1.01)
    return save(values)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A zoo with a network that nobody has uploaded by Xet."""
    root = tmp_path_factory.mktemp("hints") / "zoo"
    with closing(Workspace.create(root)) as workspace:
        add_checkpoint(workspace, "team/base", BASE)
        add_checkpoint(workspace, "secret/base", {**BASE, "more.weight": np.ones(9, "f4")})
    with serving(root) as served:
        served.accounts.set_level("secret", level="private")
        yield served


class Upload:
    """An upload of one file to a repository, by hand, as far as chunks are asked for."""

    def __init__(self, served: Served, repo: str, data: bytes, account: str = "ann") -> None:
        self.served, self.repo, self.data = served, repo, data
        self.token = served.token(account, "write")
        name = json.dumps({"name": repo.split("/")[1], "organization": repo.split("/")[0]})
        self._ask("/api/repos/create", "POST", name.encode(), self.token)
        sample = b64encode(data[:512]).decode()
        # Of the whole, whatever of it is sent.
        file = {"path": "model.safetensors", "size": SIZE, "sample": sample}
        plan = json.dumps({"files": [file]}).encode()
        path = f"/api/models/{repo}"
        assert self._ask(f"{path}/preupload/main", "POST", plan, self.token).status == 200
        told = self._ask(f"{path}/xet-write-token/main", "GET", b"", self.token).json
        self.cas, self.key = told["casUrl"].removeprefix(served.url), told["accessToken"]

    def _ask(self, path: str, method: str, body: bytes, token: str) -> Got:
        return self.served.ask(path, method, body=body, token=token)

    def hint(self) -> Got:
        """What the client is told of chunks."""
        return self._ask(f"{self.cas}/v1/chunks/default/{'0' * 64}", "GET", b"", self.key)

    def finish(self, xorbs: dict[str, list[tuple[bytes, int]]]) -> Got:
        """Send the shard of the file, all of whose chunks are known."""
        places = {digest: (name, at) for name, chunks in xorbs.items()
                  for at, (digest, _) in enumerate(chunks)}  # fmt: skip
        spans = []
        for chunk in cut([self.data]):
            name, at = places[chunk_hash(chunk)]
            spans.append((name, at, at + 1, len(chunk)))
        return self.shard(self.data, spans)

    def send(self, name: str, data: bytes) -> Got:
        """Send a xorb."""
        return self._ask(f"{self.cas}/v1/xorbs/default/{name}", "POST", data, self.key)

    def shard(self, data: bytes, spans: list[tuple[str, int, int, int]]) -> Got:
        """Send the shard of a file of these spans."""
        body = shard([(sha256(data), spans)])
        return self._ask(f"{self.cas}/v1/shards", "POST", body, self.key)


def content(served: Served, name: str) -> bytes:
    """The weights of a name, as clients get them."""
    with closing(Workspace(served.root)) as workspace:
        store = workspace.store
        (file,) = store.document(workspace.names.resolve(name)[1]).weights
        parts = FileLayout(store, file).parts(0, file.size)
        return b"".join(bytes(piece) for part in parts for piece in part.pieces())


def beginning(served: Served, name: str) -> bytes:
    """Some whole chunks of these, which are a file of their own."""
    return b"".join(islice(cut([content(served, name)]), 20))


def parsed(data: bytes) -> dict[str, list[tuple[bytes, int]]]:
    """The xorbs of a hint, each with the hashes and sizes of its chunks, read with its footer."""
    version, *numbers = struct.unpack("<9Q", data[-200:-128])
    files_at, xorbs_at, file_table, files, xorb_table, count, chunk_table, chunks = numbers
    assert data.startswith(NAME)
    assert (version, files_at, files, file_table) == (1, 48, 0, xorb_table)
    assert struct.unpack("<Q", data[-8:]) == (len(data) - 200,)
    found: dict[str, list[tuple[bytes, int]]] = {}
    places = []
    for at in range(count):
        key, index = struct.unpack("<8sI", data[xorb_table + 12 * at :][:12])
        record = data[xorbs_at + 48 * index :][:48]
        assert record[:8] == key
        _, held, size, _ = struct.unpack("<4I", record[32:])
        entries = [data[xorbs_at + 48 * (index + 1 + each) :][:48] for each in range(held)]
        begins = [struct.unpack("<4I", entry[32:])[:2] for entry in entries]
        assert [begin for begin, _ in begins] == [sum(s for _, s in begins[:n])
                                                  for n in range(held)]  # fmt: skip
        assert sum(each for _, each in begins) == size
        name = "".join(f"{each:016x}" for each in struct.unpack("<4Q", record[:32]))
        assert raw(name) == record[:32]
        found[name] = [(entry[:32], size) for entry, (_, size) in zip(entries, begins, strict=True)]
        places += [(entry[:8], index, number) for number, entry in enumerate(entries)]
    table = [struct.unpack("<8sII", data[chunk_table + 16 * at :][:16]) for at in range(chunks)]
    assert sorted(table) == sorted(places)
    assert table == sorted(table, key=lambda row: int.from_bytes(row[0], "little"))
    return found


def test_a_file_is_cut_where_clients_cut_it() -> None:
    """See `test_the_hubs_client_sends_what_is_new` for what they do. Of bytes that are all alike,
    none ends a chunk."""
    data = RNG.bytes(3_000_000) + bytes(500_000) + RNG.bytes(77)
    chunks = [*cut([data])]
    assert b"".join(chunks) == data
    assert all(8192 <= len(chunk) <= CHUNK_BYTES for chunk in chunks[:-1])
    assert any(len(chunk) == CHUNK_BYTES for chunk in chunks)
    for size in (1000, 65_536, 777_777):
        assert [*cut([data[at : at + size] for at in range(0, len(data), size)])] == chunks
    moved = [*cut([b"some bytes before" + data])]
    assert {*moved[1:]} == {*chunks[1:]}
    assert [*cut([])] == []
    assert [*cut([b"x"])] == [b"x"]


def test_what_is_told_and_not_told(served: Served) -> None:
    data = tuned()
    upload = Upload(served, "ann/told", data)
    told = upload.hint()
    assert told.headers["content-type"] == "application/octet-stream"
    assert upload.hint().body == told.body, "the same each time"
    xorbs = parsed(told.body)
    base = content(served, "team/base")
    chunks = {chunk_hash(chunk): len(chunk) for chunk in cut([base])}
    assert {digest: size for held in xorbs.values() for digest, size in held} == chunks
    assert Upload(served, "ann/other", data).hint().body != told.body, "good for one upload"
    other = save({"conv.weight": BODY["blocks.0.weight"], "fc.weight": BASE["head.weight"]})
    assert Upload(served, "ann/else", other).hint().status == 404


def test_who_may_not_read_something_is_told_nothing_of_it(served: Served) -> None:
    def told(account: str) -> int:
        data = save({**BASE, "more.weight": np.ones(11, "f4")})
        body = Upload(served, f"{account}/own{account}", data, account).hint().body
        return sum(len(held) for held in parsed(body).values())

    alone = told("ben")
    served.accounts.add("eve")
    served.accounts.grant("secret", "eve", "reader")
    assert told("eve") == 2 * alone


def test_a_right_that_ends_ends_the_upload(served: Served) -> None:
    """What was told may be known for an hour, and is worth nothing then."""
    data = beginning(served, "secret/base")
    served.accounts.add("mia")
    served.accounts.grant("secret", "mia", "reader")
    upload = Upload(served, "mia/own", data, "mia")
    xorbs = parsed(upload.hint().body)
    served.accounts.grant("secret", "mia", None)
    refused = upload.finish(xorbs)
    assert (refused.code, "is gone" in refused.body.decode()) == ("Mismatch", True)
    served.accounts.grant("secret", "mia", "reader")
    assert upload.finish(xorbs).status == 200


def test_chunks_that_are_not_there_are_refused(served: Served) -> None:
    upload = Upload(served, "ann/wrong", beginning(served, "team/base"))
    xorbs = parsed(upload.hint().body)
    (name, chunks), *others = xorbs.items()
    rest = dict(others)
    for wrong in (
        {name: [*chunks[1:], chunks[0]], **rest},  # other chunks: other bytes
        {"0" * 64: chunks, **rest},
        {name[::-1]: chunks, **rest},
    ):
        assert upload.finish(wrong).status in (400, 409, 422), wrong.keys()
    assert upload.finish(xorbs).status == 200


@pytest.mark.long
def test_a_damaged_list_of_chunks_is_made_again(served: Served) -> None:
    name = sha256(content(served, "team/base"))
    path = served.root / "chunks" / name[:2] / name
    good = Upload(served, "ann/again", tuned()).hint().body
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[36:], b""):
        path.write_bytes(damaged)
        again = Upload(served, "ann/again", tuned()).hint().body
        assert parsed(again).values()  # with other names of xorbs
        assert len(again) == len(good)
        assert path.read_bytes() == whole


@pytest.mark.long
def test_who_waits_for_chunks_keeps_nobody_else_waiting(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file takes a minute; that minute is not everybody's, and it is cut once."""
    uploads = [Upload(served, f"ann/wait{number}", tuned()) for number in range(5)]
    shutil.rmtree(served.root / "chunks", ignore_errors=True)
    go, begun, run = Event(), list[int](), subprocess.run

    def slow(*args: Any, **options: Any) -> Any:
        begun.append(1)
        assert go.wait(60)
        return run(*args, **options)

    monkeypatch.setattr("zoo.serve.hub.hints.subprocess.run", slow)
    with ThreadPoolExecutor(50) as pool:
        told = [pool.submit(upload.hint) for _ in range(10) for upload in uploads]
        try:
            while len(begun) < 2:
                time.sleep(0.01)
            time.sleep(0.5)  # all the others have come
            asked = http.client.HTTPConnection(served.url.partition("://")[2], timeout=60)
            with closing(asked):
                asked.request("GET", "/healthz")
                assert asked.getresponse().status == 200
            assert len(begun) == 2
        finally:
            go.set()
        assert {each.result().status for each in told} == {200}
    assert len(begun) < len(uploads)


def test_a_shard_that_goes_to_and_fro_is_read_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, opened = beginning(served, "team/base"), list[str]()
    upload = Upload(served, "ann/fro", data)
    (name, chunks), *_ = parsed(upload.hint().body).items()

    def noted(ask: Ask, each: VirtualXorb) -> VirtualReader:
        opened.append(each.name)
        return open_virtual(ask, each)

    monkeypatch.setattr("zoo.serve.hub.xet.open_virtual", noted)
    own, packed, count = xorb(b"own chunk" * 9)
    assert upload.send(own, packed).status == 200
    sizes = [size for _, size in chunks[:20]]
    spans, parts, at = list[tuple[str, int, int, int]](), list[bytes](), 0
    for number, size in enumerate(sizes):
        spans += [(name, number, number + 1, size), (own, 0, count, 81)]
        parts += [data[at : at + size], b"own chunk" * 9]
        at += size
    whole = b"".join(parts)
    assert upload.shard(whole, spans).status == 200
    assert opened == [name]


def test_a_list_is_kept_only_of_chunks_as_they_are_cut(served: Served, tmp_path: Path) -> None:
    """Who sends a file may cut it in any way, and others would be told of that."""
    data = RNG.bytes(300_000)
    upload = Upload(served, "ann/tiny", data)
    name, packed, count = xorb(data, 1000)
    assert upload.send(name, packed).status == 200
    assert upload.shard(data, [(name, 0, count, len(data))]).status == 200
    assert not (served.root / "chunks" / sha256(data)[:2] / sha256(data)).exists()
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        store, good = workspace.store, [Chunk(b"a" * 32, 9000), Chunk(b"b" * 32, 100)]
        keep_chunks(store, "0" * 64, good)
        keep_chunks(store, "0" * 64, [Chunk(b"c" * 32, 9100)])
        assert read_chunks(store, "0" * 64, 9100) == good


@pytest.mark.long
def test_many_files_have_each_checkpoint_read_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest may be large: for sixteen files to be read sixteen times takes minutes."""
    data, upload, read = tuned(), Upload(served, "ann/many", tuned()), list[Digest]()
    sample = b64encode(data[:512]).decode()
    files = [{"path": f"{n}.safetensors", "size": SIZE + n, "sample": sample} for n in range(16)]
    plan = json.dumps({"files": files}).encode()
    path = "/api/models/ann/many/preupload/main"
    assert served.ask(path, "POST", token=upload.token, body=plan).status == 200
    document = Files.document

    def noted(self: Files, digest: Digest) -> Any:
        read.append(digest)
        return document(self, digest)

    monkeypatch.setattr(Files, "document", noted)
    assert upload.hint().status == 200
    assert len(read) == len({*read})


@pytest.mark.long
def test_a_size_that_no_file_has_is_refused(served: Served) -> None:
    plan = {"files": [{"path": "model.safetensors", "size": 1 << 70, "sample": ""}]}
    token = served.token("ann", "write")
    Upload(served, "ann/sized", tuned())
    path, body = "/api/models/ann/sized/preupload/main", json.dumps(plan).encode()
    assert served.ask(path, "POST", token=token, body=body).code == "BadRequest"


@pytest.mark.long
def test_the_hubs_client_sends_what_is_new(served: Served, tmp_path: Path) -> None:
    """It has sent nothing before, and the base was never sent by it."""

    def received() -> float:
        lines = served.ask("/metrics").body.decode().splitlines()
        return sum(float(line.split()[1]) for line in lines
                   if line.startswith("zoo_received_bytes_total"))  # fmt: skip

    sent: dict[str, Any] = {}
    for number, (kind, changed) in enumerate({"head": 0, "blocks": 2, "more": 2}.items()):
        folder = tmp_path / kind
        folder.mkdir()
        data = tuned(changed=changed)
        (folder / "model.safetensors").write_bytes(data)
        before = received()
        env = {
            **os.environ, "HF_ENDPOINT": served.url, "HF_TOKEN": served.token("ann", "write"),
            "HF_HOME": str(tmp_path / f"home{number}"), "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        code = f"from huggingface_hub import HfApi; a = HfApi(); a.create_repo('ann/{kind}'); "
        code += f"a.upload_folder(repo_id='ann/{kind}', folder_path={str(folder)!r})"
        done = subprocess.run([sys.executable, "-c", code], env=env, check=False,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        sent[kind] = received() - before
        got = served.ask(f"/ann/{kind}/resolve/main/model.safetensors",
                         token=served.token("ann"))  # fmt: skip
        got = served.ask(got.headers["location"], token=served.token("ann"))
        assert got.body == data
        with closing(Workspace(served.root)) as workspace:
            known = read_chunks(workspace.store, sha256(data), len(data))
        assert [chunk.hash for chunk in known] == [chunk_hash(chunk) for chunk in cut([data])]
    new = 2 * 512 * 1024 * 4
    assert sent["head"] < 0.02 * len(data)
    assert 0.9 * new < sent["blocks"] < 1.05 * new
