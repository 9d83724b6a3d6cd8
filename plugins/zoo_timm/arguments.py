"""Keyword arguments of timm's networks that a stranger's ``config.json`` may give.

timm records in ``model_args`` what a network was built with, and builds it anew with all of that.
So does zoo, with those that are listed here, within these bounds. They are numbers, switches, and
words that timm looks up in tables of its own. What would be a class, a function, a path or a
configuration is not among them, nor is what makes timm fetch or read something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

__all__ = ["RESET_POOL", "checked"]

ACTIVATIONS = (
    "celu", "elu", "gelu", "gelu_tanh", "hard_mish", "hard_sigmoid", "hard_swish", "hardsigmoid",
    "hardswish", "identity", "leaky_relu", "mish", "prelu", "quick_gelu", "relu", "relu6", "selu",
    "sigmoid", "silu", "swish", "tanh",
)  # fmt: skip
NORMS = (
    "batchnorm", "batchnorm1d", "batchnorm2d", "frozenbatchnorm2d", "groupnorm", "groupnorm1",
    "layernorm", "layernorm2d", "layernorm2dfp32", "layernormfp32", "rmsnorm", "rmsnorm2d",
    "rmsnorm2dfp32", "rmsnormfp32", "simplenorm", "simplenorm2d", "simplenorm2dfp32",
    "simplenormfp32",
)  # fmt: skip
POOLS = (
    "", "avg", "avgmax", "catavgmax", "fast", "fastavg", "fastavgmax", "fastcatavgmax", "fastmax",
    "map", "max", "prr", "squeeze", "token",
)  # fmt: skip
RESET_POOL = "reset_global_pool"
"""Ours, for ``reset_classifier``, which leaves the norms of a network where they were."""
WIDEST_WINDOW = 64
"""Places along a side: a window's table of positions grows with the fourth power."""

WIDTH, BLOCKS, FACTOR = whole(1, 65536), whole(0, 256), number(64)

KINDS: tuple[tuple[Fits, str], ...] = (
    (word(*ACTIVATIONS), "act_layer"),
    (word(*NORMS), "norm_layer"),
    (word(*POOLS), f"global_pool {RESET_POOL}"),
    (word("", "same"), "pad_type"),
    (word("", "learn", "none"), "pos_embed"),
    (whole(2, 32), "output_stride"),
    (WIDTH, "embed_dim num_features stem_size stem_width base_width cardinality "
            "growth_rate num_init_features head_hidden_size attn_pool_num_heads"),
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
    (number(1e6), "init_values ls_init_value layer_scale_init_value norm_eps head_init_scale "
                   "rope_temperature"),
    (number(1.0), "drop_rate drop_path_rate drop_block_rate proj_drop_rate attn_drop_rate "
                   "pos_drop_rate patch_drop_rate"),
    (switch, "class_token no_embed_class qkv_bias qk_norm scale_attn_norm scale_mlp_norm pre_norm "
              "final_norm fc_norm use_fc_norm dynamic_img_size dynamic_img_pad strict_img_size "
              "proj_bias swiglu_mlp scale_mlp scale_attn_inner use_abs_pos_emb use_rel_pos_bias "
              "use_shared_rel_pos_bias use_rot_pos_emb conv_mlp conv_bias use_grn head_norm_first "
              "always_partition avg_down replace_stem_pool zero_init_last fix_init fix_stem "
              "distilled use_pos_embed"),
)  # fmt: skip
"""What a value must be, and the arguments that must be it."""

FITS: Mapping[str, Fits] = named(KINDS)


def checked(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments``, all of which are known, and within bounds.

    Raises:
        Unsupported: One is not; it is named.
    """
    passed_on(arguments, FITS, "timm")
    return dict(arguments)
