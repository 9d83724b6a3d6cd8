"""The table of architectures: published image networks of transformers, by their names on the Hub.

A row says what differs from the defaults of the configuration class, and how images become input;
both as published with the weights (``config.json``, ``preprocessor_config.json``). Nothing here
needs transformers, so that all is listed without it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from zoo.domain.manifest import Preprocessing
from zoo.domain.network import Config
from zoo.errors import UnknownName

__all__ = ["ARCHITECTURES", "Architecture", "Family", "find"]

NONE: Config = {}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
AS_IS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What networks of a kind have in common.

    Attributes:
        owner: Who publishes them on the Hub.
        model: Class in transformers.
        license: License id; None where none is stated.
        mean_std: Mean and standard deviation per channel.
        interpolation: Resize filter.
        crop_mode: ``squash`` resizes both sides, ``center`` the shorter one; then comes the crop.
        crop_pct: Share of the resized image that the crop keeps.
        heads: Paths of the layers that give the classes; none where transformers has no classifier.
        config: What differs from the configuration class's defaults in all of them.
        sized: Whether they are built for one size of images. If not, they take any.
        vision_tower: Whether they are the vision half of a pair, whose configuration is nested.
        bgr: Whether their channels are in the order blue, green, red.
    """

    owner: str
    model: str
    license: str | None = "apache-2.0"
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    interpolation: str = "bicubic"
    crop_mode: str = "squash"
    crop_pct: float = 1.0
    heads: tuple[str, ...] = ("classifier",)
    config: Config = field(default_factory=dict)
    sized: bool = True
    vision_tower: bool = False
    bgr: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One network by its name on the Hub, without the owner's: the ``size`` of the images that its
    weights were published for, outputs of the published classifier (0 for an encoder), and what
    differs from the configuration class's defaults.
    """

    name: str
    family: Family
    size: int
    num_classes: int
    config: Config

    @property
    def hub_id(self) -> str:
        """Repository on the Hub."""
        return f"{self.family.owner}/{self.name}"

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become input, as its published processor does it."""
        mean, std = self.family.mean_std
        return Preprocessing(
            input_size=(len(mean), self.size, self.size),
            mean=mean,
            std=std,
            interpolation=self.family.interpolation,
            crop_pct=self.family.crop_pct,
            crop_mode=self.family.crop_mode,
        )


def find(name: str) -> Architecture:
    """The architecture ``name``."""
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=4, cutoff=0.5)
        raise UnknownName("transformers architecture", name, near)
    return ARCHITECTURES[name]


def _dino(width: int, heads: int, layers: int = 12, **more: object) -> dict[str, object]:
    shape: dict[str, object] = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
    }
    return {**shape, **more}


def _sized(width: int, heads: int, layers: int = 12, **more: object) -> dict[str, object]:
    return _dino(width, heads, layers, **{"intermediate_size": 4 * width, **more})


def _conv(depths: tuple[int, ...], width: int) -> dict[str, object]:
    sizes = [width << stage for stage in range(len(depths))]
    return {"depths": list(depths), "hidden_sizes": sizes}


def _swin(width: int, depth: int, heads: int, window: int = 7) -> dict[str, object]:
    return {
        "embed_dim": width,
        "depths": [2, 2, depth, 2],
        "num_heads": [heads << stage for stage in range(4)],
        "window_size": window,
    }


TINY, SMALL, BASE = _sized(192, 3), _sized(384, 6), _sized(768, 12)
LARGE, HUGE = _sized(1024, 16, 24), _sized(1280, 16, 32, patch_size=14)
BEIT_LARGE = {**LARGE, "layer_scale_init_value": 1e-5}
SO400M = _sized(1152, 16, 27, intermediate_size=4304, patch_size=14)
SHALLOW, NORMAL, DEEP = (2, 2, 6, 2), (3, 3, 9, 3), (3, 3, 27, 3)
SWIGLU = {"use_gated_mlp": True, "hidden_act": "silu"}
DINO = {
    "small": _dino(384, 6),
    "base": _dino(768, 12),
    "large": _dino(1024, 16, 24),
    "giant": _dino(1536, 24, 40, use_swiglu_ffn=True),
}

VIT = Family(
    owner="google", model="ViTForImageClassification", mean_std=HALF, interpolation="bilinear"
)
DEIT = Family(owner="facebook", model="ViTForImageClassification", crop_pct=0.875)
DISTILLED = Family(
    owner="facebook",
    model="DeiTForImageClassificationWithTeacher",
    crop_pct=0.875,
    heads=("cls_classifier", "distillation_classifier"),
)
BEIT = Family(
    owner="microsoft",
    model="BeitForImageClassification",
    mean_std=HALF,
    interpolation="bilinear",
    config={"use_relative_position_bias": True},
    sized=False,
)
SWIN = Family(owner="microsoft", model="SwinForImageClassification")
CONVNEXT = Family(
    owner="facebook", model="ConvNextForImageClassification", crop_mode="center", crop_pct=0.875
)
CONVNEXT_384 = Family(owner="facebook", model="ConvNextForImageClassification")
CONVNEXT_V2 = replace(CONVNEXT, model="ConvNextV2ForImageClassification")
DINO_V2 = Family(
    owner="facebook",
    model="Dinov2ForImageClassification",
    crop_mode="center",
    crop_pct=0.875,
    config={"image_size": 518, "patch_size": 14},
    sized=False,
)
DINO_V2_REGISTERS = replace(DINO_V2, model="Dinov2WithRegistersForImageClassification")
DINO_V3 = Family(
    owner="facebook",
    model="DINOv3ViTModel",
    license="dinov3-license",
    interpolation="bilinear",
    heads=(),
    config={"num_register_tokens": 4},
    sized=False,
)
DINO_V3_CONVNEXT = replace(DINO_V3, model="DINOv3ConvNextModel", config={})
RESNET = Family(
    owner="microsoft",
    model="ResNetForImageClassification",
    crop_mode="center",
    crop_pct=0.875,
    heads=("classifier.1",),
    sized=False,
)
MOBILEVIT = Family(
    owner="apple",
    model="MobileViTForImageClassification",
    license="other",
    mean_std=AS_IS,
    interpolation="bilinear",
    crop_mode="center",
    crop_pct=256 / 288,
    bgr=True,
)
SIGLIP = Family(
    owner="google",
    model="SiglipForImageClassification",
    mean_std=HALF,
    vision_tower=True,
    # Its attention pooling: transformers' classifier averages over all places instead.
    config={"vision_use_head": False},
)
CLIP_VISION = Family(
    owner="openai",
    model="CLIPForImageClassification",
    license=None,
    mean_std=CLIP,
    crop_mode="center",
    vision_tower=True,
)

Rows = Mapping[str, tuple[int, int, Config]]
"""Name to image size, number of classes, and what differs in the configuration."""

TABLE: tuple[tuple[Family, Rows], ...] = (
    (VIT, {
        "vit-base-patch16-224": (224, 1000, BASE),
        "vit-base-patch16-384": (384, 1000, BASE),
        "vit-base-patch32-384": (384, 1000, {**BASE, "patch_size": 32}),
        "vit-large-patch16-224": (224, 1000, LARGE),
        "vit-large-patch16-384": (384, 1000, LARGE),
        "vit-large-patch32-384": (384, 1000, {**LARGE, "patch_size": 32}),
        "vit-base-patch16-224-in21k": (224, 0, BASE),
        "vit-base-patch32-224-in21k": (224, 0, {**BASE, "patch_size": 32}),
        "vit-large-patch16-224-in21k": (224, 0, LARGE),
        "vit-large-patch32-224-in21k": (224, 0, {**LARGE, "patch_size": 32}),
        "vit-huge-patch14-224-in21k": (224, 0, HUGE),
    }),
    (DEIT, {
        "deit-tiny-patch16-224": (224, 1000, TINY),
        "deit-small-patch16-224": (224, 1000, SMALL),
        "deit-base-patch16-224": (224, 1000, BASE),
        "deit-base-patch16-384": (384, 1000, BASE),
    }),
    (DISTILLED, {
        "deit-tiny-distilled-patch16-224": (224, 1000, TINY),
        "deit-small-distilled-patch16-224": (224, 1000, SMALL),
        "deit-base-distilled-patch16-224": (224, 1000, BASE),
        "deit-base-distilled-patch16-384": (384, 1000, BASE),
    }),
    (BEIT, {
        "beit-base-patch16-224": (224, 1000, BASE),
        "beit-base-patch16-384": (384, 1000, {**BASE, "image_size": 384}),
        "beit-large-patch16-224": (224, 1000, BEIT_LARGE),
        "beit-large-patch16-384": (384, 1000, {**BEIT_LARGE, "image_size": 384}),
        "beit-large-patch16-512": (512, 1000, {**BEIT_LARGE, "image_size": 512}),
    }),
    (SWIN, {
        "swin-tiny-patch4-window7-224": (224, 1000, _swin(96, 6, 3)),
        "swin-small-patch4-window7-224": (224, 1000, _swin(96, 18, 3)),
        "swin-base-patch4-window7-224": (224, 1000, _swin(128, 18, 4)),
        "swin-base-patch4-window12-384": (384, 1000, _swin(128, 18, 4, 12)),
        "swin-large-patch4-window7-224": (224, 1000, _swin(192, 18, 6)),
        "swin-large-patch4-window12-384": (384, 1000, _swin(192, 18, 6, 12)),
    }),
    (CONVNEXT, {
        "convnext-tiny-224": (224, 1000, _conv(NORMAL, 96)),
        "convnext-small-224": (224, 1000, _conv(DEEP, 96)),
        "convnext-base-224": (224, 1000, _conv(DEEP, 128)),
        "convnext-large-224": (224, 1000, _conv(DEEP, 192)),
        "convnext-base-224-22k-1k": (224, 1000, _conv(DEEP, 128)),
        "convnext-large-224-22k-1k": (224, 1000, _conv(DEEP, 192)),
        "convnext-xlarge-224-22k-1k": (224, 1000, _conv(DEEP, 256)),
    }),
    (CONVNEXT_384, {
        "convnext-base-384": (384, 1000, _conv(DEEP, 128)),
        "convnext-large-384": (384, 1000, _conv(DEEP, 192)),
    }),
    (CONVNEXT_V2, {
        "convnextv2-atto-1k-224": (224, 1000, _conv(SHALLOW, 40)),
        "convnextv2-femto-1k-224": (224, 1000, _conv(SHALLOW, 48)),
        "convnextv2-pico-1k-224": (224, 1000, _conv(SHALLOW, 64)),
        "convnextv2-nano-1k-224": (224, 1000, _conv((2, 2, 8, 2), 80)),
        "convnextv2-tiny-1k-224": (224, 1000, _conv(NORMAL, 96)),
        "convnextv2-base-1k-224": (224, 1000, _conv(DEEP, 128)),
        "convnextv2-large-1k-224": (224, 1000, _conv(DEEP, 192)),
        "convnextv2-huge-1k-224": (224, 1000, _conv(DEEP, 352)),
    }),
    (DINO_V2, {f"dinov2-{size}": (224, 0, values) for size, values in DINO.items()}),
    (DINO_V2, {
        f"dinov2-{size}-imagenet1k-1-layer": (224, 1000, values) for size, values in DINO.items()
    }),
    (DINO_V2_REGISTERS, {
        f"dinov2-with-registers-{size}": (224, 0, values) for size, values in DINO.items()
    }),
    (DINO_V3, {
        "dinov3-vits16-pretrain-lvd1689m": (224, 0, SMALL),
        "dinov3-vits16plus-pretrain-lvd1689m": (224, 0, {**SMALL, **SWIGLU}),
        "dinov3-vitb16-pretrain-lvd1689m": (224, 0, BASE),
        "dinov3-vitl16-pretrain-lvd1689m": (224, 0, LARGE),
        "dinov3-vith16plus-pretrain-lvd1689m": (224, 0, {**_sized(1280, 20, 32), **SWIGLU}),
        "dinov3-vit7b16-pretrain-lvd1689m": (224, 0, {
            **_sized(4096, 32, 40, intermediate_size=8192), **SWIGLU,
            "query_bias": False, "value_bias": False,
        }),
    }),
    (DINO_V3_CONVNEXT, {
        "dinov3-convnext-tiny-pretrain-lvd1689m": (224, 0, _conv(NORMAL, 96)),
        "dinov3-convnext-small-pretrain-lvd1689m": (224, 0, _conv(DEEP, 96)),
        "dinov3-convnext-base-pretrain-lvd1689m": (224, 0, _conv(DEEP, 128)),
        "dinov3-convnext-large-pretrain-lvd1689m": (224, 0, _conv(DEEP, 192)),
    }),
    (RESNET, {
        "resnet-18": (224, 1000, {"layer_type": "basic", **_conv((2, 2, 2, 2), 64)}),
        "resnet-26": (224, 1000, {"depths": [2, 2, 2, 2]}),
        "resnet-34": (224, 1000, {"layer_type": "basic", **_conv((3, 4, 6, 3), 64)}),
        "resnet-50": (224, 1000, NONE),
        "resnet-101": (224, 1000, {"depths": [3, 4, 23, 3]}),
        "resnet-152": (224, 1000, {"depths": [3, 8, 36, 3]}),
    }),
    (MOBILEVIT, {
        "mobilevit-small": (256, 1000, NONE),
        "mobilevit-x-small": (256, 1000, {
            "hidden_sizes": [96, 120, 144], "neck_hidden_sizes": [16, 32, 48, 64, 80, 96, 384],
        }),
        "mobilevit-xx-small": (256, 1000, {
            "hidden_sizes": [64, 80, 96], "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320],
            "hidden_dropout_prob": 0.05, "expand_ratio": 2.0,
        }),
    }),
    (SIGLIP, {
        "siglip-base-patch16-224": (224, 0, BASE),
        "siglip-base-patch16-256": (256, 0, BASE),
        "siglip-base-patch16-384": (384, 0, BASE),
        "siglip-base-patch16-512": (512, 0, BASE),
        "siglip-large-patch16-256": (256, 0, LARGE),
        "siglip-large-patch16-384": (384, 0, LARGE),
        "siglip-so400m-patch14-224": (224, 0, SO400M),
        "siglip-so400m-patch14-384": (384, 0, SO400M),
    }),
    (CLIP_VISION, {
        "clip-vit-base-patch32": (224, 0, BASE),
        "clip-vit-base-patch16": (224, 0, {**BASE, "patch_size": 16}),
        "clip-vit-large-patch14": (224, 0, {**LARGE, "patch_size": 14}),
        "clip-vit-large-patch14-336": (336, 0, {**LARGE, "patch_size": 14}),
    }),
)  # fmt: skip


ARCHITECTURES: Mapping[str, Architecture] = dict(
    sorted(
        (
            name,
            Architecture(
                name=name,
                family=family,
                size=size,
                num_classes=num_classes,
                config={**family.config, **values},
            ),
        )
        for family, rows in TABLE
        for name, (size, num_classes, values) in rows.items()
    )
)
"""All by name, sorted."""
