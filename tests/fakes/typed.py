"""The program in this process, and a small family of checkpoints that no network is needed for."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, tensors

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Parent
from zoo.workspace import Workspace
from zoo_cli.main import main

__all__ = ["BASE", "CONV", "TUNED", "Family", "Typed", "family", "typed"]

BASE, TUNED = "team/base", "team/tuned"
CONV = "layer1.0.conv.weight"
"""The one tensor that is large enough to be sent as a difference."""


@dataclass(frozen=True)
class Typed:
    """What a command line left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def typed(*arguments: object) -> Typed:
    """Run ``zoo`` in this process; an exception that it lets through fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return Typed(left.value.code, out.getvalue(), err.getvalue())


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
            return workspace.store.manifest(workspace.resolve(name)[1])

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
