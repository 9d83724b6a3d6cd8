"""Choose between a probe and training, and for how many epochs, on folds of the images to train on:
none, where a probe alone is as good on images that it was not fitted to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from statistics import fmean, median_low
from typing import Any

from zoo.domain.recipe import DEFAULTS, IDLE, Recipe
from zoo.domain.task import SCORE
from zoo.domain.words import plural
from zoo.errors import InvalidOption
from zoo.finetune.dataset.split import Parts, fold_of
from zoo.finetune.setup.prepare import LEAST, PreparedRun

__all__ = [
    "EPOCH",
    "Scores",
    "after",
    "best_epochs",
    "choose",
    "scores_of",
    "undecided",
    "with_epochs",
]

EPOCH = re.compile(r"(?:average of )?epoch (\d+)")
FOLDS = 3

Scores = Mapping[int, float]
"""The score on the images that are held out after each epoch; after none: that of a probe."""


def scores_of(lines: Iterable[Mapping[str, Any]], measure: str) -> Scores:
    """Those that the ``lines`` of a run's journal tell; of an epoch and its average, the latter,
    which is what a run without validation images keeps.
    """
    scores: dict[int, float] = {}
    for line in lines:
        if line.get("kind") == "probe":
            scores[0] = line[measure]
        elif line.get("kind") == "epoch" and (match := EPOCH.fullmatch(line["name"])):
            scores[int(match[1])] = line[measure]
    return scores


def best_epochs(tables: Sequence[Scores]) -> int:
    """How long to train: the median of the epochs that were best in each fold. None at all, where
    a probe alone is as good out of fold.
    """
    epochs = median_low(max(table, key=lambda at: (table[at], -at)) for table in tables)
    probes = [table.get(0, -inf) for table in tables]
    return epochs if fmean(after(table, epochs) for table in tables) > fmean(probes) else 0


def after(table: Scores, epochs: int) -> float:
    """The score after so many epochs; where patience ended it before, after the last."""
    return table[max(at for at in table if at <= epochs)]


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe, its strategy decided, with so many epochs; a probe alone with none. It needs no
    validation images.
    """
    if not epochs:
        idle = {name: DEFAULTS[name] for name in IDLE["probe"].split()}
        return replace(recipe, strategy="probe", **idle)
    recipe = replace(recipe, patience=0)
    if recipe.strategy != "gradual":
        return replace(recipe, epochs=epochs)
    phases = list[str]()
    for text, phase in zip(recipe.phases, recipe.plan(), strict=True):
        if (left := min(phase.epochs, epochs)) > 0:
            phases.append(f"{phase.freeze}:{left}{''.join(text.partition('@')[1:])}")
        epochs -= left
    return replace(recipe, phases=tuple(phases))


def undecided(prepared: PreparedRun) -> bool:
    """Whether nothing could tell the probe that training begins with from what comes of it."""
    return prepared.recipe.strategy == "lp-ft" and not prepared.dataset.validation


def choose(prepared: PreparedRun, trial: Callable[[Recipe], Scores]) -> tuple[Recipe, str]:
    """The recipe with a probe alone, or with training for as long as was best on the images that
    three folds hold out in turn; and that in words. ``trial`` does one of them.
    """
    recipe, measure = prepared.recipe, SCORE[prepared.task].replace("_", " ")
    if why := _no_folds(prepared):
        return with_epochs(recipe, 0), f"{why}: a probe"
    tables: list[Scores] = []
    for number in range(1, FOLDS + 1):
        prepared.progress.say(
            f"no validation images: fold {number} of {FOLDS} is held out, to choose between "
            "the probe and training"
        )
        tables.append(trial(replace(recipe, fold=f"{number}/{FOLDS}")))
    epochs = best_epochs(tables)
    probe, trained = (fmean(after(table, at) for table in tables) for at in (0, epochs))
    summary = f"on {FOLDS} folds held out in turn a probe alone had {measure} {probe:.4f}"
    if not epochs:
        return with_epochs(recipe, 0), f"{summary}, and training no more: a probe"
    after_so_many = plural(epochs, "epoch")
    return with_epochs(recipe, epochs), f"{summary}, training {trained:.4f} after {after_so_many}"


def _no_folds(prepared: PreparedRun) -> str:
    """Why the images cannot be divided into folds; empty where they can. All ranks find the same,
    before one of them trains.
    """
    data, seed = prepared.dataset, prepared.recipe.seed
    parts = Parts(list(data.train), [], list(data.test))
    for number in range(1, FOLDS + 1):
        try:
            trained = fold_of(parts, f"{number}/{FOLDS}", data.task, seed, data.groups).train
        except InvalidOption as error:
            return f"nothing shows what training gains: {error}"
        if len(trained) < LEAST:
            return (
                f"{len(data.train)} images are too few to see what training gains (fold {number} "
                f"of {FOLDS} leaves {len(trained)} to train on, and a probe needs {LEAST})"
            )
    return ""
