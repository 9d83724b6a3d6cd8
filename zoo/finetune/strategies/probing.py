"""Fit the head on codes before anything is trained, and choose the unit they are taken at."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones import codes as c
from zoo.domain.progress import Progress
from zoo.errors import InvalidOption
from zoo.finetune.features.loader import Feed
from zoo.finetune.features.loaders import Feeds, image_feeds
from zoo.finetune.loop.learner import outputs
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup.prepare import Prepared, truncated
from zoo.finetune.strategies.depth import depth_curve
from zoo.finetune.strategies.probe import fit_probe, install, neighbours
from zoo.store.atomic import write_whole

__all__ = ["at_depth", "probe_heads"]

DEPTH = "depth.json"


def at_depth(prepared: Prepared, journal: Journal, progress: Progress) -> Prepared:
    """The network ended at the unit that the recipe names, or at the one that does best.

    That one is found on what is trained on and chosen on; the curve over all depths is kept in the
    run's folder.

    Raises:
        UnknownName: It has no such unit.
        Unsupported: What is there cannot be pooled.
    """
    at = prepared.recipe.at
    if at == "auto":
        first = prepared.processes.first
        at = prepared.processes.share(_best_depth(prepared, journal, progress) if first else c.HEAD)
    return prepared if at == c.HEAD else truncated(prepared, at)


def probe_heads(prepared: Prepared, feeds: Feeds, progress: Progress) -> dict[str, Any]:
    """Fit a probe on what each head gets, and give it to the head.

    Returns:
        For the journal: the C of each, and what the nearest neighbours' vote would reach.
    """
    images = len(prepared.dataset.train) + len(prepared.dataset.validation)
    with progress("reading codes", images) as task:
        train = _entering(prepared, feeds.plain, task.advance)
        held = _entering(prepared, feeds.validation, task.advance) if feeds.validation else None
    found: dict[str, Any] = {"c": []}
    for at, head in enumerate(prepared.network.heads):
        probe = fit_probe(
            train[0][at],
            train[1],
            task=prepared.task,
            kind="svm" if prepared.recipe.probe == "svm" else "softmax",
            validation=(held[0][at], held[1]) if held else None,
            seed=prepared.recipe.seed,
            groups=prepared.dataset.groups_of(prepared.dataset.train),
        )
        install(probe, head)
        found["c"].append(probe.c)
    if held and prepared.task == "classification":
        found["knn"] = neighbours(train[0][0], train[1], (held[0][0], held[1]))
    return found


def _entering(prepared: Prepared, feed: Feed, advance: Any) -> tuple[list[Tensor], Tensor]:
    """What each head gets of all images (N, F), and their targets."""
    kept: list[list[Tensor]] = [[] for _ in prepared.network.heads]
    targets = []
    with ExitStack() as hooks:
        for head, into in zip(prepared.network.heads, kept, strict=True):
            hooks.enter_context(head.register_forward_pre_hook(_keeper(into)))
        batches = outputs(prepared.model, feed.whole(), feed.forward, prepared.recipe.precision)
        for _, target in batches:
            targets.append(target.cpu())
            advance(len(target))
    return [torch.cat(parts) for parts in kept], torch.cat(targets)


def _keeper(into: list[Tensor]) -> Any:
    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        into.append(args[0].float().cpu())

    return keep


def _best_depth(prepared: Prepared, journal: Journal, progress: Progress) -> str:
    from zoo.finetune.results.pictures import draw_depth

    feeds = image_feeds(prepared)
    first = next(feeds.plain.whole()).inputs
    taps = c.find_taps(prepared.model, prepared.hierarchy, first)
    if len(taps) < 2:
        raise InvalidOption(f"{prepared.hierarchy.architecture} has codes at one place only")

    def read(feed: Feed) -> tuple[list[Tensor], Tensor]:
        batches = ((batch.inputs, batch.targets) for batch in feed.whole())
        return c.extract(prepared.model, taps, batches, task)

    images = len(prepared.dataset.train) + len(prepared.dataset.validation)
    held: tuple[list[Tensor], Tensor] | None = None
    with progress("reading codes at all depths", images) as task:
        found, targets = read(feeds.plain)
        if feeds.validation:
            held = read(feeds.validation)
    curve = depth_curve(
        list(zip(taps, found, strict=True)),
        targets,
        validation=held,
        task=prepared.task,
        kind="svm" if prepared.recipe.probe == "svm" else "softmax",
        seed=prepared.recipe.seed,
        groups=prepared.dataset.groups_of(prepared.dataset.train),
        progress=progress,
    )
    folder = journal.run.folder
    write_whole(folder / DEPTH, [json.dumps(curve.to_json(), indent=2).encode()])
    draw_depth(curve).savefig(folder / "depth.png")
    return taps[curve.chosen].unit
