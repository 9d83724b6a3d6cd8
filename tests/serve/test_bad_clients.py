"""Clients that send odd headers, or nothing for long, five hundred at once: nothing fails, and
nobody else waits.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from fakes.served import Got, Served, ask, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.serve.http.cycle import HEAD_SECONDS
from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

FILE = "more.safetensors"
DATA = bytes(range(256)) * 9
SOCKETS = 500
MEMORY = 64 << 20
"""Bytes that a server may take for all of them."""
LARGE = "9" * 19
NUMBERS = ("0", "1", "2303", "2304", "-1", "+1", "1e3", "0x10", " 7", "\xb2", LARGE, LARGE * 30)
KNOWN = {
    "Range": ("bytes=0-0", "bytes=-1", "bytes=1-", "bytes=5-2", "bytes=-", "bytes=0-1,3-4",
              "lines=0-1", f"bytes={LARGE}-", f"bytes=-{LARGE}", "bytes=" + "0-0," * 9000),
    "If-Range": ('"x"', "*", "Sun, 06 Nov 1994 08:49:37 GMT"),
    "If-None-Match": ("*", '"x"', 'W/"x", "y"', "," * 9000),
    "If-Match": ("*", '"x"'),
    "If-Modified-Since": ("Sun, 06 Nov 1994 08:49:37 GMT", "0"),
    "Authorization": ("Bearer", "Bearer ", "Bearer zoo_x", "bearer \xff", "Basic YTpi", "Bearer " +
                      "x" * 9000),
    "Content-Length": NUMBERS,
    "Content-Range": ("bytes 0-1/2", "bytes */*", f"bytes 0-{LARGE}/{LARGE}"),
    "Content-Type": ("application/json; charset=\xff", "multipart/form-data; boundary=" + "x" * 99),
    "Content-Encoding": ("gzip", "br, br, br"),
    "Transfer-Encoding": ("chunked", "identity", "gzip, chunked"),
    "Cookie": ("zoo=x", "=;=;=", "a=\xff; " * 900),
    "Host": ("evil.example", "", "[::", "127.0.0.1:x", "a@b"),
    "Accept": ("text/html", "*/*;q=x", "text/html," * 900),
    "User-Agent": ("unknown/None; hf_hub/0.19.4; python/3.8", "hf_hub/\xff"),
    "X-Request-Id": ("x" * 129, "\xff", "a b"),
    "X-Repo-Commit": ("main", "\xff" * 40),
    "X-Forwarded-For": ("::1", "x" * 900),
    "Sec-Fetch-Site": ("same-origin", "\xff"),
    "Origin": ("null", "https://evil.example", "\xff"),
    "Last-Event-Id": ("0", "\xff"),
    "Expect": ("100-continue", "200-ok"),
    "Connection": ("close", "upgrade", "\xff"),
    "Upgrade": ("websocket", "h2c"),
}  # fmt: skip
"""What is looked at here, by proxies or by other servers, with what could be misread."""
FRAMING = {"Content-Length", "Transfer-Encoding"}
TEXTS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)
HEADERS = st.lists(
    st.sampled_from([*KNOWN]).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(KNOWN[name]) | TEXTS)
    ),
    max_size=6,
)


def sent(url: str, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Got:
    """The answer to what is written on the socket as it stands here; status 0 if none came."""
    named = {name for name, _ in headers}
    host = urlsplit(url).netloc
    whole = [*([] if "Host" in named else [("Host", host)]), *headers]
    if "Connection" not in named:
        whole.append(("Connection", "close"))
    if body and not named & FRAMING:
        whole.append(("Content-Length", str(len(body))))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in whole), "", ""]
    at, soon = (urlsplit(url).hostname, urlsplit(url).port), 0.3 if named & FRAMING else 20
    with socket.create_connection(at, soon) as client:  # it waits for what does not come
        client.sendall("\r\n".join(lines).encode("latin-1") + body)
        with closing(http.client.HTTPResponse(client, method=method)) as answer:
            try:
                answer.begin()
                data = answer.read()
            except (http.client.HTTPException, OSError, ValueError):
                return Got(0, {}, b"")
            return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, data)


@pytest.fixture(scope="module")
def pinned(served: Served, token: str) -> str:
    """The address of a file."""
    return served.ask(f"/team/net/resolve/v1/{FILE}", "HEAD", token=token).headers["location"]


def answered(served: Served, path: str, at: int, headers: list[tuple[str, str]]) -> Got:
    """What a request with some headers is answered, of a few, the first of which are for a file;
    the server goes on.
    """
    method, where, body = (
        ("GET", path, b""), ("HEAD", path, b""), ("GET", "/", b""),
        ("GET", "/api/models/team/net", b""), ("GET", "/zoo/v1/store/zoo.json", b""),
        ("POST", "/api/models/team/net/commit/main", b"{}"), ("POST", "/sign-in", b"token=x"),
        ("PUT", f"/zoo/v1/store/objects/00/{'0' * 64}", b"x"), ("POST", "/oauth/token", b"{}"),
    )[at]  # fmt: skip
    got = sent(served.url, method, where, headers, body)
    assert got.status or {name for name, _ in headers} & {*FRAMING, "Connection", "Upgrade"}
    assert got.status < 500 or got.status == 501, (got.status, got.code)
    if at == 0 and got.status in (200, 206):
        said = got.headers.get("content-range", f"bytes 0-{len(DATA) - 1}/{len(DATA)}")
        begin, _, end = said.removeprefix("bytes ").partition("/")[0].partition("-")
        assert got.body == DATA[int(begin) : int(end) + 1]
    return got


@pytest.mark.parametrize("name", KNOWN)
def test_each_odd_header(served: Served, token: str, pinned: str, name: str) -> None:
    known = [] if name == "Authorization" else [("Authorization", f"Bearer {token}")]
    for value in KNOWN[name]:
        for at in (0, 5):
            answered(served, pinned, at, [*known, (name, value)])
    assert answered(served, pinned, 0, [("Authorization", f"Bearer {token}")]).body == DATA


@pytest.mark.long
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(headers=HEADERS, at=st.integers(0, 8), known=st.booleans())
def test_no_headers_fail_the_server(
    served: Served, token: str, pinned: str, headers: list[tuple[str, str]], at: int, known: bool
) -> None:
    answered(served, pinned, at, [("Authorization", f"Bearer {token}")] * known + headers)


def heads(url: str) -> dict[str, Callable[..., object]]:
    """What each of many sends at once, and a moment later."""
    host = urlsplit(url).netloc
    half = f"POST /api/validate-yaml HTTP/1.1\r\nHost: {host}\r\nContent-Length: 999999\r\n"
    return {
        "nothing": lambda client, turn: None,
        "a head, byte by byte": lambda client, turn: client.sendall(half[turn : turn + 1].encode()),
        "a head without end": lambda client, turn: client.sendall(f"X-{turn}: {turn}\r\n".encode()
                                                                  if turn else half.encode()),
        "half a body": lambda client, turn: turn or client.sendall(f"{half}\r\nx".encode()),
    }  # fmt: skip


@contextmanager
def many(url: str) -> Iterator[list[socket.socket]]:
    at = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(at, 20)) for _ in range(SOCKETS)]


@pytest.mark.long
@pytest.mark.parametrize("what", [*heads("")])
def test_five_hundred_that_are_slow(what: str, tmp_path: Path) -> None:
    """All are cut off; meanwhile others are answered as ever."""
    with closing(Workspace.create(tmp_path / "zoo")) as made, closing(Accounts.of(made)) as who:
        who.add("ann")
    with running(tmp_path / "zoo") as (url, process):
        memory = psutil.Process(process.pid).memory_info
        assert ask(url, "/").status == 200
        before, slowest = memory().rss, 0.0
        send = heads(url)[what]
        with many(url) as clients:
            left, until = [*clients], time.monotonic() + HEAD_SECONDS + 20
            for turn in range(10_000):
                left = [each for each in left if is_there(each, partial(send, turn=turn))]
                began = time.monotonic()
                assert ask(url, "/api/models").status == 200
                slowest = max(slowest, time.monotonic() - began)
                assert memory().rss < before + MEMORY
                if not left:
                    break
                assert time.monotonic() < until, f"{len(left)} are waited for"
                time.sleep(0.2)
        assert slowest < 2


def is_there(client: socket.socket, send: Callable[..., object]) -> bool:
    """Whether a connection still is; if so, more is sent."""
    try:
        client.setblocking(False)
        try:
            if client.recv(65536) == b"":
                return False
        except BlockingIOError:
            pass
        client.setblocking(True)
        send(client)
    except ConnectionError:
        return False
    return True
