"""Run a recipe: load the base, freeze, swap the head, train, evaluate, publish."""

from __future__ import annotations

import platform
import shutil
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from torch import nn

from zoo import plugins
from zoo.backbones.describe import describe
from zoo.backbones.freeze import freeze
from zoo.backbones.load import load
from zoo.backbones.preprocess import inference_transform
from zoo.backbones.save import save_state
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import DiskFull, InvalidOption
from zoo.finetune.data import Folders, ImageSet, loader, read_folders, split
from zoo.finetune.loop import evaluate, train
from zoo.store.files import add_weights
from zoo.workspace import Workspace, now

__all__ = ["Result", "finetune", "pick_device"]


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


def pick_device(device: str) -> str:
    """``auto`` becomes the accelerator if there is one; anything else must be usable.

    Raises:
        InvalidOption: There is no such device here.
    """
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found.type if found else "cpu"
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = torch.accelerator.current_accelerator(check_available=True)
        usable = f"auto, cpu, {found.type}" if found else "auto, cpu"
        text = f"the device '{device}' cannot be used here; these can: {usable}"
        raise InvalidOption(text) from error
    return device


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
    """
    began = time.monotonic()
    workspace.check_free(save)
    device = pick_device(device)
    base_ref, parent = workspace.resolve(base)
    base_manifest = workspace.store.manifest(parent)
    hierarchy = describe(
        workspace.registry, base_manifest.backbone.plugin, base_manifest.backbone.architecture
    )
    boundary = hierarchy.boundary(recipe.freeze)
    _check_space(workspace, base_manifest)
    folders = read_folders(Path(recipe.data).expanduser(), progress)

    torch.manual_seed(recipe.seed)
    model = load(workspace.store, parent)
    preprocessing = _preprocessing(base_manifest.preprocessing, recipe.image_size)
    kind = plugins.head(recipe.head)
    backbone = plugins.backbone(base_manifest.backbone.plugin)
    outputs = len(folders.classes)
    backbone.replace_head(model, outputs, lambda features: kind.build(features, outputs))
    _check_size(model, preprocessing, hierarchy.architecture)
    freeze(model, hierarchy, boundary)
    model.to(device)

    indices = split(folders, recipe.test_share, recipe.seed)
    transform = inference_transform(preprocessing)
    training, held_out = (ImageSet(folders, part, transform) for part in indices)
    order = torch.Generator().manual_seed(recipe.seed)
    batches = loader(training, recipe.batch_size, generator=order)
    with progress("training", recipe.epochs * len(training)) as task:
        train(model, batches, kind.loss(), recipe, hierarchy.head.modules, task)
    with progress("testing", len(held_out)) as task:
        logits, labels = evaluate(model, loader(held_out, recipe.batch_size, generator=None), task)
    metrics = {**kind.metrics(logits, labels), "test_images": float(len(labels))}

    plan = {
        "frozen_units": boundary,
        "trainable_units": len(hierarchy.units) - boundary,
        "boundary": hierarchy.boundary_name(boundary),
    }
    manifest = replace(
        base_manifest,
        head=m.Head(kind=recipe.head, num_classes=outputs),
        backbone=replace(base_manifest.backbone, options={"num_classes": outputs}),
        preprocessing=preprocessing,
        classes=folders.classes,
        weights=(),
        files=(),
        parents=(
            m.Parent(
                manifest=parent,
                relation="finetune",
                ref=str(base_ref or base),
                parents=base_manifest.parents,
            ),
        ),
        recipe=recipe.to_json(),
        freeze=plan,
        metrics=metrics,
        provenance=_provenance(device, folders, indices),
        created=now(),
    )
    digest = publish(workspace, model, manifest, save, progress=progress)
    seconds = time.monotonic() - began
    return Result(
        ref=save, manifest=digest, parent=parent, freeze=plan, metrics=metrics, seconds=seconds
    )


def publish(
    workspace: Workspace,
    model: nn.Module,
    manifest: m.Manifest,
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


def _check_space(workspace: Workspace, base: m.Manifest) -> None:
    """Before hours of training rather than after: the result, and the file it is stored from."""
    if shutil.disk_usage(workspace.root).free < 2 * base.logical_bytes:
        raise DiskFull(workspace.root)


def _preprocessing(base: m.Preprocessing, image_size: int | None) -> m.Preprocessing:
    if image_size is None:
        return base
    return replace(base, input_size=(base.input_size[0], image_size, image_size))


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


def _provenance(
    device: str, folders: Folders, indices: tuple[list[int], list[int]]
) -> dict[str, str]:
    held_out = "\n".join(folders.samples[index][0] for index in indices[1])
    return {
        "source": "finetune",
        "data_digest": folders.digest,
        "test_split_digest": f"blake3:{blake3(held_out.encode()).hexdigest()}",
        "device": device,
        "python": platform.python_version(),
        **{name: version(name) for name in ("zoo-registry", "torch", "timm")},
    }
