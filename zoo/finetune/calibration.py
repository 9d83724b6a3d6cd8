"""Calibration of a network that was trained: what its validation images tell of its answers.

Test images have no part in it, but to show what came of it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.backbones.features import tapped
from zoo.backbones.taps import Tap
from zoo.backbones.trust import head_tap
from zoo.backbones.unlike import describe
from zoo.domain.calibration import Calibration, Typical
from zoo.errors import Unsupported
from zoo.finetune.features.loaders import Loader, Loaders
from zoo.finetune.loop.evaluate import predict
from zoo.finetune.results.calibrate import fitted_temperature, risk_coverage
from zoo.finetune.setup.prepare import PreparedRun

__all__ = ["calibrated"]

DESCRIBED = 1000
"""Training images, evenly spaced, whose features tell what these are like: another pass through
all of them would tell hardly more."""


HELD_OUT = 20_000
"""Validation images, evenly spaced, that are asked: of more, their features fill the memory."""


class _Outputs(NamedTuple):
    outputs: Tensor
    targets: Tensor
    features: Tensor  # (N, F); none (N, 0) where there is no tap


def calibrated(prepared: PreparedRun, parts: Loaders) -> Calibration:
    """What the network as it is comes to on the validation images of ``parts``."""
    if parts.validation is None:
        return Calibration(of="", images=0, why="no images were held out to choose on")
    loader = parts.validation.some(HELD_OUT)
    tap = _tap(prepared, loader)
    held_out = _outputs(prepared, loader, tap)
    count = len(held_out.targets)
    if not held_out.outputs.isfinite().all():
        return Calibration(of="", images=count, why="outputs for validation images are not finite")
    task, groups = prepared.task, prepared.dataset.groups
    named = [groups.get(sample.key, "") for sample in loader.batches.samples]
    outputs, targets = held_out.outputs.numpy(), held_out.targets.numpy()
    fitted = fitted_temperature(task, outputs, targets, named)
    temperature, why = (None, [fitted]) if isinstance(fitted, str) else (fitted, [])
    typical = _typical(prepared, parts.plain, tap, held_out)
    if isinstance(typical, str):
        why.append(f"what is unlike the training images is not told: {typical}")
    classes = task == "classification"
    return Calibration(
        of="",
        images=count,
        temperature=temperature,
        why="; ".join(filter(None, why)),
        steps=risk_coverage(outputs, targets, temperature or 1.0, named) if classes else (),
        typical=None if isinstance(typical, str) else typical,
    )


def _tap(prepared: PreparedRun, loader: Loader) -> Tap | str:
    """Where the features are that the head gets, or why there are none."""
    image = loader.batches.image(0, 0).unsqueeze(0).to(prepared.device)
    try:
        return head_tap(prepared.model, prepared.hierarchy, image)
    except Unsupported as error:
        return str(error)


def _outputs(prepared: PreparedRun, loader: Loader, tap: Tap | str) -> _Outputs:
    """What the network says of all images of ``loader``, with the features that its head gets."""
    if prepared.recipe.compile:  # what was compiled before does not see who looks into it
        loader = loader.into(prepared.model)
    images = len(loader.batches.samples)
    features: list[Tensor] = []
    with prepared.progress("calibrating", images) as task, ExitStack() as looking:
        if isinstance(tap, Tap):
            features = looking.enter_context(tapped(prepared.model, tap))
        answers = predict(prepared.model, loader.whole(), loader.forward, advance=task.advance)
    return _Outputs(*answers, torch.cat(features) if features else torch.empty(images, 0))


def _typical(
    prepared: PreparedRun, loader: Loader, tap: Tap | str, held_out: _Outputs
) -> Typical | str:
    if isinstance(tap, str):
        return tap
    known = _outputs(prepared, loader.some(DESCRIBED), tap)
    labels = known.targets.numpy()
    if prepared.task != "classification":
        labels = np.zeros(len(labels), np.int64)
    return describe(known.features.numpy(), labels, held_out.features.numpy())
