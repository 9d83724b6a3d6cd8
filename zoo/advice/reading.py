"""One pass over all images: what is computed from these, and from nothing else.

Each image is opened once. It is kept as a small picture, to be compared with others, and as the
features that the network has of it at the end of every stage and before the head. Whatever is
measured later takes these tensors. They take 11 KB for an image with tf_efficientnet_lite0: 600 MB
for 50,000 images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from blake3 import blake3
from PIL import Image
from torch import Tensor

from zoo.advice.kept import KeptRows
from zoo.backbones.features import extract
from zoo.backbones.taps import HEAD, Tap
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import InvalidOption, Unsupported
from zoo.finetune.dataset.augment import Transform, training_transform
from zoo.finetune.dataset.batches import Batches, targets_of
from zoo.finetune.dataset.dataset import PARTS, Dataset, Sample
from zoo.finetune.features.cache import below_digest
from zoo.finetune.features.loaders import computation
from zoo.finetune.setup.prepare import PreparedRun
from zoo.finetune.strategies.depths import distinct, stage_taps
from zoo.finetune.strategies.linear import fitting

__all__ = ["SIDE", "Reading", "read"]

SIDE = 32
"""Height and width of small pictures."""
COLORS = 3
RUNS = 4
"""Batches that a CPU computes at once, at most: each needs memory."""
FEATURES = "features"
END = 0.9
"""Of a network's units, the share from which on they are at its end."""
HASHED = 3
"""Numbers of 24 bits, which float32 holds exactly, in the hash of an image's pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All images of a dataset, in the order of ``samples``: train, validation, test."""

    samples: tuple[Sample, ...]
    part: tuple[str, ...]  # of each image: train, validation or test
    group: tuple[str, ...]  # what it stays in one part with; empty: it is alone
    targets: Tensor  # see `zoo.finetune.dataset.batches.targets_of`
    taps: tuple[Tap, ...]  # in order of depth, the one before the head last
    end: frozenset[str]  # the head, and the units at the end of the network
    features: tuple[Tensor, ...]  # at each tap, float32 (N, F)
    pictures: Tensor  # uint8 (N, SIDE, SIDE, 3)
    sizes: Tensor  # width and height of each image, int64 (N, 2)
    pixels: Tensor  # a hash of those of each image, int64 (N, 3)
    device: torch.device  # where large probes on the features are fitted

    def where(self, *parts: str) -> Tensor:
        """Indices of the images of these parts."""
        return torch.tensor([at for at, part in enumerate(self.part) if part in parts])


def read(
    prepared: PreparedRun, batch_size: int, folder: Path, dataset: Dataset | None = None
) -> Reading:
    """Read all images of a dataset, that of ``prepared`` by default, with the network of the base;
    not those that were read with it before: what was computed of these is kept in ``folder``.

    Raises:
        InvalidImage: One became unreadable since it was checked.
        InvalidData: Some changed since.
        InvalidOption: The memory is too small for batches of so many images.
        Unsupported: The network gives no features before its head, or not finite ones.
    """
    dataset = dataset or prepared.dataset
    parts = {name: getattr(dataset, name) for name in PARTS}
    samples = tuple(sample for each in parts.values() for sample in each)
    blank = torch.zeros(1, *_input_size(prepared), device=prepared.device)
    taps = stage_taps(prepared.model, prepared.hierarchy, blank)
    rows = _rows(prepared, taps, dataset, samples, batch_size, folder)
    features = [rows[f"{FEATURES}.{at}"] for at in range(len(taps))]
    kept = distinct(features)
    return Reading(
        samples=samples,
        part=tuple(name for name, each in parts.items() for _ in each),
        group=tuple(dataset.groups.get(sample.key, "") for sample in samples),
        targets=targets_of(samples, dataset.task),
        taps=tuple(taps[at] for at in kept),
        end=_end(prepared.hierarchy),
        features=tuple(features[at] for at in kept),
        pictures=rows["pictures"],
        sizes=rows["sizes"],
        pixels=rows["pixels"],
        device=fitting(prepared.device),
    )


def _end(hierarchy: Hierarchy) -> frozenset[str]:
    """The head, and the last tenth of the units, one at least: as near to the task of the
    pretraining as the last features are.
    """
    units = hierarchy.units
    return frozenset({HEAD, *(unit.name for unit in units[int(END * len(units)) :])})


def _rows(
    prepared: PreparedRun,
    taps: Sequence[Tap],
    dataset: Dataset,
    samples: Sequence[Sample],
    batch_size: int,
    folder: Path,
) -> dict[str, Tensor]:
    """What is computed of each image, computed now of those of which it is not kept."""
    what = {
        **computation(prepared),
        "batch": batch_size,
        "features": [f"{tap.unit} {tap.path} {tap.at_input} {tap.dimension}" for tap in taps],
        "network": str(prepared.parent),
        "weights": below_digest(prepared.model, prepared.hierarchy, prepared.units - 1),
        "side": SIDE,
    }
    digests = [dataset.digests[sample.key] for sample in samples]
    kept = KeptRows.load(folder, what, {*digests})
    if known := sum(digest in kept.images for digest in digests):
        prepared.progress.say(
            f"{known:,} of {len(samples):,} images were read with {prepared.base} before"
        )
    new = {
        digest: each
        for digest, each in zip(digests, samples, strict=True)
        if digest not in kept.images
    }
    if new:
        computed = _compute(prepared, taps, dataset, tuple(new.values()), batch_size)
        dataset.check_unchanged()  # else they would be kept as those of other images
        kept.add([*new], computed)
    return kept.of(digests)


def _compute(
    prepared: PreparedRun,
    taps: Sequence[Tap],
    dataset: Dataset,
    samples: tuple[Sample, ...],
    batch_size: int,
) -> dict[str, Tensor]:
    planned = prepared.network.planned
    transform = _both(training_transform(planned.preprocessing, planned.backbone.plugin))
    batches = Batches(dataset, samples, transform, batch_size, once=True)
    small, sizes, pixels = list[Tensor](), list[Tensor](), list[Tensor]()

    def inputs() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches.view(0):
            images, picture, size, hashed = _apart(batch.images, prepared)
            small.append(picture)
            sizes.append(size)
            pixels.append(hashed)
            yield images, batch.targets

    runs = min(RUNS, torch.get_num_threads()) if prepared.device.type == "cpu" else 1
    with prepared.progress("reading features", len(samples)) as task:
        try:
            features, _ = extract(prepared.model, taps, inputs(), task, runs=runs)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise InvalidOption(
                f"the memory of {prepared.device} is too small for batches of {batch_size} images",
                hint=f"--batch-size {max(batch_size // 2, 1)} takes half of it",
            ) from error
    if not all(values.isfinite().all() for values in features):
        raise Unsupported(f"the features of {prepared.base} are NaN or infinite: they say nothing")
    return {
        **{f"{FEATURES}.{at}": values.contiguous() for at, values in enumerate(features)},
        "pictures": torch.cat(small),
        "sizes": torch.cat(sizes),
        "pixels": torch.cat(pixels),
    }


def _input_size(prepared: PreparedRun) -> tuple[int, int, int]:
    return prepared.network.planned.preprocessing.input_size


def _both(transform: Transform) -> Transform:
    """The network's input, the small picture, the size and the hash of an image, in one tensor:
    images come from worker processes, which hand back tensors.
    """
    length = int(np.prod(transform.size)) + SIDE * SIDE * COLORS + 2 + HASHED
    return Transform(partial(_joined, transform), (1, 1, length), random=False)


def _joined(transform: Transform, image: Image.Image) -> Tensor:
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    picture = torch.from_numpy(np.array(small, dtype=np.float32))
    size = torch.tensor(image.size, dtype=torch.float32)
    hashed = blake3(repr((image.mode, image.size)).encode() + image.tobytes()).digest()
    numbers = [int.from_bytes(hashed[at : at + 3], "big") for at in range(0, 3 * HASHED, 3)]
    parts = (transform.apply(image).flatten(), picture.flatten(), size, torch.tensor(numbers))
    return torch.cat(parts)[None, None]


def _apart(joined: Tensor, prepared: PreparedRun) -> Sequence[Tensor]:
    """Inverse of `_joined`, for a batch."""
    shape = _input_size(prepared)
    pixels = int(np.prod(shape))
    lengths = [pixels, SIDE * SIDE * COLORS, 2, HASHED]
    images, picture, size, hashed = torch.split(joined[:, 0, 0], lengths, dim=1)
    return (
        images.reshape(-1, *shape),
        picture.reshape(-1, SIDE, SIDE, COLORS).to(torch.uint8),
        size.long(),
        hashed.long(),
    )
