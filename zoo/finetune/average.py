"""Average: the mean of the weights of several fine-tunes of one checkpoint, as a checkpoint
(Wortsman et al., "Model soups", ICML 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.backbones.devices import pick_device
from zoo.backbones.load import load, state_of
from zoo.backbones.save import save_state
from zoo.backbones.surgery import backbone_of
from zoo.domain import words
from zoo.domain.adapter import without_adapter
from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.history import moved_from
from zoo.domain.manifest import Manifest, Parent
from zoo.domain.progress import Progress
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.task import task_of
from zoo.errors import InvalidOption
from zoo.exchange.adapt import described_anew
from zoo.exchange.commit import NewCheckpoint, new_checkpoint
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.spec import DatasetOptions
from zoo.finetune.features.write import any_images
from zoo.finetune.loop.evaluate import live_norms, take_statistics
from zoo.finetune.strategies.blend import interpolated
from zoo.store.files import add_weights
from zoo.store.not_finite import nan_tensors_here
from zoo.transfer.changes import change_from
from zoo.workspace import Workspace

__all__ = ["Averaged", "average"]

ALIKE = ("backbone", "head", "classes", "preprocessing")
"""What checkpoints must have in common for a mean of their weights to be of use."""
HALVES = (torch.float16, torch.bfloat16)
MEAN, VARIANCE = ".running_mean", ".running_var"
COUNTER = "num_batches_tracked"
"""The last part of the name of a tensor that only counts."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Averaged(Result):
    """What `average` made.

    Attributes:
        ref: The name it was saved under.
        manifest: The checkpoint.
        parents: What it is the mean of.
        moved_from: What the name pointed at before, if that was another checkpoint.
        change: What differs from that for those who use the name.
        batch_norms: Of how many the statistics were taken anew.
        images: From how many images.
    """

    ref: Reference
    manifest: Digest
    parents: tuple[Digest, ...]
    moved_from: Digest | None
    change: Change | None
    batch_norms: int
    images: int


class _One(NamedTuple):
    """A checkpoint to take the mean of, with the weights of its network."""

    name: str
    digest: Digest
    manifest: Manifest
    state: Mapping[str, Tensor]


def average(
    workspace: Workspace,
    names: Sequence[str],
    save: Reference,
    *,
    data: str,
    batch_size: int,
    device: str,
    progress: Progress,
) -> Averaged:
    """Keep the mean of the weights of ``names`` as ``save``; for the options see `Zoo.average`."""
    if len(names) < 2:
        raise InvalidOption("a mean is of several checkpoints: name two of them, or more")
    device = pick_device(device)
    with new_checkpoint(workspace, save, f"average {' '.join(names)}") as new:
        ones = _alike(workspace, names)
        mean, norms = _mean(ones), _moved_norms(ones)
        if norms and not data:
            raise InvalidOption(
                "the statistics of their batch norms differ, and a mean of these is of no use",
                hint="--data FOLDER, images that they were trained on, takes them anew",
            )
        if data and not norms:
            raise InvalidOption("--data has no effect: no statistics of their batch norms differ")
        options = batch_size, device, progress
        images = _retake(workspace, ones[0], mean, norms, data, *options) if norms else 0
        kept = {name: each.to(ones[0].state[name].dtype) for name, each in mean.items()}
        digest = _commit(new, ones, kept, progress)
    return Averaged(
        ref=new.ref,
        manifest=digest,
        parents=tuple(one.digest for one in ones),
        moved_from=(before := moved_from(new.before, digest)),
        change=change_from(workspace.store, before, workspace.store.manifest(digest)),
        batch_norms=len(norms),
        images=images,
    )


def _alike(workspace: Workspace, names: Sequence[str]) -> list[_One]:
    """The checkpoints, each once, of which there is a mean."""
    inputs: dict[Digest, _One] = {}
    for name in names:
        ref, digest = workspace.names.resolve(name)
        manifest, called = workspace.store.manifest(digest), str(ref or name)
        if odd := words.not_finite(nan_tensors_here(workspace.store, manifest)):
            raise InvalidOption(f"{called} has {odd}: a mean with these is of no use")
        state = state_of(workspace.store, manifest, called)
        inputs[digest] = _One(called, digest, without_adapter(manifest), state)
    first, *others = inputs.values()
    if not others:
        raise InvalidOption(f"a mean is of several checkpoints, and {first.name} is one")
    for other in others:
        _check_alike(first, other)
    lines = ({one.digest} | one.manifest.ancestry() for one in inputs.values())
    if not set.intersection(*lines):
        raise InvalidOption(
            f"{', '.join(one.name for one in inputs.values())} do not derive from one checkpoint: "
            "a mean of unrelated weights is of no use",
            hint="zoo log NAME tells what each derives from",
        )
    return [*inputs.values()]


def _check_alike(first: _One, other: _One) -> None:
    both = f"{first.name} and {other.name}"
    for part in ALIKE:
        if getattr(first.manifest, part) != getattr(other.manifest, part):
            raise InvalidOption(f"{both} differ in their {part}")
    if task_of(first.manifest) != task_of(other.manifest):
        raise InvalidOption(f"{both} differ in their task")
    if _shapes(first.state) != _shapes(other.state):
        raise InvalidOption(f"the tensors of {both} differ in shape or dtype")
    for name, each in first.state.items():
        if each.is_floating_point() or name.rpartition(".")[2] == COUNTER:
            continue
        if not torch.equal(each, other.state[name]):
            raise InvalidOption(f"{both} differ in '{name}': there is no mean of {each.dtype}")


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[object, ...]]:
    return {name: (each.shape, each.dtype) for name, each in state.items()}


def _mean(ones: Sequence[_One]) -> dict[str, Tensor]:
    """The mean of all; counters are those of the first. Halves are float32."""
    mean = dict[str, Tensor]()
    for number, one in enumerate(ones):
        state = {n: each.float() if each.dtype in HALVES else each for n, each in one.state.items()}
        mean = interpolated(state, mean, number / (number + 1)) if number else state
    return mean


def _moved_norms(ones: Sequence[_One]) -> list[str]:
    """The batch norms, as the file calls them, whose statistics training has moved."""
    first, *others = (one.state for one in ones)
    moved = (
        name.rpartition(".")[0]
        for name in first
        if name.endswith((MEAN, VARIANCE))
        and any(not torch.equal(first[name], other[name]) for other in others)
    )
    return [*dict.fromkeys(moved)]


def _retake(
    workspace: Workspace,
    first: _One,
    mean: dict[str, Tensor],
    norms: Sequence[str],
    data: str,
    batch_size: int,
    device: str,
    progress: Progress,
) -> int:
    """Take the statistics of these batch norms anew in ``mean``; of how many images."""
    dataset = any_images(workspace, data, None, False, DatasetOptions(), progress)
    samples = dataset.train or (*dataset.validation, *dataset.test)
    if min(len(samples), batch_size) < 2:
        raise InvalidOption(
            "statistics are of batches of several images: one alone has no variance"
        )
    module = load(workspace.store, first.digest, device=device)
    own = backbone_of(first.manifest).convert(module, mean)
    module.load_state_dict({own[name]: mean[name] for name in mean if name in own}, strict=False)
    places = dict(module.named_modules())
    buffers = (own.get(f"{name}{MEAN}") for name in norms)  # the network may not have all
    chosen = {places[each.removesuffix(MEAN)] for each in buffers if each}
    transform = training_transform(first.manifest.preprocessing, first.manifest.backbone.plugin)
    batches = Batches(dataset, samples, transform, batch_size, once=True)
    with progress("statistics of batch norm", len(samples)) as task:

        def runs() -> Iterator[tuple[int, Callable[[], object]]]:
            for images, _, _ in batches.view(0):
                yield len(images), partial(module, images.to(device))
                task.advance(len(images))

        take_statistics(module, [each for each in live_norms(module) if each in chosen], runs())
    state = module.state_dict()
    for name in mean:
        if name in own and name.rpartition(".")[0] in norms:
            mean[name] = state[own[name]].cpu()
    return len(samples)


def _commit(
    new: NewCheckpoint, ones: Sequence[_One], state: Mapping[str, Tensor], progress: Progress
) -> Digest:
    path = new.scratch / "model.safetensors"
    save_state(state, path)
    weights = add_weights(new.workspace.store, path, progress=progress)
    bases = [
        (one.manifest, Parent(manifest=one.digest, relation="average", ref=one.name))
        for one in ones
    ]
    planned = described_anew(ones[0].manifest, "average").descending(*bases[0], *bases[1:])
    return new.commit(replace(planned, weights=(weights,)))
