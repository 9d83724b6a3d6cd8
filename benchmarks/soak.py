"""`zoo serve` in use for hours: do its memory, open files, disk and answers stay as they were?

    python benchmarks/soak.py [--hours 2] [--workers 2] [--out build/soak]

Clients write, read, download, pull and delete all the while, at a slow pace; each file that comes
is compared with what was sent. Every ten minutes what nothing needs is pruned. Once a minute a row
goes to ``soak.csv`` in the folder, and is drawn in ``soak.png``: memory, open files and threads of
all processes of the server, bytes on the disk, and how long requests took. The last fifth of the
time is compared with the second; 1 is the exit code where something grew, failed or was wrong.

Of what was sent a server keeps something for a day (``sent``), which grows for that long: it is a
column of its own, and is not judged.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import http.client
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import timm
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils.tqdm import disable_progress_bars
from machines import Serving
from safetensors.numpy import save
from timm.models import save_for_hf

from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

REPOS, COMMITS, PRUNE = 8, 12, 600
"""Repositories; commits until one is deleted and made anew; seconds between prunes."""
MINUTE = 60.0
LIMITS = {"memory_mb": 1.15, "open_files": 1.15, "threads": 1.15, "disk_mb": 1.3, "p95_ms": 2.0}
"""How many times what it was each figure may be at the end."""
BUSY = 503
"""A server that prunes asks clients to come again."""


class Soak:
    """What clients do, and what came of it."""

    def __init__(self, serving: Serving, root: Path, token: str) -> None:
        self.serving, self.root, self.token = serving, root, token
        self.api = HfApi(endpoint=f"http://127.0.0.1:{serving.port}", token=token)
        os.environ |= {"ZOO_TOKEN": token, "ZOO_SERVER": self.api.endpoint}  # noqa: TID251
        self.ended = threading.Event()
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self.sent: dict[str, str] = {}  # repository: SHA-256 of its weights
        self.lock = threading.Lock()  # one writer at a time, and nobody reads what it replaces
        model = timm.create_model("mobilenetv3_small_100", num_classes=10)
        self.weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        with tempfile.TemporaryDirectory() as folder:
            save_for_hf(model, folder)
            self.config = (Path(folder) / "config.json").read_bytes()

    def repeat(self, act: Callable[[random.Random], None], pause: float, seed: int) -> None:
        """Do ``act`` until the end; what fails is kept."""
        draw = random.Random(seed)
        while not self.ended.wait(pause * draw.uniform(0.5, 1.5)):
            try:
                act(draw)
                self.counts[act.__name__] += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                self.errors.append(f"{act.__name__}: {type(error).__name__}: {error}"[:400])

    def write(self, draw: random.Random) -> None:
        """Commit a network whose head is new; a repository that has many is made anew."""
        name = f"ann/net{draw.randrange(REPOS)}"
        new = np.random.default_rng(draw.getrandbits(32)).random
        shape = self.weights["classifier.weight"].shape
        data = save({**self.weights, "classifier.weight": new(shape, "f4")})
        files = {"model.safetensors": data, "config.json": self.config}
        with self.lock:
            if self.counts[name] % COMMITS == COMMITS - 1:
                self.api.delete_repo(name)
                self.counts["delete"] += 1
            self.api.create_repo(name, exist_ok=True)
            added = [CommitOperationAdd(path, file) for path, file in files.items()]
            self.api.create_commit(name, added, commit_message="another head")
            self.counts[name] += 1
            self.sent[name] = hashlib.sha256(data).hexdigest()

    def ask(self, draw: random.Random) -> None:
        """What programs and people ask most."""
        name = draw.choice([*self.sent])
        file = f"/{name}/resolve/main/model.safetensors"
        paths = (file, file, f"/api/models/{name}", f"/{name}", "/models?q=net", "/api/models")
        method, path = ("HEAD", file) if draw.random() < 0.5 else ("GET", draw.choice(paths[2:]))
        began = time.perf_counter()
        status, _ = self._asked(method, path)
        self.seconds.append(time.perf_counter() - began)
        if status == BUSY:
            self.counts["asked to come again"] += 1
        elif status >= 400 and status != 404:  # it may be deleted just now
            self.errors.append(f"{method} {path}: {status}")

    def download(self, draw: random.Random) -> None:
        """The weights, whole."""
        name = draw.choice([*self.sent])
        with self.lock:
            status, data = self._asked("GET", f"/{name}/resolve/main/model.safetensors")
            if status == 200 and hashlib.sha256(data).hexdigest() != self.sent[name]:
                self.errors.append(f"wrong bytes of {name}")

    def pull(self, draw: random.Random) -> None:
        """Into a zoo of its own, as a colleague would."""
        name = draw.choice([*self.sent])
        with tempfile.TemporaryDirectory() as folder, self.lock:
            Workspace.create(Path(folder) / "mine").close()
            command = [sys.executable, "-m", "zoo_cli", "--home", f"{folder}/mine", "pull",
                       name, "--from", self.api.endpoint]  # fmt: skip
            told = subprocess.run(command, capture_output=True, text=True, check=False)
            if told.returncode:
                self.errors.append(f"pull {name}: {told.stderr}"[-400:])

    def prune(self, _: random.Random) -> None:
        """What no name leads to."""
        command = [sys.executable, "-m", "zoo_cli", "--home", str(self.root), "prune",
                   "--keep", "0", "--grace", "0", "--yes"]  # fmt: skip
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode:
            self.errors.append(f"prune: {told.stderr}"[-400:])

    def row(self, began: float) -> dict[str, float]:
        """The figures of the last minute."""
        each, self.seconds = sorted(self.seconds), []
        found = {"minute": (time.monotonic() - began) / 60, **_used(self.serving.process.pid)}
        found["sent_mb"] = _bytes(self.root / "sent") / 1e6
        found["disk_mb"] = _bytes(self.root) / 1e6 - found["sent_mb"]
        found["requests"] = len(each)
        for part in (50, 95):
            found[f"p{part}_ms"] = 1000 * each[part * (len(each) - 1) // 100] if each else 0.0
        found["errors"] = len(self.errors)
        return {name: round(value, 2) for name, value in found.items()}

    def _asked(self, method: str, path: str) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.serving.port, timeout=60)) as at:
            at.request(method, path, headers={"Authorization": f"Bearer {self.token}"})
            answer = at.getresponse()
            return answer.status, answer.read()


def main() -> None:
    """Use a server, and tell whether it stayed as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build/soak"))
    asked = parser.parse_args()
    disable_progress_bars()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "zoo"
        Workspace.create(root).close()
        serving = Serving("soak", root, "--workers", str(asked.workers))
        try:
            with closing(Workspace(root)) as workspace, closing(Accounts.of(workspace)) as who:
                who.add("ann")
                token = str(who.new_token("ann", "soak", "write")[1])
            rows = _soaked(Soak(serving, root, token), asked.hours * 3600, asked.out)
        finally:
            serving.stop()
    draw(rows, asked.out / "soak.png")
    sys.exit(judged(rows))


def _soaked(soak: Soak, seconds: float, out: Path) -> list[dict[str, float]]:
    for at in range(REPOS):
        soak.write(random.Random(at))
    acts = ((soak.write, 15), (soak.ask, 0.5), (soak.ask, 0.5), (soak.download, 10),
            (soak.pull, 60), (soak.prune, PRUNE))  # fmt: skip
    threads = [
        threading.Thread(target=soak.repeat, args=(act, pause, at), daemon=True)
        for at, (act, pause) in enumerate(acts)
    ]
    for thread in threads:
        thread.start()
    began, rows = time.monotonic(), list[dict[str, float]]()
    with (out / "soak.csv").open("w", newline="", buffering=1) as file:
        while time.monotonic() - began < seconds:
            time.sleep(min(MINUTE, seconds / 10))
            rows.append(soak.row(began))
            table = csv.DictWriter(file, list(rows[0]))
            if len(rows) == 1:
                table.writeheader()
            table.writerow(rows[-1])
    soak.ended.set()
    for thread in threads:
        thread.join(120)
    print(", ".join(f"{count} {what}" for what, count in sorted(soak.counts.items())))
    for error in soak.errors[:20]:
        print(error)
    return rows


def judged(rows: list[dict[str, float]]) -> int:
    """Print the second fifth beside the last; 1 if a figure grew over its limit, or errors came."""
    fifth = max(len(rows) // 5, 1)
    failed = rows[-1]["errors"] > 0
    print(f"{rows[-1]['minute']:.0f} minutes, {rows[-1]['errors']:.0f} errors")
    print("| figure | at first | at last | ratio | limit |\n| --- | --- | --- | --- | --- |")
    for name, limit in LIMITS.items():
        first = statistics.median(row[name] for row in rows[fifth : 2 * fifth])
        last = statistics.median(row[name] for row in rows[-fifth:])
        failed |= last > limit * first
        print(f"| {name} | {first:.1f} | {last:.1f} | {last / first:.2f} | {limit} |")
    return int(failed)


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Each figure over the minutes."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(LIMITS), 1, sharex=True, figsize=(8, 10))
    for axis, name in zip(axes, LIMITS, strict=True):
        axis.plot([row["minute"] for row in rows], [row[name] for row in rows])
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=80)


def _used(pid: int) -> dict[str, float]:
    """Memory (that of shared pages divided), open files and threads of a process and of those
    that it started.
    """
    found: dict[str, float] = {"memory_mb": 0.0, "open_files": 0.0, "threads": 0.0}
    for each in [pid, *_below(pid)]:
        at = Path(f"/proc/{each}")
        try:
            rollup = (at / "smaps_rollup").read_text()
            found["memory_mb"] += int(rollup.partition("Pss:")[2].split()[0]) / 1000
            found["open_files"] += len([*(at / "fd").iterdir()])
            found["threads"] += len([*(at / "task").iterdir()])
        except OSError:  # it has just ended
            continue
    return found


def _below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in children for each in (int(child), *_below(int(child)))]


def _bytes(folder: Path) -> int:
    told = subprocess.run(["du", "-s", "-B1", folder], capture_output=True, text=True, check=False)
    return int(told.stdout.split()[0])


if __name__ == "__main__":
    main()
