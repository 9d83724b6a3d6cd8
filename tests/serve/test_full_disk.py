"""A server whose disk is full, a real one where mounting is allowed: it reads, takes nothing, and
deletes, which makes room.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from blake3 import blake3
from fakes.sending import sha256
from fakes.served import Got, Served, serving
from fakes.signed import sign_in
from fakes.small_disk import Disk, small_disk
from safetensors.numpy import save

from zoo.domain.digest import Digest
from zoo.domain.limits import LEFT_BYTES, RESERVE_BYTES
from zoo.domain.reference import Reference
from zoo.errors import DiskFull
from zoo.logins import ServerUrl, keep_token
from zoo.reflog import append_deletion
from zoo.serve.keep import reserve
from zoo.serve.keep.reserve import FILE, Reserve
from zoo.store import Store
from zoo.store.listing import name_of
from zoo.store.prune import execute, plan
from zoo.store.sent import forget_sent
from zoo.store.verify import verify
from zoo.testing.remotes import AT_ONCE
from zoo.workspace import Workspace
from zoo_http.backend import HttpBackend

SIZE = 128 << 20
REPO = "admin/net"
API = f"/api/models/{REPO}"


def weights(seed: int) -> bytes:
    """4 MiB that nothing else has."""
    return save({"a": np.random.default_rng(seed).standard_normal(1 << 20, "f4")})


class Full:
    """A server on a small disk, as an admin asks it."""

    def __init__(self, disk: Disk, served: Served) -> None:
        self.disk, self.served = disk, served
        self.token = served.token("admin", "write")

    def ask(self, path: str, method: str = "GET", value: object = None, data: bytes = b"") -> Got:
        body = data if value is None else json.dumps(value).encode()
        return self.served.ask(path, method, token=self.token, body=body)

    def send(self, *lines: tuple[str, object], repo: str = REPO) -> Got:
        """A commit."""
        each = [("header", {"summary": "x"}), *lines]
        body = b"\n".join(json.dumps({"key": k, "value": v}).encode() for k, v in each)
        return self.ask(f"/api/models/{repo}/commit/main", "POST", data=body)

    def send_readme(self, text: str) -> Got:
        return self.send(("file", {"path": "README.md", "content": text}))

    def send_weights(self, data: bytes, repo: str = REPO) -> Got:
        """A file by LFS, and its commit."""
        oid = sha256(data)
        wanted = {"operation": "upload", "objects": [{"oid": oid, "size": len(data)}]}
        batch = self.ask(f"/{repo}.git/info/lfs/objects/batch", "POST", wanted)
        (told,) = batch.json["objects"]
        url = told["actions"]["upload"]["href"]
        got = self.served.ask(url.removeprefix(self.served.url), "PUT", body=data)
        file = {"path": "model.safetensors", "algo": "sha256", "oid": oid, "size": len(data)}
        return got if got.code else self.send(("lfsFile", file), repo=repo)

    def put_object(self, data: bytes) -> Got:
        """An object, as zoo sends it."""
        key = name_of("objects", Digest("blake3", blake3(data).hexdigest()))
        return self.ask(f"/zoo/v1/store/{key}", "PUT", data=data)

    def fill(self) -> None:
        """Leave nothing but what is kept for deletions."""
        self.disk.relieve()
        self.served.server.hub.reserve.keep()
        assert (self.served.root / FILE).stat().st_size == RESERVE_BYTES
        self.disk.fill()
        assert self.disk.free() == 0

    def store(self) -> Store:
        """The store over HTTP."""
        keep_token(ServerUrl.parse(self.served.url), self.token)
        return Store(HttpBackend.connect(self.served.url, create=False))

    def damages(self) -> tuple[object, ...]:
        return verify(self.served.server.hub.workspace.store).damages


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Full]:
    monkeypatch.setattr(reserve, "RESERVE_BYTES", RESERVE_BYTES)
    monkeypatch.setattr("zoo.serve.who.accounts.USED_SECONDS", -1)  # each use is written down
    with small_disk(tmp_path / "disk", SIZE) as disk:
        Workspace.create(disk.root / "zoo").close()
        with serving(disk.root / "zoo") as served:
            yield Full(disk, served)


def test_what_makes_room_is_done(full: Full) -> None:
    for number, name in enumerate(("net", "by-hub", "by-zoo")):
        assert full.ask("/api/repos/create", "POST", {"name": name}).status == 200
        assert full.send_weights(weights(number), f"admin/{name}").status == 200
    for path, body in (("branch/dev", {}), ("tag/main", {"tag": "v1"})):
        assert full.ask(f"{API}/{path}", "POST", body).status == 200
    assert full.send_readme("stays").status == 200
    deletions: dict[str, Callable[[], Got]] = {
        "file": lambda: full.send(("deletedFile", {"path": "model.safetensors"})),
        "branch": lambda: full.ask(f"{API}/branch/dev", "DELETE"),
        "tag": lambda: full.ask(f"{API}/tag/v1", "DELETE"),
        "repository": lambda: full.ask("/api/repos/delete", "DELETE", {"name": "by-hub"}),
    }
    for what, delete in deletions.items():
        full.fill()
        got = delete()
        assert got.status == 200, (what, got.body)
    full.fill()
    store = full.store()
    append_deletion(store, Reference.parse("admin/by-zoo"))
    full.disk.fill()
    forget_sent(full.served.server.hub.workspace.store, "admin")  # as after a day
    shown = plan(store, keep=timedelta(0), grace=AT_ONCE)
    execute(store, shown, keep=timedelta(0), grace=AT_ONCE)
    assert full.disk.free() > 3 * len(weights(0))
    assert full.damages() == ()
    full.fill()
    assert full.ask(f"/{REPO}/raw/main/README.md").status == 307
    assert full.ask(f"{API}/tree/main").json[0]["path"] == "README.md"
    assert [repo["id"] for repo in full.ask("/api/models").json] == [REPO]


def test_what_takes_room_is_refused_and_all_is_read(full: Full) -> None:
    assert full.ask("/api/repos/create", "POST", {"name": "net"}).status == 200
    assert full.send_weights(weights(0)).status == 200
    assert full.send_readme("first").status == 200
    commit = full.ask(API).json["sha"]
    whole = f"/{REPO}/resolve/{commit}/model.safetensors"
    sends: tuple[Callable[[], Got], ...] = (
        lambda: full.send_readme("second"),
        lambda: full.send_weights(weights(1)),
        lambda: full.put_object(b"object"),
    )
    full.disk.relieve()
    for room in (0, 1 << 20):  # what is left is for deletions, accounts and the audit log
        full.disk.fill(leave=room)
        for send in sends:
            assert send().code == "DiskFull"
        for path in (API, f"{API}/tree/main", f"{API}/commits/main", "/", f"/{REPO}", whole):
            assert full.ask(path).status == 200, path
        assert full.ask(whole).body == weights(0)
        assert full.ask(API).json["sha"] == commit
        full.disk.relieve()
    assert full.damages() == ()
    assert [send().status for send in sends] == [200, 200, 201]
    assert full.damages() == ()


def test_the_reserve_is_taken_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, file, tries = Reserve(tmp_path), tmp_path / FILE, []

    def work() -> str:
        tries.append(file.exists())
        if file.exists() or len(tries) > 2:
            raise DiskFull(tmp_path)
        return "done"

    monkeypatch.setattr(reserve, "RESERVE_BYTES", 4096)
    kept.keep()
    file.write_bytes(b"of a server that was killed meanwhile")
    kept.keep()
    assert file.stat().st_size == 4096
    assert kept.spend(work) == "done"
    with pytest.raises(DiskFull):
        kept.spend(work)
    assert tries == [True, False, False, False]
    usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=LEFT_BYTES))
    monkeypatch.setattr(reserve, "shutil", usage)
    kept.keep()
    assert not file.exists()


def test_rights_are_taken_with_a_form(full: Full) -> None:
    """The admin's own page revokes a token that has leaked, and nothing new is made there."""
    leaked = full.served.token("ann", "write")
    (token,) = full.served.accounts.tokens("ann")
    signed = sign_in(full.served.url, full.token)
    full.fill()
    assert signed.send("/-/people/ann", do="make", name="x", purpose="read").code == "DiskFull"
    assert full.served.ask("/api/whoami-v2", token=leaked).status == 200
    signed.did("/-/people/ann", do="revoke", id=token.id)
    assert full.served.ask("/api/whoami-v2", token=leaked).status == 401


def test_a_folder_of_that_name_ends_no_deletion(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    tries = iter([DiskFull(tmp_path), None])

    def work() -> str:
        if error := next(tries):
            raise error
        return "done"

    assert Reserve(tmp_path).spend(work) == "done"


def test_a_deletion_is_whole_where_there_was_a_little_room(full: Full) -> None:
    """What it writes first fits into that, and what it writes then does not."""
    full.ask("/api/repos/create", "POST", {"name": "net"})
    full.send_readme("x")
    for pages in (2, 4):
        full.disk.relieve()
        full.ask(f"{API}/tag/main", "POST", {"tag": f"v{pages}"})
        full.served.server.hub.reserve.keep()
        full.disk.fill(leave=pages * 4096)
        assert full.ask(f"{API}/tag/v{pages}", "DELETE").status == 200
        rows = full.served.accounts.audit.rows(name=f"{REPO}:v{pages}", limit=9)
        assert [row.action for row in rows][-1] == "name deleted"
