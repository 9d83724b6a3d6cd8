"""Whatever one manifest or name holds costs that name alone: it is told, and all else goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, store_checkpoint, tensors
from fakes.moves import append
from fakes.places import Place
from fakes.program import zoo

from zoo.domain.digest import Digest
from zoo.domain.manifest import FLAT
from zoo.domain.reference import Reference
from zoo.store import Store
from zoo.store.folder import FolderBackend
from zoo.store.listing import name_of
from zoo.workspace import Workspace

GOOD, BAD = "team/good", "team/bad"
Change = Callable[[dict[str, Any]], object]
HUGE = 2**70


def head(manifest: dict[str, Any]) -> None:
    manifest["head"]["num_classes"] = HUGE


def metric(manifest: dict[str, Any]) -> None:
    manifest["metrics"]["accuracy"] = 10**400


def size(manifest: dict[str, Any]) -> None:
    manifest["preprocessing"]["input_size"] = [3, HUGE, 224]


def shape(manifest: dict[str, Any]) -> None:
    manifest["weights"][0]["tensors"][0]["shape"] = [2**40] * 9


def share(manifest: dict[str, Any]) -> None:
    manifest["freeze"] = {"frozen_units": 10**400, "trainable_units": 1 - 10**400}


def unknown_field(manifest: dict[str, Any]) -> None:
    manifest |= {"format": FLAT, "new": True}


def next_format(manifest: dict[str, Any]) -> None:
    manifest |= {"format": FLAT + 1, "new": True}


CHANGES = [head, metric, size, shape, share, unknown_field, next_format]


def plant_manifest(store: Store, change: Change) -> Digest:
    """Keep a manifest as somebody else's program wrote it; nothing names it."""
    plain = store_checkpoint(store, tensors(1))
    sound = store.manifest(plain).to_json()
    store.path("manifests", plain).unlink()
    change(sound)
    text = json.dumps(sound, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return store.put("manifests", text.encode())


def entry_of(store: Store, name: str) -> Path:
    return store.root / "refs" / name / "latest" / "00000001.json"


def number(store: Store, number: int = HUGE) -> None:
    path = entry_of(store, BAD)
    raw = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps({**raw, "number": number}))


def another_number(store: Store) -> None:
    number(store, 7)


def folder(store: Store) -> None:
    path = entry_of(store, BAD)
    path.unlink()
    path.mkdir()


def half_character(store: Store) -> None:
    path = entry_of(store, BAD)
    raw = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps({**raw, "at": "\ud800"}))


NAMES = [number, another_number, folder, half_character]


@pytest.fixture(autouse=True)
def no_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reindex lists what libraries publish, too, which takes seconds."""
    monkeypatch.setattr("zoo.exchange.indexing.index_local", lambda *_, **__: None)


QUICK = ("size", "half_character", "shape", "number", "folder", "next_format")


@pytest.fixture(
    params=[
        pytest.param(spoil, marks=() if spoil.__name__ in QUICK else pytest.mark.long)
        for spoil in (*CHANGES, *NAMES)
    ],
    ids=lambda spoil: spoil.__name__,
)
def team(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A team's folder with a sound checkpoint and one bad apple."""
    store = Store.create(tmp_path / "team")
    append(store, Reference.parse(GOOD), store_checkpoint(store), "test")
    if request.param in NAMES:
        append(store, Reference.parse(BAD), store_checkpoint(store, tensors(1)), "test")
        request.param(store)
    else:
        append(store, Reference.parse(BAD), plant_manifest(store, request.param), "test")
    return store


@pytest.fixture
def home(tmp_path: Path, team: Store) -> Path:
    zoo("init", tmp_path / "mine").done()
    zoo("--home", tmp_path / "mine", "remote", "add", "team", team.root).done()
    return tmp_path / "mine"


def names(home: Path) -> set[str]:
    found = zoo("--home", home, "search", "--json").done().json
    return {row["name"] for row in found if row["kind"] != "catalog"}


def test_at_a_remote(team: Store, home: Path) -> None:
    fetched = zoo("--home", home, "fetch", "team").done()
    assert BAD in fetched.err
    assert names(home) == {GOOD}
    zoo("--home", home, "pull", BAD, "--from", "team").refused()
    assert list(Store.open(home).refs()) == []
    assert not list((home / "manifests").rglob("*.json")), "nothing is kept that has no name"
    zoo("--home", home, "pull", GOOD, "--from", "team").done()
    zoo("--home", home, "reindex").done()
    planned = zoo("--home", home, "prune", "team", "--keep", 0, "--grace", 0, "--json").done()
    assert not {item["kind"] for item in planned.json["items"]} & {"manifest", "object"}
    assert zoo("--home", home, "verify", "team").code in (0, 1)


def test_in_the_zoo(team: Store) -> None:
    """As an older program has pulled it: the zoo is the folder itself."""
    first = zoo("--home", team.root, "search").done()
    assert f"{BAD}" in first.err
    assert "left out" in first.err
    assert names(team.root) == {GOOD}
    done = zoo("--home", team.root, "reindex").done()
    assert BAD in done.err
    zoo("--home", team.root, "tag", GOOD, "team/other").done()
    zoo("--home", team.root, "show", GOOD).done()
    zoo("init", team.root).done()
    assert zoo("--home", team.root, "verify").code in (0, 1)
    (team.root / "registry.db").unlink()
    assert names(team.root) == {GOOD, "team/other"}
    zoo("--home", team.root, "delete", GOOD).done()
    assert names(team.root) == {"team/other"}


def test_what_cannot_be_indexed_gets_no_name(tmp_path: Path) -> None:
    home = tmp_path / "mine"
    zoo("init", home).done()
    digest = plant_manifest(Store.open(home), head)
    said = zoo("--home", home, "tag", digest, "team/new")
    said.refused("num_classes", "can be indexed")
    assert list(Store.open(home).refs()) == []
    assert names(home) == set()


def test_an_older_move_is_not_shown_for_a_newest_one_that_is_bad(tmp_path: Path) -> None:
    home = tmp_path / "mine"
    workspace = Workspace.create(home)
    add_checkpoint(workspace, BAD)
    workspace.close()
    append(workspace.store, Reference.parse(BAD), plant_manifest(workspace.store, head), "x")
    zoo("--home", home, "reindex").done()
    assert names(home) == set()


def test_a_bucket(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (GOOD, "team/another", "team/number", "team/format"):
        here = Store.create(tmp_path / "here")
        digest = plant_manifest(here, next_format) if "format" in name else store_checkpoint(here)
        append(here, Reference.parse(name), digest, "x")
    place_all(here, place)
    for name, number in (("another", 7), ("number", HUGE)):
        path = f"refs/team/{name}/latest/00000001.json"
        raw = json.loads(place.read(path))
        place.plant(path, json.dumps({**raw, "number": number}).encode())
    home = tmp_path / "mine"
    zoo("init", home).done()
    zoo("--home", home, "remote", "add", "lab", place.location).done()
    said = zoo("--home", home, "fetch", "lab").done()
    assert "team/number" in said.err
    assert "team/format" in said.err
    assert names(home) == {GOOD}
    planned = zoo("--home", home, "prune", "lab", "--keep", 0, "--grace", 0, "--json").done()
    assert planned.json["items"] == []
    assert "no checkpoint is deleted" in planned.err
    said = zoo("--home", home, "verify", "lab", "--json")
    found = {damage["name"] for damage in said.json["damages"]}
    assert found == {"team/another", "team/number"}
    assert [newer["name"] for newer in said.json["newer"]] == [str(digest)]


def place_all(store: Store, place: Place) -> None:
    """Lay all that a store holds in a place."""
    for path in store.root.rglob("*"):
        name = path.relative_to(store.root).as_posix()
        if path.is_file() and name.startswith(("objects", "manifests", "refs")):
            place.plant(name, path.read_bytes())


def test_a_manifest_of_another_version_keeps_what_it_names(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "team")
    digest = plant_manifest(store, next_format)
    append(store, Reference.parse(BAD), digest, "x")
    stray = store.put("objects", b"nobody's")
    kept = {path.name for path in (store.root / "objects").glob("*/*")} - {stray.hex}
    said = zoo("--home", store.root, "prune", "--keep", 0, "--grace", -0.0, "--yes").done()
    assert f"manifest {digest}" in said.err
    left = {path.name for path in (store.root / "objects").glob("*/*")} - {stray.hex}
    assert left == kept
    assert (store.root / name_of("manifests", digest)).exists()


def test_of_very_many_classes_some_are_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.registry.checkpoints.INDEXED_CLASSES", 2)
    workspace = Workspace.create(tmp_path)
    add_checkpoint(workspace, GOOD, classes=("ash", "elm", "oak"))
    workspace.close()
    found = [zoo("--home", tmp_path, "search", f"classes:{name}").out for name in ("elm", "oak")]
    assert [GOOD in out for out in found] == [True, False]
    assert "oak" in zoo("--home", tmp_path, "show", GOOD, "--json").out


@pytest.mark.long
def test_very_many_classes(tmp_path: Path) -> None:
    team = Store.create(tmp_path / "team")
    classes = tuple(f"the species of number {number}" for number in range(400_000))
    append(team, Reference.parse(GOOD), store_checkpoint(team, classes=classes), "x")
    home = tmp_path / "mine"
    zoo("init", home).done()
    zoo("--home", home, "remote", "add", "team", team.root).done()
    for line in (("fetch", "team"), ("pull", GOOD, "--from", "team"), ("reindex",)):
        began = time.process_time()
        zoo("--home", home, *line).done()
        assert time.process_time() - began < 30, line
    found = zoo("--home", home, "search", 'classes:"the species of number 7"', "--json")
    assert [row["name"] for row in found.json] == [GOOD]
    shutil.rmtree(home)


def test_an_entry_that_is_that_of_another_move(tmp_path: Path) -> None:
    """Nobody could push to that name: so nobody pulls it either, and all are told why."""
    team, home = Store.create(tmp_path / "team"), tmp_path / "mine"
    append(team, Reference.parse(BAD), store_checkpoint(team, tensors(1)), "x")
    another_number(team)
    workspace = Workspace.create(home)
    add_checkpoint(workspace, BAD)
    workspace.close()
    path = entry_of(team, BAD)
    told = f"{path}: not a ref entry: it is called entry 1, and says 7"
    for line in (("pull", BAD, "--from"), ("push", BAD, "--to")):
        zoo("--home", home, *line, team.root).refused(told, f"delete {path}")
    said = zoo("--home", home, "verify", team.root)
    assert (said.code, told in said.out) == (1, True)
    path.unlink()
    zoo("--home", home, "push", BAD, "--to", team.root).done()


@pytest.mark.parametrize("made", [Path.mkdir, os.mkfifo], ids=["a folder", "a pipe"])
def test_an_entry_that_is_no_file_says_what_lies_there(
    tmp_path: Path, made: Callable[[Path], object], request: pytest.FixtureRequest
) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(workspace, BAD)
    workspace.close()
    path = entry_of(workspace.store, BAD)
    path.unlink()
    made(path)
    said = zoo("--home", tmp_path / "zoo", "tag", BAD, "team/x", "--json")
    error = json.loads(said.err)["error"]
    kind = request.node.callspec.id
    assert error["message"] == f"{path} is damaged: expected a file, found {kind}"
    assert (error["code"], f"ls -l {path}" in error["hint"]) == ("not_afile", True)


@pytest.mark.parametrize(("number", "code"), [(errno.EACCES, 0), (errno.EIO, 1)])
def test_what_the_system_says_of_one_file_costs_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """A plugin's backend may pass it on as it is. A disk that fails is another matter."""
    team = Store.create(tmp_path / "team")
    for name in (GOOD, BAD):
        append(team, Reference.parse(name), store_checkpoint(team), "x")
    home = tmp_path / "mine"
    zoo("init", home).done()
    zoo("--home", home, "remote", "add", "team", team.root).done()
    opened = FolderBackend.open

    def fail(backend: FolderBackend, key: str, *more: Any) -> Any:
        if BAD in key:
            raise OSError(number, os.strerror(number), key)
        return opened(backend, key, *more)

    monkeypatch.setattr(FolderBackend, "open", fail)
    fetched = zoo("--home", home, "fetch", "team")
    assert (fetched.code, os.strerror(number) in fetched.err) == (code, True)
    assert names(home) == (set() if code else {GOOD})
