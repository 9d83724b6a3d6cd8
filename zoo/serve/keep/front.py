"""Front: the YAML at the beginning of a README, by which clients of the hub find and sort."""

from __future__ import annotations

import re
from typing import Any

import yaml  # type: ignore[import-untyped]

from zoo.domain.limits import FRONT_BYTES, FRONT_NESTING, LARGEST
from zoo.domain.plain import Json

__all__ = ["front_matter"]

BETWEEN = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def front_matter(text: str) -> Json:
    """What a README says in its front matter; nothing if it has none.

    Raises:
        ValueError: It is no map in YAML, or a large one, or one that refers to itself.
    """
    match = BETWEEN.match(text)
    if match is None:
        return {}
    if len(match[1].encode(errors="replace")) > FRONT_BYTES:
        raise ValueError(f"it has more than {FRONT_BYTES} bytes")
    try:
        _check(match[1])
        data = _plain(yaml.load(match[1], Loader=LOADER))  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError("it is no map")
    return data


def _check(text: str) -> None:
    """See that a text is soon read: an alias stands for any number of values."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has an alias, which is not allowed here")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > FRONT_NESTING:
                raise ValueError(f"it is nested more than {FRONT_NESTING} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _plain(value: object) -> Any:
    """The same as JSON has it: YAML knows dates, sets and any number."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bool | float | None):
        return value
    if isinstance(value, int) and abs(value) <= LARGEST:
        return value
    return str(value)
