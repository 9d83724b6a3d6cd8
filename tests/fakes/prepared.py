"""The zoo in which the command line is tested: the names in it, and what a test calls."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["BASE", "NET", "PROBES", "TUNE", "TUNED", "Run", "copy_zoo"]

Run = Callable[..., Any]
BASE = "timm/tf_efficientnet_lite0.in1k"
TUNED = "team/digits"
TUNE = ("finetune", BASE, "--save", "team/new", "--image-size", "32", "--epochs", "1")
"""A quick fine-tune; ``--data`` is missing."""

NET = "team/net"
"""The small network."""
PROBES = ("team/a", "team/b")
"""Probes of it, which differ in their seed."""


def copy_zoo(source: Path, target: Path) -> Path:
    """Copy a zoo. Objects are immutable, so links do: damage one only by replacing it."""

    def copy(here: str, there: str) -> None:
        shared = {"objects", "manifests"} & set(Path(here).relative_to(source).parts)
        (os.link if shared else shutil.copy2)(here, there)

    shutil.copytree(source, target, copy_function=copy)
    return target
