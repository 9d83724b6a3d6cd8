"""zoo ui: the pages of one's own zoo, for who has the link, as docs/pages.md shows it."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fakes.browser import browsing, watched
from fakes.checkpoints import add_checkpoint

from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "pages.md").read_text()
HTML = "text/html,*/*;q=0.8"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        add_checkpoint(workspace, "team/flowers")
    return tmp_path / "zoo"


@contextmanager
def started(root: Path, *options: str, **more: str) -> Iterator[str]:
    """The link that a program prints, which is then interrupted."""
    command = [sys.executable, "-m", "zoo_cli", "ui", *options]
    with subprocess.Popen(
        command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **more},
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            said = process.stdout.readline()
            shown = re.search(r"^/home/ana/zoo(, .*)http\S+$", PAGE, re.MULTILINE)
            assert shown
            assert said.startswith(f"{root}{shown[1]}http")
            link = said.split()[-1]
            yield link
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            assert link.partition("key=")[2] not in errors, "it is in no log"
        finally:
            process.kill()


@pytest.fixture
def link(root: Path) -> Iterator[str]:
    with started(root, "--no-browser") as link:
        yield link


def ask(
    link: str, target: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection(urlsplit(link).netloc, timeout=30)
    with closing(connection):
        connection.request(method, target, b"", headers)
        got = connection.getresponse()
        return got.status, {k.lower(): v for k, v in got.getheaders()}, got.read().decode()


@pytest.mark.long
def test_it_opens_to_one_browser_and_to_nobody_else(root: Path, link: str) -> None:
    port, target = urlsplit(link).port, f"/-/open?{urlsplit(link).query}"
    assert link.startswith(f"http://127.0.0.1:{port}/-/open?key=")
    assert ask(link, "/", Accept=HTML)[0] == 401, "the port alone opens nothing"
    rebound = ask(link, target, Host=f"evil.example:{port}")
    assert rebound[0] == 421, "a name of somebody else's that leads here"
    assert ask(link, target[:-1], Accept=HTML)[0] == 401
    status, headers, _ = ask(link, target)
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"].partition(";")[0]
    status, _, page = ask(link, "/", Accept=HTML, Cookie=cookie)
    assert status == 200
    assert "team/flowers" in page
    assert "Sign in" not in page
    status, _, page = ask(link, target, Accept=HTML)
    assert status == 401, "it works once"
    assert "used already" in page
    assert "Sign in</a>" not in page
    assert ask(link, target, Cookie=cookie)[0] == 303, "but for who is in already"
    for path in (
        "/",
        "/index.json",
        "/api/models",
        "/api/models/team/flowers",
        "/zoo/v1",
        "/metrics",
    ):
        assert ask(link, path)[0] == 401, path
    assert ask(link, "/api/models/team/flowers", Cookie=cookie)[0] == 200
    for method, path in (
        ("POST", "/api/repos/create"), ("DELETE", "/zoo/v1/store/refs/team/flowers/latest/1.json"),
        ("POST", "/api/models/team/flowers/branch/b"), ("PUT", "/api/models/team/flowers/settings"),
    ):  # fmt: skip
        assert ask(link, path, method, Cookie=cookie)[0] == 401, path
    assert not (root / "accounts.db").exists()


@pytest.mark.long
def test_accounts_of_the_zoo_do_not_count(root: Path, link: str) -> None:
    with closing(Workspace(root)) as workspace, closing(Accounts.of(workspace)) as accounts:
        accounts.add("ann", admin=True)
        token = accounts.new_token("ann", "x", "write")[1]
    assert ask(link, "/index.json", Authorization=f"Bearer {token}")[0] == 401


@pytest.mark.long
def test_no_other_user_sees_the_link(root: Path, tmp_path: Path) -> None:
    """What a program was started with is shown to everybody on the machine."""
    browser, told = tmp_path / "browser", tmp_path / "told"
    browser.write_text(
        '#!/bin/sh\np="${1#file://}"\n'
        '{ echo "$@"; ls -l "$p"; ls -ld "$(dirname "$p")"; cat "$p"; }'
        f" > {told}.part\nmv {told}.part {told}\n"
    )
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    with started(root, BROWSER=f"{browser} %s") as link:
        until = time.monotonic() + 20
        while not told.exists() and time.monotonic() < until:
            time.sleep(0.02)
    said, file, folder, *page = told.read_text().splitlines()
    assert re.fullmatch(r"file:///\S+/open.html", said)
    assert (file[:10], folder[:10]) == ("-rw-------", "drwx------")
    assert link in "".join(page)
    assert not Path(said.removeprefix("file://")).exists(), "it is gone with the program"


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_lying_about(root: Path, tmp_path: Path, how: signal.Signals) -> None:
    passing = tmp_path / "passing"
    passing.mkdir()
    command = [sys.executable, "-m", "zoo_cli", "ui", "--no-browser"]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(passing)}
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        assert len([*passing.iterdir()]) == 2
        process.send_signal(how)
        process.wait(timeout=20)
    assert [*passing.iterdir()] == []


def test_without_the_extra_it_says_which(root: Path) -> None:
    code = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'jinja2' else find(name, *more)\n"
        "from zoo_cli.main import main; main(['ui', '--no-browser'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "jinja2" in done.stderr
    assert "pip install 'zoo-registry[serve]'" in done.stderr


@pytest.mark.long
def test_in_a_browser(link: str) -> None:
    root = link.partition("/-/")[0]
    with browsing() as browser:
        page = browser.new_page()
        wrong = watched(page, root)
        page.goto(link)
        assert page.url == f"{root}/"
        assert page.get_by_role("link", name="team/flowers").count() == 1
        assert not wrong
        page.reload()
        assert page.get_by_role("link", name="team/flowers").count() == 1
        stranger = browser.new_context().new_page()
        stranger.goto(link)
        assert stranger.get_by_role("heading", name="Sign in to see this").count() == 0
        assert "used already" in stranger.content()
