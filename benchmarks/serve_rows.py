"""The rows of `benchmarks/serve.py`: each function measures some, once."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from serve_clients import DOWNLOAD, SEND, Slow, ask, download, download_ranges, stock, upload
from serve_peers import Running, zoo

OWN = "ann"
"""The account that asks, and its namespace."""
Row = tuple[str, dict[str, float]]
"""What was measured, and how much it was of each."""


@dataclass(frozen=True)
class Bench:
    """What is measured.

    Attributes:
        folder: For what is made meanwhile.
        weights: The file.
        repo: The repository that has it.
        zoo: `zoo serve`, and where its zoo is.
        peers: The others.
        paths: What each of them calls the file, by its name.
        token: Of who asks.
        quick: Whether fewer requests do.
    """

    folder: Path
    weights: Path
    repo: str
    zoo: Running
    root: Path
    peers: list[Running]
    paths: Mapping[str, str]
    token: str
    quick: bool

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.weights.stat().st_size

    @property
    def servers(self) -> list[Running]:
        """All that have the file."""
        return [each for each in (self.zoo, *self.peers) if each.name in self.paths]

    @property
    def headers(self) -> dict[str, str]:
        """Of each request."""
        return {"Authorization": f"Bearer {self.token}"}

    def some(self, count: int) -> int:
        """So many, or fewer."""
        return max(count // 4, 1) if self.quick else count

    def url(self, server: Running) -> str:
        """Where a server has the file."""
        return f"http://127.0.0.1:{server.port}{self.paths[server.name]}"

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """What the zoo answers."""
        data = json.dumps(body).encode() if body else None
        url = f"http://127.0.0.1:{self.zoo.port}{path}"
        with urlopen(Request(url, data, self.headers, method=method)) as answer:
            return bytes(answer.read())


def whole_files(bench: Bench) -> Iterator[Row]:
    """Downloads by curl, of one client and of eight at once."""
    for clients, times in ((1, bench.some(8)), (8, 1)):
        wall, cpu = {}, {}
        for server in bench.servers:
            before, gigabytes = server.cpu(), clients * times * bench.size / 1e9
            seconds = sum(download(bench.url(server), bench.headers, clients) for _ in range(times))
            wall[server.name] = gigabytes / seconds
            cpu[server.name] = (server.cpu() - before) / gigabytes
        yield f"GET, {clients} at once: GB/s", wall
        yield f"GET, {clients} at once: s of CPU per GB", cpu


def parts_of_files(bench: Bench) -> Iterator[Row]:
    """Ranges of 1 MiB at random, 16 clients."""
    clients, count = 16, bench.some(64)
    wall, cpu = {}, {}
    for server in bench.servers:
        before = server.cpu()
        seconds = download_ranges(bench.url(server), bench.headers, bench.size, clients, count)
        wall[server.name] = clients * count / seconds
        cpu[server.name] = 1000 * (server.cpu() - before) / clients / count
    yield "Range of 1 MiB, 16 at once: requests/s", wall
    yield "Range of 1 MiB, 16 at once: ms of CPU", cpu


def heads(bench: Bench) -> Iterator[Row]:
    """HEAD on 64 connections: each at once again, and each four times a second."""
    for what, pause, count in (("as fast as it goes", 0.0, 40), ("256/s", 0.25, 16)):
        median, late, cpu = {}, {}, {}
        for server in (bench.zoo, *bench.peers):
            before, path = server.cpu(), bench.paths.get(server.name, "/empty")
            asked = ask(
                server.port,
                f"HEAD {path}",
                bench.headers,
                clients=64,
                count=bench.some(count),
                pause=pause,
            )
            median[server.name], late[server.name] = asked.part(0.5), asked.part(0.95)
            cpu[server.name] = 1000 * (server.cpu() - before) / len(asked.each)
        yield f"HEAD, 64 connections, {what}: ms, p50", median
        yield f"HEAD, 64 connections, {what}: ms, p95", late
        yield f"HEAD, 64 connections, {what}: ms of CPU", cpu


def snapshots(bench: Bench) -> Iterator[Row]:
    """`snapshot_download` of the stock client, into an empty cache."""
    wall, client, cpu = {}, {}, {}
    for server in (each for each in bench.servers if each.name != "Docker registry"):
        before, home = server.cpu(), bench.folder / "home"
        url = f"http://127.0.0.1:{server.port}"
        wall[server.name], client[server.name] = stock(DOWNLOAD, url, bench.token, home, bench.repo)
        cpu[server.name] = server.cpu() - before
        shutil.rmtree(home)
    yield "snapshot_download: s", wall
    yield "snapshot_download: s of the client's CPU", client
    yield "snapshot_download: s of the server's CPU", cpu


def uploads(bench: Bench) -> Iterator[Row]:
    """A file by LFS in one piece, beside hashing it."""
    gigabytes = bench.size / 1e9
    with other_weights(bench) as file:
        sums = {}
        for name, command in (("sha256sum", ["sha256sum"]), ("openssl", ["openssl", "sha256"])):
            with suppress(FileNotFoundError):
                sums[name] = timed([*command, str(file)])
        oid = hashlib.file_digest(file.open("rb"), "sha256").hexdigest()
        with suppress(OSError):  # it is there
            bench.ask("POST", "/api/repos/create", {"name": "sent"})
        asked = {"operation": "upload", "objects": [{"oid": oid, "size": bench.size}]}
        told = json.loads(bench.ask("POST", f"/{OWN}/sent.git/info/lfs/objects/batch", asked))[
            "objects"
        ][0]["actions"]
        before, memory = bench.zoo.cpu(), bench.zoo.memory()
        bench.zoo.forget_most()
        wall = upload(told["upload"]["href"], file)
        cpu, most = bench.zoo.cpu() - before, bench.zoo.memory("VmHWM")
    yield (
        "LFS upload: GB/s",
        {
            "zoo serve": gigabytes / wall,
            **{name: gigabytes / seconds for name, (seconds, _) in sums.items()},
        },
    )
    yield (
        "LFS upload: s of CPU per GB",
        {
            "zoo serve": cpu / gigabytes,
            **{name: seconds / gigabytes for name, (_, seconds) in sums.items()},
        },
    )
    yield "LFS upload: MB of memory more", {"zoo serve": most - memory}


def stock_uploads(bench: Bench) -> Iterator[Row]:
    """A file by the stock client, by Xet and by LFS."""
    gigabytes, url = bench.size / 1e9, f"http://127.0.0.1:{bench.zoo.port}"
    ours, client = {}, {}
    for name, xet in (("by Xet", True), ("by LFS in parts", False)):
        home = bench.folder / "home"
        with other_weights(bench) as file:
            before = bench.zoo.cpu()
            repo = f"{OWN}/{file.stem}"
            _, seconds = stock(SEND, url, bench.token, home, repo, str(file), xet=xet)
            ours[name] = (bench.zoo.cpu() - before) / gigabytes
            client[name] = seconds / gigabytes
        shutil.rmtree(home)
    yield "upload_file: s of the server's CPU per GB", ours
    yield "upload_file: s of the client's CPU per GB", client


def lists(bench: Bench) -> Iterator[Row]:
    """What `list_models` and `model_info` ask."""
    for what, path, count in (
        ("list_models, 100 repositories", "/api/models", 40),
        ("model_info", f"/api/models/{bench.repo}", 400),
    ):
        before, count = bench.zoo.cpu(), bench.some(count)
        asked = ask(bench.zoo.port, f"GET {path}", bench.headers, clients=1, count=count)
        cpu = 1000 * (bench.zoo.cpu() - before) / count
        yield f"{what}: ms, p50", {"zoo serve": asked.part(0.5)}
        yield f"{what}: ms of CPU", {"zoo serve": cpu}


def starts(bench: Bench) -> Iterator[Row]:
    """A server of its own: until it answers, idle, and with slow downloads."""
    server = zoo(bench.root, bench.folder)
    try:
        wall, cpu = server.began
        yield "start until the first answer: s", {"zoo serve": wall}
        yield "start until the first answer: s of CPU", {"zoo serve": cpu}
        time.sleep(2)
        idle = server.memory()
        yield "memory, idle: MB", {"zoo serve": idle}
        for count in (8, 100):
            with Slow(server.port, bench.paths["zoo serve"], bench.headers, count) as slow:
                slow.read(3)
                more = server.memory() - idle
                yield f"memory, {count} slow downloads: MB more", {"zoo serve": more}
    finally:
        server.stop()


@contextmanager
def other_weights(bench: Bench) -> Iterator[Path]:
    """A file of the same size, no tensor of which is here: the last bits of all are others."""
    number = time.time_ns()
    file = bench.folder / f"other-{number}.safetensors"
    shutil.copy(bench.weights, file)
    data = np.memmap(file, np.uint8, "r+")
    header = 8 + int.from_bytes(data[:8].tobytes(), "little")
    data[header::4] ^= np.uint8(number // 1000 % 255 + 1)
    del data
    try:
        yield file
    finally:
        file.unlink()


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, on the clock and of its processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
