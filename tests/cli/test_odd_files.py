"""What is no file where zoo keeps files: links, pipes, and things without end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.program import zoo
from fakes.sampled import sampled

TUNED = "team/digits"
AT_ONCE = ("--keep", "0", "--grace", "0", "--yes")
FOLDERS = ("objects", "encoded", "manifests", "encoded-manifests", "refs", "pruned", "tmp")
OLD = time.time() - 400 * 86400
HUGE = 1 << 40

Run = Callable[..., Any]


pytestmark = pytest.mark.timeout(120)
"""Who waits at a pipe for somebody to write waits for ever."""


@pytest.fixture(scope="module")
def pushed(toy_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `team` copies."""
    root = tmp_path_factory.mktemp("pushed") / "team"
    assert zoo("--home", toy_zoo, "push", TUNED, "--to", root).code == 0
    return root


@pytest.fixture
def team(pushed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pushed, tmp_path / "team")


@pytest.fixture
def mate(toy: Run, team: Path, tmp_path: Path) -> Path:
    """A teammate's zoo, where nothing is yet."""
    assert toy("init", tmp_path / "mate").code == 0
    assert toy("--home", tmp_path / "mate", "remote", "add", "team", team).code == 0
    return tmp_path / "mate"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Somebody's files, which are no part of any store, and old."""
    folder = tmp_path / "elsewhere"
    for name in ("thesis.tex", "deep/photo.jpg", f"part-{'0' * 64}-{'0' * 32}", "ab/" + "a" * 64):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        os.utime(path, (OLD, OLD))
    return folder


def sizes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*")}


def take(path: Path) -> None:
    """Make room for something else of that name."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_store_whose_own_folders_are_links_is_refused(
    toy: Run, team: Path, mate: Path, elsewhere: Path, folder: str
) -> None:
    before = sizes(elsewhere)
    for root, where in ((team, (team,)), (mate, ())):
        take(root / folder)
        (root / folder).symlink_to(elsewhere)
        for command in (("prune", *where, *AT_ONCE), ("verify", *where)):
            done = toy("--home", mate, *command)
            assert done.code == 1
            assert f"{root / folder} is damaged: expected a folder, found a link" in done.err
            assert "move all of it" in done.err
        assert (root / folder).is_symlink()
        (root / folder).unlink()
    assert sizes(elsewhere) == before


def test_no_command_goes_through_a_linked_folder(toy: Run, team: Path, elsewhere: Path) -> None:
    shutil.rmtree(team / "tmp")
    (team / "tmp").symlink_to(elsewhere)
    before = sizes(elsewhere)
    toy("remote", "add", "linked", team)
    for command in (
        ("push", TUNED, "--to", team),
        ("pull", TUNED, "--from", team),
        ("fetch", "linked"),
        ("verify", team, "--repair"),
        ("clone", team, team.parent / "new"),
    ):
        done = toy(*command)
        assert (done.code, "found a link" in done.err) == (1, True), command
    assert sizes(elsewhere) == before


def test_the_root_itself_may_be_a_link(toy: Run, team: Path, mate: Path, tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to(team)
    assert toy("--home", mate, "pull", TUNED, "--from", tmp_path / "short").code == 0
    (tmp_path / "mine").symlink_to(mate)
    assert toy("--home", tmp_path / "mine", "push", TUNED, "--to", team).code == 0
    assert toy("--home", tmp_path / "mine", "prune", *AT_ONCE).code == 0


def test_a_prune_deletes_no_names_but_zoos(toy: Run, team: Path, elsewhere: Path) -> None:
    scratch = team / "tmp"
    ours = {
        f"part-{'a' * 64}-{'b' * 32}", f"part-{'a' * 64}-encoded-{'b' * 32}", "tmpab_cd123",
        f"prune-{'c' * 32}", f"uploads/{'d' * 32}", "tmpscratch1/model/weights",
        f"probe-{'e' * 32}",
    }  # fmt: skip
    theirs = {"thesis.tex", "tmp.txt", "mine/notes", "uploads/readme", "part-one", "prune"}
    for name in ours | theirs:
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        os.utime(path, (OLD, OLD))
    (scratch / "tmplinked_1").symlink_to(elsewhere)
    (scratch / "tmpscratch1" / "deep").symlink_to(elsewhere)
    for link in (scratch / "tmplinked_1", scratch / "tmpscratch1" / "deep"):
        os.utime(link, (OLD, OLD), follow_symlinks=False)
    before = sizes(elsewhere)
    done = toy("prune", team, *AT_ONCE, "--json")
    assert done.code == 0
    deleted = {item["name"].removeprefix("tmp/") for item in done.json["items"]}
    assert deleted == {*ours, "tmplinked_1", "tmpscratch1/deep"}
    left = {str(path.relative_to(scratch)) for path in scratch.rglob("*") if not path.is_dir()}
    assert left == theirs
    assert sizes(elsewhere) == before


def test_a_name_is_not_written_through_a_link(toy: Run, team: Path, elsewhere: Path) -> None:
    before = sizes(elsewhere)
    for planted, name in (("refs/theirs", "theirs/net"), ("refs/team/net", "team/net"),
                          ("refs/team/digits/v9", f"{TUNED}:v9")):  # fmt: skip
        (team / planted).symlink_to(elsewhere)
        toy("tag", TUNED, name)
        done = toy("push", name, "--to", team)
        assert (done.code, str(team / planted) in done.err) == (1, True)
        assert sizes(elsewhere) == before


def test_an_object_is_not_written_or_read_through_a_link(
    toy: Run, team: Path, mate: Path, tmp_path: Path
) -> None:
    shard = next((team / "objects").iterdir())
    shard.rename(tmp_path / "moved")
    shard.symlink_to(tmp_path / "moved")
    before = sizes(tmp_path / "moved")
    for command in (
        ("push", TUNED, "--to", team, "--force"),
        ("--home", mate, "pull", TUNED, "--from", team),
    ):
        done = toy(*command)
        assert (done.code, "found a link" in done.err) == (1, True)
    assert f"objects/{shard.name}: does not belong in a store" in toy("verify", team).out
    toy("prune", team, *AT_ONCE)
    assert sizes(tmp_path / "moved") == before


def an_object(team: Path) -> Path:
    return max((team / "objects").glob("??/*"), key=lambda path: path.stat().st_size)


def a_manifest(team: Path) -> Path:
    return next((team / "manifests").glob("??/*"))


def an_entry(team: Path) -> Path:
    return team / f"refs/{TUNED}/latest/00000001.json"


def the_marker(team: Path) -> Path:
    return team / "zoo.json"


KINDS = (an_object, a_manifest, an_entry, the_marker)


@pytest.mark.parametrize("which", KINDS)
@pytest.mark.parametrize(
    "odd",
    sampled(["pipe", "link to a device", "link to a pipe", "folder"], ["pipe", "link to a device"]),
)
def test_nobody_waits_for_what_is_no_file(
    toy: Run, team: Path, mate: Path, which: Callable[[Path], Path], odd: str
) -> None:
    path = which(team)
    path.unlink()
    if odd == "folder":
        path.mkdir()
    elif odd == "pipe":
        os.mkfifo(path)
    else:
        os.mkfifo(team.parent / "pipe")
        path.symlink_to("/dev/zero" if "device" in odd else team.parent / "pipe")
    assert toy("--home", mate, "pull", TUNED, "--from", team).code == 1
    assert toy("verify", team).code == 1
    # The objects are no business of a fetch, and those of another name none of a push.
    fetched = toy("--home", mate, "fetch", "team")
    told = {an_object.__name__: (0, False), the_marker.__name__: (1, False)}
    assert (fetched.code, TUNED in fetched.err) == told.get(which.__name__, (0, True))
    toy("prune", team, *AT_ONCE)
    assert toy("push", "team/base", "--to", team).code == (1 if which is the_marker else 0)
    assert list((mate / "tmp").rglob("part*")) == []
    if which is an_object and odd != "folder":  # a push puts the object itself in its place
        assert toy("push", TUNED, "--to", team).code == 0
        assert toy("--home", mate, "pull", TUNED, "--from", team).code == 0


@pytest.mark.parametrize("which", KINDS)
def test_nothing_is_read_past_the_size_it_can_have(
    toy: Run, team: Path, mate: Path, which: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("zoo.transfer.objects.OBJECT_SLACK", 1 << 16)
    monkeypatch.setattr("zoo.store.manifests.MANIFEST_BYTES", 1 << 20)
    path = which(team)
    path.chmod(0o644)
    os.truncate(path, HUGE)  # takes no space
    done = toy("--home", mate, "pull", TUNED, "--from", team)
    assert (done.code, "more" in done.err) == (1, True)
    assert list((mate / "tmp").rglob("*part*")) == []
    if which is not an_object:  # those are hashed whole, which takes time and no memory
        assert toy("--home", mate, "fetch").code in (0, 1)


@pytest.mark.parametrize("name", ["remotes.json", "runs/1/run.json"])
def test_the_zoos_own_files_are_opened_as_files_only(run: Run, home: Path, name: str) -> None:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    assert run("runs").code == 0
    assert run("remote").code == (1 if name == "remotes.json" else 0)


@pytest.mark.long
def test_a_pipe_among_images(run: Run, home: Path, digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "data")
    os.mkfifo(tmp_path / "data/0/pipe.png")
    done = run("predict", TUNED, tmp_path / "data/0/pipe.png")
    assert (done.code, "is a pipe, not an image" in done.err) == (1, True)
    done = run("finetune", TUNED, "--data", tmp_path / "data", "--save", "team/new", "--epochs", 1)
    assert (done.code, "pipe.png" in done.err) == (1, True)
    linked = tmp_path / "linked.png"
    linked.symlink_to(next((digits / "0").iterdir()))
    assert run("predict", TUNED, linked).code == 0
