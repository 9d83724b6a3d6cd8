"""Whoever only reads a zoo leaves nothing in it that stops its owner, and need not write to it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.program import Said, as_user, zoo
from fakes.small_disk import Disk, small_disk

from zoo.backbones.describe import describe
from zoo.domain.hierarchy import HeadPart, Hierarchy
from zoo.domain.reference import Reference
from zoo.errors import Unavailable
from zoo.reflog import now
from zoo.registry import Registry
from zoo.registry.engines import sqlite
from zoo.store.rights import forbidden
from zoo.workspace import Workspace

OWNER, READER, GROUP = 61001, 61002, 61000
NAME = "team/flowers"
READS = (("search",), ("show", NAME), ("log", NAME), ("verify",))

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All that the commands import: the other users may not read where it lies."""
    root = tmp_path_factory.mktemp("imported") / "zoo"
    workspace = Workspace.create(root)
    add_checkpoint(workspace, NAME)
    workspace.close()
    for line in (*READS, ("tag", NAME, "team/x"), ("delete", "team/x"), ("show", "team/none")):
        zoo("--home", root, *line)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter, and that belongs to the first one."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    (root / "zoo").mkdir()
    os.chown(root / "zoo", OWNER, GROUP)
    yield root / "zoo"
    shutil.rmtree(root)


def make(root: Path, *, mode: int, umask: int) -> None:
    """Make a zoo with a checkpoint in it, as its owner."""
    root.chmod(mode)

    def work() -> None:
        workspace = Workspace.create(root)
        add_checkpoint(workspace, NAME)
        workspace.close()

    as_user(OWNER, GROUP, work, umask=umask)


def command(root: Path, *line: str, by: int, umask: int = 0o022) -> Said:
    said = as_user(by, GROUP, lambda: zoo("--home", root, *line), umask=umask)
    assert isinstance(said, Said)
    return said


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Owner and mode of the registry and all that is beside it."""
    found = {}
    for path in root.glob("registry.db*"):
        known = path.stat()
        found[path.name] = (known.st_uid, known.st_mode & 0o777)
    return found


def age(root: Path, mode: int = 0o644) -> None:
    """Make the registry as an older version made it."""
    (root / "registry.db").chmod(mode)


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(0o2775, marks=pytest.mark.long),
        0o777,
        pytest.param(0o1777, marks=pytest.mark.long),
    ],
)
def test_reading_leaves_nothing_beside_a_registry_of_another_user(shared: Path, mode: int) -> None:
    make(shared, mode=mode, umask=0o022)
    age(shared)
    before = files(shared)
    for line in (("search",), ("show", NAME), ("log", NAME)):
        command(shared, *line, by=READER).done()
        assert files(shared) == before
    command(shared, "tag", NAME, "team/mine", by=OWNER).done()


@pytest.mark.parametrize(
    "umask",
    [
        0o000,
        pytest.param(0o002, marks=pytest.mark.long),
        pytest.param(0o022, marks=pytest.mark.long),
        pytest.param(0o027, marks=pytest.mark.long),
        0o077,
    ],
)
def test_all_of_a_group_write_one_registry(shared: Path, umask: int) -> None:
    make(shared, mode=0o2775, umask=umask)
    assert files(shared) == {"registry.db": (OWNER, 0o664)}

    def work() -> dict[str, tuple[int, int]]:
        workspace = Workspace.find(shared)
        note = workspace.registry.announce(Reference("team", "x"), now())
        left = files(shared)
        workspace.registry.drop_note(note)
        return left

    left = as_user(READER, GROUP, work, umask=umask)
    assert left == {
        "registry.db": (OWNER, 0o664),
        "registry.db-wal": (READER, 0o664),
        "registry.db-shm": (READER, 0o664),
    }


def test_the_mode_of_the_root_decides(shared: Path) -> None:
    make(shared, mode=0o700, umask=0o000)
    assert files(shared) == {"registry.db": (OWNER, 0o600)}
    shared.chmod(0o2770)
    command(shared, "tag", NAME, "team/mine", by=OWNER, umask=0o077).done()
    assert files(shared) == {"registry.db": (OWNER, 0o660)}


def leave(root: Path, *, logged: bool) -> None:
    """Leave what a reader of an older version left: files that only he can write."""
    if logged:  # a writer was killed, and its last words are in the log

        def work() -> None:
            workspace = Workspace.find(root)
            workspace.registry.announce(Reference("team", "lost"), now())
            os._exit(0)

        child = os.fork()
        if not child:
            work()
        os.waitpid(child, 0)
    for side in sqlite.sides(root / "registry.db"):
        if not logged:
            side.write_bytes(b"")
        os.chown(side, READER, READER)
        side.chmod(0o644)


@pytest.mark.parametrize("logged", [False, pytest.param(True, marks=pytest.mark.long)])
def test_what_a_reader_left_is_replaced(shared: Path, logged: bool) -> None:
    make(shared, mode=0o2775, umask=0o022)
    leave(shared, logged=logged)
    command(shared, "tag", NAME, "team/mine", by=OWNER).done()
    assert set(files(shared)) == {"registry.db"}
    workspace = Workspace.find(shared)
    assert [str(note.ref) for note in workspace.registry.moving()] == ["team/lost"] * logged
    workspace.close()


def test_what_a_reader_left_and_we_may_not_replace_is_named(shared: Path) -> None:
    make(shared, mode=0o1777, umask=0o022)
    os.chown(shared, 0, 0)
    leave(shared, logged=False)
    log, _ = sqlite.sides(shared / "registry.db")
    said = command(shared, "tag", NAME, "team/mine", by=OWNER)
    said.refused(str(log), f"belongs to user {READER}", f"chmod g+w {log}")
    command(shared, "search", by=OWNER).done()
    assert not (shared / "refs" / "team" / "mine").exists()


def test_somebody_who_reads_is_left_alone(shared: Path) -> None:
    make(shared, mode=0o2775, umask=0o022)
    with Workspace.find(shared).registry as registry:
        registry.refs()
        for side in sqlite.sides(shared / "registry.db"):
            side.chmod(0o644)
            os.chown(side, 0, 0)
        command(shared, "search", by=READER).done()
        command(shared, "tag", NAME, "team/x", by=READER).refused("belongs to root", "chmod g+w")
        assert {name for name, (uid, _) in files(shared).items() if uid == 0} == {
            "registry.db-wal", "registry.db-shm",
        }  # fmt: skip


@pytest.mark.long
def test_a_zoo_that_may_not_be_written_is_read(shared: Path) -> None:
    make(shared, mode=0o755, umask=0o022)
    remote = shared.parent / "remote"
    for line in READS:
        said = command(shared, *line, by=READER).done()
        assert NAME in said.out or line == ("verify",)
    said = command(shared, "tag", NAME, "team/x", by=READER)
    said.refused("registry.db", f"{shared} belongs to user {OWNER}", f"chmod g+w {shared}")
    # So is a remote, which has no index.
    (shared / "registry.db").rename(remote)
    for line in READS:
        said = command(shared, *line, by=READER).done()
        assert NAME in said.out or line == ("verify",)
    assert files(shared) == {}


def test_a_file_of_another_group_is_told(shared: Path) -> None:
    make(shared, mode=0o2775, umask=0o022)
    os.chown(shared / "registry.db", OWNER, OWNER)
    said = command(shared, "delete", NAME, by=READER)
    said.refused(f"chgrp {GROUP} {shared / 'registry.db'}")
    os.chown(shared, OWNER, OWNER)
    said = command(shared, "delete", NAME, by=READER)
    said.refused(f"you are not in its group {OWNER}")


@pytest.mark.long
def test_a_log_that_cannot_be_brought_in_is_done_without(shared: Path) -> None:
    make(shared, mode=0o755, umask=0o022)
    leave(shared, logged=True)
    (shared / "registry.db-shm").unlink()
    said = command(shared, "search", by=READER).done()
    assert NAME in said.out
    assert "what the store holds is found all the same" in said.err


def test_a_damaged_registry_that_may_not_be_replaced_is_done_without(shared: Path) -> None:
    make(shared, mode=0o755, umask=0o022)
    (shared / "registry.db").write_bytes(b"garbage" * 1000)
    said = command(shared, "search", by=READER).done()
    assert NAME in said.out
    assert (shared / "registry.db").read_bytes() == b"garbage" * 1000


def test_an_index_that_may_not_even_be_read_is_done_without(shared: Path) -> None:
    make(shared, mode=0o755, umask=0o022)
    age(shared, 0o600)
    assert NAME in command(shared, "search", by=READER).done().out


def test_a_folder_for_scratch_that_may_not_be_written(shared: Path) -> None:
    make(shared, mode=0o777, umask=0o022)
    (shared / "registry.db").unlink()
    (shared / "tmp").chmod(0o755)
    assert NAME in command(shared, "search", by=READER).done().out
    command(shared, "tag", NAME, "team/x", by=READER).refused("cannot be written", "tmp")


def test_what_cannot_be_kept_is_traced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = HeadPart(modules=(), parameters=(), buffers=(), params=0, shape=None, cut=False)
    traced = Hierarchy(architecture="resnet18", units=(), head=part)
    monkeypatch.setattr("zoo.backbones.describe.traced", lambda *_: traced)
    workspace = Workspace.create(tmp_path / "zoo")
    workspace.registry.obstacle = Unavailable("registry.db", "it is read-only")
    assert describe(workspace.registry, "torchvision", "resnet18") is traced
    workspace.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", 2 << 20) as disk:
        yield disk


def remount(root: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(root)], check=True)


def test_a_read_only_disk(disk: Disk) -> None:
    workspace = Workspace.create(disk.root / "zoo")
    add_checkpoint(workspace, NAME)
    workspace.close()
    remount(disk.root, "ro")
    for line in READS:
        assert NAME in zoo("--home", disk.root / "zoo", *line).done().out or line == ("verify",)
    zoo("--home", disk.root / "zoo", "delete", NAME).refused("registry.db", "the disk is read-only")
    remount(disk.root, "rw")


@pytest.mark.long
def test_a_full_disk_is_read_and_told(disk: Disk) -> None:
    home = disk.root / "zoo"
    workspace = Workspace.create(home)
    add_checkpoint(workspace, NAME, tensors())
    workspace.close()
    for room in (0, 4096, 16384, 40960):
        disk.fill(leave=room)
        for line in READS:
            assert NAME in zoo("--home", home, *line).done().out or line == ("verify",)
        said = zoo("--home", home, "tag", NAME, "team/mine")
        if said.code:
            said.refused("no space left", "registry.db" if room < 4096 else "")
            assert not list((home / "refs" / "team").glob("mine/*/*.json"))
        disk.relieve()
    zoo("--home", home, "tag", NAME, "team/mine").done()
    assert "team/mine" in zoo("--home", home, "search").out


@pytest.mark.long
def test_who_cannot_write_the_index_is_told_what_it_lacks(shared: Path) -> None:
    """A move that was noted and made, and then its writer was killed."""
    make(shared, mode=0o755, umask=0o022)

    def killed() -> None:
        child = os.fork()
        if not child:
            Registry.set_ref = lambda *_: os._exit(9)
            zoo("--home", shared, "tag", NAME, "team/mine")
            os._exit(0)
        os.waitpid(child, 0)

    as_user(OWNER, GROUP, killed)
    for line in (("search",), ("show", "team/mine")):
        said = command(shared, *line, by=READER).done()
        assert "lacks the newest entry of team/mine: zoo log" in said.err
    assert "#1" in command(shared, "log", "team/mine", by=READER).done().out
    assert "team/mine" in command(shared, "search", by=OWNER).done().out
    said = command(shared, "search", by=READER).done()
    assert ("team/mine" in said.out, said.err) == (True, "")


@pytest.mark.long
def test_a_remote_that_is_only_read_says_whose_it_is_and_what_still_works(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, mine, home = (shared.parent / name for name in ("lab", "mine", "home"))
    for folder, user in ((lab, OWNER), (mine, READER), (home, READER)):
        folder.mkdir()
        os.chown(folder, user, GROUP)
    monkeypatch.setenv("HOME", str(home))  # where they say whose signatures count
    make(shared, mode=0o755, umask=0o022)

    def begin() -> None:
        workspace = Workspace.create(mine)
        add_checkpoint(workspace, "me/mine")
        workspace.close()

    as_user(READER, GROUP, begin)
    command(shared, "push", NAME, "--to", str(lab), by=OWNER).done()
    for line in (("push", "me/mine", "--to"), ("delete", NAME, "--yes", "--from")):
        said = command(mine, *line, str(lab), by=READER)
        first, works, mends, *_ = said.refused(str(OWNER), "drwxr-xr-x").err.splitlines()
        assert first.startswith(f"error: {lab}: cannot be written to: it belongs to {OWNER}")
        assert "can be read all the same" in works
        assert f"{OWNER} can allow it to the group" in mends
    command(mine, "pull", NAME, "--from", str(lab), by=READER).done()
    command(mine, "verify", str(lab), by=READER).done()


def test_so_does_one_on_a_disk_that_is_mounted_read_only(shared: Path) -> None:
    told = forbidden(shared, "refs/x", OSError(errno.EROFS, "Read-only file system"))
    assert str(told).startswith(f"{shared}: lies on a file system that is mounted read-only")
    assert f"it belongs to {OWNER}" in str(told)
    assert "can be read all the same" in told.advice
