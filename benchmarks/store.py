"""What a fine-tune costs a store that has its parent, beside other ways of storing, in one run.

    python benchmarks/store.py

Real ImageNet weights of tf_efficientnet_lite0, changed by real training on scikit-learn's digits in
five ways. For each way of storing: bytes that the child adds, and seconds to add it.

- zoo push: what travels to a remote that has the parent (FAST, and MAX), manifest included;
- whole file: what stores that copy or hash whole files add (model registries, file caches);
- 64 KiB chunks: content-defined chunks with Xet's limits (8, 64, 128 KiB), if ``fastcdc`` is there.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import timm
import torch
from lite0 import ARCHITECTURE, State, pretrained
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

import zoo
from zoo.domain.manifest import Parent
from zoo.store.files import add_weights
from zoo.workspace import Workspace

STEPS = 20


def main() -> None:
    """Train the variants, store each in every way, and print one table."""
    parent = pretrained()
    print(f"{ARCHITECTURE}, new bytes against its parent (and seconds)")
    header = ("change", "logical", "zoo push", "zoo push max", "whole file", "64 KiB chunks")
    print("".join(f"{name:>22}" for name in header))
    for name, child in variants(parent):
        with tempfile.TemporaryDirectory() as folder:
            base, tuned = Path(folder, "base.safetensors"), Path(folder, "tuned.safetensors")
            dtype = torch.bfloat16 if name.endswith("bf16") else torch.float32
            save(parent, base, dtype)
            save(child, tuned, dtype)
            cells = [f"{tuned.stat().st_size / 1e6:.2f} MB"]
            for way in (zoo_push(), zoo_push(smallest=True), whole_file, chunks):
                sent, seconds = way(base, tuned)
                share = sent / tuned.stat().st_size
                cells.append(f"{sent / 1e6:.2f} {share:6.1%} {seconds:.2f}s" if sent >= 0 else "-")
        print("".join(f"{cell:>22}" for cell in (name, *cells)), flush=True)


def variants(parent: State) -> Iterator[tuple[str, State]]:
    """The parent after training some of it; a new head of ten classes in each."""

    def is_norm(module: nn.Module) -> bool:
        return isinstance(module, nn.BatchNorm2d)

    def head(name: str, _: nn.Module) -> bool:
        return name == "classifier"

    yield "head, norms frozen", trained(parent, head, moving_norms=False)
    yield "head, norms move", trained(parent, head, moving_norms=True)
    yield "norms and head", trained(parent, lambda n, m: head(n, m) or is_norm(m))
    yield (
        "last stage and head",
        trained(parent, lambda n, _: n.startswith(("classifier", "blocks.6", "conv_head", "bn2"))),
    )
    full = trained(parent, lambda *_: True, rate=1e-5)
    yield "everything, fp32", full
    yield "everything, bf16", full


def trained(
    parent: State,
    trains: Callable[[str, nn.Module], bool],
    *,
    moving_norms: bool = False,
    rate: float = 1e-3,
) -> State:
    """Train the modules that ``trains`` names; norms outside them stand still unless moving."""
    torch.manual_seed(0)
    model = timm.create_model(ARCHITECTURE)
    model.load_state_dict(parent)
    model.reset_classifier(10)
    model.requires_grad_(False)
    model.eval()
    for name, module in model.named_modules():
        if trains(name, module):
            module.requires_grad_(True)
            module.train()
        elif moving_norms and isinstance(module, nn.BatchNorm2d):
            module.train()
    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    images = nn.functional.interpolate(images, (64, 64)).expand(-1, 3, -1, -1)
    labels = torch.tensor(digits.target)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(STEPS):
        part = slice(step * 16, step * 16 + 16)
        loss = nn.functional.cross_entropy(model(images[part]), labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict()


def save(state: State, path: Path, dtype: torch.dtype) -> None:
    """Write a state with its floats in ``dtype``."""
    cast = {k: (t.to(dtype) if t.is_floating_point() else t) for k, t in state.items()}
    save_file({key: tensor.contiguous().clone() for key, tensor in cast.items()}, path)


def zoo_push(*, smallest: bool = False) -> Callable[[Path, Path], tuple[int, float]]:
    """Push the child to a remote that has the parent."""

    def push(base: Path, tuned: Path) -> tuple[int, float]:
        with tempfile.TemporaryDirectory(dir=base.parent) as folder, zoo.init(folder) as z:
            parent = keep(z.workspace, base, "bench/base", ())
            keep(z.workspace, tuned, "bench/tuned", (parent,))
            z.push("bench/base", f"{folder}-remote")
            with timed() as seconds:
                _, sent = z.push("bench/tuned", f"{folder}-remote", smallest=smallest)
            shutil.rmtree(f"{folder}-remote")
            return sent.sent_bytes, seconds[0]

    return push


def keep(workspace: Workspace, path: Path, name: str, parents: tuple[Parent, ...]) -> Parent:
    """Store a file as a checkpoint, whatever network it is of."""
    from zoo.domain.manifest import Backbone, Head, Manifest, Preprocessing

    manifest = Manifest(
        backbone=Backbone(plugin="timm", architecture=ARCHITECTURE),
        head=Head(kind="native", num_classes=10),
        preprocessing=Preprocessing(
            input_size=(3, 224, 224), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic",
            crop_pct=0.875, crop_mode="center",
        ),
        weights=(add_weights(workspace.store, path),),
        parents=parents,
    )  # fmt: skip
    digest = workspace.commit(manifest, zoo.Reference.parse(name), "benchmark")
    return Parent(manifest=digest, relation="finetune", ref=name)


def whole_file(_: Path, tuned: Path) -> tuple[int, float]:
    """Copy the file under its hash: what a registry of files, or a file cache, does."""
    with timed() as seconds:
        digest = hashlib.sha256(tuned.read_bytes()).hexdigest()
        shutil.copy(tuned, tuned.with_name(digest))
    return tuned.stat().st_size, seconds[0]


def chunks(base: Path, tuned: Path) -> tuple[int, float]:
    """Bytes of the child's chunks that the parent does not have; -1 where fastcdc is missing."""
    try:
        from fastcdc import fastcdc
    except ModuleNotFoundError:
        return -1, 0.0

    def cut(path: Path) -> dict[str, int]:
        sizes = {"min_size": 8 << 10, "avg_size": 64 << 10, "max_size": 128 << 10}
        found = fastcdc(str(path), hf=hashlib.sha256, **sizes)
        return {chunk.hash: chunk.length for chunk in found}

    had = cut(base)
    with timed() as seconds:
        has = cut(tuned)
    return sum(size for digest, size in has.items() if digest not in had), seconds[0]


@contextmanager
def timed() -> Iterator[list[float]]:
    """The seconds that the body took, in a list."""
    seconds: list[float] = []
    began = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - began)


if __name__ == "__main__":
    main()
