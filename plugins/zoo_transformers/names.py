"""The names of parameters: those in published files, and those of the installed transformers.

transformers renames parameters from version to version (`encoder.layer.0.attention.attention.query`
became `layers.0.attention.q_proj`), and reads and writes files under the names of the first. Some
files are of an encoder alone, whose names lack the part in front, or of a pair of image and text
encoder. So names are compared in a form that is common to all of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

__all__ = ["own_names"]

UNUSED = re.compile(
    r"(text_model|text_projection|visual_projection)\..*|logit_scale|logit_bias"  # the other half
    r"|vision_model\.head\..*|(vit\.)?pooler\.dense\..*"  # pooling that the classifier goes without
    r"|.*\.(position_ids|relative_position_index)"  # computed; once, they were kept in files
)
"""What a published file may hold that the network does not have."""

COMMON = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # What is in front of the encoder's own names in a classifier, and where transformers put
        # another module around them.
        (r"^(vit|deit|beit|swin|convnext|convnextv2|dinov2|dinov2_with_registers)\.", ""),
        (r"^vision_model\.", ""),
        (r"^encoder\.relative_position_bias\.", "shared_position_bias."),
        (r"^model\.(?=layer\.|stages\.)", ""),
        (r"^encoder\.(?=layers?\.)", ""),
        (r"^layer\.", "layers."),
        (r"\.relative_position_bias\.(?=relative_position_bias_table)", "."),
        (r"\.attention(\.attention|\.self)?\.(?=relative_position_bias_table)", "."),
        (r"\.attention\.(?:attention|self)\.query\.", ".attention.q_proj."),
        (r"\.attention\.(?:attention|self)\.key\.", ".attention.k_proj."),
        (r"\.attention\.(?:attention|self)\.value\.", ".attention.v_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
    )
)


def own_names(own: Collection[str], names: Collection[str]) -> Mapping[str, str]:
    """The network's key for each of ``names``, those of a weights file; what it has no use for is
    left out, and a key that no rule covers maps to itself. ``own`` are the keys of the network.
    """
    common = {_common(key): key for key in own}
    return {
        name: name if name in own else common.get(_common(name), name)
        for name in names
        if name in own or not UNUSED.fullmatch(name)
    }


def _common(name: str) -> str:
    for pattern, replacement in COMMON:
        name = pattern.sub(replacement, name)
    return name
