"""What a ``config.json`` of transformers says: which row of our table it is like, and what differs.

transformers does not record which published network a fine-tune began with, so that is found by its
shape. Where several rows have that one, the names decide that the files and their origins have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from zoo.domain.arguments import Fits, each, named, number, passed_on, switch, whole, word
from zoo.domain.limits import IMAGE_SIDE
from zoo.domain.manifest import Preprocessing
from zoo.domain.network import CONFIG, Config, Network, in_bounds
from zoo.domain.surgery import adapted_preprocessing
from zoo.errors import MissingPackage, Unsupported
from zoo_transformers import processor as processors
from zoo_transformers.architectures import ARCHITECTURES, TABLE, Architecture

__all__ = ["checked", "read", "with_arguments"]

MODEL_TYPES: Mapping[str, str] = {
    "beit": "BeitForImageClassification",
    "clip": "CLIPForImageClassification",
    "clip_vision_model": "CLIPForImageClassification",
    "convnext": "ConvNextForImageClassification",
    "convnextv2": "ConvNextV2ForImageClassification",
    "deit": "DeiTForImageClassificationWithTeacher",
    "dinov2": "Dinov2ForImageClassification",
    "dinov2_with_registers": "Dinov2WithRegistersForImageClassification",
    "dinov3_convnext": "DINOv3ConvNextModel",
    "dinov3_vit": "DINOv3ViTModel",
    "mobilevit": "MobileViTForImageClassification",
    "resnet": "ResNetForImageClassification",
    "siglip": "SiglipForImageClassification",
    "siglip_vision_model": "SiglipForImageClassification",
    "swin": "SwinForImageClassification",
    "vit": "ViTForImageClassification",
}
"""The class of our table for each ``model_type``."""
PAIRS = ("clip", "siglip")
"""Those whose configuration has one for each half of a pair."""
ENCODERS = ("Model", "VisionModel", "VisionModelWithProjection")
"""How classes of transformers end that have no classifier."""
ONE_HEAD = "DeiTForImageClassification"
"""What a fine-tune of a network with two heads mostly is: the second is left out."""
REFUSED = ("auto_map", "quantization_config", "pruned_heads", "adapter_config")
"""What makes transformers run a repository's code, or change the network after it was built."""

ACTIVATIONS = (
    "gelu gelu_10 gelu_accurate gelu_fast gelu_new gelu_python gelu_pytorch_tanh leaky_relu linear "
    "mish quick_gelu relu relu2 relu6 sigmoid silu swish tanh"
)
WIDEST_WINDOW = 64
"""Places along a side: a window's table of positions grows with the fourth power."""

TRAINING = (
    "hidden_dropout_prob attention_probs_dropout_prob attention_dropout drop_path_rate "
    "classifier_dropout_prob"
)
"""Those that make no difference after training; they are no reason to take another row."""

KINDS: tuple[tuple[Fits, str], ...] = (
    (word(*ACTIVATIONS.split()), "hidden_act"),
    (word("basic", "bottleneck"), "layer_type"),
    (word(ONE_HEAD), "model"),
    (whole(1, 65536), "hidden_size intermediate_size num_attention_heads embed_dim embedding_size"),
    (whole(1, 256), "num_hidden_layers"),
    (whole(1, 16), "num_stages"),
    (whole(1, 256), "patch_size"),
    (whole(1, IMAGE_SIDE), "image_size"),
    (whole(0, 1024), "num_register_tokens"),
    (whole(1, WIDEST_WINDOW), "window_size"),
    (whole(1, 31), "conv_kernel_size"),
    (whole(2, 32), "output_stride"),
    (each(whole(1, 256)), "depths"),
    (each(whole(1, 65536)), "hidden_sizes neck_hidden_sizes num_heads"),
    (number(64), "mlp_ratio expand_ratio"),
    (number(1e6), "layer_norm_eps layer_scale_init_value layerscale_value rope_theta"),
    (number(1.0), TRAINING),
    (
        switch,
        "qkv_bias query_bias key_bias value_bias proj_bias mlp_bias use_gated_mlp use_swiglu_ffn "
        "use_mean_pooling use_absolute_position_embeddings use_relative_position_bias "
        "use_shared_relative_position_bias use_absolute_embeddings downsample_in_first_stage "
        "downsample_in_bottleneck",
    ),
)
"""Fields of configurations that change what a network computes: what a value must be, and which."""

FITS: Mapping[str, Fits] = named(KINDS)
POSITIONED = ("Beit", "Dinov2")
"""Networks that take images of any size, but whose weights depend on ``image_size``."""
ORDER = tuple(name for _, rows in TABLE for name in rows)
RGB = 3


def checked(arguments: Config) -> dict[str, object]:
    """``arguments``, all of which are known, and within bounds."""
    passed_on(arguments, FITS, "transformers")
    return dict(arguments)


def with_arguments(architecture: Architecture, arguments: Config) -> Architecture:
    """The row, built with ``arguments``, which were `checked`."""
    values = dict(arguments)
    family = architecture.family
    if model := values.pop("model", None):
        family = replace(family, model=model, heads=("classifier",))
    return replace(architecture, family=family, config={**architecture.config, **values})


def read(config: Config, processor: Config, names: Sequence[str]) -> Network:
    """The network that the two files describe.

    Raises:
        MissingPackage: transformers is not installed.
        Unsupported: It is of a kind that is not in the table, or has a value that is not passed on.
        KeyError, TypeError, ValueError, AttributeError, OverflowError: It is malformed.
    """
    for name in REFUSED:
        if config.get(name):
            raise Unsupported(f"{CONFIG} has '{name}', which zoo does not follow")
    kind = str(config["model_type"])
    rows, encoder = _rows(config, kind)
    stated = config.get("vision_config", {}) if kind in PAIRS else config
    own_names = [name.rpartition("/")[2] for name in (*names, str(config.get("_name_or_path", "")))]
    preprocessing = processors.read(processor, bgr=rows[0].family.bgr) if processor else None
    row, differing = _nearest(rows, _defaults(kind), stated, own_names, preprocessing)
    if (config.get("architectures") or [""])[0] == ONE_HEAD:
        differing["model"] = ONE_HEAD
    labels = _labels(config)
    channels = stated.get("num_channels", RGB)
    # A size that a network is built for is part of what zoo says of all networks.
    size = differing.pop("image_size", None) if row.family.sized else None
    options = {
        "num_classes": 0 if encoder else len(labels) or None,
        "image_size": [size, size] if isinstance(size, int) else size and list(size),
        "channels": channels if channels != RGB else None,
        "arguments": checked(differing) or None,
    }
    return Network(
        architecture=row.name,
        surgery=in_bounds(options, CONFIG),
        preprocessing=preprocessing and adapted_preprocessing(preprocessing, None, channels),
        classes=() if encoder or labels[:1] == ("LABEL_0",) else labels,
    )


def _rows(config: Config, kind: str) -> tuple[list[Architecture], bool]:
    """The rows of a kind of network, and whether it is one without a classifier."""
    model = (config.get("architectures") or [""])[0]
    rows = [row for row in ARCHITECTURES.values() if row.family.model == MODEL_TYPES.get(kind)]
    if not rows:
        raise Unsupported(
            f"{CONFIG} is of a '{kind:.64}' of transformers; zoo builds {', '.join(MODEL_TYPES)}"
        )
    family = rows[0].family
    encoder = bool(family.heads) and model.endswith(ENCODERS) and model != family.model
    if model not in ("", family.model, ONE_HEAD) and not encoder:
        raise Unsupported(
            f"{CONFIG} is of a {model:.64}; of a '{kind}', zoo builds {family.model}, or an encoder"
        )
    return rows, encoder


def _defaults(kind: str) -> dict[str, object]:
    """Values of the fields in `FITS` that a configuration has where it states none."""
    try:
        from transformers import CONFIG_MAPPING
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"'transformers', which a network of the kind '{kind}' needs,",
            "pip install 'zoo-registry[transformers]'",
        ) from error
    own = CONFIG_MAPPING[f"{kind}_vision_model" if kind in PAIRS else kind]
    values = {name: value for name, value in own().to_dict().items() if name in FITS}
    if "embed_dim" in values:  # Swin's: what follows from it
        values.pop("hidden_size", None)
    return values


def _nearest(
    rows: Sequence[Architecture],
    defaults: Config,
    stated: Config,
    known_names: Sequence[str],
    preprocessing: Preprocessing | None,
) -> tuple[Architecture, dict[str, Any]]:
    """The row that is the likeliest, and the values that are other than its own."""
    theirs = {name: stated.get(name, value) for name, value in defaults.items()}

    def differing(row: Architecture) -> dict[str, object]:
        ours = {**defaults, **row.config}
        if row.family.sized:
            ours["image_size"] = row.size
        elif not row.family.model.startswith(POSITIONED):
            ours["image_size"] = theirs.get("image_size")
        return {name: value for name, value in theirs.items() if value != ours[name]}

    # Least different first, then by name, colors, and place in the table.
    def likelihood(row: Architecture) -> tuple[int, int, bool, int]:
        rank = known_names.index(row.name) if row.name in known_names else len(known_names)
        other_colors = preprocessing is not None and preprocessing.mean != row.preprocessing.mean
        return (
            len(differing(row).keys() - TRAINING.split()),
            rank,
            other_colors,
            ORDER.index(row.name),
        )

    best = min(rows, key=likelihood)
    return best, differing(best)


def _labels(config: Config) -> tuple[str, ...]:
    """Labels in index order; transformers makes some up where there are none."""
    labels = {int(key): str(name) for key, name in (config.get("id2label") or {}).items()}
    return tuple(labels[index] for index in range(len(labels)))
