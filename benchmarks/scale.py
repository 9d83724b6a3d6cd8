"""Whether import, push and search slow down with the number of checkpoints.

    pip install -e '.[bench]'
    python benchmarks/scale.py [COUNT] [FOLDER]

COUNT (10,000) fine-tunes of six bases, a vision transformer and a residual network under three
pretrained tags each, about 300 tensors a checkpoint. Names and shapes are like the real networks',
but narrow, so that the whole takes minutes. A fine-tune shares most tensors with its parent: it has
a new head, and in half of the cases moved norms or a moved last unit. Ten to a name, each a tag.

An import is what ``zoo import`` does once torch has read and checked the file: `add_weights` and
`Workspace.commit`. It is pushed at once to a folder. Making the file is not timed. A catalog of
1,800 entries is there beside, as after ``zoo index timm``. At each of 20 steps: medians of the
imports and pushes since the step before, and of a few calls of everything else. docs/scale.png
shows them all. A machine's speed drifts, so the ratio in the table is taken at the end: as much as
in the first step again, in turns into this zoo and into a new one.

With a FOLDER, which must be new, the zoos and their remotes stay.
"""

from __future__ import annotations

import io
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.manifest import Backbone, Head, Manifest, Parent, Preprocessing
from zoo.domain.reference import Reference
from zoo.errors import UnknownName
from zoo.registry import Query, Registry
from zoo.store.files import add_weights
from zoo.transfer.sync import push
from zoo.workspace import REGISTRY, Workspace

COUNT = 10_000
STEPS = 20
SHOWN = (1, 5, 10, 20)
"""The steps in the table; the last is the whole."""
ROUNDS = 7
CATALOG = 1_800
TAGS = 10
"""Fine-tunes under one name."""
PLOT = Path(__file__).parents[1] / "docs" / "scale.png"

PREPROCESSING = Preprocessing(
    input_size=(3, 224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    interpolation="bicubic", crop_pct=0.875, crop_mode="center",
)  # fmt: skip
TEAMS = ("birds", "crops", "fabric", "harbour", "kitchen", "lab", "moss", "orchard", "retail",
         "roads", "scans", "vision")  # fmt: skip
SUBJECTS = ("apples", "beetles", "bolts", "cables", "cells", "coins", "corals", "cracks", "dials",
            "ferns", "finches", "fungi", "gears", "grains", "gulls", "hulls", "labels", "leaves",
            "lichens", "masks", "moths", "mugs", "olives", "petals", "pills", "rust", "seeds",
            "shells", "signs", "tiles", "tools", "welds", "wines")  # fmt: skip
KINDS = ("young", "old", "pale", "dark", "torn", "whole", "small", "large", "wet", "dry")
CLASSES = (2, 5, 10, 20, 37, 50)
LICENSES = ("apache-2.0", "apache-2.0", "cc-by-4.0", "mit", None)

State = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[int, ...]]
Times = dict[str, list[float]]
Calls = dict[str, Callable[[], object]]
Name = TypeVar("Name")


class Network(NamedTuple):
    """A narrow network: tensors by name without the head, and what fine-tunes of it move."""

    architecture: str
    tags: tuple[str, ...]
    body: Shapes
    head: str
    width: int
    norms: tuple[str, ...]
    last: str


class Base(NamedTuple):
    """A published checkpoint that fine-tunes start from."""

    network: Network
    state: State
    parent: Parent


def transformer() -> Network:
    """24 blocks of 12 tensors, and 12 outside them with the head's."""
    width = 32
    body: Shapes = {"cls_token": (1, 1, width), "pos_embed": (1, 197, width),
                    "patch_embed.proj.weight": (width, 3, 16, 16)}  # fmt: skip
    body |= {"patch_embed.proj.bias": (width,)}
    matrices = {"attn.qkv": (3 * width, width), "attn.proj": (width, width),
                "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}  # fmt: skip
    for block in range(24):
        for name, shape in matrices.items():
            body[f"blocks.{block}.{name}.weight"] = shape
            body[f"blocks.{block}.{name}.bias"] = shape[:1]
        body |= norm(f"blocks.{block}.norm1", width) | norm(f"blocks.{block}.norm2", width)
    body |= norm("norm_pre", width) | norm("norm", width) | norm("fc_norm", width)
    tags = ("augreg_in21k_ft_in1k", "orig_in21k_ft_in1k", "openai_ft_in1k")
    moved = ("blocks.22.norm", "blocks.23.norm", "norm.", "fc_norm.")
    return Network("vit_large_patch16_224", tags, body, "head", width, moved, "blocks.23.")


def residual() -> Network:
    """15 bottlenecks of 18 tensors, and 32 outside them with the head's."""
    body: Shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64, moments=True)}
    inputs = 64
    for stage, (depth, mid, out) in enumerate(((3, 16, 64), (4, 16, 64), (6, 20, 80), (2, 48, 96))):
        for block in range(depth):
            unit = f"layer{stage + 1}.{block}"
            shapes = ((mid, inputs, 1, 1), (mid, mid, 3, 3), (out, mid, 1, 1))
            for number, shape in enumerate(shapes, 1):
                body[f"{unit}.conv{number}.weight"] = shape
                body |= norm(f"{unit}.bn{number}", shape[0], moments=True)
            if not block:
                body[f"{unit}.downsample.0.weight"] = (out, inputs, 1, 1)
                body |= norm(f"{unit}.downsample.1", out, moments=True)
            inputs = out
    tags = ("a1_in1k", "tv2_in1k", "fb_swsl_ig1b_ft_in1k")
    moved = ("layer4.0.bn", "layer4.1.bn")
    return Network("resnet50", tags, body, "fc", inputs, moved, "layer4.1.")


def norm(name: str, width: int, *, moments: bool = False) -> Shapes:
    """The vectors of a normalization."""
    parts = ("weight", "bias", *(("running_mean", "running_var") if moments else ()))
    counter: Shapes = {f"{name}.num_batches_tracked": ()} if moments else {}
    return {f"{name}.{part}": (width,) for part in parts} | counter


class Team:
    """A zoo, the folder that it pushes to, and what is known of both by now."""

    def __init__(self, folder: Path) -> None:
        self.remote = str(folder / "remote")
        self.workspace = Workspace.create(folder / "zoo")
        self.draw = np.random.default_rng(0)
        self.newest: Digest | None = None
        self._fill_catalog()
        self.bases = [
            self._publish(network, tag) for network in (transformer(), residual())
            for tag in network.tags
        ]  # fmt: skip

    def _fill_catalog(self) -> None:
        entries = [
            CatalogEntry(
                name=f"timm/model{number // 6}_{size}.in{number % 6}k", backbone="timm",
                architecture=f"model{number // 6}_{size}", license="apache-2.0", num_classes=1000,
                hub_id=f"timm/model{number // 6}_{size}",
            )
            for number in range(CATALOG // 3) for size in ("small", "base", "large")
        ]  # fmt: skip
        self.workspace.registry.replace_entries("timm", "1", entries, "2026-01-01T00:00:00Z")

    def _publish(self, network: Network, tag: str) -> Base:
        state = self._drawn(network.body) | self._new_head(network, 1000)
        name = f"timm/{network.architecture}.{tag}"
        classes = tuple(f"object {number}" for number in range(1000))
        manifest = Manifest(
            backbone=Backbone(plugin="timm", architecture=network.architecture),
            head=Head(kind="native", num_classes=1000), preprocessing=PREPROCESSING,
            classes=classes, license="apache-2.0",
            weights=(add_weights(self.workspace.store, self._save(state)),),
        )  # fmt: skip
        digest = self.workspace.commit(manifest, Reference.parse(name), "pull")
        push(self.workspace, name, self.remote)
        return Base(network, state, Parent(manifest=digest, relation="finetune", ref=name))

    def add(self, number: int) -> tuple[float, float]:
        """Import a fine-tune and push it; seconds of each."""
        base = self.bases[int(self.draw.integers(len(self.bases)))]
        about = facts(number)
        file = self._save(self._finetuned(base, len(about["classes"])))
        began = time.perf_counter()
        with self.workspace.store.upload():
            manifest = Manifest(
                backbone=Backbone(plugin="timm", architecture=base.network.architecture),
                preprocessing=PREPROCESSING, parents=(base.parent,),
                weights=(add_weights(self.workspace.store, file),), **about,
            )  # fmt: skip
            self.newest = self.workspace.commit(manifest, reference(number), "import")
        middle = time.perf_counter()
        push(self.workspace, str(reference(number)), self.remote)
        return middle - began, time.perf_counter() - middle

    def _finetuned(self, base: Base, classes: int) -> State:
        network, chance = base.network, self.draw.random()
        moving = () if chance < 0.5 else network.norms if chance < 0.8 else (network.last,)
        moved = {
            name: self._nudged(values)
            for name, values in base.state.items()
            if name in network.body and name.startswith(moving)
        }
        return base.state | moved | self._new_head(network, classes)

    def _nudged(self, values: NDArray[Any]) -> NDArray[Any]:
        if not values.ndim:
            return np.asarray(values + 100)  # batches seen
        moved: NDArray[Any] = values + 1e-3 * self.draw.standard_normal(values.shape, np.float32)
        return moved

    def _new_head(self, network: Network, classes: int) -> State:
        shapes: Shapes = {f"{network.head}.weight": (classes, network.width),
                          f"{network.head}.bias": (classes,)}  # fmt: skip
        return self._drawn(shapes)

    def _drawn(self, shapes: Shapes) -> State:
        return {
            name: self.draw.standard_normal(shape, np.float32) if shape else np.asarray(100)
            for name, shape in shapes.items()
        }

    def _save(self, state: State) -> Path:
        path = self.workspace.root.parent / "model.safetensors"
        path.unlink(missing_ok=True)  # the one before it may still be mapped
        save_file(state, path, {"format": "pt"})
        return path


def facts(number: int) -> dict[str, Any]:
    """What a manifest says beside weights and parent; one name has one data set."""
    draw = np.random.default_rng(number)
    group = number // TAGS
    classes = CLASSES[group % len(CLASSES)]
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    accuracy = round(float(draw.uniform(0.7, 0.99)), 4)
    return {
        "head": Head(kind="linear", num_classes=classes),
        "classes": tuple(
            f"{KINDS[place % len(KINDS)]} {SUBJECTS[group % len(SUBJECTS)]} {place // len(KINDS)}"
            for place in range(classes)
        ),
        "license": LICENSES[group % len(LICENSES)],
        "metrics": {"accuracy": accuracy, "loss": round(1.2 * (1 - accuracy), 4)},
        "recipe": {"epochs": 4 + number % 8, "freeze": "75%", "rate": 1e-3, "seed": number},
        "provenance": {"source": "finetune", "device": "cpu"},
        "created": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def reference(number: int) -> Reference:
    """The name of a fine-tune: ``moss/lichens-27``, then ``moss/lichens-27:v1`` and so on."""
    group, tag = divmod(number, TAGS)
    team, subject = TEAMS[group % len(TEAMS)], SUBJECTS[group % len(SUBJECTS)]
    ref = Reference(team, f"{subject}-{group // len(SUBJECTS)}")
    return replace(ref, tag=f"v{tag}") if tag else ref


def main(count: int, folder: Path) -> None:
    """Fill the zoo, print a table and draw the plot."""
    team, step = Team(folder), max(1, count // STEPS)
    counts: list[int] = []
    times: Times = {}
    for number in range(0, step * STEPS, step):
        taken = [team.add(each) for each in range(number, number + step)]
        for name, seconds in (middles(taken) | measure(calls(team, number))).items():
            times.setdefault(name, []).append(seconds)
        counts.append(number + step)
        print(f"{counts[-1]} checkpoints", file=sys.stderr)
    used = [f"\n{place}: {disk_use(folder / place)}" for place in ("zoo", "remote")]
    draw_plot(counts, times)
    print_table(counts, times, ratios(team, Team(folder / "small"), counts[-1], step))
    print(*used, sep="\n")


def middles(taken: list[tuple[float, float]]) -> dict[str, float]:
    """Median seconds of imports and pushes."""
    imports, pushes = zip(*taken, strict=True)
    return {"import": statistics.median(imports), "push": statistics.median(pushes)}


def ratios(large: Team, small: Team, count: int, step: int) -> dict[str, float]:
    """What all takes in a zoo of ``count``, by what it takes in one that grows to ``step``."""
    pairs = [(small.add(number), large.add(count + number)) for number in range(step)]
    first, last = (middles(list(taken)) for taken in zip(*pairs, strict=True))
    return {name: last[name] / first[name] for name in first} | compare(
        calls(small, 0), calls(large, count)
    )


def compare(first: Calls, last: Calls) -> dict[str, float]:
    """Ratio of the medians of each pair of calls."""
    pairs = {
        (name, which): made[name] for name in first for which, made in enumerate((first, last))
    }
    # The second of two finds warm what the first has read: so once the other way round.
    forth, back = measure(pairs), measure(dict(reversed(pairs.items())))
    return {
        name: math.prod(times[name, 1] / times[name, 0] for times in (forth, back)) ** 0.5
        for name in first
    }


def calls(team: Team, number: int) -> Calls:
    """What is measured beside import and push; ``number`` is that of a known fine-tune."""
    workspace, registry = team.workspace, team.workspace.registry
    many = Query(words=("vit_large",), limit=50)
    newest = team.newest
    assert newest is not None
    return {
        "search a name: 10 found": lambda: registry.search(Query(words=("apples-0",))),
        "search a word in half of all, 50 shown": lambda: registry.search(many),
        "search a class name, 10 shown": lambda: registry.search(
            Query(words=("pale seeds 0",), limit=10)
        ),
        "search license and classes, 10 shown": lambda: registry.search(
            Query(license="cc-by-4.0", num_classes=37, limit=10)
        ),
        "count a word in half of all": lambda: registry.count(many),
        "resolve a name": lambda: workspace.names.resolve(str(reference(number))),
        "resolve a digest": lambda: workspace.names.resolve(newest.hex[:12]),
        "suggest names for a mistyped one": lambda: mistyped(workspace),
        "open the registry": lambda: Registry.open(workspace.root / REGISTRY).close(),
    }


def mistyped(workspace: Workspace) -> list[str]:
    """What is suggested for a name that is none."""
    try:
        workspace.names.resolve("birds/aples-0")
    except UnknownName as error:
        return list(error.near)
    raise AssertionError("the name is known")


def measure(calls: dict[Name, Callable[[], object]]) -> dict[Name, float]:
    """Median seconds of each call; the calls take turns, so that drift hits all alike."""
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def print_table(counts: list[int], times: Times, ratios: dict[str, float]) -> None:
    """Milliseconds at some steps, and the last by the first."""
    heads = [f"{counts[step - 1]:,}" for step in SHOWN]
    rows = [["ms, with that many checkpoints", *heads, "last / first, in turns"]]
    rows.append(["---"] * (len(SHOWN) + 2))
    for name, seconds in times.items():
        shown = [f"{seconds[step - 1] * 1e3:.1f}" for step in SHOWN]
        rows.append([name, *shown, f"{ratios[name]:.1f}"])
    for row in rows:
        print("|", " | ".join(row), "|")


def disk_use(root: Path) -> str:
    """Files and bytes of a store."""
    files = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    return f"{len(files):,} files, {sum(file.stat().st_size for file in files) / 1e9:.2f} GB"


def draw_plot(counts: list[int], times: Times) -> None:
    """Milliseconds against the number of checkpoints, in a small file."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, (name, seconds) in enumerate(times.items()):
        style = ".-" if place < 6 else ".--"  # there are fewer colors than lines
        axes.plot(counts, [1e3 * value for value in seconds], style, label=name)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.05)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("checkpoints in the zoo")
    axes.set_ylabel("median time (milliseconds)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize="small", frameon=False)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).quantize(64).save(PLOT, optimize=True)  # a third of the bytes


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    if len(sys.argv) > 2:
        Path(sys.argv[2]).mkdir(parents=True)
        main(wanted, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(wanted, Path(scratch))
