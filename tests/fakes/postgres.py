"""A real PostgreSQL server in a temporary folder, on a socket there: no port, no password.

The programs are those of the system (Debian's package ``postgresql``). The server refuses to run as
root: then it runs as ``postgres``, or as ``nobody``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=120")
START_SECONDS = 60
ENGLISH = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
"""Orders text as a dictionary does: what relies on the order of characters would fail."""


def programs() -> Path | None:
    """The folder of the newest server's programs; None where there is none."""
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(folders, key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    if newest:
        return newest[-1].parent
    return Path(found).resolve().parent if found else None


class Server:
    """A running server.

    Attributes:
        folder: Where its socket and its data are.
        used: Databases that were handed out since the last `dumps`.
    """

    def __init__(self, folder: Path, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.folder, self._start, self.used = folder, start, set[str]()
        self.start()

    def start(self) -> None:
        """Start it, on the data that are there, and wait until it answers."""
        self.process = self._start()
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                ended = self.process.poll() is not None
                if ended or time.monotonic() > end:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Kill it with all its processes, as when memory runs out."""
        each = [psutil.Process(self.process.pid)]
        each += each[0].children(recursive=True)
        for process in each:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(START_SECONDS)
        psutil.wait_procs(each, START_SECONDS)  # the next one waits for their shared memory

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://zoo@/{database}?host={self.folder}"

    def database(self, name: str) -> str:
        """An empty database; its URL. One of the same name is emptied: making one is slow."""
        with self.connect() as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            new = known.fetchone() is None
            english = connection.info.server_version >= 150000
            options = f"TEMPLATE template0 {ENGLISH}" if english else ""
            if new:
                connection.execute(f"CREATE DATABASE {name} {options}")
        if not new:
            with self.connect(name) as connection:
                connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        self.used.add(name)
        return self.url(name)

    def dumps(self) -> Iterator[tuple[str, bytes]]:
        """The databases that were used, each as text."""
        folder = programs()
        assert folder
        while self.used:
            name = self.used.pop()
            at = ("--lock-wait-timeout=5000", "-h", self.folder, "-U", "zoo", name)
            done = subprocess.run((folder / "pg_dump", *at), check=True, capture_output=True)
            yield name, done.stdout

    def empty(self, database: str, keep: tuple[str, ...]) -> None:
        """Delete the rows of all tables but some; quicker than another database."""
        with self.connect(database) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")
            names = ", ".join(name for (name,) in tables if name not in keep)
            connection.execute(f"SET lock_timeout = '5s'; TRUNCATE {names}")

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self.folder), user="zoo", dbname=database, autocommit=True)


RUNNING: list[Server] = []
"""Those of this process."""


@contextmanager
def running(bin_folder: Path, *more: str) -> Iterator[Server]:
    """A server, with ``more`` settings; stopped and its folder deleted in the end."""
    where = os.environ.get("PYTEST_DEBUG_TEMPROOT")  # memory, where there is enough
    folder = Path(tempfile.mkdtemp(prefix="zoo-pg-", dir=where))  # short: a socket's path must be
    owner = _owner()
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    data = folder / "data"
    common: dict[str, Any] = {
        "cwd": folder,
        "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        **owner,
    }
    try:
        made = subprocess.run(
            [bin_folder / "initdb", "-D", data, "-U", "zoo", "-A", "trust", "-E", "UTF8",
             "--no-sync", "--no-instructions"],
            capture_output=True, check=False, **common,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()
        settings = [part for each in (*FAST, *more) for part in ("-c", each)]

        def start() -> subprocess.Popen[bytes]:
            with (folder / "log").open("ab") as log:
                return subprocess.Popen(
                    [bin_folder / "postgres", "-D", data, "-k", folder, "-h", "", *settings],
                    stdout=log, stderr=log, **common,
                )  # fmt: skip

        server = Server(folder, start)
        RUNNING.append(server)
        try:
            yield server
        finally:
            RUNNING.remove(server)
            server.process.send_signal(signal.SIGQUIT)  # at once: its data go too
            server.process.wait(START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owner() -> Mapping[str, Any]:
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
