"""Several users of one machine share a folder, whatever their umasks."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from fakes import work
from fakes.checkpoints import flip_byte
from fakes.sampled import every
from fakes.users import TEAM, User

from zoo.store.disk import Disk
from zoo.workspace import Workspace

UMASKS = (0o000, 0o002, 0o022, 0o027, 0o077)
MODES = (0o2775, 0o3775, 0o2770, 0o775)
SOME = [(0o002, 0o077, 0o3775)]
MORE = [case for case in product(UMASKS, UMASKS, MODES) if case not in SOME]
HOMES: dict[int, Path] = {}
"""Zoos of users with a umask of 022."""
PRUNE = ("--keep", "0", "--grace", "0", "--yes")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as other users")


@pytest.fixture(scope="module", autouse=True)
def imported() -> Iterator[None]:
    """All modules that are needed: other users may not be able to read them where they lie.

    And what the zoos of users are copied from.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(User, "do", lambda _, work: work())
        for number in (1, 2):
            HOMES[number] = member(Path(folder), number, copied=False).home.rename(
                Path(folder) / f"made{number}"
            )
        ann, bob = (member(Path(folder), number) for number in (1, 2))
        work_together(shared(Path(folder), 0o755), ann, bob)
        ann.zoo(("show", "u1/nett"), ("push", "u2/net", "--to", "nowhere"))
        patch.setattr("zoo.exchange.indexing.index_local", lambda *_, **__: None)
        work_in_one(Path(folder) / "far", ann, ann)
        patch.undo()
        yield


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        base.chmod(0o755)
        yield base


def member(base: Path, number: int, umask: int = 0o022, *, copied: bool = True) -> User:
    """A user with a zoo that has a checkpoint and a fine-tune of it."""
    user = User(61_000 + number, base / f"user{number}", umask, (TEAM,))
    if copied and umask == 0o022:
        shutil.copytree(HOMES[number], user.home)
        for path in (user.home, *user.home.rglob("*")):
            os.chown(path, user.id, user.id)
        return user
    user.home.mkdir()
    os.chown(user.home, user.id, user.id)
    return filled(user, number)


def filled(user: User, number: int) -> User:
    """The same, whose home is a zoo now."""

    def fill() -> None:
        Workspace.create(user.home).close()
        digest = ""
        for name, scale in ((f"u{number}/base", 1.0), (f"u{number}/net", 1.001)):
            path = work.save(user.home / "in.safetensors", number, scale=scale)
            digest = work.import_file(str(user.home), str(path), name, digest)

    user.do(fill)
    return user


def shared(base: Path, mode: int, owner: int = 0) -> Path:
    """The folder of a team."""
    root = base / "team"
    root.mkdir()
    os.chown(root, owner, TEAM)
    root.chmod(mode)
    return root


def well(user: User, *lines: tuple[object, ...]) -> None:
    """Run what must succeed."""
    for line, done in zip(lines, user.zoo(*lines), strict=True):
        assert done.code == 0, (user.id, oct(user.umask), line, done.text)


def work_together(root: Path, ann: User, bob: User) -> None:
    """Each does all that there is to do, upon what the other has left."""
    for number, user in enumerate((ann, bob, ann), 1):
        own = f"u{user.id - 61_000}"
        well(
            user,
            ("push", f"{own}/base", "--to", root),
            ("push", f"{own}/net", "--to", root),
            ("tag", f"{own}/net", f"both/net:v{number}"),
            ("push", f"both/net:v{number}", "--to", root),
        )
    for user, other in ((ann, bob), (bob, ann)):
        theirs = f"u{other.id - 61_000}"
        well(
            user,
            ("remote", "add", "team", root),
            ("fetch", "team"),
            ("pull", f"{theirs}/net", "--from", root),
            ("pull", f"{theirs}/base", "--from", root),
        )
        damaged = max((root / "objects").glob("??/*"), key=lambda path: path.stat().st_uid)
        flip_byte(damaged)
        damaged.chmod(0o444)
        left = f"tmp/tmp{user.id}abc"
        other.do(lambda left=left: Disk(root).touch(left, b"half"))  # type: ignore[misc]
        os.utime(root / left, (0, 0))
        well(user, ("verify", root, "--repair"), ("prune", root, *PRUNE), ("verify", root))
        assert not (root / left).exists()


def work_in_one(far: Path, ann: User, bob: User) -> None:
    """Each does all that there is to do in a zoo that is both of theirs."""
    for number, user in enumerate((ann, bob, ann), 1):
        name, remote = f"both/net:v{number}", f"r{number}"
        well(
            user,
            ("tag", "u1/base", name, "--force"),
            ("tag", "u1/net", name),
            ("tag", "u1/net", "both/latest"),
            ("protect", name),
            ("protect", "--off", name),
            ("push", name, "--to", far),
            ("delete", name),
            ("delete", "--restore", name),
            ("remote", "add", remote, far),
            ("fetch", remote),
            ("pull", name, "--from", remote, "--as", f"{name}-again"),
            ("delete", f"{name}-again"),
            ("reindex",),
            ("verify",),
            ("verify", "--repair", "--from", remote),
            ("prune", *PRUNE),
            ("remote", "remove", remote),
        )


def check_rights(root: Path) -> None:
    mode = root.stat().st_mode
    for path in root.rglob("*"):
        found = path.stat()
        assert found.st_gid == TEAM, path
        if path.is_dir():
            assert stat.S_IMODE(found.st_mode) == mode & 0o777 | stat.S_ISGID, path
        else:
            assert stat.S_IMODE(found.st_mode) == mode & 0o444, path


@pytest.mark.long
@pytest.mark.parametrize(("one", "two", "mode"), SOME)
def test_a_team_works_in_one_folder(base: Path, one: int, two: int, mode: int) -> None:
    root = shared(base, mode)
    work_together(root, member(base, 1, one), member(base, 2, two))
    check_rights(root)


@pytest.mark.long
@pytest.mark.parametrize(("one", "two", "mode"), every(9, MORE))
def test_a_team_works_in_one_folder_with_any_umask(
    base: Path, one: int, two: int, mode: int
) -> None:
    test_a_team_works_in_one_folder(base, one, two, mode)


@pytest.mark.long
def test_a_team_works_in_one_zoo(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the home of each of them."""
    monkeypatch.setattr("zoo.exchange.indexing.index_local", lambda *_, **__: None)
    root = shared(base, 0o2775)
    ann, bob = (User(61_000 + number, root, umask) for number, umask in ((1, 0o022), (2, 0o077)))
    filled(ann, 1)
    (base / "far").mkdir()
    os.chown(base / "far", 0, TEAM)
    (base / "far").chmod(0o2775)
    work_in_one(base / "far", ann, bob)


@pytest.mark.long
def test_a_folder_that_the_first_push_makes_is_the_groups(base: Path) -> None:
    """Where the one above it is."""
    ann, bob = member(base, 1), member(base, 2)
    above = shared(base, 0o2775)
    work_together(above / "zoo", ann, bob)
    assert stat.S_IMODE((above / "zoo").stat().st_mode) == 0o2775
    check_rights(above / "zoo")


def test_a_folder_of_ones_own_stays_so(base: Path) -> None:
    """Where nothing says that it is to be shared."""
    ann, bob = member(base, 1), member(base, 2)
    root = ann.home / "team"
    well(ann, ("push", "u1/net", "--to", root), ("push", "u1/base", "--to", root))
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))} == {
        0o755,
        0o444,
    }
    well(bob, ("pull", "u1/net", "--from", root), ("verify", root), ("prune", root))
    (done,) = bob.zoo(("push", "u2/net", "--to", root))
    assert done.code == 1
    for part in (f"error: {root}: cannot be written to", "belongs to 61001", "drwxr-xr-x",
                 "can be read all the same", "find ", "chmod g+rwxs",
                 "you have to be in the group 61001"):  # fmt: skip
        assert part in done.text


@pytest.mark.long
def test_what_an_older_version_made_is_mended_as_the_message_says(base: Path) -> None:
    """At a umask of 022 it made folders that were its user's alone."""
    ann, bob = member(base, 1), member(base, 2)
    root = shared(base, 0o2775)
    well(ann, ("push", "u1/net", "--to", root))
    for path in root.rglob("*"):
        path.chmod(0o2755 if path.is_dir() else 0o444)
    (done,) = bob.zoo(("push", "u2/net", "--to", root))
    assert done.code == 1
    assert f"{root / 'tmp'}" in done.text
    mend = next(line for line in done.text.splitlines() if "find " in line).partition(": ")[2]
    assert ann.do(lambda: os.system(mend)) == 0
    work_together(root, ann, bob)


def test_what_may_not_be_read_is_said_with_what_mends_it(base: Path) -> None:
    ann, bob = member(base, 1), member(base, 2)
    root = shared(base, 0o2775)
    well(ann, ("push", "u1/net", "--to", root))
    for path in root.rglob("*"):
        path.chmod(0o2700 if path.is_dir() else 0o400)
    (done,) = bob.zoo(("pull", "u1/net", "--from", root))
    assert done.code == 1
    assert "cannot be read" in done.text
    mend = next(line for line in done.text.splitlines() if "find " in line).partition(": ")[2]
    assert ann.do(lambda: os.system(mend)) == 0
    well(bob, ("pull", "u1/net", "--from", root))


@pytest.mark.long
def test_a_leftover_that_only_its_owner_may_delete_stops_no_prune(base: Path) -> None:
    ann, bob = member(base, 1), member(base, 2)
    root = shared(base, 0o2775)
    well(ann, ("push", "u1/net", "--to", root))
    (root / "tmp").chmod(0o3775)
    for user in (ann, bob):
        left = f"tmp/tmp{user.id}abc"
        user.do(lambda left=left: Disk(root).touch(left))  # type: ignore[misc]
        os.utime(root / left, (0, 0))
    well(bob, ("prune", root, *PRUNE))
    assert [path.name for path in (root / "tmp").glob("tmp*")] == ["tmp61001abc"]
    well(ann, ("prune", root, *PRUNE))
    assert not list((root / "tmp").glob("tmp*"))


def test_who_works_as_root_leaves_a_users_zoo_to_its_user(base: Path) -> None:
    ann = member(base, 1)
    root = ann.home / "team"
    well(ann, ("push", "u1/net", "--to", root))
    admin = User(0, ann.home, 0o077, ())
    well(admin, ("push", "u1/base", "--to", root))
    assert {path.stat().st_uid for path in root.rglob("*")} == {ann.id}
    well(ann, ("push", "u1/base", "--to", root), ("prune", root, *PRUNE))
