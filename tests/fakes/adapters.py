"""Checkpoints with a LoRA adapter, as a fine-tune would leave them, but with drawn numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.backbones.load import load
from zoo.backbones.lora import adaptable, insert, split
from zoo.backbones.save import save_state
from zoo.domain.adapter import ADAPTER_FILE, BASE_FILE
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Parent
from zoo.domain.reference import Reference
from zoo.exchange.commit import new_checkpoint
from zoo.store.files import add_weights
from zoo.workspace import Workspace

__all__ = ["adapted", "kept"]


def adapted(
    workspace: Workspace, parent: str, save: str, *, rank: int = 4, seed: int = 0, under: str = ""
) -> nn.Module:
    """Keep ``parent`` as ``save`` with an adapter for all layers whose names begin with ``under``,
    and a head that was moved; the network, with the adapter beside its weights.
    """
    digest = workspace.names.resolve(parent)[1]
    model = load(workspace.store, digest)
    generator = torch.Generator().manual_seed(seed)
    head = [f"{name}." for name in ("fc", "head", "classifier")]
    names = [n for n, _ in model.named_modules() if n and n.startswith(under)]
    layers = [n for n in adaptable(model, names, rank) if not f"{n}.".startswith(tuple(head))]
    insert(model, layers, rank, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_B"):
                parameter.normal_(0, 0.1, generator=generator)
            elif name.startswith(tuple(head)):
                parameter.add_(torch.rand(parameter.shape, generator=generator))
    known = workspace.store.manifest(digest)
    options = {**known.backbone.options, "lora": rank}
    changed = replace(known, backbone=replace(known.backbone, options=options))
    kept(workspace, changed.descending(known, Parent(manifest=digest, relation="finetune",
         ref=parent)), save, model.state_dict())  # fmt: skip
    return model.eval()


def kept(workspace: Workspace, manifest: Manifest, save: str, state: dict[str, Any]) -> Digest:
    """Name ``save`` a checkpoint that is described so, with these tensors."""
    own, factors = split(state)
    with new_checkpoint(workspace, Reference.parse(save), "test") as new:
        files = []
        for name, tensors in {BASE_FILE: own, ADAPTER_FILE: factors}.items():
            path = Path(new.scratch) / name
            save_state(tensors, path)
            files.append(add_weights(workspace.store, path, name=name))
        return new.commit(replace(manifest, weights=tuple(files)))
