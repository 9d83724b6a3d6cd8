"""The features of a whole dataset at one unit, as a file for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from zoo import plugins
from zoo.backbones.devices import pick_device
from zoo.backbones.features import extract
from zoo.backbones.load import load
from zoo.backbones.surgery import backbone_of
from zoo.backbones.taps import Tap, find_tap
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.domain.result import Result
from zoo.domain.surgery import Surgery, adapted_preprocessing
from zoo.domain.task import Task
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.open import open_labeled
from zoo.finetune.dataset.spec import DatasetOptions, is_unlabeled
from zoo.finetune.dataset.unlabeled import open_unlabeled
from zoo.finetune.setup.network import make_network
from zoo.lookup.runs import CHECKED, caches
from zoo.store import Store
from zoo.store.atomic import write_whole
from zoo.workspace import Workspace

__all__ = ["Features", "any_images", "labeled_images", "write_features"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Features(Result):
    """The features of images, in a file or in memory.

    Attributes:
        path: Where the file is; None: they are in ``features``.
        manifest: The checkpoint that made them.
        unit: The unit that they are taken behind, or ``head``.
        images: How many there are, N.
        skipped: How many images were left out, because they cannot be used.
        num_features: How many of each image, F; ``features`` in JSON.
        classes: Class names in index order; names of labels or columns; none of images alone.
        features: The features, float32 (N, F), if they are in no file.
        labels: What is in its ``labels``: class indices (N,), or labels or numbers (N, K); None of
            images alone.
        keys: The path of each image.
    """

    path: Path | None
    manifest: Digest
    unit: str
    images: int
    skipped: int = field(metadata={"json": "skipped_images"})
    num_features: int = field(metadata={"json": "features"})
    classes: tuple[str, ...]
    features: NDArray[Any] | None = field(default=None, repr=False, compare=False)
    labels: NDArray[Any] | None = field(default=None, repr=False, compare=False)
    keys: tuple[str, ...] = field(default=(), repr=False)


def write_features(
    workspace: Workspace,
    name: str,
    data: str,
    out: Path | None,
    *,
    at: str,
    task: Task | None,
    image_size: int | None,
    skip_bad: bool,
    opening: DatasetOptions,
    batch_size: int,
    device: str,
    progress: Progress,
) -> Features:
    """Write the features of all images in ``data`` to ``out``, with the checkpoint's preprocessing;
    None: they are in the answer.

    The file is safetensors: ``features`` float32 (N, F), ``labels``, class indices int64 (N,), or
    float32 (N, K) for labels and numbers, or none. Rows are sorted by path, whatever split they are
    in. Its metadata has more: see `_about`, and for the options `Zoo.features`.
    """
    ref, digest = workspace.names.resolve(name)
    manifest = workspace.store.manifest(digest)
    device = pick_device(device)
    model = load(workspace.store, digest, device=device)
    if image_size:
        model, manifest = _resized(workspace.store, digest, manifest, image_size, device)
    tap = _tap(model, manifest, at)  # before all images are decoded, which takes long
    dataset = any_images(workspace, data, task, skip_bad, opening, progress)
    samples = sorted((*dataset.train, *dataset.validation, *dataset.test))
    transform = training_transform(manifest.preprocessing, manifest.backbone.plugin)
    batches = Batches(dataset, samples, transform, batch_size, once=True)
    about = {"ref": str(ref or name), "manifest": str(digest), **_about(manifest, tap, batches)}
    arrays: dict[str, NDArray[Any]] = {}
    if out is None:
        arrays = {key: each.numpy() for key, each in _arrays(model, tap, batches, progress).items()}
    else:
        write_whole(out, _content(model, tap, batches, about, progress))
    return Features(
        path=out,
        manifest=digest,
        unit=tap.unit,
        images=len(samples),
        skipped=len(dataset.skipped),
        num_features=tap.features,
        classes=dataset.classes,
        keys=tuple(sample.key for sample in samples),
        **arrays,
    )


def _resized(
    store: Store, digest: Digest, known: m.Manifest, size: int, device: str
) -> tuple[nn.Module, m.Manifest]:
    """The network as a fine-tune with ``image_size`` has it, and what it is then; its head is new,
    and no part of any features.
    """
    options = replace(Surgery.parse(known.backbone.options), num_classes=1).to_options()
    planned = replace(
        known,
        head=m.Head(kind="linear", num_classes=1),
        backbone=replace(known.backbone, options=options),
        preprocessing=adapted_preprocessing(known.preprocessing, (size, size), None),
        classes=("",),
    )
    network = make_network(store, digest, planned, plugins.head("linear"), seed=0)
    return network.model.to(device).eval(), network.planned


def _about(manifest: m.Manifest, tap: Tap, batches: Batches) -> dict[str, str]:
    # Strings, as safetensors wants them.
    return {
        "architecture": manifest.backbone.architecture,
        "unit": tap.unit,
        "image_size": "x".join(map(str, manifest.preprocessing.input_size[1:])),
        "task": batches.dataset.task if batches.dataset.classes else "none",
        "data_digest": batches.dataset.digest,
        "classes": json.dumps(batches.dataset.classes),
        "paths": json.dumps([sample.key for sample in batches.samples]),
    }


def _tap(model: nn.Module, manifest: m.Manifest, at: str) -> Tap:
    size, backbone = manifest.preprocessing.input_size, backbone_of(manifest)
    hierarchy = backbone.hierarchy(manifest.backbone.architecture, model, input_size=size)
    return find_tap(model, hierarchy, next(model.parameters()).new_zeros(1, *size), at)


def any_images(
    workspace: Workspace,
    data: str,
    task: Task | None,
    skip_bad: bool,
    opening: DatasetOptions,
    progress: Progress,
) -> Dataset:
    """All images, with labels or without."""
    if is_unlabeled(data):
        return open_unlabeled(data, opening.max_pixels, skip_bad, progress)
    return labeled_images(workspace, data, task, skip_bad, opening, progress)


def labeled_images(
    workspace: Workspace,
    data: str,
    task: Task | None,
    skip_bad: bool,
    opening: DatasetOptions,
    progress: Progress,
    group_by: str = "",
) -> Dataset:
    """All images: nothing is trained, so nothing is held out (`open_labeled`)."""
    with caches(workspace) as folder:
        return open_labeled(
            data,
            task=task,
            group_by=group_by,
            opening=opening,
            skip_bad=skip_bad,
            # Images that are copied there are read later than this.
            cache=folder / CHECKED if folder.is_relative_to(workspace.root) else None,
            progress=progress,
        )


def _content(
    model: nn.Module, tap: Tap, batches: Batches, about: Mapping[str, str], progress: Progress
) -> Iterator[bytes]:
    # A generator: a folder where nothing can be written shows before the images run, not after.
    yield save(_arrays(model, tap, batches, progress), dict(about))


def _arrays(model: nn.Module, tap: Tap, batches: Batches, progress: Progress) -> dict[str, Tensor]:
    with progress("extracting features", len(batches.samples)) as task:
        images = ((batch.images, batch.targets) for batch in batches.view(0))
        (features,), labels = extract(model, [tap], images, task)
    targets = {"labels": labels} if batches.dataset.classes else {}
    return {"features": features, **targets}
