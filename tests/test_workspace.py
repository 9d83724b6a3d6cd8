from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, entry, flip_byte, store_checkpoint, tensors
from fakes.moves import append

from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import (
    Conflict,
    InvalidOption,
    InvalidReference,
    NoZoo,
    Unavailable,
    UnknownName,
)
from zoo.lookup.details import details
from zoo.lookup.identify import identify
from zoo.lookup.lineage import lineage
from zoo.reflog import append_after
from zoo.registry import Query
from zoo.registry.engine import writing
from zoo.registry.tensors import fingerprint
from zoo.store import Store
from zoo.workspace import Workspace

NAME = "team/flowers"
REF = Reference("team", "flowers")


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


class TestFind:
    def test_upward_from_here(self, zoo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        below = zoo.root / "data" / "flowers"
        below.mkdir(parents=True)
        for folder in (zoo.root, below):
            monkeypatch.chdir(folder)
            assert Workspace.find().root == zoo.root.resolve()

    def test_the_nearest_wins(self, zoo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        inner = Workspace.create(zoo.root / "inner")
        monkeypatch.chdir(inner.root)
        assert Workspace.find().root == inner.root.resolve()

    def test_a_zoo_that_lost_its_index_is_found(
        self, zoo: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        zoo.close()
        (zoo.root / "registry.db").unlink()
        monkeypatch.chdir(zoo.root)
        assert Workspace.find().root == zoo.root.resolve()

    def test_the_variable_goes_before_the_folder(
        self, zoo: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = Workspace.create(tmp_path / "other")
        monkeypatch.chdir(zoo.root)
        monkeypatch.setenv("ZOO_HOME", str(other.root))
        assert Workspace.find().root == other.root.resolve()

    def test_the_option_goes_before_the_variable(
        self, zoo: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ZOO_HOME", str(tmp_path / "absent"))
        assert Workspace.find(zoo.root).root == zoo.root.resolve()

    def test_the_variable_may_be_under_home(
        self, isolated: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Workspace.create(isolated / "zoo")
        monkeypatch.setenv("ZOO_HOME", "~/zoo")
        assert Workspace.find().root == (isolated / "zoo").resolve()

    def test_a_named_place_without_a_zoo_is_not_searched_upward(
        self, zoo: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (zoo.root / "below").mkdir()
        with pytest.raises(NoZoo, match="below"):
            Workspace.find(zoo.root / "below")
        monkeypatch.setenv("ZOO_HOME", str(zoo.root / "below"))
        with pytest.raises(NoZoo, match="below"):
            Workspace.find()

    def test_nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(NoZoo) as caught:
            Workspace.find()
        assert caught.value.start == tmp_path.resolve()


def test_create_keeps_a_zoo_that_is_there(zoo: Workspace) -> None:
    digest = add_checkpoint(zoo, NAME)
    again = Workspace.create(zoo.root)
    assert again.names.resolve(NAME) == (REF, digest)
    assert again.registry.refs_of(digest) == [REF]
    again.close()


class TestMove:
    def test_commit_names_and_indexes(self, zoo: Workspace) -> None:
        digest = add_checkpoint(zoo, NAME)
        assert zoo.names.resolve(NAME) == (REF, digest)
        assert zoo.registry.ref(REF) == digest
        (move,) = zoo.store.history(REF)
        assert (move.number, move.previous, move.by, move.why) == (1, None, "tester", "test")

    def test_a_move_follows_the_one_before(self, zoo: Workspace) -> None:
        first, second = add_checkpoint(zoo, NAME), add_checkpoint(zoo, NAME, tensors(1))
        history = zoo.store.history(REF)
        assert [move.manifest for move in history] == [first, second]
        assert history[1].previous == first
        assert zoo.registry.ref(REF) == second

    def test_a_move_to_where_it_is_adds_nothing(self, zoo: Workspace) -> None:
        digest = add_checkpoint(zoo, NAME)
        assert zoo.move(REF, digest, "again") == zoo.store.history(REF)[0]
        assert len(zoo.store.history(REF)) == 1

    def test_a_move_back_is_a_move(self, zoo: Workspace) -> None:
        first, second = add_checkpoint(zoo, NAME), add_checkpoint(zoo, NAME, tensors(1))
        zoo.move(REF, first, "back")
        assert [move.manifest for move in zoo.store.history(REF)] == [first, second, first]
        assert zoo.names.resolve(NAME) == (REF, first)
        assert zoo.registry.ref(REF) == first

    def test_a_tag_moves_alone(self, zoo: Workspace) -> None:
        first = add_checkpoint(zoo, NAME)
        zoo.move(replace(REF, tag="v1"), first, "tag")
        second = add_checkpoint(zoo, NAME, tensors(1))
        assert zoo.names.resolve(f"{NAME}:v1") == (replace(REF, tag="v1"), first)
        assert zoo.names.resolve(NAME) == (REF, second)
        assert zoo.registry.refs_of(first) == [replace(REF, tag="v1")]

    def test_append_after_an_entry_that_is_not_the_newest_is_refused(self, zoo: Workspace) -> None:
        first, second = (store_checkpoint(zoo.store, tensors(seed)) for seed in (0, 1))
        append(zoo.store, REF, first, "test")
        for stale in (None, entry(2, second, first)):
            with pytest.raises(Conflict, match="moved by someone else"):
                append_after(zoo.store, stale, REF, Digest("blake3", "0" * 64), "late")
        assert len(zoo.store.history(REF)) == 1


class TestProtect:
    def test_the_index_knows_of_it(self, zoo: Workspace) -> None:
        """A verify tells by the number of a move whether an older state was put back."""
        digest = add_checkpoint(zoo, NAME)
        zoo.protect(REF, on=True)
        assert zoo.registry.refs() == [(REF, digest, 2)]
        zoo.protect(REF, on=False)
        assert zoo.index.known_entries() == {REF: 3}

    def test_an_index_that_cannot_be_written_does_not_matter(self, zoo: Workspace) -> None:
        add_checkpoint(zoo, NAME)
        zoo.registry.obstacle = Unavailable("registry.db", "it is read-only")
        assert zoo.protect(REF, on=True).protected
        assert zoo.store.history(REF)[-1].protected


def test_what_is_said_of_a_version_is_not_said_of_the_next(zoo: Workspace) -> None:
    add_checkpoint(zoo, NAME)
    assert zoo.deprecate(REF, "wrong labels") == zoo.deprecate(REF, "wrong labels")
    assert zoo.protect(REF, on=True).deprecated == "wrong labels"
    assert zoo.deprecate(REF, "still").protected
    zoo.protect(REF, on=False)
    add_checkpoint(zoo, NAME, tensors(5))
    newest = zoo.store.history(REF)[-1]
    assert (newest.why, newest.deprecated) == ("test", "")


class TestResolve:
    def test_a_digest_has_no_name(self, zoo: Workspace) -> None:
        digest = add_checkpoint(zoo, NAME)
        assert zoo.names.resolve(str(digest)) == (None, digest)

    def test_an_unknown_digest(self, zoo: Workspace) -> None:
        with pytest.raises(UnknownName):
            zoo.names.resolve("blake3:" + "0" * 64)
        with pytest.raises(InvalidReference):
            zoo.names.resolve("blake3:0")

    @pytest.mark.parametrize("name", ["team/flower", "flowers", "team/flowers:v9"])
    def test_an_unknown_name_suggests_names(self, zoo: Workspace, name: str) -> None:
        add_checkpoint(zoo, NAME)
        with pytest.raises(UnknownName) as caught:
            zoo.names.resolve(name)
        assert caught.value.near == (NAME,)

    def test_a_name_that_a_source_lists_says_how_to_pull_it(self, zoo: Workspace) -> None:
        listed = CatalogEntry(name="timm/toynet.a1", backbone="timm", architecture="toynet")
        zoo.registry.replace_entries("timm", "1", [listed], "2026-01-01T00:00:00Z")
        with pytest.raises(UnknownName) as caught:
            zoo.names.resolve("timm/toynet.a1")
        assert caught.value.hint == "zoo pull timm/toynet.a1"

    def test_what_is_like_nothing_is_no_reference(self, zoo: Workspace) -> None:
        with pytest.raises(InvalidReference):
            zoo.names.resolve("zzzz")


class TestRegistryIsDerived:
    @pytest.fixture
    def family(self, zoo: Workspace) -> Workspace:
        """A base, a name that moved between two children of it, and a tag."""
        base = add_checkpoint(zoo, "timm/base")
        parent = Parent(manifest=base, relation="finetune", ref="timm/base")
        for seed, created in ((1, "2026-01-01T00:00:00Z"), (2, "2026-01-02T00:00:00Z")):
            add_checkpoint(
                zoo, NAME, tensors(seed), parents=(parent,), metrics={"accuracy": 0.5},
                classes=("daisy", "rose", "tulip"), created=created,
            )  # fmt: skip
        zoo.move(replace(REF, tag="v1"), zoo.store.history(REF)[0].manifest, "tag")
        return zoo

    def answers(self, zoo: Workspace) -> list[object]:
        names = ["timm/base", NAME, f"{NAME}:v1"]
        queries = [Query(), Query(words=("rose",)), Query(num_classes=3, limit=1)]
        found: list[object] = [zoo.registry.search(query) for query in queries]
        found += [lineage(zoo, name).to_json() for name in names]
        found += [details(zoo, name).to_json() for name in names]
        return [*found, zoo.registry.refs()]

    def test_it_is_the_same_when_rebuilt(self, family: Workspace) -> None:
        before = self.answers(family)
        assert len(lineage(family, "timm/base").to_json()["children"]) == 2
        family.close()
        (family.root / "registry.db").unlink()
        rebuilt = Workspace(family.root)
        assert self.answers(rebuilt) == before
        rebuilt.close()
        assert [path for path in family.store.staging.rglob("*") if path.is_file()] == []

    def test_the_log_of_a_lost_index_is_not_replayed(
        self, family: Workspace, tmp_path: Path
    ) -> None:
        before = self.answers(family)
        family.close()
        other = Workspace.create(tmp_path / "other")
        add_checkpoint(other, "team/other")
        stale = (other.root / "registry.db-wal").read_bytes()
        other.close()
        (family.root / "registry.db").unlink()
        (family.root / "registry.db-wal").write_bytes(stale)
        rebuilt = Workspace(family.root)
        assert self.answers(rebuilt) == before
        rebuilt.close()

    def test_a_rebuild_leaves_out_what_is_damaged(
        self, family: Workspace, caplog: pytest.LogCaptureFixture
    ) -> None:
        base = family.store.path("manifests", family.names.resolve("timm/base")[1])
        sound = base.read_bytes()
        family.close()
        (family.root / "registry.db").unlink()
        flip_byte(base)
        damaged = Workspace(family.root)
        assert damaged.registry.count(Query()) == 2
        assert "timm/base (entry 1) is left out: manifest blake3:" in caplog.text
        base.write_bytes(sound)
        damaged.index.catch_up()
        assert damaged.registry.count(Query()) == 3
        damaged.close()

    def test_what_a_reindex_left_out_is_put_in_when_it_is_whole(self, family: Workspace) -> None:
        base = family.store.path("manifests", family.names.resolve("timm/base")[1])
        sound = base.read_bytes()
        flip_byte(base)
        family.reindex()
        assert family.registry.count(Query()) == 2
        base.write_bytes(sound)
        family.index.catch_up()
        assert family.registry.count(Query()) == 3

    def test_one_that_is_damaged_hides_no_other_from_identify(self, family: Workspace) -> None:
        """Of checkpoints that an older program indexed, keys are made when they are asked for."""
        digests = {move.manifest for move in family.store.history(REF)}
        digests |= {family.names.resolve("timm/base")[1]}
        with writing(family.registry._engine) as connection:
            connection.execute(fingerprint.delete())
        first = min(digests)
        flip_byte(family.store.path("manifests", first))
        assert identify(family, Path(), "", {}).verdict == "unknown"
        assert family.registry.without_keys(digests) == {first}


class TestRemotes:
    def test_a_name_stands_for_a_location(self, zoo: Workspace, tmp_path: Path) -> None:
        zoo.remotes.add("lab", str(tmp_path / "lab"))
        zoo.remotes.add("cloud", "s3://bucket/zoo")
        again = Workspace(zoo.root)
        assert again.remotes.all() == {"lab": str(tmp_path / "lab"), "cloud": "s3://bucket/zoo"}
        assert isinstance(again.remotes.connect("lab", create=True), Store)
        assert (tmp_path / "lab" / "zoo.json").is_file()

    def test_a_relative_folder_is_kept_absolute(
        self, zoo: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        zoo.remotes.add("lab", "lab")
        assert zoo.remotes.all() == {"lab": str(tmp_path.resolve() / "lab")}

    def test_a_taken_name_is_refused(self, zoo: Workspace) -> None:
        zoo.remotes.add("lab", "/a")
        zoo.remotes.add("lab", "/a")
        with pytest.raises(Conflict) as caught:
            zoo.remotes.add("lab", "/b")
        assert caught.value.current == zoo.remotes.all()["lab"]

    def test_a_removed_name_can_be_taken(self, zoo: Workspace) -> None:
        zoo.remotes.add("lab", "s3://a")
        zoo.remotes.add("home", "s3://h")
        zoo.remotes.remove("lab")
        assert zoo.remotes.all() == {"home": "s3://h"}
        zoo.remotes.add("lab", "s3://b")
        assert zoo.remotes.all()["lab"] == "s3://b"

    def test_nothing_is_removed_where_the_index_cannot_be_written(self, zoo: Workspace) -> None:
        zoo.remotes.add("lab", "s3://a")
        zoo.registry.obstacle = Unavailable("registry.db", "it is read-only")
        with pytest.raises(Unavailable, match="read-only"):
            zoo.remotes.remove("lab")
        assert zoo.remotes.all() == {"lab": "s3://a"}

    def test_removing_what_is_not_there_suggests_names(self, zoo: Workspace) -> None:
        zoo.remotes.add("lab", "s3://a")
        with pytest.raises(UnknownName) as caught:
            zoo.remotes.remove("lap")
        assert caught.value.near == ("lab",)

    @pytest.mark.parametrize(
        "location", ["s3://key:secret@bucket/zoo", "https://token@host", "https://a:b@host:80/x"]
    )
    def test_credentials_are_refused(self, zoo: Workspace, location: str) -> None:
        with pytest.raises(InvalidOption, match="credentials"):
            zoo.remotes.add("lab", location)
        assert zoo.remotes.all() == {}

    def test_an_at_sign_in_a_path_is_none(self, zoo: Workspace) -> None:
        zoo.remotes.add("lab", "s3://team/zoo@main")
        assert zoo.remotes.all() == {"lab": "s3://team/zoo@main"}

    @pytest.mark.parametrize("name", ["", "a/b", "a.b", "s3://x", "~", "..", "-x", "a b", "a\n"])
    def test_a_name_that_could_be_a_path_is_refused(self, zoo: Workspace, name: str) -> None:
        with pytest.raises(InvalidOption, match="not a name for a remote"):
            zoo.remotes.add(name, "/a")

    @pytest.mark.parametrize("where", [".", "{root}", "{root}/below/.."])
    def test_a_zoo_is_not_its_own_remote(
        self, zoo: Workspace, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        (zoo.root / "below").mkdir()
        monkeypatch.chdir(zoo.root)
        with pytest.raises(InvalidOption, match="its own remote"):
            zoo.remotes.connect(where.format(root=zoo.root))

    def test_an_unknown_scheme_suggests_plugins(self, zoo: Workspace) -> None:
        with pytest.raises(UnknownName) as caught:
            zoo.remotes.connect("foldr://x")
        assert caught.value.kind == "kind of remote"
        assert "folder" in caught.value.near

    def test_a_remote_that_is_not_there(self, zoo: Workspace, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="does not exist"):
            zoo.remotes.connect(str(tmp_path / "absent"))


def test_scratch_is_on_the_disk_of_the_store_and_goes(zoo: Workspace) -> None:
    with zoo.scratch() as folder:
        (folder / "file").write_text("x")
        assert folder.parent == zoo.store.staging
    assert not folder.exists()


def test_the_first_digits_of_a_digest_will_do(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    digest = add_checkpoint(workspace, "team/flowers")
    for name in (digest.hex[:8], digest.short, f"blake3:{digest.short}", str(digest)):
        assert workspace.names.resolve(name) == (None, digest)
    with pytest.raises(UnknownName):
        workspace.names.resolve("0" * 12)
    workspace.close()


def test_a_published_name_is_given_by_pulling_only(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    entry = CatalogEntry(name="timm/toynet.a1", backbone="timm", architecture="toynet")
    workspace.registry.replace_entries("timm", "1", [entry], "now")
    with pytest.raises(Conflict, match="published"):
        workspace.names.check_free(Reference("timm", "toynet.a1"))
    workspace.names.check_free(Reference("team", "toynet.a1"))
    workspace.close()


def test_a_bare_word_is_no_folder_where_remotes_have_names(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    workspace.remotes.add("team", str(tmp_path / "shared"))
    with pytest.raises(UnknownName) as caught:
        workspace.remotes.connect("teem", create=True)
    assert caught.value.near == ("team",)
    assert "./teem" in str(caught.value.hint)
    workspace.close()


def test_who_comes_at_the_same_moment_comes_after_the_other(zoo: Workspace) -> None:
    """As two runs that end at once, with the same name to save to."""
    ref = Reference.parse("team/net")
    first, mine, theirs = (store_checkpoint(zoo.store, tensors(seed)) for seed in range(3))
    zoo.move(ref, first, "test")
    seen: list[Digest] = []

    def check(newest: RefEntry | None) -> None:
        assert newest
        seen.append(newest.manifest)
        if newest.manifest == first:  # somebody else, between what is read and what is written
            append(zoo.store, ref, theirs, "another")

    zoo.move(ref, mine, "test", check=check)
    assert seen == [first, theirs]
    assert [entry.manifest for entry in zoo.store.history(ref)] == [first, theirs, mine]
