"""Whether the first page comes soon where a zoo is large.

    python benchmarks/pages.py [--entries 200000] [--models 10000] [--versions 1] [--folder FOLDER]

Makes up entries that a source lists, as `benchmarks/search.py` does, and models that are here,
each committed so many times, serves them, and asks for the first page with that benchmark's
queries: as somebody from whom some names are hidden, then as an admin. Times are median, 95th
percentile and largest, by the clock and of the CPU, of server and client together. With a FOLDER,
the zoo stays there.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from safetensors.numpy import save_file
from scale import PREPROCESSING
from search import FAMILIES, LICENSES, QUERIES, SIZES, SUBJECTS, entries, queries

from zoo.domain.manifest import Backbone, Head, Manifest
from zoo.domain.reference import Reference
from zoo.errors import Conflict
from zoo.serve.http.guard import Address
from zoo.serve.run import Server
from zoo.store.files import add_weights
from zoo.workspace import Workspace

ENTRIES, MODELS, HIDDEN = 200_000, 10_000, 20
TEAMS = ("birds", "crops", "lab", "roads", "scans", "vision")


def make(root: Path, listed: int, models: int, versions: int) -> None:
    """A zoo of so many entries and models of so many versions, all of the same weights."""
    draw = random.Random(3)
    with closing(Workspace.create(root)) as workspace:
        workspace.registry.replace_entries("hub", "1", entries(listed), "2026-01-01T00:00:00Z")
        path = root / "tmp" / "w.safetensors"
        save_file({"head.weight": np.zeros((3, 8), np.float32)}, path)
        weights = add_weights(workspace.store, path)
        for number in range(models):
            network = f"{draw.choice(FAMILIES)}_{draw.choice(SIZES)}"
            manifest = Manifest(
                backbone=Backbone(plugin="timm", architecture=network),
                head=Head(kind="native", num_classes=3),
                preprocessing=PREPROCESSING,
                weights=(weights,),
                license=draw.choice(LICENSES),
                metrics={"accuracy": draw.random()},
                classes=("a", "b", f"c{number}"),
            )
            name = f"{draw.choice(TEAMS)}/{draw.choice(SUBJECTS)}-{number}"
            for version in range(versions):
                scored = replace(manifest, metrics={"accuracy": draw.random() + version})
                workspace.commit(scored, Reference.parse(name), "import")


def measure(server: Server, who: str, listed: int) -> None:
    """Ask as an account, and print how long it took."""
    accounts = server.hub.accounts
    with suppress(Conflict):  # of an earlier run in the same folder
        accounts.add(who, admin=who == "admin")
    headers = {
        "Authorization": f"Bearer {accounts.new_token(who, 'bench')[1]}",
        "Accept": "text/html",
    }
    connection = HTTPConnection(server.url.partition("://")[2])
    clock, cpu, sizes = [], [], []
    for _, query in queries(QUERIES, listed):
        sort = f"{'-' * query.sort.descending}{query.sort.field}" if query.sort else ""
        began = time.perf_counter(), time.process_time()
        connection.request(
            "GET", f"/?{urlencode({'q': str(query), 'sort': sort})}", headers=headers
        )
        answer = connection.getresponse()
        sizes.append(len(answer.read()))
        assert answer.status == 200
        clock.append(1000 * (time.perf_counter() - began[0]))
        cpu.append(1000 * (time.process_time() - began[1]))
    for name, times in (("clock", clock), ("CPU", cpu)):
        low = statistics.median(times), statistics.quantiles(times, n=20)[-1], max(times)
        print(f"{who} | {name} | {', '.join(f'{each:.1f}' for each in low)} ms")
    print(f"{who} | largest page | {max(sizes):,} bytes")


def main() -> None:
    """Make, serve and ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--versions", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        root = (asked.folder or Path(passing)) / "zoo"
        if not root.exists():
            make(root, asked.entries, asked.models, asked.versions)
        # Little is done beside: networks that are made up cannot be described.
        server = Server(Workspace(root), Address.checked("127.0.0.1", 0, ""))
        server._threads = [each for each in server._threads if each.name == "warm"]
        for number in range(HIDDEN):
            server.hub.accounts.set_level(f"lab/flowers-{number}", level="private")
        gc.freeze()  # as `zoo.serve.run.serve` does
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        for who in ("ann", "admin"):
            measure(server, who, asked.entries)
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
