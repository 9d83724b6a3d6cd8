"""Plan a run: what is there, what is frozen and kept, and how long it may take; nothing is written.

The seconds are an estimate: the run's own steps, done on a few batches, times how often it does
them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from zoo.backbones.devices import pick_device
from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.task import Task
from zoo.errors import Diverged, InvalidOption, Unsupported
from zoo.finetune.dataset.batches import MEMORY, PAYS, most_workers
from zoo.finetune.dataset.dataset import PARTS, Dataset, Sample, SkippedImage
from zoo.finetune.features.loaders import (
    CachedActivations,
    CachedLoader,
    Loader,
    Loaders,
    cached,
    image_loaders,
)
from zoo.finetune.loop.evaluate import evaluate
from zoo.finetune.loop.learner import live_tensors, make_learner
from zoo.finetune.loop.phases import phase_loaders
from zoo.finetune.loop.train import learn, read
from zoo.finetune.results.paired import too_few
from zoo.finetune.saved import check_saved
from zoo.finetune.setup.prepare import PreparedRun, prepare, warn_of_guess, with_batch
from zoo.finetune.strategies.advised import as_advised, were_tried
from zoo.finetune.strategies.choose import undecided
from zoo.finetune.strategies.depths import at_units, only_zoo_loads
from zoo.finetune.strategies.probe import probe_heads, recalibrate_norms
from zoo.lookup.runs import ACTIVATIONS, CACHE
from zoo.workspace import Workspace

__all__ = ["FinetunePlan", "PlannedPhase", "plan_finetune"]

TRIED = 3
"""Batches that are tried."""
DECODED = 8
"""Images that are read and transformed to see how long one takes."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlannedPhase(Result):
    """One phase of training; a probe alone is one without epochs.

    Attributes:
        freeze: As the recipe has it.
        frozen_units: How many units are frozen.
        boundary: The first unit that is trained, or ``head``.
        trained_parameters: How many parameters are trained.
        epochs: How many.
        steps: Of one epoch.
        cached_at: The unit whose inputs are computed once and kept; empty: the network runs whole.
        cache_bytes: What they take.
        cache_there: Whether they are there already.
        uncached: Why nothing is kept, where that is to be said.
    """

    freeze: str
    frozen_units: int
    boundary: str
    trained_parameters: int
    epochs: int
    steps: int
    cached_at: str
    cache_bytes: int
    cache_there: bool
    uncached: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FinetunePlan(Result):
    """What a fine-tune would do.

    Attributes:
        base: The checkpoint that it begins with.
        task: What is learned.
        classes: Images of each class or label; names of columns for numbers.
        split: Images of ``train``, ``validation`` and ``test``.
        skipped: Images that cannot be used, each with the reason.
        remarks: What is to be said of the data.
        strategy: The recipe's, ``auto`` decided.
        batch_norm: Likewise; ``auto`` where none is trained.
        device: What it computes on.
        units: How many the network has.
        phases: One after the other.
        seconds: Estimated, of each part of the run.
        unknown: Parts that the estimate lacks.
        moves_from: What the name of the result points at now, if it is here.
        change: What differs from that for those who use the name.
    """

    base: str
    task: Task
    classes: Mapping[str, int | None]
    split: Mapping[str, int]
    skipped: tuple[SkippedImage, ...]
    remarks: tuple[str, ...]
    strategy: str
    batch_norm: str
    device: str
    units: int
    phases: tuple[PlannedPhase, ...]
    seconds: Mapping[str, float]
    unknown: tuple[str, ...]
    moves_from: Digest | None = None
    change: Change | None = None


def plan_finetune(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    *,
    save: Reference | None = None,
    device: str = "auto",
    force: bool = False,
    progress: Progress = silent,
) -> FinetunePlan:
    """What fine-tuning ``base`` after ``recipe`` would do; to the name ``save``, too.

    Raises as `zoo.finetune.run.finetune` before anything is trained.
    """
    began = time.monotonic()
    with TemporaryDirectory(prefix="zoo-") as name:
        folder = Path(name)
        prepared = prepare(
            workspace, base, recipe, pick_device(device), progress, folder=folder, finds_batch=False
        )
        known, data = prepared.known, prepared.dataset
        moving = check_saved(workspace, save, known, recipe, data, force=force) if save else None
        warn_of_guess(prepared)
        prepared, chosen, remark = _as_advised(workspace, prepared, recipe, folder)
        data = prepared.dataset
        seconds = {"checking the images": time.monotonic() - began}
        only_zoo = only_zoo_loads(prepared)
        if prepared.recipe.strategy == "probe" and prepared.recipe.at != "auto":
            prepared = at_units(prepared)
        phases = _phases(prepared, workspace.root / CACHE / ACTIVATIONS)
        with progress(f"trying {TRIED} batches", None):
            trial = _DryRun(prepared, folder, seconds)
            trial.add_all(phases, folds=chosen.strategy == "auto" and undecided(prepared))
    advised = progress is not silent and not were_tried(workspace, prepared)
    few = too_few(prepared) if advised else ""
    return FinetunePlan(
        base=prepared.base,
        task=data.task,
        classes=_counted(data),
        split={part: len(samples) for part, samples in zip(PARTS, _parts(data), strict=True)},
        skipped=data.skipped,
        remarks=tuple(filter(None, (*data.remarks, remark, few, only_zoo))),
        strategy=prepared.recipe.strategy,
        batch_norm=prepared.recipe.batch_norm,
        device=str(prepared.device),
        units=prepared.units,
        phases=tuple(phases),
        seconds={part: round(value, 1) for part, value in seconds.items()},
        unknown=tuple(trial.unknown),
        moves_from=moving.before if moving else None,
        change=moving.change if moving else None,
    )


def _as_advised(
    workspace: Workspace, prepared: PreparedRun, recipe: Recipe, folder: Path
) -> tuple[PreparedRun, Recipe, str]:
    """With what was advised, and a batch size for that; the recipe that is followed, and why."""
    chosen, remark = as_advised(workspace, prepared, recipe)
    if chosen != recipe:
        parent, device = str(prepared.parent), str(prepared.device)
        prepared = prepare(
            workspace,
            parent,
            chosen,
            device,
            prepared.progress,
            known_as=prepared.base,
            folder=folder,
        )
    return with_batch(prepared), chosen, remark


def _parts(data: Dataset) -> tuple[tuple[Sample, ...], ...]:
    return data.train, data.validation, data.test


def _counted(data: Dataset) -> dict[str, int | None]:
    targets = [sample.target for sample in chain.from_iterable(_parts(data))]
    if data.task == "regression":
        return dict.fromkeys(data.classes)
    counts = dict.fromkeys(range(len(data.classes)), 0)
    for target in targets:
        for at in [target] if isinstance(target, int) else (n for n, x in enumerate(target) if x):
            counts[at] += 1
    return dict(zip(data.classes, counts.values(), strict=True))


def _phases(prepared: PreparedRun, folder: Path) -> list[PlannedPhase]:
    boundaries = prepared.boundaries or (prepared.units,)
    kept = [_kept(prepared, boundary, folder) for boundary in boundaries]
    return [_phase(prepared, at, *each) for at, each in enumerate(kept)]


def _kept(
    prepared: PreparedRun, boundary: int, folder: Path
) -> tuple[CachedActivations | None, str]:
    prepared.freeze(boundary)
    try:
        return cached(prepared, boundary, folder), ""
    except Unsupported as error:
        return None, str(error)


def _phase(
    prepared: PreparedRun, at: int, kept: CachedActivations | None, why: str
) -> PlannedPhase:
    plan, hierarchy = prepared.phases, prepared.hierarchy
    phase, boundary = plan[at] if plan else (None, prepared.units)
    live = live_tensors(prepared.model, hierarchy, boundary, prepared.tuned).values()
    trained = (tensor for tensor in live if isinstance(tensor, nn.Parameter))
    full, rest = divmod(len(prepared.dataset.train), prepared.recipe.images_per_batch)
    return PlannedPhase(
        freeze=phase.freeze if phase else "all",
        frozen_units=boundary,
        boundary=hierarchy.boundary_name(boundary),
        trained_parameters=sum(p.numel() for p in trained),
        epochs=phase.epochs if phase else 0,
        steps=ceil((full + (rest > 1)) / prepared.recipe.accumulate) if phase else 0,
        cached_at=kept.unit if kept else "",
        cache_bytes=kept.bytes if kept else 0,
        cache_there=bool(kept and kept.there),
        uncached=why,
    )


class _DryRun:
    """A run in small, on a few batches: how long each of its parts takes.

    Attributes:
        seconds: Those of the whole run, by part.
        unknown: Parts that were not tried.
    """

    def __init__(self, prepared: PreparedRun, folder: Path, seconds: dict[str, float]) -> None:
        self.whole, self.folder = prepared, folder
        self.seconds, self.unknown = seconds, list[str]()
        data, few = prepared.dataset, TRIED * prepared.recipe.images_per_batch
        small = replace(
            data,
            train=tuple(sorted(_in_turn(data.train)[:few])),
            validation=_spread(data.validation, few),
            test=_spread(data.test, few),
        )
        self.small = replace(prepared, dataset=small, progress=silent)
        images = image_loaders(self.small).train.batches
        shown = range(0, len(small.train), ceil(len(small.train) / DECODED))
        self.reading = _timed(lambda: [images.image(at, 0) for at in shown]) / len(shown)
        if prepared.recipe.at == "auto":
            self.unknown.append("the probes at all depths")

    def add_all(self, phases: Sequence[PlannedPhase], *, folds: bool) -> None:
        """Try all phases; ``folds`` choose between the probe and training before, and are not."""
        if folds:
            self.unknown.append("choosing between the probe and training, on three folds")
        for at, phase in enumerate(phases):
            self._add(at, phase)

    def _add(self, at: int, phase: PlannedPhase) -> None:
        recipe = replace(self.small.recipe, cache=bool(phase.cached_at))
        small, data = replace(self.small, recipe=recipe), self.whole.dataset
        loaders = phase_loaders(self.folder, small, lambda _: None)
        parts = list[Loaders]()
        filled = _timed(lambda: parts.append(loaders(phase.frozen_units)))
        if phase.cached_at and not phase.cache_there:
            each = filled / self._passing(small) - self.reading
            self._took("running what is frozen", None, self._passing(self.whole), each, 1)
        measured = parts[0].validation or parts[0].test
        evaluate(small, measured)  # what comes first takes longer
        count = len(measured.batches.samples)
        self.each = min(_timed(lambda: evaluate(small, measured)) for _ in range(2)) / count
        if at == 0 and recipe.fits_head:
            self._probe(small, parts[0])
        if phase.epochs:
            self._train(at, small, parts[0], phase.epochs)
        if at + 1 == max(len(self.whole.phases), 1):
            self._took("testing", parts[0].test, len(data.test), self.each, 1)

    def _probe(self, small: PreparedRun, parts: Loaders) -> None:
        count, images = len(small.dataset.train), len(self.whole.dataset.train)
        evaluate(small, parts.plain)  # as the run has them then: read
        try:
            each = _timed(lambda: _fit(small, parts)) / count
        except (InvalidOption, Unsupported):  # not of all classes is an image there
            self.unknown.append("fitting the probe")
            return
        self._took("fitting the probe", parts.plain, images, each, 1)

    def _train(self, at: int, small: PreparedRun, parts: Loaders, epochs: int) -> None:
        phase, boundary = small.phases[at]
        learner, loader = make_learner(small, phase, boundary, parts)

        def epoch(number: int) -> None:
            with suppress(Diverged):
                # Read, so that it is waited for.
                read(learner, list(learn(learner, loader.epoch(number), loader.forward)))

        epoch(0)
        each = min(_timed(lambda: epoch(1)) for _ in range(2)) / len(small.dataset.train)
        if loader.batches.transform.random and not isinstance(loader, CachedLoader):
            each -= self.reading
        data, recipe = self.whole.dataset, self.whole.recipe
        self._took("training", loader, len(data.train), each, epochs)
        passes = epochs * (2 if recipe.ema else 1)
        blends = {"wise-ft": 9, "soup": epochs}.get(recipe.blend, 0)
        self._took("validation", parts.validation, len(data.validation), self.each, passes + blends)
        self._took("blending", parts.plain, len(data.train), self.each, blends)

    def _passing(self, prepared: PreparedRun) -> int:
        """Images that are run to fill the caches."""
        data = prepared.dataset
        return sum(map(len, _parts(data))) + len(data.train) * prepared.recipe.views

    def _took(
        self, part: str, loader: Loader | None, images: int, each: float, passes: int
    ) -> None:
        """Add so many passes over images, of which each takes so long when it has been read; they
        are read if they are not cached, and again where memory does not hold them.
        """
        if not images or not passes:
            return
        read = 0.0 if isinstance(loader, CachedLoader) else 1.0
        if loader and read:
            transform = loader.batches.transform
            kept = MEMORY / (4 * images * transform.size[0] * transform.size[1] * transform.size[2])
            read += (passes - 1) * (1.0 if transform.random else 1 - min(kept, 1.0))
        reading = self.reading * images * read
        workers = max(most_workers(self.whole.device), 1) if reading > PAYS else 1
        taken = max(each, 0.0) * images * passes + reading / workers
        self.seconds[part] = self.seconds.get(part, 0.0) + taken


def _fit(prepared: PreparedRun, parts: Loaders) -> None:
    recalibrate_norms(prepared, lambda _: parts)
    probe_heads(prepared, parts)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _in_turn(samples: Sequence[Sample]) -> list[Sample]:
    """One of each target, then another of each."""
    by_target = defaultdict(list)
    for sample in samples:
        by_target[sample.target].append(sample)
    turns = zip_longest(*by_target.values())
    return [sample for turn in turns for sample in turn if sample is not None]


def _spread(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
    return tuple(samples[:: ceil(len(samples) / count)]) if samples else ()
