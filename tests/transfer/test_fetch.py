"""What a remote has can be searched without its weights."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, flip_byte, objects_in, stored_snapshot, tensors

from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, Unavailable, UnknownName
from zoo.lookup.details import details
from zoo.lookup.lineage import lineage
from zoo.registry import Query
from zoo.store import Store
from zoo.transfer.fetch import fetch
from zoo.transfer.sync import holder, pull, push
from zoo.workspace import Workspace

BASE, TUNED = "team/base", "team/flowers:v2"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests copy: `mine`, and the folder of `place`."""
    folder = tmp_path_factory.mktemp("fetch")
    workspace = Workspace.create(folder / "mine")
    values = tensors()
    base = add_checkpoint(workspace, BASE, values)
    parent = Parent(manifest=base, relation="finetune", ref=BASE)
    tuned = {**values, "fc.bias": values["fc.bias"] + 1}
    add_checkpoint(
        workspace, TUNED, tuned, parents=(parent,), metrics={"accuracy": 0.9},
        classes=("Daisy", "Rose", "Tulip"),
    )  # fmt: skip
    for name in (BASE, TUNED):
        push(workspace, name, str(folder / "lab"))
    workspace.close()
    return folder


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(made / "mine", tmp_path / "mine"))


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "lab", tmp_path / "lab")


@pytest.fixture
def theirs(tmp_path: Path, place: Path) -> Workspace:
    workspace = Workspace.create(tmp_path / "theirs")
    workspace.remotes.add("lab", str(place))
    return workspace


def found(workspace: Workspace, *words: str, **filters: object) -> dict[str, str]:
    rows = workspace.registry.search(Query(words=words, **filters))  # type: ignore[arg-type]
    return {row.name: row.kind for row in rows}


def test_what_a_remote_has_is_found(theirs: Workspace) -> None:
    assert found(theirs) == {}
    fetched = fetch(theirs, "lab")
    assert {str(ref) for ref in fetched.refs} == {BASE, TUNED}
    assert len(fetched.new) == 2
    assert found(theirs) == {BASE: "remote", TUNED: "remote"}
    assert found(theirs, "flowers") == {TUNED: "remote"}
    assert found(theirs, "daisy") == {TUNED: "remote"}
    assert found(theirs, pulled=True) == {}
    assert theirs.registry.count(Query(pulled=False)) == 2


def test_no_weights_and_no_names_come_along(theirs: Workspace) -> None:
    fetch(theirs, "lab")
    assert objects_in(theirs.store) == objects_in(theirs.store, "manifests") == set()
    assert list(theirs.store.refs()) == []


def test_a_row_tells_what_its_manifest_tells(theirs: Workspace) -> None:
    fetch(theirs, "lab")
    (row,) = theirs.registry.search(Query(words=("flowers",)))
    assert (row.remotes, row.pulled, row.metrics) == (("lab",), False, {"accuracy": 0.9})
    data = details(theirs, TUNED).to_json()
    assert (data["kind"], data["remotes"], data["metrics"]) == ("remote", ["lab"], row.metrics)
    assert "classes" not in data, "the index has them in lower case"
    assert data["num_classes"] == 3
    assert data["parents"][0]["ref"] == BASE
    assert data["pull"] == f"zoo pull {TUNED} --from lab"


def test_what_is_pulled_is_shown_once(theirs: Workspace) -> None:
    fetch(theirs, "lab")
    assert holder(theirs, TUNED) == "lab"
    pull(theirs, TUNED, "lab")
    assert found(theirs) == {BASE: "remote", TUNED: "checkpoint"}
    assert details(theirs, TUNED).to_json()["kind"] == "checkpoint"


def test_another_one_of_the_same_name_is_shown_beside(theirs: Workspace) -> None:
    fetch(theirs, "lab")
    add_checkpoint(theirs, TUNED, tensors(7))
    rows = theirs.registry.search(Query(words=("flowers",)))
    assert sorted(row.kind for row in rows) == ["checkpoint", "remote"]


def test_several_remotes_that_agree_are_one_row(
    theirs: Workspace, mine: Workspace, tmp_path: Path
) -> None:
    push(mine, TUNED, str(tmp_path / "copy"))
    theirs.remotes.add("copy", str(tmp_path / "copy"))
    fetch(theirs, "lab")
    assert fetch(theirs, "copy").new == frozenset()
    (row,) = theirs.registry.search(Query(words=("flowers",)))
    assert row.remotes == ("copy", "lab")
    assert holder(theirs, TUNED) == "copy"


def test_remotes_that_differ_must_be_told_apart(
    theirs: Workspace, mine: Workspace, tmp_path: Path
) -> None:
    add_checkpoint(mine, TUNED, tensors(7))
    push(mine, TUNED, str(tmp_path / "other"))
    theirs.remotes.add("other", str(tmp_path / "other"))
    fetch(theirs, "lab")
    fetch(theirs, "other")
    with pytest.raises(InvalidOption, match="lab, other"):
        holder(theirs, TUNED)


def test_a_fetch_follows_moves_and_deletions(
    theirs: Workspace, mine: Workspace, place: Path
) -> None:
    fetch(theirs, "lab")
    add_checkpoint(mine, BASE, tensors(3))
    push(mine, BASE, str(place))
    shared = Workspace(place)
    shared.delete(Reference.parse(TUNED))
    fetched = fetch(theirs, "lab")
    assert fetched.refs == {Reference.parse(BASE): mine.names.resolve(BASE)[1]}
    assert fetched.new == {mine.names.resolve(BASE)[1]}
    assert found(theirs) == {BASE: "remote"}
    assert details(theirs, BASE).to_json()["manifest"] == str(mine.names.resolve(BASE)[1])


def test_another_file_beside_a_checkpoint_is_no_new_checkpoint(
    theirs: Workspace, mine: Workspace, place: Path
) -> None:
    assert len(fetch(theirs, "lab").new) == 2
    ref, base = mine.names.resolve(BASE)
    assert ref
    mine.move(ref, stored_snapshot(mine.store, {"README.md": b"hello"}, base), "commit")
    push(mine, BASE, str(place))
    found = fetch(theirs, "lab")
    assert (found.refs[ref], found.new) == (base, frozenset())


def test_a_second_fetch_reads_no_manifest(
    theirs: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(theirs, "lab")
    read = Store.read
    kinds: list[str] = []

    def watched(self: Store, kind: str, *rest: object) -> object:
        kinds.append(kind)
        return read(self, kind, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "read", watched)
    assert fetch(theirs, "lab").new == frozenset()
    assert kinds == []


def test_what_is_damaged_there_hides_nothing_else(
    theirs: Workspace, mine: Workspace, place: Path
) -> None:
    flip_byte(Store.open(place).path("encoded-manifests", mine.names.resolve(TUNED)[1]))
    fetched = fetch(theirs, "lab")
    assert list(fetched.damaged) == [Reference.parse(TUNED)]
    assert found(theirs) == {BASE: "remote"}


def test_who_cannot_read_a_manifest_for_its_base_names_the_base(
    theirs: Workspace, mine: Workspace, place: Path
) -> None:
    _, base = mine.names.resolve(BASE)
    flip_byte(Store.open(place).path("manifests", base))
    fetched = fetch(theirs, "lab")
    assert [f"manifest {base} is damaged" in text for text in fetched.damaged.values()] == [
        True
    ] * 2


def test_a_remote_that_is_away_changes_nothing(theirs: Workspace, place: Path) -> None:
    fetch(theirs, "lab")
    place.rename(place.with_name("away"))
    with pytest.raises(Unavailable):
        fetch(theirs, "lab")
    assert found(theirs) == {BASE: "remote", TUNED: "remote"}


def test_a_forgotten_remote_is_found_no_more(theirs: Workspace) -> None:
    fetch(theirs, "lab")
    theirs.remotes.remove("lab")
    assert found(theirs) == {}
    with pytest.raises(UnknownName):
        fetch(theirs, "lab")


def test_lineage_names_what_only_a_remote_has(theirs: Workspace) -> None:
    fetch(theirs, "lab")
    pull(theirs, BASE, "lab")
    (child,) = lineage(theirs, BASE).to_json()["children"]
    assert (child["name"], child["here"]) == (TUNED, False)


def test_a_prune_here_leaves_what_a_remote_has(theirs: Workspace, mine: Workspace) -> None:
    fetch(theirs, "lab")
    theirs.registry.forget([mine.names.resolve(BASE)[1]])
    assert found(theirs) == {BASE: "remote", TUNED: "remote"}


def test_a_name_that_only_a_remote_has_is_hinted_at(theirs: Workspace) -> None:
    fetch(theirs, "lab")
    with pytest.raises(UnknownName) as unknown:
        theirs.names.resolve(TUNED)
    assert unknown.value.hint == f"zoo pull {TUNED}"
    with pytest.raises(UnknownName) as unknown:
        theirs.names.resolve("team/flower:v2")
    assert TUNED in unknown.value.near


def test_a_damaged_name_there_hides_nothing_else(theirs: Workspace, place: Path) -> None:
    path = next((place / "refs" / "team" / "base").rglob("00000001.json"))
    path.chmod(0o644)
    path.write_text("x")
    fetched = fetch(theirs, "lab")
    assert list(fetched.damaged) == [Reference.parse(BASE)]
    assert found(theirs) == {TUNED: "remote"}


def test_what_anybody_lists_hides_no_remote(theirs: Workspace) -> None:
    fetch(theirs, "lab")
    name = TUNED.partition(":")[0]
    listed = CatalogEntry(
        name=name, backbone="timm", architecture="x", location=Location("hub", name)
    )
    theirs.registry.replace_entries("hub", "1", [listed], "2026-01-01")
    assert holder(theirs, TUNED) == "lab"
    theirs.registry.replace_entries("timm", "1", [listed], "2026-01-01")
    assert holder(theirs, TUNED) is None


def test_a_remote_may_be_named_by_its_place_and_what_was_pushed_from_here_is_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        closing(Workspace.create(tmp_path / "mine")) as mine,
        closing(Workspace.create(tmp_path / "other")) as other,
    ):
        add_checkpoint(mine, BASE, tensors(1))
        add_checkpoint(other, TUNED, tensors(2))
        for who, name in ((mine, BASE), (other, TUNED)):
            push(who, name, "./team")
        mine.remotes.add("lab", str(tmp_path / "team"))
        found = fetch(mine, "./team")
        assert (found.remote, set(map(str, found.refs))) == ("lab", {BASE, TUNED})
        assert list(map(str, found.added)) == [TUNED]
        with pytest.raises(Unavailable, match="elsewhere: does not exist"):
            fetch(mine, "./elsewhere")
        with pytest.raises(UnknownName, match="zoo remote add NAME LOCATION"):
            fetch(mine, "elsewhere")
