"""A server on a bad line: what it says is never taken for more than it is, and asked for again."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from zoo.domain.limits import ANSWER_BYTES, MIB
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
        self.sent = 0
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
        elif fault.startswith("endless "):
            self.endless(*fault.split()[1:])
        elif fault.startswith("says "):
            self.told(200, json.loads(fault[5:]))
        elif fault == "deep":
            self.said(200, b'{"now":' + b"[" * 100_000)
        elif fault.startswith("to "):
            self.told(302, {}, Location=fault[3:])
        elif fault[:3].isdigit():
            code = fault[4:]
            self.told(int(fault[:3]), {}, **({"X-Error-Code": code} if code else {}))
        else:
            return False
        return True

    def told(self, status: int, said: object, **headers: str) -> None:
        self.said(status, json.dumps(said).encode(), **headers)

    def said(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status == 503:
            self.send_header("Retry-After", "2")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def endless(self, status: str, packing: str) -> None:
        """As much as somebody takes: more than there is memory."""
        self.close_connection = True
        self.send_response(int(status))
        self.send_header("Content-Length", str(1 << 50))
        self.send_header("Content-Encoding", packing)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b" " * MIB)
                self.server.sent += MIB

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


def test_parts_are_not_sent_again_as_an_answer_is_lost(line: Line) -> None:
    line.script = ['says {"parts": []}', "", "", "cut"]
    connected(line).put(KEY, [bytes(9 * MIB)])
    assert [method for method, *_ in line.seen] == ["GET", "PUT", "PUT", "POST", "POST"]


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


WORKS: dict[str, Callable[[HttpBackend], object]] = {
    "now": lambda backend: backend.now(),
    "stat": lambda backend: backend.stat(KEY),
    "read": lambda backend: [*backend.open(KEY, 0, 100)],
    "put": lambda backend: backend.put(KEY, [b"x"]),
    "parts": lambda backend: backend.put(KEY, [bytes(9 * MIB)]),
    "list": lambda backend: [*backend.list("refs/")],
    "newest": lambda backend: backend.newest(),
}


@pytest.mark.parametrize("status", ["200 identity", "200 gzip", "403 identity", "404 identity"])
@pytest.mark.parametrize("work", ["now", "stat", "read", "put"])
def test_an_answer_without_end_is_not_taken(line: Line, status: str, work: str) -> None:
    """Neither its bytes, nor what they may unpack to."""
    line.script = [f"endless {status}"]
    with suppress(ZooError, FileNotFoundError):  # what was told before counts
        WORKS[work](connected(line))
    assert line.sent < ANSWER_BYTES + 16 * MIB  # some are on the way


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("now", {"now": 5}),
        ("now", {"now": "2026-01-02T03:04:05"}),
        ("now", {}),
        ("stat", {"stored": [[KEY, -5, "2026-01-02T03:04:05Z"]]}),
        ("stat", {"stored": [[KEY, 1e300, "2026-01-02T03:04:05Z"]]}),
        ("list", {"stored": {"a": 1}}),
        ("newest", {"newest": []}),
        ("parts", {"parts": [[1]]}),
        ("now", "deep"),
    ],
)
def test_an_answer_of_another_kind_is_none(line: Line, work: str, said: object) -> None:
    line.script = [f"says {json.dumps(said)}" if said != "deep" else "deep"]
    with pytest.raises(Unavailable, match="no zoo answers there"):
        WORKS[work](connected(line))


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
