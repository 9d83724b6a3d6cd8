"""Machines that serve one zoo, each with a folder of its own, over one bucket and one database."""

from __future__ import annotations

import re
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from fakes.s3_front import Answer, Front
from fakes.served import Served, serving

from zoo.machine import join
from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

__all__ = ["Away", "Balancer", "Machine", "account", "machine", "pair"]

ROOM = 64 << 20


class Away(Front):
    """A service in front of a bucket that is away at times.

    Attributes:
        away: Whether it is.
    """

    away = False

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        if self.away:
            return 503, [("Content-Length", "0")], b""
        return super().answer(request, body)


def account(root: Path, name: str, *, admin: bool = False) -> str:
    """A token to write, of a new account."""
    with closing(Workspace(root)) as made, closing(Accounts.of(made)) as who:
        who.add(name, admin=admin)
        return str(who.new_token(name, "x", "write")[1])


@contextmanager
def pair(folder: Path, store: str, room: int = ROOM) -> Iterator[tuple[Served, Served]]:
    """Two machines, in threads of this process."""
    with ExitStack() as stack:
        found: list[Served] = []
        for name in ("one", "two"):
            join(folder / name, store, room)
            if found:
                shutil.copy2(found[0].root / "seals.key", folder / name)
            found.append(stack.enter_context(serving(folder / name)))
        yield found[0], found[1]


@dataclass(frozen=True)
class Machine:
    """A machine that answers at ``url``."""

    url: str
    root: Path
    process: subprocess.Popen[str]


@contextmanager
def machine(root: Path, store: str, *more: str, key: Path | None = None) -> Iterator[Machine]:
    """A machine: a program of its own, with the key in the folder of another one."""
    if key:
        join(root, store, ROOM)
        shutil.copy2(key / "seals.key", root)
    command = [sys.executable, "-m", "zoo_cli", "--home", str(root), "serve", "--port", "0",
               "--store", store, *more]  # fmt: skip
    root.mkdir(exist_ok=True)
    log = root.parent / f"{root.name}.log"
    with (
        log.open("a") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        try:
            assert process.stdout
            url = re.search(r"http://[\d.:]+\d", process.stdout.readline())
            assert url, log.read_text()
            yield Machine(url[0], root, process)
        finally:
            process.terminate()


class Balancer:
    """What stands before several machines: each connection goes to the next one that answers.

    Attributes:
        url: Where it is.
        passed: Bytes that clients have sent.
    """

    def __init__(self, *urls: str) -> None:
        self._ports = [int(url.rpartition(":")[2]) for url in urls]
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.passed, self._next = 0, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            for _ in self._ports:
                self._next += 1
                with suppress(ConnectionError):
                    port = self._ports[self._next % len(self._ports)]
                    machine = socket.create_connection(("127.0.0.1", port))
                    break
            else:
                return
            with machine:
                self._to_and_fro(client, machine)

    def _to_and_fro(self, client: socket.socket, machine: socket.socket) -> None:
        others = {client: machine, machine: client}
        while True:
            for side in select.select([*others], [], [])[0]:
                data = side.recv(1 << 16)
                if not data:
                    return
                others[side].sendall(data)
                self.passed += len(data) if side is client else 0
