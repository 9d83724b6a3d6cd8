"""A zoo with real fine-tunes of a small network, for what shows lineage, differences and runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import store_weights
from fakes.derived import weights_of
from fakes.once import once
from fakes.served import Served, serving
from fakes.tuned import KINDS, drawings, quick, small_zoo

from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.workspace import Workspace

__all__ = ["HOSTILE", "QUICK", "STRANGE", "make_trained", "trained"]

HOSTILE = "<img src=x onerror=alert(1)>"
"""A class is called so."""
STRANGE = "team/strange"
QUICK: dict[str, Any] = {"device": "cpu", "image_size": 32, "batch_size": 8, "epochs": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Such a zoo, served; ``secret`` is private."""
    made = once(tmp_path_factory, "trained", make_trained)
    root = tmp_path_factory.mktemp("served") / "zoo"
    shutil.copytree(made / "zoo", root)
    with serving(root) as served:
        served.accounts.set_level("secret", level="private")
        yield served


def make_trained(root: Path) -> None:
    """``team/net`` and ``team/seed`` differ in their seed only; ``secret/child`` was made of the
    first, ``team/grand`` of that; ``team/probe`` is a probe at some depth, and ``team/strange`` is
    said to be made of ``team/base`` and is not. All are of drawings of three kinds, one of which
    has a hostile name.
    """
    data = drawings(root / "drawn <b>data")
    for part in data.iterdir():
        (part / KINDS[0]).rename(part / HOSTILE)
    with quick(), small_zoo(root) as made:
        tuned = {**QUICK, "strategy": "partial", "freeze": "50%"}
        made.edit("team/base", license="cc-by-nc-4.0")
        made.finetune("team/base", data, "team/net", **tuned)
        made.finetune("team/base", data, "team/seed", **tuned, seed=1)
        made.finetune("team/net", data, "secret/child", **tuned)
        made.finetune("secret/child", data, "team/grand", **tuned)
        made.finetune("team/base", data, "team/probe", device="cpu", strategy="probe", at="auto",
                      image_size=32)  # fmt: skip
    with closing(Workspace(root / "zoo")) as workspace:
        _strange(workspace)


def _strange(workspace: Workspace) -> None:
    """A checkpoint with weights drawn anew that names a parent."""
    _, base = workspace.names.resolve("team/base")
    draw = np.random.default_rng(11).standard_normal
    values = weights_of(workspace, "team/base")
    for name, value in values.items():
        if value.dtype == np.float32:
            values[name] = np.asarray(draw(value.shape), np.float32)
    parent = Parent(manifest=base, relation="finetune", ref="team/base")
    manifest = replace(
        workspace.store.manifest(base),
        weights=(store_weights(workspace.store, values),),
        parents=(parent,),
        license="mit",
        provenance={"source": "finetune"},
    )
    workspace.commit(manifest, Reference.parse(STRANGE), "test")
