"""Every method of a disk raises what the class says, whatever stands in its way."""

from __future__ import annotations

import grp  # noqa: F401 - the other user may not read where it lies
import os
import pwd  # noqa: F401
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fakes.program import as_user

from zoo.errors import DiskFull, Forbidden, NotAFile
from zoo.store.disk import Disk

USER, GROUP = 61001, 61000
CALLS: dict[str, Callable[[Disk], object]] = {
    "folder": lambda disk: disk.make_folder("objects/ab/new"),
    "open": lambda disk: disk.open("objects/ab/file").close(),
    "read": lambda disk: disk.read("objects/ab/file", 99),
    "stat": lambda disk: disk.stat("objects/ab/file"),
    "holds": lambda disk: disk.holds(["objects/ab/file", "objects/ab/none"]),
    "names": lambda disk: disk.names("objects/ab"),
    "folders": lambda disk: disk.folders("objects/ab"),
    "kinds": lambda disk: disk.kinds("objects/ab"),
    "walk": lambda disk: list(disk.walk("objects")),
    "make": lambda disk: disk.make("objects/ab/made").close(),
    "rename": lambda disk: disk.rename("tmp/staged", "objects/ab/file"),
    "rename from": lambda disk: disk.rename("objects/ab/file", "tmp/other"),
    "rename_first": lambda disk: disk.rename_first("tmp/staged", "objects/ab/fresh"),
    "create": lambda disk: disk.create("objects/ab/created", b"x"),
    "put": lambda disk: disk.put("objects/ab/file", b"x"),
    "touch": lambda disk: disk.touch("objects/ab/touched", b"x"),
    "remove": lambda disk: disk.remove("objects/ab/file"),
    "age": lambda disk: disk.age("objects/ab"),
    "remove_folder": lambda disk: disk.remove_folder("objects/ab/below"),
    "fsync_folder": lambda disk: disk.fsync_folder("objects/ab"),
}
TOLD = (NotAFile, Forbidden, DiskFull, FileNotFoundError, FileExistsError)


@pytest.fixture
def root() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp())
    for name in ("objects/ab/below", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("objects/ab/file", "tmp/staged"):
        (root / name).write_bytes(b"x")
    yield root
    shutil.rmtree(root)


def give(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, USER, GROUP, follow_symlinks=False)


def raw(root: Path, call: Callable[[Disk], object]) -> str:
    """What ``call`` raises that a disk should not; empty if nothing."""
    try:
        with suppress(*TOLD):
            call(Disk(root))
    except OSError as error:
        return repr(error)
    return ""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444, 0o555])
def test_rights_that_do_not_allow_it(root: Path, mode: int) -> None:
    def work() -> dict[str, str]:
        found = {}
        for name, call in CALLS.items():
            (root / "objects/ab").chmod(mode)
            found[name] = raw(root, call)
            (root / "objects/ab").chmod(0o755)
            (root / "objects/ab/file").touch()
            (root / "tmp/staged").touch()
        return found

    give(root)
    assert {name: told for name, told in as_user(USER, GROUP, work).items() if told} == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_not_list_it_is_told_whose_it_is(root: Path) -> None:
    def work() -> str:
        try:
            Disk(root).kinds("objects/ab")
        except Forbidden as error:
            return str(error)
        return ""

    give(root)
    (root / "objects/ab").chmod(0o444)
    assert f"{root / 'objects/ab'}: cannot be read: it belongs to" in as_user(USER, GROUP, work)


def a_link(path: Path) -> None:
    path.symlink_to("/nowhere")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_file(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    (path / "below").mkdir(parents=True)


@pytest.mark.parametrize("where", ["objects/ab", "objects/ab/file"])
@pytest.mark.parametrize("what", [a_link, a_pipe, a_file, a_folder])
def test_something_else_in_its_place(root: Path, where: str, what: Callable[[Path], None]) -> None:
    found = {}
    for name, call in CALLS.items():
        path = root / where
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(True)
        what(path)
        (root / "tmp/staged").write_bytes(b"x")
        found[name] = raw(root, call)
    assert {name: told for name, told in found.items() if told} == {}


@pytest.mark.parametrize("below", [False, True])
def test_what_is_made_has_the_rights_of_the_root(root: Path, below: bool) -> None:
    root.chmod(0o2775)
    (root / "tmp").chmod(0o700)
    disk = Disk(root)
    disk.put("objects/ab/made" if below else "made", b"x")
    made = root / ("objects/ab/made" if below else "made")
    assert stat.S_IMODE(made.stat().st_mode) == 0o664


def test_many_are_looked_for_as_one_by_one(root: Path) -> None:
    for name in ("objects/ab/cd/deep", "objects/ac/file", "objects/abc", "z"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    asked = [
        f"{folder}{name}"
        for folder in (
            "",
            "objects/",
            "objects/ab/",
            "objects/ab/cd/",
            "objects/ac/",
            "no/",
            "tmp/",
        )
        for name in ("file", "deep", "abc", "ab", "z", "staged", "none", "below")
    ]
    disk, before = Disk(root), len([*Path("/proc/self/fd").iterdir()])
    found = disk.holds(asked)
    one_by_one = {name: status for name in asked if (status := disk.stat(name))}
    assert found == one_by_one
    assert {*found} == {"objects/abc", "objects/ab/file", "objects/ab/cd/deep", "objects/ac/file",
                        "z", "tmp/staged"}  # fmt: skip
    (root / "objects/link").symlink_to(root / "objects/ab")
    with pytest.raises(NotAFile, match="objects/link"):
        disk.holds(["objects/ab/file", "objects/link/file"])
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    assert Disk(root / "none").holds(["objects/ab/file"]) == {}
