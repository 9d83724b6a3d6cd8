"""Folders whose rights do not let them be listed: told, and the rest goes on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, store_checkpoint, tensors
from fakes.moves import append
from fakes.program import Said, as_user, zoo
from fakes.sampled import every

from zoo.domain.reference import Reference
from zoo.store import Store
from zoo.workspace import Workspace

OWNER, GROUP = 61001, 61000
NAME, OTHER = "team/flowers", "lab/roses"
LINES = (("verify",), ("search",), ("prune",), ("reindex",))

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.fixture(autouse=True)
def no_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reindex lists what libraries publish, too, which takes seconds."""
    monkeypatch.setattr("zoo.exchange.indexing.index_local", lambda *_, **__: None)


def fill(root: Path) -> None:
    workspace = Workspace.create(root)
    for seed, name in enumerate((NAME, OTHER)):
        add_checkpoint(workspace, name, tensors(seed))
    workspace.close()


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All that the commands import: the other user may not read where it lies."""
    root = tmp_path_factory.mktemp("imported") / "zoo"
    fill(root)
    (root / "objects/00").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.exchange.indexing.index_local", lambda *_, **__: None)
        for line in (*LINES, ("remote", "add", "team", root)):
            zoo("--home", root, *line)
    zoo("--home", root, "push", NAME, "--to", root.parent / "team")
    as_user(OWNER, GROUP, lambda: zoo("--home", root, "search"))


@pytest.fixture
def home() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    (base / "zoo").mkdir()
    os.chown(base / "zoo", OWNER, GROUP)
    as_user(OWNER, GROUP, lambda: fill(base / "zoo"))
    yield base / "zoo"
    shutil.rmtree(base)


def command(root: Path, *line: object) -> Said:
    said = as_user(OWNER, GROUP, lambda: zoo("--home", root, *line))
    assert isinstance(said, Said)
    return said


def of_object(home: Path) -> Path:
    store = Store.open(home)
    entry = store.read_ref(Reference.parse(NAME))
    assert entry
    return store.path("objects", store.manifest(entry.manifest).tensors[0].object).parent


def of_manifest(home: Path) -> Path:
    entry = Store.open(home).read_ref(Reference.parse(NAME))
    assert entry
    return Store.open(home).path("manifests", entry.manifest).parent


def of_names(home: Path) -> Path:
    return home / "refs/team"


WHICH = [of_object, of_manifest, of_names]


@pytest.mark.parametrize("mode", [0o000, pytest.param(0o444, marks=pytest.mark.long)])
@pytest.mark.parametrize("which", every(3, WHICH, beside=pytest.mark.long))
def test_a_verify_tells_and_goes_on(home: Path, which: Callable[[Path], Path], mode: int) -> None:
    folder = which(home)
    folder.chmod(mode)
    said = command(home, "verify", "--json")
    assert (said.code, "error" in said.err) == (1, False), said
    problems = said.json["damages"]
    assert problems
    for damage in problems:
        assert "cannot be read" in damage["problem"]
        assert str(folder) in damage["problem"]
        assert set(damage["needed_by"]) <= {NAME}
        assert damage["mendable"] is False
    if which is not of_names:
        assert problems[0]["needed_by"] == [NAME]
    if mode == 0o000:
        assert len(problems) == 1
    found = {row["name"] for row in command(home, "search", "--json").json}
    assert found == {NAME, OTHER}


@pytest.mark.long
def test_all_names_cannot_be_listed(home: Path) -> None:
    (home / "refs").chmod(0o000)
    said = command(home, "verify")
    assert "damaged  ref refs: " in said.out
    assert "is gone" not in said.out
    assert "the names in refs are left out" in command(home, "reindex").done().err


def test_a_prune_refuses_where_it_cannot_see_what_is_needed(home: Path) -> None:
    folder = of_object(home)
    folder.chmod(0o000)
    command(home, "prune", "--keep", "0", "--grace", "0", "--yes").refused(str(folder))


@pytest.mark.long
def test_scratch_of_others_that_cannot_be_listed_is_left(home: Path) -> None:
    for name in ("tmp/tmpabcd", "tmp/tmpefgh/inner"):
        (home / name).mkdir(parents=True)
        (home / name).chmod(0o000)
        os.chown(home / name, OWNER, GROUP)
    command(home, "delete", NAME).done()
    said = command(home, "prune", "--keep", "0", "--grace", "0", "--yes").done()
    assert "deleted" in said.out
    command(home, "verify").done()


@pytest.mark.parametrize("mode", [0o700, pytest.param(0o744, marks=pytest.mark.long)])
def test_a_prune_refuses_where_it_cannot_see_who_writes(home: Path, mode: int) -> None:
    command(home, "delete", NAME).done()
    folder = home / "tmp/uploads"
    folder.rmdir()
    folder.mkdir()  # another user's, who may be writing
    (folder / ("0" * 32)).write_bytes(b"")
    folder.chmod(mode)
    command(home, "prune", "--keep", "0", "--grace", "0", "--yes").refused(str(folder))
    command(home, "verify").done()


@pytest.mark.long
def test_the_index_catches_up_with_the_others(home: Path) -> None:
    """Both were moved past it: of the first one, the manifest cannot be read."""

    def moved() -> list[Path]:
        store = Store.open(home)
        made = []
        for seed, name in enumerate(("a/first", "b/second"), 2):
            digest = store_checkpoint(store, tensors(seed))
            append(store, Reference.parse(name), digest, "push")
            made.append(store.path("manifests", digest).parent)
        return made

    first, second = as_user(OWNER, GROUP, moved)
    assert first != second
    first.chmod(0o000)
    said = command(home, "verify")
    assert "the index lacked b/second" in said.err
    assert "a/first (entry 1) is left out" in said.err
    assert "may lack" not in said.err
    found = {row["name"] for row in command(home, "search", "--json").json}
    assert found == {NAME, OTHER, "b/second"}
