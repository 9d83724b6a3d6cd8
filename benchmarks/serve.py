"""`zoo serve` beside nginx, Docker's registry and Starlette, on the loopback.

    python benchmarks/serve.py [--quick] [--architecture vit_large_patch16_224] [ROWS ...]

A zoo with a fine-tune of a ViT-B (346 MB, two blocks and the head changed), or of another network
of timm with blocks, and the same bytes as one file for the peers. Servers take turns in each round;
given are medians of the rounds, and of the ratios within a round. Seconds of the processor are the
server's own. If the machine has other work to do, take these, and of seconds on the clock no more
than the ratios. Peers that are not installed are left out; on Debian they are in nginx-light and
docker-registry.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import timm
import torch
from safetensors.torch import save_file
from serve_clients import DOWNLOAD, stock
from serve_native import natives
from serve_peers import Files, Running, nginx, registry, starlette
from serve_peers import zoo as zoo_server
from serve_rows import (
    OWN,
    Bench,
    Row,
    heads,
    lists,
    parts_of_files,
    snapshots,
    starts,
    stock_uploads,
    uploads,
    whole_files,
)

import zoo
from zoo.domain.reference import Reference
from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

ARCHITECTURE = "vit_base_patch16_224"
REPO, FILE = "team/vit", "model.safetensors"
NAMES = 100
CHANGED = re.compile(r"blocks\.1[01]\.|norm\.|head\.")
OURS = "zoo serve"
ROWS: Mapping[str, tuple[Callable[[Bench], Iterator[Row]], int]] = {
    "get": (whole_files, 5),
    "range": (parts_of_files, 5),
    "head": (heads, 5),
    "snapshot": (snapshots, 5),
    "upload": (uploads, 3),
    "client": (stock_uploads, 3),
    "native": (natives, 5),
    "list": (lists, 5),
    "start": (starts, 5),
}
"""What measures rows, and in how many rounds."""


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"those alone, of: {', '.join(ROWS)}")
    parser.add_argument("--architecture", default=ARCHITECTURE, help="one of timm's")
    parser.add_argument("--quick", action="store_true", help="one round of fewer requests")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        bench = made(Path(folder), running, asked.architecture, quick=asked.quick)
        print(f"{bench.size / 1e6:.0f} MB; load of the machine {os.getloadavg()[0]:.1f}")
        print("\n| what | zoo serve | beside it (ratio) |\n| --- | --- | --- |")
        for name in asked.rows or ROWS:
            measure, rounds = ROWS[name]
            show([list(measure(bench)) for _ in range(1 if asked.quick else rounds)])
        print(f"\nload of the machine {os.getloadavg()[0]:.1f}")


def show(rounds: list[list[Row]]) -> None:
    """Print medians, and of what is beside the zoo also how much more or less the zoo has."""
    for same in zip(*rounds, strict=True):
        what, names = same[0][0], [*same[0][1]]
        shown = [f"{statistics.median(values[names[0]] for _, values in same):.3g}"]
        if names[0] != OURS:
            shown[0] = f"{shown[0]} {names[0]}"
        for name in names[1:]:
            value = statistics.median(values[name] for _, values in same)
            ratios = [values[names[0]] / values[name] for _, values in same if values[name]]
            ratio = f"{statistics.median(ratios):.2f} x" if ratios else "none"
            shown.append(f"{name} {value:.3g} ({ratio})")
        print(f"| {what} | {shown[0]} | {', '.join(shown[1:])} |", flush=True)


def made(folder: Path, running: ExitStack, architecture: str, *, quick: bool) -> Bench:
    """A zoo with the weights, and servers of it and of the same bytes."""
    root = folder / "zoo"
    weights, token, sha256 = fill(root, folder, architecture)
    server = started(running, zoo_server(root, folder))
    url = f"http://127.0.0.1:{server.port}"
    commit = await_all(url, token)
    stock(DOWNLOAD, url, token, folder / "first", REPO)
    shutil.rmtree(folder / "first")
    path = f"/{REPO}/resolve/{commit}/{FILE}"
    assert hashlib.sha256(get(url + path, token)[0]).hexdigest() == sha256
    blob = f"/v2/bench/blobs/sha256:{sha256}"
    peers = [
        nginx(folder / "nginx", same_answers(folder, url, token)),
        registry(folder / "registry", weights, sha256),
        starlette(folder),
    ]
    return Bench(
        folder=folder,
        weights=weights,
        repo=REPO,
        zoo=server,
        root=root,
        peers=[started(running, peer) for peer in peers if peer],
        paths={OURS: path, "nginx": path, "Docker registry": blob},
        token=token,
        quick=quick,
    )


def started(running: ExitStack, server: Running) -> Running:
    """The server, which ends with all."""
    running.callback(server.stop)
    return server


def fill(root: Path, folder: Path, architecture: str) -> tuple[Path, str, str]:
    """Make a zoo; return the file that it has, a token, and the SHA-256 of the file."""
    torch.manual_seed(0)
    state = timm.create_model(architecture).state_dict()
    save_file(state, folder / "base.safetensors")
    for name, tensor in state.items():
        if CHANGED.match(name):
            tensor += 1e-3 * torch.randn_like(tensor)
    save_file(state, folder / FILE)
    with zoo.init(root) as made:
        made.import_file(folder / "base.safetensors", "team/base", architecture=architecture)
        made.import_file(folder / FILE, REPO, architecture=architecture)
    with closing(Workspace(root)) as workspace, closing(Accounts.of(workspace)) as accounts:
        entry = workspace.store.read_ref(Reference.parse(REPO))
        assert entry
        for number in range(NAMES - 2):
            workspace.move(Reference.parse(f"team/n{number:03}"), entry.manifest, "tag")
        accounts.add(OWN)
        _, secret = accounts.new_token(OWN, "bench", "write")
        (kept,) = workspace.store.manifest(entry.manifest).weights
    (folder / "base.safetensors").unlink()
    return folder / FILE, str(secret), kept.sha256.hex


def await_all(url: str, token: str) -> str:
    """Wait until the server has described all; return the commit that is served."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        with suppress(OSError):
            found = json.loads(get(f"{url}/api/models?limit=1000", token)[0])
            if len(found) == NAMES:
                return str(json.loads(get(f"{url}/api/models/{REPO}", token)[0])["sha"])
        time.sleep(0.2)
    raise SystemExit("the server does not describe what is there")


def same_answers(folder: Path, url: str, token: str) -> Files:
    """What the stock client was answered, as files with their headers, for nginx."""
    files: Files = {}
    log = (folder / "zoo.log").read_text()
    for path in dict.fromkeys(re.findall(r"(?:GET|HEAD) (/\S+) 200", log)):
        if path in ("/healthz", "/api/models"):
            continue
        file = folder / "answers" / path.strip("/").replace("/", "_")
        file.parent.mkdir(exist_ok=True)
        data, headers = get(f"{url}{path}", token)
        file.write_bytes(data)
        files[path] = (
            file,
            {name: value for name, value in headers.items() if name in ("etag", "x-repo-commit")},
        )
    return files


def get(url: str, token: str) -> tuple[bytes, Mapping[str, str]]:
    """A body, and its headers with their names in small letters."""
    headers = {"Authorization": f"Bearer {token}"}
    with urlopen(Request(url, headers=headers), timeout=300) as answer:
        return answer.read(), {name.lower(): value for name, value in answer.headers.items()}


if __name__ == "__main__":
    main()
