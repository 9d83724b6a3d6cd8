"""What training costs: from how long the network takes for an image, and how much of that is left
above a cut.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate

import torch

from zoo.backbones.devices import wait_for
from zoo.finetune.features.loaders import image_loaders
from zoo.finetune.setup.prepare import PreparedRun

__all__ = ["Speed", "speed_of"]

BACKWARD = 3.0
"""How often what is trained is computed for an image of a step: forward, and twice as much
backward."""
IMAGES = 8
RUNS = 6
"""How often it is measured: the first takes longer, and so do those beside other work."""
LONGEST = 1.0
"""Seconds from which on twice is enough."""
OVERHEAD = 1.0
"""Seconds that a trial takes beside training, as a guess before one was made: network and images
are opened, a probe is fitted."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How long a network takes.

    Attributes:
        image: Seconds of one forward pass, for each image.
        entered: The share of that time that has passed when each unit is entered, in order. A unit
            that is never entered has the share of the one before it.
    """

    image: float
    entered: tuple[float, ...]

    def above(self, boundary: int) -> float:
        """The share of the time that is spent above so many frozen units."""
        return 1.0 if not boundary else 1.0 - [*self.entered, 1.0][boundary]

    def epoch(self, boundary: int, train: int, held_out: int) -> float:
        """Seconds of an epoch, what is below the boundary being cached."""
        return self.image * self.above(boundary) * (BACKWARD * train + held_out)

    def begin(self, images: int) -> float:
        """Seconds until the first epoch: what is frozen runs once, and the features of a probe."""
        return OVERHEAD + self.image * images


def speed_of(prepared: PreparedRun) -> Speed:
    """Measure it by the fastest of some runs of a few images, as a probe does them."""
    model, units = prepared.model.eval(), prepared.hierarchy.units
    loader = image_loaders(prepared).plain
    images = torch.stack(
        [loader.batches.image(at, 0) for at in range(min(IMAGES, len(loader.batches.samples)))]
    ).to(prepared.device)
    entered = [0.0] * len(units)
    began = 0.0

    def passing(at: int) -> Callable[..., None]:
        def note(*_: object) -> None:
            wait_for(prepared.device)
            entered[at] = time.perf_counter() - began

        return note

    fastest, shares = math.inf, entered
    with ExitStack() as hooks, torch.no_grad():
        for at, unit in enumerate(units):
            module = model.get_submodule(unit.modules[0])
            hooks.enter_context(module.register_forward_pre_hook(passing(at)))
        ends = time.perf_counter() + LONGEST
        for run in range(RUNS):
            began = time.perf_counter()
            if run > 1 and began > ends:
                break
            model(images)
            wait_for(prepared.device)
            whole = time.perf_counter() - began
            if whole < fastest:
                fastest, shares = whole, [min(moment / whole, 1.0) for moment in entered]
    return Speed(fastest / len(images), tuple(accumulate(shares, max)))
