"""How long who looks first at a page of a large network waits, and who looks next.

    python benchmarks/first_views.py [--architecture NAME] [--rounds 3] [--folder FOLDER]

Imports a network of random weights and four fine-tunes of it (another head, and its last tensors
changed), and asks a server for each page, in a new process each time: once it is warm, and twice
more. Prints medians in milliseconds, of the server's CPU, what it does beside the answer included,
and by the clock; and how large the page is. With a FOLDER, the zoo stays there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import zoo
from zoo.serve.http.guard import Address
from zoo.serve.run import Server
from zoo.workspace import Workspace

CHILDREN, CHANGED, CLASSES = 4, 30, 10
NAMES = [f"big/child{number}" for number in range(CHILDREN)]
PAGES = {
    "home": "/",
    "search": "/?q=child+params%3E1M",
    "model": f"/{NAMES[0]}",
    "layers": f"/{NAMES[0]}/layers",
    "lineage": f"/{NAMES[0]}/lineage",
    "versions": f"/{NAMES[0]}/versions",
    "files": f"/{NAMES[0]}/files",
    "compare two": f"/compare?names={NAMES[0]}&names={NAMES[1]}",
    "compare four": "/compare?" + "&".join(f"names={name}" for name in NAMES),
    "runs": "/runs",
    "identify": "/-/identify",
    "settings": "/-/settings",
    "storage": "/-/storage",
    "what a prune would free": "/-/storage/prune",
}


def make(root: Path, architecture: str) -> None:
    """A zoo of a network and its fine-tunes."""
    import timm
    import torch
    from safetensors.torch import save_file

    state = timm.create_model(architecture, num_classes=CLASSES).state_dict()
    names, file = [*state], root.parent / "weights.safetensors"
    with zoo.init(root) as made:
        for at, name in enumerate(("big/base", *NAMES)):
            own = dict(state)
            for each in names[-CHANGED:] if at else []:
                own[each] = state[each] + 0.001 * at * torch.ones_like(state[each])
            save_file(own, file)
            parent = "big/base" if at else None
            made.import_file(file, name, architecture=architecture, parent=parent)
    file.unlink()


def look(root: Path, path: str, looks: int) -> None:
    """Serve a zoo in this process, look at a page, and print how long that took, as JSON."""
    server = Server(Workspace(root), Address.checked("127.0.0.1", 0, ""))
    (warming,) = server._threads = [each for each in server._threads if each.name == "warm"]
    ready = threading.Event()
    server.announce = lambda _: ready.set()
    threading.Thread(target=server.run, daemon=True).start()
    ready.wait()
    warming.join()
    accounts = server.hub.accounts
    if "admin" not in [each.name for each in accounts.all()]:
        accounts.add("admin", admin=True)
    token, secret = accounts.new_token("admin", "bench", "write")
    headers = {"Authorization": f"Bearer {secret}", "Accept": "text/html"}
    connection, took, size = HTTPConnection(server.url.partition("://")[2]), [], 0
    for _ in range(looks):
        began = time.process_time(), time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        size = len(answer.read())
        assert answer.status == 200, answer.status
        took.append([1000 * (time.process_time() - began[0])])
        took[-1].append(1000 * (time.perf_counter() - began[1]))
    accounts.revoke(token.id)
    print(json.dumps([took, size]), flush=True)
    os._exit(0)


def measure(root: Path, rounds: int) -> None:
    """Look at each page in processes of their own, and print a table."""
    print("| page | first CPU | first clock | next CPU | next clock | KB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, path in PAGES.items():
        command = [sys.executable, __file__, "--folder", str(root.parent), "--look", path]
        told = [json.loads(subprocess.check_output(command)) for _ in range(rounds)]
        firsts = [statistics.median(took[0][of] for took, _ in told) for of in (0, 1)]
        nexts = [statistics.median(t[of] for took, _ in told for t in took[1:]) for of in (0, 1)]
        cells = [f"{each:.0f}" for each in (*firsts, *nexts, told[0][1] / 1000)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Make, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", default="vit_large_patch16_224")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--look", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        root = (asked.folder or Path(passing)) / "zoo"
        if asked.look:
            look(root, asked.look, 3)
        if not root.exists():
            make(root, asked.architecture)
        measure(root, asked.rounds)


if __name__ == "__main__":
    main()
