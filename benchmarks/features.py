"""Features and probes of ImageNet weights on scikit-learn's digits: what they cost, and which
depth.

    python benchmarks/features.py

Extraction is measured beside a bare forward loop with the same loader, which reads and transforms
each image anew; a probe beside the forward pass over its own data. One process, turns taken: quote
the ratios, since the machine's speed drifts.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from lite0 import ARCHITECTURE, pretrained
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

import zoo
from zoo.backbones.features import extract
from zoo.backbones.taps import Tap, find_taps
from zoo.domain.progress import silent
from zoo.domain.surgery import adapted_preprocessing
from zoo.facade import Zoo
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.dataset import Dataset, Sample
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.run import Finetuned
from zoo.finetune.strategies.linear import goodness
from zoo.finetune.strategies.probe import fit_probe
from zoo_timm.backbone import TimmBackbone

BASE = "timm/tf_efficientnet_lite0.in1k"
ROUNDS = 5
SIZE = 96
TIMED = 320
TRAINED = 300
SEEDS = 3


class Network:
    """The network with its loader, for images of one size."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        backbone = TimmBackbone()
        self.module = backbone.build(ARCHITECTURE)
        self.module.load_state_dict(pretrained())
        self.module.eval()
        native = backbone.preprocessing(self.module)
        self.transform = training_transform(
            adapted_preprocessing(native, (size, size), None), "timm"
        )
        self.dataset = dataset
        blank = torch.zeros(1, 3, size, size)
        hierarchy = backbone.hierarchy(ARCHITECTURE, self.module, input_size=(3, size, size))
        self.taps = find_taps(self.module, hierarchy, blank)

    def samples(self, images: int | None = None) -> list[Sample]:
        """Some images of all classes, or all, in no order."""
        return random.Random(0).sample(self.dataset.train, images or len(self.dataset.train))

    def batches(self, images: int | None = None) -> Batches:
        """Those, each to be read; in this process."""
        return Batches(self.dataset, self.samples(images), self.transform, 32, workers=0)

    @torch.no_grad()
    def forward(self, images: int | None = None) -> None:
        """The bare loop."""
        for batch in self.batches(images).view(0):
            self.module(batch.images)

    def features(
        self, taps: Sequence[Tap], images: int | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Features at each tap, and labels."""
        pairs = ((batch.images, batch.targets) for batch in self.batches(images).view(0))
        with silent("", None) as task:
            return extract(self.module, taps, pairs, task)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        digits = root / "digits"
        digits.mkdir()
        save_digits(digits)
        dataset = open_dataset(str(digits), validation_share=0, test_share=0)
        small, native = Network(dataset, SIZE), Network(dataset, 224)
        extraction(small)
        features, labels = small.features(small.taps)
        probes(small, features[-1], labels, len(labels))
        few, few_labels = native.features(native.taps[-1:], TIMED)
        probes(native, few[0], few_labels, TIMED)
        files = [digits / sample.key for sample in small.samples()]
        depths(root, files, features, labels)


def save_digits(folder: Path) -> None:
    """All digits as images in class folders."""
    data = load_digits()
    for number, (pixels, label) in enumerate(zip(data.images, data.target, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        scan = Image.fromarray((pixels * (255 / 16)).round().astype("uint8"))
        scan = scan.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        scan.save(folder / str(label) / f"{number:04}.png")


def extraction(network: Network) -> None:
    """Images per second beside the bare loop's."""
    times = in_turns({
        "bare forward loop": lambda: network.forward(TIMED),
        "features before the head": lambda: network.features(network.taps[-1:], TIMED),
        f"features at all {len(network.taps)} taps": lambda: network.features(network.taps, TIMED),
    })  # fmt: skip
    print(f"extraction, {SIZE} x {SIZE} pixels, median of {ROUNDS} rounds of {TIMED} images")
    bare = times["bare forward loop"]
    for name, seconds in times.items():
        rate = TIMED / statistics.median(seconds)
        ratio = statistics.median(b / s for b, s in zip(bare, seconds, strict=True))
        print(f"  {name:24} {rate:7.1f} images/s   {ratio:5.2f} of the bare loop")


def probes(network: Network, features: Tensor, labels: Tensor, images: int) -> None:
    """A forward pass and a probe, as multiples of the forward pass."""
    order = torch.randperm(images, generator=torch.Generator().manual_seed(0))
    held, fit = order[: images // 10], order[images // 10 :]
    times = in_turns({
        "forward": lambda: network.forward(images),
        **{
            kind: partial(
                fit_probe,
                features[fit],
                labels[fit],
                kind=kind,
                validation=(features[held], labels[held]),
            )
            for kind in ("softmax", "svm")
        },
    }, rounds=2)  # fmt: skip
    forward = statistics.median(times.pop("forward"))
    size = network.transform.size[1]
    print(f"probe, {images} images of {size} x {size} pixels: forward pass {forward:.1f} s")
    for kind, seconds in times.items():
        median = statistics.median(seconds)
        print(f"  {kind:8} {median:6.2f} s: with the pass {1 + median / forward:.2f} x the pass")


def depths(root: Path, files: Sequence[Path], features: Sequence[Tensor], labels: Tensor) -> None:
    """What ``--at auto`` takes with few training images and what that is worth on all others,
    beside the last features and the best of all units, as if the test split had chosen.

    Args:
        root: A place to work in.
        files: The images.
        features: Of them at each tap.
        labels: Of them.
    """
    print(f"{TRAINED} training images, {SIZE} x {SIZE} pixels, tested on {len(labels) - TRAINED}")
    with zoo.init(root / "zoo") as z:
        z.index("timm")
        z.pull(BASE)
        for seed in range(SEEDS):
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
            train, test = order[:TRAINED], order[TRAINED:]
            table = root / f"digits-{seed}.csv"
            save_table(table, files, set(train.tolist()))
            auto, last = (probe(z, table, at, seed) for at in ("auto", "head"))
            best = max(accuracy(code, labels, train, test) for code in features)
            options = z.workspace.store.manifest(auto.manifest).backbone.options
            print(
                f"  seed {seed}: {options.get('truncate', 'head')} {shown(auto.metrics)}, "
                f"last features {shown(last.metrics)}, best of {len(features)} taps {best:.3f}"
            )


def save_table(path: Path, files: Sequence[Path], train: set[int]) -> None:
    """A table with the split that is given."""
    rows = [f"{file},{file.parent.name},{'train' if at in train else 'test'}"
            for at, file in enumerate(files)]  # fmt: skip
    path.write_text("\n".join(["path,label,split", *rows, ""]))


def probe(z: Zoo, table: Path, at: str, seed: int) -> Finetuned:
    """One as users make it."""
    return z.finetune(
        BASE, table, f"bench/{at}:s{seed}", strategy="probe", at=at, seed=seed, image_size=SIZE,
        validation_share=0, device="cpu",
    )  # fmt: skip


def shown(metrics: Mapping[str, float]) -> str:
    """Accuracy with its 95 % interval."""
    low, high = metrics["accuracy_low"], metrics["accuracy_high"]
    return f"{metrics['accuracy']:.3f} ({low:.3f} to {high:.3f})"


def accuracy(features: Tensor, labels: Tensor, train: Tensor, test: Tensor) -> float:
    """Accuracy on ``test`` of a probe fitted on ``train``."""
    probe = fit_probe(features[train], labels[train])
    outputs = nn.functional.linear(features[test], probe.weight, probe.bias)
    return goodness(outputs, labels[test], "classification").mean().item()


def in_turns(
    calls: dict[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Seconds of each call in each round, but for a first one."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: seconds[1:] for name, seconds in times.items()}


if __name__ == "__main__":
    main()
