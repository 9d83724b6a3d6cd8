"""Trust: how far a prediction can be trusted, by the calibration of the checkpoint that made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import nn

from zoo.backbones.load import Card
from zoo.backbones.surgery import backbone_of
from zoo.backbones.taps import HEAD, REFUSALS, Tap, find_tap
from zoo.backbones.unlike import Nearness
from zoo.domain.calibration import Calibration, Step
from zoo.errors import InvalidManifest, Unsupported

__all__ = ["UNTOLD", "Trust", "trust_of"]


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
    if they are to be ``calibrated``.

    Raises:
        InvalidManifest: It has numbers that are none, or is of other features.
    """
    if calibration is None:
        return UNTOLD
    temperature = calibration.temperature if calibrated else None
    if calibration.typical is None:
        return Trust(temperature, answers)
    nearness, tap = Nearness(calibration.typical), _tap(model)
    if tap.features != calibration.typical.features:
        raise InvalidManifest(
            f"its calibration is of {calibration.typical.features} features, and its head gets "
            f"{tap.features}"
        )
    return Trust(temperature, answers, nearness, tap)


def _tap(model: nn.Module) -> Tap:
    manifest = cast(Card, model.zoo).manifest
    size, backbone = manifest.preprocessing.input_size, backbone_of(manifest)
    hierarchy = backbone.hierarchy(manifest.backbone.architecture, model, input_size=size)
    image = next(model.parameters()).new_zeros(1, *size)
    try:
        return find_tap(model, hierarchy, image, HEAD)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except REFUSALS as error:
        raise Unsupported(f"the network does not run: {error}") from error
