"""The zoo in which the command line is tested: the names in it, and what a test calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["BASE", "NET", "PROBES", "TUNE", "TUNED", "Run"]

Run = Callable[..., Any]
BASE = "timm/tf_efficientnet_lite0.in1k"
TUNED = "team/digits"
TUNE = ("finetune", BASE, "--save", "team/new", "--image-size", "32", "--epochs", "1")
"""A quick fine-tune; ``--data`` is missing."""

NET = "team/net"
"""The small network."""
PROBES = ("team/a", "team/b")
"""Probes of it, which differ in their seed."""
