"""What zoo's own client sends to a server and gets from it: push, pull and fetch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, objects_in, tensors
from fakes.served import Served, serving

from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import Forbidden, InvalidOption, UnknownName, WouldReplace
from zoo.logins import ServerUrl, keep_token
from zoo.transfer.fetch import fetch
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of an empty zoo."""
    root = tmp_path_factory.mktemp("team") / "zoo"
    Workspace.create(root).close()
    with serving(root) as served:
        yield served


@pytest.fixture
def zoos(tmp_path: Path) -> Iterator[list[Workspace]]:
    """Those of two people."""
    made = [Workspace.create(tmp_path / name) for name in ("mine", "theirs")]
    yield made
    for each in made:
        each.close()


def login(served: Served, who: str, purpose: str = "write", *, only: tuple[str, ...] = ()) -> None:
    """Be somebody from now on."""
    token = served.token(who, purpose, only=only)
    keep_token(ServerUrl.parse(served.url), token)


def parent(digest: Digest, name: str) -> tuple[Parent, ...]:
    return (Parent(manifest=digest, relation="finetune", ref=name),)


def test_what_one_pushes_another_pulls(team: Served, zoos: list[Workspace]) -> None:
    mine, theirs = zoos
    login(team, "ann")
    base = add_checkpoint(mine, "ann/base")
    push(mine, "ann/base", team.url)
    values = {**tensors(), "fc.weight": tensors(1)["fc.weight"]}
    tuned = add_checkpoint(mine, "ann/tuned", values, parents=parent(base, "ann/base"))
    _, copied = push(mine, "ann/tuned", team.url, note="better")
    assert copied.shared_objects == 5
    login(team, "ben", "read")
    ref, got = pull(theirs, "ann/tuned", team.url)
    assert got.manifest == tuned
    assert_sound(theirs.store)
    with closing(Workspace(team.root)) as there:
        assert_sound(there.store)
        assert not objects_in(there.store, "encoded")
        entry = there.store.read_ref(ref)
        assert entry
        assert (entry.by, entry.note, entry.why) == ("ann", "better", "push")
        assert there.names.resolve("ann/tuned")[1] == tuned
    theirs.remotes.add("team", team.url)
    fetched = fetch(theirs, "team")
    assert {str(ref): digest for ref, digest in fetched.refs.items()} == {
        "ann/base": base, "ann/tuned": tuned,
    }  # fmt: skip
