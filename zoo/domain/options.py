"""Options: those of a recipe and of a run as keywords, for editors; `Recipe` and `zoo.Zoo.finetune`
say what each is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from zoo.contracts import Tracker

__all__ = ["OpeningOptions", "RecipeOptions", "RunOptions"]


class OpeningOptions(TypedDict, total=False):
    """Those fields of `zoo.domain.recipe.Recipe` that say how labeled images are opened."""

    path_column: str
    label_column: str
    root: str
    max_pixels: int | None


class RunOptions(TypedDict, total=False):
    """How a recipe is run, whatever it says; no part of it."""

    device: str
    save_every: int
    profile: bool
    log: Sequence[str | Tracker] | str | Tracker
    force: bool
    note: str
    report: str


class RecipeOptions(TypedDict, total=False):
    """The fields of `zoo.domain.recipe.Recipe` but ``data``; a count of units is a freeze, too."""

    task: Literal["auto", "classification", "multi-label", "regression"]
    validation_share: float
    test_share: float
    fold: str
    path_column: str
    label_column: str
    root: str
    max_pixels: int | None
    group_by: str
    duplicates: Literal["together", "apart"]
    held_out: Literal["auto", "unseen", "any"]
    skip_bad: bool
    image_size: int | None
    augment: Literal["none", "light", "medium", "heavy"]
    augment_on: Literal["host", "device"]
    views: int
    mixup: float
    cutmix: float
    strategy: Literal[
        "auto", "probe", "partial", "full", "lp-ft", "gradual", "lora", "bitfit", "norms"
    ]
    freeze: str | int
    phases: Sequence[str]
    rank: int
    batch_norm: Literal["auto", "frozen", "live", "synced", "recalibrated"]
    head: str
    probe: Literal["softmax", "svm"]
    at: str
    epochs: int
    batch_size: int | str
    accumulate: int
    optimizer: str
    lr: float
    backbone_lr_ratio: float
    layer_decay: float | None
    schedule: Literal["cosine", "one-cycle", "constant"]
    warmup: float | None
    weight_decay: float
    clip_norm: float
    label_smoothing: float
    class_weights: Literal["none", "balanced"]
    drop_path: float | None
    drop: float | None
    layer_scale: float | None
    loss: Literal["auto", "focal", "asymmetric"]
    sampler: Literal["shuffle", "balanced"]
    teacher: str
    distill_weight: float
    distill_temperature: float
    sam: float
    ema: float
    blend: Literal["none", "wise-ft", "soup"]
    patience: int
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"]
    channels_last: bool
    compile: bool
    grad_checkpointing: bool
    cache: bool
    seed: int
    keep_examples: int
    publish_examples: bool
