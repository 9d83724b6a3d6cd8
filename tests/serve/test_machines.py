"""Several machines serve one zoo: the store is a bucket, and index and accounts are in PostgreSQL.
What is sent to one is there at the others.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import torch
from blake3 import blake3
from fakes.at_once import commit_at_once
from fakes.checkpoints import add_checkpoint, assert_sound, tensors
from fakes.hub_zoo import repository
from fakes.machines import Away, Balancer, Machine, account, machine, pair
from fakes.postgres import Server as Postgres
from fakes.postgres import programs
from fakes.program import zoo as program
from fakes.s3_front import KEY_ID, SECRET
from fakes.served import Got, Served, ask, commit, serving, waited
from fakes.signing_keys import make_key
from huggingface_hub import CommitOperationAdd, HfApi
from safetensors.torch import load, save

import zoo
from zoo.contracts import Backend
from zoo.domain.digest import Digest
from zoo.domain.limits import UPLOAD_PART_BYTES
from zoo.domain.stored import StoredFile
from zoo.errors import Conflict, InvalidOption, NoCheckpoint, Unavailable, Unsupported
from zoo.logins import ServerUrl, keep_token
from zoo.machine import join
from zoo.registry.engine import open_engine
from zoo.registry.engines import read_url
from zoo.remotes import connect
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages import pruning
from zoo.serve.watch import copying
from zoo.serve.who.locks import Locks
from zoo.store.listing import name_of
from zoo.store.prune import execute, plan
from zoo.store.verify import verify
from zoo.testing.remotes import AT_ONCE
from zoo.transfer.repack import repack
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

SENDS = Path(__file__).parent / "stock_sends.py"
ROOM = 4 << 20


@dataclass(frozen=True)
class Fleet:
    """Two machines, where their bucket and database are, and what stands before the bucket."""

    one: Served
    two: Served
    store: str
    database: str
    front: Away
    token: str

    def make(self, name: str) -> str:
        """A new repository of Ann's."""
        made = json.dumps({"name": name, "organization": "ann"}).encode()
        assert self.one.ask("/api/repos/create", "POST", token=self.token, body=made).status == 200
        return f"ann/{name}"


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_REGION", "us-east-1")
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1")
        yield patch


@pytest.fixture(scope="module")
def fleet(
    postgres_server: Postgres,
    s3_service: int,
    patch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    front, store = Away(s3_service), f"s3://models/{uuid.uuid4().hex}/zoo"
    patch.setenv("AWS_ENDPOINT_URL", front.url)
    patch.setenv("ZOO_DB", database := postgres_server.database("fleet"))
    with pair(tmp_path_factory.mktemp("fleet"), store, ROOM) as (one, two):
        yield Fleet(one, two, store, database, front, one.token("ann", "write"))
    front.stop()


@pytest.fixture(autouse=True)
def same_database(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests begin without one."""
    monkeypatch.setenv("ZOO_DB", fleet.database)


def head(served: Served, repo: str, token: str) -> str:
    return str(served.ask(f"/api/models/{repo}", token=token).json["sha"])


@pytest.mark.long
def test_what_is_sent_to_one_is_read_at_the_other_at_once(fleet: Fleet) -> None:
    repo = fleet.make("notes")
    for number in range(6):
        here, there = (fleet.one, fleet.two)[:: 1 if number % 2 else -1]
        assert here.commit(repo, f"text {number}", fleet.token).status == 200
        sha = head(there, repo, fleet.token)
        got = there.ask(f"/{repo}/resolve/{sha}/README.md", token=fleet.token)
        assert got.body == f"text {number}".encode()
        assert head(here, repo, fleet.token) == sha
    branch = f"/api/models/{repo}/branch/dev"
    assert fleet.one.ask(branch, "POST", token=fleet.token, body=b"{}").status == 200
    assert fleet.two.ask(f"/api/models/{repo}/revision/dev", token=fleet.token).status == 200
    assert fleet.two.ask(branch, "DELETE", token=fleet.token).status == 200
    assert fleet.one.ask(f"/api/models/{repo}/revision/dev", token=fleet.token).status == 404


@pytest.mark.long
def test_commits_through_both_are_one_line(fleet: Fleet) -> None:
    """Each on top of whatever is newest: none is lost, none is twice."""
    repo = fleet.make("line")
    assert fleet.one.commit(repo, "first", fleet.token).status == 200

    def send(writer: int) -> None:
        for number in range(2):
            at = (fleet.one, fleet.two)[(writer + number) % 2]
            text = f"{writer}-{number}"
            while True:
                parent = head(at, repo, fleet.token)
                got = commit(at.url, repo, text, fleet.token, parent)
                if got.status == 200:
                    break
                assert got.status in (412, 503), got

    with ThreadPoolExecutor(3) as pool:
        [*pool.map(send, range(3))]
    rows = [at.ask(f"/api/models/{repo}/commits/main", token=fleet.token).json
            for at in (fleet.one, fleet.two)]  # fmt: skip
    assert rows[0] == rows[1]
    titles = [row["title"] for row in rows[0]]
    assert sorted(titles) == sorted(["first", *(f"{w}-{n}" for w in range(3) for n in range(2))])


@pytest.mark.long
def test_two_machines_never_go_over_a_quota(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has found room for a commit, and one alone fits."""
    token = fleet.one.token("eve", "write")
    for name in ("one", "two"):
        body = json.dumps({"name": name}).encode()
        assert fleet.one.ask("/api/repos/create", "POST", token=token, body=body).status == 200
    fleet.one.accounts.quotas.set("eve", 1500)
    sends = [(fleet.one, "eve/one", "o" * 1000), (fleet.two, "eve/two", "t" * 1000)]
    got = commit_at_once(monkeypatch, sends, token)
    assert sorted(each.status for each in got) == [200, 403]
    for served in (fleet.one, fleet.two):
        assert served.server.hub.room.after("eve").total == 1000


def test_a_push_to_one_and_a_pull_from_the_other(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an object that is sent in parts, and is more than half of what the machines keep."""
    monkeypatch.delenv("ZOO_DB")
    for served in (fleet.one, fleet.two):
        keep_token(ServerUrl.parse(served.url), fleet.token)
    large = np.random.default_rng(0).standard_normal((1600, 1600), "f4")
    with (
        closing(Workspace.create(tmp_path / "mine")) as mine,
        closing(Workspace.create(tmp_path / "theirs")) as theirs,
    ):
        digest = add_checkpoint(mine, "ann/net", {"large": large, "small": large[:8, :8].copy()})
        push(mine, "ann/net", fleet.one.url)
        assert pull(theirs, "ann/net", fleet.two.url)[1].manifest == digest
        assert_sound(theirs.store)
    assert verify(connect(fleet.store)).damages == ()
    for served in (fleet.one, fleet.two):
        refs = served.server.hub.workspace.registry.refs()
        assert [(str(ref), there) for ref, there, _ in refs] == [("ann/net", digest)]


@pytest.mark.long
def test_a_signature_that_is_sent_to_one_counts_at_the_other(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOO_DB")
    keep_token(ServerUrl.parse(fleet.one.url), fleet.token)
    keep_token(ServerUrl.parse(fleet.two.url), fleet.token)
    alice = make_key(tmp_path, "alice")
    with zoo.init(tmp_path / "mine") as mine, zoo.init(tmp_path / "theirs") as theirs:
        add_checkpoint(mine.workspace, "ann/signed", tensors(7))
        mine.sign("ann/signed", alice.private)
        mine.push("ann/signed", fleet.one.url)
        theirs.add_signer("alice", alice.public)
        theirs.require_signatures("enforce")
        done = theirs.pull("ann/signed", remote=fleet.two.url)
        assert done.copied
        assert done.copied.signed_by == "alice"


def test_parts_go_to_whichever_machine(fleet: Fleet) -> None:
    pieces = [os.urandom(UPLOAD_PART_BYTES), os.urandom(1 << 20)]
    data = b"".join(pieces)
    key = name_of("objects", Digest("blake3", blake3(data).hexdigest()))
    hashes = [blake3(piece).hexdigest() for piece in pieces]

    def send(at: Served, path: str, method: str, body: bytes = b"") -> Got:
        return at.ask(f"/zoo/v1/parts/{path}", method, token=fleet.token, body=body)

    assert send(fleet.one, f"0-{hashes[0]}/{key}", "PUT", pieces[0]).status == 201
    assert send(fleet.two, key, "GET").json == {"parts": [f"0-{hashes[0]}"]}
    assert send(fleet.two, f"1-{hashes[1]}/{key}", "PUT", pieces[1]).status == 201
    whole = json.dumps({"parts": hashes}).encode()
    with ThreadPoolExecutor(6) as pool:
        ends = (fleet.one, fleet.two) * 3
        got = [*pool.map(lambda at: send(at, key, "POST", whole).status, ends)]
    assert got == [201] * 6
    assert fleet.two.ask(f"/zoo/v1/store/{key}", token=fleet.token).body == data
    assert send(fleet.one, key, "GET").json == {"parts": []}


def test_no_more_is_kept_than_there_is_room_for(fleet: Fleet) -> None:
    """And no part, sign or probe is left in the bucket."""
    for served in (fleet.one, fleet.two):
        folders = [served.root / name for name in ("objects", "manifests", "sent", "tmp")]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert files
        assert sum(path.stat().st_size for path in files) <= ROOM
    left = [file.name for file in connect(fleet.store).backend.list("tmp/")]
    assert left == []


@pytest.mark.long
def test_what_is_pushed_into_the_bucket_is_seen_soon(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever may write there, past all machines."""
    monkeypatch.delenv("ZOO_DB")
    monkeypatch.setattr("zoo.store.names_seen.SEEN_SECONDS", 1.0)
    with closing(Workspace.create(tmp_path / "mine")) as mine:
        first = add_checkpoint(mine, "ann/direct")
        push(mine, "ann/direct", fleet.store)
        key = "/zoo/v1/list/refs/ann/direct"
        numbers = len(fleet.one.ask(key, token=fleet.token).json["stored"])
        second = add_checkpoint(mine, "ann/direct", tensors(1))
        began = time.monotonic()
        push(mine, "ann/direct", fleet.store)
        while len(fleet.one.ask(key, token=fleet.token).json["stored"]) == numbers:
            assert time.monotonic() - began < 30
            time.sleep(0.1)
    assert first != second


@pytest.mark.long
def test_a_file_that_is_damaged_here_is_read_again(fleet: Fleet) -> None:
    repo = fleet.make("damaged")
    assert fleet.one.commit(repo, "right text", fleet.token).status == 200
    sha = head(fleet.two, repo, fleet.token)
    key = name_of("objects", Digest("blake3", blake3(b"right text").hexdigest()))
    path = f"/{repo}/resolve/{sha}/README.md"
    for served in (fleet.one, fleet.two):
        assert served.ask(path, token=fleet.token).body == b"right text"
        file = served.root / key
        file.write_bytes(b"wrong text")
        assert served.ask(path, token=fleet.token).body == b"right text"
        assert file.read_bytes() == b"right text"


@pytest.mark.long
def test_bytes_that_are_damaged_in_the_bucket_are_never_told(fleet: Fleet) -> None:
    repo = fleet.make("broken")
    assert fleet.one.commit(repo, "sound text", fleet.token).status == 200
    sha = head(fleet.two, repo, fleet.token)
    key = name_of("objects", Digest("blake3", blake3(b"sound text").hexdigest()))
    backend = connect(fleet.store).backend
    backend.put(key, [b"other text"])
    (fleet.two.root / key).unlink(missing_ok=True)
    path = f"/{repo}/resolve/{sha}/README.md"
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        fleet.two.ask(path, token=fleet.token)
    assert fleet.one.ask(path, token=fleet.token).body == b"sound text", "it is kept there"
    backend.put(key, [b"sound text"])
    assert fleet.two.ask(path, token=fleet.token).body == b"sound text"


@pytest.mark.long
def test_the_bucket_is_away_for_a_while(fleet: Fleet) -> None:
    repo = fleet.make("away")
    assert fleet.one.commit(repo, "before", fleet.token).status == 200
    fleet.front.away = True
    try:
        got = fleet.one.commit(repo, "meanwhile", fleet.token)
        assert (got.status, got.code, got.headers["retry-after"]) == (503, "Busy", "2")
        assert fleet.two.ask(f"/api/models/{repo}", token=fleet.token).status == 503
        assert fleet.two.ask("/healthz").status == 200
        assert fleet.two.ask("/readyz").json["store"] is False
    finally:
        fleet.front.away = False
    assert fleet.one.commit(repo, "after", fleet.token).status == 200
    got = fleet.two.ask(f"/api/models/{repo}/commits/main", token=fleet.token)
    assert [row["title"] for row in got.json] == ["after", "before"]


def test_one_machine_leads_and_the_next_follows(postgres_server: Postgres) -> None:
    url = read_url(postgres_server.database("leads"))
    engines = [open_engine(url) for _ in range(3)]
    first, second, third = (Locks(engine) for engine in engines)
    assert [each.leads() for each in (first, second, third, first)] == [True, False, False, True]
    first.close()
    assert [each.leads() for each in (third, second, first, third)] == [True, False, False, True]
    second.close()
    third.close()
    for engine in engines:
        engine.dispose()


@pytest.mark.long
def test_the_database_is_started_anew(fleet: Fleet) -> None:
    """All connections are lost; what is asked next is answered as if nothing had been."""
    repo = fleet.make("anew")
    assert fleet.one.commit(repo, "before", fleet.token).status == 200
    assert fleet.two.commit(repo, "again", fleet.token).status == 200
    leads = [served.accounts.locks.leads() for served in (fleet.one, fleet.two)]
    assert sum(leads) <= 1
    with psycopg.connect(fleet.database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    for served in (fleet.one, fleet.two):
        assert served.commit(repo, f"after {served.url}", fleet.token).status == 200
    assert len(fleet.one.ask(f"/api/models/{repo}/commits/main", token=fleet.token).json) == 4
    until = time.monotonic() + 30
    while sum(served.accounts.locks.leads() for served in (fleet.one, fleet.two)) != 1:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_token_that_is_revoked_at_one_is_refused_at_the_other(fleet: Fleet) -> None:
    token, secret = fleet.one.accounts.new_token("ann", "short", "read")
    for served in (fleet.one, fleet.two, fleet.two):
        assert served.ask("/api/whoami-v2", token=str(secret)).json["name"] == "ann"
    fleet.one.accounts.revoke(token.id)
    for served in (fleet.one, fleet.two):
        assert served.ask("/api/whoami-v2", token=str(secret)).status == 401


def test_machines_take_turns(fleet: Fleet) -> None:
    inside: list[int] = []

    def enter(served: Served) -> None:
        for _ in range(5):
            with served.server.hub.taking_turns("there"):
                inside.append(1)
                assert len(inside) == 1
                time.sleep(0.002)
                inside.pop()

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(enter, (fleet.one, fleet.two) * 4)]


def test_a_machine_needs_the_key_of_the_others(fleet: Fleet, tmp_path: Path) -> None:
    join(tmp_path / "three", fleet.store, ROOM)
    said = program("--home", tmp_path / "three", "serve", "--port", "0")
    said.refused("seals.key is not the key of the other machines", "copy seals.key from the folder")


def test_only_a_server_works_in_the_folder_of_a_machine(fleet: Fleet) -> None:
    root = fleet.one.root
    program("--home", root, "ls").refused("zoo serve alone works here", fleet.store)
    names = program("--home", root, "serve", "user", "--json").done().json
    assert "ann" in [each["name"] for each in names]
    with pytest.raises(Unsupported, match="format 3"):
        connect(str(root))


@pytest.mark.parametrize(
    ("location", "room", "error", "says"),
    [
        ("/srv/zoo", ROOM, InvalidOption, "is no bucket"),
        ("s3://user:secret@lab/zoo", ROOM, InvalidOption, "must not hold credentials"),
        ("s3://models/other", 10, InvalidOption, "can be kept in"),
        ("s3://models/other", 1 << 60, InvalidOption, "can be kept in"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    tmp_path: Path, location: str, room: int, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        join(tmp_path / "new", location, room)
    assert "secret" not in str(raised.value)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_has_something_else_is_left_alone(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Unavailable, match="has something else"):
        join(tmp_path, fleet.store, ROOM)
    with pytest.raises(Unavailable, match=f"shares {fleet.store}"):
        join(fleet.one.root, "s3://models/another/zoo", ROOM)
    monkeypatch.delenv("ZOO_DB")
    with pytest.raises(InvalidOption, match="share a database"):
        join(tmp_path / "new", fleet.store, ROOM)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["file"]


@pytest.mark.long
def test_a_backup_is_restored_into_an_empty_bucket_and_database(
    fleet: Fleet, postgres_server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/operate.md says: two commands each. What is committed after it is not in it."""
    files, repo, copy = repository(7), "ann/saved", tmp_path / "copy"
    here = HfApi(endpoint=fleet.one.url, token=fleet.token)
    here.create_repo(repo)
    adds = [CommitOperationAdd(path, data) for path, data in files.items()]
    made = here.create_commit(repo, adds, commit_message="add").oid
    dump, busy, new = dumped(postgres_server, "fleet", tmp_path), fleet.make("busy"), copying._new

    def between(source: Backend, to: Backend, folder: str) -> Iterator[tuple[StoredFile, bool]]:
        assert fleet.one.commit(busy, f"before {folder}", fleet.token).status == 200
        return new(source, to, folder)

    monkeypatch.setattr(copying, "_new", between)
    done = program("--home", fleet.two.root, "serve", "backup", copy, "--json").done().json
    monkeypatch.setattr(copying, "_new", new)
    assert done["files"] > 20
    assert copy.stat().st_mode & 0o077 == 0
    assert verify(connect(str(copy))).damages == ()
    assert fleet.one.commit(repo, "later", fleet.token).status == 200

    monkeypatch.setenv("ZOO_DB", postgres_server.database("restored"))
    called(postgres_server, "pg_restore", "--no-owner", "--dbname", "restored", dump)
    store = f"s3://models/{uuid.uuid4().hex}/zoo"
    program("--home", copy, "serve", "backup", store).done()
    assert connect(store).backend.stat("seals.key") is None
    program("--home", copy, "serve", "backup", store).refused("has something else")
    program("--home", fleet.one.root, "serve", "backup", fleet.store).refused("something else")
    (root := tmp_path / "restored").mkdir()
    shutil.copy2(copy / "seals.key", root)
    join(root, store, ROOM)
    with serving(root) as restored:
        api = HfApi(endpoint=restored.url, token=fleet.token)
        assert api.model_info(repo).sha == made
        assert api.file_exists(busy, "README.md"), "it was made after the dump"
        got = Path(api.snapshot_download(repo, cache_dir=tmp_path / "cache"))
        assert {path.name: path.read_bytes() for path in got.iterdir()} == files
        assert restored.commit(repo, "after", fleet.token).status == 200
        assert restored.accounts.audit.check()[1] == []
        known = {ref: number for ref, _, number in restored.server.hub.workspace.registry.refs()}
    assert verify(connect(store), known=known).damages == ()


def dumped(server: Postgres, database: str, folder: Path) -> Path:
    """A dump of a database, by the program that comes with it."""
    called(server, "pg_dump", "--format=custom", "--file", folder / "zoo.dump", database)
    return folder / "zoo.dump"


def called(server: Postgres, name: str, *arguments: object) -> None:
    """Run a program of PostgreSQL."""
    where = ("--host", server.folder, "--username", "zoo")
    folder = programs()
    assert folder
    subprocess.run([folder / name, *where, *map(str, arguments)], check=True)


def test_a_backup_goes_where_nothing_else_is(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    home = ("--home", fleet.one.root, "serve", "backup")
    program(*home, tmp_path / "mine").refused("has something else")
    other = connect(f"s3://models/{uuid.uuid4().hex}", create=True)
    program(*home, str(other)).refused(f"{other} has something else")
    monkeypatch.delenv("ZOO_DB")
    Workspace.create(tmp_path / "alone").close()
    home = ("--home", tmp_path / "alone", "serve", "backup")
    program(*home, "s3://models/new").refused("set ZOO_DB")


@pytest.mark.long
def test_a_plan_that_one_has_worked_out_is_known_to_the_other(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PATIENCE", 0.0)
    monkeypatch.setattr(pruning, "SHARE", 1e9)
    admin, path = fleet.one.token("admin", "write"), "/-/storage/prune.json?keep=0&grace=0"

    def plan_of(served: Served) -> Any:
        until = time.monotonic() + 60
        while (found := served.ask(path, token=admin).json)["working"]:
            assert time.monotonic() < until
            time.sleep(0.05)
        return found

    found = plan_of(fleet.one)
    assert found["at"]
    monkeypatch.setattr(pruning, "_worked_out", None)
    assert plan_of(fleet.two) == found
    backend = fleet.two.server.hub.workspace.store.backend
    backend.put(pruning.FILE, [b"{"])
    monkeypatch.undo()
    monkeypatch.setattr(pruning, "_works", LruCache(16))
    assert plan_of(fleet.two)["at"], "a damaged one is worked out anew"


@pytest.mark.long
def test_a_prune_of_the_bucket_is_seen_and_spares_what_was_sent(fleet: Fleet) -> None:
    """It may run anywhere: machines and prunes see each other's signs in the bucket."""
    repo, store = fleet.make("pruned"), connect(fleet.store)
    assert fleet.one.commit(repo, "goes", fleet.token).status == 200
    gone = name_of("objects", Digest("blake3", blake3(b"goes").hexdigest()))
    sent = os.urandom(1000)
    kept = name_of("objects", Digest("blake3", blake3(sent).hexdigest()))
    put = fleet.two.ask(f"/zoo/v1/store/{kept}", "PUT", token=fleet.token, body=sent)
    assert put.status == 201
    sha = head(fleet.two, repo, fleet.token)
    path = f"/{repo}/resolve/{sha}/README.md"
    assert fleet.two.ask(path, token=fleet.token).body == b"goes"
    assert fleet.one.ask(f"/api/models/{repo}/branch/other", "POST", token=fleet.token,
                         body=b"{}").status == 200  # fmt: skip
    body = json.dumps({"name": "pruned", "organization": "ann"}).encode()
    assert fleet.one.ask("/api/repos/delete", "DELETE", token=fleet.token, body=body).status == 200
    with store.upload(), pytest.raises(Conflict):
        execute(store, plan(store, keep=AT_ONCE, grace=AT_ONCE), keep=AT_ONCE, grace=AT_ONCE)
    done = execute(store, plan(store, keep=AT_ONCE, grace=AT_ONCE), keep=AT_ONCE, grace=AT_ONCE)
    names = {item.file for item in done.doomed}
    assert gone in names
    assert kept not in names
    assert fleet.two.ask(path, token=fleet.token).status == 404
    assert fleet.one.ask(f"/zoo/v1/store/{kept}", token=fleet.token).body == sent


@pytest.mark.long
def test_a_prune_of_the_bucket_gets_its_turn_beside_steady_writers(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who write through both machines all the time; none of them is sent away."""
    store, ended, sent = connect(fleet.store), threading.Event(), list[int]()
    repos = [fleet.make(f"steady{number}") for number in range(4)]
    monkeypatch.delenv("ZOO_DB")
    Workspace.create(tmp_path / "mine").close()

    def write(number: int) -> None:
        while not ended.is_set():
            at = (fleet.one, fleet.two)[number % 2]
            sent.append(at.commit(repos[number], os.urandom(8).hex(), fleet.token).status)

    with ThreadPoolExecutor(4) as pool:
        writers = pool.map(write, range(4))
        try:
            for number in range(2):
                name = store.put("objects", f"nobody needs {number}".encode())
                home = ("--home", tmp_path / "mine")
                program(*home, "prune", fleet.store, "--keep", 0, "--grace", 0, "--yes").done()
                assert store.missing("objects", [name])
                before = len(sent)
                while len(sent) == before:  # and writers go on
                    time.sleep(0.01)
        finally:
            ended.set()
        assert [*writers] == [None] * 4
    assert {*sent} == {200}
    assert verify(store).damages == ()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a machine: what looks after its workers, and these, at once."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def balanced(
    postgres_server: Postgres, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Machine, Machine, Balancer, str]]:
    """Two machines of two workers each, what stands before them, and a token."""
    assert fleet
    database = postgres_server.database(f"balanced{uuid.uuid4().hex[:8]}")
    monkeypatch.setenv("ZOO_DB", database)
    store = f"s3://models/{uuid.uuid4().hex}/zoo"
    with (
        machine(tmp_path / "one", store, "--workers", "2") as one,
        machine(tmp_path / "two", store, "--workers", "2", key=one.root) as two,
        closing(Balancer(one.url, two.url)) as balancer,
    ):
        token = account(one.root, "ann")
        monkeypatch.delenv("ZOO_DB")
        yield one, two, balancer, token


@pytest.mark.long
def test_a_machine_that_is_killed_costs_no_push(
    balanced: tuple[Machine, Machine, Balancer, str], tmp_path: Path
) -> None:
    """Who pushes goes on at the other one, and sends no more again than was under way."""
    one, two, balancer, token = balanced
    for url in (balancer.url, two.url):
        keep_token(ServerUrl.parse(url), token)
    draw = np.random.default_rng(0).standard_normal
    values = {f"large{number}.weight": draw((2400, 2400)).astype("f4") for number in range(5)}
    total = sum(value.nbytes for value in values.values())
    with (
        closing(Workspace.create(tmp_path / "mine")) as mine,
        closing(Workspace.create(tmp_path / "theirs")) as theirs,
    ):
        digest = add_checkpoint(mine, "ann/net", values)

        def end_one() -> None:
            while balancer.passed < total // 2:
                time.sleep(0.01)
            kill(one.process)

        killer = threading.Thread(target=end_one)
        killer.start()
        push(mine, "ann/net", balancer.url)
        killer.join()
        assert balancer.passed < total + 8 * UPLOAD_PART_BYTES
        assert pull(theirs, "ann/net", two.url)[1].manifest == digest
        assert_sound(theirs.store)


@pytest.mark.long
@pytest.mark.parametrize("xet", ["0", "1"])
def test_the_hubs_own_client_sends_to_several(
    balanced: tuple[Machine, Machine, Balancer, str], tmp_path: Path, xet: str
) -> None:
    _, _, balancer, token = balanced
    folder = tmp_path / "sent"
    folder.mkdir()
    rng = np.random.default_rng(int(xet))
    for name in ("model.safetensors", "any.bin"):
        (folder / name).write_bytes(rng.bytes(20 << 20))
    (folder / "README.md").write_text("some text")
    env = {
        **os.environ, "HF_ENDPOINT": balancer.url, "HF_TOKEN": token,
        "HF_HOME": str(tmp_path / "h"), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": xet,
        "HF_HUB_ETAG_TIMEOUT": "60",
    }  # fmt: skip
    done = subprocess.run([sys.executable, SENDS, f"ann/sent{xet}", folder], env=env,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(found[what] for what in ("again", "whole", "changed", "before"))


@pytest.mark.long
def test_commits_of_many_through_two_machines_are_one_line(
    balanced: tuple[Machine, Machine, Balancer, str],
) -> None:
    """Eight send four commits each; one machine is killed in the middle."""
    one, two, balancer, token = balanced
    made = json.dumps({"name": "line", "organization": "ann"}).encode()
    assert ask(two.url, "/api/repos/create", "POST", token=token, body=made).status == 200
    assert commit(two.url, "ann/line", "first", token).status == 200
    sent: list[str] = []

    def send(writer: int) -> None:
        for number in range(4):
            text, status = f"{writer}-{number}", 0
            while status != 200:
                with suppress(ConnectionError, http.client.HTTPException):
                    got = ask(balancer.url, "/api/models/ann/line", token=token)
                    if got.status == 200:
                        status = commit(
                            balancer.url, "ann/line", text, token, got.json["sha"]
                        ).status
            sent.append(text)
            if len(sent) == 12:
                kill(one.process)

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(send, range(8))]
    titles = [
        row["title"]
        for page in range(2)
        for row in ask(two.url, f"/api/models/ann/line/commits/main?p={page}", token=token).json
    ]
    everything = ["first", *(f"{writer}-{number}" for writer in range(8) for number in range(4))]
    # What was made by the machine that was killed before it said so was sent again.
    assert {*titles} == {*everything}
    assert len(titles) <= len(everything) + 4


@pytest.mark.long
def test_a_network_that_one_takes_becomes_a_checkpoint_for_all(
    balanced: tuple[Machine, Machine, Balancer, str], tmp_path: Path
) -> None:
    """By a process with torch, which reads and writes the bucket itself."""
    one, two, _, token = balanced
    api = HfApi(endpoint=one.url, token=token)
    api.create_repo("ann/mine")
    adds = [CommitOperationAdd(path, data) for path, data in repository(100).items()]
    api.create_commit("ann/mine", adds, commit_message="add")
    before = HfApi(endpoint=two.url, token=token).model_info("ann/mine").sha
    keep_token(ServerUrl.parse(two.url), token)
    with closing(Workspace.create(tmp_path / "theirs")) as theirs:
        until = time.monotonic() + 120
        while True:
            _, got = pull(theirs, "ann/mine", two.url)
            with suppress(NoCheckpoint):
                manifest = theirs.store.manifest(got.manifest)
                break
            assert time.monotonic() < until
            time.sleep(0.5)
        assert manifest.backbone.architecture == "test_resnet"
    assert HfApi(endpoint=two.url, token=token).model_info("ann/mine").sha == before


def nudged(files: Mapping[str, bytes], seed: int) -> Mapping[str, bytes]:
    """As a fine-tune of everything leaves a network: all weights are a little different."""
    torch.manual_seed(seed)
    state = load(files["model.safetensors"])
    for value in state.values():
        if value.is_floating_point():
            value += 1e-4 * value.abs() * torch.randn_like(value)
    return {**files, "model.safetensors": save(state, {"format": "pt"})}


@pytest.mark.long
def test_a_bucket_that_was_repacked_is_served_as_before(fleet: Fleet) -> None:
    """Files that clients sent as they were are differences from each other then, and come back to
    the byte, whole and in part, at each machine; also once what they differ from has no name.
    """
    base, store = repository(7), connect(fleet.store)
    sent = {"based": base, "tuned": nudged(base, 1), "again": nudged(base, 2)}
    for (name, files), at in zip(sent.items(), (fleet.one, fleet.two, fleet.one), strict=True):
        adds = [CommitOperationAdd(path, data) for path, data in files.items()]
        HfApi(at.url, token=fleet.token).create_commit(fleet.make(name), adds, commit_message="add")
        waited(at, f"ann/{name}")
    done = repack(store)
    assert {name for pair in done.pairs for name in pair.names} == {"ann/tuned", "ann/again"}
    assert done.bytes_after < 0.8 * done.bytes_before

    def come_back(*names: str) -> None:
        for at in (fleet.one, fleet.two):
            shutil.rmtree(at.root / "objects")  # what is kept of the bucket here
            for name in names:
                sha = head(at, f"ann/{name}", fleet.token)
                path = f"/ann/{name}/resolve/{sha}/model.safetensors"
                whole = sent[name]["model.safetensors"]
                assert at.ask(path, token=fleet.token).body == whole
                got = at.ask(path, token=fleet.token, Range="bytes=5000-250000")
                assert (got.status, got.body) == (206, whole[5000:250001])

    come_back(*sent)
    assert verify(store).damages == ()
    body = json.dumps({"name": "based", "organization": "ann"}).encode()
    assert fleet.one.ask("/api/repos/delete", "DELETE", token=fleet.token, body=body).status == 200
    execute(store, plan(store, keep=AT_ONCE, grace=AT_ONCE), keep=AT_ONCE, grace=AT_ONCE)
    come_back("tuned", "again")
    assert verify(store).damages == ()
