"""Who may ask for what: every route, for everybody, whatever may be read."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.postgres import Server as Postgres
from fakes.served import Got, Served
from sqlalchemy import MetaData, inspect

from zoo.errors import Conflict, InvalidOption, InvalidReference, UnknownName, Unsupported
from zoo.registry.engine import open_engine, writing
from zoo.registry.engines import sqlite
from zoo.serve.http.errors import CODES
from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Hub
from zoo.serve.hub.table import ROUTES
from zoo.serve.who import accounts as module
from zoo.serve.who import schema
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.may import LEVELS, Access, Actor, Level, may
from zoo.serve.who.open import FILE, open_accounts
from zoo.serve.who.tokens import new_secret, read_secret
from zoo.workspace import Workspace

ANYWHERE = ("WrongHost", "InvalidToken", "NotFound", "MethodNotAllowed", "TooLarge", "Failed")
"""What any route may refuse."""
WHO = ("nobody", "ann", "ben", "team", "admin")
"""``ben`` may read what is private, as it is his or he is allowed; ``team`` is called as the
namespace."""
READERS: dict[Level, set[str]] = {
    "public": {*WHO},
    "internal": {*WHO} - {"nobody"},
    "private": {"ben", "team", "admin"},
}
FIELDS = {"namespace": "team", "name": "net", "revision": "main", "path...": "config.json",
          "kind": "models", "branch": "b", "tag": "t", "rest...": "/rest"}  # fmt: skip


def address(route: Route[Hub], repo: str) -> str:
    """A path that the route answers."""
    own = dict(zip(("namespace", "name"), repo.split("/"), strict=True))
    if "{namespace}" not in route.path and "{name}" in route.path:
        own["name"] = "word"
    path = re.sub(r"\{([\w.]+)\}", lambda f: {**FIELDS, **own}[f[1]], route.path)
    return path.replace("//", "/")


@pytest.fixture(scope="module")
def tokens(served: Served) -> dict[str, str | None]:
    tokens = {who: None if who == "nobody" else served.token(who) for who in WHO}
    served.accounts.change("team/net", allow="ben")
    return tokens


def same(got: Got) -> tuple[object, ...]:
    """An answer without what differs each time."""
    kept = {name: value for name, value in got.headers.items()
            if name not in ("x-request-id", "date")}  # fmt: skip
    return got.status, kept, got.body


@pytest.mark.parametrize("route", ROUTES, ids=lambda each: f"{each.method} {each.path}")
def test_every_route_for_everybody(
    served: Served, tokens: dict[str, str | None], route: Route[Hub]
) -> None:
    """What may not be read looks as if it were not there, and a route that is new is tried, too."""
    for level, who in itertools.product(LEVELS, WHO):
        served.accounts.change("team/net", level=level)
        served.accounts.change("team", level=level)
        got = served.ask(address(route, "team/net"), route.method, token=tokens[who])
        assert got.status < 500 or got.status == 501, (level, who, got)
        assert got.code in ("", *route.errors, *ANYWHERE), (level, who, got)
        if route.scope == "read":
            gone = served.ask(address(route, "team/nil"), route.method, token=tokens[who])
            assert gone.code == "RepoNotFound"
            assert gone.status == (401 if who == "nobody" else 404)
            if who in READERS[level]:
                assert got.code != "RepoNotFound", (level, who)
            else:
                assert same(got) == same(gone), (level, who)
        elif route.scope == "account":
            assert (got.code == "NoToken") == (who == "nobody")
        elif route.scope == "listed" and route.path == "/api/models":
            assert ("team/net" in {each["id"] for each in got.json}) == (who in READERS[level])
    served.accounts.change("team/net", level="internal")
    served.accounts.change("team", level="internal")


def test_each_route_that_names_a_repository_says_who_may_ask() -> None:
    for route in ROUTES:
        if "{namespace}/{name}" in route.path and "NotImplemented" not in route.errors:
            refuses_all = set(route.errors) in ({"NotFound"}, {"RepoNotFound"})
            assert route.scope in ("read", "write") or refuses_all, route.path
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("level", LEVELS)
def test_may(level: Level) -> None:
    access = Access(namespace="team", level=level, readers=frozenset({"ben"}))
    scopes = frozenset({"read"})
    allowed = {
        who for who in WHO
        if may(Actor(name=who if who != "nobody" else "", admin=who == "admin",
                     scopes=scopes if who != "nobody" else frozenset()), "read", access)
    }  # fmt: skip
    assert allowed == READERS[level]
    for who in (Actor(name="admin", admin=True, scopes=scopes), Actor()):
        assert not may(who, "write", access)
    assert may(Actor(name="team"), "read", access) == (level == "public"), "it is for nothing"


def test_what_is_said_of_a_name_wins_over_its_namespace(served: Served) -> None:
    ann = served.token("ann")
    assert served.ask("/api/models/secret/net", token=ann).code == "RepoNotFound"
    assert served.ask("/api/models/secret/open", token=ann).status == 200
    assert served.ask("/api/models/secret/open").status == 200
    served.accounts.change("secret", allow="ann")
    assert served.ask("/api/models/secret/net", token=ann).status == 200
    served.accounts.change("secret", disallow="ann")
    assert served.ask("/api/models/secret/net", token=ann).code == "RepoNotFound"


def test_tokens_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    lasting, short = served.token("ann"), served.token("ann", lasts=3600)

    def ask(token: str) -> Got:
        return served.ask("/api/models/team/net", token=token)

    assert ask(lasting).status == ask(short).status == 200
    later = datetime.now(UTC) + timedelta(hours=1, seconds=1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_now", lambda: later)
        assert ask(short).code == "InvalidToken"
        assert ask(lasting).status == 200
    served.accounts.revoke(lasting[4:12])
    refused = ask(lasting)
    assert (refused.status, refused.code) == (401, "InvalidToken")
    assert refused.headers["x-error-message"] == "Invalid credentials in Authorization header"
    kept = {each.id: each for each in served.accounts.tokens()}
    assert kept[lasting[4:12]].revoked
    assert kept[short[4:12]].used


def test_no_other_text_is_a_token(served: Served) -> None:
    token = served.token("ann")
    last = "0" if token[-1] != "0" else "1"
    for wrong in (token[:-1] + last, f"{new_secret()}", "hf_x", token.upper(), "x" * 9000, "\xfc"):
        got = served.ask("/api/models/shown/net", Authorization=f"Bearer {wrong}")
        assert (got.status, got.code) == (401, "InvalidToken"), "also where none is needed"
    for said in ("", "Basic YTpi", "Bearer", f"Token {token}"):
        assert served.ask("/api/whoami-v2", Authorization=said).status == 401
    assert served.ask("/api/whoami-v2", Authorization=f"bearer  {token}").status == 200


def test_a_secret_is_read_back_or_not_at_all() -> None:
    for _ in range(20):
        secret = new_secret()
        assert read_secret(str(secret)) == secret
        assert str(secret) not in repr(secret)
        assert secret.is_kept_as(secret.kept)
        assert not secret.is_kept_as(new_secret().kept)


def test_accounts_are_made_and_deleted(served: Served) -> None:
    token = served.token("cleo")
    accounts = served.accounts
    with pytest.raises(Conflict, match="account 'cleo' already"):
        accounts.add("cleo")
    with pytest.raises(InvalidReference):
        accounts.add("../x")
    for bad in ({"lasts": 0}, {"scopes": ()}, {"scopes": ("write",)}):
        with pytest.raises(InvalidOption):
            accounts.new_token("cleo", "x", **bad)
    accounts.change("team/x", allow="cleo")
    accounts.remove("cleo")
    assert served.ask("/api/whoami-v2", token=token).code == "InvalidToken"
    assert not any("cleo" in given.readers for given in accounts.given())
    for unknown in (
        lambda: accounts.remove("cleo"), lambda: accounts.new_token("cleo", "x"),
        lambda: accounts.change("team/x", allow="cleo"), lambda: accounts.revoke("00000000"),
        lambda: accounts.change("team/x", disallow="cleo"),
    ):  # fmt: skip
        with pytest.raises(UnknownName):
            unknown()
    with pytest.raises(InvalidOption):
        accounts.change("team/x", level="secret")
    for path in ("team/a/b", "team/", "/x", "*"):
        with pytest.raises(InvalidReference):
            accounts.change(path, level="public")


def test_no_secret_is_kept_or_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    token = served.token("ann")
    with caplog.at_level(logging.DEBUG):
        served.ask("/api/models/team/net", token=token)
        served.ask(f"/api/models/team/{token}", token=token)
        served.ask("/api/whoami-v2", token=token[:-1])
        served.ask(f"/{token}/net/resolve/main/x?token={token}", Host="elsewhere")
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "/api/models/team/net" in said
    assert token[13:] not in said
    kept = b"".join(path.read_bytes() for path in served.root.glob(f"{FILE}*"))
    assert token[4:12].encode() in kept
    assert token[13:].encode() not in kept
    assert (served.root / FILE).stat().st_mode & 0o077 == 0


def test_the_server_answers_to_its_own_names_alone(served: Served, token: str) -> None:
    port = served.url.rpartition(":")[2]
    for host, status in (
        (f"localhost:{port}", 200), (f"127.0.0.1:{port}", 200), ("[::1]:1", 200),
        ("evil.example", 421), ("", 421), ("localhost@evil.example", 421), ("a b", 421),
    ):  # fmt: skip
        got = served.ask("/api/models/team/net", token=token, Host=host)
        assert got.status == status, host
        assert (got.code == "WrongHost") == (status == 421)
    page = served.ask("/api/models?limit=1", token=token, Host=f"localhost:{port}")
    assert page.headers["link"].startswith(f"<http://localhost:{port}/api/models?")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """A zoo whose accounts are in a file, or on a server beside its index."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        patch.setenv("ZOO_DB", server.database("accounts"))
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


def test_the_tables_are_those_of_the_migrations(database: Workspace) -> None:
    engine = open_accounts(database)
    found = MetaData()
    found.reflect(engine, only=list(schema.metadata.tables))
    for table in schema.metadata.sorted_tables:
        made = found.tables[table.name]
        assert {(c.name, c.nullable, c.primary_key) for c in made.columns} == {
            (c.name, c.nullable, c.primary_key) for c in table.columns
        }
        keys = inspect(engine).get_foreign_keys(table.name)
        assert {key["constrained_columns"][0] for key in keys} == {
            key.column_keys[0] for key in table.foreign_key_constraints
        }
    engine.dispose()
    database.reindex()  # which leaves the accounts alone
    with_accounts(database)
    database.close()
    with closing(Workspace(database.root)) as again, closing(Accounts.of(again)) as accounts:
        assert [account.name for account in accounts.all()] == ["ann"]


def with_accounts(workspace: Workspace) -> None:
    accounts = Accounts.of(workspace)
    accounts.add("ann")
    _, secret = accounts.new_token("ann", "laptop")
    found, _ = accounts.look(str(secret))
    assert found
    assert (found.name, *found.scopes) == ("ann", "read")
    accounts.change("team/net", level="private", allow="ann")
    access = accounts.look(None, "team/net")[1].access("team/net")
    assert (access.level, *access.readers) == ("private", "ann")
    accounts.close()


def test_accounts_of_a_newer_zoo_are_refused(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    open_accounts(workspace).dispose()
    engine = open_engine(sqlite.url_of(workspace.root / FILE))
    with writing(engine) as connection:
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0999'")
    engine.dispose()
    with pytest.raises(Unsupported, match="newer zoo"):
        open_accounts(workspace)
    workspace.close()


def test_codes_have_a_status_and_a_meaning() -> None:
    assert all(400 <= code.status < 600 and code.meaning for code in CODES.values())
