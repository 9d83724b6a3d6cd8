"""What `benchmarks/serve.py` measures: `zoo serve` and its peers, each a process of its own on the
loopback, with its settings in a scratch folder.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

Files = dict[str, tuple[Path, Mapping[str, str]]]
"""Files and their headers, by the paths that are asked for."""
TICK = os.sysconf("SC_CLK_TCK")
SECONDS = 120
"""So long may one take to answer."""
NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    sendfile on;
    tcp_nopush on;
    etag off;
    default_type application/octet-stream;
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""
REGISTRY = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
EMPTY = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

app = Starlette(routes=[Route("/empty", lambda request: Response(b""))])
uvicorn.run(app, port=int(sys.argv[1]), log_config=None, loop="asyncio", http="httptools")
"""


class Running:
    """A server that runs.

    Args:
        name: What it is called in tables.
        command: How it is started.
        port: Where it is told to listen.
        folder: Where it may write, and what it says.
        path: What it answers as soon as it can.

    Attributes:
        began: Seconds from its start until it answered: on the clock, and of its processor.
    """

    def __init__(self, name: str, command: list[str], port: int, folder: Path, path: str) -> None:
        self.name, self.port = name, port
        log = (folder / f"{name.split()[0]}.log").open("ab")
        start = time.perf_counter()
        self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        log.close()
        self._wait(path)
        self.began = time.perf_counter() - start, self.cpu()

    def _wait(self, path: str) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            time.sleep(0.002)
        else:
            raise SystemExit(f"{self.name} does not answer")
        urlopen(f"http://127.0.0.1:{self.port}{path}").close()

    def cpu(self) -> float:
        """Seconds of the processor that it has taken, the processes included that it answers by."""
        return sum(map(_seconds, [self._process.pid, *self._below()]))

    def _below(self) -> list[int]:
        if self.name.startswith("zoo"):  # what it starts does not answer
            return []
        pid = self._process.pid
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def memory(self, what: str = "VmRSS") -> float:
        """MB that are in memory now, or with VmHWM, that were at most."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024 / 1e6

    def forget_most(self) -> None:
        """Let what was in memory at most begin anew."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def zoo(root: Path, folder: Path) -> Running:
    """`zoo serve` as it is."""
    port = free_port()
    command = [sys.executable, "-m", "zoo_cli", "--home", str(root), "serve", "--port", str(port)]
    return Running("zoo serve", command, port, folder, "/healthz")


def starlette(folder: Path) -> Running:
    """An empty route of Starlette on uvicorn, which no server built on them can be below."""
    port = free_port()
    return Running("Starlette", [sys.executable, "-c", EMPTY, str(port)], port, folder, "/empty")


def nginx(folder: Path, files: Files) -> Running | None:
    """nginx, if it is installed, with files."""
    if not (program := _program("nginx")):
        return None
    folder.mkdir()
    port, locations = free_port(), []
    for path, (file, headers) in files.items():
        lines = [f"add_header {name} '{value}';" for name, value in headers.items()]
        locations.append(f"location = {path} {{ alias {file}; {' '.join(lines)} }}")
    user = "user root;" if os.geteuid() == 0 else ""
    text = NGINX.format(folder=folder, port=port, user=user, locations="\n        ".join(locations))
    (folder / "nginx.conf").write_text(text)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    smallest = min(files, key=lambda path: files[path][0].stat().st_size)
    return Running("nginx", command, port, folder, smallest)


def registry(folder: Path, file: Path, sha256: str) -> Running | None:
    """Docker's registry with a file as a blob, if it is installed."""
    if not (program := _program("docker-registry")):
        return None
    above, port = folder / "docker/registry/v2", free_port()
    blob = above / "blobs/sha256" / sha256[:2] / sha256 / "data"
    link = above / "repositories/bench/_layers/sha256" / sha256 / "link"
    for path in (blob, link):
        path.parent.mkdir(parents=True)
    os.link(file, blob)
    link.write_text(f"sha256:{sha256}")
    (folder / "config.yml").write_text(REGISTRY.format(folder=folder, port=port))
    command = [program, "serve", str(folder / "config.yml")]
    return Running("Docker registry", command, port, folder, "/v2/")


def _program(name: str) -> str | None:
    """A program; Debian keeps those of servers where users do not look."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _seconds(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / TICK
