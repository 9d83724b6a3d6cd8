"""The calibration of a checkpoint that is here, read from its file."""

from __future__ import annotations

import logging

from zoo.domain.calibration import CALIBRATION_FILE, Calibration, Step, subject
from zoo.domain.limits import CALIBRATION_BYTES
from zoo.domain.manifest import Manifest
from zoo.errors import InvalidOption, Unsupported, ZooError
from zoo.store import Store
from zoo.store.encoded import read_object

__all__ = ["answers_for", "calibration_of"]

LOG = logging.getLogger("zoo")


def calibration_of(store: Store, manifest: Manifest) -> Calibration | None:
    """What a checkpoint keeps of how far its answers can be trusted; None if it keeps nothing, or
    what it keeps is of other weights, or cannot be read, which is told.
    """
    file = next((file for file in manifest.files if file.name == CALIBRATION_FILE), None)
    if file is None:
        return None
    if file.size > CALIBRATION_BYTES:
        LOG.warning("its %s is left out: it has %d bytes", CALIBRATION_FILE, file.size)
        return None
    try:
        data = b"".join(read_object(store, file.object, least=file.size))[: file.size]
        calibration = Calibration.from_bytes(data)
    except ZooError as error:
        LOG.warning("its %s is left out: %s", CALIBRATION_FILE, error)
        return None
    if calibration.of != subject(manifest):
        LOG.warning("its %s is left out: it is of other weights or settings", CALIBRATION_FILE)
        return None
    return calibration


def answers_for(
    name: str, calibration: Calibration | None, accuracy: float, *, calibrated: bool
) -> Step:
    """From how sure on the checkpoint ``name`` answers, to be right so often.

    Raises:
        InvalidOption: The accuracy is no share, or none of its answers were so accurate; or they
            are not to be ``calibrated``, where it keeps a temperature.
        Unsupported: It is not known how accurate they are.
    """
    if not 0 < accuracy <= 1:
        text = "abstain at must be a fraction such as 0.9, above 0 and at most 1"
        raise InvalidOption(f"{text}, not {accuracy:g}")
    if calibration is None or not calibration.steps:
        raise Unsupported(
            f"{name} keeps no table of how accurate its answers are by how sure it is: a fine-tune "
            "for classes makes one of its validation images",
            hint="zoo finetune … --save NAME makes one",
        )
    if calibration.temperature and not calibrated:
        raise InvalidOption(
            "abstaining takes the calibration: the table of answers is by calibrated probabilities"
        )
    if step := calibration.step_for(accuracy):
        return step
    best = max(calibration.steps, key=lambda step: step.accuracy)
    raise InvalidOption(
        f"no answers of {name} are as accurate as {accuracy:g}: on its {calibration.images} "
        f"validation images the best are {best.accuracy:.4f}, where the probability is "
        f"{best.confidence:.3f} or more"
    )
