"""A name that was deleted, or has another one, and is given again: it has nothing of what was
there before, and is shown to nobody at large. A repository that moves back is what it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint
from fakes.served import Got, Served, serving
from numpy.typing import NDArray

from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, UnknownName
from zoo.logins import ServerUrl, keep_token
from zoo.serve.keep.moving import move_names
from zoo.serve.who.accounts import Accounts
from zoo.store import Store
from zoo.store.refs import entry_name
from zoo.transfer import names
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace
from zoo_http.backend import HttpBackend

OLD, NEW = "lab/plan", "ann/plan"


class Team:
    """A server at which everybody may read ``lab/plan``, which ann has pushed, and bob may write
    to ``lab``; and the zoo that they push from.
    """

    def __init__(self, served: Served, mine: Workspace) -> None:
        self.served, self.mine, self.tokens = served, mine, dict[str, str]()
        accounts = served.accounts
        for name in ("ann", "bob"):
            self.tokens[name] = served.token(name, "write")
        accounts.add("lab", team=True)
        accounts.grant("lab", "ann", "owner")
        accounts.set_level("ann", level="private")
        add_checkpoint(mine, OLD, {"w": numbers(1)})
        add_checkpoint(mine, "bob/mine", {"w": numbers(2)})
        self.push("ann", OLD)
        accounts.grant("lab", "bob", "writer")
        accounts.set_level(OLD, level="public")
        self.commit = self.api("ann", OLD).json["sha"]

    def push(self, who: str, name: str, to: str = "") -> None:
        keep_token(ServerUrl.parse(self.served.url), self.tokens[who])
        push(self.mine, name, self.served.url, save=to or None, force=True)

    def api(self, who: str, path: str, method: str = "GET", **said: object) -> Got:
        body = json.dumps(said).encode() if said else b""
        path = path if path.startswith("/") else f"/api/models/{path}"
        return self.served.ask(path, method, token=self.tokens.get(who), body=body)

    def move(self, who: str, old: str, new: str) -> Got:
        return self.api(who, "/api/repos/move", "POST", fromRepo=old, toRepo=new, type="model")

    def log(self, who: str, ref: Reference) -> tuple[RefEntry, ...]:
        """The log of a name as their zoo reads it."""
        keep_token(ServerUrl.parse(self.served.url), self.tokens[who])
        return Store(HttpBackend.connect(self.served.url, create=False)).history(ref)

    def weights(self, who: str, repo: str) -> int:
        """The status of what the name had first."""
        path = f"/{repo}/resolve/{self.commit}/model.safetensors"
        return self.served.ask(path, "HEAD", token=self.tokens.get(who)).status

    def commits(self, who: str, repo: str, revision: str = "main") -> list[str]:
        return [each["id"] for each in self.api(who, f"{repo}/commits/{revision}").json]


def numbers(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(9).astype(np.float32)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    Workspace.create(tmp_path / "served").close()
    with (
        serving(tmp_path / "served") as served,
        closing(Workspace.create(tmp_path / "mine")) as mine,
    ):
        yield Team(served, mine)


def deleted(team: Team) -> None:
    assert (
        team.api("ann", "/api/repos/delete", "DELETE", name="plan", organization="lab").status
        == 200
    )


def moved(team: Team) -> None:
    """It is hidden at its new name."""
    assert team.move("ann", OLD, NEW).status == 200
    team.served.accounts.set_level(NEW, level="private")


def moved_beside(team: Team) -> None:
    with closing(Workspace(team.served.root)) as beside:
        names.rename(beside, Reference.parse(OLD), Reference.parse(NEW))
    team.served.accounts.set_level(NEW, level="private")


@pytest.mark.parametrize("leave", [deleted, moved, moved_beside])
def test_it_has_nothing_of_what_was_there(team: Team, leave: Callable[[Team], None]) -> None:
    assert team.weights("bob", OLD) == team.weights("", OLD) == 200
    leave(team)
    assert 200 not in {team.weights(who, OLD) for who in ("bob", "")}
    team.push("bob", "bob/mine", OLD)
    assert len(team.commits("bob", OLD)) == 1
    assert team.commit not in team.commits("bob", OLD)
    assert {team.weights(who, OLD) for who in ("ann", "bob")} == {404}
    assert team.api("", OLD).status == 401, "it is shown to nobody at large"
    if leave is moved:
        assert team.weights("bob", NEW) == 404
        assert (team.weights("ann", NEW), team.commits("ann", NEW)[-1]) == (200, team.commit)


def test_nor_is_its_log_told(team: Team) -> None:
    """Whose it was, and what they said of it."""
    ref = Reference.parse(OLD)
    store = team.served.server.hub.workspace.store
    assert [each.by for each in team.log("bob", ref)] == ["ann"]
    deleted(team)
    assert [each.deleted for each in team.log("bob", ref)] == [False, True], "he may restore it"
    team.push("bob", "bob/mine", OLD)
    assert [each.by for each in team.log("bob", ref)] == ["bob"]
    first = f"/zoo/v1/store/{entry_name(ref, 1)}"
    assert team.api("bob", first).status == 404
    team.tokens["admin"] = team.served.token("admin", "write")
    assert team.api("admin", first).status == 200
    assert team.log("admin", ref) == store.history(ref)
    team.push("bob", "bob/mine", OLD)
    assert len(team.log("bob", ref)) == 1


def test_a_long_log_is_told_by_one_look_at_it(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        team.push("bob", "bob/mine", OLD)
        team.push("bob", OLD)
    history, asked = team.served.server.hub.history, list[Reference]()
    first_number = history.first_number

    def counted(ref: Reference) -> int:
        asked.append(ref)
        return first_number(ref)

    monkeypatch.setattr(history, "first_number", counted)
    listed = team.api("bob", f"/zoo/v1/list/refs/{OLD}/").json["stored"]
    assert (len(listed), len(asked)) == (7, 1)
    keys = [key for key, *_ in listed]
    assert len(team.api("bob", "/zoo/v1/stat", "POST", keys=keys).json["stored"]) == 7
    assert len(asked) == 2


def test_what_is_restored_is_what_it_was(team: Team) -> None:
    before = team.commits("", OLD)
    deleted(team)
    keep_token(ServerUrl.parse(team.served.url), team.tokens["ann"])
    names.restore(team.mine, Reference.parse(OLD), team.served.url)
    assert (team.commits("", OLD), team.weights("", OLD)) == (before, 200)


def test_a_name_that_has_another_one_is_not_restored(team: Team) -> None:
    moved(team)
    said = {"ann": f"{OLD} is called {NEW} now", "bob": f"{OLD} was given another name"}
    for who, text in said.items():
        keep_token(ServerUrl.parse(team.served.url), team.tokens[who])
        with pytest.raises(Conflict, match=text) as raised:
            names.restore(team.mine, Reference.parse(OLD), team.served.url)
        assert (NEW in str(raised.value)) is (who == "ann")
    assert team.weights("bob", OLD) == 404


def test_who_pulls_the_old_name_is_told_the_new_one(team: Team) -> None:
    moved_beside(team)
    team.served.accounts.set_level("ann", level="internal")
    keep_token(ServerUrl.parse(team.served.url), team.tokens["bob"])
    with pytest.raises(UnknownName) as raised:
        pull(team.mine, OLD, team.served.url)
    assert f"zoo pull {NEW}" in raised.value.advice


def test_it_does_not_overwrite_what_it_was_moved_to(team: Team) -> None:
    """As if the move had been cut off, and were asked for again."""
    moved(team)
    team.push("ann", "bob/mine", OLD)
    assert team.move("ann", OLD, NEW).code == "Conflict"
    assert (team.weights("ann", NEW), len(team.commits("ann", NEW))) == (200, 1)


def test_nor_does_a_name_that_is_given_anew_beside_the_server(team: Team) -> None:
    moved(team)
    with closing(Workspace(team.served.root)) as beside:
        add_checkpoint(beside, OLD, {"w": numbers(3)})
    assert team.move("ann", OLD, NEW).code == "Conflict"
    with closing(Workspace(team.served.root)) as beside:
        beside.delete(Reference.parse(OLD))
        beside.restore(Reference.parse(OLD))
    assert team.move("ann", OLD, NEW).code == "Conflict"
    assert len(team.commits("ann", NEW)) == 1


def test_nor_does_it_bring_back_what_has_gone_on_to_a_third_name(team: Team) -> None:
    """Its log at the second name would show that again, until the rest is there."""
    moved(team)
    assert team.move("ann", NEW, "ann/third").status == 200
    team.push("ann", "bob/mine", OLD)
    assert team.move("ann", OLD, NEW).code == "Conflict"
    log = team.served.server.hub.workspace.store.history(Reference.parse(NEW))
    assert [each.deleted for each in log] == [False, True]
    assert team.commits("ann", "ann/third") == [team.commit]


def test_its_downloads_are_its_own(team: Team) -> None:
    moved(team)
    team.push("bob", "bob/mine", OLD)
    sha = team.api("bob", OLD).json["sha"]
    accounts: Accounts = team.served.accounts
    accounts.downloads.settle()
    for _ in range(3):
        team.served.ask(f"/{OLD}/resolve/{sha}/model.safetensors", "HEAD", token=team.tokens["bob"])
    accounts.downloads.settle()
    accounts.downloads._known = (-1e9, {})
    assert [accounts.downloads.of(repo).all for repo in (OLD, NEW)] == [3, 0]


def test_what_is_deprecated_is_so_by_its_new_name(team: Team) -> None:
    ref, new = Reference.parse(OLD), Reference.parse("lab/other")
    team.mine.deprecate(ref, "wrong labels")
    names.rename(team.mine, ref, new)
    entry = team.mine.store.read_ref(new)
    assert entry
    assert entry.deprecated == "wrong labels"


def grown(team: Team) -> dict[str, list[str]]:
    """Commits of each branch, after another commit, a branch from it, and one more."""
    for seed, branch in ((4, ""), (5, "side"), (6, "")):
        add_checkpoint(team.mine, "bob/mine", {"w": numbers(seed)})
        if branch:
            assert team.api("ann", f"{NEW}/branch/{branch}", "POST").status == 200
        team.push("ann", "bob/mine", f"{NEW}:{branch}" if branch else NEW)
    return {name: team.commits("ann", NEW, name) for name in ("main", "side")}


def test_a_repository_that_moves_back_is_what_it_was(team: Team) -> None:
    moved(team)
    before = grown(team)
    assert [len(each) for each in before.values()] == [3, 3]
    here, there = NEW, OLD
    for _ in range(4):
        assert team.move("ann", here, there).status == 200
        assert {name: team.commits("ann", there, name) for name in before} == before
        assert team.api("ann", here).status == 307
        assert team.weights("ann", there) == 200
        here, there = there, here


def test_what_is_protected_is_so_after_it_moved_back(team: Team) -> None:
    """Tags, too, of which branches would be."""
    assert team.api("ann", f"{OLD}/tag/main", "POST", tag="v1").status == 200
    refs = team.api("ann", f"{OLD}/refs").json
    assert [each["name"] for each in refs["tags"]] == ["v1"]
    assert team.move("ann", OLD, NEW).status == team.move("ann", NEW, OLD).status == 200
    assert team.api("ann", f"{OLD}/refs").json == refs
    assert team.move("ann", OLD, NEW).status == 200
    tag = team.served.server.hub.workspace.store.read_ref(Reference.parse(f"{NEW}:v1"))
    assert tag
    assert tag.protected
    with closing(Workspace(team.served.root)) as beside:
        beside.protect(Reference.parse(f"{NEW}:v1"), on=False)
    assert team.move("ann", NEW, OLD).status == 200
    assert not team.api("ann", f"{OLD}/refs").json["tags"]


def test_a_branch_that_was_made_often_has_no_log_read_as_often(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("POST", "DELETE") * 6 + ("POST",):
        assert team.api("ann", f"{OLD}/branch/side", method).status == 200
    store = team.served.server.hub.workspace.store
    history, read = store.history, list[Reference]()

    def counted(ref: Reference) -> tuple[RefEntry, ...]:
        read.append(ref)
        return history(ref)

    monkeypatch.setattr(store, "history", counted)
    move_names(team.served.server.hub.workspace, OLD, NEW)
    assert read.count(Reference.parse(OLD)) == 2
    assert len(history(Reference.parse(f"{NEW}:side"))) == 13


@pytest.mark.long
@pytest.mark.parametrize("at", range(8))
def test_a_move_back_that_was_cut_off_is_done_again(
    team: Team, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(team)
    before = grown(team)
    store = team.served.server.hub.workspace.store
    append, done = store.append_ref, list[Reference]()

    def stopped(ref: Reference, entry: RefEntry) -> None:
        if len(done) == at:
            raise RuntimeError
        done.append(ref)
        append(ref, entry)

    with monkeypatch.context() as patch:
        patch.setattr(store, "append_ref", stopped)
        cut = team.move("ann", NEW, OLD)
    assert cut.code in ("", "Failed")
    assert team.move("ann", NEW, OLD).status == (200 if cut.code else 404)
    assert {name: team.commits("ann", OLD, name) for name in before} == before
    assert team.move("ann", OLD, NEW).status == 200
    assert {name: team.commits("ann", NEW, name) for name in before} == before
