"""Several processes that answer at one address: one that dies is started again, and what is sent
to one is there for the others.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlencode

import numpy as np
import pytest
from blake3 import blake3
from fakes.checkpoints import add_checkpoint, assert_sound
from fakes.postgres import Server as Postgres
from fakes.sampled import every
from fakes.served import Got, ask, commit, running
from fakes.signed import sign_in
from huggingface_hub import HfApi

from zoo.domain.digest import Digest
from zoo.domain.limits import UPLOAD_PART_BYTES
from zoo.logins import ServerUrl, keep_token
from zoo.serve.keep.alone import alone_in
from zoo.serve.keep.room import UsageCounter
from zoo.serve.who.accounts import Accounts
from zoo.store.disk import Disk
from zoo.store.listing import name_of
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

HOLD = """
import sys
from pathlib import Path
from zoo.serve.keep.alone import alone_in
from zoo.serve.keep.room import UsageCounter
from zoo.store.disk import Disk
with alone_in(Disk(Path(sys.argv[1])), "refs"):
    print("in", flush=True)
    sys.stdin.read()
"""
SENDS = Path(__file__).parent / "stock_sends.py"


@dataclass(frozen=True)
class Serving:
    """``zoo serve --workers``, what its first account may write by, and its ``ZOO_DB``."""

    url: str
    root: Path
    token: str
    process: subprocess.Popen[str]
    database: str

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        pid = self.process.pid
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


@contextmanager
def serving(root: Path, count: int) -> Iterator[Serving]:
    with closing(Workspace.create(root)) as made, closing(Accounts.of(made)) as who:
        who.add("ann")
        token = str(who.new_token("ann", "x", "write")[1])
    with running(root, "--workers", str(count)) as (url, process):
        yield Serving(url, root, token, process, os.environ.get("ZOO_DB", ""))


def until(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.02)


def counted(served: Serving) -> float:
    """How many requests are counted; one is, a moment after its answer has arrived."""
    text = ask(served.url, "/metrics").body.decode()
    rows = re.findall(r'^zoo_requests_total\{route="GET /api/models".*\} (.+)$', text, re.MULTILINE)
    return sum(map(float, rows))


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]
)
def two(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """Two workers, whose accounts and index are in either database."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "postgresql":
            server: Postgres = request.getfixturevalue("postgres_server")
            patch.setenv("ZOO_DB", server.database("workers"))
        with serving(tmp_path_factory.mktemp("workers") / "zoo", 2) as served:
            yield served


def test_one_that_is_killed_is_started_again(two: Serving, tmp_path: Path) -> None:
    before = counted(two)
    for _ in range(20):
        assert ask(two.url, "/api/models").status == 200
    until(lambda: counted(two) == before + 20)  # whichever is asked tells of both
    first, second = two.workers()
    os.kill(first, signal.SIGKILL)
    for _ in range(20):
        with suppress(ConnectionError):  # it had this very connection
            ask(two.url, "/api/models")
    until(lambda: len(two.workers()) == 2 and first not in two.workers())
    assert second in two.workers()
    until(lambda: counted(two) >= before + 39)  # what the first had counted is not lost


def test_parts_are_put_together_by_whichever_is_asked(two: Serving) -> None:
    pieces = [os.urandom(UPLOAD_PART_BYTES) for _ in range(3)]
    data = b"".join(pieces)
    key = name_of("objects", Digest("blake3", blake3(data).hexdigest()))
    hashes = [blake3(piece).hexdigest() for piece in pieces]

    def send(path: str, method: str, body: bytes) -> Got:
        return ask(two.url, f"/zoo/v1/parts/{path}", method, token=two.token, body=body)

    for number, piece in enumerate(pieces):
        assert send(f"{number}-{hashes[number]}/{key}", "PUT", piece).status == 201
    whole = json.dumps({"parts": hashes}).encode()
    with ThreadPoolExecutor(12) as pool:
        got = [*pool.map(lambda _: send(key, "POST", whole), range(12))]
    assert [each.status for each in got] == [201] * 12
    with closing(Workspace(two.root)) as there:
        assert_sound(there.store)


def test_a_program_is_let_in_by_whichever_is_asked(two: Serving) -> None:
    """It begins at one, is confirmed at another, and gets one token, however many ask for it."""
    who, tokens = sign_in(two.url, two.token), []

    def poll(code: str) -> dict[str, str]:
        sent = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": code}
        told: dict[str, str] = ask(
            two.url, "/oauth/token", "POST", body=urlencode(sent).encode()
        ).json
        return told

    for number in range(6):
        begun = ask(two.url, "/oauth/device", "POST").json
        sent = {"user_code": begun["user_code"], "purpose": "read", "name": f"program {number}"}
        assert (
            begun["user_code"] in who.get(f"/-/device?user_code={begun['user_code']}").body.decode()
        )
        who.did("/-/device", do="let-in", **sent)
        with ThreadPoolExecutor(8) as pool:
            told = [*pool.map(lambda _, code=begun["device_code"]: poll(code), range(8))]
        (made,) = [each["access_token"] for each in told if "access_token" in each]
        tokens.append(made)
        assert {each.get("error") for each in told} <= {None, "invalid_grant", "slow_down"}
    for token in tokens:
        assert ask(two.url, "/api/whoami-v2", token=token).json["name"] == "ann"
    wrong = [who.get(f"/-/device?user_code=BBBB-BBB{letter}").status for letter in "BCDFGHJK"]
    assert wrong == [200] * 5 + [429] * 3, "all of them count"


def test_what_is_for_one_alone_is_so_for_all_processes(tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    got = Event()

    def enter() -> None:
        with alone_in(Disk(tmp_path), "refs"):
            got.set()

    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdin
        assert other.stdout.readline() == b"in\n"
        waiting = Thread(target=enter)
        waiting.start()
        assert not got.wait(0.2)
        other.stdin.close()
        assert got.wait(60)
        waiting.join()


def test_a_push_and_a_pull(two: Serving, tmp_path: Path) -> None:
    keep_token(ServerUrl.parse(two.url), two.token)
    with (
        closing(Workspace.create(tmp_path / "mine")) as mine,
        closing(Workspace.create(tmp_path / "theirs")) as theirs,
    ):
        large = np.random.default_rng(0).standard_normal((2300, 2300), "f4")
        digest = add_checkpoint(mine, "ann/net", {"large": large})
        push(mine, "ann/net", two.url)
        assert pull(theirs, "ann/net", two.url)[1].manifest == digest


@pytest.mark.long
def test_commits_at_once_never_go_over_a_quota(
    two: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve at a time, each to a name of its own, of which each alone fits."""
    if two.database:
        monkeypatch.setenv("ZOO_DB", two.database)
    with closing(Workspace(two.root)) as there, closing(Accounts.of(there)) as who:
        for turn in range(4):
            team, names = f"team{turn}", range(12)
            who.add(team, team=True)
            who.grant(team, "ann", "owner")
            for name in names:
                made = json.dumps({"name": f"n{name}", "organization": team}).encode()
                ask(two.url, "/api/repos/create", "POST", token=two.token, body=made)
            who.quotas.set(team, 30_000)

            def send(name: int, team: str = team) -> int:
                text = f"{name:03}" * 3000
                return commit(two.url, f"{team}/n{name}", text, two.token).status

            with ThreadPoolExecutor(12) as pool:
                got = [*pool.map(send, names)]
            assert sorted(got) == [200] * 3 + [403] * 9, "four would be 36,000 bytes"
            assert UsageCounter(there.store).after(team).total <= 30_000


@pytest.mark.long
def test_downloads_at_all_workers_are_counted(tmp_path: Path) -> None:
    with serving(tmp_path / "zoo", 2) as served:
        api = HfApi(endpoint=served.url, token=served.token)
        api.create_repo("ann/net")
        api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="ann/net")
        sha = api.model_info("ann/net").sha
        for _ in range(40):  # each by a connection of its own, whichever worker takes it
            ask(served.url, f"/ann/net/resolve/{sha}/config.json", token=served.token)
        served.process.terminate()
        served.process.wait()
    with closing(Workspace(tmp_path / "zoo")) as kept, closing(Accounts.of(kept)) as accounts:
        assert accounts.downloads.of("ann/net") == (40, 40)


@pytest.mark.long
def test_commits_of_many_are_one_line(two: Serving) -> None:
    """Sixteen send five commits each, on top of whatever is newest: none is lost, none is twice."""

    def newest() -> str:
        return str(ask(two.url, "/api/models/ann/line", token=two.token).json["sha"])

    def send(writer: int) -> None:
        for number in range(5):
            text = f"{writer}-{number}"
            while commit(two.url, "ann/line", text, two.token, newest()).status != 200:
                pass

    made = json.dumps({"name": "line", "organization": "ann"}).encode()
    ask(two.url, "/api/repos/create", "POST", token=two.token, body=made)
    assert commit(two.url, "ann/line", "first", two.token).status == 200
    with ThreadPoolExecutor(16) as pool:
        [*pool.map(send, range(16))]
    pages = [f"/api/models/ann/line/commits/main?p={page}" for page in range(2)]
    titles = [row["title"] for page in pages for row in ask(two.url, page, token=two.token).json]
    everything = {f"{writer}-{number}" for writer in range(16) for number in range(5)}
    assert sorted(titles) == sorted({"first", *everything})
    for writer in range(16):
        own = [title for title in titles[::-1] if title.startswith(f"{writer}-")]
        assert own == [f"{writer}-{number}" for number in range(5)]


@pytest.mark.long
def test_64_writers_on_one_name(
    postgres_server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through four workers, each with a token and a file of its own; every other one only on top of
    what it has seen. The history is a line, which has what was acknowledged, once, and no more.
    """
    monkeypatch.setenv("ZOO_DB", postgres_server.database("writers"))
    writers, each = range(64), range(2)
    with serving(tmp_path / "zoo", 4) as four:
        made = json.dumps({"name": "line", "organization": "ann"}).encode()
        ask(four.url, "/api/repos/create", "POST", token=four.token, body=made)
        assert commit(four.url, "ann/line", "first", four.token).status == 200
        with closing(Workspace(four.root)) as there, closing(Accounts.of(there)) as who:
            tokens = [str(who.new_token("ann", "x", "write")[1]) for _ in writers]
        told: dict[str, str] = {}

        def send(writer: int) -> None:
            for number in each:
                title = f"{writer}-{number}"
                while (got := _added(four.url, title, tokens[writer])).status != 200:
                    assert got.status in (409, 412, 429, 503), got
                told[got.json["commitOid"]] = title

        with ThreadPoolExecutor(len(writers)) as pool:
            [*pool.map(send, writers)]
        line = [*_line(four)]
        ids = [row["id"] for row in line]
        assert len({*ids}) == len(ids) == 1 + len(writers) * len(each)
        assert {row["id"]: row["title"] for row in line[:-1]} == told
        assert line[-1]["title"] == "first"
        for writer in writers:
            own = [row["title"] for row in line[::-1] if row["title"].startswith(f"{writer}-")]
            assert own == [f"{writer}-{number}" for number in each]
        for at, row in enumerate(line[:-1:8]):  # each has the files of all before it
            files = {row["title"].partition("-")[0] for row in line[at * 8 : -1]}
            found = ask(four.url, f"/api/models/ann/line/revision/{row['id']}", token=four.token)
            names = {file["rfilename"] for file in found.json["siblings"]} - {".gitattributes"}
            assert names == {"README.md", *(f"{name}.txt" for name in files)}
    with closing(Workspace(four.root)) as there:
        assert_sound(there.store)


def _added(url: str, title: str, token: str) -> Got:
    """Add a file, or another version of it; by odd writers only on top of what they have seen."""
    writer = title.partition("-")[0]
    header = {"summary": title}
    if int(writer) % 2:
        got = ask(url, "/api/models/ann/line", token=token)
        if got.status != 200:
            return got
        header |= {"parentCommit": got.json["sha"]}
    file = {"path": f"{writer}.txt", "content": title}
    lines = [{"key": "header", "value": header}, {"key": "file", "value": file}]
    body = "\n".join(map(json.dumps, lines)).encode()
    return ask(url, "/api/models/ann/line/commit/main", "POST", token=token, body=body)


def _line(served: Serving) -> Iterator[dict[str, str]]:
    """The commits of ``ann/line``, newest first."""
    page = 0
    while rows := ask(
        served.url, f"/api/models/ann/line/commits/main?p={page}", token=served.token
    ).json:
        yield from rows
        page += 1


@pytest.mark.long
@pytest.mark.parametrize("xet", ["0", "1"])
def test_the_hubs_own_client_sends_to_several(two: Serving, tmp_path: Path, xet: str) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    rng = np.random.default_rng(int(xet))
    for name in ("model.safetensors", "any.bin"):
        (folder / name).write_bytes(rng.bytes(20 << 20))
    (folder / "README.md").write_text("some text")
    env = {
        **os.environ, "HF_ENDPOINT": two.url, "HF_TOKEN": two.token, "HF_HOME": str(tmp_path / "h"),
        "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": xet, "HF_HUB_ETAG_TIMEOUT": "60",
    }  # fmt: skip
    done = subprocess.run([sys.executable, SENDS, f"ann/sent{xet}", folder], env=env,
                          capture_output=True, text=True, check=True)  # fmt: skip
    found = json.loads(done.stdout)
    assert all(found[what] for what in ("again", "whole", "changed", "before"))


@pytest.mark.parametrize("how", every(2, [signal.SIGTERM, signal.SIGKILL], beside=pytest.mark.long))
@pytest.mark.long
def test_all_end_with_who_started_them(tmp_path: Path, how: signal.Signals) -> None:
    with serving(tmp_path / "zoo", 2) as served:
        pids = served.workers()
        served.process.send_signal(how)
        served.process.wait(60)
        assert served.process.returncode == (0 if how == signal.SIGTERM else -how)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    with pytest.raises(ConnectionError):
        ask(served.url, "/api/models")


@pytest.mark.long
def test_workers_that_cannot_work_are_not_started_for_ever(tmp_path: Path) -> None:
    with closing(Workspace.create(tmp_path / "zoo")) as made, closing(Accounts.of(made)):
        pass
    (tmp_path / "zoo" / "accounts.db").write_bytes(b"no database" * 999)
    command = [sys.executable, "-m", "zoo_cli", "--home", str(tmp_path / "zoo"), "serve",
               "--port", "0", "--workers", "2"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "serving" not in done.stdout
