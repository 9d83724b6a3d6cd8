"""A small hub: in-memory repositories over the hub's HTTP protocol, with faults on demand.

    with HubServer() as server:
        commit = server.commit("org/name", {"config.json": b"{}"})
        server.fail_next(Status(503), Cut(1000, where="/resolve/"))

Each request takes the first scripted fault that fits it. A route is a row in `_ROUTES`: a function
from a request to an `Answer`. Faults change the answer, and only the handler at the end of the file
knows sockets.
"""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fakes.hub_api import ROUTES, described
from fakes.hub_protocol import Answer, Repo, Request, error, etag, git_hash, is_lfs, json_answer

__all__ = [
    "Answer",
    "Cut",
    "Fault",
    "Flip",
    "HubServer",
    "Moved",
    "Raw",
    "Redirect",
    "Request",
    "Stall",
    "Status",
]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Changes the answer to the next request of ``method`` whose path contains ``where``."""

    where: str = ""
    method: str = "GET"

    def fits(self, request: Request) -> bool:
        return request.method == self.method and self.where in request.path

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        raise NotImplementedError


@dataclass(frozen=True)
class Status(Fault):
    """Another status: ``Status(429, {"Retry-After": "3"})``; and as its body JSON, or nothing."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        said = json_answer(self.body, self.status) if self.body is not None else Answer(self.status)
        return replace(said, headers={**said.headers, **self.headers})


@dataclass(frozen=True)
class Raw(Fault):
    """Status 200 with a body that is not the hub's."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        return Answer(200, {"Content-Type": "text/html", **self.headers}, self.body)


@dataclass(frozen=True)
class Cut(Fault):
    """The connection ends after so many bytes of the body; with -1, before any answer."""

    after: int
    reset: bool = False

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        return replace(answer, cut=self.after, reset=self.reset)


@dataclass(frozen=True)
class Flip(Fault):
    """Wrong bytes of the right length."""

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        return replace(answer, body=bytes(byte ^ 0xFF for byte in answer.body))


@dataclass(frozen=True)
class Redirect(Fault):
    """Sends the client elsewhere, as the hub does for large files."""

    location: str

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        return Answer(302, {**answer.headers, "Location": self.location})


@dataclass(frozen=True)
class Stall(Fault):
    """The answer takes its time."""

    seconds: float

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        time.sleep(self.seconds)
        return answer


@dataclass(frozen=True)
class Moved(Fault):
    """The right answer, after which the branch ``main`` moves on."""

    repo: str
    files: Mapping[str, bytes]

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        server.commit(self.repo, self.files)
        return answer


class HubServer:
    """The hub at ``url``; ``log`` is what it was asked, ``members`` are the tokens for gated and
    private repositories and for writing, ``page`` is how many a page of a listing has at most.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.log: list[Request] = []
        self.members: set[str] = set()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.commits = 0
        self.page = 1000
        self._http = _Server(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.end_connections()
        self._http.server_close()

    def commit(
        self,
        repo: str,
        files: Mapping[str, bytes],
        *,
        branch: str = "main",
        card: Mapping[str, Any] | None = None,
        gated: bool = False,
        info: Mapping[str, Any] | None = None,
    ) -> str:
        """Make ``files`` the content of ``branch``; the repository is made on first use.

        ``info`` is what else the hub knows of it, as its API spells it.
        """
        known = self.repos.setdefault(repo, Repo(card=card or {}, gated=gated, info=info or {}))
        self.commits += 1
        known.modified = f"2026-01-01T{self.commits // 60:02}:{self.commits % 60:02}:00.000Z"
        return known.commit(repo, files, branch)

    def fail_next(self, *faults: Fault) -> None:
        """Script faults; each is used once, in this order among those that fit a request."""
        with self._lock:
            self._faults.extend(faults)

    def requests(self, where: str, method: str = "GET") -> list[Request]:
        """What was asked with ``where`` in the path."""
        return [seen for seen in self.log if seen.method == method and where in seen.path]

    def answer(self, request: Request) -> Answer:
        """The answer to one request, faults included."""
        with self._lock:
            self.log.append(request)
            fault = next((fault for fault in self._faults if fault.fits(request)), None)
            if fault is not None:
                self._faults.remove(fault)
        answer = _routed(self, request)
        return answer if fault is None else fault.apply(self, answer)


def _routed(server: HubServer, request: Request) -> Answer:
    # Matched before decoding: a revision such as refs/pr/1 arrives as one quoted segment.
    for pattern, function in _ROUTES:
        if match := pattern.fullmatch(request.path):
            parts = [None if part is None else unquote(part) for part in match.groups()]
            return function(server, request, *parts)
    return Answer(404)


def _agent_harnesses(server: HubServer, request: Request) -> Answer:
    return json_answer({"standardEnvVars": [], "harnesses": {}})


def _model_info(server: HubServer, request: Request, name: str, revision: str | None) -> Answer:
    repo = server.repos.get(name)
    if repo is None or not repo.readable(request.token, server.members):
        return error(404, "RepoNotFound")
    commit = repo.pin(revision or "main")
    if commit is None:
        return error(404, "RevisionNotFound")
    blobs = request.query.get("blobs") == ["true"]
    files = repo.commits[commit]
    return json_answer(
        {
            **described(name, repo),
            "sha": commit,
            "siblings": [_sibling(path, body, blobs) for path, body in files.items()],
        }
    )


def _resolve(server: HubServer, request: Request, name: str, revision: str, path: str) -> Answer:
    repo = server.repos.get(name)
    if repo is None:
        return error(404, "RepoNotFound")
    if repo.gated and request.token not in server.members:
        return error(403 if request.token else 401, "GatedRepo")
    commit = repo.pin(revision)
    if commit is None:
        return error(404, "RevisionNotFound")
    body = repo.commits[commit].get(path)
    if body is None:
        return error(404, "EntryNotFound", {"X-Repo-Commit": commit})
    headers = {"X-Repo-Commit": commit, "ETag": f'"{etag(path, body)}"', "Accept-Ranges": "bytes"}
    if is_lfs(path):
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(body))}
    return _ranged(Answer(200, headers, body), request.headers.get("range"))


_ROUTES: tuple[tuple[re.Pattern[str], Callable[..., Answer]], ...] = (
    (re.compile("/api/agent-harnesses"), _agent_harnesses),
    (re.compile("/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?"), _model_info),
    (re.compile("/([^/]+/[^/]+)/resolve/([^/]+)/(.+)"), _resolve),
    *ROUTES,
)


def _ranged(answer: Answer, asked: str | None) -> Answer:
    if asked is None:
        return answer
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
    size = len(answer.body)
    if match is None or int(match[1]) >= size:
        return Answer(416, {"Content-Range": f"bytes */{size}"})
    first, last = int(match[1]), min(int(match[2] or size), size - 1)
    headers = {**answer.headers, "Content-Range": f"bytes {first}-{last}/{size}"}
    return Answer(206, headers, answer.body[first : last + 1])


def _sibling(path: str, body: bytes, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    sibling: dict[str, Any] = {"rfilename": path, "size": len(body), "blobId": git_hash(body)}
    if is_lfs(path):
        sha256 = hashlib.sha256(body).hexdigest()
        sibling["lfs"] = {"size": len(body), "sha256": sha256, "pointerSize": 135}
    return sibling


class _Server(ThreadingHTTPServer):
    """Remembers its connections, so that it can end those that a client keeps open."""

    def __init__(self, hub: HubServer) -> None:
        self.hub = hub
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up in the middle of an answer, and are meant to."""

    def end_connections(self) -> None:
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # the client was faster
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = Request(self.command, url.path, parse_qs(url.query), headers, body)
        self._send(self.server.hub.answer(request))

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _send(self, answer: Answer) -> None:
        if answer.cut is None or answer.cut >= 0:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True
        if answer.reset:
            # Closing without lingering sends RST; the two shutdowns on the way would send FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing on stderr: `HubServer.log` has it."""
