"""What zoo's own client sends to a server and gets from it: push, pull, fetch and clone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from math import inf
from pathlib import Path

import pytest
from blake3 import blake3
from fakes.checkpoints import Tensors, add_checkpoint, assert_sound, objects_in, tensors
from fakes.served import Served, serving

import zoo
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import (
    Conflict,
    Forbidden,
    Unavailable,
    UnknownName,
    Unsupported,
    WouldReplace,
)
from zoo.exchange import sharing
from zoo.logins import ServerUrl, forget_token, keep_token
from zoo.reflog import append_after
from zoo.serve.hub import reach
from zoo.store import Store
from zoo.store.listing import name_of
from zoo.transfer import names, sync
from zoo.transfer.copy import Copied
from zoo.transfer.fetch import fetch
from zoo.transfer.sync import pull, push, push_all_tags
from zoo.workspace import Workspace
from zoo_http.backend import HttpBackend
from zoo_http.session import Session


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a zoo; nobody waits in it."""
    root = tmp_path_factory.mktemp("team") / "zoo"
    Workspace.create(root).close()
    with serving(root) as served, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "PAUSE_SECONDS", 0.0)
        patch.setattr(reach, "SHARE", 0)
        yield served


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_http.session.time.sleep", lambda _: None)
    monkeypatch.setattr("zoo.store.retry.FIRST_PAUSE", 0.0)


@pytest.fixture
def zoos(tmp_path: Path) -> Iterator[tuple[Workspace, Workspace]]:
    """Those of two people."""
    mine, theirs = (Workspace.create(tmp_path / name) for name in ("mine", "theirs"))
    yield mine, theirs
    for each in (mine, theirs):
        each.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that are sent."""
    sent: list[str] = []
    before = Session.open

    def noted(self: Session, method: str, path: str, **known: object) -> object:
        sent.append(f"{method} {path}")
        return before(self, method, path, **known)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "open", noted)
    return sent


def login(served: Served, who: str, purpose: str = "write", *, only: tuple[str, ...] = ()) -> None:
    """Be somebody from now on."""
    keep_token(ServerUrl.parse(served.url), served.token(who, purpose, only=only))


def of(digest: Digest, name: str) -> tuple[Parent, ...]:
    return (Parent(manifest=digest, relation="finetune", ref=name),)


def head(seed: int) -> Tensors:
    """The same backbone with another head."""
    new = tensors(seed)
    return {**tensors(), "fc.weight": new["fc.weight"], "fc.bias": new["fc.bias"]}


def entries(served: Served, name: str) -> tuple[RefEntry, ...]:
    return Store.open(served.root).history(Reference.parse(name))


def test_what_one_pushes_another_pulls(
    team: Served, zoos: tuple[Workspace, Workspace], asked: list[str], tmp_path: Path
) -> None:
    mine, theirs = zoos
    login(team, "ann")
    base = add_checkpoint(mine, "ann/base")
    push(mine, "ann/base", team.url)
    tuned = add_checkpoint(mine, "ann/tuned", head(1), parents=of(base, "ann/base"))
    asked.clear()
    _, copied = push(mine, "ann/tuned", team.url, note="better")
    assert len(asked) == 8, asked
    (tmp_path / "folder").mkdir()
    push(mine, "ann/base", str(tmp_path / "folder"))
    _, beside = push(mine, "ann/tuned", str(tmp_path / "folder"))
    assert copied.sent_bytes <= 1.02 * beside.sent_bytes
    assert (copied.shared_objects, copied.sent_objects) == (4, 2)
    login(team, "ben", "read")
    ref, got = pull(theirs, "ann/tuned", team.url)
    assert got.manifest == tuned
    assert_sound(theirs.store)
    with closing(Workspace(team.root)) as there:
        assert_sound(there.store)
        assert not objects_in(there.store, "encoded")
        (entry,) = there.store.history(ref)
        assert (entry.by, entry.note, entry.why) == ("ann", "better", "push")
        assert there.names.resolve("ann/tuned")[1] == tuned, "and it is indexed"
    with zoo.clone(team.url, tmp_path / "clone") as cloned:
        asked.clear()
        cloned.fetch("origin")
        assert asked.count("GET /refs") == 1
        assert not any("/list/" in each for each in asked)
        refs = cloned.workspace.registry.remote_refs("origin")
        assert {str(ref): each.manifest for ref, each in refs.items()} == {
            "ann/base": base,
            "ann/tuned": tuned,
        }


def test_a_parent_that_may_not_be_read_is_as_if_it_were_not_there(
    team: Served, zoos: tuple[Workspace, Workspace], asked: list[str]
) -> None:
    """All is sent, nothing is learned, and what was sent is there for nobody else until it has a
    name. Of a parent that may be read, the difference is sent.
    """
    mine, _ = zoos
    login(team, "ann")
    base = add_checkpoint(mine, "hidden/base", tensors(7))
    team.accounts.set_level("hidden", level="private")
    team.accounts.grant("hidden", "ann", "owner")
    push(mine, "hidden/base", team.url)
    changed = {**tensors(7), "layer1.0.conv.weight": tensors(7)["layer1.0.conv.weight"] * 1.001}
    tuned = add_checkpoint(mine, "ben/tuned", changed, parents=of(base, "hidden/base"))
    document = mine.store.document(tuned)
    headers = {file.header for file in document.weights}  # which others have, too
    items = [item for item, _ in document.objects() if item not in headers]
    keys = [name_of("objects", item) for item in items]

    def pushed(who: str) -> Copied:
        login(team, who)
        return push(mine, "ben/tuned", team.url, force=True)[1]

    login(team, "ben")
    ben = HttpBackend.connect(team.url, create=True)
    assert not ben.present([*keys, name_of("manifests", base)])
    whole = pushed("ben")
    assert whole.sent == {*items} | (whole.sent & headers)
    assert {*ben.present(keys)} == {*keys}
    team.accounts.set_level("ben/tuned", level="private")
    team.accounts.grant("ben/tuned", "ann", "writer")
    stranger = HttpBackend(Session(ServerUrl.parse(team.url), team.token("cat", "write")))
    assert not stranger.present(keys)
    again = add_checkpoint(
        mine,
        "ben/tuned",
        {**changed, "fc.bias": tensors(8)["fc.bias"]},
        parents=of(base, "hidden/base"),
    )
    assert again
    part = pushed("ann")
    assert (part.shared_objects, part.sent_objects) == (len(keys), 1)
    assert entries(team, "ben/tuned")[-1].by == "ann"


def test_what_was_sent_is_there_for_who_sent_it(
    team: Served, zoos: tuple[Workspace, Workspace]
) -> None:
    """For a day, and for tokens that are for the same names."""
    login(team, "ann")
    store = Store(HttpBackend.connect(team.url, create=True))
    digest = store.put("objects", b"sent by ann")
    assert not store.missing("objects", [digest])
    for who, only in (("ann", ("ann/x",)), ("ben", ())):
        login(team, who, only=only)
        other = Store(HttpBackend.connect(team.url, create=True))
        assert other.missing("objects", [digest])
    login(team, "dan", "read")
    with pytest.raises(Forbidden, match="read only"):
        Store(HttpBackend.connect(team.url, create=True)).put("objects", b"x")
    forget_token(ServerUrl.parse(team.url))
    with pytest.raises(Forbidden, match="a token is needed"):
        Store(HttpBackend.connect(team.url, create=True)).put("objects", b"x")


def test_names_move_as_roles_and_tokens_allow(
    team: Served, zoos: tuple[Workspace, Workspace]
) -> None:
    mine, _ = zoos
    login(team, "ann", "append")
    first = add_checkpoint(mine, "lab/net", tensors(1))
    with pytest.raises(Forbidden, match="role of writer in lab/net") as refused:
        sharing.push(mine, "lab/net", team.url)
    assert refused.value.advice == "send it under a name that you may move: push --as NAME"
    login(team, "ann", "read")
    with pytest.raises(Forbidden, match=r"role of writer .*; and this token is to read only"):
        push(mine, "lab/net", team.url)
    login(team, "ann", "append")
    team.accounts.grant("lab", "ann", "writer")
    push(mine, "lab/net", team.url)
    second = add_checkpoint(mine, "lab/net", tensors(2), parents=of(first, "lab/net"))
    push(mine, "lab/net", team.url)  # onward
    mine.move(Reference.parse("lab/net"), first, "back")
    with pytest.raises(Forbidden, match="append only"):
        push(mine, "lab/net", team.url)
    login(team, "ann")
    push(mine, "lab/net", team.url)
    assert [each.manifest for each in entries(team, "lab/net")] == [first, second, first]
    team.accounts.protect("lab/net", on=True)
    mine.move(Reference.parse("lab/net"), second, "on")
    with pytest.raises(Forbidden, match="lab/net is protected"):
        push(mine, "lab/net", team.url)
    team.accounts.grant("lab", "ann", "maintainer")
    push(mine, "lab/net", team.url)


def test_who_may_not_push_is_told_that_before_what_is_there(
    team: Served, zoos: tuple[Workspace, Workspace]
) -> None:
    """To force it would not help them."""
    mine, theirs = zoos
    login(team, "fay")
    add_checkpoint(mine, "fay/net", tensors(21))
    push(mine, "fay/net", team.url)
    add_checkpoint(theirs, "fay/net", tensors(22))
    login(team, "ben")
    with pytest.raises(Forbidden, match="role of writer in fay/net"):
        push(theirs, "fay/net", team.url)
    with pytest.raises(Forbidden, match="role of writer in fay/net"):
        next(push_all_tags(theirs, "fay/net", team.url))
    team.accounts.grant("fay/net", "ben", "writer")
    with pytest.raises(WouldReplace):
        push(theirs, "fay/net", team.url)


def test_a_new_name_can_be_told_from_others(
    team: Served, zoos: tuple[Workspace, Workspace]
) -> None:
    """Also from those of empty repositories; what they are called is not said."""
    mine, _ = zoos
    login(team, "cas")
    for name in ("cas/Empty", "cas/Full"):
        add_checkpoint(mine, name.lower(), tensors(11))
    team.accounts.repos.add("cas/Empty")
    with closing(Workspace(team.root)) as there:
        add_checkpoint(there, "cas/Full", tensors(11))
    for name in ("cas/empty", "cas/full"):
        with pytest.raises(Unsupported, match="cannot be a new name here") as caught:
            push(mine, name, team.url)
        assert "Empty" not in str(caught.value)


def test_a_full_namespace_takes_no_push(team: Served, zoos: tuple[Workspace, Workspace]) -> None:
    mine, _ = zoos
    login(team, "ann")
    add_checkpoint(mine, "ann/large", tensors(7))
    team.accounts.quotas.set("ann", 100)
    with pytest.raises(Forbidden, match="ann may hold 100 bytes") as told:
        sharing.push(mine, "ann/large", team.url)
    assert "zoo serve quota" in told.value.advice
    assert "--as" not in told.value.advice  # another name is in the same namespace
    assert not entries(team, "ann/large")
    team.accounts.quotas.set("ann", None)
    push(mine, "ann/large", team.url)


def test_what_may_not_be_pushed_is_not_sent(
    team: Served, zoos: tuple[Workspace, Workspace], asked: list[str]
) -> None:
    """Neither whether the name is there nor what it has is learned."""
    mine, _ = zoos
    team.accounts.set_level("closed", level="private")
    login(team, "ann")
    said = set()
    for name in ("closed/net", "other/net"):
        add_checkpoint(mine, name, tensors(3))
        asked.clear()
        with pytest.raises(Forbidden) as refused:
            push(mine, name, team.url)
        assert not any(each.startswith("PUT") for each in asked), asked
        said.add(str(refused.value).replace(name, "NAME"))
    assert said == {f"{team.url}: that needs the role of writer in NAME, which an admin can give: "
                    "zoo serve role NAME ann writer"}  # fmt: skip
    login(team, "ann", "read")
    add_checkpoint(mine, "ann/own", tensors(3))
    with pytest.raises(Forbidden, match="this token is to read only") as told:
        push(mine, "ann/own", team.url)
    assert "zoo login" in told.value.advice
    team.accounts.grant("other", "ann", "writer")
    login(team, "ann")
    push(mine, "other/net", team.url)


def test_nobody_learns_that_a_name_is_protected_which_they_may_not_read(team: Served) -> None:
    with closing(Workspace(team.root)) as workspace:
        add_checkpoint(workspace, "sealed/net:v1", tensors(3))
        workspace.protect(Reference.parse("sealed/net:v1"), on=True)
    team.accounts.set_level("sealed", level="private")
    token, told = team.token("ann", "write"), set[bytes]()
    for name in ("sealed/net:v1", "sealed/net:v2", "sealed/nix:v1"):
        body = json.dumps({"keys": [], "to": name}).encode()
        got = team.ask("/zoo/v1/stat", "POST", token=token, body=body)
        assert got.code == "Forbidden"
        told.add(got.body.replace(name.partition(":")[0].encode(), b"NAME"))
    assert len(told) == 1, told


def test_names_are_deleted_protected_and_restored(
    team: Served, zoos: tuple[Workspace, Workspace]
) -> None:
    mine, theirs = zoos
    login(team, "ann")
    digest = add_checkpoint(mine, "ann/gone", tensors(4))
    push(mine, "ann/gone", team.url)
    login(team, "ann", "append")
    end = partial(names.deprecate, text="use ann/net")
    for work in (partial(names.protect, on=True), names.delete, end):
        with pytest.raises(Forbidden, match="append only"):
            work(mine, Reference.parse("ann/gone"), team.url)
    login(team, "ann")
    ref = Reference.parse("ann/gone")
    names.protect(mine, ref, team.url, on=True)
    end(mine, ref, team.url)
    assert pull(theirs, "ann/gone", team.url)[1].deprecated == "use ann/net"
    with pytest.raises(Conflict, match="protected"):
        names.delete(mine, ref, team.url)
    names.deprecate(mine, ref, team.url, "")
    names.protect(mine, ref, team.url, on=False)
    names.delete(mine, ref, team.url)
    key = name_of("manifests", digest)
    login(team, "ben", "read")
    assert HttpBackend.connect(team.url, create=True).stat(key) is None
    with pytest.raises(UnknownName):
        pull(theirs, "ann/gone", team.url)
    login(team, "ann")
    names.restore(mine, ref, team.url)
    login(team, "ben", "read")
    pull(theirs, "ann/gone", team.url)
    told = team.accounts.audit.rows(name="ann/gone", limit=99)
    assert [each.action for each in told if each.action != "refused"] == [
        "name made",
        "name protected",
        "name deprecated",
        "name undeprecated",
        "name unprotected",
        "name deleted",
        "name restored",
    ]
    assert {each.who for each in told} == {"ann"}
    assert [each.why for each in entries(team, "ann/gone")] == [
        "push",
        "protect",
        "deprecate",
        "undeprecate",
        "unprotect",
        "delete",
        "restore",
    ]
    with pytest.raises(Forbidden):
        names.delete(theirs, ref, team.url)


def test_what_moves_beside_the_server_is_seen(
    team: Served, zoos: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = zoos
    login(team, "ben", "read")
    with closing(Workspace(team.root)) as there:
        digests = [add_checkpoint(there, "team/beside", tensors(seed)) for seed in (15, 5)]
        theirs.remotes.add("lab", team.url)
        with monkeypatch.context() as patch:  # also where all names were looked at just now
            patch.setattr(team.server.hub.reach, "_rested", inf)
            assert not fetch(theirs, "lab").damaged
        pull(theirs, "team/beside", team.url)
        backend = HttpBackend.connect(team.url, create=True)
        keys = {name_of("manifests", digest) for digest in digests}
        assert backend.present(keys).keys() == keys
        there.delete(Reference.parse("team/beside"))
        assert not backend.present(keys)
        there.restore(Reference.parse("team/beside"))
        assert backend.present(keys).keys() == keys, "with all that it had"
    # Into the zoo's folder a push sends differences.
    base = add_checkpoint(mine, "x/base", tensors(6))
    scaled = {**tensors(6), "layer1.0.conv.weight": tensors(6)["layer1.0.conv.weight"] * 1.001}
    add_checkpoint(mine, "x/pushed", scaled, parents=of(base, "x/base"))
    for name in ("x/base", "x/pushed"):
        push(mine, name, str(team.root))
    assert objects_in(Store.open(team.root), "encoded")
    pull(theirs, "x/pushed", team.url)
    assert_sound(theirs.store)
    # What is there as a difference is a base for others: nobody was told how it lies.
    login(team, "ben")
    first = mine.names.target("x/pushed")[1]
    more = {**scaled, "layer1.0.conv.weight": scaled["layer1.0.conv.weight"] * 1.001}
    add_checkpoint(mine, "ben/more", more, parents=of(first, "x/pushed"))
    push(mine, "ben/more", team.url)
    login(team, "ann", "read")
    pull(theirs, "ben/more", team.url)
    assert_sound(theirs.store)


def test_a_lost_answer_is_no_conflict(
    team: Served, zoos: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = zoos
    login(team, "ann")
    add_checkpoint(mine, "ann/lost", tensors(9))
    before, lost = Session.open, []

    def losing(self: Session, method: str, path: str, **known: object) -> object:
        answer = before(self, method, path, **known)  # type: ignore[arg-type]
        if method != "GET" and path not in lost:
            lost.append(path)
            answer.close()
            raise Unavailable("the line", "was cut")
        return answer

    monkeypatch.setattr(Session, "open", losing)
    push(mine, "ann/lost", team.url)
    assert len(lost) == 8, lost
    assert len(entries(team, "ann/lost")) == 1


def test_a_prune_in_between_is_told(
    team: Served, zoos: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = zoos
    login(team, "ann")
    digest = add_checkpoint(mine, "ann/pruned", tensors(10))
    item = max(mine.store.document(digest).objects(), key=lambda each: each[1])[0]
    before = append_after

    def pruned(*known: object, **more: object) -> RefEntry:
        Store.open(team.root).remove(name_of("objects", item))
        return before(*known, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sync, "append_after", pruned)
    with pytest.raises(Conflict, match="send it again"):
        push(mine, "ann/pruned", team.url)
    monkeypatch.setattr(sync, "append_after", before)
    assert entries(team, "ann/pruned") == ()
    push(mine, "ann/pruned", team.url)


def test_an_object_goes_on_where_it_was_cut_off(team: Served, asked: list[str]) -> None:
    """By whoever sends it again, whatever was killed: no part is sent twice."""
    login(team, "ann", "append")
    body = bytes(range(256)) * 80_000
    store = Store(HttpBackend.connect(team.url, create=True))
    digest = Digest("blake3", blake3(body).hexdigest())

    def pieces(until: int) -> Iterator[bytes]:
        for at in range(0, len(body), 1 << 20):
            if at > until:
                raise KeyboardInterrupt
            yield body[at : at + (1 << 20)]

    with pytest.raises(KeyboardInterrupt):
        store.write("objects", digest, pieces(18 << 20))
    sent = [each for each in asked if each.startswith("PUT")]
    assert len(sent) == 2
    again = Store(HttpBackend.connect(team.url, create=True))
    assert again.write("objects", digest, pieces(1 << 40))
    sent = [each for each in asked if each.startswith("PUT")]
    assert len(sent) == len({*sent}) == 3
    assert again.is_sound("objects", digest)
