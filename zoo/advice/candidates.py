"""Candidates: the recipes that are worth a trial, for this network and so many images; and what
trains them, and fits the probes that they have to beat.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.advice.cost import Speed
from zoo.advice.depths import TOGETHER, usable
from zoo.advice.race import HERE, Candidate, Race
from zoo.advice.reading import Reading
from zoo.backbones.freeze import trained_norms
from zoo.backbones.taps import HEAD
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, Task
from zoo.domain.recipe import Recipe
from zoo.domain.words import plural
from zoo.executors.executor import Executor
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.results.goodness import goodness
from zoo.finetune.setup.prepare import PreparedRun
from zoo.finetune.strategies.probe import fit_probe
from zoo.finetune.trial import StoredTrial, Trial, drop, kept_trials, patience, try_out
from zoo.workspace import Workspace

__all__ = [
    "ROWS",
    "Attempts",
    "Contest",
    "Row",
    "announce",
    "candidates_of",
    "clear_weights",
    "judged_on",
    "race_of",
]

OWN_SPLIT = 250
"""Validation images from which on they choose alone; with fewer, folds do."""
ENOUGH = 1000
"""Images to train on from which on, where they are unlike those of the pretraining, training is
advised if it is as good as the best probe (ADR 69)."""
FOLDS = 3
EPOCHS = 9
WHERE = {"data": "", "root": "", "held_out": ""}
"""What of a recipe says where images lie, and by what rule they were divided."""
PEAK = "peak"
"""The depth where the curve of probes is highest."""


@dataclass(frozen=True, slots=True)
class Row:
    """A recipe that may be tried.

    Attributes:
        name: What it is called; ``{}`` is the unit that is frozen last.
        freeze: As in `zoo.Recipe`, or ``peak``.
        batch_norm: As in `zoo.Recipe`, where the network has any.
        rate: Times the default rate.
        least: Training images from which on it is tried.
        linear: Only in networks whose units are linear layers.
        adapters: Adapters are trained in place of the weights themselves.
    """

    name: str
    freeze: str
    batch_norm: str
    rate: float = 1.0
    least: int = 0
    linear: bool = False
    adapters: bool = False


LORA: Mapping[str, object] = {"strategy": "lora", "backbone_lr_ratio": 0.5}
"""Of the adapters, and of their rates, what was best where they were measured; biases and norms
alone came to what a probe has."""
ROWS = (
    Row("above {}", PEAK, "frozen"),
    Row("upper half, three times the rate", "50%", "frozen", rate=3),
    Row("everything, three times the rate", "none", "frozen", rate=3),
    Row("everything", "none", "frozen", least=500, linear=True),
    Row("everything, batch norm live", "none", "live", least=4000),
    Row("adapters in everything", "none", "", linear=True, adapters=True),
)
"""What is tried. What a network cannot do, or is the same as a row above, is left out. Of
convolutions neither everything at the default rate nor adapters were ahead where that was measured,
nor live batch norms with up to 2,000 images, and each would cost a trial (ADR 69)."""


def candidates_of(
    prepared: PreparedRun,
    best_single: str,
    speed: Speed,
    held_out: int,
    rows: Sequence[Row] | None = None,
) -> list[Candidate]:
    """The ``rows`` (`ROWS`) that this network can do, on about so many training images."""
    dataset, hierarchy = prepared.dataset, prepared.hierarchy
    whole = len(dataset.train) + len(dataset.validation)
    train = whole - held_out
    candidates, linear = dict[object, Candidate](), _is_linear(prepared)
    for row in ROWS if rows is None else rows:
        at_peak = row.freeze == PEAK
        if train < row.least or (at_peak and best_single == HEAD) or (row.linear and not linear):
            continue
        freeze = best_single if at_peak else row.freeze
        if freeze.isdigit():  # of a plain `nn.Sequential`: as a freeze spec it were a count
            freeze = str(hierarchy.find(freeze).depth + 1)
        boundary = hierarchy.boundary(freeze)
        if boundary == len(hierarchy.units):
            continue  # that is a probe
        options: dict[str, object] = {"strategy": "lp-ft", "freeze": freeze, "epochs": EPOCHS}
        if row.adapters:
            options |= LORA
        elif trained_norms(prepared.model, hierarchy, boundary):
            options["batch_norm"] = row.batch_norm
        elif row.batch_norm == "live":
            continue
        if row.rate != 1:
            options["lr"] = round(prepared.recipe.lr * row.rate, 6)
        same = boundary, *map(options.get, ("strategy", "batch_norm", "lr"))
        candidate = Candidate(
            name=row.name.format(best_single),
            options=options,
            begin=speed.begin(whole + len(dataset.test)),
            epoch=speed.epoch(boundary, train, held_out),
        )
        candidates.setdefault(same, candidate)
    return list(candidates.values())


def _is_linear(prepared: PreparedRun) -> bool:
    """Whether linear layers do the work, as in a transformer: no unit but the first, which makes
    patches of an image, has a convolution.
    """
    layers = [
        layer
        for unit in prepared.hierarchy.units[1:]
        for path in unit.modules
        for layer in prepared.model.get_submodule(path).modules()
    ]
    return any(isinstance(layer, nn.Linear) for layer in layers) and not any(
        isinstance(layer, nn.Conv2d) for layer in layers
    )


@dataclass(frozen=True, slots=True)
class _OfTrial:
    """Bars of a trial: which it is, and what is left of the budget. Its lines are left out, as
    those of the race tell what comes of it.
    """

    progress: Progress
    name: str
    until: float

    @contextmanager
    def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:
        with self.progress(f"{self.name}: {label}", total, unit) as task:
            yield _Counted(task, self.until)

    def say(self, text: str) -> None:
        del text


@dataclass(frozen=True, slots=True)
class _Counted:
    task: Task
    until: float

    def advance(self, amount: float = 1, note: str = "") -> None:
        left = f"{max(self.until - time.time(), 0):.0f} s left"
        self.task.advance(amount, f"{left}, {note}" if note else left)


@dataclass(frozen=True, slots=True)
class Attempts:
    """What trains a candidate, in any process that reaches the zoo and the images.

    Attributes:
        workspace: The zoo.
        base: The network.
        known_as: What it was called.
        recipe: What all trials have in common.
        root: Where trials are kept.
        device: What they compute on.
        until: How long another process that is at one is waited for, by `time.time`: other machines
            have other monotonic clocks.
        progress: Progress callback.
    """

    workspace: Workspace
    base: Digest
    known_as: str
    recipe: Recipe
    root: Path
    device: str
    until: float
    progress: Progress

    def __call__(self, candidate: Candidate, fold: str, epochs: int) -> Trial:
        """Train a candidate without a fold, up to so many epochs."""
        until = time.monotonic() + self.until - time.time()
        trial = try_out(
            self.workspace,
            str(self.base),
            recipe_of(self.recipe, candidate, fold),
            device=self.device,
            progress=_OfTrial(self.progress, candidate.name, self.until),
            root=self.root,
            epochs=epochs,
            known_as=self.known_as,
            waits=patience(self.progress, until),
        )
        if fold and trial.epochs == trial.of:
            drop(trial)  # no run continues it: that has other images
        return trial


@dataclass(frozen=True, slots=True)
class Contest:
    """What a race is about.

    Attributes:
        workspace: The zoo.
        prepared: The network and the images.
        reading: What the network has said of them.
        best_single: The single depth whose probe is best.
        groups: Of all images of the reading; those that show the same are in one.
        recipe: What all trials have in common.
        root: Where trials are kept.
    """

    workspace: Workspace
    prepared: PreparedRun
    reading: Reading
    best_single: str
    groups: Sequence[str]
    recipe: Recipe
    root: Path

    def attempts(self, executor: Executor, budget: float) -> Attempts:
        """What trains the candidates within so many seconds."""
        return Attempts(
            self.workspace,
            self.prepared.parent,
            self.prepared.base,
            self.recipe,
            self.root,
            executor.device,
            time.time() + budget,
            executor.progress,
        )

    def missing(
        self, kept: Sequence[StoredTrial], candidate: Candidate, fold: str, epochs: int
    ) -> int:
        """How many of so many epochs are still to be trained, as far as the ``kept`` trials show:
        what is trained has no more than these.
        """
        recipe = recipe_of(self.recipe, candidate, fold)
        decided = self.prepared.recipe
        asked = replace(recipe, task=self.prepared.task, precision=decided.precision).to_json()
        done = [each for each in kept if _alike(each.recipe, asked)]
        enough = any(each.epochs >= epochs for each in done)
        further = (each.epochs for each in done if each.resumable)
        return 0 if enough else epochs - max(further, default=0)

    def probes(self, images: Sequence[str]) -> dict[str, list[float]]:
        """The scores that the probes that may be advised have on these images: fitted on all
        others that are not for tests.
        """
        row_of = {sample.key: at for at, sample in enumerate(self.reading.samples)}
        asked = [row_of[key] for key in images]
        fitted = sorted({*self.reading.where("train", "validation").tolist()} - {*asked})
        return dict(self._scores(fitted, asked))

    def _scores(self, fitted: list[int], asked: list[int]) -> Iterator[tuple[str, list[float]]]:
        reading, task = self.reading, self.prepared.task
        for at in usable(self.best_single):
            values, parts = _features(reading, at)
            probe = fit_probe(
                values[fitted].to(reading.device),
                reading.targets[fitted],
                task=task,
                seed=self.recipe.seed,
                groups=[reading.group[row] for row in fitted],
                parts=parts,
            )
            logits = nn.functional.linear(values[asked], probe.weight, probe.bias)
            yield at, goodness(logits, reading.targets[asked], task).tolist()


def recipe_of(common: Recipe, candidate: Candidate, fold: str) -> Recipe:
    """The recipe of a candidate without a fold."""
    return replace(common, fold=fold, **candidate.options)  # type: ignore[arg-type]


def judged_on(dataset: Dataset) -> tuple[list[str], int]:
    """The folds that are held out in turn, or ``[""]``, the user's own validation images; and how
    many images each holds.
    """
    if len(dataset.validation) >= OWN_SPLIT:
        return [""], len(dataset.validation)
    pool = len(dataset.train) + len(dataset.validation)
    return [f"{number}/{FOLDS}" for number in range(1, FOLDS + 1)], pool // FOLDS


def announce(candidates: Sequence[Candidate], dataset: Dataset, budget: float) -> str:
    """What is tried, on what, and how long that takes."""
    folds, held_out = judged_on(dataset)
    pool = len(dataset.train) + len(dataset.validation)
    judges = f"{held_out:,} validation images"
    if any(folds):
        judges = f"{len(folds)} folds of {pool:,} images"
    needs = (f"{each.name} {each.seconds(EPOCHS) * len(folds):.0f} s" for each in candidates)
    return (
        f"trying {plural(len(candidates), 'recipe')} on {judges}: {', '.join(needs)}; "
        f"at most {budget:.0f} s"
    )


def race_of(
    contest: Contest, speed: Speed, budget: float, executor: Executor = HERE, *, unlike: bool
) -> Race:
    """The race of all candidates, within so many seconds; ``unlike``: the images are unlike those
    that the network was trained on (`zoo.advice.depths.Gain`).
    """
    prepared, samples = contest.prepared, contest.reading.samples
    progress = prepared.progress
    folds, held_out = judged_on(prepared.dataset)
    candidates = candidates_of(prepared, contest.best_single, speed, held_out)
    progress.say(announce(candidates, prepared.dataset, budget))
    return Race(
        candidates,
        folds,
        contest.attempts(executor, budget),
        contest.probes,
        epochs=EPOCHS,
        groups={sample.key: group for sample, group in zip(samples, contest.groups, strict=True)},
        budget=budget,
        missing=partial(contest.missing, kept_trials(prepared, contest.root)),
        progress=progress,
        drop=drop,
        executor=executor,
        ties=unlike and len(prepared.dataset.train) >= ENOUGH,
    )


def clear_weights(race: Race | None, advised: str) -> None:
    """Delete the weights of trials that ended, but of the one that a run will continue."""
    for entry in race.entries if race else []:
        for trial in entry.trials:
            if trial.epochs == trial.of and entry.candidate.name != advised:
                drop(trial)


def _alike(kept: Mapping[str, object], asked: Mapping[str, object]) -> bool:
    """Whether a trial is of the recipe that is asked for, wherever the images lie."""
    return {**kept, **WHERE} == {**asked, **WHERE}


def _features(reading: Reading, at: str) -> tuple[Tensor, list[int]]:
    """Features (N, F) of one depth, or of all beside each other, and how many each has."""
    if at == TOGETHER:
        parts = [each.shape[1] for each in reading.features]
        return torch.cat(list(reading.features), dim=1), parts
    units = [tap.unit for tap in reading.taps]
    return reading.features[units.index(at)], []
