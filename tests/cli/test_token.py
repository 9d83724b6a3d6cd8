"""zoo token: one's own tokens at a server; what they may, and where the secret is seen."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.prepared import Run
from fakes.served import Served, serving

import zoo
from zoo.errors import Forbidden
from zoo.logins import ServerUrl, keep_token
from zoo.serve.http.answer import json_answer
from zoo.workspace import Workspace


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("tokens") / "zoo"
    Workspace.create(root).close()
    with serving(root) as served:
        yield served


def log_in(served: Served, token: str) -> None:
    keep_token(ServerUrl.parse(served.url), token)


def names(run: Run, served: Served) -> list[str]:
    return [each["name"] for each in run("token", "ls", served.url, "--json").json]


def test_one_is_made_used_listed_and_revoked(
    bare: Run, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = served.url
    bare("token", "ls", url).refused("a token is needed", f"zoo login {url}")
    log_in(served, served.token("ann", "write"))
    made = bare("token", "create", url, "--name", "ci", "--for", "append", "--only", "ann/net",
                "--days", "30").done()  # fmt: skip
    secret = made.out.strip()
    assert "ci, a token to append with, ann/net only until 20" in made.err
    assert secret not in made.err
    actor, _ = served.accounts.authenticate(secret)
    assert actor
    assert (actor.name, actor.purpose, actor.only) == ("ann", "append", frozenset({"ann/net"}))
    data = bare("token", "create", url, "--json").done().json
    assert (data["name"], data["purpose"], data["only"]) == ("token", "read", [])
    assert served.accounts.authenticate(data["token"])[0]
    listed = bare("token", "list", url).done().out.splitlines()
    assert listed[0].split() == ["ID", "NAME", "FOR", "EXPIRES", "USED", "HERE"]
    (row,) = (line for line in listed if " ci " in line)
    assert "append ann/net  20" in row
    assert sum("this login" in line for line in listed) == 1
    rows = bare("token", "ls", url, "--json").json
    assert {each["name"] for each in rows} == {"test", "ci", "token"}
    assert all("token" not in each for each in rows)
    assert bare("token", "revoke", url, "ci").done().err.startswith("ci (")
    assert served.accounts.authenticate(secret)[0] is None
    assert bare("token", "revoke", url, data["id"], "--json").json == {
        "id": data["id"], "name": "token",
    }  # fmt: skip
    said = "".join(bare("token", "ls", url, *more).out for more in ((), ("--json",))) + caplog.text
    kept = [row.to_json() for row in served.accounts.audit.rows(limit=999)]
    assert [row["who"] for row in kept if row["action"] == "token revoked"] == ["ann", "ann"]
    for one in (secret, data["token"]):
        assert one[13:] not in said + json.dumps(kept)
    gone = bare("token", "revoke", url, "test").done()
    assert f"it was the one of this login: zoo logout {url}" in gone.err
    bare("token", "ls", url).refused("expired, was revoked", f"zoo login {url}")


def test_it_is_as_the_page_says(bare: Run, served: Served) -> None:
    log_in(served, served.token("jo", "write", lasts=90 * 86400))
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    text = re.search(r"```console\n(\$ zoo token .*?)```", page, re.DOTALL)
    assert text
    typed = [each.split("\n", 1) for each in text[1].split("$ ")[1:]]
    for line, shown in typed:
        done = bare(*line.replace("https://zoo.lab.org", served.url).split()[1:]).done()
        told = (done.out + done.err).replace("test ", "laptop ")
        assert plain(told) == plain(shown), line


def plain(text: str) -> set[str]:
    """Lines without what is another each time."""
    text = re.sub(r"zoo_\w{55,}|\d{4}-\d\d-\d\dT[\d:]{8}Z", "…", text)
    text = re.sub(r"(?m)^\w{8}(?= )|(?<=\()\w{8}(?=\))", "ID", text)
    return {" ".join(line.split()) for line in text.splitlines()}


def test_what_is_wrong_is_told(bare: Run, served: Served) -> None:
    url = served.url
    log_in(served, served.token("ben", "write"))
    create = ("token", "create", url)
    bare(*create, "--only", "a b").refused("a b")
    bare(*create, "--name", "x\x07y").refused("name")
    bare(*create, "--name", "").refused()
    bare(*create, "--name", "x" * 101).refused()
    assert bare(*create, "--for", "all").code == 2
    assert bare(*create, "--days", "0").code == 2
    bare("token", "ls", "zoo.lab.org").refused("not the URL of a server")
    bare("token", "ls", "http://user:secret@here").refused("must not hold credentials")
    for _ in "12":
        bare(*create, "--name", "twin").done()
    bare("token", "revoke", url, "twin").refused("2 tokens are called 'twin'", "say which: ")
    bare("token", "revoke", url, "twn").refused("unknown token 'twn'", "twin", "zoo token ls")
    assert names(bare, served).count("twin") == 2
    assert "Usage: zoo token" in bare("token").out


@pytest.mark.parametrize(
    ("purpose", "only"), [("read", ()), ("append", ()), ("write", ("cat/net",))]
)
def test_a_token_for_less_makes_and_revokes_none(
    bare: Run, served: Served, purpose: str, only: tuple[str, ...]
) -> None:
    """A job of CI has one to append for a repository."""
    other = served.token("cat", "read")[4:12]
    log_in(served, served.token("cat", purpose, only=only, lasts=900))
    before = served.accounts.tokens("cat")
    bare("token", "create", served.url).refused("takes a token to write", "zoo login")
    bare("token", "revoke", served.url, other).refused("unknown token" if only else "to write")
    with pytest.raises(Forbidden):
        zoo.Zoo.make_token(served.url, "x")
    assert [each.revoked for each in served.accounts.tokens("cat")] == [
        each.revoked for each in before
    ]
    seen = zoo.Zoo.tokens(served.url)
    assert len(seen) == (1 if only else len(before)), "for some names it shows itself alone"


def test_one_that_expires_makes_none_that_lasts_longer(served: Served) -> None:
    log_in(served, served.token("dan", "write", lasts=3600))
    done = zoo.Zoo.make_token(served.url, "long", purpose="write", days=100)
    made, secret = done.made, done.secret
    (own,) = (each for each in zoo.Zoo.tokens(served.url) if each.here)
    assert made.expires == own.expires
    assert secret[13:] not in repr(done) + done._repr_html_()
    log_in(served, secret)
    assert zoo.Zoo.make_token(served.url, "longer").made.expires == own.expires


def test_those_of_others_are_none_of_ones_business(bare: Run, served: Served) -> None:
    theirs = served.token("eve", "write")[4:12]
    for who in ("fay", "admin"):
        token = served.token(who, "write")
        log_in(served, token)
        bare("token", "revoke", served.url, theirs).refused("unknown token")
        got = served.ask(f"/zoo/v1/tokens/{theirs}", "DELETE", token=token)
        assert got.code == "NotFound"
        assert {each.id for each in zoo.Zoo.tokens(served.url)}.isdisjoint({theirs})
    assert not served.accounts.tokens("eve")[0].revoked


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"name": 1}', '{"name": ""}', '{"name": "x", "only": [""]}',
     '{"name": "x", "purpose": "admin"}', '{"name": "x", "days": 0}',
     '{"name": "x", "days": 1e9}', '{"name": "x", "only": "team"}', '{"name": "x", "by": "y"}',
     '{"name": "x", "account": "admin"}', '{"name": "\\u0000"}', '{"name": "\\ud800"}',
     '{"name": "x", "only": ["' + '","'.join(["team"] * 101) + '"]}'],
)  # fmt: skip
def test_bodies_that_are_none(served: Served, body: str) -> None:
    token = served.token("gil", "write")
    before = len(served.accounts.tokens())
    got = served.ask("/zoo/v1/tokens", "POST", token=token, body=body.encode())
    assert (got.status, got.code) == (400, "BadRequest")
    assert len(served.accounts.tokens()) == before


def test_an_answer_is_for_who_asks_alone(served: Served) -> None:
    token = served.token("hal", "write")
    for method, body in (("GET", b""), ("POST", b'{"name": "x"}')):
        got = served.ask("/zoo/v1/tokens", method, token=token, body=body)
        assert (got.status, got.headers["cache-control"]) == (200, "no-store")
    form = b"token=" + token.encode()
    signed = served.ask("/sign-in", "POST", body=form, Sec_Fetch_Site="same-origin")
    cookie = signed.headers["set-cookie"].partition(";")[0]
    assert served.ask("/zoo/v1/tokens", Cookie=cookie).code == "NoToken", "a session is for pages"


def test_what_a_server_says_is_not_obeyed(
    bare: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No letters that a terminal acts on, and nothing that is no list of tokens."""
    log_in(served, served.token("ivy", "write"))
    row: dict[str, object] = {
        "id": "x", "name": "\x1b[2J", "purpose": "read", "only": [], "made": "", "used": None,
        "expires": None, "ended": "", "ends_with": None, "here": False,
    }  # fmt: skip

    def answering(told: object) -> None:
        monkeypatch.setattr(
            "zoo.serve.native.tokens.json_answer", lambda *_, **__: json_answer(told)
        )

    answering({"tokens": [row], "made": row, "token": "zoo\x1b[2J"})
    for line in (("ls",), ("create", "--name", "x")):
        said = bare("token", line[0], served.url, *line[1:]).done()
        assert "\x1b" not in said.out + said.err
    odd: tuple[object, ...] = ([], {"tokens": {}}, {"tokens": [{"id": 1}]})
    for told in odd:
        answering(told)
        bare("token", "ls", served.url).refused("no zoo answers there")


def test_logged_in_nowhere(bare: Run, tmp_path: Path) -> None:
    bare("token", "ls", "http://127.0.0.1:9").refused("no server answers")
    bare("token", "ls", "file:///x").refused("not the URL of a server")
