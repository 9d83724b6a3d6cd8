"""The calibration of a checkpoint that is here, read from its file."""

from __future__ import annotations

import logging

from zoo.domain.calibration import CALIBRATION_FILE, Calibration, subject
from zoo.domain.limits import CALIBRATION_BYTES
from zoo.domain.manifest import Manifest
from zoo.errors import ZooError
from zoo.store import Store
from zoo.store.encoded import read_object

__all__ = ["calibration_of"]

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
        found = Calibration.from_bytes(data)
    except ZooError as error:
        LOG.warning("its %s is left out: %s", CALIBRATION_FILE, error)
        return None
    if found.of != subject(manifest):
        LOG.warning("its %s is left out: it is of other weights or settings", CALIBRATION_FILE)
        return None
    return found
