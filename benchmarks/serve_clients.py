"""What asks the servers that `benchmarks/serve.py` measures."""

from __future__ import annotations

import asyncio
import os
import random
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

CURL = ("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null")
MIB = 1 << 20
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
TIMED = """
import sys, time
import huggingface_hub as hub
began, cpu = time.perf_counter(), time.process_time()
{call}
print(time.perf_counter() - began, time.process_time() - cpu)
"""
DOWNLOAD = TIMED.format(call="hub.snapshot_download(sys.argv[1])")
SEND = TIMED.format(
    call="hub.HfApi().create_repo(sys.argv[1]); hub.upload_file(repo_id=sys.argv[1], "
    "path_or_fileobj=sys.argv[2], path_in_repo='model.safetensors')"
)


class Asked(NamedTuple):
    """Requests that were answered: seconds of all together, and of each."""

    wall: float
    each: list[float]

    def part(self, share: float) -> float:
        """Within how many milliseconds that share of them was answered."""
        return 1000 * sorted(self.each)[int(share * (len(self.each) - 1))]


def download(url: str, headers: Mapping[str, str], clients: int) -> float:
    """Seconds until as many clients, each a process, have a file that all ask for at once."""
    return _together([[*CURL, *_given(headers), url]] * clients)


def download_ranges(
    url: str, headers: Mapping[str, str], size: int, clients: int, count: int
) -> float:
    """Seconds until each client has asked for ``count`` ranges of 1 MiB, at random."""
    draw, commands = random.Random(0), []
    for _ in range(clients):
        command: list[str] = []
        for begin in (draw.randrange(size - MIB) for _ in range(count)):
            span = ("--range", f"{begin}-{begin + MIB - 1}")
            command += ["--next", *CURL[1:], *_given(headers), *span, url]
        commands.append([CURL[0], *command[1:]])
    return _together(commands)


def upload(url: str, file: Path) -> float:
    """Seconds until a file is sent."""
    return _together([[*CURL, "--upload-file", str(file), url]])


def _given(headers: Mapping[str, str]) -> list[str]:
    return [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]


def _together(commands: list[list[str]]) -> float:
    began = time.perf_counter()
    clients = [subprocess.Popen(command) for command in commands]
    ended = [client.wait() for client in clients]
    if any(ended):
        raise SystemExit("a download failed")
    return time.perf_counter() - began


def ask(
    port: int, line: str, headers: Mapping[str, str], *, clients: int, count: int, pause: float = 0
) -> Asked:
    """Send a request ``count`` times on each of as many connections.

    Without a ``pause`` each is sent as soon as the one before is answered; with one, so many
    seconds later.
    """
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{told}\r\n".encode()
    each: list[float] = []
    began = time.perf_counter()
    asyncio.run(_ask(port, request, clients, count, pause, each))
    return Asked(time.perf_counter() - began, each)


async def _ask(
    port: int, request: bytes, clients: int, count: int, pause: float, each: list[float]
) -> None:
    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(pause * number / clients)
        for _ in range(count):
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split()[1] == b"200", head
            length = LENGTH.search(head)
            if length and not request.startswith(b"HEAD"):
                await reader.readexactly(int(length[1]))
            each.append(time.perf_counter() - began)
            await asyncio.sleep(max(began + pause - time.perf_counter(), 0) if pause else 0)
        writer.close()

    await asyncio.gather(*map(client, range(clients)))


class Slow:
    """Downloads that take their time: each reads 64 KiB a second."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str], count: int) -> None:
        told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{told}\r\n".encode()
        self._stack = ExitStack()
        self._sockets = [self._stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            sock.connect(("127.0.0.1", port))
            sock.sendall(request)

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, seconds: int) -> None:
        """Go on for as long."""
        for _ in range(seconds):
            began = time.monotonic()
            for sock in self._sockets:
                if not select.select([sock], [], [], 10)[0] or not sock.recv(64 * 1024):
                    raise SystemExit("a slow download ended")
            time.sleep(max(began + 1 - time.monotonic(), 0))


def stock(
    script: str, url: str, token: str, home: Path, *given: str, xet: bool = True
) -> tuple[float, float]:
    """Seconds that huggingface_hub takes, on the clock and of its processor, in a process of its
    own that has nothing in its cache; Python's start and imports left out.
    """
    told = {
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": str(int(not xet)),
    }
    environment = {**os.environ, **told}  # noqa: TID251 - no settings of ours
    command = [sys.executable, "-c", script, *given]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu
