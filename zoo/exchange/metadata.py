"""Metadata: what files and training scripts say of weights beside their bytes.

All of it is what anybody may have written: nothing is run, no path in it is followed, and what is
malformed is nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from zoo.domain.import_options import StatedOptions
from zoo.domain.limits import CLASSES, HEADER_BYTES
from zoo.domain.plain import finite
from zoo.domain.preprocessing import FILTERS
from zoo.domain.task import TASKS, Task, task_of_problem
from zoo.errors import InvalidOption
from zoo.exchange.run_records import read_arguments

__all__ = [
    "ARGS",
    "OPTIONS",
    "RECORDS",
    "Metadata",
    "image_size_in",
    "metadata_of_args",
    "metadata_of_checkpoint",
    "metadata_of_options",
    "records",
]

OPTIONS = "the options"
"""The source of what the user says."""
ARGS = "args.yaml"
"""What timm's training script writes beside its checkpoints."""
NAMES: Mapping[str, Sequence[str]] = {
    "classes": (
        *("classes", "class_names", "CLASSES", "label_names", "labels"),
        *("id2label", "idx_to_class", "class_to_idx"),
    ),
    "task": ("problem_type",),
    "mean": ("mean", "image_mean", "img_mean"),
    "std": ("std", "image_std", "img_std"),
    "crop_pct": ("crop_pct",),
    "interpolation": ("interpolation",),
    "image_size": ("img_size", "image_size", "input_size", "val_crop_size"),
}
"""What training scripts call them."""
RECORDS = ("args", "hyper_parameters", "hparams", "config", "cfg", "meta")
"""Keys under which training scripts keep what they were run with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is said of weights; None or empty where nothing is.

    Attributes:
        source: Where it is said.
        classes: Class names in index order.
        task: What the outputs mean.
        mean: Per-channel mean on a 0..1 scale; one value counts for all channels.
        std: The same of the standard deviation.
        crop_pct: As in `zoo.domain.manifest.Preprocessing`.
        interpolation: Resize filter.
        image_size: Height and width.
        as_default: Whether the training took what the architecture has for all that is not said.
        keys: Of a checkpoint, the key that each of these is under.
        guessed: The settings that were a guess when the weights were trained with them.
    """

    source: str
    classes: tuple[str, ...] = ()
    task: Task | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop_pct: float | None = None
    interpolation: str | None = None
    image_size: tuple[int, int] | None = None
    as_default: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self)[1:])


def metadata_of_checkpoint(saved: Mapping[Any, object], architecture: str) -> Metadata:
    """What a training script has kept beside the weights in its checkpoint."""
    kept = list(records(saved))
    values = {name: _first(kept, name) for name in NAMES}
    return Metadata(
        source="the checkpoint's hyper-parameters",
        as_default=any(_is_timm(record, architecture) for _, record in kept),
        keys={name: key for name, (key, value) in values.items() if value},
        **{name: value for name, (_, value) in values.items()},
    )


def metadata_of_args(path: Path, architecture: str) -> Metadata | None:
    """What ``args.yaml`` beside a file says, if it is of that very network."""
    record = read_arguments(path.parent / ARGS)
    if not isinstance(record, Mapping) or _model(record)[0] != architecture:
        return None
    values = {name: _first([("", record)], name)[1] for name in NAMES}
    return Metadata(source=ARGS, as_default=_is_timm(record, architecture), **values)


def metadata_of_options(options: StatedOptions) -> Metadata:
    """What the user says.

    Raises:
        InvalidOption: The file of class names is none, or a value is not of its kind.
    """
    if (task := options.get("task")) not in (None, *TASKS):
        raise InvalidOption(f"no task '{task}'; there are: {', '.join(TASKS)}")
    classes = options.get("classes") or ()
    if isinstance(classes, str | Path):
        classes = _read_classes(Path(classes))
    if classes and not _names(tuple(classes)):
        raise InvalidOption("class names must be texts, each with more than spaces")
    crop = options.get("crop_pct")
    return Metadata(
        source=OPTIONS,
        classes=tuple(classes),
        task=task,
        mean=_floats("mean", options.get("mean")),
        std=_floats("std", options.get("std")),
        crop_pct=None if crop is None else _floats("crop_pct", (crop,))[0],
        interpolation=options.get("interpolation"),
        image_size=options.get("image_size"),
    )


def image_size_in(record: Mapping[object, object]) -> tuple[int, int] | None:
    """Height and width that a record of a training script has; None if it has none."""
    size: tuple[int, int] | None = _first([("", record)], "image_size")[1]
    return size


def _floats(option: str, values: Iterable[float] | None) -> tuple[float, ...]:
    numbers = [finite(value) for value in values or ()]
    if None in numbers:
        raise InvalidOption(f"{option} must be numbers")
    return tuple(number for number in numbers if number is not None)


def _read_classes(path: Path) -> tuple[str, ...]:
    """The class names in a file: one on each line, or JSON as `classes` or ``id2label``.

    Raises:
        InvalidOption: It is none of these.
    """
    try:
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES + 1)
        if len(data) > HEADER_BYTES:
            raise InvalidOption(f"{path} has more than {HEADER_BYTES:,} bytes")
        text = data.decode("utf-8-sig")
        is_json = text.lstrip()[:1] in ("[", "{")
        listed = json.loads(text) if is_json else text.rstrip().splitlines()
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "neither JSON nor text in UTF-8"
        raise InvalidOption(f"{path}: {reason}") from error
    if isinstance(listed, Mapping):
        listed = next((listed[name] for name in NAMES["classes"] if name in listed), listed)
    if isinstance(listed, list):
        for number, name in enumerate(listed, 1):
            if isinstance(name, str) and not name.strip():
                entry = "name" if is_json else "line"
                raise InvalidOption(f"{path}: {entry} {number} is empty; outputs go by their order")
    names = _classes(listed)
    if not names:
        raise InvalidOption(f"{path} has no list of class names: write one on each line")
    return names


def records(saved: Mapping[object, object]) -> Iterator[tuple[str, Mapping[object, object]]]:
    """What was kept in a checkpoint, in the order in which it is believed, each with its key; none
    of the checkpoint itself.
    """
    for key in RECORDS:
        record = saved.get(key)
        record = record if isinstance(record, Mapping) else getattr(record, "__dict__", None)
        if isinstance(record, Mapping):
            yield key, record
            if isinstance(inner := record.get("dataset_meta"), Mapping):  # of OpenMMLab
                yield key, inner
    yield "", saved


def _is_timm(record: Mapping[object, object], architecture: str) -> bool:
    """Whether timm's script was run with it, for that network: what is not said there is as the
    network has it. That of a pretrained tag is another one.
    """
    plain = _model(record) == (architecture, "")
    return plain and {"mean", "std", "crop_pct", "interpolation"} <= record.keys()


def _model(record: Mapping[object, object]) -> tuple[str, str]:
    """The architecture, and the pretrained tag."""
    model = record.get("model")
    name, _, tag = (model if isinstance(model, str) else "").removeprefix("timm/").partition(".")
    return name, tag


def _first(records: Sequence[tuple[str, Mapping[object, object]]], what: str) -> tuple[str, Any]:
    """The first value that makes sense, and the key of the checkpoint that it is under."""
    read = READ[what]
    values = (
        (key or name, read(record[name]))
        for key, record in records
        for name in NAMES[what]
        if name in record
    )
    return next((pair for pair in values if pair[1]), ("", () if what in MANY else None))


def _classes(value: object) -> tuple[str, ...]:
    """Class names, of a list or a mapping from or to indices."""
    if isinstance(value, Mapping):
        pairs = [(_index(key), name) for key, name in value.items()]
        if any(index is None for index, _ in pairs):
            pairs = [(_index(index), name) for name, index in value.items()]
        named = {index: name for index, name in pairs if index is not None}
        if len(named) != len(value) or set(named) != set(range(len(named))):
            return ()
        value = [named[index] for index in range(len(named))]
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= CLASSES:
        return ()
    return _names(value)


def _names(value: Sequence[object]) -> tuple[str, ...]:
    """Of texts; none if there is anything else.

    One long text may stand in a small file many times: the sum bounds what is looked at.
    """
    names = tuple(name for name in value if isinstance(name, str))
    if len(names) < len(value) or sum(map(len, names)) > HEADER_BYTES:
        return ()
    return names if all(map(_is_text, set(names))) else ()


def _index(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 8:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_text(name: str) -> bool:
    return bool(name.strip()) and not any("\ud800" <= char <= "\udfff" for char in name)


def _numbers(value: object) -> tuple[float, ...]:
    """Of a mean or deviation on a 0..1 scale; what is on another is none."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 16:
        return ()
    numbers = [finite(each) for each in value]
    fits = [number for number in numbers if number is not None and abs(number) <= 1]
    return tuple(fits) if len(fits) == len(numbers) else ()


def _size(value: object) -> tuple[int, int] | None:
    """Height and width, of one number, of two, or of three with channels."""
    many = isinstance(value, list | tuple) and 1 <= len(value) <= 3
    sides = list(cast(Sequence[object], value))[-2:] if many else [value]
    whole = [_index(side) for side in sides]
    height, width = whole[0], whole[-1]
    return (height, width) if height and width else None


def _filter(value: object) -> str | None:
    return value if isinstance(value, str) and value in FILTERS else None


READ = {
    "classes": _classes,
    "task": task_of_problem,
    "mean": _numbers,
    "std": _numbers,
    "crop_pct": finite,
    "interpolation": _filter,
    "image_size": _size,
}
MANY = ("classes", "mean", "std")
