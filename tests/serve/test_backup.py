"""A backup is made while the zoo is served and written to, and is served elsewhere."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from blake3 import blake3
from fakes.served import Served, serving

from zoo.codec.frame import encode
from zoo.codec.header import Codec
from zoo.codec.layouts import LAYOUTS
from zoo.contracts import Backend, Kind
from zoo.domain.digest import Digest
from zoo.domain.stored import StoredFile
from zoo.errors import Conflict, Corrupt, InvalidOption, NotAFile, Unavailable
from zoo.serve.watch import backup as module
from zoo.serve.watch import copying
from zoo.serve.watch.backup import FILE, back_up, copy_to_bucket
from zoo.serve.watch.copying import UNFINISHED, check_names, check_place, copy_store
from zoo.store import Store
from zoo.store.cached import CachedBackend
from zoo.store.folder import FolderBackend
from zoo.store.listing import name_of
from zoo.store.verify import verify
from zoo.workspace import Workspace


@pytest.fixture
def served(tmp_path: Path, make_zoo: Callable[[Path], None]) -> Iterator[Served]:
    make_zoo(tmp_path / "zoo")
    with serving(tmp_path / "zoo") as served:
        yield served


def test_it_is_copied_while_it_serves_and_served_elsewhere(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, to = served.token("ann", "write"), tmp_path / "backup"
    served.ask("/api/repos/create", "POST", token=token, body=b'{"name": "net"}')
    workspace = served.server.hub.workspace
    ended, sent = threading.Event(), [served.commit("ann/net", "first", token).status]

    def send() -> None:
        while not ended.is_set():
            sent.append(served.commit("ann/net", f"text {len(sent)}", token).status)

    writer, copied = threading.Thread(target=send), copying._copied

    def copied_slowly(
        source: Backend, to: Backend, folder: str, damaged: list[str], new: tuple[StoredFile, bool]
    ) -> int:
        if folder == "refs":
            commits = len(sent)
            while len(sent) == commits:  # between any two files of a name there is a commit
                ended.wait(0.005)
        return copied(source, to, folder, damaged, new)

    writer.start()
    monkeypatch.setattr(copying, "_copied", copied_slowly)
    monkeypatch.setattr(FolderBackend, "at_once", 1)
    files, bytes_ = back_up(workspace, to)
    monkeypatch.undo()
    ended.set()
    writer.join()
    assert {*sent} == {200}
    assert files > 20
    assert bytes_ > 100_000
    assert to.stat().st_mode & 0o077 == 0
    names, copies = ({path.name for path in root.iterdir()} for root in (served.root, to))
    assert names - copies >= {"sent", "reserve"}
    files, _ = back_up(workspace, to)
    assert 0 < files < 3 * len(sent) + 10, "objects that are there stay"
    shutil.copytree(to, tmp_path / "restored")
    with serving(tmp_path / "restored") as restored:
        assert restored.ask("/api/whoami-v2", token=token).json["name"] == "ann"
        for path in ("/ann/net/resolve/main/README.md", "/team/net/resolve/main/config.json"):
            there, here = (each.ask(path, token=token) for each in (served, restored))
            assert here.headers["location"] == there.headers["location"]
            where = there.headers["location"]
            got, other = (each.ask(where, token=token) for each in (served, restored))
            assert (got.status, got.body) == (200, other.body)
        assert restored.commit("ann/net", "after", token).status == 200
        assert restored.accounts.audit.check()[1] == []
        known = {ref: number for ref, _, number in restored.server.hub.workspace.registry.refs()}
        report = verify(restored.server.hub.workspace.store, known=known)
        assert (report.damages, report.newer) == ((), ())


def test_it_takes_no_folder_that_is_something_else(served: Served, tmp_path: Path) -> None:
    workspace, other = served.server.hub.workspace, tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("x")
    for folder in (other, workspace.root / "backup", workspace.root.parent):
        with pytest.raises(InvalidOption):
            back_up(workspace, folder)
    (other / FILE).write_text("/elsewhere\n")
    with pytest.raises(InvalidOption, match="something else"):
        back_up(workspace, other)


def test_a_database_is_copied_as_it_is_now(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as source:
        source.execute("PRAGMA journal_mode = WAL")
        source.execute("CREATE TABLE t (x)")
        source.execute("INSERT INTO t VALUES (1)")
        source.commit()  # which is in the log beside the file
        module._copied(tmp_path / "a.db", tmp_path / "b" / "a.db")
    with closing(sqlite3.connect(tmp_path / "b" / "a.db")) as copy:
        assert copy.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_a_file_that_is_gone_and_links_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("gone", "link"):
        assert module._copied(tmp_path / name, tmp_path / "to") is None
    assert not (tmp_path / "to").exists()
    (tmp_path / "empty").touch()
    assert module._copied(tmp_path / "empty", tmp_path / "to") == 0


def stores(folder: Path) -> tuple[FolderBackend, FolderBackend]:
    """Two empty ones."""
    source, to = (FolderBackend(folder / name) for name in ("one", "two"))
    for backend in (source, to):
        backend.disk.root.mkdir()
    return source, to


def named(data: bytes, kind: Kind = "objects") -> str:
    """The key of some bytes."""
    return name_of(kind, Digest("blake3", blake3(data).hexdigest()))


def held(backend: Backend, key: str) -> bytes:
    """What is under a key."""
    return b"".join(backend.open(key))


def test_of_a_copy_what_is_there_stays(tmp_path: Path) -> None:
    """An entry that is there was acknowledged there: nothing ever replaces it."""
    source, to = stores(tmp_path)
    entry, view = "refs/a/b/c/00000001.json", "views/x"
    files = {"zoo.json": b"{}", entry: b"entry", view: b"old", named(b"object"): b"object"}
    for key, data in {**files, "tmp/x": b"", "sent/ann/y": b"", "seals.key": b"secret"}.items():
        source.put(key, [data])
    check_place(source, to)
    assert sum(copy_store(source, to, [])) == sum(map(len, files.values()))
    assert {file.name: held(to, file.name) for file in to.list("")} == files
    for backend in (source, to):
        backend.put("registry.id", [b"1\n"])
    for said in ("", "elsewhere\n1\n", f"{source}\n2\n"):  # it may be served by now
        to.put(UNFINISHED, [said.encode()]) if said else None
        with pytest.raises(InvalidOption, match="something else"):
            check_place(source, to)
    with pytest.raises(InvalidOption, match="something else"):
        check_place(source, source)
    to.put(UNFINISHED, [copying.named(source)])
    check_place(source, to)
    source.put(named(b"more"), [b"more"])
    source.put(view, [b"new"])
    for key in (view, entry):
        os.utime(to.disk.root / key, (0, 0))
    assert sorted(copy_store(source, to, [])) == [2, 2, 3, 4], "which zoo, its format, view, more"
    assert held(to, view) == b"new"


def test_a_name_that_went_on_in_the_copy_is_left_alone(tmp_path: Path) -> None:
    source, to = stores(tmp_path)
    first, second, third = (f"refs/a/b/c/{number:08}.json" for number in (1, 2, 3))
    for key, mine, theirs in ((first, b"1", b"1"), (second, b"mine", b"them")):
        source.put(key, [mine])
        to.put(key, [theirs])
    source.put(third, [b"3"])
    with pytest.raises(Conflict, match=f"another {second}"):
        check_names(source, to)
    copy_store(source, to, [])
    assert held(to, second) == b"them"


def test_an_entry_that_is_made_in_the_copy_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, to = stores(tmp_path)
    key = "refs/a/b/c/00000001.json"
    source.put(key, [b"mine"])
    monkeypatch.setattr(to, "list", lambda _: iter(()))  # as it was a moment ago
    to.put(key, [b"them"])
    with pytest.raises(Conflict, match="another refs/a/b/c/00000001"):
        copy_store(source, to, [])
    assert held(to, key) == b"them"
    source.put(key, [b"them"])
    copy_store(source, to, [])


@pytest.mark.parametrize("kind", ["objects", "manifests"])
@pytest.mark.parametrize("bad", [b"te", b"else"])
def test_no_damaged_file_replaces_a_sound_one_or_is_copied(
    tmp_path: Path, kind: Kind, bad: bytes
) -> None:
    source, to = stores(tmp_path)
    sound, never, key = named(b"first", kind), named(b"never", kind), named(b"text", kind)
    source.put(key, [b"text"])
    copy_store(source, to, [])
    source.put(key, [bad])
    source.put(never, [b"other"])
    source.put(sound, [b"first"])
    damaged: list[str] = []
    assert copy_store(source, to, damaged) == [5], "the others go on"
    assert sorted(damaged) == sorted({never, *([key] if len(bad) < 4 else [])})
    assert (held(to, key), to.stat(never)) == (b"text", None)
    source.put(key, [b"text"])
    to.put(key, [b"te"])  # a sound one mends the copy
    damaged.clear()
    assert copy_store(source, to, damaged) == [4]
    assert (held(to, key), damaged) == (b"text", [never])


def test_what_is_encoded_is_decoded_where_sizes_differ(tmp_path: Path) -> None:
    source, to = stores(tmp_path)
    data = bytes(4096)
    key, sound = named(data, "encoded"), bytes(encode(Codec.FULL, data, LAYOUTS["F32"]))
    source.put(key, [sound])
    copy_store(source, to, [])
    source.put(key, [sound[:-9]])
    damaged: list[str] = []
    assert copy_store(source, to, damaged) == []
    assert (held(to, key), damaged) == (sound, [key])
    source.put(key, [sound])
    to.put(key, [sound[:-9]])
    damaged.clear()
    assert copy_store(source, to, damaged) == [len(sound)]
    assert (held(to, key), damaged) == (sound, [])


def test_a_damaged_zoo_is_told_and_all_else_is_copied(
    tmp_path: Path, make_zoo: Callable[[Path], None]
) -> None:
    make_zoo(tmp_path / "zoo")
    with closing(Workspace(tmp_path / "zoo")) as workspace:
        back_up(workspace, to := tmp_path / "to")
        objects = (workspace.root / "objects").rglob("*")
        one, two, *_ = (each for each in objects if each.is_file() and each.stat().st_size > 10)
        key, text = one.relative_to(workspace.root), one.read_bytes()
        one.chmod(0o600)
        os.truncate(one, 10)
        (to / two.relative_to(workspace.root)).unlink()
        (workspace.root / "notes.txt").write_text("mine")
        with pytest.raises(Corrupt, match=f"{key} is damaged in {workspace.root}"):
            back_up(workspace, to)
    assert (to / key).read_bytes() == text
    assert (to / two.relative_to(workspace.root)).read_bytes() == two.read_bytes()
    assert (to / "notes.txt").read_text() == "mine"


def test_a_pipe_tells_no_backup(tmp_path: Path, make_zoo: Callable[[Path], None]) -> None:
    make_zoo(tmp_path / "zoo")
    (tmp_path / "to").mkdir()
    os.mkfifo(tmp_path / "to" / FILE)
    with closing(Workspace(tmp_path / "zoo")) as workspace, pytest.raises(NotAFile):
        back_up(workspace, tmp_path / "to")


def test_what_is_written_meanwhile_is_copied_with_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, to = (FolderBackend(tmp_path / name) for name in ("one", "two"))
    for backend in (source, to):
        backend.disk.root.mkdir()
    new, numbers = copying._new, iter(range(100))

    def between(source: Backend, to: Backend, folder: str) -> Iterator[tuple[StoredFile, bool]]:
        number = next(numbers)
        for kind in ("objects", "encoded", "encoded-manifests", "manifests", "refs"):
            source.put(f"{kind}/{number}", [b"x"])
        return new(source, to, folder)

    monkeypatch.setattr(copying, "_new", between)
    copy_store(source, to, [])
    refs, *manifests, encoded, objects = (
        {file.name.partition("/")[2] for file in to.list(f"{kind}/")}
        for kind in ("refs", "manifests", "encoded-manifests", "encoded", "objects")
    )
    assert refs
    for each in manifests:
        assert refs <= each <= encoded & objects


def test_a_bucket_is_copied_with_the_key_or_not_at_all(
    tmp_path: Path, make_zoo: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has served nothing has no key."""
    make_zoo(tmp_path / "shared")
    (root := tmp_path / "machine").mkdir()
    shared = Store(CachedBackend(root, FolderBackend(tmp_path / "shared"), 1 << 20))
    workspace, to = SimpleNamespace(root=root, store=shared), tmp_path / "backup"
    with pytest.raises(InvalidOption, match=r"has no seals\.key") as caught:
        back_up(workspace, to)  # type: ignore[arg-type]
    assert "copy its seals.key here" in str(caught.value.advice)
    assert not to.exists()
    (root / "seals.key").write_bytes(b"k" * 32)
    (root / "seals.key").chmod(0o400)
    synced: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append((to / "seals.key").exists()))
    for _ in range(2):  # again, over a key that nobody may write to
        files, _ = back_up(workspace, to)  # type: ignore[arg-type]
        assert files
    assert (to / "seals.key").read_bytes() == b"k" * 32
    assert synced == [True, True]


def test_a_copy_into_a_bucket_goes_on_where_it_was_cut_off(
    tmp_path: Path, make_zoo: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_zoo(tmp_path / "zoo")
    (tmp_path / "bucket").mkdir()
    bucket = FolderBackend(tmp_path / "bucket")
    monkeypatch.setenv("ZOO_DB", "postgresql+psycopg://unused")
    monkeypatch.setattr(module, "bucket", lambda *_, **__: bucket)
    workspace = SimpleNamespace(store=Store(FolderBackend(tmp_path / "zoo")))
    put, left = FolderBackend.put, iter(range(9))

    def cut(self: FolderBackend, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        if self is bucket and next(left, None) is None:
            raise Unavailable("the bucket", "away")
        put(self, key, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(FolderBackend, "put", cut)
        with pytest.raises(Unavailable):
            copy_to_bucket(workspace, "s3://lab/new")  # type: ignore[arg-type]
    largest = max(workspace.store.backend.list("objects/"), key=lambda file: file.bytes).name
    sound = held(workspace.store.backend, largest)
    workspace.store.backend.put(largest, [b"damaged"])
    with pytest.raises(Corrupt, match=largest):
        copy_to_bucket(workspace, "s3://lab/new")  # type: ignore[arg-type]
    assert bucket.stat(UNFINISHED), "it goes on once that is mended"
    workspace.store.backend.put(largest, [sound])
    entry = min(file.name for file in bucket.list("refs/"))
    mine = held(bucket, entry)
    bucket.put(entry, [b"another"])
    bucket.delete(largest)
    with pytest.raises(Conflict, match=entry):
        copy_to_bucket(workspace, "s3://lab/new")  # type: ignore[arg-type]
    assert bucket.stat(largest) is None
    bucket.put(entry, [mine])
    files, _ = copy_to_bucket(workspace, "s3://lab/new")  # type: ignore[arg-type]
    assert files
    assert bucket.stat(UNFINISHED) is None
    assert verify(Store(bucket)).damages == ()
    with pytest.raises(InvalidOption, match="something else"):
        copy_to_bucket(workspace, "s3://lab/new")  # type: ignore[arg-type]
