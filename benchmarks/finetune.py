"""Fine-tuning from the cut beside fine-tuning without a cache, a plain timm loop, and fastai.

    python benchmarks/finetune.py [--images 600] [--epochs 10] [--seeds 3] [--device cuda]

A probe is measured beside one forward pass over the same images, and features beside a bare forward
loop (`benchmarks/features.py`, on the CPU), in the same run.

Real ImageNet weights (tf_efficientnet_lite0) on scikit-learn's digits at 96 pixels; one split, one
recipe but for fastai's (fused AdamW, no decay of norms and biases, cosine with a tenth of warm-up,
batches of 32, no augmentation), all in one process, each arm alone. Seconds are those of training
with its validation after each epoch, and for the cache its filling. The bound is what the measured
parts add up to: all images read and run through the frozen part once, then the rest alone, as an
ordinary ``nn.Sequential``, for every step and validation. The loops that are not zoo's have all
images in the device's memory, and keep the last weights, where zoo keeps the best. Seconds are
medians over the seeds, with the range. Quote the ratios.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import features
import timm
import torch
from fastai.callback import schedule  # noqa: F401 - gives a Learner its fine_tune
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader as FastLoader
from fastai.learner import Learner
from lite0 import ARCHITECTURE, pretrained
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

import zoo
from zoo.backbones.devices import pick_device
from zoo.domain.progress import Progress, Task
from zoo.domain.surgery import adapted_preprocessing
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.open import open_dataset
from zoo.lookup.runs import CACHE
from zoo_timm.backbone import TimmBackbone

SIZE, BATCH, RATE, RATIO, DECAY, WARMUP = 96, 32, 3e-3, 0.1, 0.01, 0.1
DEPTHS = ("50%", "80%", "90%")
Split = tuple[Tensor, Tensor]


def seconds_now() -> float:
    """The time when all that an accelerator was given to do is done."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


class Parts:
    """The three parts of a split as tensors (N, 3, H, W) and labels on a device."""

    def __init__(self, dataset: Dataset, device: str) -> None:
        backbone = TimmBackbone()
        how = backbone.preprocessing(backbone.build(ARCHITECTURE))
        self.transform = training_transform(adapted_preprocessing(how, (SIZE, SIZE), None), "timm")
        self.dataset, self.classes, self.device = dataset, len(dataset.classes), device
        self.train, self.validation, self.test = self.through(nn.Identity())

    @torch.no_grad()
    def through(self, module: nn.Module) -> list[Split]:
        """The parts, read from their files, through a module."""
        dataset, made = self.dataset, []
        for samples in (dataset.train, dataset.validation, dataset.test):
            batches = Batches(dataset, samples, self.transform, BATCH, workers=0).view(0)
            pairs = [(module(batch.images.to(self.device)), batch.targets) for batch in batches]
            outputs, targets = zip(*pairs, strict=True)
            made.append((torch.cat(outputs), torch.cat(targets).to(self.device)))
        return made


class Clock(Progress):
    """A progress that adds up the seconds of training, and of filling the cache."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:  # noqa: ARG002
        """See `zoo.domain.progress.Progress`."""
        began = seconds_now()
        yield _Nothing()
        if label in ("training", "running the frozen part"):
            self.seconds += seconds_now() - began


class _Nothing:
    def advance(self, *_: Any) -> None:
        """See `zoo.domain.progress.Task`."""


def ours(
    home: Path, data: Path, seed: int, epochs: int, device: str, **options: Any
) -> tuple[float, float]:
    """Seconds and test accuracy of zoo, with nothing cached before."""
    shutil.rmtree(home / CACHE, ignore_errors=True)
    clock = Clock()
    with zoo.open(home, progress=clock) as z:
        result = z.finetune(
            BASE, data, f"bench/run:s{time.time_ns()}", device=device, epochs=epochs, seed=seed,
            image_size=SIZE, batch_size=BATCH, lr=RATE, backbone_lr_ratio=RATIO,
            layer_decay=1.0, strategy="partial", **options,
        )  # fmt: skip
    return clock.seconds, result.metrics["accuracy"]


BASE = "timm/tf_efficientnet_lite0.in1k"


def network(parts: Parts) -> Any:
    """The pretrained network with a new head."""
    model: Any = timm.create_model(ARCHITECTURE)
    model.load_state_dict(pretrained())
    model.reset_classifier(parts.classes)
    return model.to(parts.device)


def frozen_modules(model: Any, depth: str) -> tuple[list[nn.Module], list[nn.Module]]:
    """The chain of modules below and above the boundary at ``depth``."""
    whole = timm.create_model(ARCHITECTURE)
    hierarchy = TimmBackbone().hierarchy(ARCHITECTURE, whole, input_size=(3, SIZE, SIZE))
    boundary = hierarchy.boundary(depth)
    assert hierarchy.cut_below(boundary) == boundary
    below, above = (
        [model.get_submodule(path) for unit in units for path in unit.modules]
        for units in (hierarchy.units[:boundary], hierarchy.units[boundary:])
    )
    return below, [*above, model.global_pool, model.classifier]


def plain(parts: Parts, seed: int, epochs: int, depth: str) -> tuple[float, float]:
    """The loop that timm's users write: requires_grad off below, those modules in eval mode."""
    torch.manual_seed(seed)
    model = network(parts)
    below, _ = frozen_modules(model, depth)
    for module in below:
        module.requires_grad_(False)

    def train() -> None:
        model.train()
        for module in below:
            module.eval()

    began = seconds_now()
    fit(model, model.classifier, parts.train, parts.validation, epochs, seed, train)
    seconds = seconds_now() - began
    return seconds, accuracy(model.eval(), parts.test)


def groups(model: nn.Module, classifier: nn.Module) -> list[dict[str, Any]]:
    """What moves, by rate and weight decay."""
    head = set(classifier.parameters())
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rate = RATE if parameter in head else RATE * RATIO
            found.setdefault((rate, DECAY if parameter.dim() > 1 else 0.0), []).append(parameter)
    return [{"params": moving, "lr": rate, "weight_decay": decay}
            for (rate, decay), moving in found.items()]  # fmt: skip


def fit(
    model: nn.Module,
    classifier: nn.Module,
    train: Split,
    validation: Split,
    epochs: int,
    seed: int,
    mode: Callable[[], object],
) -> None:
    """AdamW with warm-up and a cosine; validation after each epoch."""
    steps = epochs * -(-len(train[1]) // BATCH)
    warm = max(round(WARMUP * steps), 1)
    optimizer = torch.optim.AdamW(groups(model, classifier), fused=True)
    rise = LinearLR(optimizer, 1 / warm, total_iters=warm - 1)
    rates = SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, steps - warm)], [warm])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        mode()
        for chosen in torch.randperm(len(train[1]), generator=generator).split(BATCH):  # type: ignore[no-untyped-call]
            loss = nn.functional.cross_entropy(model(train[0][chosen]), train[1][chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
        model.eval()
        accuracy(model, validation)


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Share that is right."""
    batches = split[0].split(BATCH)  # type: ignore[no-untyped-call]
    said = torch.cat([model(images).argmax(1) for images in batches])
    return (said == split[1]).float().mean().item()


def bound(parts: Parts, seed: int, epochs: int, depth: str) -> float:
    """Seconds of the frozen part once on all images, and of the rest alone."""
    torch.manual_seed(seed)
    model = network(parts)
    below, above = frozen_modules(model, depth)
    prefix, suffix = nn.Sequential(*below).eval(), nn.Sequential(*above)
    began = seconds_now()
    crossing = parts.through(prefix)
    fit(suffix, above[-1], crossing[0], crossing[1], epochs, seed, suffix.train)
    return seconds_now() - began


def probe(home: Path, data: Path, seed: int, device: str) -> tuple[float, float]:
    """Test accuracy of a probe, and the seconds of the whole call as multiples of one forward pass,
    with the reading of its images.
    """
    parts = Parts(open_dataset(str(data), seed=seed), device)
    model = network(parts).eval()
    began = seconds_now()
    parts.through(model)
    forward = seconds_now() - began
    began = seconds_now()
    with zoo.open(home) as z:
        result = z.finetune(
            BASE, data, f"bench/run:s{time.time_ns()}", device=device, seed=seed,
            image_size=SIZE, batch_size=BATCH, strategy="probe",
        )  # fmt: skip
    return result.metrics["accuracy"], (seconds_now() - began) / forward


def fastai(parts: Parts, seed: int, epochs: int) -> tuple[float, float]:
    """Fastai's fine_tune: one epoch of the head, the others of everything."""
    torch.manual_seed(seed)
    loaders = DataLoaders(*(
        FastLoader(list(zip(*split, strict=True)), bs=BATCH, shuffle=shuffle, device=parts.device)
        for split, shuffle in ((parts.train, True), (parts.validation, False))
    ))  # fmt: skip
    model = network(parts)

    def halves(module: Any) -> list[list[nn.Parameter]]:
        head = list(module.classifier.parameters())
        known = set(head)
        return [[p for p in module.parameters() if p not in known], head]

    learner = Learner(loaders, model, nn.CrossEntropyLoss(), splitter=halves)
    began = seconds_now()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs - 1, base_lr=RATE, freeze_epochs=1)
    seconds = seconds_now() - began
    return seconds, accuracy(model.eval(), parts.test)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, mps")
    asked = parser.parse_args()
    device = pick_device(asked.device)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        every, data, home = root / "every", root / "digits", root / "zoo"
        for place in (every, data):
            place.mkdir()
            features.save_digits(place)
        for place in data.iterdir():
            for surplus in sorted(place.iterdir())[asked.images // 10 :]:
                surplus.unlink()
        with zoo.init(home) as z:
            z.index("timm")
            z.pull(BASE)
        print(f"{asked.images} images, {SIZE} x {SIZE}, {asked.epochs} epochs, {asked.seeds} seeds"
              f", on {device}")  # fmt: skip
        print(f"{'arm':22} {'seconds':>24}   accuracy                 x zoo with cache")
        found: dict[str, list[tuple[float, float]]] = {}
        probes: dict[Path, list[tuple[float, float]]] = {}
        for seed in range(asked.seeds):
            parts = Parts(open_dataset(str(data), seed=seed), device)
            zoos = partial(ours, home, data, seed, asked.epochs, device)

            for place in (data, every):
                probes.setdefault(place, []).append(probe(home, place, seed, device))

            def note(name: str, measured: tuple[float, float]) -> None:
                found.setdefault(name, []).append(measured)

            note("full, zoo", zoos())
            note("full, fastai", fastai(parts, seed, asked.epochs))
            for depth in DEPTHS:
                note(f"{depth} zoo cached", zoos(freeze=depth))
                note(f"{depth} zoo uncached", zoos(freeze=depth, cache=False))
                note(f"{depth} timm loop", plain(parts, seed, asked.epochs, depth))
                note(f"{depth} bound", (bound(parts, seed, asked.epochs, depth), float("nan")))
        report(found)
        for place, measured in probes.items():
            scores, times = zip(*measured, strict=True)
            print(f"probe of {len(list(place.glob('*/*')))} images, the whole call: accuracy "
                  f"{statistics.mean(scores):.3f}; {statistics.median(times):.2f} "
                  f"({min(times):.2f} to {max(times):.2f}) x one forward pass")  # fmt: skip
    features.main()


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    """Medians and ranges over the seeds, and ratios to the cached run of the same depth (of 80 %
    for full).
    """
    for name, measured in found.items():
        seconds = [taken for taken, _ in measured]
        scores = [score for _, score in measured]
        depth = name.split()[0]
        peer = found[f"{depth if depth in DEPTHS else '80%'} zoo cached"]
        ratio = statistics.median(s / p for (s, _), (p, _) in zip(measured, peer, strict=True))
        print(
            f"{name:22} {statistics.median(seconds):7.1f} ({min(seconds):5.1f} to "
            f"{max(seconds):5.1f})   {statistics.mean(scores):.3f} "
            f"({min(scores):.3f} to {max(scores):.3f})   {ratio:6.2f}"
        )


if __name__ == "__main__":
    main()
