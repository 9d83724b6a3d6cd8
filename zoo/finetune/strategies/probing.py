"""Fit the head on features before anything is trained, and choose the unit they are taken at."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.backbones.features import extract
from zoo.backbones.taps import HEAD, find_taps
from zoo.errors import InvalidOption
from zoo.finetune.features.loader import Loader
from zoo.finetune.features.loaders import Loaders, image_loaders
from zoo.finetune.loop.batchnorm import recalibrate
from zoo.finetune.loop.evaluate import predict, validate
from zoo.finetune.loop.state import State
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup.prepare import Prepared, truncated
from zoo.finetune.strategies.blend import FIRST
from zoo.finetune.strategies.depth import depth_curve
from zoo.finetune.strategies.probe import fit_probe, install, neighbors
from zoo.store.atomic import write_whole

__all__ = ["at_depth", "probe", "probe_heads"]

DEPTH = "depth.json"
FITTED = ("probe", "lp-ft")
"""Strategies that begin with a probe."""


def at_depth(prepared: Prepared, journal: Journal) -> Prepared:
    """The network ended at the unit that the recipe names, or at the one that does best.

    That one is found on what is trained on and chosen on; the curve over all depths is kept in the
    run's folder.

    Raises:
        UnknownName: It has no such unit.
        Unsupported: What is there cannot be pooled.
    """
    at = prepared.recipe.at
    if at == "auto":
        at = prepared.ranks.on_main(lambda: _best_depth(prepared, journal))
    return prepared if at == HEAD else truncated(prepared, at)


def probe(
    prepared: Prepared,
    loaders: Callable[[int], Loaders],
    journal: Journal,
    state: State,
) -> None:
    """Before training: fit a probe, if the strategy begins with one; all ranks have it then."""
    ranks, fitted = prepared.ranks, prepared.recipe.strategy in FITTED
    if fitted:
        parts = loaders(prepared.boundaries[0] if prepared.boundaries else prepared.units)
        choices = ranks.on_main(lambda: probe_heads(prepared, parts))
        metrics = ranks.on_main(lambda: validate(prepared, parts))
        state.consider("probe", metrics)
        journal.note("probe", 0, **choices, **metrics)
    ranks.sync(state.live)
    if prepared.recipe.blend == "wise-ft":
        state.keep(FIRST)
    if fitted:
        state.save(None)


def probe_heads(prepared: Prepared, loaders: Loaders) -> dict[str, object]:
    """Recalibrate batch norm, fit a probe on what each head gets, and give it to the head.

    Returns:
        For the journal: the C of each, and what the nearest neighbors' vote would reach.
    """
    recalibrate(prepared, loaders.plain)
    images = len(prepared.dataset.train) + len(prepared.dataset.validation)
    with prepared.progress("reading features", images) as task:
        train, targets = _head_inputs(prepared, loaders.plain, task.advance)
        validation = None
        if loaders.validation:
            validation = _head_inputs(prepared, loaders.validation, task.advance)
    chosen = []
    for at, head in enumerate(prepared.network.heads):
        fitted = fit_probe(
            train[at],
            targets,
            task=prepared.task,
            kind=_kind(prepared),
            validation=(validation[0][at], validation[1]) if validation else None,
            seed=prepared.recipe.seed,
            groups=prepared.dataset.groups_of(prepared.dataset.train),
        )
        install(fitted, head)
        chosen.append(fitted.c)
    if validation and prepared.task == "classification":
        return {"c": chosen, "knn": neighbors(train[0], targets, (validation[0][0], validation[1]))}
    return {"c": chosen}


def _kind(prepared: Prepared) -> Literal["softmax", "svm"]:
    return "svm" if prepared.recipe.probe == "svm" else "softmax"


def _head_inputs(
    prepared: Prepared, loader: Loader, advance: Callable[[int], None]
) -> tuple[list[Tensor], Tensor]:
    """What each head gets of all images (N, F), and their targets."""
    heads = prepared.network.heads
    inputs: list[list[Tensor]] = [[] for _ in heads]
    with ExitStack() as hooks:
        for head, into in zip(heads, inputs, strict=True):

            def keep(_: nn.Module, args: tuple[Tensor, ...], into: list[Tensor] = into) -> None:
                into.append(args[0].float().cpu())

            hooks.enter_context(head.register_forward_pre_hook(keep))
        precision = prepared.recipe.precision
        _, targets = predict(prepared.model, loader.whole(), loader.forward, precision, advance)
    return [torch.cat(parts) for parts in inputs], targets


def _best_depth(prepared: Prepared, journal: Journal) -> str:
    from zoo.finetune.results.pictures import draw_depth

    loaders = image_loaders(prepared)
    first = next(loaders.plain.whole()).inputs
    taps = find_taps(prepared.model, prepared.hierarchy, first)
    if len(taps) < 2:
        raise InvalidOption(f"{prepared.hierarchy.architecture} has features at one unit only")

    def read(loader: Loader) -> tuple[list[Tensor], Tensor]:
        batches = ((batch.inputs, batch.targets) for batch in loader.whole())
        return extract(prepared.model, taps, batches, task)

    images = len(prepared.dataset.train) + len(prepared.dataset.validation)
    with prepared.progress("reading features at all depths", images) as task:
        features, targets = read(loaders.plain)
        validation = read(loaders.validation) if loaders.validation else None
    curve = depth_curve(
        list(zip(taps, features, strict=True)),
        targets,
        validation=validation,
        task=prepared.task,
        kind=_kind(prepared),
        seed=prepared.recipe.seed,
        groups=prepared.dataset.groups_of(prepared.dataset.train),
        progress=prepared.progress,
    )
    folder = journal.run.folder
    write_whole(folder / DEPTH, [json.dumps(curve.to_json(), indent=2).encode()])
    draw_depth(curve).savefig(folder / "depth.png")
    return taps[curve.chosen].unit
