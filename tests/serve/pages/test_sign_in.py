"""Signing in: a session stands for a token, counts for reading, and only our own pages change
anything.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fakes.browser import browsing, watched
from fakes.elsewhere import elsewhere
from fakes.served import Got, Served, serving
from sqlalchemy import select, update

from zoo.registry.engine import reading, writing
from zoo.serve.who import schema
from zoo.workspace import Workspace

HTML = "text/html,*/*;q=0.8"
SAME = {"Sec_Fetch_Site": "same-origin"}


def post(served: Served, path: str, cookie: str = "", body: str = "", **headers: str) -> Got:
    sent = {"Cookie": cookie} if cookie else {}
    return served.ask(path, "POST", body=body.encode(), **sent, **(headers or SAME))


def sign_in(served: Served, token: str, next_: str = "/", **headers: str) -> Got:
    return post(served, "/sign-in", "", urlencode({"token": token, "next": next_}), **headers)


def cookie_of(got: Got) -> str:
    return got.headers["set-cookie"].partition(";")[0]


def names(served: Served, cookie: str) -> set[str]:
    rows = served.ask("/index.json", Cookie=cookie).json["rows"]
    return {row["repo"] for row in rows}


def test_a_session_shows_what_its_token_may_read(served: Served) -> None:
    got = sign_in(served, served.token("ann"), "/team/net?revision=v1")
    assert (got.status, got.headers["location"]) == (303, "/team/net?revision=v1")
    port = served.url.rpartition(":")[2]
    assert re.fullmatch(
        rf"zoo-{port}=[\w-]{{43}}; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax",
        got.headers["set-cookie"],
    )
    cookie = cookie_of(got)
    assert names(served, cookie) == {"team/net", "shown/net", "secret/open"}
    assert b"ann" in served.ask("/", Accept=HTML, Cookie=cookie).body
    narrow = cookie_of(sign_in(served, served.token("ann", only=("team/other",))))
    assert names(served, narrow) == {"shown/net", "secret/open"}, "no more than the token"
    path = "/team/net/resolve/main/config.json"
    assert served.ask(path, Cookie=cookie).status == 307, "files can be downloaded"
    assert served.ask(path).status == 401


def test_a_session_ends_with_its_token_and_in_time(served: Served) -> None:
    token = served.token("ben")
    cookie = cookie_of(sign_in(served, token))
    assert "team/net" in names(served, cookie)
    served.accounts.revoke(token[4:12])
    assert names(served, cookie) == names(served, "")
    late = cookie_of(sign_in(served, served.token("ben")))
    assert "team/net" in names(served, late)
    with writing(served.accounts._engine) as connection:
        past = update(schema.session).values(expires="2020-01-01T00:00:00Z")
        connection.execute(past)
    assert names(served, late) == names(served, "")
    sign_in(served, served.token("ben"))
    with reading(served.accounts._engine) as connection:
        expires = connection.scalars(select(schema.session.c.expires)).all()
    assert len(expires) == 1, "those that have expired are forgotten"


def test_who_signs_out_is_out(served: Served) -> None:
    cookie = cookie_of(sign_in(served, served.token("cat")))
    got = post(served, "/sign-out", cookie)
    assert (got.status, got.headers["location"]) == (303, "/")
    assert "Max-Age=0" in got.headers["set-cookie"]
    assert got.headers["clear-site-data"] == '"cache"'
    assert names(served, cookie) == names(served, "")


def test_no_secret_is_kept(served: Served) -> None:
    secret = cookie_of(sign_in(served, served.token("dan"))).partition("=")[2]
    with reading(served.accounts._engine) as connection:
        rows = [*connection.execute(select(schema.session))]
    assert hashlib.sha256(secret.encode()).hexdigest() in [row.digest for row in rows]
    assert secret not in str(rows)
    told = [(row.action, row.who) for row in served.accounts.audit.rows(limit=999)]
    assert ("session begun", "") in told or ("session begun", "dan") in told


def test_what_is_no_token_is_told_in_the_form(served: Served) -> None:
    for wrong in ("", "zoo_nothing", served.token("eve")[:-1] + "!"):
        got = sign_in(served, wrong, '"><script>alert(1)</script>')
        assert got.status == 401
        assert b"no token of this server" in got.body
        assert "set-cookie" not in got.headers
        assert b"<script>alert" not in got.body
        assert not wrong or wrong.encode() not in got.body, "it may be nearly one"


@pytest.mark.parametrize(
    "next_",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", "", "a", "/\x85",
     "javascript:alert(1)"],
)  # fmt: skip
def test_it_leads_nowhere_else(served: Served, token: str, next_: str) -> None:
    got = sign_in(served, token, next_)
    assert (got.status, got.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "none"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "{url}"}, True),
        ({"Origin": "{url}", "Sec_Fetch_Site": "cross-site"}, False),
        ({"X_Nothing": "1"}, False),
    ],
)
def test_only_our_own_pages_sign_anybody_in_or_out(
    served: Served, token: str, headers: dict[str, str], fine: bool
) -> None:
    sent = {name: text.format(url=served.url) for name, text in headers.items()}
    got = sign_in(served, token, "/", **sent)
    assert (got.status, got.code) == ((303, "") if fine else (403, "Forbidden"))
    cookie = cookie_of(sign_in(served, token))
    assert (post(served, "/sign-out", cookie, **sent).status == 303) == fine
    assert ("team/net" in names(served, cookie)) != fine


def test_a_session_changes_nothing_by_the_interfaces_of_programs(served: Served) -> None:
    """Nor does it read by them what has no repository in its path."""
    cookie = cookie_of(sign_in(served, served.token("admin", "write")))
    for method, path in (
        ("POST", "/api/repos/create"), ("DELETE", "/api/repos/delete"),
        ("POST", "/api/models/team/net/branch/b"), ("PUT", "/api/models/team/net/settings"),
        ("DELETE", "/zoo/v1/store/refs/team/net/latest/00000001.json"),
        ("GET", "/api/models/team/net/xet-write-token/main"), ("GET", "/zoo/v1/audit"),
    ):  # fmt: skip
        got = served.ask(path, method, body=b"{}", Cookie=cookie, **SAME)
        assert got.code in ("NoToken", "RepoNotFound"), (method, path, got)
        assert got.status in (401, 404)
    assert served.ask("/api/models/team/net", Cookie=cookie).status == 200


def test_a_token_in_a_header_wins(served: Served, token: str) -> None:
    cookie = cookie_of(sign_in(served, token))
    assert served.ask("/index.json", token="zoo_wrong", Cookie=cookie).code == "InvalidToken"


def test_over_https_the_cookie_is_for_this_host_only(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo", "https://zoo.lab.org/models") as served:
        host = {"Host": "zoo.lab.org", "Origin": "https://zoo.lab.org"}
        got = sign_in(served, served.token("ann"), "/team/net", **host)
        assert got.headers["location"] == "/models/team/net"
        assert re.fullmatch(
            r"__Host-zoo=[\w-]{43}; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax; Secure",
            got.headers["set-cookie"],
        )
        page = served.ask("/models/", Host="zoo.lab.org", Accept=HTML, Cookie=cookie_of(got)).body
        assert b'action="/models/sign-out"' in page
        assert re.search(rb'href="/models/-/[0-9a-f]+/zoo.css"', page)


@pytest.mark.long
def test_signing_in_and_out_in_a_browser(served: Served) -> None:
    """By keyboard alone, from the page that may not be seen to that page, and out again; another
    site's form signs nobody out.
    """
    token = served.token("ann")
    with browsing() as browser:
        page = browser.new_page(java_script_enabled=True)
        wrong = watched(page, served.url)
        page.goto(f"{served.url}/")
        assert page.locator("main tbody tr").count() == 2
        page.get_by_role("link", name="Sign in").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/sign-in*")
        assert page.evaluate("document.activeElement.id") == "token"
        page.keyboard.type(token)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{served.url}/")
        assert page.get_by_text("ann", exact=True).count() == 1
        assert page.locator("main tbody tr").count() == 4, "tags of one are one row"
        assert not wrong
        form = f'<form method=post action="{served.url}/sign-out"><button>x</button></form>'
        with elsewhere(form) as other:
            page.goto(other)
            page.click("button")
            assert "not sent by a page of this server" in page.content()
        page.goto(f"{served.url}/")
        page.get_by_role("button", name="Sign out").press("Enter")
        page.get_by_role("link", name="Sign in").first.wait_for()
        assert page.locator("main tbody tr").count() == 2
