"""Logins that go on: what the hub's client refreshes its token by, and what ends that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fakes.served import Served, serving
from fakes.signed import sign_in
from huggingface_hub import constants, get_token
from huggingface_hub.errors import DeviceCodeError
from huggingface_hub.utils import _auth
from huggingface_hub.utils._oauth_device import (
    poll_device_token,
    refresh_access_token,
    request_device_code,
)
from sqlalchemy import update

from zoo.errors import UnknownName
from zoo.registry.engine import writing
from zoo.serve.hub import device as routes
from zoo.serve.who import refreshing, schema
from zoo.serve.who.refreshing import spend_refresh
from zoo.serve.who.tokens import read_secret, utc_text
from zoo.workspace import Workspace

DAYS = 86400


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that the hub's client in this process asks."""
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo") as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        home = tmp_path / "home"
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
        monkeypatch.setattr(_auth, "_OAUTH_REFRESH_CACHE", None)
        yield served


def let_in(team: Served, by: str, name: str = "hf", purpose: str = "write") -> dict[str, Any]:
    """What the hub's client gets, as somebody confirms its code."""
    begun = request_device_code()
    sent = {"user_code": begun["user_code"], "purpose": purpose, "name": name}
    assert sign_in(team.url, by).send("/-/device", do="let-in", **sent).status == 303
    return dict(poll_device_token(begun))


def id_of(login: dict[str, Any]) -> str:
    """The public part of its token."""
    secret = read_secret(login["access_token"])
    assert secret
    return secret.id


def whom(team: Served, token: str) -> str | None:
    """Who has a token."""
    name: str | None = team.ask("/api/whoami-v2", token=token).json.get("name")
    return name


def refused(token: str) -> bool:
    with pytest.raises(DeviceCodeError) as told:
        refresh_access_token(token)
    return str(told.value.error_code) == "invalid_grant"


def test_the_hubs_client_refreshes_its_token(team: Served) -> None:
    first = let_in(team, team.token("ann", "write"), purpose="append")
    assert first["expires_in"] == 90 * DAYS
    _auth._save_token(first["access_token"], "zoo", refresh_token=first["refresh_token"],
                      expires_at=int(time.time()) + 3600)  # fmt: skip
    Path(constants.HF_TOKEN_PATH).write_text(first["access_token"])
    token = get_token()
    assert token
    assert token != first["access_token"]
    assert Path(constants.HF_TOKEN_PATH).read_text() == token
    assert (whom(team, token), whom(team, first["access_token"])) == ("ann", "ann")
    kept = _auth._read_stored_tokens_full()["zoo"]
    assert kept["refresh_token"] not in ("", first["refresh_token"])
    assert int(kept["expires_at"]) > time.time() + 89 * DAYS
    made = {each.id: each for each in team.accounts.tokens("ann") if each.name == "hf"}
    assert {each.purpose for each in made.values()} == {"append"}
    soon = utc_text(datetime.now(UTC) + timedelta(seconds=DAYS + 5))
    assert str(made[first["access_token"][4:12]].expires) < soon, "it was to last for 90 days"
    assert str(made[token[4:12]].expires) > soon


def test_one_that_is_used_twice_ends_all_of_that_login(team: Served) -> None:
    mine = team.token("ann", "write")
    other, first = let_in(team, mine, "other"), let_in(team, mine)
    second = refresh_access_token(first["refresh_token"])
    third = refresh_access_token(second["refresh_token"])
    assert whom(team, third["access_token"]) == "ann"
    assert refused(first["refresh_token"])
    for each in (first, second, third):
        assert whom(team, each["access_token"]) is None
        assert refused(each["refresh_token"])
    assert (whom(team, other["access_token"]), whom(team, mine)) == ("ann", "ann")
    assert refresh_access_token(other["refresh_token"])["access_token"]
    rows = [row for row in team.accounts.audit.newest(limit=20) if row.action == "refreshed twice"]
    assert [row.name for row in rows] == [first["access_token"][4:12]]


@pytest.mark.parametrize("which", ["its own", "the other"])
def test_a_login_ends_with_either_token(team: Served, which: str) -> None:
    mine = team.token("ann", "write")
    first = let_in(team, mine)
    team.accounts.revoke((first["access_token"] if which == "its own" else mine)[4:12])
    assert refused(first["refresh_token"])
    live = [each for each in team.accounts.tokens("ann") if not each.revoked]
    assert len(live) == 1


def test_a_token_that_is_revoked_ends_the_login_that_it_is_of(team: Served) -> None:
    """The one before is good for a day, and is what its owner may have seen."""
    first = let_in(team, team.token("ann", "write"))
    second = refresh_access_token(first["refresh_token"])
    assert {whom(team, each["access_token"]) for each in (first, second)} == {"ann"}
    team.accounts.revoke(id_of(first))
    assert {whom(team, each["access_token"]) for each in (first, second)} == {None}
    assert refused(second["refresh_token"])


def test_one_that_has_expired_and_is_refreshed_yet_can_be_revoked(team: Served) -> None:
    by = team.token("ann", "write")
    first = let_in(team, by)
    token = id_of(first)
    with writing(team.accounts._engine) as connection:
        past = utc_text(datetime.now(UTC) - timedelta(days=1))
        connection.execute(
            update(schema.token).where(schema.token.c.id == token).values(expires=past)
        )
    signed = sign_in(team.url, by)
    assert signed.page("/-/settings").xpath(f"//tr[contains(., '{token}')]//button")
    signed.did("/-/settings", do="revoke", id=token)
    assert refused(first["refresh_token"])
    assert not signed.page("/-/settings").xpath(f"//tr[contains(., '{token}')]//button")


def test_one_that_expires_is_not_refreshed_past_that(team: Served) -> None:
    team.token("ann")
    _, mine = team.accounts.new_token("ann", "x", "write", lasts=100 * DAYS)
    told = let_in(team, str(mine))
    assert "refresh_token" not in told


def test_a_login_that_nobody_uses_ends(team: Served) -> None:
    first = let_in(team, team.token("ann", "write"))
    with writing(team.accounts._engine) as connection:
        connection.execute(update(schema.refresh).values(expires=utc_text(datetime.now(UTC))))
    assert refused(first["refresh_token"])
    let_in(team, team.token("ann", "write"))
    with writing(team.accounts._engine) as connection:
        assert len(connection.execute(schema.refresh.select()).all()) == 1, "it is forgotten"


def test_who_guesses_has_nobody_wait(team: Served) -> None:
    with writing(team.accounts._engine):
        assert refused("a guess")


def test_of_two_at_once_neither_goes_on(team: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them has a copy, whichever was first."""
    first = let_in(team, team.token("ann", "write"))
    issue, second = routes._issue_token, list[Any]()

    def slow(*args: Any) -> Any:
        monkeypatch.setattr(routes, "_issue_token", issue)
        second.append(refresh_access_token(first["refresh_token"]))
        return issue(*args)

    monkeypatch.setattr(routes, "_issue_token", slow)
    assert refused(first["refresh_token"])
    for each in (first, *second):
        assert whom(team, each["access_token"]) is None
        assert refused(each["refresh_token"])


def test_a_refresh_that_fails_can_be_tried_again(
    team: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = let_in(team, team.token("ann", "write"))["refresh_token"]
    with monkeypatch.context() as patch:
        patch.setattr(refreshing, "LASTS", None)
        with pytest.raises(DeviceCodeError, match="server has failed"):
            refresh_access_token(first)
    assert [each.name for each in team.accounts.tokens("ann")].count("hf") == 1
    assert refresh_access_token(first)["access_token"]


def test_one_that_is_used_meanwhile_gives_no_token(
    team: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = let_in(team, team.token("ann", "write"))["refresh_token"]
    issue = routes._issue_token

    def slow(*args: Any) -> Any:
        with writing(team.accounts._engine) as connection:
            spend_refresh(connection, first)
            with pytest.raises(UnknownName):
                spend_refresh(connection, first)
        return issue(*args)

    monkeypatch.setattr(routes, "_issue_token", slow)
    assert refused(first)
    assert [each.name for each in team.accounts.tokens("ann")].count("hf") == 1


def test_what_is_kept_of_it_gives_nothing(team: Served) -> None:
    first = let_in(team, team.token("ann", "write"))
    kept = (team.root / "accounts.db").read_bytes() + (team.root / "accounts.db-wal").read_bytes()
    assert first["refresh_token"].encode() not in kept
    with writing(team.accounts._engine) as connection:
        row = connection.execute(schema.refresh.select()).one()
    for text in (row.digest, row.token, first["access_token"], ""):
        assert refused(text)
    for fields in (
        {"grant_type": "refresh_token"},
        {"grant_type": "refresh_token", "scope": "write"},
    ):
        got = team.ask("/oauth/token", "POST", body=urlencode(fields).encode())
        assert (got.status, got.json["error"]) == (400, "invalid_grant")
        assert got.headers["cache-control"] == "no-store"
    assert refresh_access_token(first["refresh_token"])["access_token"]
