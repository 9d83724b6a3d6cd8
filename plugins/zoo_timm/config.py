"""What a ``config.json`` of timm says, read as `timm.create_model` reads it from the HF Hub.

timm records in ``model_args`` what a network was built with, and builds it anew with all of that.
So does zoo, with the arguments that are listed here, within these bounds: numbers, switches, and
words that timm looks up in tables of its own. What would be a class, a function, a path or a
configuration is not among them, nor is what makes timm fetch or read something.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from zoo.domain.arguments import (
    Fits,
    each,
    named,
    number,
    one_or_each,
    passed_on,
    switch,
    whole,
    word,
)
from zoo.domain.hierarchy import InputSize
from zoo.domain.manifest import Preprocessing
from zoo.domain.network import CONFIG, Config, Network, in_bounds
from zoo.domain.surgery import adapted_preprocessing
from zoo.errors import Unsupported

__all__ = ["MEAN", "RESET_POOL", "STD", "checked", "read"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""timm's own, written here because to import timm takes seconds."""
FLEXIBLE = (("dynamic_img_size", True), ("strict_img_size", False), ("use_naflex", True))
"""Arguments that free a network from the one size of images that its weights are for."""
IMAGENET = re.compile(r"in(1|12|21|22)k")
COLORS = 3


ACTIVATIONS = (
    "celu elu gelu gelu_tanh hard_mish hard_sigmoid hard_swish hardsigmoid hardswish identity "
    "leaky_relu mish prelu quick_gelu relu relu6 selu sigmoid silu swish tanh"
)
NORMS = (
    "batchnorm batchnorm1d batchnorm2d frozenbatchnorm2d groupnorm groupnorm1 layernorm "
    "layernorm2d layernorm2dfp32 layernormfp32 rmsnorm rmsnorm2d rmsnorm2dfp32 rmsnormfp32 "
    "simplenorm simplenorm2d simplenorm2dfp32 simplenormfp32"
)
POOLS = (
    "avg avgmax catavgmax fast fastavg fastavgmax fastcatavgmax fastmax map max prr squeeze token"
)
RESET_POOL = "reset_global_pool"
"""Ours, for ``reset_classifier``, which leaves the norms of a network where they were."""
WIDEST_WINDOW = 64
"""Places along a side: a window's table of positions grows with the fourth power."""

WIDTH, BLOCKS, FACTOR = whole(1, 65536), whole(0, 256), number(64)

KINDS: tuple[tuple[Fits, str], ...] = (
    (word(*ACTIVATIONS.split()), "act_layer"),
    (word(*NORMS.split()), "norm_layer"),
    (word("", *POOLS.split()), f"global_pool {RESET_POOL}"),
    (word("", "same"), "pad_type"),
    (word("", "learn", "none"), "pos_embed"),
    (whole(2, 32), "output_stride"),
    (
        WIDTH,
        "embed_dim num_features stem_size stem_width base_width cardinality "
        "growth_rate num_init_features head_hidden_size attn_pool_num_heads",
    ),
    (one_or_each(WIDTH), "num_heads"),
    (one_or_each(whole(1, 256)), "patch_size"),
    (whole(0, 1024), "reg_tokens num_reg_tokens"),
    (BLOCKS, "depth"),
    (each(BLOCKS), "depths layers"),
    (each(WIDTH), "dims embed_dims channels"),
    (one_or_each(whole(1, WIDEST_WINDOW)), "window_size"),
    (one_or_each(whole(1, 31)), "kernel_size kernel_sizes"),
    (FACTOR, "mlp_ratio expand_ratio channel_multiplier width_mult depth_mult"),
    (each(FACTOR), "mlp_ratios"),
    (
        number(1e6),
        "init_values ls_init_value layer_scale_init_value norm_eps head_init_scale "
        "rope_temperature",
    ),
    (
        number(1.0),
        "drop_rate drop_path_rate drop_block_rate proj_drop_rate attn_drop_rate "
        "pos_drop_rate patch_drop_rate",
    ),
    (
        switch,
        "class_token no_embed_class qkv_bias qk_norm scale_attn_norm scale_mlp_norm pre_norm "
        "final_norm fc_norm use_fc_norm dynamic_img_size dynamic_img_pad strict_img_size "
        "proj_bias swiglu_mlp scale_mlp scale_attn_inner use_abs_pos_emb use_rel_pos_bias "
        "use_shared_rel_pos_bias use_rot_pos_emb conv_mlp conv_bias use_grn head_norm_first "
        "always_partition avg_down replace_stem_pool zero_init_last fix_init fix_stem "
        "distilled use_pos_embed",
    ),
)
"""What a value must be, and the arguments that must be it."""

FITS: Mapping[str, Fits] = named(KINDS)


def read(config: Config) -> Network:
    """The network that ``config`` describes.

    Raises:
        Unsupported: It names an argument that is not known here; or it is loaded by rules of its
            own, which zoo does not follow.
        KeyError, TypeError, ValueError, AttributeError, OverflowError: It is malformed.
    """
    pretrained_cfg = config.get("pretrained_cfg") or config  # the older form is flat
    for name in ("label_offset", "hf_hub_filename"):
        if pretrained_cfg.get(name):
            raise Unsupported(
                f"{CONFIG} has '{name}', which makes timm load other weights than these"
            )
    model_args = {k: v for k, v in (config.get("model_args") or {}).items() if v is not None}
    size = _input_size(pretrained_cfg, model_args)
    counts = (source.get("num_classes") for source in (model_args, config, pretrained_cfg))
    num_classes = next((count for count in counts if count is not None), None)
    own = ("img_size", "in_chans", "num_classes")  # zoo has options of its own for these
    options = {
        "num_classes": num_classes,
        "image_size": _built_for(pretrained_cfg, model_args, size),
        "channels": size[0] if size[0] != COLORS else None,
        "arguments": checked({k: v for k, v in model_args.items() if k not in own}) or None,
    }
    stated = "input_size" in pretrained_cfg
    return Network(
        architecture=str(config["architecture"]),
        surgery=in_bounds(options, CONFIG),
        preprocessing=_preprocessing(pretrained_cfg, size) if stated else None,
        classes=_classes(config, pretrained_cfg),
        published_classes=_says_imagenet(pretrained_cfg, num_classes),
    )


def _input_size(pretrained_cfg: Config, model_args: Config) -> InputSize:
    channels, *sides = map(int, pretrained_cfg.get("input_size") or (COLORS, 224, 224))
    if "in_chans" in model_args:
        channels = int(model_args["in_chans"])
    if "img_size" in model_args and _is_fixed(pretrained_cfg, model_args):
        sides = _sides(model_args["img_size"])
    height, width = sides
    return channels, height, width


def _built_for(pretrained_cfg: Config, model_args: Config, size: InputSize) -> list[int] | None:
    """Height and width of the images that its embeddings of positions are for."""
    if "img_size" in model_args:
        return _sides(model_args["img_size"])
    return (
        list(size[1:])
        if "input_size" in pretrained_cfg and _is_fixed(pretrained_cfg, model_args)
        else None
    )


def _is_fixed(pretrained_cfg: Config, model_args: Config) -> bool:
    """Whether it takes images of no other size."""
    flexible = any(model_args.get(name) is value for name, value in FLEXIBLE)
    return bool(pretrained_cfg.get("fixed_input_size")) and not flexible


def _sides(value: object) -> list[int]:
    height, width = map(int, value if isinstance(value, list) else (value, value))
    return [height, width]


def _preprocessing(pretrained_cfg: Config, size: InputSize) -> Preprocessing:
    mean = tuple(map(float, pretrained_cfg.get("mean") or MEAN))
    std = tuple(map(float, pretrained_cfg.get("std") or STD))
    if not {len(mean), len(std)} <= {1, COLORS, size[0]}:
        raise ValueError(f"mean or std of neither one, {COLORS} nor {size[0]} channels")
    preprocessing = Preprocessing(
        input_size=(len(mean), *size[1:]),
        mean=mean,
        std=std,
        interpolation=str(pretrained_cfg.get("interpolation") or "bicubic"),
        crop_pct=float(pretrained_cfg.get("crop_pct") or 0.875),
        crop_mode=str(pretrained_cfg.get("crop_mode") or "center"),
    )
    # timm leaves the three colors' values of other channels as they were.
    return adapted_preprocessing(preprocessing, None, size[0])


def _classes(config: Config, pretrained_cfg: Config) -> tuple[str, ...]:
    names = (
        config.get("label_names")
        or pretrained_cfg.get("label_names")
        or pretrained_cfg.get("labels")
        or ()
    )
    described = config.get("label_descriptions") or pretrained_cfg.get("label_descriptions") or {}
    if isinstance(names, dict):  # index to name
        names = [names[str(index)] for index in range(len(names))]
    return tuple(str(described.get(name, name)) for name in names)


def _says_imagenet(pretrained_cfg: Config, num_classes: object) -> bool:
    """Whether the tag of the weights says that they were last trained on (a part of) ImageNet."""
    *_, last = ["", *IMAGENET.findall(str(pretrained_cfg.get("tag") or ""))]
    return bool(last) and (last == "1") == (num_classes in (None, 1000))


def checked(arguments: Config) -> dict[str, object]:
    """``arguments``, all of which are known, and within bounds."""
    passed_on(arguments, FITS, "timm")
    return dict(arguments)
