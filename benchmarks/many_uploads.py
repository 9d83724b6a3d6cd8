"""A hundred fine-tunes of one ViT from the hub's own client: what is sent, and what is kept.

    python benchmarks/many_uploads.py [--each 25] [--steps 60]

Four kinds, so many of each: another head; the last two of twelve blocks, too; LoRA of all qkv,
merged by peft; everything. Each is a vit_tiny_patch16_224 that AdamW has trained for so many steps
on scikit-learn's digits, from weights drawn once. The server keeps its files in a bucket (moto
plays it), its accounts in PostgreSQL, and has the base. Sent are bytes that the server has
received; kept is what lies in the bucket, once as it was sent and once after `zoo repack`. Both
are given as a share of the files' bytes, which is what is kept where each whole file is kept once.
At the end each file is downloaded, and its SHA-256 compared.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path

import timm
import torch
from huggingface_hub import HfApi, hf_hub_download
from machines import BUCKET, Serving, bucket
from peft import LoraConfig, get_peft_model
from sklearn.datasets import load_digits
from torch import Tensor, nn
from uploads import Served, sent

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fakes import postgres

from zoo.remotes import connect
from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

NET, SIZE, BATCH = "vit_tiny_patch16_224", 64, 32
KINDS = ("head", "last 2 blocks", "merged LoRA", "everything")


def main() -> None:
    """Print a row for each kind, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=25)
    parser.add_argument("--steps", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store, served = started(Path(folder), stack)
        run(Path(folder), store, served, asked.each, asked.steps)


def started(folder: Path, stack: ExitStack) -> tuple[str, Served]:
    """A server, and where its bucket is."""
    database = stack.enter_context(postgres.running(postgres.programs() or sys.exit("no server")))
    told = {"AWS_ENDPOINT_URL": stack.enter_context(bucket()), "ZOO_DB": database.database("zoo")}
    os.environ |= {**BUCKET, **told}  # noqa: TID251
    store = f"s3://models/{uuid.uuid4().hex}"
    server = Serving("one", folder / "one", "--store", store)
    stack.callback(server.stop)
    with closing(Workspace(folder / "one")) as zoo, closing(Accounts.of(zoo)) as accounts:
        accounts.add("ann")
        token = str(accounts.new_token("ann", "x", "write")[1])
    return store, Served(f"http://127.0.0.1:{server.port}", token)


def run(folder: Path, store: str, served: Served, each: int, steps: int) -> None:
    """Upload, measure, repack, measure, and compare."""
    torch.manual_seed(0)
    base = timm.create_model(NET, num_classes=10)
    upload(served, folder, "base", base)
    wait_for_checkpoints(served, ["base"])
    first = kept(store)
    digests: dict[str, str] = {}
    sizes, sent_of = (defaultdict[str, float](float) for _ in range(2))
    print("| changed | files: MB | sent | kept |\n| --- | --- | --- | --- |")
    for kind in KINDS:
        before = kept(store)
        for number in range(each):
            name = f"{kind.replace(' ', '-')}-{number}"
            net = trained(base, kind, number, steps)
            size, bytes_sent, digests[name] = upload(served, folder, name, net)
            sizes[kind] += size
            sent_of[kind] += bytes_sent
        wait_for_checkpoints(served, digests)
        size, held = sizes[kind], kept(store) - before
        print(
            f"| {kind} | {size:.1f} | {sent_of[kind] / size:.3f} | {held / size:.3f} |", flush=True
        )
    size, all_sent = sum(sizes.values()), sum(sent_of.values())
    before = kept(store) - first
    command = [sys.executable, "-m", "zoo_cli", "--home", str(folder / "mine")]
    env = {name: value for name, value in os.environ.items() if name != "ZOO_DB"}  # noqa: TID251
    subprocess.run([*command, "init"], env=env, check=True, capture_output=True)
    began = time.monotonic()
    subprocess.run([*command, "repack", store, "--yes"], env=env, check=True, capture_output=True)
    took, after = time.monotonic() - began, kept(store) - first
    print(f"| all | {size:.1f} | {all_sent / size:.3f} | {before / size:.3f} |")
    print(f"\nkept after zoo repack, which took {took:.0f} s: {after / size:.3f}")
    print(f"{compared(served, folder, digests)} files are what was sent")


def digits() -> tuple[Tensor, Tensor]:
    """Images (N, 3, SIZE, SIZE) float32, and their classes."""
    found = load_digits()
    images = torch.from_numpy(found.images).float()[:, None] / 8 - 1
    return nn.functional.interpolate(images, SIZE).expand(-1, 3, -1, -1), torch.from_numpy(
        found.target
    )


def trained(base: nn.Module, kind: str, seed: int, steps: int) -> nn.Module:
    """A fine-tune of the base."""
    torch.manual_seed(1 + seed)
    net: nn.Module = timm.create_model(NET, num_classes=10, dynamic_img_size=True)
    net.load_state_dict(
        {n: v for n, v in base.state_dict().items() if "head." not in n}, strict=False
    )
    if kind == "merged LoRA":
        how = LoraConfig(r=8, target_modules=["qkv"], modules_to_save=["head"])
        net = get_peft_model(net, how)
    else:
        part = {"head": ("head.",), "last 2 blocks": ("head.", "norm.", "blocks.10.", "blocks.11."),
                "everything": ("",)}[kind]  # fmt: skip
        for name, value in net.named_parameters():
            value.requires_grad_(name.startswith(part))
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 1e-4)
    images, classes = digits()
    for _ in range(steps):
        chosen = torch.randint(len(images), (BATCH,))
        loss = nn.functional.cross_entropy(net(images[chosen]), classes[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    merged: nn.Module = net.merge_and_unload() if kind == "merged LoRA" else net  # type: ignore[operator]
    return merged


def upload(served: Served, folder: Path, name: str, net: nn.Module) -> tuple[float, float, str]:
    """Megabytes of the file and of what was sent, and the file's SHA-256."""
    model, files = timm.create_model(NET, num_classes=10), folder / name
    model.load_state_dict(net.state_dict())
    timm.models.save_for_hf(model, str(files), safe_serialization=True)
    data = (files / "model.safetensors").read_bytes()
    megabytes, _ = sent(served, files, folder / f"home {name}")
    return len(data) / 1e6, megabytes, hashlib.sha256(data).hexdigest()


def kept(store: str) -> float:
    """Megabytes in the bucket, but for what clients sent, which is there for an hour more."""
    files = connect(store).backend.list("")
    return sum(file.bytes for file in files if not file.name.startswith("sent/")) / 1e6


def wait_for_checkpoints(served: Served, names: Iterable[str]) -> None:
    """Until the server has seen of all what network they are, which it does after the commit."""
    api = HfApi(served.url, served.token)
    until = time.monotonic() + 600
    for name in names:
        while "timm" not in (api.model_info(f"ann/{name}").tags or []):
            assert time.monotonic() < until, name
            time.sleep(0.5)


def compared(served: Served, folder: Path, digests: dict[str, str]) -> int:
    """How many files come back as they were sent; any other is an error."""
    for name, digest in digests.items():
        path = hf_hub_download(f"ann/{name}", "model.safetensors", endpoint=served.url,
                               token=served.token, cache_dir=folder / "cache")  # fmt: skip
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest, name
    return len(digests)


if __name__ == "__main__":
    main()
