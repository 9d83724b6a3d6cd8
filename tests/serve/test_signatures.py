"""Signatures over HTTP: they go with what is pushed, and are there for whom they are for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pytest
from blake3 import blake3
from fakes.checkpoints import add_checkpoint, tensors
from fakes.served import CONFIG, Got, Served, serving, with_files
from fakes.signing_keys import Key, make_key

import zoo
from zoo.domain.digest import Digest
from zoo.domain.limits import SIGNATURE_BYTES, SIGNATURES
from zoo.domain.reference import Reference
from zoo.domain.signature import Signed
from zoo.errors import Unsigned
from zoo.logins import ServerUrl, forget_token, keep_token
from zoo.serve.hub import reach
from zoo.serve.keep.room import UsageCounter
from zoo.signing.sign import sign
from zoo.store import signatures
from zoo.store.signatures import folder_of
from zoo.workspace import Workspace


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("signed") / "zoo"
    Workspace.create(root).close()
    with serving(root) as served, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "PAUSE_SECONDS", 0.0)
        patch.setattr(reach, "SHARE", 0)
        yield served


@pytest.fixture
def alice(tmp_path: Path) -> Key:
    return make_key(tmp_path, "alice")


def be(served: Served, who: str, purpose: str = "write") -> None:
    """Be somebody from now on."""
    keep_token(ServerUrl.parse(served.url), served.token(who, purpose))


def pushed(served: Served, home: Path, name: str, key: Key | None, seed: int = 0) -> Digest:
    """Make a checkpoint, sign it and push it, as the one who is logged in."""
    with zoo.init(home) as mine:
        first = add_checkpoint(mine.workspace, name, tensors(seed))
        whole = with_files(mine.workspace, first, config_json=CONFIG)  # nothing needs torch
        digest = mine.workspace.commit(whole, Reference.parse(name), "test")
        if key:
            mine.sign(name, key.private)
        mine.push(name, served.url)
    return digest


def signatures_by(key: Key, many: int) -> list[bytes]:
    """Different ones of one key, of something."""
    signed = Signed(manifest=Digest("blake3", "a" * 64), files={"zoo-manifest.json": "b" * 64})
    return [sign(signed, key.private) for _ in range(many)]


def listed(served: Served, digest: Digest, token: str | None, name: str = "") -> list[str]:
    path = f"/zoo/v1/list/{folder_of(digest)}{name}".rstrip("/")
    got = served.ask(path, token=token)
    assert got.status == 200
    return sorted(name for name, _, _ in got.json["stored"])


def test_it_goes_with_what_is_pushed_and_pulled(team: Served, tmp_path: Path, alice: Key) -> None:
    be(team, "ann")
    digest = pushed(team, tmp_path / "ann", "ann/signed", alice)
    pushed(team, tmp_path / "ann", "ann/plain", None, seed=1)
    be(team, "ben", "read")
    with zoo.clone(team.url, tmp_path / "ben") as theirs:
        theirs.add_signer("alice", alice.public)
        theirs.require_signatures("enforce")
        done = theirs.pull("ann/signed", remote="origin")
        assert done.to_json()["signed_by"] == "alice"
        with pytest.raises(Unsigned, match="nobody has signed it"):
            theirs.pull("ann/plain", remote="origin")
        for where in (None, "origin"):
            (one,) = theirs.signatures("ann/signed", remote=where)
            assert (one.signer, one.problem) == ("alice", "")
    rows = [row for row in team.accounts.audit.rows(limit=100) if row.action == "signature added"]
    assert [(row.who, row.name) for row in rows] == [("ann", "ann/signed")]
    assert str(digest) in rows[0].detail


def test_one_that_is_added_later_is_sent_by_a_push(
    team: Served, tmp_path: Path, alice: Key
) -> None:
    be(team, "ann")
    digest = pushed(team, tmp_path / "ann", "ann/later", None, seed=2)
    token = team.token("ann")
    assert listed(team, digest, token) == []
    with zoo.open(tmp_path / "ann") as mine:
        mine.sign("ann/later", alice.private)
        mine.push("ann/later", team.url)
        mine.push("ann/later", team.url)
    assert len(listed(team, digest, token)) == 1


def test_clients_of_the_hub_see_nothing_new(team: Served, tmp_path: Path, alice: Key) -> None:
    be(team, "ann")
    pushed(team, tmp_path / "ann", "ann/seen", None, seed=3)
    looks = ("/api/models/ann/seen", "/api/models/ann/seen/tree/main?recursive=1")
    before = [team.ask(path, token=team.token("ann")).body for path in looks]
    with zoo.open(tmp_path / "ann") as mine:
        mine.sign("ann/seen", alice.private)
        mine.push("ann/seen", team.url)
    assert [team.ask(path, token=team.token("ann")).body for path in looks] == before


def test_who_else_signs_the_same_is_told_to_nobody(
    team: Served, tmp_path: Path, alice: Key
) -> None:
    """Two have the same checkpoint in private, and one of them has signed it."""
    for who in ("ann", "ben"):
        team.accounts.add(f"{who}s", team=True)
        team.accounts.set_level(f"{who}s", level="private")
        team.token(who)
        team.accounts.grant(f"{who}s", who, "owner")
    be(team, "ann")
    digest = pushed(team, tmp_path / "ann", "anns/same", alice, seed=4)
    assert len(listed(team, digest, team.token("ann"))) == 1
    assert listed(team, digest, team.token("ben")) == []
    be(team, "ben")
    with zoo.init(tmp_path / "ben") as theirs:
        with zoo.open(tmp_path / "ann") as mine:
            mine.push("anns/same", str(tmp_path / "shared"))
        theirs.pull("anns/same", remote=str(tmp_path / "shared"), save="bens/same")
        for file in (tmp_path / "ben" / "signatures").rglob("*.json"):
            file.unlink()
        theirs.push("bens/same", team.url)
        assert list(theirs.signatures("bens/same", remote=team.url)) == []
    ann, ben = team.token("ann"), team.token("ben")
    (key,) = listed(team, digest, ann)
    assert listed(team, digest, ben) == []
    assert listed(team, digest, None) == []
    assert team.ask(f"/zoo/v1/store/{key}", token=ann).status == 200
    assert team.ask(f"/zoo/v1/store/{key}", token=ben).status == 404


def test_what_may_be_put_there(team: Served, tmp_path: Path, alice: Key) -> None:
    be(team, "ann")
    digest = pushed(team, tmp_path / "ann", "ann/put", alice, seed=5)
    folder = f"/zoo/v1/store/{folder_of(digest)}"
    ann, ben = team.token("ann", "write"), team.token("ben", "write")

    def put(token: str | None, path: str, data: bytes, called: bytes = b"") -> str:
        name = blake3(called or data).hexdigest()
        got = team.ask(f"{folder}{path}/{name}.json", "PUT", token=token, body=data,
                       If_None_Match="*")  # fmt: skip
        assert got.status < 500
        return got.code

    keys = [make_key(tmp_path, f"key{number}") for number in range(SIGNATURES)]
    more = [*chain.from_iterable(signatures_by(key, 1) for key in keys)]
    assert put(ann, "ann/put", more[0]) == ""
    assert put(None, "ann/put", more[1]) == "NoToken"
    assert put(team.token("ann"), "ann/put", more[1]) == "Forbidden"  # to read
    assert put(ben, "ann/put", more[1]) == "Forbidden"
    assert put(ann, "ann/put", more[1], called=b"y") == "Mismatch"
    assert put(ann, "ann/put", b"x" * (SIGNATURE_BYTES + 1)) == "Mismatch"
    for none in (b"x", b"{}", b"[" * 1000, os.urandom(1000)):
        assert put(ann, "ann/put", none) == "BadRequest", "it is no signature"
    assert put(ann, "ann/..", more[1]) == "Forbidden", "no name, and so for admins"
    unknown = f"/zoo/v1/store/{folder_of(Digest('blake3', 'e' * 64))}ann/put/{'f' * 64}.json"
    assert team.ask(unknown, "PUT", token=ann, body=more[1]).code == "Lacking"
    codes = [put(ann, "ann/put", each) for each in more[1:]]
    assert codes == [""] * (SIGNATURES - 2) + ["Conflict"]
    assert put(ann, "ann/put", more[0]) == "", "that is there"
    assert len(listed(team, digest, ann)) == SIGNATURES


def test_one_key_does_not_take_all_places(team: Served, tmp_path: Path, alice: Key) -> None:
    """But who says that they have it drops none that somebody else has sent."""
    team.accounts.add("duo", team=True)
    for who in ("ann", "mallory"):
        team.token(who)
        team.accounts.grant("duo", who, "writer")
    be(team, "ann")
    digest = pushed(team, tmp_path / "ann", "duo/places", alice, seed=14)
    (first,) = listed(team, digest, team.token("ann"))

    def put(who: str, data: bytes) -> str:
        path = f"{folder_of(digest)}duo/places/{blake3(data).hexdigest()}.json"
        token = team.token(who, "write")
        return team.ask(f"/zoo/v1/store/{path}", "PUT", token=token, body=data,
                        If_None_Match="*").code  # fmt: skip

    def there() -> set[str]:
        return {Path(key).stem for key in listed(team, digest, team.token("ann"))}

    *claimed, again = signatures_by(alice, SIGNATURES)
    assert [put("mallory", data) for data in claimed] == [""] * (SIGNATURES - 1)
    assert len(there()) == SIGNATURES
    (bens,) = signatures_by(make_key(tmp_path, "ben"), 1)
    assert put("ann", bens) == ""
    newest = blake3(claimed[-1]).hexdigest()
    assert there() == {Path(first).stem, newest, blake3(bens).hexdigest()}
    more = [
        *chain.from_iterable(
            signatures_by(make_key(tmp_path, f"more{number}"), 1) for number in range(13)
        )
    ]
    assert [put("mallory", data) for data in more] == [""] * 13
    assert put("mallory", signatures_by(make_key(tmp_path, "late"), 1)[0]) == "Conflict"
    assert put("mallory", again) == "", "it is in the place of her own"
    assert Path(first).stem in there()
    assert newest not in there()
    (hers,) = signatures_by(alice, 1)
    assert put("ann", hers) == ""
    assert Path(first).stem not in there(), "she has sent both"
    assert len(there()) == SIGNATURES


def test_a_quota_counts_them_and_a_prune_takes_those_of_names_that_were_never_made(
    team: Served, tmp_path: Path, alice: Key
) -> None:
    be(team, "eve")
    digest = pushed(team, tmp_path / "eve", "eve/net", alice, seed=12)
    (more,) = signatures_by(alice, 1)
    token, called = team.token("eve", "write"), blake3(more).hexdigest()

    def put(name: str) -> Got:
        path = f"/zoo/v1/store/{folder_of(digest)}{name}/{called}.json"
        return team.ask(path, "PUT", token=token, body=more, If_None_Match="*")

    assert put("eve/unmade").status == 201
    held = UsageCounter(team.server.hub.workspace.store).after("eve").total
    team.accounts.quotas.set("eve", held + len(more))
    assert put("eve/unmade-2").status == 201
    got = put("eve/unmade-3")
    assert (got.status, got.code) == (403, "Forbidden")
    assert f"eve may hold {held + len(more):,} bytes" in got.headers["x-error-message"]
    shutil.rmtree(team.root / "sent")  # as a day later
    with zoo.open(team.root) as served:
        assert not [item for item in served.plan_prune().doomed if item.kind == "signature"]
        doomed = served.plan_prune(keep_days=0, grace_days=0).doomed
    gone = {(item.name.split("/")[4], item.why) for item in doomed if item.kind == "signature"}
    names = ("unmade", "unmade-2")
    assert gone >= {(name, f"eve/{name} was never that checkpoint") for name in names}
    assert "net" not in {name for name, _ in gone}


def test_those_under_other_names_hide_none(
    team: Served, tmp_path: Path, alice: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory has the same checkpoint under another name, and signatures of something else."""
    be(team, "zoe")
    digest = pushed(team, tmp_path / "zoe", "zoe/crowd", alice, seed=13)
    mallory = team.token("mallory", "write")
    (other,) = signatures_by(alice, 1)
    each = (other + b" " * number for number in range(100_000))
    first = (data for data in each if blake3(data).hexdigest().startswith("00"))
    for number, data in enumerate(islice(first, SIGNATURES)):
        path = f"{folder_of(digest)}mallory/{number}/{blake3(data).hexdigest()}.json"
        got = team.ask(f"/zoo/v1/store/{path}", "PUT", token=mallory, body=data, If_None_Match="*")
        assert got.status == 201
    (key,) = listed(team, digest, mallory, "zoe/crowd")
    assert len(listed(team, digest, mallory)) == SIGNATURES + 1
    be(team, "ben", "read")
    for most in (SIGNATURES * SIGNATURES, 4):
        monkeypatch.setattr(signatures, "LISTED", most)
        with zoo.clone(team.url, tmp_path / f"ben-{most}") as theirs:
            theirs.add_signer("alice", alice.public)
            theirs.require_signatures("enforce")
            done = theirs.pull("zoe/crowd", remote="origin")
            assert done.to_json()["signed_by"] == "alice"
    assert "/zoe/crowd/" in key


def test_one_that_is_damaged_there_is_not_told(team: Served, tmp_path: Path, alice: Key) -> None:
    be(team, "ann")
    digest = pushed(team, tmp_path / "ann", "ann/damaged", alice, seed=9)
    token = team.token("ann")
    (key,) = listed(team, digest, token)
    file = team.root / key
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    assert team.ask(f"/zoo/v1/store/{key}", token=token).code == "Damaged"


def test_a_repository_that_moves_has_its_signatures_still(
    team: Served, tmp_path: Path, alice: Key
) -> None:
    be(team, "ann")
    digest = pushed(team, tmp_path / "ann", "ann/moves", alice, seed=6)
    token = team.token("ann", "write")
    said = b'{"fromRepo": "ann/moves", "toRepo": "ann/moved"}'
    assert team.ask("/api/repos/move", "POST", token=token, body=said).status == 200
    names = {"/".join(key.split("/")[3:5]) for key in listed(team, digest, token)}
    assert "ann/moved" in names


def test_an_admin_prunes_them(team: Served, tmp_path: Path, alice: Key) -> None:
    be(team, "ann")
    digest = pushed(team, tmp_path / "ann", "ann/gone", alice, seed=7)
    be(team, "admin")
    with zoo.init(tmp_path / "admin") as admin:
        admin.delete("ann/gone", remote=team.url)
        shutil.rmtree(team.root / "sent")  # as a day later
        plan = admin.plan_prune(team.url, keep_days=0, grace_days=0)
        assert any(folder_of(digest) in item.name for item in plan.doomed)
        admin.prune(plan, team.url, keep_days=0, grace_days=0)
    assert listed(team, digest, team.token("admin", "write")) == []


def test_a_server_of_before_there_were_any(
    team: Served,
    tmp_path: Path,
    alice: Key,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("zoo.serve.native.reading.signed_in", lambda _: None)
    monkeypatch.setattr("zoo.serve.native.writing.signature_of", lambda _: None)
    be(team, "ann")
    pushed(team, tmp_path / "ann", "ann/early", alice, seed=8)
    assert "the signatures are not sent" in caplog.text
    with zoo.init(tmp_path / "ben") as theirs:
        theirs.pull("ann/early", remote=team.url)
        theirs.require_signatures("enforce")
        with pytest.raises(Unsigned, match="nobody has signed it"):
            theirs.pull("ann/early", remote=team.url)
    forget_token(ServerUrl.parse(team.url))
