"""The image encoder of a CLIP model as open_clip saves it, under the names of timm's networks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

__all__ = ["vision_tower"]

TRUNK, VISION = "visual.trunk.", "visual."
UNBATCHED = ("cls_token", "pos_embed")
OWN_NAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^conv1\.", "patch_embed.proj."),
        (r"^class_embedding$", "cls_token"),
        (r"^positional_embedding$", "pos_embed"),
        (r"^ln_pre\.", "norm_pre."),
        (r"^ln_post\.", "norm."),
        (r"^transformer\.resblocks\.", "blocks."),
        (r"\.ln_(\d)\.", r".norm\1."),
        (r"\.attn\.in_proj_", ".attn.qkv."),
        (r"\.attn\.out_proj\.", ".attn.proj."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    )
)


def vision_tower(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the image encoder under timm's names; the text encoder is left out.

    A trunk that is a network of timm is taken as it is. Of open_clip's own, the projection into the
    common space becomes the head.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    trunk = {n.removeprefix(TRUNK): t for n, t in state.items() if n.startswith(TRUNK)}
    if trunk:
        return trunk
    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if not name.startswith(VISION):
            continue
        if name == "visual.proj":
            found["head.weight"] = tensor.t().contiguous()
            found["head.bias"] = torch.zeros(tensor.shape[1], dtype=tensor.dtype)
            continue
        own = name.removeprefix(VISION)
        for pattern, replacement in OWN_NAMES:
            own = pattern.sub(replacement, own)
        # timm keeps these two with a dimension for the batch.
        found[own] = tensor.reshape(1, -1, tensor.shape[-1]) if own in UNBATCHED else tensor
    return found
