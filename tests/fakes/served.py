"""A zoo that is served in a thread, and plain requests to it."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.serve.http.guard import Address
from zoo.serve.run import Server
from zoo.serve.who.accounts import Accounts
from zoo.store.files import add_file
from zoo.workspace import Workspace

__all__ = [
    "CONFIG",
    "Got",
    "Served",
    "ask",
    "commit",
    "running",
    "serving",
    "waited",
    "with_files",
]


CONFIG = b'{"architecture": "toynet", "architectures": ["Toy"], "model_type": "toy"}'


def with_files(workspace: Workspace, digest: Digest, **texts: bytes) -> Manifest:
    """A checkpoint with further files; a name's underscore is a dot."""
    files = []
    for name, text in texts.items():
        path = workspace.root / "tmp" / name
        path.write_bytes(text)
        files.append(add_file(workspace.store, path, name=name.replace("_", ".")))
        path.unlink()
    return replace(workspace.store.manifest(digest), files=tuple(files))


@dataclass(frozen=True)
class Got:
    """An answer; the names of its headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as data."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """What kind of refusal it is; empty if it is none."""
        return self.headers.get("x-error-code", "")


def ask(
    url: str,
    path: str,
    method: str = "GET",
    *,
    token: str | None = None,
    body: bytes = b"",
    **headers: str,
) -> Got:
    """Send one request to a server, as `Served.ask` does."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent |= {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPConnection(url.partition("://")[2], timeout=60)
    try:
        connection.request(method, path, body or None, sent)
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Got(answer.status, named, answer.read())
    finally:
        connection.close()


def commit(url: str, repo: str, text: str, token: str, parent: str = "") -> Got:
    """Send ``text`` as the README of a repository; with ``parent``, only on that commit."""
    readme = {"key": "file", "value": {"path": "README.md", "content": text}}
    header = {"summary": text} | ({"parentCommit": parent} if parent else {})
    lines = [{"key": "header", "value": header}, readme]
    body = "\n".join(map(json.dumps, lines)).encode()
    return ask(url, f"/api/models/{repo}/commit/main", "POST", token=token, body=body)


@dataclass(frozen=True)
class Served:
    """A server at ``url``, of the zoo in ``root``."""

    url: str
    root: Path
    server: Server

    @property
    def accounts(self) -> Accounts:
        """Its accounts."""
        return self.server.hub.accounts

    def token(
        self,
        account: str,
        purpose: str = "read",
        *,
        only: tuple[str, ...] = (),
        lasts: float | None = None,
    ) -> str:
        """A token for an account, which is made if it is not there."""
        if account not in [each.name for each in self.accounts.all()]:
            self.accounts.add(account, admin=account == "admin")
        return str(self.accounts.new_token(account, "test", purpose, only=only, lasts=lasts)[1])

    def commit(self, repo: str, text: str, token: str) -> Got:
        """Send ``text`` as the README of a repository."""
        return commit(self.url, repo, text, token)

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        token: str | None = None,
        body: bytes = b"",
        **headers: str,
    ) -> Got:
        """Send one request, its path as it stands here; headers are written with underscores."""
        return ask(self.url, path, method, token=token, body=body, **headers)


def waited(served: Served, repo: str, seconds: float = 60) -> Manifest:
    """The checkpoint that a name has, once it has one that is found."""
    workspace = served.server.hub.workspace
    until = time.monotonic() + seconds
    while True:
        digest = workspace.registry.ref(Reference.parse(repo))
        if digest or time.monotonic() > until:
            assert digest == workspace.names.resolve(repo)[1]
            return workspace.store.manifest(digest)
        time.sleep(0.05)


@contextmanager
def serving(
    root: Path, public_url: str = "", *, tries: Path | None = None, scrub: int | None = None
) -> Iterator[Served]:
    """Serve the zoo in ``root`` at a free port; with ``tries``, a folder, it tries images; of a
    bucket it reads ``scrub`` bytes a day again.
    """
    address = Address.checked("127.0.0.1", 0, public_url)
    server = Server(Workspace(root), address, tries=tries, scrub=scrub)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    port = server.listening.getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", root, server)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def running(root: Path, *more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``zoo serve`` with ``more`` options, of the zoo in ``root``: its URL and its process."""
    command = [sys.executable, "-m", "zoo_cli", "--home", str(root), "serve", "--port", "0", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = re.search(r"http://[\d.:]+\d", process.stdout.readline())
            assert url
            yield url[0], process
        finally:
            process.terminate()
