"""Publish what was trained as a checkpoint."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version

from blake3 import blake3
from torch import nn

from zoo.backbones.save import save_state
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.finetune.data import Folders, Split
from zoo.store.files import add_weights
from zoo.workspace import Workspace

__all__ = ["provenance", "publish"]


def publish(
    workspace: Workspace,
    model: nn.Module,
    manifest: Manifest,
    ref: Reference,
    *,
    progress: Progress = silent,
) -> Digest:
    """Store the module's weights under ``manifest``, completed with them, and name it ``ref``."""
    with workspace.store.upload(), workspace.scratch() as scratch:
        path = scratch / "model.safetensors"
        save_state(model.state_dict(), path)
        weights = add_weights(workspace.store, path, progress=progress)
        return workspace.commit(replace(manifest, weights=(weights,)), ref, "finetune")


def provenance(device: str, folders: Folders, parts: Split) -> dict[str, str]:
    """What the result depends on beside recipe and parent: data, split, device and versions."""
    held_out = "\n".join(folders.samples[index][0] for index in parts.test)
    return {
        "source": "finetune",
        "data_digest": folders.digest,
        "test_split_digest": f"blake3:{blake3(held_out.encode()).hexdigest()}",
        "device": device,
        "python": platform.python_version(),
        **{name: version(name) for name in ("zoo-registry", "torch", "timm")},
    }
