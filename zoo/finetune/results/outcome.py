"""Warnings about a result: why it is no better than no training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from zoo.domain.task import SCORE
from zoo.finetune.dataset.batches import targets_of
from zoo.finetune.results.journal import Line
from zoo.finetune.setup.prepare import Prepared

__all__ = ["warning"]

RISE = 2.0
"""A training loss so many times that of its first step, and of a constant answer, has diverged:
less may be the noise of batches."""
LEAST_SHARE = 1e-6
"""Of the images, for a label that all or none of them have: its logit stays finite."""


def warning(prepared: Prepared, lines: Sequence[Line], metrics: Mapping[str, float]) -> str:
    """Why the result is no better than no training; empty if it is better.

    ``lines`` are those of the journal, ``metrics`` on the test split.
    """
    reasons = (*_diverged(prepared, lines), *_chance(prepared, metrics), *_start(prepared, lines))
    return "; ".join(reasons)


def _diverged(prepared: Prepared, lines: Sequence[Line]) -> Iterator[str]:
    steps = [line["loss"] for line in lines if line["kind"] == "step"]
    epochs = [line["train_loss"] for line in lines if "train_loss" in line]
    if not steps or not epochs:
        return
    targets = targets_of(prepared.dataset.train, prepared.task).to(prepared.device)
    answers = _constant(prepared).to(prepared.device).expand(len(targets), -1)
    bound = max(steps[0], float(prepared.loss(answers, targets)))
    if not epochs[-1] <= RISE * bound:
        yield (
            f"training diverged: its loss was {steps[0]:.4g} in the first step and "
            f"{epochs[-1]:.4g} in the last epoch (try a smaller learning rate)"
        )


def _chance(prepared: Prepared, metrics: Mapping[str, float]) -> Iterator[str]:
    name = SCORE[prepared.task]
    targets = targets_of(prepared.dataset.test, prepared.task)
    answers = _constant(prepared).expand(len(targets), -1)
    reached = prepared.head.metrics(answers, targets, prepared.task)[name]
    if not metrics[name] > reached:
        yield (
            f"no better than chance: the same answer for every test image has {_metric(name)} "
            f"{reached:.4f}"
        )


def _start(prepared: Prepared, lines: Sequence[Line]) -> Iterator[str]:
    """Where training began with a probe, and no epoch or blend has a better score than that."""
    name = SCORE[prepared.task]
    probes = [line[name] for line in lines if line["kind"] == "probe" and name in line]
    later = [line[name] for line in lines if line["kind"] in ("epoch", "blend") and name in line]
    if probes and later and not max(later) > probes[-1]:
        yield (
            f"training gained nothing over the probe that it began with: {_metric(name)} on the "
            f"validation images {probes[-1]:.4f} before, {max(later):.4f} at best after"
        )


def _constant(prepared: Prepared) -> Tensor:
    """The answer (1, K) that fits all training images best: shares as logits, or means."""
    targets = targets_of(prepared.dataset.train, prepared.task)
    if prepared.task == "regression":
        return targets.mean(dim=0, keepdim=True)
    if prepared.task == "multi-label":
        return targets.mean(dim=0, keepdim=True).logit(LEAST_SHARE)
    counts = torch.bincount(targets, minlength=len(prepared.dataset.classes))
    return (counts.float() / len(targets)).clamp(LEAST_SHARE).log()[None]


def _metric(name: str) -> str:
    return name.replace("_", " ")
