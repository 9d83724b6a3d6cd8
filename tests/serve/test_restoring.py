"""Names that were deleted at a server are restored there: by whom, and what others learn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fakes.served import Served, serving

from zoo.domain.reference import Reference
from zoo.errors import Conflict, Forbidden, UnknownName, ZooError
from zoo.logins import ServerUrl, keep_token
from zoo.store.listing import name_of
from zoo.store.prune import execute, plan
from zoo.transfer import names
from zoo.workspace import Workspace
from zoo_http.backend import HttpBackend

REF = Reference.parse("ann/notes")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a zoo, whose ``ann/notes`` a client of the hub has sent."""
    root = tmp_path_factory.mktemp("restoring") / "zoo"
    Workspace.create(root).close()
    with serving(root) as served:
        send(served, "ann", REF)
        yield served


def send(team: Served, account: str, ref: Reference) -> None:
    """Send a README, as clients of the hub do."""
    token = team.token(account, "write")
    body = json.dumps({"name": ref.name, "organization": ref.namespace}).encode()
    assert team.ask("/api/repos/create", "POST", token=token, body=body).status == 200
    assert team.commit(ref.path, "hello", token).status == 200


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Workspace]:
    with closing(Workspace.create(tmp_path / "mine")) as workspace:
        yield workspace


def login(team: Served, account: str, purpose: str = "write") -> None:
    keep_token(ServerUrl.parse(team.url), team.token(account, purpose))


def test_files_that_a_client_of_the_hub_has_sent_are_restored(
    team: Served, mine: Workspace
) -> None:
    login(team, "ann")
    gone = names.delete(mine, REF, team.url)
    with pytest.raises(UnknownName) as told:
        names.entry(mine, REF, team.url)
    assert f"restore it: zoo delete --restore {REF} --from {team.url}" in told.value.advice
    # Who has deleted it sees no more of it than others do, and can restore it all the same.
    key = name_of("manifests", gone.manifest)
    assert HttpBackend.connect(team.url, create=True).stat(key) is None
    assert names.restore(mine, REF, team.url).manifest == gone.manifest
    assert HttpBackend.connect(team.url, create=True).stat(key)
    assert team.ask(f"/{REF}/raw/main/README.md", token=team.token("ben")).status in (200, 307)


def test_what_is_made_anew_is_not_public_as_what_was_deleted(team: Served) -> None:
    """Nobody has said that of it: it is as its namespace is. An owner who says so is heard."""
    ref, token = Reference.parse("ann/shown"), team.token("ann", "write")
    body = json.dumps({"name": ref.name, "organization": ref.namespace}).encode()
    for _ in range(2):
        send(team, "ann", ref)
        assert team.ask(f"/api/models/{ref}").status == 401
        shown = b'{"private": false}'
        team.ask(f"/api/models/{ref}/settings", "PUT", token=token, body=shown)
        assert team.ask(f"/api/models/{ref}").status == 200
        team.ask("/api/repos/delete", "DELETE", token=token, body=body)


def test_an_empty_one_that_is_made_anew_is_not_public_either(team: Served) -> None:
    token, path = team.token("ann", "write"), "/api/models/ann/empty"
    body = json.dumps({"name": "empty", "organization": "ann"}).encode()
    moved = json.dumps({"fromRepo": "ann/empty", "toRepo": "ann/emptied"}).encode()
    for method, end, gone in (
        ("DELETE", "delete", body), ("POST", "move", moved), ("DELETE", "delete", body),
    ):  # fmt: skip
        assert team.ask("/api/repos/create", "POST", token=token, body=body).status == 200
        assert team.ask(path).status == 401
        team.ask(f"{path}/settings", "PUT", token=token, body=b'{"private": false}')
        assert team.ask(path).status == 200
        assert team.ask(f"/api/repos/{end}", method, token=token, body=gone).status == 200


def test_who_may_not_restore_learns_nothing(team: Served, mine: Workspace) -> None:
    """Neither whether it could be restored nor, of what they may not read, that it was there."""
    hidden = Reference.parse("hidden/notes")
    team.accounts.set_level("hidden", level="private")
    send(team, "admin", hidden)
    login(team, "ann")
    names.delete(mine, REF, team.url)
    login(team, "admin")
    names.delete(mine, hidden, team.url)
    said = []
    for account, purpose in (("ben", "write"), ("ann", "append"), ("ann", "read")):
        said.append(_refused(team, mine, account, purpose, Forbidden))
        login(team, account, purpose)
        with pytest.raises(UnknownName) as never:
            names.restore(mine, hidden, team.url)
        assert "deleted" not in f"{never.value} {never.value.advice}"
    with closing(Workspace(team.root)) as there:
        assert _prune(there)
    assert said == [
        _refused(team, mine, account, purpose, Forbidden)
        for account, purpose in (("ben", "write"), ("ann", "append"), ("ann", "read"))
    ]
    told = _refused(team, mine, "ann", "write", Conflict)
    assert f"a prune has taken what {REF} pointed at" in told
    assert "push it again" in told


def _refused(
    team: Served, mine: Workspace, account: str, purpose: str, kind: type[ZooError]
) -> str:
    login(team, account, purpose)
    with pytest.raises(kind) as refused:
        names.restore(mine, REF, team.url)
    return f"{refused.value} {refused.value.advice}"


def _prune(there: Workspace) -> int:
    from datetime import timedelta

    now = timedelta(seconds=-2)
    doomed = plan(there.store, keep=now, grace=now)
    execute(there.store, doomed, keep=now, grace=now)
    return len(doomed.doomed)
