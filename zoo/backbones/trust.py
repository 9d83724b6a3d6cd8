"""Trust: how far a prediction can be trusted, by the calibration of the checkpoint that made it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from zoo.backbones.load import Card, hierarchy_of
from zoo.backbones.taps import HEAD, REFUSALS, Tap, find_tap
from zoo.backbones.unlike import Nearness
from zoo.domain.calibration import CALIBRATION_FILE, Calibration, Step
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import InvalidManifest, Unsupported

__all__ = ["UNTOLD", "Trust", "head_tap", "trust_of"]

LOG = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class Trust:
    """How far predictions of a network can be trusted.

    Attributes:
        temperature: What outputs are divided by before they become probabilities; None: nothing.
        answers: How sure it must be to answer; None: it always answers.
        nearness: Tells what is unlike the training images, by the features at ``tap``.
        tap: Where these are.
    """

    temperature: float | None = None
    answers: Step | None = None
    nearness: Nearness | None = field(default=None, repr=False)
    tap: Tap | None = None


UNTOLD = Trust()
"""Of a checkpoint of which nothing is known."""


def trust_of(
    model: nn.Module, calibration: Calibration | None, answers: Step | None, *, calibrated: bool
) -> Trust:
    """What a ``calibration`` says of the predictions of a loaded network; its temperature is taken
    if they are to be ``calibrated``. What it says of the training images is left out, which is
    told, if it has numbers that are none or is of other features.
    """
    if calibration is None:
        return UNTOLD
    temperature = calibration.temperature if calibrated else None
    if calibration.typical is None:
        return Trust(temperature, answers)
    try:
        nearness, tap = Nearness(calibration.typical), _tap(model)
    except (InvalidManifest, Unsupported) as error:
        problem = str(error)
    else:
        if tap.features == calibration.typical.features:
            return Trust(temperature, answers, nearness, tap)
        problem = f"it is of {calibration.typical.features} features, and the head gets "
        problem += str(tap.features)
    LOG.warning(
        "what is unlike the training images is left out of %s: %s", CALIBRATION_FILE, problem
    )
    return Trust(temperature, answers)


def _tap(model: nn.Module) -> Tap:
    size = cast(Card, model.zoo).manifest.preprocessing.input_size
    return head_tap(model, hierarchy_of(model), next(model.parameters()).new_zeros(1, *size))


def head_tap(model: nn.Module, hierarchy: Hierarchy, images: Tensor) -> Tap:
    """Where the features are that the head gets; ``images`` as for `zoo.backbones.taps.find_tap`.

    Raises:
        Unsupported: The network does not run, or what its head gets is no tensor of features.
    """
    try:
        return find_tap(model, hierarchy, images, HEAD)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except REFUSALS as error:
        raise Unsupported(f"the network does not run: {error}") from error
