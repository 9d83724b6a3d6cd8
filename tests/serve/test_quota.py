"""Quotas: a namespace holds so many bytes, each object once, and what is more is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import numpy as np
import pytest
from fakes.at_once import commit_at_once
from fakes.sending import sha256
from fakes.served import Got, Served, serving
from safetensors.numpy import save

from zoo.domain.digest import Digest
from zoo.errors import InvalidOption
from zoo.serve.keep import room as module
from zoo.serve.keep.room import UsageCounter
from zoo.store.prune import execute, plan

BODY = np.arange(50_000, dtype=np.float32)
WEIGHTS = save({"body": BODY, "head": np.ones(9, np.float32)})
TUNED = save({"body": BODY, "head": np.zeros(9, np.float32)})
OTHER = save({"body": BODY + 1, "head": np.ones(9, np.float32)})


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, make_zoo: Callable[[Path], None]
) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("quota") / "zoo"
    make_zoo(root)
    with serving(root) as served:
        yield served


class Sender:
    """Somebody who sends to ``ann/net``."""

    def __init__(self, served: Served) -> None:
        self.served, self.token = served, served.token("ann", "write")
        self.ask("/api/repos/create", {"name": "net"})

    def ask(self, path: str, said: object, method: str = "POST") -> Got:
        return self.served.ask(path, method, token=self.token, body=json.dumps(said).encode())

    def batch(self, data: bytes) -> Any:
        files = [{"oid": sha256(data), "size": len(data)}]
        asked = {"operation": "upload", "transfers": ["basic"], "objects": files}
        got = self.ask("/ann/net.git/info/lfs/objects/batch", asked)
        return got.json["objects"][0]

    def put(self, data: bytes) -> Got:
        href = self.batch(data)["actions"]["upload"]["href"]
        return self.served.ask(href.removeprefix(self.served.url), "PUT", body=data)

    def commit(self, *lines: tuple[str, object], repo: str = "ann/net") -> Got:
        said = [("header", {"summary": "x"}), *lines]
        body = "\n".join(json.dumps({"key": key, "value": value}) for key, value in said)
        path = f"/api/models/{repo}/commit/main"
        return self.served.ask(path, "POST", token=self.token, body=body.encode())

    def commit_file(self, data: bytes, path: str = "model.safetensors") -> Got:
        return self.commit(("lfsFile", {"path": path, "oid": sha256(data), "size": len(data)}))


def test_what_is_more_is_refused(served: Served) -> None:
    ann, quotas = Sender(served), served.accounts.quotas
    quotas.set("ann", len(WEIGHTS) - 1)
    error = ann.batch(WEIGHTS)["error"]
    assert error["code"] == 403
    assert error["message"].startswith("ann may hold 200,")
    quotas.set("ann", len(WEIGHTS) + 300)
    href = ann.batch(OTHER)["actions"]["upload"]["href"].removeprefix(served.url)
    assert ann.put(WEIGHTS).status == 200
    refused = served.ask(href, "PUT", body=OTHER)
    assert (refused.status, refused.code) == (403, "Forbidden")
    assert "more make it 400," in refused.headers["x-error-message"]
    assert served.accounts.audit.newest(limit=1)[0].who == "ann", "as the signed address says"
    assert ann.commit_file(WEIGHTS).status == 200
    assert ann.put(TUNED).status == 200, "only its head is new"
    assert ann.commit_file(TUNED).status == 200
    path = "/api/models/ann/net/xet-write-token/main"
    assert served.ask(path, token=ann.token).status == 200
    text = ("file", {"path": "README.md", "content": "x" * 400})
    refused = ann.commit(text)
    assert (refused.status, refused.code) == (403, "Forbidden")
    quotas.set("ann", 1000)
    assert served.ask(path, token=ann.token).code == "Forbidden"
    assert "ann may hold 1,000 bytes" in ann.batch(OTHER)["error"]["message"]
    assert ann.commit(("deletedFile", {"path": "model.safetensors"})).status == 200
    assert ann.commit_file(WEIGHTS).status == 200, "it is held until a prune"
    with pytest.raises(InvalidOption):
        quotas.set("ann", -1)
    quotas.set("ann", None)
    assert ann.commit(text).status == 200
    served.accounts.grant("team", "ann", "owner")
    quotas.set("team", 1000)
    moved = ann.ask("/api/repos/move", {"fromRepo": "ann/net", "toRepo": "team/moved"})
    assert moved.code == "Forbidden"
    assert "team may hold 1,000 bytes" in moved.headers["x-error-message"]
    quotas.set("team", None)


def test_what_is_held(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a prune has deleted counts no more, nor what was sent and not committed in a day."""
    store = served.server.hub.workspace.store
    room, fresh = served.server.hub.room, UsageCounter(store)
    _, held = fresh.after("team")
    objects: dict[Digest, int] = {}
    for name in ("team/net", "team/parts"):
        objects |= dict(fresh.of_repo(name))
    assert held == sum(objects.values())
    some = [(digest, size) for digest, size in objects.items()][:1]
    assert fresh.after("team", some) == (0, held)
    assert fresh.after("nobody", some) == (some[0][1], some[0][1])
    size, other = some[0][1], [(Digest("blake3", "0" * 64), 1)]
    with suppress(KeyError), fresh.sending("nobody", some, size):
        raise KeyError  # keeping it fails
    with fresh.sending("nobody", some, size) as got:
        assert got == (size, size)
    with fresh.sending("nobody", some, size) as got:
        assert got == (size, size), "the same again takes no more"
    with suppress(KeyError), fresh.sending("nobody", some, size):
        raise KeyError  # it was there before
    with fresh.sending("nobody", other, size) as got:
        assert got == (1, size + 1), "all that was sent is too much"
    with fresh.sending("nobody", (), size) as got:
        assert got == (0, size)
    assert fresh.after("nobody") == (0, 0), "no name leads to it"
    monkeypatch.setattr(module, "ANEW_SECONDS", 0.0)
    monkeypatch.setattr(module, "SENT_SECONDS", -1.0)
    with fresh.sending("nobody", (), size) as got:
        assert got == (0, 0)
    ann = Sender(served)
    assert ann.put(OTHER).status == ann.commit_file(OTHER).status == 200
    assert ann.ask("/api/repos/delete", {"name": "net"}, "DELETE").status == 200
    before = room.after("ann", anew=True)[1]
    assert before >= len(OTHER)
    shown = plan(store, keep=timedelta(0), grace=timedelta(0))
    execute(store, shown, keep=timedelta(0), grace=timedelta(0))
    assert room.after("ann")[1] == before
    assert room.after("ann", anew=True) == (0, 0)


def test_of_two_commits_at_once_one_fits(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    token, quotas = served.token("eve", "write"), served.accounts.quotas
    for name in ("one", "two"):
        body = json.dumps({"name": name}).encode()
        assert served.ask("/api/repos/create", "POST", token=token, body=body).status == 200
    quotas.set("eve", 1500)
    sends = [(served, f"eve/{name}", name[0] * 1000) for name in ("one", "two")]
    got = commit_at_once(monkeypatch, sends, token)
    assert sorted(each.status for each in got) == [200, 403]
    assert (
        "eve may hold 1,500 bytes"
        in max(got, key=lambda each: each.status).headers["x-error-message"]
    )
    assert served.server.hub.room.after("eve").total <= 1500


def test_what_is_sent_at_once_jams_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is taken than may wait, and what waits refuses no commit that fits."""
    ann, quotas = Sender(served), served.accounts.quotas
    files = [save({"body": np.full(25_000, at, np.float32)}) for at in range(6)]
    hrefs = [ann.batch(data)["actions"]["upload"]["href"] for data in files]
    held = served.server.hub.room.after("ann", anew=True).total
    quotas.set("ann", held + 2 * len(files[0]) + 1000)
    barrier, find = Barrier(len(files)), quotas.get

    def get(namespace: str) -> int | None:
        with suppress(BrokenBarrierError):
            barrier.wait(2)  # all have come before one of them is counted
        return find(namespace)

    monkeypatch.setattr(quotas, "get", get)

    def put(at: int) -> int:
        path = hrefs[at].removeprefix(served.url)
        return served.ask(path, "PUT", body=files[at]).status

    with ThreadPoolExecutor(len(files)) as pool:
        got = [*pool.map(put, range(len(files)))]
    monkeypatch.undo()
    assert sorted(got) == [200] * 2 + [403] * 4
    assert ann.commit(("file", {"path": "README.md", "content": "hi"})).status == 200
    assert ann.commit_file(files[got.index(200)]).status == 200
    quotas.set("ann", None)
