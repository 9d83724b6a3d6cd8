"""Checkpoints made by hand from real weights, as training would make them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from fakes.checkpoints import Tensors, store_weights
from safetensors.numpy import load_file

from zoo.domain.digest import Digest
from zoo.domain.manifest import Head, Parent
from zoo.domain.reference import Reference
from zoo.store.files import restore_file
from zoo.workspace import Workspace

__all__ = ["FREEZE", "LITE0", "LITE1", "TRAINED", "TUNED", "derive", "train", "weights_of"]

LITE0, LITE1 = "timm/tf_efficientnet_lite0.in1k", "timm/tf_efficientnet_lite1.in1k"
TUNED = "team/digits"
FREEZE = {"frozen_units": 12, "trainable_units": 6, "boundary": "blocks.5.0"}
TRAINED = ("blocks.5.", "blocks.6.", "conv_head", "bn2")
"""What comes behind the boundary, the head left out."""


def weights_of(workspace: Workspace, name: str) -> Tensors:
    """The tensors of a checkpoint, free to be changed."""
    _, digest = workspace.names.resolve(name)
    with workspace.scratch() as scratch:
        path = scratch / "weights.safetensors"
        restore_file(workspace.store, workspace.store.manifest(digest).weights[0], path)
        return dict(load_file(path))


def train(values: Tensors, parts: tuple[str, ...], size: float = 0.01) -> Tensors:
    """Move tensors whose names begin so by a share of their own length, and give a head for ten
    classes.
    """
    draw = np.random.default_rng(7)
    value: Any
    for name, value in values.items():
        if name.startswith(parts) and value.dtype == np.float32:
            noise = draw.standard_normal(value.shape).astype(np.float32)
            length = float(np.linalg.norm(value) / np.linalg.norm(noise))
            values[name] = (value + noise * length * size).astype(np.float32)
    values["classifier.weight"] = draw.standard_normal((10, 1280)).astype(np.float32)
    values["classifier.bias"] = draw.standard_normal(10).astype(np.float32)
    return values


def derive(workspace: Workspace, base: str, name: str, values: Tensors, **known: Any) -> Digest:
    """Keep tensors as a fine-tune of ``base``, with what else a manifest says."""
    _, parent = workspace.names.resolve(base)
    manifest = workspace.store.manifest(parent)
    made = replace(
        manifest,
        weights=(store_weights(workspace.store, values),),
        **{
            "head": Head(kind="linear", num_classes=10),
            "classes": tuple(map(str, range(10))),
            "provenance": {"source": "finetune"},
            "parents": (Parent(manifest=parent, relation="finetune", ref=base),),
            "ancestors": {parent: manifest.parents} if manifest.parents else {},
            "freeze": FREEZE,
            "recipe": {"data": "/data/digits", "lr": 0.003},
            "metrics": {"accuracy": 0.97},
            "created": "2026-01-02T03:04:05Z",
            **known,
        },
    )
    return workspace.commit(made, Reference.parse(name), "test")
