"""Batch norm in training: live, frozen or recalibrated, by the number of images and by depth.

    python benchmarks/batch_norm.py SETS [--images 15,40,100] [--seeds 0,1] [--size 48]
        [--freeze 80%,50%,none] [--strategy lp-ft] [--lr 3e-3,1e-3] [--only SET]
        [--how live,frozen] [--out batch_norm.jsonl]

SETS is a folder of image sets, each with the folders ``train`` and ``test``. Of each class so many
images are drawn for each seed (all, where there are fewer), a fifth of them to choose on; up to 30
of each class of ``test`` measure. The recipe is the default but for what is named here:
tf_efficientnet_lite0 with ImageNet weights, five epochs. Accuracies only; activations of what is
frozen are cached, and shared. Each result is a line in ``--out`` as soon as it is there, and what
is there already is not measured again.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

from presets import BASE, draw, with_base
from result_lines import Results

import zoo

HOW = "live,frozen,recalibrated"
PARTS = ("set", "images", "strategy", "freeze", "lr", "batch_norm", "seed")


def run(home: Path, data: Path, size: int, cell: dict[str, str]) -> dict[str, object]:
    """Accuracy on the test images, and of which weights."""
    options: dict[str, Any] = {name: cell[name] for name in ("strategy", "freeze", "batch_norm")}
    rate = float(cell["lr"])
    recipe = zoo.Recipe(data=str(data), image_size=size, lr=rate, seed=int(cell["seed"]), **options)
    with zoo.open(home, progress=False) as z:
        done = z.run_recipe(recipe, BASE, "bench/run", device="cpu")
        noted = [line for line in z.run(done.run).lines() if line["kind"] in ("probe", "epoch")]
    counts = {"train": sum(1 for _ in (data / "train").rglob("*.*"))}
    accuracy, kept = done.metrics["accuracy"], done.freeze["kept"]
    alone = done.gained.probe if done.gained else None
    return {**cell, **counts, "accuracy": accuracy, "kept": kept, "alone": alone,
            "validation": [line["accuracy"] for line in noted]}  # fmt: skip


def cells(asked: argparse.Namespace) -> Iterable[dict[str, str]]:
    """All that is to be measured, one way of batch norm beside the other."""
    sets = asked.only or sorted(path.name for path in asked.sets.iterdir())
    parts = ("seeds", "images", "strategy", "freeze", "lr")
    listed = [getattr(asked, part).split(",") for part in parts]
    for (seed, *rest), name, how in product(product(*listed), sets, asked.how.split(",")):
        yield dict(zip(PARTS, (name, *rest, how, seed), strict=True))


def table(found: list[dict[str, object]]) -> None:
    """Means over the seeds, of which the number is in brackets."""
    groups: dict[tuple[object, ...], dict[str, list[float]]] = defaultdict(dict)
    for each in found:
        key = tuple(each[part] for part in ("strategy", "freeze", "lr", "images", "set"))
        groups[key].setdefault(str(each["batch_norm"]), []).append(float(str(each["accuracy"])))
    for key, arms in groups.items():
        shown = "  ".join(f"{how} {statistics.mean(x):.3f} ({len(x)})" for how, x in arms.items())
        print(f"{'  '.join(map(str, key)):36} {shown}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path)
    parser.add_argument("--images", default="15,40,100")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--freeze", default="80%,50%,none")
    parser.add_argument("--strategy", default="lp-ft")
    parser.add_argument("--lr", default="3e-3")
    parser.add_argument("--how", default=HOW)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("batch_norm.jsonl"))
    asked = parser.parse_args()
    results = Results(asked.out, PARTS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with_base(root / "zoo").close()
        for cell in results.missing(cells(asked)):
            data = root / "-".join((cell["set"], cell["images"], cell["seed"]))
            if not data.exists():
                draw(asked.sets / cell["set"], data, int(cell["images"]), int(cell["seed"]))
            results.add(run(root / "zoo", data, asked.size, cell))
    table(results.rows)


if __name__ == "__main__":
    main()
