"""Networks of transformers in tiny sizes, in the place of published ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from zoo_transformers.architectures import ARCHITECTURES

ENCODER = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
           "intermediate_size": 32, "patch_size": 8}  # fmt: skip
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 2]}
MOBILE = {"hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
          "num_attention_heads": 2, "hidden_dropout_prob": 0.0}  # fmt: skip
TINY: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "beit-base-patch16-224": ({**ENCODER, "image_size": 32}, 32),
    "clip-vit-base-patch32": (ENCODER, 32),
    "convnext-tiny-224": ({**STAGES, "num_stages": 2}, 32),
    "convnextv2-atto-1k-224": ({**STAGES, "num_stages": 2}, 32),
    "deit-tiny-distilled-patch16-224": (ENCODER, 32),
    "dinov2-small": ({**ENCODER, "mlp_ratio": 2, "image_size": 48}, 32),
    "dinov2-with-registers-small": ({**ENCODER, "mlp_ratio": 2, "image_size": 48}, 32),
    "dinov3-convnext-tiny-pretrain-lvd1689m": (
        {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}, 32,
    ),
    "dinov3-vits16plus-pretrain-lvd1689m": (ENCODER, 32),
    "mobilevit-xx-small": (MOBILE, 64),
    "resnet-18": ({**STAGES, "embedding_size": 8}, 32),
    "siglip-base-patch16-224": (ENCODER, 32),
    "swin-tiny-patch4-window7-224": (
        {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}, 32,
    ),
    "vit-base-patch16-224": (ENCODER, 32),
}  # fmt: skip
"""One row of each family, in another size: same classes, same rules, no time."""


@contextmanager
def tiny_rows() -> Iterator[None]:
    """While it is open, the names in `TINY` are those of tiny networks."""
    with pytest.MonkeyPatch.context() as patch:
        for name, (config, size) in TINY.items():
            row = ARCHITECTURES[name]
            small = replace(row, size=size, config={**row.config, **config})
            patch.setitem(ARCHITECTURES, name, small)
        yield
