"""A small zoo, and checkpoints in it that somebody made to do harm. Networks are timm's tiniest."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import zoo
from zoo.domain.digest import Digest
from zoo.domain.manifest import Backbone
from zoo.domain.reference import Reference
from zoo.workspace import Workspace
from zoo_cli.main import main

__all__ = ["BASE", "Said", "make_images", "make_zoo", "plant", "say"]

BASE = "team/base"
ARCHITECTURE = "test_vit"
"""The tiniest of timm, which takes other image sizes, too."""


@dataclass(frozen=True)
class Said:
    """How a command line ended, and what it printed."""

    code: int
    out: str
    err: str

    def failed(self, *parts: str) -> bool:
        """Whether it failed in lines of its own, and named all ``parts``."""
        clean = not any(word in self.err for word in ("Traceback", "Warning"))
        return (
            clean
            and self.code == 1
            and self.err.startswith("error: ")
            and all(part in self.err for part in parts)
        )


def say(*arguments: object) -> Said:
    """Run ``zoo`` in this process; an exception that it lets through fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return Said(left.value.code, out.getvalue(), err.getvalue())


def make_zoo(root: Path) -> None:
    """A zoo that holds `BASE`."""
    torch.manual_seed(0)
    file = root.parent / "base.safetensors"
    save_file(timm.create_model(ARCHITECTURE).state_dict(), file)
    with zoo.init(root) as z:
        z.import_file(file, BASE, architecture=ARCHITECTURE)


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
    _, digest = workspace.resolve(BASE)
    if architecture := changes.pop("architecture", None):
        changes["backbone"] = Backbone(plugin="torch", architecture=architecture)
    manifest = replace(workspace.store.manifest(digest), **changes)
    kept = workspace.commit(manifest, Reference.parse(name), "pull from /mnt/team/zoo")
    workspace.close()
    return kept
