"""A server on a bad line: what it says is never taken for more than it is, and asked for again."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from zoo.errors import Conflict, Corrupt, DiskFull, Forbidden, Unavailable, Unsupported, ZooError
from zoo.logins import ServerUrl, keep_token
from zoo.store.retry import Retrying
from zoo_http.backend import HttpBackend

BODY = bytes(range(256)) * 4000
KEY = "objects/ab/cd"
TOKEN = "zoo_12345678_secret"


class Line(ThreadingHTTPServer):
    """Answers with `BODY`; the next requests meet the faults of its script."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.seen: list[tuple[str, str, str | None, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # it was meant


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Line

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        fault = self.met()
        begin = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        data = BODY[begin:]
        if fault == "another":  # a proxy that knows no ranges
            begin, data = 0, BODY
        if self.refused(fault):
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data)))
        if fault == "packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(data[:300_000] if fault in ("short", "reset") else data)
        if fault in ("short", "reset"):
            self.cut(hard=fault == "reset")

    def do_POST(self) -> None:
        self.do_PUT()

    def do_PUT(self) -> None:
        fault = self.met()
        if not self.refused(fault):
            self.told(201, {"stored": []})

    def met(self) -> str:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = self.headers.get("Authorization")
        self.server.seen.append((self.command, self.path, said, body))
        return self.server.script.pop(0) if self.server.script else ""

    def refused(self, fault: str) -> bool:
        if fault == "cut":
            self.cut(hard=True)
        elif fault.startswith("to "):
            self.told(302, {}, Location=fault[3:])
        elif fault[:3].isdigit():
            code = fault[4:]
            self.told(int(fault[:3]), {}, **({"X-Error-Code": code} if code else {}))
        else:
            return False
        return True

    def told(self, status: int, said: object, **headers: str) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status == 503:
            self.send_header("Retry-After", "2")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def cut(self, *, hard: bool) -> None:
        self.close_connection = True
        if hard:
            self.connection.close()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setattr("zoo_http.session.time.sleep", lambda _: None)
    with Line() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def connected(line: Line) -> HttpBackend:
    keep_token(ServerUrl.parse(line.url), TOKEN)
    return HttpBackend.connect(line.url, create=False)


@pytest.mark.parametrize("faults", [["short"], ["reset", "another"], ["503 Busy", "short", "cut"]])
def test_a_read_is_whole_or_none(line: Line, faults: list[str]) -> None:
    line.script = faults.copy()
    with pytest.raises(Unavailable):
        b"".join(connected(line).open(KEY))
    line.script = faults.copy()
    retrying = Retrying(connected(line), pause=lambda _: None)
    assert b"".join(retrying.open(KEY)) == BODY
    assert b"".join(retrying.open(KEY, 5, 70_000)) == BODY[5:70_005]


def test_a_server_that_says_nothing_is_not_waited_for(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_http.session.READ_SECONDS", 0.05)
    release = threading.Event()
    monkeypatch.setattr(Handler, "do_GET", lambda _: release.wait(10))
    with pytest.raises(Unavailable, match="does not answer in time"):
        b"".join(connected(line).open(KEY))
    release.set()


@pytest.mark.parametrize("fault", ["503 Busy", "cut", "502", "408 TooSlow"])
def test_what_is_put_is_put_again(line: Line, fault: str) -> None:
    line.script = [fault, fault]
    Retrying(connected(line), pause=lambda _: None).put(KEY, [BODY])
    assert [body for *_, body in line.seen] == [BODY] * 3


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ("401 InvalidToken", Forbidden, "zoo login http"),
        ("403 Forbidden", Forbidden, "zoo login http"),
        ("404", Unavailable, "no zoo answers there"),
        ("400 BadRequest", Unsupported, "answers 400"),
        ("413 DiskFull", DiskFull, "no space left"),
        ("422 Mismatch", Corrupt, "is damaged"),
        ("424 Lacking", Conflict, "push it again"),
        ("500 Failed", Unavailable, "answers 500"),
        ("421 WrongHost", Unavailable, "answers 421"),
    ],
)
def test_what_is_refused_is_told(line: Line, fault: str, kind: type[ZooError], text: str) -> None:
    line.script = [fault]
    with pytest.raises(kind) as caught:
        connected(line).put(KEY, [BODY])
    told = f"{caught.value} {caught.value.advice}"
    assert text in told
    assert TOKEN not in told


def test_nothing_else_is_taken_for_a_zoo(line: Line) -> None:
    line.script = ["packed"]
    with pytest.raises(Unavailable, match="packs"):
        connected(line).open(KEY)
    for work in (lambda: connected(line).now(), lambda: [*connected(line).list("refs/")]):
        with pytest.raises(Unavailable):
            work()
    with pytest.raises(Unavailable, match="no server answers there"):
        HttpBackend.connect("http://127.0.0.1:1", create=False).stat(KEY)
    with pytest.raises(Unavailable, match="no machine is called"):
        HttpBackend.connect("http://nowhere.invalid", create=False).stat(KEY)
    with pytest.raises(Unavailable, match=r"certificate|connection"):
        HttpBackend.connect(line.url.replace("http", "https"), create=False).stat(KEY)


def test_a_token_goes_to_its_own_server_alone(line: Line) -> None:
    with Line() as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        backend = connected(line)
        line.script = [f"to {other.url}/x"]
        with pytest.raises(Unavailable, match="leads elsewhere"):
            backend.stat(KEY)
        assert other.seen == []
        HttpBackend.connect(other.url, create=False).stat(KEY)
        other.shutdown()
    assert line.seen[0][2] == f"Bearer {TOKEN}"
    assert other.seen[0][2] is None
