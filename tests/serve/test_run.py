"""The process: what it needs, where it listens, that it has no torch, and what its pages say."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fakes.served import Served, serving

import zoo
from zoo.errors import InvalidOption, MissingPackage, Unavailable
from zoo.serve import PACKAGES, check_installed, run
from zoo.serve.http import answer, cycle
from zoo.serve.http.errors import CODES
from zoo.serve.http.guard import Address
from zoo.serve.hub.absent import ABSENT, ELSEWHERE
from zoo.serve.run import Server
from zoo.serve.table import ROUTES
from zoo.serve.watch import logs
from zoo.serve.who.locks import Locks
from zoo.workspace import Workspace

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()
HEAVY = (
    "torch",
    "timm",
    "torchvision",
    "huggingface_hub",
    "numpy",
    "PIL",
    "sklearn",
    "zoo.exchange",
)
RUN = f"""
import gc, sys, threading, urllib.request
from pathlib import Path
from zoo.serve.run import Address, run
from zoo.workspace import Workspace

def ask(url):
    def look():
        urllib.request.urlopen(url + "/api/models").read()
        [each.join() for each in threading.enumerate() if each.name == "warm"]
        heavy = [name for name in {HEAVY} if name in sys.modules]
        print(heavy, gc.get_freeze_count() > 50_000, flush=True)
    threading.Thread(target=look).start()

address = Address.checked("127.0.0.1", 0, "")
run(Workspace(Path(sys.argv[1])), address, ask, quiet=True, tries=True)
"""


@pytest.mark.parametrize(
    "how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_the_server_has_no_torch_and_ends_when_it_is_told_to(
    tmp_path: Path, how: signal.Signals
) -> None:
    """Nor does the garbage collector look through all of it, again and again."""
    zoo.init(tmp_path / "zoo").close()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path / "zoo")], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "[] True\n"
    assert [*tmp_path.glob("zoo-try-*")]
    process.send_signal(how)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert [*tmp_path.glob("zoo-try-*")] == [], "what it made for itself is gone"


def test_it_listens_where_nobody_else_does(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    workspace = Workspace(served.root)
    with pytest.raises(Unavailable, match="Address already in use") as taken:
        Server(workspace, Address.checked("127.0.0.1", port, ""))
    assert "--port" in taken.value.advice
    workspace.close()


def test_what_is_done_beside_outlasts_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket is away just as a machine begins to do what one does for all."""
    zoo.init(tmp_path / "zoo").close()
    leads, tried = iter([False]), threading.Event()

    def fails(_: Server) -> None:
        tried.set()
        raise Unavailable("s3://lab/zoo", "does not answer")

    monkeypatch.setattr(Server, "_prepare_all", fails)
    monkeypatch.setattr(Locks, "leads", lambda _: next(leads, True))
    monkeypatch.setattr(run, "LEAD_SECONDS", 0.01)
    with serving(tmp_path / "zoo") as served:
        assert tried.wait(20)
        time.sleep(0.05)
        assert "tend" in {each.name for each in served.server._threads if each.is_alive()}


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", ""), ("zoo.lab.org", ""), ("::", ""), ("127.0.0.1", "zoo.lab.org"),
     ("127.0.0.1", "ftp://x"), ("127.0.0.1", "https://u:p@x"), ("127.0.0.1", "https://")],
)  # fmt: skip
def test_what_is_not_safe_is_refused(host: str, url: str) -> None:
    with pytest.raises(InvalidOption):
        Address.checked(host, 8765, url)


def test_it_can_stand_behind_a_proxy_below_a_path(tmp_path: Path, served: Served) -> None:
    with serving(served.root, "https://lab.org/zoo/") as behind:
        token = behind.token("proxy")
        for path in (
            "/zoo/team/net/resolve/main/config.json",
            "/team/net/resolve/main/config.json",
        ):
            got = behind.ask(path, token=token, Host="lab.org")
            assert re.fullmatch(
                r"/zoo/team/net/resolve/[0-9a-f]{40}/config\.json",
                got.headers["location"],
            )
        listed = behind.ask("/zoo/api/models?limit=1", token=token, Host="lab.org")
        assert listed.headers["link"].startswith("<https://lab.org/zoo/api/models?")
        assert behind.ask("/api/models", Host="lab.org:80").code == "WrongHost"
        assert behind.server.url == "https://lab.org/zoo"


def test_files_go_without_a_copy_whatever_a_proxy_says(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = cycle._send_file, []

    async def noted(*args: Any) -> None:
        sent.append(args)
        await send(*args)

    monkeypatch.setattr(cycle, "_send_file", noted)
    monkeypatch.setattr(answer, "SMALL", 0)
    with serving(served.root, "https://lab.org") as behind:
        asked = "/team/net/resolve/main/more.safetensors"
        there = behind.ask(asked, token=token, Host="lab.org").headers["location"]
        got = behind.ask(there, token=token, Host="lab.org", X_Forwarded_Proto="https")
    assert len(got.body) == 2304
    assert sent


def test_what_it_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = [re.split("[><=]", each)[0] for each in project["optional-dependencies"]["serve"]]
    modules = {each.replace("-", "_") for each in extra}
    assert modules ^ {"markdown_it_py", "markdown_it"} == {*PACKAGES}
    check_installed()
    monkeypatch.setattr("zoo.serve.find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(MissingPackage, match="uvicorn") as lacking:
        check_installed()
    assert "zoo-registry[serve]" in lacking.value.advice


def test_the_page_has_every_route() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(/[^`]*)` \| (\w+) \| (.+) \|$", PAGE, re.MULTILINE)
    absent = {*ABSENT, *ELSEWHERE}
    assert rows == [
        (route.method, route.path, route.scope, route.summary)
        for route in ROUTES if route not in absent
    ]  # fmt: skip


def test_the_page_has_every_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(name, str(code.status), code.meaning) for name, code in CODES.items()]


@pytest.mark.long
def test_it_answers_soon(tmp_path: Path) -> None:
    """In processor's time, whatever else the machine does."""
    zoo.init(tmp_path).close()
    command = [sys.executable, "-m", "zoo_cli", "serve", "--port", "0", "--json"]
    for _ in range(2):  # the first one makes the accounts
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(3)]
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            seconds = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
            process.send_signal(signal.SIGINT)
        assert json.loads("".join(lines))["url"].startswith("http://127.0.0.1:")
        time.sleep(0.1)
    assert seconds < 3


def test_nobodys_text_makes_a_line_of_the_log() -> None:
    lines = logs._Lines("%(message)s")
    forged = "it failed\n2026-01-01 a lie\x1b[2J\u202e"
    record = logging.makeLogRecord({"msg": "%s holds files only: %s", "args": ("a/b", forged)})
    assert lines.format(record) == "a/b holds files only: it failed?2026-01-01 a lie?[2J?"
    try:
        raise RuntimeError(forged)
    except RuntimeError:
        record.exc_info = sys.exc_info()
    _, *others = lines.format(record).splitlines()
    assert others
    assert all(line.startswith("  ") for line in others)
