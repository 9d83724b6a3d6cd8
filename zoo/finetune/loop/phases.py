"""The loaders of each phase of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from zoo.finetune.features.loaders import Loaders, make_loaders
from zoo.finetune.features.taught import TaughtLoader
from zoo.finetune.loop.evaluate import not_synced
from zoo.finetune.setup.prepare import PreparedRun
from zoo.lookup.runs import ACTIVATIONS

__all__ = ["phase_loaders"]


def phase_loaders(
    folder: Path, prepared: PreparedRun, remark: Callable[[str], None]
) -> Callable[[int], Loaders]:
    """What freezes so many units, and gives the loaders for that: kept until others are made."""
    kept: dict[int, Loaders] = {}

    def loaders(boundary: int) -> Loaders:
        if boundary not in kept:
            kept.clear()  # before: the memory of a device may not have room for both
            kept[boundary] = make(boundary)
        return kept[boundary]

    def make(boundary: int) -> Loaders:
        prepared.freeze(boundary)
        parts = make_loaders(prepared, boundary, folder / ACTIVATIONS)
        if prepared.teacher:
            inner = parts.train
            taught = TaughtLoader(
                inner.batches, inner.device, inner.ranks, inner=inner, teacher=prepared.teacher
            )
            parts = replace(parts, train=taught)
        remark(parts.remark)
        remark(not_synced(prepared))
        return parts

    return loaders
