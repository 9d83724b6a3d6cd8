"""Publish what was trained as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from zoo.backbones.save import save_state
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.domain.reference import Reference
from zoo.exchange.commit import new_checkpoint
from zoo.exchange.origins import base_models
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.results.card import model_card
from zoo.finetune.setup.prepare import Prepared
from zoo.reflog import now
from zoo.store.files import add_file, add_weights
from zoo.workspace import Workspace

__all__ = ["completed", "publish"]

CARD = "README.md"


def completed(
    prepared: Prepared, weights_name: str, metrics: dict[str, float], provenance: Mapping[str, str]
) -> m.Manifest:
    """The result's manifest but for its files.

    Args:
        prepared: The run.
        weights_name: Which weights were kept: ``epoch 3``.
        metrics: On the test split.
        provenance: Of the run.
    """
    frozen, units = prepared.lowest, prepared.units
    parent = m.Parent(manifest=prepared.parent, relation="finetune", ref=prepared.base)
    return replace(
        prepared.planned.descending(prepared.known, parent),
        freeze={
            "frozen_units": frozen,
            "trainable_units": units - frozen,
            "boundary": prepared.hierarchy.boundary_name(frozen),
            "kept": weights_name,
        },
        metrics=metrics,
        provenance=provenance,
        created=now(),
    )


def publish(
    workspace: Workspace,
    model: nn.Module,
    manifest: m.Manifest,
    dataset: Dataset,
    ref: Reference,
    progress: Progress,
) -> Digest:
    """Store the module's weights and a model card under ``manifest``, and name it ``ref``."""
    with new_checkpoint(workspace, ref, "finetune") as new:
        path, card = new.scratch / "model.safetensors", new.scratch / CARD
        save_state(model.state_dict(), path)
        bases = base_models(workspace, manifest)
        card.write_text(model_card(str(ref), manifest, dataset, bases), "utf-8")
        whole = replace(
            manifest,
            weights=(add_weights(workspace.store, path, progress=progress),),
            files=(*manifest.files, add_file(workspace.store, card, name=CARD)),
        )
        return new.commit(whole)
