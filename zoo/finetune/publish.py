"""Publish what was trained as a checkpoint."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import nn

from zoo.backbones.save import save_state
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.domain.reference import Reference
from zoo.exchange.publishing import base_models
from zoo.finetune.card import model_card
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.prepare import Prepared
from zoo.moves import now
from zoo.store.files import add_file, add_weights
from zoo.workspace import Workspace

__all__ = ["completed", "publish"]

CARD = "README.md"
LIBRARIES = ("zoo-registry", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn",
             "pillow")  # fmt: skip


def completed(prepared: Prepared, kept: str, metrics: dict[str, float]) -> m.Manifest:
    """The result's manifest but for its files.

    Args:
        prepared: The run.
        kept: Which weights were kept: ``epoch 3``.
        metrics: On the test split.
    """
    frozen, units = min(prepared.boundaries, default=len(prepared.hierarchy.units)), prepared.units
    parent = m.Parent(
        manifest=prepared.parent, relation="finetune", ref=prepared.base,
        parents=prepared.known.parents,
    )  # fmt: skip
    return replace(
        prepared.planned,
        parents=(parent,),
        freeze={
            "frozen_units": frozen,
            "trainable_units": units - frozen,
            "boundary": prepared.hierarchy.boundary_name(frozen),
            "kept": kept,
        },
        metrics=metrics,
        provenance=_provenance(prepared),
        created=now(),
    )


def publish(
    workspace: Workspace,
    model: nn.Module,
    manifest: m.Manifest,
    dataset: Dataset,
    ref: Reference,
    *,
    progress: Progress,
) -> Digest:
    """Store the module's weights and a model card under ``manifest``, and name it ``ref``."""
    with workspace.store.upload(), workspace.scratch() as scratch:
        path, card = scratch / "model.safetensors", scratch / CARD
        save_state(model.state_dict(), path)
        bases = base_models(workspace, manifest.parents)
        card.write_text(model_card(str(ref), manifest, dataset, bases), "utf-8")
        whole = replace(
            manifest,
            weights=(add_weights(workspace.store, path, progress=progress),),
            files=(*manifest.files, add_file(workspace.store, card, name=CARD)),
        )
        return workspace.commit(whole, ref, "finetune")


def _provenance(prepared: Prepared) -> dict[str, str]:
    """What the result depends on beside recipe and parent: data, split, device, processes, threads
    (sums are taken in their order) and versions.
    """
    dataset = prepared.dataset
    return {
        "source": "finetune",
        "data_digest": dataset.digest,
        "split_digest": dataset.split_digest,
        "skipped_images": str(len(dataset.skipped)),
        "device": prepared.device.type,
        "processes": str(prepared.processes.size),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }
