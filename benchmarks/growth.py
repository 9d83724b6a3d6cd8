"""What more images bring: what `zoo advise` foretells, beside what really came of them.

    python benchmarks/growth.py SETS [--images 100,200,400,800] [--draws 4] [--size 64]

SETS is a folder of image sets with a folder ``train`` each. tf_efficientnet_lite0 with ImageNet
weights. Of each set so many images are drawn, several times; a probe on them is extrapolated to a
hundred more. Then probes are fitted to as many, and to a hundred more, of other draws, and tried on
all other images: the mean difference is the truth. Where the images are fewer, a size is left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from presets import BASE
from torch import Tensor, nn

import zoo
from zoo.advice.growth import MORE, Growth, grow
from zoo.advice.held_out import Features
from zoo.advice.reading import read
from zoo.finetune.setup.prepare import prepare
from zoo.finetune.strategies.linear import Fitter, goodness
from zoo.lookup.runs import CACHE

C = 1.0
TRUTH = 8
"""Draws whose mean is the truth."""


def features_of(home: Path, data: Path, size: int) -> tuple[list[Tensor], Tensor]:
    """Features (N, F) at each depth, and classes (N,), of all images."""
    recipe = zoo.Recipe(data=str(data), image_size=size, strategy="probe")
    with zoo.open(home, progress=False) as z:
        prepared = prepare(z.workspace, BASE, recipe, "cpu", z.progress, folder=home / CACHE)
        found = read(prepared, 32, home / CACHE)
    return list(found.features), found.targets


def reached(features: list[Tensor], targets: Tensor, rows: Tensor, asked: Tensor) -> float:
    """Accuracy on ``asked`` of a probe fitted to ``rows``."""
    beside, parts = torch.cat(features, dim=1), [each.shape[1] for each in features]
    count = int(targets.max()) + 1
    weight, bias = Fitter("softmax", beside[rows], targets[rows], count, parts=parts).fit(C)
    said = nn.functional.linear(beside[asked], weight, bias)
    return goodness(said, targets[asked], "classification").mean().item()


def drawn(targets: Tensor, seed: int) -> Tensor:
    """All images in an order of chance."""
    return torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))


def really(features: list[Tensor], targets: Tensor, images: int) -> float:
    """What a hundred more than so many ``images`` bring, in the mean of several draws."""
    gains = []
    for seed in range(TRUTH):
        order = drawn(targets, 1000 + seed)
        asked = order[images + MORE :]
        fewer, more = order[:images], order[: images + MORE]
        gains.append(
            reached(features, targets, more, asked) - reached(features, targets, fewer, asked)
        )
    return statistics.fmean(gains)


def foretold(features: list[Tensor], targets: Tensor, images: int, draws: int) -> list[Growth]:
    """What is said of that, by so many ``images``, of each draw in which all classes are."""
    told = []
    for seed in range(draws):
        rows = drawn(targets, seed)[:images]
        counts = torch.bincount(targets[rows], minlength=int(targets.max()) + 1)
        if counts.min() > 1:
            here = Features(
                values=torch.cat([each[rows] for each in features], dim=1),
                targets=targets[rows],
                task="classification",
                parts=[each.shape[1] for each in features],
            )
            if found := grow(here, C, seed):
                told.append(found)
    return told


def main() -> None:
    """Print a line for each set and size, and how many intervals held the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--images", default="100,200,400,800")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args()
    held = tried = 0
    print("| set | images | foretold | really |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        with zoo.init(Path(folder) / "zoo") as z:
            z.pull(BASE)
        for data in sorted(asked.sets.iterdir()):
            features, targets = features_of(Path(folder) / "zoo", data / "train", asked.size)
            for images in map(int, asked.images.split(",")):
                told = foretold(features, targets, images, asked.draws)
                if not told or images + MORE >= len(targets):
                    continue
                truth = really(features, targets, images)
                tried, held = tried + len(told), held + sum(x.low <= truth <= x.high for x in told)
                words = ", ".join(
                    f"{100 * x.brings:.1f} ({100 * x.low:.1f}-{100 * x.high:.1f})" for x in told
                )
                print(f"| {data.name} | {images} | {words} | {100 * truth:.1f} |", flush=True)
    print(f"{held} of {tried} intervals hold the truth")


if __name__ == "__main__":
    main()
