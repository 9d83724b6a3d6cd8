"""Folds: one recipe trained as often as there are folds, each time with another held out; then once
on all of these images, for as long as that was best. Images to test on are apart, and choose
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import stdev

from scipy.stats import t

from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import DEFAULTS, MOST_FOLDS, Recipe
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.task import SCORE
from zoo.errors import InvalidOption
from zoo.finetune.conclude import Finetuned
from zoo.finetune.results.interval import wilson
from zoo.finetune.several import RunOne, Several
from zoo.finetune.strategies.advised import FOLLOWED
from zoo.finetune.strategies.choose import Scores, after, best_epochs, scores_of, with_epochs
from zoo.lookup.runs import find_run
from zoo.workspace import Workspace

__all__ = ["Folds", "finetune_folds"]

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Folds(Result):
    """What a recipe comes to out of fold.

    Attributes:
        measure: The figure that is told (`SCORE`).
        score: Its mean over the folds, on the images that each held out, after ``epochs``.
        low: The lower end of its 95 % interval.
        high: The upper end.
        std: The standard deviation over the folds (with n - 1).
        probe: That of the probe alone, where there is one.
        epochs: How long the result was trained; 0: it is the probe alone.
        scores: Of each fold.
        images: How many each held out.
        folds: What each made, saved under a tag of its own.
        result: What was trained on all of these images, saved under the name.
    """

    measure: str
    score: float
    low: float
    high: float
    std: float
    probe: float | None
    epochs: int
    scores: tuple[float, ...]
    images: tuple[int, ...]
    folds: tuple[Finetuned, ...]
    result: Finetuned


def finetune_folds(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    save: Reference,
    *,
    folds: int,
    run: RunOne,
    force: bool = False,
    progress: Progress = silent,
) -> Folds:
    """Fine-tune ``base`` with each of so many ``folds`` held out, then on all of their images.

    ``run`` does it for one: a recipe, a base, and the name for the result. That is trained with a
    schedule that ends after the epochs that were chosen, which in a fold may have gone on.

    Raises:
        InvalidOption: There are fewer than two or more than a hundred, this is one of several
            processes, or the recipe chooses by validation images in another way, too.
        OtherClasses: As `finetune`.
    """
    if not 2 <= folds <= MOST_FOLDS:
        raise InvalidOption(f"there are 2 to {MOST_FOLDS} folds, not {folds}")
    if recipe.fold or recipe.blend != "none":
        what = f"the blend {recipe.blend}" if recipe.blend != "none" else f"the fold {recipe.fold}"
        raise InvalidOption(
            f"folds choose how long to train, and {what} is chosen otherwise: leave it out"
        )
    numbers = range(1, folds + 1)
    several = Several(workspace, base, save, "fold", numbers, progress)
    several.check_saved(save, recipe, force=force)
    with several.interruptible():
        done: list[Finetuned] = []
        for number in numbers:
            done.append(several.run(number, replace(recipe, fold=f"{number}/{folds}"), run))
            if recipe.batch_size == "auto":  # found once: it hangs on what memory is free
                first = Recipe.from_json(find_run(workspace, done[0].run).recipe)
                recipe = replace(recipe, batch_size=first.images_per_batch, lr=first.lr)
        kept = [find_run(workspace, each.run) for each in done]
        measure = SCORE[done[0].task]
        tables = [scores_of(each.lines(), measure) for each in kept]
        epochs = best_epochs(tables)
        # As the folds decided what is decided by the number of images, or was advised.
        decided = {name: kept[0].recipe.get(name, DEFAULTS[name]) for name in FOLLOWED}
        final = with_epochs(replace(recipe, fold="all", **decided), epochs)
        result = run(final, several.base, str(save))
    images = [int(each.result["validation_images"]) for each in kept]
    return _summary(measure, tables, epochs, images, tuple(done), result)


def _summary(
    measure: str,
    tables: Sequence[Scores],
    epochs: int,
    images: Sequence[int],
    folds: tuple[Finetuned, ...],
    result: Finetuned,
) -> Folds:
    scores = [after(table, epochs) for table in tables]
    low, high = _interval(measure, scores, images)
    probes = [table[0] for table in tables if 0 in table]
    return Folds(
        measure=measure,
        score=_mean(scores, images),
        low=low,
        high=high,
        std=stdev(scores),
        probe=_mean(probes, images) if probes else None,
        epochs=epochs,
        scores=tuple(scores),
        images=tuple(images),
        folds=folds,
        result=result,
    )


def _mean(scores: Sequence[float], images: Sequence[int]) -> float:
    """Of all images."""
    whole = sum(score * count for score, count in zip(scores, images, strict=True))
    return whole / sum(images)


def _interval(measure: str, scores: Sequence[float], images: Sequence[int]) -> tuple[float, float]:
    """Of 95 %: an accuracy is a share of all images; of other figures only the spread is known."""
    mean = _mean(scores, images)
    if measure == "accuracy":
        return wilson(round(mean * sum(images)), sum(images))
    width = float(t.ppf((1 + LEVEL) / 2, len(scores) - 1)) * stdev(scores) / len(scores) ** 0.5
    return mean - width, mean + width
