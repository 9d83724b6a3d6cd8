"""Run a recipe: load the base, freeze, swap the head, train, evaluate, publish."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo import plugins
from zoo.backbones.describe import describe
from zoo.backbones.freeze import freeze
from zoo.backbones.load import load
from zoo.backbones.preprocess import inference_transform
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import DiskFull, InvalidOption
from zoo.finetune.data import Folders, ImageSet, Split, loader, read_folders, split
from zoo.finetune.device import pick_device
from zoo.finetune.loop import evaluate, train
from zoo.finetune.publish import provenance, publish
from zoo.moves import now
from zoo.workspace import Workspace

__all__ = ["Result", "finetune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a fine-tune made.

    Attributes:
        ref: The name it was saved under.
        manifest: The checkpoint.
        parent: What it derives from.
        freeze: ``frozen_units`` and ``trainable_units`` as counts; ``boundary``, the first unit
            that was trained, or ``head``.
        metrics: Results on the held-out split, ``accuracy`` among them.
        seconds: Wall-clock time of the whole run.
    """

    ref: Reference
    manifest: Digest
    parent: Digest
    freeze: dict[str, Any]
    metrics: dict[str, float]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "ref": str(self.ref),
            "manifest": str(self.manifest),
            "parent": str(self.parent),
            "freeze": self.freeze,
            "metrics": self.metrics,
            "seconds": round(self.seconds, 3),
        }


def finetune(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    save: Reference,
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> Result:
    """Fine-tune the checkpoint ``base`` after ``recipe`` and save the result under ``save``.

    Raises:
        UnknownName: No such checkpoint, or head.
        InvalidFreeze: The network has no such depth.
        InvalidData: The images cannot be trained on; nothing was trained.
        InvalidOption: The network does not take images of that size, or the device is not here.
        Diverged: The loss became no number; nothing was saved.
    """
    began = time.monotonic()
    workspace.check_free(save)
    device = pick_device(device)
    base_ref, parent = workspace.resolve(base)
    known = workspace.store.manifest(parent)
    hierarchy = describe(workspace.registry, known.backbone.plugin, known.backbone.architecture)
    boundary = hierarchy.boundary(recipe.freeze)
    _check_space(workspace, known)
    folders = read_folders(Path(recipe.data).expanduser(), progress)
    planned = _planned(known, hierarchy, boundary, recipe, folders.classes)

    torch.manual_seed(recipe.seed)
    model = load(workspace.store, parent)
    _give_head(model, planned)
    _check_size(model, planned.preprocessing, hierarchy.architecture)
    freeze(model, hierarchy, boundary)
    parts = split(folders, recipe.test_share, recipe.seed)
    metrics = _train(model.to(device), folders, parts, planned, recipe, progress)
    ancestry = m.Parent(
        manifest=parent, relation="finetune", ref=str(base_ref or base), parents=known.parents
    )
    manifest = replace(
        planned,
        parents=(ancestry,),
        metrics=metrics,
        provenance=provenance(device, folders, parts),
        created=now(),
    )
    return Result(
        ref=save,
        manifest=publish(workspace, model, manifest, save, progress=progress),
        parent=parent,
        freeze=dict(manifest.freeze or {}),
        metrics=metrics,
        seconds=time.monotonic() - began,
    )


def _planned(
    base: m.Manifest, hierarchy: Hierarchy, boundary: int, recipe: Recipe, classes: tuple[str, ...]
) -> m.Manifest:
    """The result's manifest as far as it is known before training."""
    preprocessing = base.preprocessing
    if size := recipe.image_size:
        preprocessing = replace(preprocessing, input_size=(preprocessing.input_size[0], size, size))
    return replace(
        base,
        head=m.Head(kind=recipe.head, num_classes=len(classes)),
        backbone=replace(base.backbone, options={"num_classes": len(classes)}),
        preprocessing=preprocessing,
        classes=classes,
        weights=(),
        files=(),
        recipe=recipe.to_json(),
        freeze={
            "frozen_units": boundary,
            "trainable_units": len(hierarchy.units) - boundary,
            "boundary": hierarchy.boundary_name(boundary),
        },
    )


def _give_head(model: nn.Module, manifest: m.Manifest) -> None:
    """Put a new head of the manifest's kind in the place of the old one."""
    head, outputs = plugins.head(manifest.head.kind), manifest.head.num_classes
    backbone = plugins.backbone(manifest.backbone.plugin)
    backbone.replace_head(model, outputs, lambda features: head.build(features, outputs))


def _train(
    model: nn.Module,
    folders: Folders,
    parts: Split,
    manifest: m.Manifest,
    recipe: Recipe,
    progress: Progress,
) -> dict[str, float]:
    """Train the model, and measure it on the images that were held out."""
    head = plugins.head(recipe.head)
    transform = inference_transform(manifest.preprocessing)
    training = ImageSet(folders, parts.train, transform)
    held_out = ImageSet(folders, parts.test, transform)
    order = torch.Generator().manual_seed(recipe.seed)
    batches = loader(training, recipe.batch_size, generator=order)
    with progress("training", recipe.epochs * len(training)) as task:
        head_modules = plugins.backbone(manifest.backbone.plugin).head_modules(model)
        train(model, batches, head.loss(), recipe, head_modules, task)
    with progress("testing", len(held_out)) as task:
        logits, labels = evaluate(model, loader(held_out, recipe.batch_size, generator=None), task)
    return {**head.metrics(logits, labels), "test_images": float(len(labels))}


def _check_space(workspace: Workspace, base: m.Manifest) -> None:
    """Before hours of training rather than after: the result, and the file it is stored from."""
    if shutil.disk_usage(workspace.root).free < 2 * base.logical_bytes:
        raise DiskFull(workspace.root)


@torch.no_grad()
def _check_size(model: nn.Module, preprocessing: m.Preprocessing, architecture: str) -> None:
    """Networks with a fixed input size (many transformers) refuse others in words of their own."""
    try:
        model.eval()(torch.zeros(1, *preprocessing.input_size))
    except (AssertionError, RuntimeError, ValueError) as error:
        _, height, width = preprocessing.input_size
        raise InvalidOption(
            f"{architecture} does not take images of {height} x {width} pixels: {error}"
        ) from error
