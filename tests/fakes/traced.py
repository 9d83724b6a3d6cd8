"""Networks of timm's are traced once: to trace one takes a quarter of a small fine-tune."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import pytest
from torch import nn

from zoo.domain.hierarchy import Hierarchy
from zoo_timm.backbone import TimmBackbone

__all__ = ["traced_once"]

TRACED: dict[Hashable, Hierarchy] = {}


@pytest.fixture(autouse=True, scope="module")
def traced_once() -> Iterator[None]:
    """Networks that are alike in their layers and sizes have one hierarchy."""
    trace = TimmBackbone.hierarchy

    def hierarchy(
        self: TimmBackbone, architecture: str, module: nn.Module, **options: Any
    ) -> Hierarchy:
        size = tuple(options.get("input_size") or self.preprocessing(module).input_size)
        shapes = tuple((name, value.shape) for name, value in module.state_dict().items())
        key = (architecture, size, repr(module), shapes)
        if key not in TRACED:
            TRACED[key] = trace(self, architecture, module, **options)
        return TRACED[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TimmBackbone, "hierarchy", hierarchy)
        yield
