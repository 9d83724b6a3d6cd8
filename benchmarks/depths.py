"""Probes on several depths together beside those on one: accuracy with 400 training images.

    python benchmarks/depths.py FOLDER

FOLDER has image sets, each with the parts ``train`` and ``test``. ImageNet weights, 64 x 64 pixels.
In each of a few draws of training images every probe is fitted on the same ones, with C by
cross-validation, and tested on all test images. The solver stops as early as it does while C is
chosen. Only accuracies are told, so that it may run beside other work.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from features import Network
from lite0 import ARCHITECTURE
from torch import Tensor, nn

from zoo.backbones.features import extract
from zoo.backbones.taps import Tap
from zoo.domain.progress import silent
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.dataset import Dataset, Sample
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.strategies.depth import depth_curve
from zoo.finetune.strategies.depths import distinct, stage_taps
from zoo.finetune.strategies.linear import Fitter, best_c, folds, goodness, splits
from zoo.finetune.strategies.probe import FOLDS
from zoo_timm.backbone import TimmBackbone

SIZE, TRAINED, DRAWS = 64, 400, 3
COLUMNS = ("last features", "auto", "best single depth", "all, unweighted", "all")
Features = list[Tensor]
"""At the end of each stage and before the head."""


def main() -> None:
    """Measure and print."""
    print(f"{TRAINED} training images of {SIZE} x {SIZE} pixels, {DRAWS} draws; accuracy in %")
    print("| set | test images | " + " | ".join(COLUMNS) + " |")
    rows = [measured(folder) for folder in sorted(Path(sys.argv[1]).iterdir())]
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    print("| mean | | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")


def measured(folder: Path) -> list[float]:
    """The means over all draws; one set, a row of the table."""
    dataset = open_dataset(str(folder), validation_share=0)
    network = Network(dataset, SIZE)
    test, truth = features_of(network, dataset, list(dataset.test))
    rows, best_at = [], list[str]()
    for seed in range(DRAWS):
        chosen = random.Random(seed).sample(dataset.train, min(TRAINED, len(dataset.train)))
        train, labels = features_of(network, dataset, chosen)
        row, unit = scores(train, labels, test, truth, network.taps, seed)
        rows.append([100 * score for score in row])
        best_at.append(unit)
    columns = list(zip(*rows, strict=True))
    shown = [f"{statistics.mean(each):.1f} ± {statistics.stdev(each):.1f}" for each in columns]
    print(f"| {folder.name} | {len(truth)} | {' | '.join(shown)} |", *best_at, flush=True)
    return [statistics.mean(each) for each in columns]


def features_of(
    network: Network, dataset: Dataset, samples: list[Sample]
) -> tuple[Features, Tensor]:
    """Of some images of a set, and their labels."""
    batches = Batches(dataset, samples, network.transform, 32, workers=0)
    hierarchy = TimmBackbone().hierarchy(ARCHITECTURE, network.module)
    network.taps = stage_taps(network.module, hierarchy, next(batches.view(0)).images)
    pairs = ((batch.images, batch.targets) for batch in batches.view(0))
    with silent("", None) as task:
        parts, labels = extract(network.module, network.taps, pairs, task)
    kept = distinct(parts)
    network.taps = tuple(network.taps[at] for at in kept)
    return [parts[at] for at in kept], labels


def scores(
    train: Features, labels: Tensor, test: Features, truth: Tensor, taps: Sequence[Tap], seed: int
) -> tuple[list[float], str]:
    """Of the last features, of the depth that cross-validation takes, of the best with hindsight,
    and of all together, with the weight of each feature or of each depth the same; and which was
    the best.
    """
    classes = int(labels.max()) + 1
    held_out = partial(splits, targets=labels, indices=folds(labels, FOLDS, seed))

    def accuracy(one: Tensor, other: Tensor, parts: Sequence[int] = ()) -> float:
        c, _ = best_c("softmax", "classification", held_out(one), classes, parts)
        fitted = Fitter("softmax", one, labels, classes, parts=parts).fit(c)
        outputs = nn.functional.linear(other, *fitted)
        return goodness(outputs, truth, "classification").mean().item()

    single = [accuracy(*pair) for pair in zip(train, test, strict=True)]
    curve = depth_curve(
        list(zip(taps, train, strict=True)), labels, validation=None, task="classification",
        kind="softmax", seed=seed, device=torch.device("cpu"), progress=silent,
    )  # fmt: skip
    parts = [tap.features for tap in taps]
    together = [accuracy(torch.cat(train, 1), torch.cat(test, 1), each) for each in ((), parts)]
    best = max(range(len(single)), key=lambda at: single[at])
    return [single[-1], single[curve.chosen], single[best], *together], taps[best].unit


if __name__ == "__main__":
    main()
