"""Export a checkpoint as a folder that its own library loads."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from zoo import plugins
from zoo.backbones.load import build, converted_state
from zoo.backbones.mapped import mapped_state
from zoo.domain.digest import Digest
from zoo.errors import Conflict
from zoo.store.atomic import write_whole
from zoo.store.files import restore_file
from zoo.workspace import Workspace

__all__ = ["export"]


def export(workspace: Workspace, digest: Digest, folder: Path) -> list[Path]:
    """Write ``model.safetensors``, ``config.json`` and any other files of a checkpoint.

    The weights are byte-identical to what was imported, unless their names were foreign: then they
    are written under the network's own.

    Returns:
        The files written.

    Raises:
        Conflict: ``folder`` holds files already; nothing was written.
        Corrupt: The store is damaged.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not an empty folder")
    store, manifest = workspace.store, workspace.store.manifest(digest)
    backbone = plugins.backbone(manifest.backbone.plugin)
    with torch.device("meta"):
        module = build(backbone, manifest)
    folder.mkdir(parents=True, exist_ok=True)
    own = backbone.convert(module, [tensor.name for tensor in manifest.tensors])
    written = []
    for file in manifest.files:
        restore_file(store, file, folder / file.name)
        written.append(folder / file.name)
    for weights in manifest.weights:
        target = folder / weights.name
        if all(name == foreign for foreign, name in own.items()):
            restore_file(store, weights, target)
        else:
            state = converted_state(backbone, module, mapped_state(store, manifest))
            save_file(
                {key: tensor.clone() for key, tensor in state.items()}, target, {"format": "pt"}
            )
        written.append(target)
    text = json.dumps(backbone.export_config(module, manifest), indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / "config.json", [text.encode()])
    return [*written, folder / "config.json"]
