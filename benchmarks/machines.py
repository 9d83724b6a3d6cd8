"""Four workers on PostgreSQL and a bucket beside one worker on a folder: seconds of the processor.

    python benchmarks/machines.py [--quick]

A zoo with a repository of one file of weights (16 MB in 5 objects) and a README, which both have.
They take turns in each round; given are milliseconds of CPU for each request, medians of the
rounds, and of the ratios within a round. CPU is that of the workers, not that of PostgreSQL, or of
moto, which plays the bucket in a process of its own. What is read is in the machine's cache by
then, as it is for all but the first who asks.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from safetensors.numpy import save
from serve_clients import ask
from serve_peers import free_port

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fakes import postgres

from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

TICK = os.sysconf("SC_CLK_TCK")
KEY_ID = "AKIAEXAMPLEKEYID"
BUCKET = {
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": "verysecretaccesskey",
    "AWS_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1",
}
REPO, ONE, MORE = "ann/net", "1 worker, folder", "4 workers, folder"
FOUR = "4 workers, PostgreSQL and bucket"
ROUNDS, COUNT, CLIENTS = 7, 40, 16


class Serving:
    """A ``zoo serve`` that answers at ``port``; ``cpu`` tells the seconds of what answers."""

    def __init__(self, name: str, root: Path, *more: str) -> None:
        self.name, self.port = name, free_port()
        command = [sys.executable, "-m", "zoo_cli", "--home", str(root), "serve", "--quiet",
                   "--port", str(self.port), *more]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout
        assert b"serving" in self.process.stdout.readline()

    def cpu(self) -> float:
        """Seconds of the processor of all that answers."""
        pid = self.process.pid
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(map(_seconds, [pid, *map(int, below)]))

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(60)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    rounds = 2 if parser.parse_args().quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = started(Path(folder), stack)
        asked = {
            "HEAD of a file": "HEAD /{repo}/resolve/{sha}/model.safetensors",
            "GET of a README": "GET /{repo}/resolve/{sha}/README.md",
            "GET of weights, 16 MB": "GET /{repo}/resolve/{sha}/model.safetensors",
            "what a repository has": "GET /api/models/{repo}",
        }
        found: dict[str, list[list[float]]] = {what: [] for what in asked}
        for number in range(rounds + 1):
            for what, line in asked.items():
                each = [measured(server, line) for server in servers]
                if number:  # the first one warms all up
                    found[what].append(each)
        print(f"load of the machine {os.getloadavg()[0]:.1f}")
        print(f"\n| ms of CPU for a request | {ONE} | {MORE} | {FOUR} |\n| --- | --- | --- | --- |")
        for what, rows in found.items():
            row = [f"{statistics.median(each):.2f}" for each in zip(*rows, strict=True)]
            for at in (1, 2):
                ratio = statistics.median(each[at] / each[0] for each in rows)
                row[at] += f" ({ratio:.2f} x)"
            print(f"| {what} | {' | '.join(row)} |")


def measured(server: tuple[Serving, str, str], line: str) -> float:
    """Milliseconds of CPU for a request."""
    serving, token, sha = server
    before, headers = serving.cpu(), {"Authorization": f"Bearer {token}"}
    count = COUNT // 4 if line.startswith("GET") and "safetensors" in line else COUNT
    ask(serving.port, line.format(repo=REPO, sha=sha), headers, clients=CLIENTS, count=count)
    return 1000 * (serving.cpu() - before) / CLIENTS / count


def started(folder: Path, stack: ExitStack) -> list[tuple[Serving, str, str]]:
    """The servers, each with a token and the commit that it has."""
    found = []
    for name, more in ((ONE, ()), (MORE, ("--workers", "4"))):
        Workspace.create(folder / name).close()
        server = Serving(name, folder / name, *more)
        stack.callback(server.stop)
        found.append((server, *filled(server, folder / name)))
    database = stack.enter_context(postgres.running(postgres.programs() or sys.exit("no server")))
    told = {"AWS_ENDPOINT_URL": stack.enter_context(bucket()), "ZOO_DB": database.database("zoo")}
    os.environ |= {**BUCKET, **told}  # noqa: TID251
    store = f"s3://models/{uuid.uuid4().hex}"
    four = Serving(FOUR, folder / "four", "--workers", "4", "--store", store)
    stack.callback(four.stop)
    return [*found, (four, *filled(four, folder / "four"))]


@contextmanager
def bucket() -> Iterator[str]:
    """A service that speaks S3, in a process of its own; where it is."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        try:
            signed = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request"
            until = time.monotonic() + 60
            while time.monotonic() < until:
                connection = http.client.HTTPConnection("127.0.0.1", port)
                try:
                    connection.request("PUT", "/models", headers={"Authorization": signed})
                except ConnectionError:
                    time.sleep(0.1)
                else:
                    assert connection.getresponse().status == 200
                    break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def filled(server: Serving, root: Path) -> tuple[str, str]:
    """Send the same to a server; a token, and the commit that it has now."""
    with closing(Workspace(root)) as workspace, closing(Accounts.of(workspace)) as who:
        who.add("ann")
        token = str(who.new_token("ann", "bench", "write")[1])
    draw = np.random.default_rng(0).standard_normal
    weights = save({f"layer{number}": draw((800, 1000)).astype("f4") for number in range(5)})
    lines: list[Mapping[str, object]] = [{"key": "header", "value": {"summary": "add"}}]
    lines.append({"key": "file", "value": {"path": "README.md", "content": "# A network\n" * 50}})
    at = f"http://127.0.0.1:{server.port}"

    def send(path: str, body: object) -> dict[str, object]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"}
        with urlopen(Request(at + path, data, headers, method="POST")) as answer:
            return dict(json.load(answer))

    send("/api/repos/create", {"name": "net", "organization": "ann"})
    oid = sent(at, token, weights)
    lines.append({"key": "lfsFile", "value": {"path": "model.safetensors", "algo": "sha256",
                                              "oid": oid, "size": len(weights)}})  # fmt: skip
    made = send(f"/api/models/{REPO}/commit/main", "\n".join(map(json.dumps, lines)).encode())
    return token, str(made["commitOid"])


def sent(at: str, token: str, data: bytes) -> str:
    """Send a file by Git LFS; its SHA-256."""
    oid = hashlib.sha256(data).hexdigest()
    asked = {"operation": "upload", "objects": [{"oid": oid, "size": len(data)}]}
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{at}/{REPO}.git/info/lfs/objects/batch"
    with urlopen(Request(url, json.dumps(asked).encode(), headers, method="POST")) as answer:
        (told,) = json.load(answer)["objects"]
    urlopen(Request(told["actions"]["upload"]["href"], data, method="PUT")).close()
    return oid


def _seconds(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / TICK


if __name__ == "__main__":
    main()
