"""What the hub's own client sends of a fine-tune, whose base is in the zoo and was never uploaded.

    python benchmarks/uploads.py [ARCHITECTURE]

Each upload is of a process with an empty cache, to a server that has the base, and to one that has
nothing, beside it a `zoo push`. Bytes are those that the server has received, README and all.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import timm
import torch

import zoo
from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

CLIENT = """
import sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo(sys.argv[1])
api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2])
"""
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Served:
    """A server, and a token to write to it."""

    url: str
    token: str

    def received(self) -> float:
        """Bytes of bodies that it has received."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            text = answer.read().decode()
        found = re.search(r"^zoo_received_bytes_total (.+)$", text, re.MULTILINE)
        assert found
        return float(found[1])


@contextmanager
def served(root: Path, weights: Path | None) -> Iterator[Served]:
    """A zoo that is served; with ``weights``, it has a checkpoint."""
    with closing(Workspace.create(root)) as made, closing(Accounts.of(made)) as who:
        who.add("ann")
        token = str(who.new_token("ann", "x", "write")[1])
    if weights:
        with zoo.open(root) as opened:
            opened.import_folder(weights, "team/base")
    command = [sys.executable, "-m", "zoo_cli", "--home", str(root), "serve", "--port", "0",
               "--quiet"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = re.search(r"http://[\d.:]+\d", process.stdout.readline())
        assert url
        yield Served(url[0], token)
        process.terminate()


def tuned(kind: str, base: Weights, architecture: str) -> Weights:
    """The weights of a fine-tune with another head, and some blocks changed."""
    net = timm.create_model(architecture, num_classes=10)
    own = {**net.state_dict()}
    own |= {name: value for name, value in base.items() if own[name].shape == value.shape}
    numbers = sorted({int(name.split(".")[1]) for name in own if name.startswith("blocks.")})
    moved: list[int] = {"head": [], "last 2 blocks": numbers[-2:], "all blocks": numbers}[kind]
    for name, value in own.items():
        if name.startswith("blocks.") and int(name.split(".")[1]) in moved:
            own[name] = value + torch.randn_like(value) * 1e-3
    return own


def sent(to: Served, folder: Path, home: Path) -> tuple[float, float]:
    """Megabytes that a client sends, and how long it takes."""
    before, began = to.received(), time.monotonic()
    env = {**os.environ, "HF_ENDPOINT": to.url, "HF_TOKEN": to.token, "HF_HOME": str(home),  # noqa: TID251
           "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
    command = [sys.executable, "-c", CLIENT, f"ann/{folder.name.replace(' ', '-')}", str(folder)]
    subprocess.run(command, env=env, check=True, capture_output=True)
    return (to.received() - before) / 1e6, time.monotonic() - began


def row(kind: str, base: Weights, architecture: str, work: Path, at: tuple[Served, Served]) -> str:
    """One fine-tune, sent to both servers, as a row of a table."""
    weights, files = tuned(kind, base, architecture), work / kind
    model = timm.create_model(architecture, num_classes=10)
    model.load_state_dict(weights)
    timm.models.save_for_hf(model, str(files), safe_serialization=True)
    size = (files / "model.safetensors").stat().st_size / 1e6
    new = [value for name, value in weights.items()
           if base[name].shape != value.shape or not torch.equal(base[name], value)]  # fmt: skip
    (near, took), (far, longer) = (
        sent(to, files, work / f"home {number} {kind}") for number, to in enumerate(at)
    )
    changed = sum(value.nbytes for value in new) / 1e6
    return (f"| {kind} | {size:.1f} | {changed:.2f} | {near:.2f} ({near / size:.2%}) | "
            f"{far:.1f} ({far / size:.1%}) | {took / longer:.2f} x |")  # fmt: skip


def main() -> None:
    """Print a table with a row for each fine-tune."""
    architecture = sys.argv[1] if len(sys.argv) > 1 else "vit_base_patch16_224"
    torch.manual_seed(0)
    net = timm.create_model(architecture)
    base = {name: value.clone() for name, value in net.state_dict().items()}
    print("| changed | file: MB | changed: MB | sent, base there: MB | base not there: MB | time |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        timm.models.save_for_hf(net, str(work / "base"), safe_serialization=True)
        with served(work / "with", work / "base") as there:
            for kind in ("head", "last 2 blocks", "all blocks"):
                with served(work / f"without {kind}", None) as alone:
                    print(row(kind, base, architecture, work, (there, alone)), flush=True)


if __name__ == "__main__":
    main()
