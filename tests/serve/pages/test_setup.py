"""The link for the first account: it works once, for an hour, and while there is none; nothing but
what the server prints as it starts has it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fakes.browser import barriers, browsing, watched
from fakes.served import Got, Served, ask, serving
from sqlalchemy import select

from zoo.errors import Conflict
from zoo.registry.engine import reading
from zoo.serve.who import schema
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.seals import Seal
from zoo.workspace import Workspace

SAME = {"Sec_Fetch_Site": "same-origin"}
TOKEN = re.compile(r"zoo_[0-9A-Za-z]{8}_[0-9A-Za-z]{46}")
LINK = re.compile(r"http://\S+/-/setup\?key=(\S+)")


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Served]:
    """A server without accounts."""
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo") as served:
        yield served


def key_of(served: Served) -> str:
    return served.accounts.setup.key(served.server.hub.seals)


def cookie_of(got: Got) -> str:
    return got.headers["set-cookie"].partition(";")[0]


def opened(url: str, key: str) -> str:
    """The cookie of a browser that has opened the link."""
    got = ask(url, f"/-/setup?key={key}")
    assert (got.status, got.body) == (303, b"")
    return cookie_of(got)


def made(url: str, cookie: str, name: str, **headers: str) -> Got:
    body = urlencode({"name": name}).encode()
    sent = headers or SAME
    return ask(url, "/-/setup", "POST", body=body, Cookie=cookie, **sent)


def is_over(served: Served, key: str) -> bool:
    """Whether a key opens nothing, by itself and as the cookie of who has opened it before."""
    first = ask(served.url, f"/-/setup?key={key}")
    port = served.url.rpartition(":")[2]
    then = made(served.url, f"zoo-setup-{port}={key}", "late")
    assert [each.name for each in served.accounts.all()].count("late") == 0
    assert (first.code, then.code) in (("NotFound", "NotFound"), ("", ""))
    return first.code == "NotFound"


def test_who_opens_the_link_is_an_admin(new: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    key = key_of(new)
    got = ask(new.url, f"/-/setup?key={key}", Accept="text/html")
    assert (got.status, got.headers["location"]) == (303, "/-/setup")
    assert got.headers["referrer-policy"] == "no-referrer"
    assert got.headers["cache-control"] == "no-store"
    assert re.search("; Max-Age=3600; HttpOnly; SameSite=Lax$", got.headers["set-cookie"])
    cookie = cookie_of(got)
    form = ask(new.url, "/-/setup", Cookie=cookie)
    assert (form.status, form.headers["cache-control"]) == (200, "no-store")
    assert key.encode() not in form.body
    assert made(new.url, cookie, "eve", Origin="http://evil.example").code == "Forbidden"
    for wrong in ("", "-", "a/b", "zoo", "a\x00b", '"><script>'):
        again = made(new.url, cookie, wrong)
        assert (again.status, "set-cookie" in again.headers) == (400, False), wrong
        assert b"<script>" not in again.body
    done = made(new.url, cookie, "ann")
    assert (done.status, done.headers["cache-control"]) == (200, "no-store")
    token, session = TOKEN.findall(done.body.decode()), cookie_of(done)
    assert ask(new.url, "/-/people.json", Cookie=session).json["users"][0]["admin"]
    actor, _ = new.accounts.authenticate(token[0])
    assert actor
    assert (actor.name, actor.admin, actor.unlimited) == ("ann", True, True)
    rows = new.accounts.audit.rows(limit=99)
    told = [(row.action, row.who, row.address) for row in rows]
    assert ("account made", "ann", "127.0.0.1") in told
    assert ("set up", "ann", "127.0.0.1") in told
    assert is_over(new, key)
    nowhere = f"{rows}{caplog.text}{caplog.records}{ask(new.url, '/metrics').body!r}"
    assert "/-/setup" in nowhere
    for secret in (key, key.partition(".")[0], token[0], session.partition("=")[2]):
        assert secret not in nowhere


def test_what_opens_nothing(new: Served) -> None:
    seals, key = new.server.hub.seals, key_of(new)
    late, other = (
        Seal(token="", repo="", what=what, of="", upload="x", expires=int(time.time()) + seconds)
        for what, seconds in (("setup", -1), ("sso", 60))
    )
    for none in ("", "x", key[:-1], f"{key}0", seals.write(late), seals.write(other)):
        assert is_over(new, none), none
    assert ask(new.url, "/-/setup").code == "NotFound"
    refused = [row for row in new.accounts.audit.rows(limit=99) if row.result == "NotFound"]
    assert len(refused) == 1, "of one kind, one in a minute"
    assert not new.accounts.setup.find(seals, "")
    ended = key_of(new)
    new.accounts.setup.end(seals, ended)
    assert is_over(new, ended)
    new.accounts.add("lab", team=True)
    assert new.accounts.setup.needed()
    cookie = opened(new.url, key)
    new.accounts.add("ann")
    assert not new.accounts.setup.needed()
    assert made(new.url, cookie, "eve").code == "NotFound", "it was opened in time, and used late"
    new.accounts.remove("ann")
    assert made(new.url, cookie, "ben").status == 200
    new.accounts.remove("ben")
    assert is_over(new, key), "also where all accounts are deleted again"
    with reading(new.accounts._engine) as connection:
        kept = str([*connection.execute(select(schema.spent))])
    assert seals.read(key, "setup").upload not in kept  # type: ignore[union-attr]
    with pytest.raises(Conflict):
        new.accounts.setup.end(seals, key)


def test_of_many_at_once_one_makes_it(new: Served) -> None:
    cookies = [opened(new.url, key) for key in (key_of(new), key_of(new)) for _ in range(4)]
    with ThreadPoolExecutor(8) as threads:
        got = [*threads.map(made, [new.url] * 8, cookies, [f"ann{n}" for n in range(8)])]
    assert sorted(each.status for each in got)[0] == 200
    assert sum(each.status == 200 for each in got) == 1
    assert len(new.accounts.all()) == 1


def test_below_a_path(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo", "https://lab.org/deep/zoo") as served:
        path, host = "/deep/zoo/-/setup", "lab.org"
        got = ask(served.url, f"{path}?key={key_of(served)}", Host=host)
        assert (got.status, got.headers["location"]) == (303, path)
        assert got.headers["set-cookie"].startswith("__Host-zoo-setup=")
        cookie = cookie_of(got)
        form = ask(served.url, path, Host=host, Cookie=cookie)
        assert b'action="/deep/zoo/-/setup"' in form.body
        done = ask(
            served.url, path, "POST", body=b"name=ann", Host=host, Cookie=cookie,
            Sec_Fetch_Site="same-origin",
        )  # fmt: skip
        assert b"zoo login https://lab.org/deep/zoo" in done.body


@dataclass
class Running:
    """A server in processes of its own, and what it has said on stderr so far."""

    url: str
    process: subprocess.Popen[str]
    said: list[str]

    def until(self, begin: str) -> str:
        """The next line of stderr that begins so."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line)
            if line.strip().startswith(begin):
                return line.strip()
        raise AssertionError(self.said)


@contextmanager
def running(root: Path, *options: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "zoo_cli", "--home", str(root), "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            url = re.search(r"http://[\d.:]+\d", process.stdout.readline())
            assert url
            yield Running(url[0], process, [])
        finally:
            process.terminate()
            assert process.stderr
            process.stderr.read()


@pytest.mark.long
def test_the_link_of_a_server_of_several_processes(tmp_path: Path) -> None:
    root = tmp_path / "zoo"
    Workspace.create(root).close()
    with running(root) as first:
        before = first.until("http")
    with running(root, "--workers", "2", "--log-format", "json") as server:
        found = LINK.fullmatch(server.until("http"))
        assert found
        key = found[1]
        old = LINK.fullmatch(before)
        assert old
        for _ in range(6):  # whichever process is asked
            assert ask(server.url, f"/-/setup?key={old[1]}").code == "NotFound", "its server ended"
            cookie = opened(server.url, key)
        assert made(server.url, cookie, "ann").status == 200
        for _ in range(6):
            assert ask(server.url, f"/-/setup?key={key}").code == "NotFound"
        server.process.terminate()
        assert server.process.stderr
        rest = server.process.stderr.read()
        assert "/-/setup" in rest
        assert key.partition(".")[0] not in rest
    with closing(Workspace(root)) as workspace, closing(Accounts.of(workspace)) as accounts:
        assert [each.name for each in accounts.all()] == ["ann"]
    with running(root) as again:
        assert again.until("clients need")
        assert not any("setup" in line for line in again.said)


@pytest.mark.long
def test_in_a_browser(new: Served) -> None:
    with browsing() as browser:
        page = browser.new_page()
        wrong = watched(page, new.url)
        page.goto(f"{new.url}/-/setup?key={key_of(new)}")
        assert page.url == f"{new.url}/-/setup"
        assert page.evaluate("document.activeElement.id") == "name"
        assert barriers(page) == []
        page.keyboard.type("zoo")
        page.keyboard.press("Enter")
        page.get_by_text("'zoo' can be no account").wait_for()
        page.get_by_label("What you are called here").fill("ann")
        page.get_by_role("button", name="Make it, and sign in").click()
        page.get_by_text("ann is an admin").wait_for()
        assert TOKEN.search(page.content())
        assert barriers(page) == []
        page.get_by_role("link", name="Make accounts for others").click()
        page.get_by_role("heading", name="People").wait_for()
        page.goto(f"{new.url}/-/setup")
        assert "this link was used" in page.content()
        assert wrong == []
