"""Whatever a disk does to the index: it is recognized, set aside, and made again from the store."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.program import zoo
from fakes.sampled import every, sampled

from zoo.domain.catalog import CatalogEntry
from zoo.domain.reference import Reference
from zoo.reflog import now
from zoo.registry import Registry, file, open_kept
from zoo.registry.damage import damage
from zoo.registry.recovery import _Kept
from zoo.workspace import Workspace

NAMES = ["team/flowers", "team/roses", "team/weeds:v2"]
Spoil = Callable[[Path, random.Random], None]


@pytest.fixture(autouse=True)
def no_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reindex lists what libraries publish, too, which takes seconds."""
    monkeypatch.setattr("zoo.exchange.indexing.index_local", lambda *_, **__: None)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound") / "zoo"
    workspace = Workspace.create(root)
    for seed, name in enumerate(NAMES):
        add_checkpoint(
            workspace, name, tensors(seed), metrics={"accuracy": 0.5 + seed / 10},
            classes=("ash", "elm", "oak"), recipe={"data": "/data/petals"},
        )  # fmt: skip
    entries = [
        CatalogEntry(name=f"timm/net_{number}.a1", backbone="timm", architecture=f"net_{number}",
                     license="mit", input_size=(3, 224, 224), mean=(0.5,) * 3,
                     keywords=("fast", "small"), card="A card of some words. " * 9)
        for number in range(60)
    ]  # fmt: skip
    workspace.registry.replace_entries("timm", "1", entries, "2026-01-01T00:00:00Z")
    assert damage(workspace.registry._engine) is None
    workspace.close()
    return root


@pytest.fixture
def home(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "zoo")
    return tmp_path / "zoo"


def bits(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 8, 64, 512])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def pages(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 3, 9])):
        at = draw.randrange(len(data) // 4096) * 4096
        data[at : at + 4096] = draw.choice([bytes(4096), draw.randbytes(4096)])
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(1, len(data))])


def swapped(path: Path, draw: random.Random) -> None:
    """Two pages in each other's place, as a disk that mixes up its blocks leaves them."""
    data = bytearray(path.read_bytes())
    one, two = (draw.randrange(1, len(data) // 4096) * 4096 for _ in range(2))
    first, second = data[one : one + 4096], data[two : two + 4096]
    data[one : one + 4096], data[two : two + 4096] = second, first
    path.write_bytes(data)


def commands(home: Path) -> None:
    """What a user may type; each does its work or says why it cannot, as all commands do."""
    for line in (
        ("search",), ("search", "petals"), ("show", NAMES[0]), ("log", NAMES[1]),
        ("show", "timm/net_7.a1"), ("show", "team/flwers"), ("tag", NAMES[0], "team/new"),
        ("delete", "team/new"), ("verify",),
    ):  # fmt: skip
        said = zoo("--home", home, *line)
        assert said.code in (0, 1)
        assert said.code == 0 or "error: " in said.err, line


def names(home: Path, *words: str) -> list[str]:
    rows = zoo("--home", home, "search", *words, "--json").done().json
    return sorted(row["name"] for row in rows if row["kind"] == "checkpoint")


def check(home: Path) -> None:
    commands(home)
    zoo("--home", home, "reindex").done()
    assert names(home) == NAMES
    assert names(home, "petals", "classes:oak", "accuracy>0.4") == NAMES
    workspace = Workspace.find(home)
    assert damage(workspace.registry._engine) is None
    workspace.close()


def spoiled(home: Path, seed: int) -> None:
    draw = random.Random(seed)
    [bits, pages, cut, swapped][seed % 4](home / "registry.db", draw)


@pytest.mark.parametrize(
    "seed",
    sampled([0, 1, 3, 8, 9], [0, 8]),
)
def test_damage_at_random(home: Path, seed: int) -> None:
    spoiled(home, seed)
    check(home)


@pytest.mark.long
@pytest.mark.parametrize("seed", every(10, range(400)))
def test_damage_at_random_very_often(home: Path, seed: int) -> None:
    spoiled(home, seed)
    check(home)


STATEMENTS = {
    "no version": "DELETE FROM alembic_version",
    "no version's table": "DROP TABLE alembic_version",
    "strange version": "UPDATE alembic_version SET version_num = 'x'",
    "no table": "DROP TABLE class_name",
    "no items": "DROP TABLE item",
    "no terms": "DROP TABLE item_term",
    "no column": "ALTER TABLE ref RENAME COLUMN at TO then_at",
    "no version of terms": "DELETE FROM term_version",
    "bad JSON": "UPDATE item SET datasets = '[\"pet'",
    "other JSON": "UPDATE item SET datasets = '5'",
    "bad digest": "UPDATE ref SET manifest = 'blake3:zz'",
    "bad digest of an item": "UPDATE item SET manifest = 'blake3:zz' WHERE manifest != ''",
    "bad name": "UPDATE ref SET namespace = '..' WHERE name = 'flowers'",
    "not a text": "UPDATE item SET name = x'ff00' WHERE name = 'team/roses'",
    "not UTF-8": "UPDATE item SET architecture = CAST(x'ff' AS TEXT) WHERE name = 'team/roses'",
    "not a number": "UPDATE ref SET number = 'many' WHERE name = 'roses'",
    "no checkpoint": "DELETE FROM checkpoint",
}


QUICK = ("no terms", "other JSON", "bad digest")


@pytest.mark.parametrize("name", sampled(STATEMENTS, QUICK))
def test_damage_to_what_is_in_it(home: Path, name: str) -> None:
    connection = sqlite3.connect(home / "registry.db")
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute(STATEMENTS[name])
    connection.commit()
    connection.close()
    check(home)


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 999)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.unlink()
    (path / "below").mkdir(parents=True)


@pytest.mark.parametrize(
    "spoil",
    [
        garbage,
        pytest.param(empty, marks=pytest.mark.long),
        pytest.param(folder, marks=pytest.mark.long),
    ],
)
def test_what_is_no_database(home: Path, spoil: Callable[[Path], None]) -> None:
    spoil(home / "registry.db")
    check(home)


def test_the_damaged_one_is_kept_and_told(home: Path) -> None:
    garbage(home / "registry.db")
    said = zoo("--home", home, "search").done()
    (kept,) = home.glob("registry.db.damaged-*")
    assert kept.read_bytes() == b"garbage" * 999
    assert "is made again from the store; zoo index and zoo fetch" in said.err
    assert str(kept) in said.err
    assert zoo("--home", home, "search").done().err == ""


def test_a_reindex_says_whether_it_replaced_the_index(home: Path) -> None:
    assert zoo("--home", home, "reindex", "--json").json["replaced"] is False
    garbage(home / "registry.db")
    assert zoo("--home", home, "reindex", "--json").json["replaced"] is True


def test_a_sound_one_is_not_taken_for_damaged(home: Path) -> None:
    for _ in range(2):
        zoo("--home", home, "reindex").done()
    assert list(home.glob("registry.db.*")) == []
    assert "timm/net_7.a1" in zoo("--home", home, "search", "net_7").out


def test_damage_under_a_program_that_goes_on(home: Path) -> None:
    workspace = Workspace.find(home)
    registry = workspace.registry
    assert len(registry.refs()) == 3
    registry.close()
    garbage(home / "registry.db")
    other = Workspace.find(home)  # another process is faster
    assert len(other.registry.refs()) == 3
    other.close()
    assert len(registry.refs()) == 3
    assert len(list(home.glob("registry.db.damaged-*"))) == 1
    workspace.close()


NOTING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("INSERT INTO moving (namespace, name, tag, at)"
                   " VALUES ('team', 'theirs', '', '')")
connection.commit()
connection.close()
"""
LISTING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(*[name for name, in connection.execute("SELECT name FROM moving ORDER BY id")])
connection.close()
"""
HOLDING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM moving").fetchone()
print("open", flush=True)
sys.stdin.read()
"""
LOCKED = """
import fcntl, os, struct, sys
with open(sys.argv[1] + "-shm", "rb") as file:
    asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 128, 1, 0)
    found = struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_GETLK, asked))
print(found[0] != fcntl.F_UNLCK)
"""


def python(home: Path, script: str) -> list[str]:
    """Another process, which has SQLite and nothing of zoo."""
    return [sys.executable, "-S", "-E", "-c", script, str(home / "registry.db")]


def elsewhere(home: Path, script: str) -> str:
    done = subprocess.run(python(home, script), check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_to_look_for_damage_ends_no_lock(home: Path) -> None:
    """Else whoever closes next thinks it is the last, and deletes the log that we write to."""
    workspace = Workspace.find(home)
    registry = workspace.registry
    assert len(registry.refs()) == 3
    assert not registry.renew_if_damaged()
    elsewhere(home, NOTING)
    registry.announce(Reference("team", "ours"), now())
    assert elsewhere(home, LISTING) == "theirs ours"
    workspace.close()
    assert elsewhere(home, LISTING) == "theirs ours"


ROUNDS = 6


def note_often(home: Path, me: int) -> None:
    """Open, look for damage, note, and close only now and then."""
    workspace = Workspace.find(home)
    for turn in range(ROUNDS):
        workspace.registry.refs()
        workspace.registry.renew_if_damaged()
        workspace.registry.announce(Reference("team", f"of_{me}_{turn}"), now())
        if turn % 3 == me:
            workspace.close()
    workspace.close()


@pytest.mark.long
def test_two_that_look_for_damage_lose_nothing(home: Path) -> None:
    children = []
    for me in range(2):
        child = os.fork()
        if not child:
            code = 1
            try:
                note_often(home, me)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    wanted = {f"of_{me}_{turn}" for me in range(2) for turn in range(ROUNDS)}
    assert set(elsewhere(home, LISTING).split()) == wanted


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks for locks as Linux does")
def test_to_ask_who_has_it_open_ends_no_lock(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "registry.db"
    workspace = Workspace.find(home)
    assert len(workspace.registry.refs()) == 3
    with subprocess.Popen(python(home, HOLDING), stdin=subprocess.PIPE, stdout=-1) as other:
        assert other.stdout
        assert other.stdout.readline() == b"open\n"
        with monkeypatch.context() as patch:  # as if another user had made the files beside it
            patch.setattr("os.access", lambda asked, _: not str(asked).endswith("-shm"))
            assert "cannot be written" in str(file.obstacle(path))
        other.kill()
    assert elsewhere(home, LOCKED) == "True"
    workspace.close()


def test_one_that_another_has_just_made_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "registry.db").unlink()
    others: list[Workspace] = []
    make = _Kept._make

    def late(kept: _Kept) -> None:
        if not others:
            others.append(Workspace(home))
            others[0].registry.announce(Reference("team", "theirs"), now())
        make(kept)

    monkeypatch.setattr(_Kept, "_make", late)
    workspace = Workspace(home)
    assert [str(note.ref) for note in workspace.registry.moving()] == ["team/theirs"]
    workspace.close()
    others[0].close()


ASKED: dict[str, Callable[[Registry], object]] = {
    "licenses of entries": lambda registry: registry.entry_licenses(iter(["timm/net_7.a1"])),
    "licenses of checkpoints": lambda registry: registry.checkpoint_licenses(iter([])),
    "to forget": lambda registry: registry.forget_entries("timm", "1", None, now()),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_whatever_is_asked_mends_it(home: Path, ask: Callable[[Registry], object]) -> None:
    workspace = Workspace.find(home)
    workspace.registry.close()
    garbage(home / "registry.db")
    ask(workspace.registry)
    assert len(workspace.registry.refs()) == 3
    workspace.close()


def opening(home: Path) -> Registry:
    """As a workspace does, which opens one at a time in all threads of a process."""
    zoo = Workspace(home)
    return open_kept(home / "registry.db", zoo.scratch, zoo._fill, zoo.store.disk.alone)


@pytest.mark.parametrize("before", ["its rights are looked at", "it is opened"])
def test_one_that_is_set_aside_while_another_opens_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Who opens it has seen that it is there; it goes, and the new one comes only after that."""
    garbage(home / "registry.db")
    gone, opened = threading.Event(), threading.Event()
    make, share, main = _Kept._make, file.share, threading.current_thread()

    def replace() -> int:
        with opening(home) as registry:
            return len(registry.refs())

    def make_late(kept: _Kept) -> None:
        if threading.current_thread() is not main:
            gone.set()
            assert opened.wait(20)
        make(kept)

    def share_late(path: Path, folder: Path, *, fresh: bool = False) -> None:
        if before == "it is opened":
            share(path, folder, fresh=fresh)
        if threading.current_thread() is main and not others:
            others.append(pool.submit(replace))
            assert gone.wait(20)
        if before != "it is opened":
            share(path, folder, fresh=fresh)

    others: list[Future[int]] = []
    monkeypatch.setattr(_Kept, "_make", make_late)
    monkeypatch.setattr(file, "share", share_late)
    with ThreadPoolExecutor(1) as pool:
        try:
            with opening(home) as registry:
                assert len(registry.refs()) == 3
        finally:
            opened.set()
        assert others[0].result() == 3
    with opening(home) as registry:
        assert len(registry.refs()) == 3


def test_who_has_it_open_makes_no_empty_one(home: Path) -> None:
    workspace = Workspace.find(home)
    assert len(workspace.registry.refs()) == 3
    workspace.registry.close()
    file.set_aside(home / "registry.db")  # by another process, which has not come further
    assert len(workspace.registry.refs()) == 3
    assert len(list(home.glob("registry.db.damaged-*"))) == 1
    workspace.close()
