"""Where the heads of timm's networks are, and how to replace them.

Most are one Linear. Others are several (distilled pairs, one for each branch or stage), a Linear
behind a norm of its own, a 1x1 convolution, an Identity (built without classes), or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from zoo.backbones.pooling import POOLED_HEAD, add_pooled_head
from zoo.errors import Unsupported

__all__ = ["head_modules", "pool_of", "replace_head"]

FEATURES, FLAT = "zoo_features", "zoo_flat"
"""Attributes of a head that was put in: size of what it gets, and whether that is (N, F) at once
rather than (N, F, 1, 1)."""

Build = Callable[[int], nn.Module]


def head_modules(module: nn.Module) -> tuple[str, ...]:
    """Paths of the classifier's modules; empty for an encoder."""
    if hasattr(module, POOLED_HEAD):
        return (POOLED_HEAD,)
    config = getattr(module, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    paths = (named,) if isinstance(named, str) else tuple(named)
    return tuple(path for path in paths if _has(module, path))


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def replace_head(module: nn.Module, num_outputs: int, build: Build) -> None:
    """Put a ``build(num_features)`` in the place of each classifier; it gets what the old one got.
    A network without a classifier gets one behind its pooled features.
    """
    paths = head_modules(module)
    if not paths or paths == (POOLED_HEAD,):
        add_pooled_head(module, _num_features(module), build)
        return
    if any(isinstance(module.get_submodule(path), nn.Identity) for path in paths):
        # Built without classes. What such a classifier would get differs by class, branch and
        # stage, and whether positions are left too: timm's own rule makes the one to take after.
        cast(Any, module).reset_classifier(num_outputs)
    for path in paths:
        old = module.get_submodule(path)
        if hasattr(old, FEATURES):  # put here before
            new = _remember(build, getattr(old, FEATURES), flat=getattr(old, FLAT))
        elif isinstance(old, nn.Linear):
            new = _remember(build, old.in_features)
        elif isinstance(old, nn.Conv2d) and old.kernel_size == (1, 1):
            new = _remember(build, old.in_channels, flat=False)
        else:
            raise Unsupported(f"the head of {type(module).__name__} is a {type(old).__name__}")
        module.set_submodule(path, new)
    cast(Any, module).num_classes = num_outputs


def pool_of(module: nn.Module) -> str | None:
    """How a network pools what its head gets."""
    head = getattr(module, "head", None)
    sources = ((head, "global_pool"), (head, "pool_type"), (module, "global_pool"))
    for pool in (getattr(owner, name, None) for owner, name in sources):
        kind = getattr(pool, "pool_type", pool)
        if isinstance(kind, str):
            return kind
    return None


def _remember(build: Build, features: int, *, flat: bool = True) -> nn.Module:
    """A new head that knows what it gets: another kind than Linear would not tell the next one."""
    head = build(features)
    new = head if flat else nn.Sequential(nn.Flatten(1), head)
    setattr(new, FEATURES, features)
    setattr(new, FLAT, flat)
    return new


def _num_features(module: nn.Module) -> int:
    """Size of what a classifier gets, which some networks widen behind their last stage."""
    known = cast(Any, module)
    return int(getattr(known, "head_hidden_size", None) or known.num_features)
