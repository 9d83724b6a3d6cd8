"""A store over HTTP is a store: the conformance of remotes, as an admin, but for what a server sees
to itself: wrong bytes are never kept, names lead to what is there, and nobody announces anything.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from errno import ENOSPC
from functools import partial
from typing import BinaryIO

import pytest
from fakes.checkpoints import flip_byte, store_checkpoint, tensors
from fakes.postgres import Server as Postgres
from fakes.s3_front import KEY_ID, SECRET
from fakes.served import Got, Served, serving

from zoo.codec.frame import encode
from zoo.codec.header import Codec
from zoo.codec.layouts import LAYOUTS
from zoo.codec.text import encode_text
from zoo.contracts import Backend, Kind, LocalDisk, SupportsBatches, SupportsPermissions
from zoo.contracts import ServerBackend as ServedBackend
from zoo.domain.history import RefEntry
from zoo.domain.limits import UPLOAD_PART_BYTES
from zoo.domain.reference import Reference
from zoo.errors import (
    Conflict,
    Corrupt,
    DiskFull,
    Forbidden,
    InvalidOption,
    Unavailable,
    Unsupported,
)
from zoo.logins import ServerUrl, keep_token
from zoo.machine import join
from zoo.store import Store, turn
from zoo.store.listing import name_of
from zoo.store.manifests import manifest_bytes
from zoo.store.prune import execute, plan
from zoo.store.verify import verify
from zoo.testing.remotes import AT_ONCE, BODY, FLOWERS, StoreSuite, digest_of, get, read
from zoo.transfer.repack import repack
from zoo.workspace import Workspace
from zoo_http.backend import HttpBackend


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("kept") / "zoo"
    Workspace.create(root).close()
    with serving(root) as served:
        yield served


def connect(served: Served, who: str, purpose: str = "write") -> HttpBackend:
    keep_token(ServerUrl.parse(served.url), served.token(who, purpose))
    return HttpBackend.connect(served.url, create=True)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_http.session.time.sleep", lambda _: None)


@pytest.fixture
def backend(served: Served) -> Backend:
    """As an admin, with nothing there."""
    for name in ("objects", "manifests", "encoded", "pruned", "refs", "sent", "tmp"):
        for path in sorted((served.root / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    return connect(served, "admin")


def said(entry: RefEntry) -> tuple[object, ...]:
    return entry.number, entry.manifest, entry.previous


def log(store: Store, count: int) -> list[RefEntry]:
    """Entries of a name that lead to checkpoints, each to another."""
    entries: list[RefEntry] = []
    for number in range(1, count + 1):
        digest = store_checkpoint(store, {"a": tensors(number)["fc.bias"]})
        previous = entries[-1].manifest if entries else None
        entries.append(
            RefEntry(
                number=number,
                manifest=digest,
                previous=previous,
                at="2026-01-02T03:04:05Z",
                by="me",
                why="x",
            )
        )
    return entries


class TestStore(StoreSuite):
    test_an_upload_keeps_prunes_away = None  # type: ignore[assignment]
    test_a_prune_keeps_uploads_and_prunes_away = None  # type: ignore[assignment]
    test_signs_of_others_count = None  # type: ignore[assignment]

    def test_a_prune_and_what_is_put_do_not_meet(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who prunes over HTTP is seen by the server's own requests, and the other way round."""
        monkeypatch.setattr(turn, "UPLOAD_PATIENCE", 0.0)
        with store.pruning(), pytest.raises(Unavailable, match="tidied up"):
            store.put("objects", BODY)
        store.backend.put("tmp/uploads/0123", [b""])
        with pytest.raises(Conflict), store.pruning():
            pytest.fail("it started")
        store.remove("tmp/uploads/0123")
        store.put("objects", BODY)

    def test_a_ref_is_the_newest_of_its_entries(  # type: ignore[override]
        self, store: Store, served: Served
    ) -> None:
        """Dated by the server, and of who has sent them."""
        there = Workspace(served.root).store
        assert store.read_ref(FLOWERS) is None
        assert store.history(FLOWERS) == ()
        entries = log(there, 3)
        for each in entries:
            store.append_ref(FLOWERS, each)
        history = store.history(FLOWERS)
        assert [*map(said, history)] == [*map(said, entries)]
        assert {(each.by, each.why) for each in history} == {("admin", "push")}
        assert all(each.at > "2026-06" for each in history)
        assert store.read_ref(FLOWERS) == history[-1]
        store.append_ref(FLOWERS, entries[-1])  # its answer was lost
        assert store.newest_entries() == {FLOWERS: history[-1]}

    def test_a_taken_number_is_refused(  # type: ignore[override]
        self, store: Store, served: Served
    ) -> None:
        first, second = log(Workspace(served.root).store, 2)
        store.append_ref(FLOWERS, first)
        for number in (1, 3):
            with pytest.raises(Conflict) as caught:
                store.append_ref(FLOWERS, replace(first, number=number, manifest=second.manifest))
            assert caught.value.current == str(first.manifest)
        assert [*map(said, store.history(FLOWERS))] == [said(first)]

    test_a_number_out_of_turn_is_refused = None  # type: ignore[assignment]
    test_prune_deletes_what_is_old_and_unneeded = None  # type: ignore[assignment]

    def test_verify_finds_damage(self, store: Store, served: Served) -> None:  # type: ignore[override]
        """And counts what is sound."""
        digest = store.put("objects", BODY)
        store.put("objects", b"sound")
        assert (verify(store).files, verify(store).damages) == (2, ())
        flip_byte(served.root / name_of("objects", digest))
        (damage,) = verify(store).damages
        assert (damage.kind, damage.name) == ("object", str(digest))

    def test_refs_are_sorted_and_apart(  # type: ignore[override]
        self, store: Store, served: Served
    ) -> None:
        """Namespace, name and tag all tell refs apart."""
        refs = [Reference.parse(name) for name in ("b/a:v1", "a/b", "a/b:v2", "b/a", "a/b.c:v1.0")]
        (first,) = log(Workspace(served.root).store, 1)
        for ref in refs:
            store.append_ref(ref, first)
        assert list(store.refs()) == sorted(refs) == [*(store.newest_entries() or {})]

    @pytest.mark.parametrize("kind", ["objects", "manifests"])
    def test_damage_is_noticed_and_replaced(  # type: ignore[override]
        self, store: Store, served: Served, kind: Kind
    ) -> None:
        """Nobody can put wrong bytes there; what was damaged otherwise is replaced."""
        digest = store.put(kind, BODY)
        with pytest.raises(Corrupt):
            store.backend.put(name_of(kind, digest), [BODY[1:]])
        flip_byte(served.root / name_of(kind, digest))
        assert not store.is_sound(kind, digest)
        store.replace(kind, digest, [BODY[:9], BODY[9:]])
        assert store.is_sound(kind, digest)

    def test_an_encoded_object_is_replaced(self, store: Store) -> None:
        """It is kept as it was, and nothing that is not what its digest says."""
        plain = bytes(4096)
        data = encode(Codec.FULL, plain, LAYOUTS["F32"])
        for wrong, digest in ((data[:-1], digest_of(plain)), (data, digest_of(BODY))):
            with pytest.raises(Corrupt):
                store.backend.put(name_of("encoded", digest), [wrong])
        store.replace("encoded", digest_of(plain), [data])
        assert store.missing("encoded", [digest_of(plain)])
        assert read(store, digest_of(plain)) == plain
        assert verify(store).damages == ()

    def test_an_encoded_manifest_is_read_as_what_it_was(self, store: Store) -> None:
        """It is kept as it was, too."""
        child, base = BODY + b"more", store.put("manifests", BODY)
        assert store.admit_encoded_manifests()
        assert store.write("encoded-manifests", digest_of(child), [encode_text(child, BODY, base)])
        assert read(store, digest_of(child), kind="manifests") == child


@pytest.fixture(scope="module")
def over_bucket(
    s3_service: int,
    postgres_server: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_service}")
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("ZOO_DB", postgres_server.database("over_bucket"))
        root = tmp_path_factory.mktemp("machine") / "zoo"
        join(root, "s3://models/over/bucket", 64 << 20)
        with serving(root) as served:
            yield served


@pytest.mark.long
class TestOverBucket(TestStore):
    """The same, where the store of the server is a bucket."""

    # What the server has read is sound, whatever becomes of it in the bucket.
    test_verify_finds_damage = None  # type: ignore[assignment]
    test_damage_is_noticed_and_replaced = None  # type: ignore[assignment]

    @pytest.fixture
    def served(self, over_bucket: Served) -> Served:
        return over_bucket

    @pytest.fixture
    def backend(self, served: Served) -> Backend:
        there = served.server.hub.workspace.store.backend
        for name in ("objects", "manifests", "encoded", "pruned", "refs", "sent", "tmp"):
            for file in [*there.list(f"{name}/")]:
                there.delete(file.name)
        return connect(served, "admin")


def test_what_it_does_better_it_does_right(backend: Backend, served: Served) -> None:
    assert isinstance(backend, SupportsBatches)
    assert isinstance(backend, ServedBackend)
    assert not isinstance(backend, LocalDisk | SupportsPermissions)
    bodies = [bytes([at]) * at for at in range(4)]
    keys = {name_of("objects", digest_of(body)): body for body in bodies}
    for key, body in keys.items():
        backend.put(key, [body])
        for offset, length in ((0, None), (1, None), (0, 2), (2, 9), (3, 0), (99, None)):
            end = None if length is None else offset + length
            assert get(backend, key, offset, length) == body[offset:end]
    absent = name_of("objects", digest_of(b"absent"))
    found = backend.present([absent, *keys, "nonsense", "refs/../x"])
    assert {key: file.bytes for key, file in found.items()} == {
        key: len(body) for key, body in keys.items()
    }
    with pytest.raises(FileNotFoundError):
        get(backend, absent)
    assert abs((backend.now() - found[next(iter(keys))].at).total_seconds()) < 60


def test_many_parts_come_back_whole(backend: Backend, served: Served) -> None:
    body = bytes(range(256)) * 80_000  # 20 MB
    key = name_of("objects", digest_of(body))
    backend.put(key, (body[at : at + 3_000_000] for at in range(0, len(body), 3_000_000)))
    assert get(backend, key) == body
    assert [*(served.root / "sent" / "admin").glob("parts-*")] == []


def ask_parts(served: Served, token: str, body: bytes) -> tuple[list[Got], str]:
    """What is answered to each of the parts of a body, and where to say that they are all."""
    path = f"/zoo/v1/parts/{name_of('objects', digest_of(body))}"
    parts = [body[at : at + UPLOAD_PART_BYTES] for at in range(0, len(body), UPLOAD_PART_BYTES)]
    names = [f"{at}-{digest_of(part).hex}" for at, part in enumerate(parts)]
    put = [
        served.ask(path.replace("/parts/", f"/parts/{name}/"), "PUT", token=token, body=part)
        for name, part in zip(names, parts, strict=True)
    ]
    return put, path


def test_parts_are_put_together_once(backend: Backend, served: Served) -> None:
    """Whoever asks again, as no answer came, finds it done; and not what others have sent."""
    del backend
    body = os.urandom(UPLOAD_PART_BYTES + 5)
    ann, ben = (served.token(who, "append") for who in ("ann", "ben"))
    _, path = ask_parts(served, ann, body)
    hashes = [digest_of(body[:UPLOAD_PART_BYTES]).hex, digest_of(body[UPLOAD_PART_BYTES:]).hex]
    ask = partial(served.ask, path, "POST", body=json.dumps({"parts": hashes}).encode())
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda _: ask(token=ann).status, range(4))]
    assert answers == [201] * 4
    assert ask(token=ben).code == "Lacking"


def test_parts_outlast_a_prune(
    backend: Backend, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.store.turn.UPLOAD_PATIENCE", 0.0)
    del backend
    body, ann = b"one part", served.token("ann", "append")
    _, path = ask_parts(served, ann, body)
    ask = partial(served.ask, path, "POST", token=ann)
    whole = json.dumps({"parts": [digest_of(body).hex]}).encode()
    with Store.open(served.root).pruning():
        assert ask(body=whole).code == "Busy"
    assert ask(body=whole).status == 201
    name = f"1025-{digest_of(body).hex}"
    beyond = served.ask(path.replace("/parts/", f"/parts/{name}/"), "PUT", token=ann, body=body)
    assert beyond.code == "BadRequest"


def test_what_claims_to_be_large_is_proven_first(
    backend: Backend, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes may claim to be gigabytes: nothing is written for a false claim."""
    monkeypatch.setattr("zoo.serve.native.taking.PROVEN_BYTES", 1 << 20)
    plain = bytes(2 << 20)
    data, wrong = encode(Codec.FULL, plain, LAYOUTS["F32"]), digest_of(BODY)
    with monkeypatch.context() as patch:
        patch.setattr("zoo.serve.native.taking._check_room", fail_beyond(len(data)))
        with pytest.raises(Corrupt):
            backend.put(name_of("encoded", wrong), [data])
        with pytest.raises(DiskFull):
            backend.put(name_of("encoded", digest_of(plain)), [data])
    backend.put(name_of("encoded", digest_of(plain)), [data])
    assert get(backend, name_of("objects", digest_of(plain))) == plain


def fail_beyond(most: int) -> Callable[[BinaryIO, int], None]:
    def check(file: BinaryIO, size: int) -> None:
        if file.tell() + size > most:
            raise OSError(ENOSPC, "no space")

    return check


def test_what_is_sent_leaves_room(
    backend: Backend, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full has no room for the audit log."""
    free = shutil.disk_usage(served.root).free
    monkeypatch.setattr("zoo.serve.native.taking.LEFT_BYTES", 2 * free)
    with pytest.raises(DiskFull):
        backend.put(name_of("objects", digest_of(BODY)), [BODY])
    put, _ = ask_parts(served, served.token("ann", "append"), BODY)
    assert put[0].code == "DiskFull"


def test_admins_alone_do_what_can_be_done_in_the_folder(backend: Backend, served: Served) -> None:
    for key in ("zoo.json", "accounts.db", "tmp/../accounts.db", "runs/x", "sent/../accounts.db"):
        with pytest.raises(Unsupported):
            backend.delete(key)
        with pytest.raises(Unsupported):
            backend.put(key, [b""])
        assert key == "zoo.json" or backend.stat(key) is None
    admin = served.token("admin", "write")
    for folder in ("..", "runs", "tmp/../..", "objects/../runs", "refs/..", "refs/a/..", "cache"):
        assert served.ask(f"/zoo/v1/list/{folder}", token=admin).code == "NotFound", folder
    key = name_of("objects", digest_of(BODY))
    backend.put(key, [BODY])
    assert [file.name for file in backend.list("") if not file.name.startswith("sent/")] == [key]
    for who, purpose in (("ann", "write"), ("admin", "append")):
        other = connect(served, who, purpose)
        with pytest.raises(Forbidden):
            other.delete(key)
        with pytest.raises(Forbidden):
            other.put("tmp/x", [b""])
    ann = connect(served, "ann")
    assert ann.stat(key) is None
    ann.put(key, [BODY])
    stored = ann.stat(key)
    assert stored
    assert stored.at.year == 1970, "nobody learns since when it is here"
    with pytest.raises(InvalidOption, match="is a zoo"):
        repack(Store(backend))


def test_an_admin_prunes_over_http(backend: Backend, served: Served) -> None:
    """What somebody has sent within a day stays, whatever the grace."""
    store, there = Store(backend), Store.open(served.root)
    old = there.put("objects", b"old")
    ann = Store(connect(served, "ann"))
    sent = ann.put("objects", b"sent just now")
    checkpoint = store_checkpoint(there, {"a": tensors()["fc.bias"]})
    ann.put("manifests", manifest_bytes(there, checkpoint))  # of what was there already
    needed = {item for item, _ in there.document(checkpoint).objects()}
    shown = plan(store, keep=timedelta(0), grace=AT_ONCE)
    assert [each.name for each in shown.doomed if each.kind == "object"] == [str(old)]
    execute(store, shown, keep=timedelta(0), grace=AT_ONCE)
    assert store.missing("objects", [old, sent, *needed]) == {old}
    assert there.has_manifest(checkpoint)
