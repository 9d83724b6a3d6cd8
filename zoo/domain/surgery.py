"""Surgery: how a network differs from the one that its architecture names. Pure data, no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from zoo.domain.arguments import Fits, switch, whole
from zoo.domain.limits import (
    ARGUMENT_LENGTH,
    ARGUMENTS,
    CHANNELS,
    CLASSES,
    IMAGE_SIDE,
    LORA_RANK,
)
from zoo.domain.manifest import Preprocessing
from zoo.errors import InvalidOption, Unsupported

__all__ = ["AS_IT_IS", "BuildOptions", "Surgery", "adapted_preprocessing", "parse_size"]

Argument = bool | int | float | str | tuple[bool | int | float | str, ...]
"""The value of a keyword argument: what JSON holds as a scalar, or a list of such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Which network a plugin builds of an architecture. None: what the architecture, or the tag,
    comes with.

    Attributes:
        tag: Pretrained tag: whose preprocessing and classes it has.
        num_classes: Outputs of its own head; 0: none.
        image_size: Height and width that it is built for.
        channels: Channels of its input.
    """

    tag: str | None = None
    num_classes: int | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None


AS_IT_IS = BuildOptions()
"""Nothing else than the architecture's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surgery:
    """The options of a manifest's backbone.

    Attributes:
        num_classes: Outputs of the architecture's own head; None: what it comes with.
        image_size: Height and width that it is built for; None: its native ones.
        channels: Channels of its input; None: its native ones.
        truncate: The last unit that is kept; None: all are, and the head.
        taps: Units whose pooled features its head gets beside each other, in this order; ``head``:
            what the head would get without. Nothing above them is kept.
        without: Units that were taken out of the middle.
        convolutional: Fully connected layers were made convolutions.
        lora: Rank of the adapter whose factors lie beside its weights; None: there is none.
        arguments: Keyword arguments of its own library that it was built with, sorted, for what the
            fields above do not say. The plugin knows which ones there are.
    """

    num_classes: int | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    truncate: str | None = None
    taps: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    convolutional: bool = False
    lora: int | None = None
    arguments: tuple[tuple[str, Argument], ...] = ()

    @classmethod
    def parse(cls, options: Mapping[str, object]) -> Self:
        """Read a manifest's options.

        Raises:
            Unsupported: An option that is not known here, or a value that it cannot have.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(options) - known):
            raise Unsupported(
                f"the network was built with the option '{unknown[0]}', which this version of zoo "
                "does not know"
            )
        if wrong := _wrong(options):
            raise Unsupported(f"the network's option {wrong}")
        values: dict[str, Any] = {name: _hashable(value) for name, value in options.items()}
        return cls(**values)

    def check(self) -> None:
        """See that all values are such as can be.

        Raises:
            InvalidOption: One is not.
        """
        if wrong := _wrong(self.to_options()):
            raise InvalidOption(f"the option {wrong}")

    def to_options(self) -> dict[str, object]:
        """Inverse of `parse`: plain data, without what is as the architecture has it."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        options["arguments"] = {name: _plain(value) for name, value in self.arguments} or None
        return {
            name: _plain(value)
            for name, value in options.items()
            if value is not None and value != () and value is not False
        }

    def to_build(self, tag: str | None = None) -> BuildOptions:
        """What a plugin's ``build`` is given. Whom the arguments are for,
        `zoo.contracts.SupportsConfigFiles.configured` says.
        """
        return BuildOptions(
            tag=tag,
            num_classes=self.num_classes,
            image_size=self.image_size,
            channels=self.channels,
        )

    @property
    def after_build(self) -> bool:
        """Whether something remains to be done after ``build``."""
        return bool(self.ends or self.without or self.convolutional)

    @property
    def ends(self) -> tuple[str, ...]:
        """The units whose features its head gets; none where its own head gets what it always did.

        Of a truncated network, ``head`` is the unit that it was truncated at.
        """
        if not self.truncate:
            return self.taps
        return tuple(dict.fromkeys(self.truncate if x == "head" else x for x in self.taps)) or (
            self.truncate,
        )

    def then(self, later: Self) -> Self:
        """This one, and after it ``later``: its units are those of what this one leaves.

        Raises:
            Unsupported: The two do not go together.
        """
        changes = {
            field.name: getattr(later, field.name)
            for field in fields(self)
            if getattr(later, field.name) not in (None, (), False)
        }
        changes["without"] = (*self.without, *later.without)
        if later.truncate:
            changes["taps"] = later.taps
        elif "head" in later.taps and self.taps:
            at = later.taps.index("head")
            taps = (*later.taps[:at], *self.taps, *later.taps[at + 1 :])
            changes["taps"] = tuple(dict.fromkeys(taps))
        both = replace(self, **changes)
        if both.ends and both.convolutional:
            raise Unsupported(
                "a truncated network has no fully connected layers to make convolutions of"
            )
        return both


def adapted_preprocessing(
    how: Preprocessing, image_size: tuple[int, int] | None, channels: int | None
) -> Preprocessing:
    """As ``how``, for another image size or number of channels; None: those it has.

    Mean and deviation of other channels follow the weights, which are summed over the channels for
    one, and repeated for more: for a gray image those of the three are averaged, and the fourth
    channel has those of the first.
    """
    height, width = image_size or how.input_size[1:]
    channels = channels or how.input_size[0]
    return replace(
        how,
        input_size=(channels, height, width),
        mean=_for_channels(how.mean, channels),
        std=_for_channels(how.std, channels),
    )


def parse_size(text: str) -> tuple[int, int]:
    """Height and width: ``320``, or ``320x256``.

    Raises:
        InvalidOption: The text is neither.
    """
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip())
    if not match:
        raise InvalidOption(f"an image size looks like 320, or 320x256 (height, width), not {text}")
    return int(match[1]), int(match[2] or match[1])


def _for_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if channels == len(values):
        return values
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))


def _hashable(value: object) -> object:
    if isinstance(value, dict):
        return tuple(sorted((name, _hashable(item)) for name, item in value.items()))
    return tuple(value) if isinstance(value, list) else value


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _wrong(options: Mapping[str, object]) -> str | None:
    """What is wrong with the first value that is."""
    for name, value in options.items():
        holds, allowed = CHECKS[name]
        if not holds(value):
            return f"'{name}' must be {allowed}, not {value!r:.80}"
    return None


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(whole(1, IMAGE_SIDE), value))


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _is_taps(value: object) -> bool:
    return _is_names(value) and isinstance(value, list) and len(set(value)) == len(value)


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= ARGUMENT_LENGTH
    # NaN is not of this range.
    return isinstance(value, bool | int | float) and -(2**53) <= value <= 2**53


def _is_arguments(value: object) -> bool:
    def is_argument(argument: object) -> bool:
        if isinstance(argument, list):
            return len(argument) <= ARGUMENT_LENGTH and all(map(_is_scalar, argument))
        return _is_scalar(argument)

    return (
        isinstance(value, dict)
        and len(value) <= ARGUMENTS
        and all(re.fullmatch(r"[a-zA-Z]\w{0,63}", name) for name in value)
        and all(map(is_argument, value.values()))
    )


CHECKS: dict[str, tuple[Fits, str]] = {
    "num_classes": (whole(0, CLASSES), f"from 0 to {CLASSES}"),
    "image_size": (_is_size, f"a height and a width, each from 1 to {IMAGE_SIDE}"),
    "channels": (whole(1, CHANNELS), f"from 1 to {CHANNELS}"),
    "truncate": (lambda value: isinstance(value, str) and bool(value), "the name of a unit"),
    "taps": (_is_taps, "a list of different names of units, or head"),
    "without": (_is_names, "a list of names of units"),
    "convolutional": (switch, "true or false"),
    "lora": (whole(1, LORA_RANK), f"from 1 to {LORA_RANK}"),
    "arguments": (_is_arguments, "names with numbers, words, true, false, or lists of such"),
}
