"""Recipe: the frozen options of a fine-tune.

One table says it all: each field has its default, its help, and what it may be. The command line
and the documentation are made from it.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from shlex import quote
from typing import Any, Self

from zoo.domain.limits import LORA_RANK
from zoo.domain.phase import Phase
from zoo.domain.plain import Json
from zoo.domain.presets import find
from zoo.errors import InvalidOption

__all__ = [
    "ADAPTERS",
    "BEFORE",
    "DEFAULTS",
    "FOLLOWING",
    "IDLE",
    "MOST_FOLDS",
    "OPTIONS",
    "VIEWS_OF_NOTHING",
    "Recipe",
    "chosen",
    "data_name",
    "in_words",
    "spelled",
    "public_options",
]

LP_FT_SHARE = 0.1
"""Rate of a head that was fitted before, as a share of a new one's (Kumar et al., "Fine-Tuning can
Distort Pretrained Features", ICLR 2022: fine-tuning after a probe wants small steps)."""

ADAPTERS: Mapping[str, str] = {
    "lora": "layers that an adapter of that rank is smaller than",
    "bitfit": "biases",
    "norms": "weights or biases of normalization",
}
"""Strategies that train the head and a small part of each unit, and what that is."""

IDLE: Mapping[str, str] = {
    "probe": "rank augment augment_on views mixup cutmix freeze batch_norm epochs accumulate "
    "optimizer lr backbone_lr_ratio layer_decay schedule weight_decay clip_norm label_smoothing "
    "class_weights drop_path drop layer_scale loss sampler teacher distill_weight "
    "distill_temperature sam ema blend patience grad_checkpointing",
    "partial": "probe rank",
    "full": "probe rank",
    "lp-ft": "rank",
    "gradual": "probe rank epochs",
    "lora": "probe layer_decay batch_norm layer_scale blend",
    "bitfit": "probe rank layer_decay layer_scale",
    "norms": "probe rank layer_decay layer_scale",
}
"""What has no effect with a strategy. A warm-up has none for a probe either, but the recipes of
probes recorded one before its default was that of the schedule."""

BEFORE: Mapping[str, object] = {"duplicates": "apart", "held_out": "any", "batch_norm": "live"}
"""What older versions did, before there was an option for it."""

UNSAID = (
    "batch_norm",
    "held_out",
    "fold",
    "keep_examples",
    "publish_examples",
    "preset",
    "augment_on",
    "sam",
    "rank",
    "drop_path",
    "drop",
    "layer_scale",
    "loss",
    "sampler",
    "teacher",
    "distill_weight",
    "distill_temperature",
)
"""Options that are recorded only where they are not what they are by themselves, so that older
versions read the record: no ``batch_norm``, where no batch norm is trained; no ``held_out``, where
it makes no other split."""

FOLD = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")
MOST_FOLDS = 100
"""Into more nobody divides images: each fold is a run."""

PHASES = "--phases all:2 --phases blocks.4:3"
"""How phases are given, for those who left them out."""

FOLLOWING = ("live", "synced")
"""Whose statistics of batch norm follow the batches, by ``batch_norm``."""

VIEWS_OF_NOTHING = "views are kept of what a frozen part gives, and nothing is frozen"
"""Why ``views`` are refused with a strategy or freeze spec that freezes nothing."""

Check = Callable[[Any], bool]


def _option(
    default: object,
    text: str,
    *,
    must: str = "",
    check: Check | None = None,
    one_of: tuple[str, ...] = (),
    also: str = "",
) -> Any:
    if one_of:
        must, check = "one of " + ", ".join(one_of), lambda value: value in one_of
    metadata = {"help": text, "must": must, "check": check, "one_of": one_of, "also": also}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def _positive(default: object, text: str) -> Any:
    return _option(default, text, must="above 0, and finite", check=lambda x: 0 < x < math.inf)


def _natural(default: int, text: str, least: int = 0) -> Any:
    must = f"at least {least}" if least else "0 or more"
    return _option(default, text, must=must, check=lambda x: x >= least)


def _share(default: float, text: str) -> Any:
    return _option(default, text, must="0 or more and below 1", check=lambda x: 0 <= x < 1)


def _rate(text: str) -> Any:
    return _option(
        None, text, must="0 or more and below 1", check=lambda x: x is None or 0 <= x < 1
    )


def _amount(default: float, text: str) -> Any:
    return _option(default, text, must="0 or more", check=lambda x: 0 <= x < math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that, with the base weights and the data, decides the result of a fine-tune.

    Raises:
        InvalidOption: One is of another type, or out of range, or two contradict each other.
    """

    # data
    data: str = _option(MISSING, "Class folders, a table of paths and labels, or a named dataset.")
    task: str = _option(
        "auto",
        "What is learned; auto: what the data looks like.",
        one_of=("auto", "classification", "multi-label", "regression"),
    )
    validation_share: float = _share(
        0.1, "Share of each class that options are chosen on, where the data has no such split."
    )
    test_share: float = _option(
        0.2,
        "Share of each class that only measures the result, where the data has no such split.",
        must="above 0 and below 1: each result is measured on images that had no part in it, "
        "with --folds, too; 0.05 is a small share",
        check=lambda x: 0 < x < 1,
    )
    fold: str = _option(
        "",
        "Hold out K/N, the K-th of N folds of training and validation images together, as "
        "validation images; or all: hold out none, and train on all of these. --folds does all N.",
        must="all, or K/N with K from 1 to N and N from 2 to 100 (2/5)",
        check=lambda x: x in ("", "all") or _is_fold(x),
    )
    path_column: str = _option(
        "", "Column of the table with the paths; default: path, file, image, filename, …"
    )
    label_column: str = _option(
        "",
        "Column of the table with the label; several with commas between them: columns of 0 and 1, "
        "or of numbers; default: label, labels, target, class, …, else all columns of 0 and 1.",
    )
    root: str = _option(
        "", "Folder that paths in the table begin at; default: the one that the table is in."
    )
    max_pixels: int | None = _option(
        None,
        "Pixels of the largest image that is opened; default: 178,956,970, Pillow's limit.",
        must="at least 1",
        check=lambda x: x is None or x >= 1,
    )
    group_by: str = _option(
        "",
        "Keep images of one patient, video, … in one split: a column of the table; "
        "'folder', the one that an image lies in; or a regular expression with a group, found in "
        "its path: '(patient[0-9]+)_'.",
    )
    duplicates: str = _option(
        "together",
        "Copies of an image: together in one split, or apart, as runs of older versions had them.",
        one_of=("together", "apart"),
    )
    held_out: str = _option(
        "auto",
        "Images to choose and test on, where the data has no such splits: unseen, none that the "
        "base was trained on or chosen by, if enough others are left; any, as runs of older "
        "versions had them; auto: unseen, where the base knows some of them.",
        one_of=("auto", "unseen", "any"),
    )
    skip_bad: bool = _option(False, "Skip and count images that cannot be read.")
    image_size: int | None = _option(
        None,
        "Height and width in pixels; default: the base's.",
        must="at least 8",
        check=lambda x: x is None or x >= 8,
    )
    augment: str = _option(
        "none",
        "Random changes of training images. Without any, what is frozen runs only once.",
        one_of=("none", "light", "medium", "heavy"),
    )
    augment_on: str = _option(
        "host",
        "Where that is done: on the host, or on the device that trains, to whole batches and with "
        "the same draws; the host then decodes and crops.",
        one_of=("host", "device"),
    )
    views: int = _natural(
        0,
        "Augmented views cached of each image, so that what is frozen runs once on each; 0: none.",
    )
    mixup: float = _amount(0.0, "Mixup alpha; 0: none.")
    cutmix: float = _amount(0.0, "CutMix alpha; 0: none.")

    # what is trained
    strategy: str = _option(
        "auto",
        "How: a probe alone, training to a depth, everything, a probe and then training, phases, "
        "or with the head small corrections of weights (lora), biases (bitfit) or normalization "
        "(norms) alone; "
        "auto: lp-ft for a linear head, else partial.",
        one_of=("auto", "probe", "partial", "full", "lp-ft", "gradual", *ADAPTERS),
    )
    freeze: str = _option(
        "none",
        "none, all, a unit or stage up to which to freeze (zoo tree lists them), a count "
        "(6, -2), or a share (75%).",
    )
    phases: tuple[str, ...] = _option(
        (),
        "For gradual, one after another: FREEZE:EPOCHS or FREEZE:EPOCHS@RATE (all:2, "
        "blocks.4:3@1e-3); repeatable.",
    )
    rank: int = _option(
        8,
        "For lora: rank of what is added to each weight.",
        must=f"from 1 to {LORA_RANK}",
        check=lambda x: 1 <= x <= LORA_RANK,
    )
    batch_norm: str = _option(
        "auto",
        "Statistics of batch norms that are trained: frozen, those of the base; recalibrated, "
        "taken from the training images before training, and kept; live, they follow the batches, "
        "of several processes each its share; synced, the whole batches; "
        "auto: frozen with up to 2000 training images, else live.",
        one_of=("auto", "frozen", "live", "synced", "recalibrated"),
    )
    head: str = _option("linear", "Kind of the new head.")
    probe: str = _option(
        "softmax",
        "Classifier of a probe; the accuracy of k nearest neighbors is reported, too.",
        one_of=("softmax", "svm"),
    )
    at: str = _option(
        "head",
        "Unit whose activations a probe takes, or several with commas between them, beside each "
        "other; auto: one, chosen by nested validation; all: the end of every stage, and the head. "
        "With lora, bitfit and norms: the units or stages that they train in; default: all above "
        "those that are frozen.",
        also="features",
    )

    # how long and how fast
    epochs: int = _natural(5, "Passes over the training images.", 1)
    batch_size: int | str = _option(
        32,
        "Images per batch; auto: as many as fit on the device, a power of two that leaves an epoch "
        "16 steps or is up to 32, and a learning rate for these.",
        must="at least 2, or auto",
        check=lambda x: x == "auto" or (isinstance(x, int) and x >= 2),
    )
    accumulate: int = _natural(1, "Batches per optimizer step.", 1)
    optimizer: str = _option("adamw", "adamw, sgd, or any name that timm's optimizers have.")
    lr: float = _positive(3e-3, "Learning rate of a new head.")
    backbone_lr_ratio: float = _positive(
        0.1, "Learning rate of the last unit as a share of the head's."
    )
    layer_decay: float | None = _option(
        None,
        "Learning rate of a unit as a share of the next one's; "
        "default: 0.75 for transformers, else 0.9.",
        must="above 0 and at most 1",
        check=lambda x: x is None or 0 < x <= 1,
    )
    schedule: str = _option(
        "cosine", "Learning rate schedule.", one_of=("cosine", "one-cycle", "constant")
    )
    warmup: float | None = _option(
        None,
        "Share of the steps that warm up; default: 0.3 for one-cycle, else 0.1.",
        must="0 or more and below 1",
        check=lambda x: x is None or 0 <= x < 1,
    )
    weight_decay: float = _amount(0.01, "Weight decay; never applied to norms, biases and scales.")
    clip_norm: float = _amount(0.0, "Clip gradients to this norm; 0: do not clip.")
    label_smoothing: float = _share(0.0, "Label smoothing.")
    class_weights: str = _option(
        "none", "balanced: rare classes count as much as common ones.", one_of=("none", "balanced")
    )
    drop_path: float | None = _rate(
        "Rate at which residual branches are dropped in training, the last ones most often (drop "
        "path); default: as the base was built."
    )
    drop: float | None = _rate("Rate of dropout before the head; default: as the base was built.")
    layer_scale: float | None = _option(
        None,
        "Give residual branches that have none a factor for each channel, which is trained and "
        "begins at this; 1 changes nothing at first.",
        must="above 0 and at most 1",
        check=lambda x: x is None or 0 < x <= 1,
    )
    loss: str = _option(
        "auto",
        "auto: that of the head, cross entropy for classes and labels; focal: images of which the "
        "network is sure and right count less; asymmetric: labels or classes that an image does "
        "not show count less.",
        one_of=("auto", "focal", "asymmetric"),
    )
    sampler: str = _option(
        "shuffle",
        "shuffle: each training image once in an epoch; balanced: as many draws, of each class "
        "equally many.",
        one_of=("shuffle", "balanced"),
    )
    teacher: str = _option(
        "", "A checkpoint of the same classes whose outputs are learned, too (distillation)."
    )
    distill_weight: float = _option(
        0.5,
        "With a teacher: what its outputs count; the rest is the images' own classes.",
        must="above 0 and at most 1",
        check=lambda x: 0 < x <= 1,
    )
    distill_temperature: float = _positive(
        2.0,
        "With a teacher: outputs of both networks are divided by this before they are compared; "
        "the larger, the more the less likely classes count.",
    )
    sam: float = _amount(
        0.0,
        "Sharpness-aware minimization: gradients are taken so far from the weights, where the loss "
        "rises fastest (0.005); a step takes twice the time; 0: none.",
    )
    ema: float = _share(
        0.0, "Decay of an average of the weights, which is saved where it is better; 0: none."
    )
    blend: str = _option(
        "none",
        "Also try means of weights, chosen on the validation split: wise-ft (with lp-ft), "
        "of the first and the last; soup, of those epochs that do best together.",
        one_of=("none", "wise-ft", "soup"),
    )
    patience: int = _natural(0, "Stop after so many epochs without a better result; 0: never.")

    # how it is computed
    precision: str = _option(
        "auto",
        "Precision of training: auto is bf16 on a GPU that has it, else fp32; tf32 is fp32 whose "
        "products a GPU takes in TF32.",
        one_of=("auto", "fp32", "tf32", "bf16", "fp16"),
    )
    channels_last: bool = _option(False, "Use the channels-last memory format.")
    compile: bool = _option(
        False, "Compile the network (torch.compile); behind the cut of a cache, unit by unit."
    )
    grad_checkpointing: bool = _option(
        False,
        "Gradient checkpointing: recompute activations, which takes less memory and more time.",
    )
    cache: bool = _option(
        True, "Cache the activations of the frozen part, if nothing random is below it."
    )
    seed: int = _natural(0, "Seeds the split, the head, the order of images, all that is random.")

    # what is kept of the images
    keep_examples: int = _option(
        0,
        "Test images of each class, and of each of the worst confusions, that the run keeps, small "
        "and without what else is in their files, for the pages; 0: none.",
        must="from 0 to 8",
        check=lambda x: 0 <= x <= 8,
    )
    publish_examples: bool = _option(
        False, "Keep these images with the checkpoint, too: who may read that sees them."
    )

    # where it comes from: a record, and no option
    preset: str = _option("", "The preset that it was read from, a record of `Recipe.read`.")

    def __post_init__(self) -> None:
        try:
            f"{self.data}{self.root}".encode()
        except UnicodeEncodeError:
            raise InvalidOption("the path of the data must be UTF-8: it is recorded") from None
        self._check_each()
        # A list where it is read from JSON or TOML; the recipe is compared and hashed.
        object.__setattr__(self, "phases", tuple(self.phases))
        if (self.strategy == "gradual") != bool(self.phases):
            raise InvalidOption(
                "the strategy gradual and phases need each other",
                hint=f"for example: --strategy gradual {PHASES}",
            )
        if self.strategy in ("full", "gradual") and self.freeze != "none":
            has = f"each phase has its own: {PHASES}"
            raise InvalidOption(
                f"the strategy {self.strategy} takes no freeze depth",
                hint=has if self.phases else "--strategy partial or lp-ft takes one",
            )
        if self.at != "head":
            self._check_units()
        if len(self.units) > 1 and {"all", "auto"} & set(self.units):
            raise InvalidOption(f"at {self.at}: all and auto are not for a list of units")
        if self.publish_examples and not self.keep_examples:
            raise InvalidOption("to publish examples needs a number of examples to keep")
        if self.views and self.augment == "none":
            raise InvalidOption("views need a level of augmentation")
        if self.augment_on == "device" and self.augment == "none":
            raise InvalidOption("--augment-on device needs --augment light, medium or heavy")
        self._check_effects()

    def _check_each(self) -> None:
        """See that each option is of its kind, and what it must be."""
        for option in fields(self):
            check, one_of = option.metadata["check"], option.metadata["one_of"]
            _check_type(option.name, getattr(self, option.name), str(option.type))
            if one_of:
                object.__setattr__(self, option.name, spelled(getattr(self, option.name), one_of))
            if check and not check(getattr(self, option.name)):
                raise InvalidOption(f"{spoken(option.name)} must be {option.metadata['must']}")

    def _check_units(self) -> None:
        """See that the strategy can be told units, and these."""
        if self.strategy in ADAPTERS:
            if {"all", "auto", "head"} & set(self.units):
                raise InvalidOption(f"at {self.at}: {self.strategy} wants names of units or stages")
            if self.freeze != "none":
                raise InvalidOption("at names the units that are trained: leave freeze out")
        elif self.strategy != "probe":
            raise InvalidOption(f"units are named for the strategies probe, {', '.join(ADAPTERS)}")

    def _check_effects(self) -> None:
        strategy, default = self.resolved_strategy, {x.name: x.default for x in fields(self)}
        for name in () if self.teacher else ("distill_weight", "distill_temperature"):
            if getattr(self, name) != default[name]:
                raise InvalidOption(f"{spoken(name)} is for a teacher, and there is none")
        idle = [x for x in IDLE.get(strategy, "").split() if getattr(self, x) != default[x]]
        if strategy == "probe" and self.freeze == "all":
            idle.remove("freeze")  # it is what a probe does
        if idle:
            raise InvalidOption(
                f"the strategy {strategy} does not use {', '.join(map(spoken, idle))}: leave "
                f"{'it' if len(idle) == 1 else 'them'} out, or take another strategy"
            )
        if self.blend == "wise-ft" and not self.fits_head:
            raise InvalidOption(
                f"wise-ft goes from the first weights to the last, and the strategy {strategy} "
                "begins with a random head: take lp-ft, which fits it first, or the blend soup"
            )
        phases = self.plan()
        if self.views and not self.cache:
            raise InvalidOption("views are kept in the cache: leave them out, or the cache on")
        if self.views and all(phase.freeze == "none" for phase in phases):
            raise InvalidOption(VIEWS_OF_NOTHING)
        if phases and all(phase.own_rate for phase in phases) and self.lr != default["lr"]:
            raise InvalidOption("each phase has a rate of its own: leave the learning rate out")

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in chosen(asdict(self)).items()]
        return f"Recipe({', '.join(given)})"

    @property
    def resolved_strategy(self) -> str:
        """The strategy, ``auto`` decided."""
        if self.strategy != "auto":
            return self.strategy
        return "lp-ft" if self.head == "linear" else "partial"

    @property
    def fits_head(self) -> bool:
        """Whether a probe is fitted first, and gives the head its weights."""
        strategy = self.resolved_strategy
        return strategy in ("probe", "lp-ft") or (strategy in ADAPTERS and self.head == "linear")

    @property
    def images_per_batch(self) -> int:
        """``batch_size``, once it is decided."""
        if isinstance(self.batch_size, str):
            raise ValueError("the batch size is not decided yet")
        return self.batch_size

    @property
    def units(self) -> tuple[str, ...]:
        """The names in ``at``."""
        return tuple(name.strip() for name in self.at.split(","))

    def plan(self) -> tuple[Phase, ...]:
        """The phases of training, in order; none for a probe."""
        strategy, backbone = self.resolved_strategy, self.lr * self.backbone_lr_ratio
        if strategy == "probe":
            return ()
        if strategy == "gradual":
            read = Phase.parse
            return tuple(read(p, lr=self.lr, ratio=self.backbone_lr_ratio) for p in self.phases)
        head = self.lr * (LP_FT_SHARE if self.fits_head else 1)
        return (Phase(freeze=self.freeze, epochs=self.epochs, lr=head, backbone_lr=backbone),)

    @classmethod
    def read(cls, file: Path | str, **options: object) -> Self:
        """Read a preset (``small-data``, ``standard``, ``long``) or a TOML file of options, as
        ``--recipe`` does; ``options`` that are given count more. A file's path has a separator, or
        ends in ``.toml``. Where ``options`` name another strategy than a preset, what that does not
        use is left out of the preset: nobody here asked for it.

        Raises:
            InvalidOption: It cannot be read, or an option is not what it must be.
        """
        preset, text = find(file)
        try:
            table = _read_table(text)
            _check_options(table)
        except InvalidOption as error:
            raise InvalidOption(f"{file}: {error}", hint=error.hint) from error
        if not preset:
            return cls.from_json({**table, **options})
        idle = IDLE.get(str(options.get("strategy", "")).replace("_", "-"), "").split()
        if options.get("strategy", table["strategy"]) != table["strategy"]:
            idle += ["freeze", "at"]
        kept = {name: value for name, value in table.items() if name not in idle}
        return cls.from_json({**kept, **options, "preset": preset})

    @classmethod
    def parse(cls, text: str, **options: object) -> Self:
        """Read a TOML table of options; ``options`` that are given count more.

        Raises:
            InvalidOption: It is not TOML, or has an option that does not exist.
        """
        return cls.from_json({**_read_table(text), **options})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`.

        Raises:
            InvalidOption: An option does not exist, or is of another type.
        """
        _check_options(data)
        if "data" not in data:
            raise InvalidOption(
                "the recipe needs data", hint="give --data FOLDER, or data in its file"
            )
        return cls(**data)

    @classmethod
    def recorded(cls, data: Mapping[str, object]) -> Self:
        """A recipe as a run or a checkpoint recorded it, of whatever version.

        Raises:
            InvalidOption: An option does not exist, or this version refuses it.
        """
        idle = IDLE.get(str(data.get("strategy", "")), "").split()
        before = {name: value for name, value in BEFORE.items() if name not in idle}
        return cls.from_json({**before, **data})

    def to_json(self) -> Json:
        """Plain data for JSON; what is `UNSAID` is left out, as in older versions."""
        data = {**asdict(self), "phases": list(self.phases)}
        unsaid = [name for name in UNSAID if data[name] == DEFAULTS[name]]
        return {name: value for name, value in data.items() if name not in unsaid}


DEFAULTS: Mapping[str, Any] = {
    field.name: field.default for field in fields(Recipe) if field.default is not MISSING
}
"""What options are that nobody gives; ``data`` has no such value."""
OPTIONS = "\n".join(
    f"    {field.name} ({DEFAULTS[field.name]!r}): {field.metadata['help']}"
    for field in fields(Recipe)
    if field.name in DEFAULTS and field.name != "preset"
)
"""All of them in words, for ``help``."""
Recipe.__doc__ = f"{Recipe.__doc__}\n\n{OPTIONS}"


def _read_table(text: str) -> Json:
    """The options in a TOML file, by the names of fields.

    Raises:
        InvalidOption: It is not TOML, or calls itself a preset.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidOption(f"the recipe is not TOML: {error}") from error
    if "preset" in table:
        raise InvalidOption(
            "a recipe in a file names no preset: write its options out (docs/finetune.md)"
        )
    return {key.replace("-", "_"): value for key, value in table.items()}


def chosen(recorded: Mapping[str, object], device: str = "") -> Json:
    """The options of a recipe that are not what they are by themselves; on a ``device``, where it
    was run there and its precision was decided.
    """
    usual = dict(DEFAULTS)
    if device:
        usual["precision"] = "bf16" if device.startswith("cuda") else "fp32"
    return {
        name: value
        for name, value in recorded.items()
        if value not in (None, []) and value != usual.get(name)
    }


def public_options(recorded: Mapping[str, object]) -> Json:
    """Those options of a recipe that this version knows, as others may read them: without the
    folders that its data lies in. Anybody may have written it.
    """
    named = {"data": data_name(str(recorded.get("data") or "")), "root": ""}
    kinds = {option.name: str(option.type) for option in fields(Recipe)}
    return {
        name: value
        for name, value in {**recorded, **named}.items()
        if name in kinds and _fits(value, kinds[name])
    }


def in_words(options: Mapping[str, object]) -> list[str]:
    """Options as words of a command line, as a shell takes them."""
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {quote(str(value))}")
        for name, value in options.items()
    ]


def spelled(value: str, one_of: Collection[str]) -> str:
    """A value as it is written in ``one_of``: ``lp_ft`` is taken for ``lp-ft``."""
    other = value.replace("_", "-")
    return other if other in one_of else value


def data_name(spec: str) -> str:
    """What data is called: its folder or table, without what is above it; a line of text."""
    prefix = spec.partition("/")[0].lower()
    bare = spec.partition("?")[0] if prefix in ("torch", "hfds", "wds") else spec
    last = bare.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(char if char.isprintable() else "?" for char in last)


def spoken(name: str) -> str:
    """An option's name in a sentence."""
    return {"lr": "learning rate", "backbone_lr_ratio": "backbone rate"}.get(
        name, name.replace("_", " ")
    )


def _is_fold(text: str) -> bool:
    match = FOLD.fullmatch(text)
    number, of = map(int, match.groups()) if match else (0, 0)
    return 1 <= number <= of and 2 <= of <= MOST_FOLDS


TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "int | None": (int, type(None)),
    "int | str": (int, str),
    "float | None": (int, float, type(None)),
    "tuple[str, ...]": (list, tuple),
}


def _check_options(data: Mapping[str, object]) -> None:
    """See that all of ``data`` are options of a recipe, by the names of its fields."""
    known = {option.name: option for option in fields(Recipe)}
    for name, value in data.items():
        if name not in known:
            raise InvalidOption(f"a recipe has no option '{name}'{_meant(name, known)}")
        _check_type(name, value, str(known[name].type))


def _meant(name: str, known: Iterable[str]) -> str:
    """The option that is called almost so, by its name or as it is spoken of."""
    called = {form: each for each in known for form in (spoken(each).replace(" ", "_"), each)}
    near = difflib.get_close_matches(name, called, n=1)
    if not near:
        return ""
    option = called[near[0]]
    aside = "" if near[0] == option else f" ({spoken(option)})"
    return f"; did you mean {option}{aside}?"


def _check_type(name: str, value: object, kind: str) -> None:
    if not _fits(value, kind):
        raise InvalidOption(f"{spoken(name)} cannot be {value!r}")


def _fits(value: object, kind: str) -> bool:
    fits = isinstance(value, TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))
    if isinstance(value, list | tuple):
        fits = fits and all(isinstance(item, str) for item in value)
    return fits
