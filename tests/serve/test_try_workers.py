"""``zoo serve --try`` with several processes, and ``zoo ui``, as they are started: one process
tries images, and none is left when the server has ended.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fakes.paged import make_tuned
from fakes.served import Got, ask
from fakes.tuned import draw

from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

pytestmark = pytest.mark.long
DOCS = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
TRY = "/team/tuned/try"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tuned(tmp_path_factory.mktemp("tuned"))


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    draw(tmp_path / "photo.png", "disc", 3)
    return (tmp_path / "photo.png").read_bytes()


def trying(root: Path) -> list[int]:
    """The processes that try images of a zoo."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"zoo.serve.keep.tryout" in words and os.fsencode(root) in words:
            found.append(int(each.parent.name))
    return found


def until_none(root: Path) -> None:
    ends = time.monotonic() + 30
    while trying(root):
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.fixture
def program(home: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """What a command prints first, and a token."""
    with closing(Workspace(home)) as made, closing(Accounts.of(made)) as who:
        name = f"user{time.monotonic_ns()}"
        who.add(name)
        token = str(who.new_token(name, "x")[1])
    command = [sys.executable, "-m", "zoo_cli", "--home", str(home), *request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline(), token
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            until_none(home)


@pytest.mark.parametrize(
    "program", [["serve", "--port", "0", "--try", "--workers", "3"]], indirect=True
)
def test_several_processes_have_one_that_tries(
    program: tuple[str, str], home: Path, photo: bytes
) -> None:
    line, token = program
    found = re.search(r"http://[\d.:]+\d", line)
    assert found

    def sent() -> Got:
        return ask(found[0], f"{TRY}.json", "POST", token=token, body=photo)

    first = sent()
    assert first.status == 200, first.body
    (process,) = trying(home)
    for _ in range(8):  # whichever is asked
        again = sent()
        assert again.status == 200, again.body
        assert again.json["outputs"] == first.json["outputs"]
    assert trying(home) == [process]
    os.kill(process, signal.SIGKILL)
    assert sent().json["outputs"] == first.json["outputs"]
    (other,) = trying(home)
    assert other != process


@pytest.mark.parametrize("program", [["serve", "--port", "0"]], indirect=True)
def test_it_is_off_unless_it_is_asked_for(program: tuple[str, str], photo: bytes) -> None:
    line, token = program
    found = re.search(r"http://[\d.:]+\d", line)
    assert found
    assert ask(found[0], f"{TRY}.json", "POST", token=token, body=photo).status == 501


@pytest.mark.parametrize("program", [["ui", "--no-browser"]], indirect=True)
def test_it_is_on_in_ones_own_pages(program: tuple[str, str], home: Path, photo: bytes) -> None:
    """And, as all there, for who has the link alone."""
    url = urlsplit(program[0].split()[-1])
    with closing(HTTPConnection(url.netloc, timeout=60)) as connection:
        connection.request("GET", f"{url.path}?{url.query}", headers={"Accept": "text/html"})
        got = connection.getresponse()
        got.read()
        cookie = str(got.getheader("set-cookie")).partition(";")[0]
        body = (b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
                + photo + b"\r\n--b--\r\n")  # fmt: skip
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        own = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
        for more, status in (({}, 403), (own, 200), ({**own, "Sec-Fetch-Site": "none"}, 403),
                             ({"Sec-Fetch-Site": "same-origin"}, 401)):  # fmt: skip
            connection.request("POST", TRY, body, {**headers, **more})
            got = connection.getresponse()
            text = got.read()
            assert got.status == status, (more, text)
            if status == 200:
                assert b"What speaks for" in text
    assert len(trying(home)) == 1


def test_what_it_lacks_is_told_before_it_listens(home: Path, tmp_path: Path) -> None:
    """Without torch; the command of docs/serve.md."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'torch' else find(name, *more)\n"
    )
    found = re.search(r"^zoo (serve --try)$", DOCS, re.MULTILINE)
    assert found
    command = [sys.executable, "-m", "zoo_cli", "--home", str(home), *found[1].split()]
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "torch, which tries images," in done.stderr
    assert "pip install" in done.stderr
