"""Adapt a checkpoint: the same weights in a network of another depth, size, input or head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from zoo import plugins
from zoo.backbones.adapt import misfits
from zoo.backbones.describe import unit_named
from zoo.backbones.load import build, check_fit, converted_state, state_of
from zoo.backbones.save import save_state
from zoo.backbones.surgery import backbone_of
from zoo.backbones.untrained import on_meta
from zoo.backbones.without import exact_unit
from zoo.contracts import Backbone
from zoo.domain import manifest as m
from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy, under
from zoo.domain.history import moved_from
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.surgery import Surgery, adapted_preprocessing
from zoo.domain.task import task_of, with_task
from zoo.errors import InvalidOption, Unsupported
from zoo.exchange.architecture import of_checkpoint
from zoo.exchange.commit import NewCheckpoint, new_checkpoint
from zoo.store.files import add_weights
from zoo.transfer.changes import change_from
from zoo.workspace import Workspace

__all__ = ["Adapted", "adapt", "check_runs", "described_anew"]

SEED = 0
"""A new head's first weights are the same each time."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Adapted(Result):
    """What `adapt` made.

    Attributes:
        ref: The name it was saved under.
        manifest: The checkpoint.
        parent: What it derives from.
        options: What was done to the network, all in all.
        moved_from: What the name pointed at before, if that was another checkpoint.
        change: What differs from that for those who use the name.
        headless: Whether the network has no head, and gives its pooled features.
        nbytes: Size of its tensors.
        shared: How much of that its parent holds as well, and so is stored once.
    """

    ref: Reference
    manifest: Digest
    parent: Digest
    options: Mapping[str, object]
    moved_from: Digest | None
    change: Change | None
    headless: bool
    nbytes: int = field(metadata={"json": "bytes"})
    shared: int = field(metadata={"json": "shared_bytes"})


def adapt(
    workspace: Workspace,
    name: str,
    save: Reference,
    surgery: Surgery,
    *,
    head: m.Head | None = None,
    progress: Progress = silent,
) -> Adapted:
    """Carry ``surgery`` out on the checkpoint ``name``, and name the result ``save``.

    Where to truncate can be any freeze spec. ``head`` is a new one with untrained weights, for
    classes that have no names yet; None: the old one, and where the network is truncated none: it
    gives its pooled features.

    Raises:
        UnknownName: No such checkpoint, unit, or kind of head.
        InvalidOption: No change, or a value that cannot be; a stage is to be taken out.
        Unsupported: It cannot be done with this network; the reason is told, and nothing is kept.
    """
    if surgery == Surgery() and head is None:
        raise InvalidOption("no change is asked for")
    surgery.check()
    with new_checkpoint(workspace, save, f"adapt {name}") as new:
        return _adapted(new, name, surgery, head, progress)


def _adapted(
    new: NewCheckpoint, name: str, surgery: Surgery, head: m.Head | None, progress: Progress
) -> Adapted:
    workspace = new.workspace
    ref, parent = workspace.names.resolve(name)
    base = workspace.store.manifest(parent)
    planned = _planned(base, _named(surgery, of_checkpoint(workspace.registry, base)), head)
    planned = planned.descending(
        base, m.Parent(manifest=parent, relation="surgery", ref=str(ref or name))
    )
    stored = state_of(workspace.store, base, str(ref or name))
    state = _state(base, planned, stored, fresh=head is not None)
    path = new.scratch / "model.safetensors"
    save_state(state, path)
    weights = add_weights(workspace.store, path, progress=progress)
    digest = new.commit(replace(planned, weights=(weights,)))
    known = {tensor.object for tensor in base.tensors}
    return Adapted(
        ref=new.ref,
        manifest=digest,
        parent=parent,
        options=planned.backbone.options,
        moved_from=(before := moved_from(new.before, digest)),
        change=change_from(workspace.store, before, workspace.store.manifest(digest)),
        headless=planned.head.num_classes == 0,
        nbytes=sum(tensor.nbytes for tensor in weights.tensors),
        shared=sum(tensor.nbytes for tensor in weights.tensors if tensor.object in known),
    )


def _named(surgery: Surgery, hierarchy: Hierarchy) -> Surgery:
    """``surgery`` with units as the hierarchy calls them: where the network ends can be said by
    stage, count or share; what is taken out cannot. A unit goes once, however often it is named.
    """
    units = [unit.name for unit in hierarchy.units]
    truncate = surgery.truncate and units[unit_named(hierarchy, surgery.truncate)]
    without = tuple(dict.fromkeys(exact_unit(hierarchy, name).name for name in surgery.without))
    return replace(surgery, truncate=truncate, without=without)


def _planned(base: Manifest, surgery: Surgery, head: m.Head | None) -> Manifest:
    """The result's manifest, without weights."""
    both = replace(Surgery.parse(base.backbone.options).then(surgery), lora=None)
    if head is not None:
        both = replace(both, num_classes=head.num_classes)
    elif surgery.truncate:
        head, both = m.Head(kind="native", num_classes=0), replace(both, num_classes=None)
    anew = described_anew(base, "surgery")
    return replace(
        anew,
        backbone=replace(base.backbone, options=both.to_options()),
        head=head or base.head,
        preprocessing=adapted_preprocessing(
            base.preprocessing, surgery.image_size, surgery.channels
        ),
        classes=() if head else base.classes,
        recipe=None if head else anew.recipe,
    )


def described_anew(base: Manifest, source: str) -> Manifest:
    """The manifest of other weights that are made of a checkpoint's: nothing that is said of its
    own, but what its outputs mean, and what its preprocessing is guessed by.
    """
    stated = base.provenance.get("preprocessing", "")
    guessed = {"preprocessing": stated} if stated.startswith(m.UNKNOWN) else {}
    guessed |= {key: text for key, text in base.provenance.items() if key == m.GUESSED}
    plain = replace(
        base,
        weights=(),
        files=(),
        recipe=None,
        freeze=None,
        metrics={},
        provenance={"source": source, **guessed},
        created=None,
    )
    return with_task(plain, task_of(base))


def _state(
    base: Manifest, planned: Manifest, stored: Mapping[str, Tensor], *, fresh: bool
) -> dict[str, Tensor]:
    """The weights of ``base`` for the network of ``planned``; ``fresh``: with a new head's."""
    old, new = backbone_of(base), backbone_of(planned)
    with on_meta():
        before, module = build(old, base), build(new, planned)
    check_runs(module, planned.backbone.architecture, planned.preprocessing.input_size)
    state = converted_state(old, before, stored)
    if fresh:
        left = old.head_modules(before)
        state = {n: t for n, t in state.items() if not under(n, left)}
    fitted = dict(new.fit_weights(module, state))
    if fresh:
        fitted |= _fresh_head(new, module, planned.head)
    architecture = planned.backbone.architecture
    for name, shape in misfits(module, fitted).items():
        raise Unsupported(
            f"{architecture} cannot be built with these options: '{name}' has the shape "
            f"{tuple(fitted[name].shape)}, would need {shape}, and no rule is known that fits it"
        )
    check_fit(module, fitted, architecture)
    return fitted


def _fresh_head(backbone: Backbone, module: nn.Module, head: m.Head) -> dict[str, Tensor]:
    """The untrained weights of ``head``, in the place that ``module`` on the meta device has."""
    kind, outputs = plugins.head(head.kind), head.num_classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        backbone.replace_head(module, outputs, lambda features: kind.build(features, outputs))
    return {name: tensor for name, tensor in module.state_dict().items() if not tensor.is_meta}


@torch.no_grad()
def check_runs(module: nn.Module, architecture: str, input_size: tuple[int, int, int]) -> None:
    """See that a network takes images of ``input_size`` (C, H, W).

    Raises:
        Unsupported: It does not; the reason is its own.
    """
    channels, height, width = input_size
    device = next(module.parameters()).device
    try:
        module.eval()(torch.zeros(1, *input_size, device=device))
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise Unsupported(
            f"{architecture} does not take images of {channels} channels and {height} x {width} "
            f"pixels: {error}"
        ) from error
