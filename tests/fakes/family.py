"""A small family of checkpoints that no network is needed for."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fakes.checkpoints import add_checkpoint, tensors

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Parent
from zoo.workspace import Workspace

__all__ = ["BASE", "CONV", "TUNED", "Family", "family"]

BASE, TUNED = "team/base", "team/tuned"
CONV = "layer1.0.conv.weight"
"""The one tensor that is large enough to be sent as a difference."""


@dataclass(frozen=True)
class Family:
    """A zoo with a base, and a checkpoint of which one tensor is a little other.

    Attributes:
        home: The zoo.
        base, tuned: The manifests.
    """

    home: Path
    base: Digest
    tuned: Digest

    def manifest(self, name: str = TUNED) -> Manifest:
        with contextlib.closing(Workspace(self.home)) as workspace:
            return workspace.store.manifest(workspace.names.resolve(name)[1])

    def conv(self, name: str) -> Digest:
        """The object of `CONV` in a checkpoint."""
        return next(each.object for each in self.manifest(name).tensors if each.name == CONV)


def family(home: Path) -> Family:
    """Make one in ``home``."""
    with contextlib.closing(Workspace.create(home)) as workspace:
        values = tensors()
        base = add_checkpoint(workspace, BASE, values)
        parent = Parent(manifest=base, relation="finetune", ref=BASE)
        changed = {**values, CONV: values[CONV] * np.float32(1.0001)}
        tuned = add_checkpoint(workspace, TUNED, changed, parents=(parent,))
        return Family(home, base, tuned)
