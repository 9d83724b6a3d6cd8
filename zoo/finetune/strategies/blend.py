"""Blend weights of one run: means that nothing was trained for, chosen on the validation split.

WiSE-FT goes from the first weights towards the last in a straight line (Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022). A greedy soup is the mean of the weights of epochs,
taken in from the best on as long as the mean does not lose by it (Wortsman et al., "Model soups",
ICML 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from zoo.domain.task import SCORE
from zoo.finetune.features.loaders import Loaders
from zoo.finetune.loop.evaluate import live_norms, recalibrate, validate
from zoo.finetune.loop.learner import between
from zoo.finetune.loop.state import Snapshots, State, put, rank, snapshot
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup.prepare import PreparedRun

__all__ = ["FIRST", "blend", "interpolated", "soup"]

FIRST = "first"
"""The snapshot of the weights that training begins with."""
TENTHS = range(1, 10)


def blend(
    prepared: PreparedRun,
    loaders: Callable[[int], Loaders],
    journal: Journal,
    state: State,
) -> None:
    """After training: try means of weights; the best of all are left in the network."""
    if prepared.recipe.blend != "none":
        parts = loaders(prepared.lowest)
        prepared.ranks.on_main(lambda: _blend(prepared, parts, journal, state))
    put(state.best.tensors, state.live)
    prepared.ranks.sync(state.live)  # only the main rank has the best


def _blend(prepared: PreparedRun, parts: Loaders, journal: Journal, state: State) -> None:
    """The mean of running statistics is not what the mean of weights gives: batch norms that are
    live take theirs anew (as `torch.optim.swa_utils.update_bn`).
    """

    def measured(tensors: Mapping[str, Tensor], of: int) -> dict[str, float]:
        """On the validation split, of the mean of so many weights, which stays in the network."""
        put(tensors, state.live)
        if of > 1:
            recalibrate(prepared, parts.plain, live_norms(prepared.model))
        return validate(prepared, parts)

    def consider(name: str, tensors: Mapping[str, Tensor], of: int) -> None:
        metrics = measured(tensors, of)
        state.consider(name, metrics)
        journal.note("blend", state.position.steps, name=name, **metrics)
        journal.say(state.summary(name, metrics))

    def score(tensors: Mapping[str, Tensor], of: int) -> tuple[float, float]:
        metrics = measured(tensors, of)
        return rank(metrics[SCORE[prepared.task]], metrics.get("loss", math.nan))

    if prepared.recipe.blend == "wise-ft":
        first, last = state.snapshots.read(FIRST), snapshot(state.live)
        for tenths in TENTHS:
            consider(f"{tenths}/10 of the way", interpolated(first, last, tenths / 10), 2)
    else:
        mean, names = soup(state.snapshots, score)
        if len(names) > 1:
            consider(f"mean of {', '.join(names)}", mean, len(names))
        else:
            alone = [name for name in state.snapshots.names() if name != FIRST] == [*names]
            why = "there is no other" if alone else "no mean with another epoch is as good"
            journal.say(f"soup: {names[0]} alone, as {why}")


def interpolated(
    first: Mapping[str, Tensor], last: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Weights ``share`` of the way from ``first`` to ``last``; counters are those of the last."""
    return {
        name: between(first[name], value, share) if value.is_floating_point() else value
        for name, value in last.items()
    }


def soup(
    snapshots: Snapshots, score: Callable[[Mapping[str, Tensor], int], tuple[float, float]]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The greedy soup of all snapshots, and the names of what is in it.

    Args:
        snapshots: The ingredients, but for the first weights.
        score: How good weights are, given how many they are a mean of; the greater, the better,
            and what comes first counts.
    """
    names = [name for name in snapshots.names() if name != FIRST]
    scores = {name: score(snapshots.read(name), 1) for name in names}
    first, *rest = sorted(scores, key=lambda name: scores[name], reverse=True)
    inside, best, mean = [first], scores[first][0], snapshots.read(first)
    for name in rest:
        tried = interpolated(snapshots.read(name), mean, len(inside) / (len(inside) + 1))
        reached, _ = score(tried, len(inside) + 1)
        if reached >= best:  # as in the paper: what does no harm is taken in
            inside, best, mean = [*inside, name], reached, tried
    return mean, tuple(inside)
