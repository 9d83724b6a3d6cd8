"""Seeds: one recipe run with several seeds, one after another, and what they come to together.

What the strategy ``auto`` stands for, the first decides for all. The name itself moves once, at the
end, to the best by its validation images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.history import moved_from
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import InvalidOption
from zoo.finetune.conclude import Finetuned
from zoo.finetune.several import RunOne, Several
from zoo.lookup.runs import find_run
from zoo.transfer.changes import change_from
from zoo.workspace import Workspace

__all__ = ["Seeds", "Spread", "finetune_seeds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure over several seeds: its mean, and its standard deviation (with n - 1)."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Seeds(Result):
    """What a recipe comes to with several seeds.

    Attributes:
        ref: The name, which points at the best of them.
        manifest: That checkpoint.
        moved_from: What the name pointed at before, if that was another checkpoint.
        change: What differs from that for those who use the name.
        seeds: All seeds, in order.
        best: The one whose candidate did best on its validation images; where there are none, the
            first.
        validation: What each reached there; None where there are none.
        same_split: Whether all had the same images to train on, to choose by and to be tested on.
        runs: What each made, saved under a tag of its own.
        metrics: The figures on the test images, over all seeds.
    """

    ref: Reference
    manifest: Digest
    moved_from: Digest | None
    change: Change | None
    seeds: tuple[int, ...]
    best: int
    validation: tuple[float | None, ...]
    same_split: bool
    runs: tuple[Finetuned, ...]
    metrics: Mapping[str, Spread]


def finetune_seeds(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    save: Reference,
    *,
    seeds: int,
    run: RunOne,
    force: bool = False,
    progress: Progress = silent,
) -> Seeds:
    """Fine-tune ``base`` with so many ``seeds``, from the recipe's own on, and save each.

    ``run`` does it for one: a recipe, a base, and the name for the result.

    Raises:
        InvalidOption: There are fewer than two, or this is one of several processes.
        OtherClasses: As `finetune`.
    """
    if seeds < 2:
        raise InvalidOption(f"a spread is of two seeds or more, not of {seeds}")
    numbers = tuple(range(recipe.seed, recipe.seed + seeds))
    several = Several(workspace, base, save, "seed", numbers, progress)
    several.check_saved(save, recipe, force=force)
    with several.interruptible():
        done: list[Finetuned] = []
        for number in numbers:
            done.append(several.run(number, replace(recipe, seed=number), run))
            # Decided once, or seeds would be of several recipes.
            if "auto" in (recipe.strategy, recipe.batch_size):
                # Not `Recipe.recorded`: what this version leaves out is not what old ones did.
                recipe = Recipe.from_json(find_run(workspace, done[0].run).recipe)
        return _best(workspace, save, numbers, done)


def _best(
    workspace: Workspace, save: Reference, numbers: Sequence[int], done: Sequence[Finetuned]
) -> Seeds:
    """Give the name to the best by its validation images."""
    ranks = [find_run(workspace, each.run).validated() for each in done]
    # Of equal ones the first; without validation images nothing tells them apart.
    at = max(range(len(done)), key=lambda number: (ranks[number] or (0.0, 0.0), -number))
    before = moved_from(workspace.store.read_ref(save), done[at].manifest)
    manifests = [workspace.store.manifest(each.manifest) for each in done]
    why = f"finetune: the best of {len(done)} seeds"
    # Again, hours later: by now it may be the name of what is published.
    workspace.move(save, done[at].manifest, why, check=lambda _: workspace.names.check_free(save))
    return Seeds(
        ref=save,
        manifest=done[at].manifest,
        moved_from=before,
        change=change_from(workspace.store, before, manifests[at]),
        seeds=tuple(numbers),
        best=numbers[at],
        validation=tuple(rank and rank[0] for rank in ranks),
        same_split=len({each.provenance.get("split_digest") for each in manifests}) == 1,
        runs=tuple(done),
        metrics=_spreads([each.metrics for each in done]),
    )


def _spreads(metrics: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Of what all have; an interval belongs to one run."""
    names = [
        name
        for name in metrics[0]
        if all(name in each for each in metrics) and not name.endswith(("_low", "_high"))
    ]
    values = {name: [each[name] for each in metrics] for name in names}
    return {name: Spread(mean=fmean(each), std=stdev(each)) for name, each in values.items()}
