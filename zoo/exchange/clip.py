"""``open_clip_config.json``: which network of timm's the image encoder of a pair is.

Fields that open_clip does not have either are refused, and so are those that make it compute what
no network of timm's does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.domain.manifest import Preprocessing
from zoo.domain.network import Network, in_bounds
from zoo.domain.plain import Json
from zoo.errors import Unsupported

__all__ = ["read"]

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
TOWERS = {
    (10, 256): ("xsmall", 64),
    (8, 512): ("medium", 64),
    (12, 768): ("base", 64),
    (24, 1024): ("large", 64),
    (32, 1280): ("huge", 80),
    (40, 1408): ("giant", 88),
    (48, 1664): ("gigantic", 104),
}
"""timm's word for a vision tower of so many layers of such a width, and the width of its heads."""
OWN: Mapping[str, object] = {
    "ls_init_value": None,
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "final_ln_after_pool": False,
    "pool_type": "tok",
    "output_tokens": False,
    "act_kwargs": None,
    "norm_kwargs": None,
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
}
"""What timm's networks do as open_clip does it by default, and not otherwise."""
SHAPE = ("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size")
NO_EFFECT = (
    "attn_pooler_queries",
    "attn_pooler_heads",
    "patch_dropout",
    "timm_drop",
    "timm_drop_path",
    "timm_model_pretrained",
    "timm_proj_bias",
)
"""Fields of training, and of what is left out."""
TIMM = ("timm_model_name", "timm_pool", "timm_proj")
POOLS = ("", "avg", "max", "avgmax", "catavgmax", "map", "token")
"""What timm's networks pool with by themselves; open_clip has other ways, too."""


def read(config: Mapping[str, Any], file: str) -> Network:
    """The network of timm's, with the tower's projection as its head where it has one.

    Raises:
        Unsupported: timm has no such network; the field is named.
        KeyError, TypeError, ValueError, AttributeError, OverflowError: It is malformed.
    """
    model, how = config["model_cfg"], config.get("preprocess_cfg") or {}
    vision = model["vision_cfg"]
    for name in vision:
        if name not in (*OWN, *SHAPE, *NO_EFFECT, *TIMM):
            raise Unsupported(f"{file} has the field '{name:.64}', which zoo does not know")
    options = _trunk(vision, file) if vision.get("timm_model_name") else {}
    return Network(
        architecture=str(vision.get("timm_model_name") or _tower(model, vision, file)),
        surgery=in_bounds(options, file),
        preprocessing=_preprocessing(vision, how, file),
    )


def _trunk(vision: Mapping[str, object], file: str) -> Json:
    """Options of a tower that is a network of timm's, as open_clip builds it.

    A projection of open_clip's own is behind the trunk, which is kept without it. Without one, the
    trunk is built with its pooling, and its head is the projection.
    """
    pool, projection = vision.get("timm_pool", "avg"), vision.get("timm_proj", "linear")
    if projection not in ("linear", "mlp", "none", "", None):
        raise Unsupported(f"{file} has the unknown 'timm_proj' {projection!r:.40}")
    behind = projection in ("linear", "mlp")
    if pool not in POOLS or not (pool or behind):
        raise Unsupported(f"{file} has 'timm_pool' {pool!r:.40}, which timm's networks do not do")
    if behind:
        return {"num_classes": 0, "arguments": {"reset_global_pool": pool} if pool else None}
    return {
        "num_classes": 0 if projection == "none" else None,
        "arguments": {"global_pool": pool},
    }


def _tower(model: Mapping[str, object], vision: Mapping[str, Any], file: str) -> str:
    """Timm's name of open_clip's own vision tower."""
    for name, usual in OWN.items():
        if vision.get(name, usual) != usual:
            raise Unsupported(
                f"{file} has '{name}' {vision[name]!r:.40}: timm has no such vision tower"
            )
    layers, width = vision.get("layers", 12), vision.get("width", 768)
    if not isinstance(layers, int) or (layers, width) not in TOWERS:
        raise Unsupported(
            f"timm has no vision tower of {layers!r:.40} layers of width {width!r:.40}"
        )
    size, head = TOWERS[layers, width]
    if vision.get("head_width", 64) != head:
        raise Unsupported(f"{file} has a 'head_width' other than {head}, which timm's network has")
    gelu = "quickgelu_" if model.get("quick_gelu") else ""
    patch, image = int(vision.get("patch_size", 16)), int(vision.get("image_size", 224))
    return f"vit_{size}_patch{patch}_clip_{gelu}{image}"


def _preprocessing(
    vision: Mapping[str, object], how: Mapping[str, Any], file: str
) -> Preprocessing:
    if how.get("resize_mode", "shortest") not in ("shortest", "squash"):
        raise Unsupported(
            f"{file} has the 'resize_mode' {how['resize_mode']!r:.40}, which zoo does not have"
        )
    side = how.get("size") or vision.get("image_size") or 224
    height, width = map(int, side if isinstance(side, list) else (side, side))
    return Preprocessing(
        input_size=(3, height, width),
        mean=tuple(map(float, how.get("mean") or MEAN)),
        std=tuple(map(float, how.get("std") or STD)),
        interpolation=str(how.get("interpolation", "bicubic")),
        crop_pct=1.0,
        crop_mode="squash" if how.get("resize_mode") == "squash" else "center",
    )
