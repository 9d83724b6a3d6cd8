"""A small zoo, and checkpoints in it that somebody made to do harm. Networks are timm's tiniest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import zoo
from zoo.domain.digest import Digest
from zoo.domain.manifest import Backbone
from zoo.domain.reference import Reference
from zoo.workspace import Workspace

__all__ = ["BASE", "make_images", "make_zoo", "plant"]

BASE = "team/base"
ARCHITECTURE = "test_vit"
"""The tiniest of timm, which takes other image sizes, too."""


def make_zoo(root: Path) -> None:
    """A zoo that holds `BASE`."""
    torch.manual_seed(0)
    file = root.parent / "base.safetensors"
    save_file(timm.create_model(ARCHITECTURE).state_dict(), file)
    with zoo.init(root) as z:
        # All is stated: what is unknown is said each time, which is the subject of other tests.
        config = timm.get_pretrained_cfg(ARCHITECTURE)
        assert config
        z.import_file(
            file,
            BASE,
            architecture=ARCHITECTURE,
            classes=[f"class {number}" for number in range(config.num_classes)],
            mean=config.mean,
            std=config.std,
            crop_pct=config.crop_pct,
            interpolation=config.interpolation,
            image_size=config.input_size[1:],
        )


def make_images(root: Path) -> None:
    """Four images in two class folders."""
    for number in range(4):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (60 * number, 9, 99)).save(folder / f"{number}.png")


def plant(home: Path, name: str, **changes: Any) -> Digest:
    """Keep `BASE` as ``name`` with other fields, as if it were pulled: it is looked at by nobody
    but the format. ``architecture`` makes it a network of the plugin torch.
    """
    workspace = Workspace(home)
    _, digest = workspace.names.resolve(BASE)
    if architecture := changes.pop("architecture", None):
        changes["backbone"] = Backbone(plugin="torch", architecture=architecture)
    manifest = replace(workspace.store.manifest(digest), **changes)
    kept = workspace.commit(manifest, Reference.parse(name), "pull from /mnt/team/zoo")
    workspace.close()
    return kept
