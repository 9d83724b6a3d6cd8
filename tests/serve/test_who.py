"""Who may ask for what: every route, for everybody, whatever may be read."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from fakes.postgres import Server as Postgres
from fakes.served import Got, Served
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.engine.interfaces import ReflectedColumn

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidOption, InvalidReference, UnknownName, Unsupported
from zoo.registry import engine as engine_module
from zoo.registry.engine import open_engine, reading, writing
from zoo.registry.engines import read_url, sqlite
from zoo.serve.http.errors import CODES
from zoo.serve.http.router import Route, Scope
from zoo.serve.hub.absent import ABSENT, ELSEWHERE
from zoo.serve.hub.ask import Hub
from zoo.serve.table import ROUTES
from zoo.serve.who import accounts as module
from zoo.serve.who import schema
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.groups import follow
from zoo.serve.who.may import (
    ACTIONS,
    ANYBODY,
    LEVELS,
    PURPOSES,
    ROLES,
    Access,
    Action,
    Actor,
    Level,
    Purpose,
    Role,
    all_may_read,
    kind_of_move,
    may,
    role_of,
)
from zoo.serve.who.open import FILE, SCRIPTS, open_accounts, open_file
from zoo.serve.who.providers import Provider
from zoo.serve.who.reach_table import Witness
from zoo.serve.who.seals import Seal
from zoo.serve.who.spent import spend_once
from zoo.serve.who.tokens import new_secret, read_secret
from zoo.workspace import Workspace

ANYWHERE = ("WrongHost", "InvalidToken", "NotFound", "MethodNotAllowed", "TooLarge", "Failed")
"""What any route may refuse."""
ROLE_OF = {"ben": "reader", "cat": "writer", "mia": "maintainer", "olga": "owner"}
WHO = ("nobody", "ann", *ROLE_OF, "team", "admin")
"""``ann`` has no role; ``team`` is called as the namespace."""
KNOWN = {*WHO} - {"nobody", "ann"}
READERS: dict[Level, set[str]] = {
    "public": {*WHO}, "internal": {*WHO} - {"nobody"}, "private": KNOWN,
}  # fmt: skip
MAY: dict[str, set[str]] = {
    "write": KNOWN - {"ben"}, "force": KNOWN - {"ben"}, "protect": KNOWN - {"ben", "cat"},
    "delete": {"olga", "team", "admin"}, "share": {"olga", "team", "admin"},
}  # fmt: skip
NAMED = b'{"organization": "%b", "name": "%b"}'
BODIES: dict[str, tuple[bytes, Action]] = {
    "/api/repos/create": (NAMED, "write"),
    "/api/repos/delete": (NAMED, "delete"),
    "/api/repos/move": (b'{"fromRepo": "%b/%b", "toRepo": "team/net"}', "delete"),
}
"""Routes that have the repository in the body, and what they do with it."""
KEY_PATH = "/zoo/v1/store/{key...}"
KEY = "refs/team/net/latest/00000001.json"
STAT = "/zoo/v1/stat"
FIELDS = {"namespace": "team", "name": "net", "revision": "main", "path...": "config.json",
          "kind": "models", "user": "team", "organization": "lab", "branch": "b", "tag": "t",
          "rest...": "/rest", "oid": "0" * 64, "number": "1", "space": "s",
          "digest": "0" * 64, "key...": KEY, "folder...": "refs/team/net/latest",
          "part": f"0-{'0' * 64}", "file": "zoo.css", "id": "20260101-000000-000000",
          "owner": "team", "generation": "1", "at": "0",
          "provider": "lab"}  # fmt: skip


def address(route: Route[Hub], repo: str) -> str:
    """A path that the route answers."""
    own = dict(zip(("namespace", "name"), repo.split("/"), strict=True))
    if "{namespace}" not in route.path and "{name}" in route.path:
        own["name"] = "word"
    path = re.sub(r"\{([\w.]+)\}", lambda f: {**FIELDS, **own}[f[1]], route.path)
    return path.replace("//", "/")


@pytest.fixture(scope="module")
def tokens(served: Served) -> dict[str, str | None]:
    tokens = {who: None if who == "nobody" else served.token(who, "write") for who in WHO}
    for who, role in ROLE_OF.items():
        served.accounts.grant("team/net", who, role)
        served.accounts.grant("team/nil", who, role)
    return tokens


def same(got: Got) -> tuple[object, ...]:
    """An answer without what differs each time."""
    kept = {name: value for name, value in got.headers.items()
            if name not in ("x-request-id", "date")}  # fmt: skip
    return got.status, kept, got.body


def asked(served: Served, route: Route[Hub], repo: str, token: str | None) -> Got:
    body = b'{"keys": ["%b"]}' % KEY.encode() if route.path == STAT else b"?"
    if route.path in BODIES:
        namespace, _, name = repo.encode().partition(b"/")
        body = BODIES[route.path][0] % (namespace, name)
    origin = {}
    if route.page:  # a form of theirs, which they send
        body, origin = b"do=level&level=", {"Sec_Fetch_Site": "same-origin"}
    return served.ask(address(route, repo), route.method, token=token, body=body, **origin)


def name_of(route: Route[Hub]) -> str:
    return f"{route.method} {route.path}"


OF_REPOS = [route for route in ROUTES if route.scope in ACTIONS or route.path in BODIES]


@pytest.mark.parametrize("route", OF_REPOS, ids=name_of)
def test_every_route_for_everybody(
    served: Served, tokens: dict[str, str | None], route: Route[Hub]
) -> None:
    """What may not be read looks as if it were not there, and a route that is new is tried, too."""
    now: Level | None = None
    for level, who in itertools.product(LEVELS, WHO):
        if level != now:
            now = level
            for path in ("team/net", "team/nil", "team"):
                served.accounts.set_level(path, level=level)
        got = asked(served, route, "team/net", tokens[who])
        if got.status < 400 and route.method != "GET":  # it may have changed that
            now = None
        check_code(route, got)
        if route.path in BODIES:
            check_body_route(route, level, who, got)
            continue
        gone = asked(served, route, "team/nil", tokens[who])
        assert gone.code == "RepoNotFound"
        assert gone.status == (401 if who == "nobody" else 404)
        if who not in READERS[level]:
            assert same(got) == same(gone), (level, who)
            continue
        assert got.code != "RepoNotFound", (level, who)
        refused = got.code in ("Forbidden", "NoToken")
        assert refused == (who not in MAY.get(route.scope, {*WHO})), (level, who, got)
    for path in ("team/net", "team/nil", "team"):
        served.accounts.set_level(path)


def check_code(route: Route[Hub], got: Got) -> None:
    assert got.status < 500 or got.status == 501, got
    assert got.code in ("", *route.errors, *ANYWHERE), got


Told = tuple[tuple[str, int], ...]
"""Which status everybody is answered with."""


def told(others: int, **whom: int) -> Told:
    """``others`` to whom is not named."""
    return tuple((who, whom.get(who, others)) for who in WHO)


def known(status: int, **whom: int) -> Told:
    """To whom has an account."""
    return told(status, nobody=401, **whom)


TOLD: dict[Told, str] = {
    told(200): """
        GET /zoo/v1/openapi.json, GET /zoo/v1, POST /zoo/v1/stat, GET /zoo/v1/refs
        GET /zoo/v1/list/{folder...}, GET /healthz, GET /readyz, GET /api/agent-harnesses
        GET /api/telemetry/{path...}, POST /v1/telemetry, POST /oauth/device, GET /api/models
        GET /api/datasets, GET /api/spaces, GET /, GET /index.json, GET /sign-in, GET /compare
        GET /compare.json, GET /runs, GET /runs.json, GET /-/identify, GET /-/identify.json
        GET /-/deprecated, GET /-/deprecated.json, GET /-/{digest}/{file}""",
    told(303): "POST /sign-out",
    told(400): "POST /oauth/token, POST /-/identify, POST /-/identify.json",
    told(401): "POST /sign-in",
    told(403): """
        PUT /lfs/objects/{oid}, PUT /lfs/parts/{oid}/{number}, POST /lfs/complete/{oid}
        GET /xet/{space}/v1/chunks/default/{digest}, POST /xet/{space}/v1/xorbs/default/{digest}
        POST /xet/{space}/v1/shards""",
    told(404): """
        GET /-/sso/{provider}, GET /-/sso/{provider}/back, GET /-/open, GET /-/setup
        POST /-/setup, GET /-/runs/{id}.json, GET /-/runs/{id}, GET /-/runs/{id}/events
        GET /-/runs/{id}/examples.png, GET /-/listed, GET /-/listed.json""",
    told(403, nobody=200, admin=200): "GET /metrics",  # of who asks from the same machine
    known(200): """
        GET /zoo/v1/tokens, GET /api/whoami-v2, GET /api/settings/repositories
        GET /api/settings/webhooks, GET /-/settings, GET /-/settings.json, GET /-/device
        GET /-/device.json""",
    known(400): """
        GET /zoo/v1/parts/{key...}, PUT /zoo/v1/parts/{part}/{key...}, POST /zoo/v1/parts/{key...}
        POST /zoo/v1/runs, POST /zoo/v1/tokens, POST /api/settings/webhooks
        POST /api/settings/webhooks/{id}, POST /api/validate-yaml, POST /-/settings
        POST /-/device""",
    known(404): """
        POST /zoo/v1/runs/{id}/lines/{generation}/{at}, PUT /zoo/v1/runs/{id}/{file}
        DELETE /zoo/v1/runs/{id}, DELETE /zoo/v1/tokens/{id}
        GET /api/organizations/{organization}/overview
        GET /api/organizations/{organization}/members
        GET /api/organizations/{organization}/settings/repositories
        GET /api/settings/webhooks/{id}, DELETE /api/settings/webhooks/{id}
        POST /api/settings/webhooks/{id}/enable, POST /api/settings/webhooks/{id}/disable
        POST /-/runs/{id}""",
    known(400, ann=403, ben=403): f"PUT {KEY_PATH}",
    known(403, admin=400): f"""
        DELETE {KEY_PATH}, POST /-/people, POST /-/people/{{user}}, POST /-/patterns
        POST /-/webhooks, POST /-/storage""",
    known(403, admin=200): """
        GET /zoo/v1/audit, GET /-/people, GET /-/people.json, GET /-/people/{user}
        GET /-/people/{user}/index.json, GET /-/patterns, GET /-/patterns.json, GET /-/webhooks
        GET /-/webhooks.json, GET /-/storage, GET /-/storage.json, GET /-/storage/prune
        GET /-/storage/prune.json""",
    known(404, admin=200): "GET /-/audit, GET /-/audit.json",
    # ``olga`` owns a repository in it, and it is not there for her.
    known(404, team=200, admin=200): """
        GET /-/namespaces/{owner}, GET /-/namespaces/{owner}/index.json""",
    known(404, team=303, admin=303): "POST /-/namespaces/{owner}",
}
"""What is answered to everybody by each route that is not a repository's. Those that are to be
found in a run, a token or a webhook that is there have tests of their own.
"""
BY_LEVEL: dict[str, dict[Level, Told]] = {
    f"GET {KEY_PATH}": {
        level: tuple((who, 200 if who in READERS[level] else 404) for who in WHO)
        for level in LEVELS
    },
    "GET /api/users/{user}/overview": {
        "public": known(200), "internal": known(200), "private": known(404, team=200, admin=200),
    },
}  # fmt: skip
"""And by those where it depends on who may read the repository, or the namespace."""


def _names_it(got: Got) -> bool:
    """A refusal may say the name that was asked for."""
    return got.status < 400 and b"team/net" in got.body


SHOWS: dict[str, Callable[[Got], bool]] = {
    f"POST {STAT}": lambda got: got.json["stored"] != [],
    "GET /zoo/v1/list/{folder...}": lambda got: len(got.json["stored"]) == 2,
    f"GET {KEY_PATH}": lambda got: got.status == 200,
    **dict.fromkeys(("GET /zoo/v1/refs", "GET /api/models", "GET /index.json"), _names_it),
}
"""Those that tell of a repository to whom may read it."""


def meant(route: Route[Hub]) -> dict[Level, Told]:
    """What is to be answered.

    Raises:
        ValueError: There is no entry, or more than one.
    """
    if route in {*ABSENT, *ELSEWHERE}:
        (code,) = route.errors
        status = CODES[code].status
        return dict.fromkeys(LEVELS, told(status, nobody=401) if code == "RepoNotFound"
                             else told(status))  # fmt: skip
    name = name_of(route)
    found = [dict.fromkeys(LEVELS, each) for each, names in TOLD.items()
             if name in re.split(r"[,\n] *", names)]  # fmt: skip
    found += [each for its, each in BY_LEVEL.items() if its == name]
    (entry,) = found
    return entry


@pytest.mark.parametrize("route", [route for route in ROUTES if route not in OF_REPOS], ids=name_of)
def test_every_other_route_for_everybody(
    served: Served, tokens: dict[str, str | None], route: Route[Hub]
) -> None:
    """As its entry says, and nothing is shown of what may not be read."""
    entry, now = meant(route), None
    everybody = [*itertools.product(LEVELS, WHO)]
    if route.scope == "open":  # no token is looked at
        everybody = everybody[:1]
    for level, who in everybody:
        if level != now:
            now = level
            for path in ("team/net", "team"):
                served.accounts.set_level(path, level=level)
        got = asked(served, route, "team/net", tokens[who])
        check_code(route, got)
        assert got.status == dict(entry[level])[who], (level, who, got)
        shows = SHOWS.get(name_of(route))
        if who not in READERS[level]:
            assert not (shows or _names_it)(got), (level, who, got)
        elif shows:
            assert shows(got), (level, who, got)
    for path in ("team/net", "team"):
        served.accounts.set_level(path)


SEALED = {
    "/lfs/objects/{oid}": "lfs", "/lfs/parts/{oid}/{number}": "lfs part",
    "/lfs/complete/{oid}": "lfs complete", "/xet/{space}/v1/chunks/default/{digest}": "xet",
    "/xet/{space}/v1/xorbs/default/{digest}": "xet", "/xet/{space}/v1/shards": "xet",
}  # fmt: skip
"""Routes that look at no token, and what a seal for each says."""


@pytest.mark.parametrize("route", [route for route in ROUTES if "seal" in route.query], ids=name_of)
def test_a_seal_counts_as_long_as_its_owner_may_write(
    served: Served, tokens: dict[str, str | None], route: Route[Hub]
) -> None:
    """And for the repository that it was made for: nobody has a role in the other."""
    what = SEALED[route.path]
    for repo, who in itertools.product(("team/net", "other/net"), WHO):
        seal = Seal(token=(tokens[who] or "")[4:12], repo=repo, what=what,
                    of=FIELDS["oid" if "lfs" in what else "space"], size=1,
                    expires=int(time.time()) + 60)  # fmt: skip
        path = f"{address(route, repo)}?seal={served.server.hub.seals.write(seal)}"
        got = served.ask(path, route.method, body=b"?")
        check_code(route, got)
        may_write = MAY["write"] if repo == "team/net" else {"admin"}
        assert (got.code == "InvalidSeal") == (who not in may_write), (repo, who, got)


def check_body_route(route: Route[Hub], level: Level, who: str, got: Got) -> None:
    """Who may is told that it is protected, or there already: so nothing is changed."""
    action = BODIES[route.path][1]
    if who == "nobody":
        assert got.code == "NoToken"
    elif who in MAY[action]:
        assert (got.code == "Conflict") or b"is protected" in got.body, (level, who, got)
    else:
        there = action == "write" or who in READERS[level]
        assert got.code == ("Forbidden" if there else "RepoNotFound"), (level, who, got)
        assert b"protected" not in got.body


def test_each_route_that_names_a_repository_says_who_may_ask() -> None:
    for route in ROUTES:
        if "{namespace}/{name}" in route.path and "NotImplemented" not in route.errors:
            refuses_all = set(route.errors) in ({"NotFound"}, {"RepoNotFound"})
            assert route.scope in ACTIONS or refuses_all, route.path
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert {*get_args(Scope)} == {"open", "listed", "account", "admin", *ACTIONS}


@pytest.mark.parametrize(("level", "purpose"), [*itertools.product(LEVELS, PURPOSES)])
def test_may(level: Level, purpose: Purpose) -> None:
    roles = dict(zip(ROLE_OF, ROLES, strict=True))
    access = Access(path="team/net", level=level, roles=roles)
    for action in ACTIONS:
        able = {
            who for who in WHO
            if may(Actor(name=who, admin=who == "admin", purpose=purpose)
                   if who != "nobody" else ANYBODY, action, access)
        }  # fmt: skip
        meant = MAY.get(action, READERS[level])
        if purpose == "read":
            meant = meant if action == "read" else set()
        elif purpose == "append":
            meant = meant if action in ("read", "write") else set()
        assert able == meant, action


def test_a_token_is_for_what_it_was_made_for() -> None:
    access = Access(path="team/net", level="private", roles={"lab": "writer", "ann": "reader"})
    ann = Actor(name="ann", purpose="write")
    assert not may(ann, "write", access)
    in_lab = replace(ann, teams=frozenset({"lab", "other"}))
    assert role_of(in_lab, access) == "writer", "of two roles, the one that may more"
    for only, seen in (("team", True), ("team/net", True), ("tea", False), ("team/ne", False)):
        limited = replace(in_lab, only=frozenset({only}))
        assert may(limited, "read", access) == may(limited, "write", access) == seen, only
        public = replace(access, level="public")
        assert may(limited, "read", public)
        assert may(limited, "write", public) == seen
    admin = Actor(name="root", admin=True, purpose="write", only=frozenset({"x"}))
    assert not may(admin, "read", access)


def test_whether_all_who_may_read_one_may_read_another() -> None:
    """Never if anybody may not; and where it is clear."""
    given: tuple[dict[str, Role], ...] = ({}, {"lab": "reader"}, {"lab": "owner", "ann": "reader"})
    every = [
        Access(path=path, level=level, roles=roles)
        for path in ("team/net", "team/new", "ben/net") for level in LEVELS for roles in given
    ]  # fmt: skip
    everybody = [ANYBODY, *(Actor(name=who) for who in ("ann", "ben", "team", "cat")),
                 Actor(name="cat", teams=frozenset({"lab"}))]  # fmt: skip
    told = set()
    for other, readers in itertools.product(every, every):
        if other.path != readers.path and all_may_read(other, readers):
            told.add((other.level, readers.level))
            for actor in everybody:
                assert may(actor, "read", other) or not may(actor, "read", readers)
    assert told == {*itertools.combinations_with_replacement(LEVELS, 2)}, "and only these"
    inner = Access(path="team/new", level="private", roles={"lab": "reader"})
    assert all_may_read(replace(inner, path="team/net"), inner)
    assert all_may_read(replace(inner, path="team/net", roles={"lab": "writer"}), inner)
    assert not all_may_read(replace(inner, path="team/net", roles={}), inner)


def test_which_action_a_move_is() -> None:
    assert kind_of_move(there=False, onward=False, protected=True) == "write"
    assert kind_of_move(there=True, onward=True, protected=False) == "write"
    assert kind_of_move(there=True, onward=False, protected=False) == "force"
    assert kind_of_move(there=True, onward=True, protected=True) == "protect"


def test_roles_of_teams(served: Served) -> None:
    """Who has a role in the namespace of a team is in it; what a team has, they have."""
    accounts, ann = served.accounts, served.token("ann", "write")
    accounts.add("lab", team=True)
    with pytest.raises(InvalidOption, match="lab is a team"):
        accounts.new_token("lab", "x")
    for path, is_told in (("ann", True), ("lab", False)):
        with pytest.raises(UnknownName) as swapped:
            accounts.grant(path, "secret", "writer")
        told = f"the name comes first: zoo serve role secret {path} writer"
        assert (told in str(swapped.value.hint)) is is_told
    accounts.grant("secret", "lab", "maintainer")
    assert served.ask("/api/models/secret/net", token=ann).code == "RepoNotFound"
    accounts.grant("lab", "ann", "reader")
    assert served.ask("/api/models/secret/net", token=ann).status == 200
    assert served.ask("/api/models/secret/net/auth-check/write", token=ann).status == 200
    assert [org["name"] for org in served.ask("/api/whoami-v2", token=ann).json["orgs"]] == ["lab"]
    shown = served.ask("/api/users/ann/overview", token=ann).json
    assert (shown["user"], shown["orgs"], shown["numModels"]) == ("ann", [{"name": "lab"}], 0)
    ben, lab = served.token("ben"), "/api/organizations/lab"
    for level, code in (("internal", ""), ("private", "NotFound")):
        accounts.set_level("lab", level=level)
        for who, refused in ((ann, ""), (ben, code)):
            team = served.ask(f"{lab}/overview", token=who)
            members = served.ask(f"{lab}/members", token=who)
            assert (team.code, members.code) == (refused, refused)
            orgs = served.ask("/api/users/ann/overview", token=who).json["orgs"]
            assert bool(orgs) == (not refused)
            if not refused:
                assert team.json["numUsers"] == 1
                assert [each["user"] for each in members.json] == ["ann"]
    for path in ("users/lab", "organizations/ann", "users/nobody", "organizations/nobody"):
        assert served.ask(f"/api/{path}/overview", token=ann).code == "NotFound"
    for only, orgs in (("lab", [{"type": "org", "name": "lab"}]), ("ann/x", [])):
        limited = served.token("ann", "write", only=(only,))
        assert served.ask("/api/whoami-v2", token=limited).json["orgs"] == orgs
    limited = served.token("ann", "write", only=("lab",))
    assert served.ask("/api/models/secret/net", token=limited).code == "RepoNotFound"
    for purpose, code in (("read", "Forbidden"), ("append", "")):
        token = served.token("ann", purpose)
        assert served.ask("/api/models/secret/net/auth-check/write", token=token).code == code
    with pytest.raises(UnknownName):
        accounts.remove("lab")
    accounts.remove("lab", team=True)
    assert served.ask("/api/models/secret/net", token=ann).code == "RepoNotFound"
    assert not any("lab" in given.roles for given in accounts.rules().given())


def test_what_is_said_of_a_name_wins_over_its_namespace(served: Served) -> None:
    ann = served.token("ann")
    assert served.ask("/api/models/secret/net", token=ann).code == "RepoNotFound"
    assert served.ask("/api/models/secret/open", token=ann).status == 200
    assert served.ask("/api/models/secret/open").status == 200
    served.accounts.grant("secret", "ann", "reader")
    assert served.ask("/api/models/secret/net", token=ann).status == 200
    served.accounts.grant("secret", "ann", None)
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


def test_who_asks_is_read_again_once_anything_was_written(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, read = served.token("ann"), []

    def reading(engine: Engine) -> AbstractContextManager[Connection]:
        read.append(engine)
        return engine_module.reading(engine)

    monkeypatch.setattr(module, "reading", reading)

    def look() -> Actor | None:
        return served.accounts.authenticate(token, "team/net")[0]

    assert look()  # which notes when it was used
    assert look()
    read.clear()
    assert look()
    assert not read, "nothing has changed"
    with closing(Accounts.of(Workspace(served.root))) as another:  # as a command does
        another.grant("team/net", "ann", "writer")
        assert served.accounts.authenticate(token, "team/net")[1].access("team/net").roles["ann"]
        another.revoke(token[4:12])
    assert look() is None
    served.accounts.grant("team/net", "ann", None)


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
    for bad in ({"lasts": 0}, {"purpose": "x"}):
        with pytest.raises(InvalidOption):
            accounts.new_token("cleo", "x", **bad)
    with pytest.raises(InvalidReference):
        accounts.new_token("cleo", "x", only=("a/b/c",))
    accounts.grant("team/x", "cleo", "reader")
    accounts.remove("cleo")
    assert served.ask("/api/whoami-v2", token=token).code == "InvalidToken"
    assert not any("cleo" in given.roles for given in accounts.rules().given())
    for unknown in (
        lambda: accounts.remove("cleo"), lambda: accounts.new_token("cleo", "x"),
        lambda: accounts.grant("team/x", "cleo", "reader"), lambda: accounts.revoke("00000000"),
        lambda: accounts.grant("team/x", "cleo", None),
    ):  # fmt: skip
        with pytest.raises(UnknownName):
            unknown()
    with pytest.raises(InvalidOption):
        accounts.set_level("team/x", level="secret")
    with pytest.raises(InvalidOption):
        accounts.grant("team/x", "ann", "king")
    for path in ("team/a/b", "team/", "/x", "*"):
        with pytest.raises(InvalidReference):
            accounts.set_level(path, level="public")


def test_nobody_inherits_what_was_said_of_a_namespace(served: Served) -> None:
    """What is private stays so, as what is in it does."""
    accounts = served.accounts
    for name in ("ida", "idaho"):
        accounts.add(name)
        for path, level in (
            (name, "private"), (f"{name}/a", "public"), (f"{name}/b", "private"),
        ):  # fmt: skip
            accounts.set_level(path, level=level)
            accounts.grant(path, "ann", "writer")
            accounts.webhooks.add("https://ci.lab.org", path)
    accounts.remove("ida")
    given = {each.path: (each.level, dict(each.roles)) for each in accounts.rules().given()}
    mine = {path: said for path, said in given.items() if path.partition("/")[0] == "ida"}
    assert mine == {"ida": ("private", {}), "ida/b": ("private", {})}
    assert given["idaho/a"] == ("public", {"ann": "writer"})
    assert {each.path for each in accounts.webhooks.all()} == {"idaho", "idaho/a", "idaho/b"}
    accounts.remove("idaho")


def test_no_two_admins_delete_each_other(tmp_path: Path) -> None:
    with closing(Accounts.of(Workspace.create(tmp_path / "zoo"))) as accounts:
        for name in ("ada", "bob"):
            accounts.add(name, admin=True)
        accounts.remove("ada", by="bob")
        with pytest.raises(Conflict, match="no admin any more"):
            accounts.remove("bob", by="ada")
        assert [each.name for each in accounts.all()] == ["bob"]


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


def migrate(engine: Engine, revision: str, then: str = "") -> None:
    from alembic import command
    from alembic.config import Config

    steps = Config()
    steps.set_main_option("script_location", str(SCRIPTS))
    with writing(engine) as connection:
        steps.attributes |= {"connection": connection, "version_table": schema.VERSION_TABLE}
        command.upgrade(steps, revision)
        if then:
            connection.exec_driver_sql(then)


def tables(engine: Engine) -> dict[str, object]:
    """All that a database tells of the tables of accounts, and their rows."""
    looked, found = inspect(engine), dict[str, object]()

    def kind(column: ReflectedColumn) -> str:
        text = column["type"].compile(engine.dialect)
        return "INTEGER" if text == "BIGINT" and engine.dialect.name == "sqlite" else text

    for name in (*schema.metadata.tables, schema.VERSION_TABLE):
        columns = sorted(
            (each["name"], kind(each), each["nullable"], each["default"])
            for each in looked.get_columns(name)
        )
        keys = sorted(
            (each["name"] or "", each["constrained_columns"], each["referred_table"],
             each["options"]) for each in looked.get_foreign_keys(name)
        )  # fmt: skip
        more = looked.get_unique_constraints(name), looked.get_check_constraints(name)
        with reading(engine) as connection:
            rows = [*map(tuple, connection.exec_driver_sql(f"SELECT * FROM {name}"))]
        found[name] = (
            columns, looked.get_pk_constraint(name), keys, looked.get_indexes(name), more, rows,
        )  # fmt: skip
    return found


def test_the_tables_are_those_of_the_migrations(
    database: Workspace, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = open_accounts(database)
    where = sqlite.url_of(tmp_path / "migrated.db")
    if engine.dialect.name == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        where = read_url(server.database("migrated_accounts"))
    another = open_engine(where)
    migrate(another, "head")
    assert tables(engine) == tables(another)
    engine.dispose()
    another.dispose()
    database.reindex()  # which leaves the accounts alone
    with_accounts(database)
    database.close()
    with closing(Workspace(database.root)) as again, closing(Accounts.of(again)) as accounts:
        assert [account.name for account in accounts.all()] == ["ann"]


def test_a_provider_of_before_makes_accounts_as_it_did(tmp_path: Path) -> None:
    """Claims and groups came later."""
    file = tmp_path / FILE
    file.touch()
    engine = open_engine(sqlite.url_of(file))
    row = "('lab', 'https://id.lab.org', 'zoo', '', 'a.org', 'lab.org', 1)"
    migrate(engine, "0008", f"INSERT INTO provider VALUES {row}")
    engine.dispose()
    with closing(Accounts(open_file(file))) as accounts:
        (found,) = accounts.providers.all()
    assert found == Provider(
        name="lab", issuer="https://id.lab.org", client_id="zoo", hosts=("a.org",),
        domains=("lab.org",), creates=True,
    )  # fmt: skip


def test_capitals_count_in_whose_something_is(database: Workspace) -> None:
    with closing(Accounts.of(database)) as accounts:
        names = ("Ann/net", "Ann/net:v1", "ann/net", "Ann", "Anna/net", "ANN/x", "Ann-b/x")
        for name in names:
            accounts.audit.note("name made", name)
        told = [row.name for row in accounts.audit.newest(name="Ann", limit=99)]
        assert told == ["Ann/net", "Ann/net:v1", "Ann"]
        told = [row.name for row in accounts.audit.rows(name="Ann/net", limit=99)]
        assert told == ["Ann/net", "Ann/net:v1"]
        for pattern in ("Ann/*", "ann/*", "*/prod", "?nn/x", "Anna/*"):
            accounts.protect(pattern, on=True)
        assert accounts.patterns_for("Ann") == ["*/prod", "?nn/x", "Ann/*"]
        assert accounts.is_protected(Reference.parse("Ann/y"))
        assert not accounts.is_protected(Reference.parse("Ben/y"))


def test_who_others_vouch_for_is_kept(database: Workspace) -> None:
    """What is good once is so for all that wait for it, and an account's end is known."""
    url = "https://id.lab.org"
    with closing(Accounts.of(database)) as accounts:
        providers = accounts.providers
        made = Provider(name="lab", issuer=url, client_id="zoo", hosts=("a.org", "b.org"),
                        domains=("lab.org",), creates=True)  # fmt: skip
        providers.add(made)
        assert providers.all() == [made]
        for name in ("ann", "ben"):
            accounts.add(name)
        accounts.add("vision", team=True)
        steps: tuple[tuple[str, Role | None, Role | None], ...] = (
            ("lab", "reader", "reader"), ("id", "writer", "writer"), ("id", None, "reader"),
            ("lab", None, None),
        )  # fmt: skip
        for provider, given, role in steps:
            with writing(accounts._engine) as connection:
                wanted: dict[str, Role] = {} if given is None else {"vision": given}
                follow(connection, provider, "ben", wanted)
            assert accounts.rules().access("vision").roles.get("ben") == role, "the most counts"
        providers.link_own(url, "7", "ann", "entry", 600)
        providers.link_own(url, "7", "ann", "another", 600)  # once more changes nothing
        for account, entry in (("ben", "third"), ("ann", "entry")):
            with pytest.raises(Conflict):
                providers.link_own(url, "7", account, entry, 600)
        accounts.remove("ann")
        gone = providers.identity(url, "7")
        assert gone
        assert gone.account is None
        with pytest.raises(Conflict):
            providers.link_own(url, "7", "ben", "fourth", 600)
        claims = {"sub": "x", "ref": "main"}
        one = accounts.publishers.add("ben/*", url, claims, hosts=("a.org",))
        assert accounts.publishers.all() == [one]
        assert (one.claims, one.account) == (claims, "ben")
        token, _ = accounts.new_token("ben", "job", "append", ends_with=one.id)

        def spend(_: int) -> bool:
            try:
                with writing(accounts._engine) as connection:
                    spend_once(connection, "token", 60)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert [*pool.map(spend, range(16))].count(True) == 1
        accounts.publishers.remove(one.id)
        (ended,) = [each for each in accounts.tokens("ben") if each.id == token.id]
        assert ended.revoked


def test_what_reaches_what_is_kept_and_told(database: Workspace) -> None:
    """One witness for each, among the names that may be asked; what is deleted is none."""
    with closing(Accounts.of(database)) as accounts:
        reach, one = accounts.reach_table, Reference.parse("a/one")
        two = Reference.parse("a/two:v1")
        first, second, item, other = (Digest("blake3", f"{at}" * 64) for at in range(4))
        assert reach.unknown([first, second]) == {first, second}
        reach.follow(one, 1, [first], {first: [item]}, whole=True)
        reach.follow(two, 3, [first, second], {second: [other, item]}, whole=True)
        assert reach.unknown([first, second]) == set()
        assert (reach.followed(), reach.followed_to(two)) == ({one: 1, two: 3}, 3)
        assert sorted(reach.repos()) == ["a/one", "a/two"]
        assert reach.reached([item, other, first], ["a/one"]) == {
            Witness(first, one, 1): {item, first}
        }
        found = reach.reached([item, other], ["a/one", "a/two"])
        assert found[Witness(second, two, 3)] >= {other}
        assert reach.reached([item], []) == {}
        reach.follow(two, 3, [first, second], {}, whole=False)  # it is looked at again
        assert (reach.followed(), reach.followed_to(two)) == ({one: 1}, None)
        assert reach.followed_to(Reference.parse("a/none")) == 0
        reach.follow(one, 2, [], {}, whole=True)
        reach.forget(second)
        assert reach.reached([item, other], ["a/one", "a/two"]) == {Witness(first, two, 3): {item}}


def with_accounts(workspace: Workspace) -> None:
    accounts = Accounts.of(workspace)
    accounts.add("ann")
    _, secret = accounts.new_token("ann", "laptop")
    found, _ = accounts.authenticate(str(secret))
    assert found
    assert (found.name, found.purpose) == ("ann", "read")
    accounts.set_level("team/net", level="private")
    accounts.grant("team/net", "ann", "reader")
    access = accounts.authenticate(None, "team/net")[1].access("team/net")
    assert (access.level, access.roles) == ("private", {"ann": "reader"})
    chained_by_several(workspace, accounts)
    accounts.close()


def chained_by_several(workspace: Workspace, accounts: Accounts) -> None:
    """Rows of several who write at once, as several processes do, follow each other."""
    before = accounts.audit.head().number
    with closing(Accounts.of(workspace)) as other:
        threads = [
            threading.Thread(target=lambda each=each: [each.audit.note("pruned", "") for _ in "12"])
            for each in (accounts, other, accounts, other)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    head, wrong = accounts.audit.check()
    assert (head.number - before, wrong) == (8, [])
    assert head == accounts.audit.head()


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
