"""Seeds: one recipe run with several seeds, one after another, and what they come to together.

Each is an ordinary run, and a checkpoint of its own under a tag: whoever stops in between keeps
those that are done. The name itself moves once, at the end, to the best by its validation images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from zoo import config
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.domain.result import Result
from zoo.errors import InvalidOption
from zoo.finetune.conclude import Finetuned
from zoo.finetune.results.journal import Earlier
from zoo.finetune.results.trackers import Log
from zoo.finetune.run import finetune
from zoo.lookup.runs import find_run
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
        seeds: All seeds, in order.
        best: The one whose candidate did best on its validation images; where there are none, the
            first.
        validation: What each reached there; None where there are none.
        runs: What each made, saved under a tag of its own.
        metrics: The figures on the test images, over all seeds.
    """

    ref: Reference
    manifest: Digest
    seeds: tuple[int, ...]
    best: int
    validation: tuple[float | None, ...]
    runs: tuple[Finetuned, ...]
    metrics: Mapping[str, Spread]


def finetune_seeds(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    save: Reference,
    *,
    seeds: int,
    device: str = "auto",
    save_every: int = 0,
    log: Log = (),
    progress: Progress = silent,
) -> Seeds:
    """Fine-tune ``base`` with so many ``seeds``, from the recipe's own on, and save each.

    The rest is as for `zoo.finetune.run.finetune`.

    Raises:
        InvalidOption: There are fewer than two, or several processes.
    """
    if seeds < 2:
        raise InvalidOption(f"a spread is of two seeds or more, not of {seeds}")
    if config.processes() > 1:
        raise InvalidOption("several seeds run in one process, one after another: leave --launch")
    numbers = tuple(range(recipe.seed, recipe.seed + seeds))
    refs = [_tagged(save, number) for number in numbers]
    for ref in (save, *refs):
        workspace.names.check_free(ref)
    known_as, digest = workspace.names.resolve(base)
    # All from one checkpoint, whatever the name points at by then.
    earlier = Earlier({}, "", base=str(known_as or base))
    done = [
        finetune(
            workspace,
            str(digest),
            replace(recipe, seed=number),
            ref,
            device=device,
            save_every=save_every,
            log=log,
            progress=progress,
            earlier=earlier,
        )
        for number, ref in zip(numbers, refs, strict=True)
    ]
    ranks = [find_run(workspace, each.run).validated() for each in done]
    # Of equal ones the first; without validation images nothing tells them apart.
    at = max(range(seeds), key=lambda number: (ranks[number] or (0.0, 0.0), -number))
    workspace.move(save, done[at].manifest, f"finetune: the best of {seeds} seeds")
    return Seeds(
        ref=save,
        manifest=done[at].manifest,
        seeds=numbers,
        best=numbers[at],
        validation=tuple(rank and rank[0] for rank in ranks),
        runs=tuple(done),
        metrics=_spreads([each.metrics for each in done]),
    )


def _tagged(save: Reference, seed: int) -> Reference:
    own = "" if save.tag == DEFAULT_TAG else f"{save.tag}-"
    return replace(save, tag=f"{own}seed-{seed}")


def _spreads(metrics: list[Mapping[str, float]]) -> dict[str, Spread]:
    """Of what all have; an interval belongs to one run."""
    names = [
        name
        for name in metrics[0]
        if all(name in each for each in metrics) and not name.endswith(("_low", "_high"))
    ]
    values = {name: [each[name] for each in metrics] for name in names}
    return {name: Spread(mean=fmean(each), std=stdev(each)) for name, each in values.items()}
