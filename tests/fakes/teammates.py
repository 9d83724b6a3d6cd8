"""Two zoos of tiny checkpoints, and what a teammate does in one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes.checkpoints import add_checkpoint, tensors
from fakes.prepared import Run

import zoo
from zoo.domain.manifest import Parent

__all__ = ["NAME", "digest_of", "grow", "move_at_lab"]

NAME = "team/flowers"


def grow(root: Path, name: str, parent: str | None = None, *, bias: float = 0) -> str:
    """Make a checkpoint under ``name``; its digest."""
    values = tensors()
    values["fc.bias"] = values["fc.bias"] + bias
    with zoo.open(root) as opened:
        lineage: dict[str, Any] = {}
        if parent:
            digest = opened.workspace.names.resolve(parent)[1]
            base = opened.workspace.store.manifest(digest)
            further = {digest: base.parents} if base.parents else {}
            lineage = {
                "parents": (Parent(manifest=digest, relation="finetune", ref=parent),),
                "ancestors": {**base.ancestors, **further},
            }
        return str(add_checkpoint(opened.workspace, name, values, **lineage))


def digest_of(run: Run, name: str, home: Path) -> str:
    found: str = run("show", name, "--json", "--home", home).json["manifest"]
    return found


def move_at_lab(run: Run, theirs: Path, bias: float = 7, *flags: str) -> str:
    """The teammate pushes a fine-tune of what is there."""
    made = grow(theirs, NAME, NAME, bias=bias)
    assert run("push", NAME, "--to", "origin", *flags, "--home", theirs).code == 0
    return made
