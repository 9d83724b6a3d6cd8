"""Loaders: where batches come from, and how the network takes them: as images, or at a cut, from a
cache, wherever the plan allows it.

Both give the same images in the same order, so that one can stand in for the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import torch
from blake3 import blake3
from torch import Tensor, nn

from zoo import plugins
from zoo.backbones.from_cut import CutInputs, FromCut
from zoo.backbones.moved import moved
from zoo.backbones.rgb import READING
from zoo.domain.preprocessing import ROUNDING_DOWN
from zoo.domain.recipe import Recipe
from zoo.errors import Unsupported
from zoo.finetune.dataset.augment import Mix, training_transform
from zoo.finetune.dataset.batches import Batches, evenly
from zoo.finetune.dataset.dataset import Sample
from zoo.finetune.features.ahead import ahead
from zoo.finetune.features.cache import (
    Activations,
    Below,
    Shape,
    home_of,
    open_or_fill,
    resident,
    room,
    shape_of,
)
from zoo.finetune.ranks.ranks import ALONE, Ranks
from zoo.finetune.setup.network import autocast
from zoo.finetune.setup.prepare import COMPUTING, PreparedRun
from zoo.packages import version

__all__ = [
    "Batch",
    "CachedActivations",
    "CachedLoader",
    "Forward",
    "ImageLoader",
    "Inputs",
    "Loader",
    "Loaders",
    "cached",
    "computation",
    "image_loaders",
    "make_loaders",
]

Inputs = Any
"""Images (N, C, H, W), or what enters at a cut."""
Forward = Callable[[Inputs], Tensor]
"""From what a batch holds to outputs (N, K): the whole network, or its part above a cut."""

STAND_IN = 2
"""Images that a rank without any of a batch runs where all share the weights, of which each is
asked in every step; batch norm takes no fewer."""


class Batch(NamedTuple):
    """What the network is given, and what it should say: see `zoo.contracts.Head.loss`."""

    inputs: Inputs
    targets: Tensor
    images: int
    taught: Tensor | None = None  # what a teacher says of them (N, K)


@dataclass(frozen=True)
class Loader(ABC):
    """Batches of one part of a dataset, for one network."""

    batches: Batches
    device: torch.device
    ranks: Ranks = ALONE

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.batches)

    @abstractmethod
    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch of training, without the first ``skip``."""

    @abstractmethod
    def whole(self) -> Iterator[Batch]:
        """All images once, in file order."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """The network's outputs (N, K) for the inputs of a batch."""

    @abstractmethod
    def into(self, copy: nn.Module) -> Self:
        """The same for a copy of the network."""

    @abstractmethod
    def view_of(self, number: int) -> int | None:
        """Which of the views of its images, each of which stays what it is, an epoch of training
        has; None: they are made anew.
        """

    def some(self, count: int) -> Self:
        """The same of so many of its images at most, evenly spaced; to be read `whole`."""
        return replace(self, batches=self.batches.some(count))

    def fits(self) -> bool:
        """Whether the batches are still what the network would be given: images always are."""
        return True


@dataclass(frozen=True, kw_only=True)
class ImageLoader(Loader):
    """Images through the whole network."""

    model: nn.Module
    layout: torch.memory_format = torch.contiguous_format  # how images lie in memory
    mix: Mix | None = None  # of training images, if they are mixed

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """See `Loader.epoch`."""
        rank, size = self.ranks.rank, self.ranks.world_size
        batches = self.batches.epoch(number, skip=skip, rank=rank, world=size)
        for step, (images, targets, _) in enumerate(batches, skip):
            if self.mix and len(images):
                images, targets = self.mix(images, targets, epoch=number, step=step)
            yield self._batch(images, targets)

    def whole(self) -> Iterator[Batch]:
        """See `Loader.whole`."""
        return (self._batch(images, targets) for images, targets, _ in self.batches.view(0))

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Loader.forward`."""
        outputs: Tensor = self.model(inputs)
        return outputs

    def into(self, copy: nn.Module) -> Self:
        """See `Loader.into`."""
        return replace(self, model=copy)

    def view_of(self, number: int) -> int | None:  # noqa: ARG002 - all are alike
        """See `Loader.view_of`."""
        return None if self.mix or self.batches.transform.random else 0

    def _batch(self, images: Tensor, targets: Tensor) -> Batch:
        if self.ranks.sharded and not len(images):
            images = torch.stack([self.batches.image(0, 0)] * STAND_IN)
        return Batch(moved(images, self.device, self.layout), targets, len(targets))


class _AtCut(NamedTuple):
    at_cut: CutInputs
    images: int


@dataclass(frozen=True, kw_only=True)
class CachedLoader(Loader):
    """Cached inputs at a cut, through the part of the network above it; reads no images."""

    entry: FromCut  # the network, forward from the cut
    views: Sequence[Activations]  # epochs take turns with them
    rows: Sequence[int]  # of each image of this part, in the cache
    below: Below  # the weights that the cache was computed with

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """See `Loader.epoch`."""
        rank, size = self.ranks.rank, self.ranks.world_size
        plan = self.batches.plan(number, rank=rank, world=size)[skip:]
        return self._of(self.views[self.view_of(number)], plan)

    def view_of(self, number: int) -> int:
        """See `Loader.view_of`."""
        return number % len(self.views)

    def whole(self) -> Iterator[Batch]:
        """See `Loader.whole`."""
        count, size = len(self.rows), self.batches.size
        plan = [range(at, min(at + size, count)) for at in range(0, count, size)]
        return self._of(self.views[0], plan)

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Loader.forward`."""
        # Of the images only shape, dtype and device are asked for: they have no memory.
        shape = (inputs.images, *self.batches.transform.size)
        images = torch.zeros((), device=self.device).expand(shape)
        outputs: Tensor = self.entry.forward(inputs.at_cut, images)
        return outputs

    def into(self, copy: nn.Module) -> Self:
        """See `Loader.into`."""
        return replace(self, entry=self.entry.into(copy))

    def some(self, count: int) -> Self:
        """See `Loader.some`."""
        rows = [self.rows[at] for at in evenly(len(self.rows), count)]
        return replace(super().some(count), rows=rows)

    def fits(self) -> bool:
        """See `Loader.fits`."""
        return self.below.unchanged()

    def _check(self) -> None:
        # Training goes on silently on activations of other weights: nothing else would tell.
        if not self.fits():
            raise RuntimeError(
                f"the cached activations are those of other weights ({self.below.digest}) than "
                "the network now has below its cut"
            )

    def _of(self, view: Activations, plan: Sequence[Sequence[int]]) -> Iterator[Batch]:
        self._check()
        chosen = [indices or [0] * (STAND_IN if self.ranks.sharded else 0) for indices in plan]
        picked = (view.picked([self.rows[at] for at in each], self.device) for each in chosen)
        # Only what lies on the host takes long to pick, and only beside a CPU that has time.
        waits = self.device.type == "cuda" and not view.resident
        activations = ahead(picked) if waits else picked
        for indices, each, rows in zip(plan, chosen, activations, strict=True):
            inputs = _AtCut(view.cut_inputs(rows, self.device), len(each))
            yield Batch(inputs, self.batches.targets[indices], len(indices))


@dataclass(frozen=True, slots=True)
class Loaders:
    """Where the parts of a dataset come from in one phase."""

    train: Loader
    validation: Loader | None
    test: Loader
    plain: Loader  # what is trained on, with nothing random about it
    cut: int = 0  # units below the cut where the network is entered; 0: it takes images
    remark: str = ""  # what was asked for, or would be expected, and is not so

    def fit(self) -> bool:
        """Whether they are still what the network would be given; all come from below one cut."""
        return self.test.fits()


def make_loaders(prepared: PreparedRun, boundary: int, folder: Path) -> Loaders:
    """The loaders of a phase that has frozen ``boundary`` units; caches lie in ``folder``."""
    if not boundary or not prepared.recipe.cache:
        return image_loaders(prepared)
    why = _obstacle(prepared, prepared.hierarchy.cut_below(boundary))
    if not why:
        try:
            with autocast(prepared.model, prepared.recipe.precision):
                return _cached(prepared, boundary, folder)
        except Unsupported as error:
            why = str(error)
    return replace(image_loaders(prepared), remark=f"what is frozen runs in each epoch: {why}")


def _obstacle(prepared: PreparedRun, cut: int) -> str:
    recipe = prepared.recipe
    if not cut:
        return "no cut lies below the boundary (zoo tree shows them)"
    if recipe.grad_checkpointing:
        return "gradient checkpointing runs the network whole"
    if recipe.mixup or recipe.cutmix:
        return "images are mixed anew in each epoch"
    if recipe.augment != "none" and not recipe.views:
        return "images are changed anew in each epoch; --views would keep some"
    return ""


def image_loaders(prepared: PreparedRun) -> Loaders:
    """Loaders of images, through the whole network."""
    recipe, dataset = prepared.recipe, prepared.dataset
    mix = None
    if recipe.mixup or recipe.cutmix:
        mix = Mix(
            recipe.mixup,
            recipe.cutmix,
            task=dataset.task,
            outputs=len(dataset.classes),
            smoothing=recipe.label_smoothing,
            seed=recipe.seed,
        )
    # Parameters stay those of the network: only its calls are compiled.
    runs = cast(nn.Module, torch.compile(prepared.model)) if recipe.compile else prepared.model

    def feed(samples: tuple[Sample, ...], level: str, mix: Mix | None = None) -> ImageLoader:
        batches = _batches(prepared, samples, level)
        return ImageLoader(
            batches, prepared.device, prepared.ranks, model=runs, layout=_layout(prepared), mix=mix
        )

    validation = feed(dataset.validation, "none") if dataset.validation else None
    plain = feed(dataset.train, "none")
    # One object where nothing is random, so that images are transformed once for both.
    train = feed(dataset.train, recipe.augment, mix) if mix or recipe.augment != "none" else plain
    return Loaders(train, validation, feed(dataset.test, "none"), plain)


def _cut_entry(prepared: PreparedRun, boundary: int, image: Tensor) -> tuple[FromCut, Shape]:
    """The highest cut below ``boundary`` whose inputs can be cached, and their shape.

    Where dropout lies right before the head, that is one below the last unit, so that training
    still draws anew in each step.
    """
    reason: Unsupported | None = None
    cut = prepared.hierarchy.cut_below(boundary)
    while cut:
        entry = FromCut(prepared.model, prepared.hierarchy, cut)
        try:
            return entry, shape_of(entry, image, _layout(prepared), _kept_in(prepared.recipe))
        except Unsupported as error:
            reason = reason or error
        cut = prepared.hierarchy.cut_below(cut - 1)
    assert reason is not None
    raise reason


@dataclass(frozen=True, slots=True)
class CachedActivations:
    """What is kept of all images of a run.

    Attributes:
        unit: The first above the cut; what enters it is kept.
        bytes: How many it takes, with all views.
        there: Whether an earlier run has left it.
    """

    unit: str
    bytes: int
    there: bool


def cached(prepared: PreparedRun, boundary: int, folder: Path) -> CachedActivations:
    """What `make_loaders` would keep; nothing is written.

    Raises:
        Unsupported: Nothing, and why; without a reason where nobody would expect it.
    """
    if not boundary or not prepared.recipe.cache:
        raise Unsupported("")
    if why := _obstacle(prepared, prepared.hierarchy.cut_below(boundary)):
        raise Unsupported(why)
    with autocast(prepared.model, prepared.recipe.precision):
        whole, entry, shape, below = _at_cut(prepared, boundary)
    images = len(whole.samples) + len(prepared.dataset.train) * prepared.recipe.views
    room(folder, shape.nbytes * len(whole.samples))
    what = _kept_as(prepared, _description(prepared, entry, below), whole, 0)
    _, home = home_of(folder, what, shape, len(whole.samples))
    unit = prepared.hierarchy.boundary_name(entry.boundary)
    return CachedActivations(
        unit, shape.nbytes * images, home.is_dir() and not prepared.recipe.views
    )


def _at_cut(prepared: PreparedRun, boundary: int) -> tuple[Batches, FromCut, Shape, Below]:
    dataset = prepared.dataset
    # One cache for all parts, by key: another split of the same images finds it, too.
    everything = sorted((*dataset.train, *dataset.validation, *dataset.test))
    whole = _batches(prepared, everything, "none")
    entry, shape = _cut_entry(prepared, boundary, whole.image(0, 0).to(prepared.device))
    return whole, entry, shape, Below(prepared.model, prepared.hierarchy, entry.boundary)


def _cached(prepared: PreparedRun, boundary: int, folder: Path) -> Loaders:
    recipe, dataset = prepared.recipe, prepared.dataset
    whole, entry, shape, below = _at_cut(prepared, boundary)
    what = _description(prepared, entry, below)
    kept = [_activations(prepared, entry, whole, shape, what, 0, folder)]
    changing = _batches(prepared, dataset.train, recipe.augment)
    what = {**what, "augment": recipe.augment, "seed": recipe.seed}
    what |= {} if recipe.augment_on == "host" else {"augment_on": recipe.augment_on}
    kept += [
        _activations(prepared, entry, changing, shape, what, number, folder)
        for number in range(recipe.views)
    ]
    plain, *views = resident(kept, prepared.device)
    entry = entry.compiled() if recipe.compile else entry
    row = {sample.key: at for at, sample in enumerate(whole.samples)}
    make = partial(CachedLoader, device=prepared.device, ranks=prepared.ranks, below=below)

    def feed(samples: tuple[Sample, ...]) -> CachedLoader:
        rows = [row[sample.key] for sample in samples]
        batches = _batches(prepared, samples, "none")
        return make(batches, entry=entry, views=[plain], rows=rows)

    known = feed(dataset.train)
    train = known
    if views:
        train = make(changing, entry=entry, views=views, rows=range(len(dataset.train)))
    validation = feed(dataset.validation) if dataset.validation else None
    return Loaders(train, validation, feed(dataset.test), known, entry.boundary)


def _batches(
    prepared: PreparedRun, samples: tuple[Sample, ...] | list[Sample], level: str
) -> Batches:
    recipe, planned = prepared.recipe, prepared.network.planned
    transform = training_transform(
        planned.preprocessing, planned.backbone.plugin, level, on=recipe.augment_on
    )
    balanced = recipe.sampler == "balanced" and samples is prepared.dataset.train
    return Batches(
        prepared.dataset,
        samples,
        transform,
        recipe.images_per_batch,
        seed=recipe.seed,
        balanced=balanced,
        device=prepared.device,
    )


def _layout(prepared: PreparedRun) -> torch.memory_format:
    return torch.channels_last if prepared.recipe.channels_last else torch.contiguous_format


def _kept_in(recipe: Recipe) -> torch.dtype:
    """What is kept of fp32: half of it where training is in bf16, which has the same range. That of
    fp16 is less, and what enters at a cut may be larger.
    """
    return torch.bfloat16 if recipe.precision == "bf16" else torch.float32


def _description(prepared: PreparedRun, entry: FromCut, below: Below) -> dict[str, object]:
    """All that determines the inputs at the cut, except the images."""
    return {
        **computation(prepared),
        "cut": prepared.hierarchy.boundary_name(entry.boundary),
        "weights": below.digest,
    }


def computation(prepared: PreparedRun) -> dict[str, object]:
    """What determines what a network computes of an image, except its weights and how deep it is
    looked into; plain data.
    """
    backbone, recipe = prepared.network.planned.backbone, prepared.recipe
    return {
        "plugin": backbone.plugin,
        "version": plugins.backbone_version(backbone.plugin),
        "architecture": backbone.architecture,
        # The number of outputs is above every cut: another head may use the same cache.
        "options": {k: v for k, v in backbone.options.items() if k != "num_classes"},
        "preprocessing": prepared.network.planned.to_json()["preprocessing"],
        **({"margin": "down"} if backbone.plugin in ROUNDING_DOWN else {}),
        "precision": recipe.precision,
        "device": prepared.device.type,
        "arithmetic": _arithmetic(prepared.device),
        "channels_last": recipe.channels_last,
        "versions": {name: version(name) for name in (*COMPUTING, "pillow")},
        "reading": READING,
        "batch": recipe.images_per_batch,  # kernels for another size give other last bits
    }


def _arithmetic(device: torch.device) -> list[str]:
    """What else decides the last bits: the device's model, and how exactly it multiplies."""
    if device.type != "cuda":
        return [torch.backends.cpu.get_cpu_capability()]
    backends = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):  # torch 2.9: do not ask the older names
        names = "cuda.matmul.fp32_precision", "cudnn.conv.fp32_precision", "fp32_precision"
        exact = attrgetter(*names)(backends)
    else:
        exact = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, False
    return [torch.cuda.get_device_name(device), *map(str, exact)]


def _activations(
    prepared: PreparedRun,
    entry: FromCut,
    batches: Batches,
    shape: Shape,
    what: dict[str, object],
    view: int,
    folder: Path,
) -> Activations:
    def images() -> Iterator[Tensor]:
        for batch in batches.view(view):
            yield moved(batch.images, prepared.device, _layout(prepared))
        prepared.dataset.check_unchanged()  # else they would be kept as those of other images

    count = len(batches.samples)
    description, why = _kept_as(prepared, what, batches, view), ""
    with prepared.ranks.main_first():
        try:
            activations = open_or_fill(
                folder, description, shape, count, images, entry, prepared.progress
            )
        except Unsupported as error:
            why = str(error)
    # Where one has no room for a cache, none uses one: all must enter the network at one place.
    if reasons := [reason for reason in prepared.ranks.gather(why) if reason]:
        raise Unsupported(reasons[0])
    return activations


def _kept_as(
    prepared: PreparedRun, what: dict[str, object], batches: Batches, view: int
) -> dict[str, object]:
    keys = "\n".join(sample.key for sample in batches.samples)
    images = {"data": prepared.dataset.digest, "keys": blake3(keys.encode()).hexdigest()}
    return {**what, **images, "view": view}
