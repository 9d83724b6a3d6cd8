"""Front: the YAML at the beginning of a README, by which clients of the hub find and sort."""

from __future__ import annotations

import math
import re

import yaml

from zoo.domain.limits import FRONT_BYTES, FRONT_NESTING, LARGEST
from zoo.domain.plain import Json

__all__ = ["front_matter"]

BETWEEN = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""One that makes texts of all: what it makes of numbers, dates and tags fails in many ways."""
WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
INT = re.compile(r"[-+]?[0-9]{1,19}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def front_matter(text: str) -> Json:
    """What a README says in its front matter; nothing if it has none.

    Raises:
        ValueError: It is no map in YAML, or a large one, or one that refers to itself.
    """
    match = BETWEEN.match(text)
    if match is None:
        return {}
    if len(match[1].encode()) > FRONT_BYTES:
        raise ValueError(f"it has more than {FRONT_BYTES} bytes")
    try:
        _check(match[1])
        node = yaml.compose(match[1], Loader=LOADER)
        data = None if node is None else _plain(node)
    except ValueError:
        raise
    except Exception as error:  # a library's, of somebody's text
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
        if tag := getattr(event, "tag", None):
            raise ValueError(f"it has the tag {tag!r:.80}, which is not allowed here")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > FRONT_NESTING:
                raise ValueError(f"it is nested more than {FRONT_NESTING} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _plain(node: yaml.Node) -> object:
    """A node as JSON has it, by the core rules of YAML 1.2: dates are texts."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(each) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        return {_text(key): _plain(value) for key, value in node.value}
    text = _text(node)
    return text if getattr(node, "style", None) else _value(text)


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("a list or a map is no key")
    node.value.encode()  # half a character is no text
    return str(node.value)


def _value(text: str) -> object:
    """What a text without quotes stands for; a number that JSON has none of is a text."""
    if text in WORDS or (text.lower() in WORDS and text in (text.upper(), text.title())):
        return WORDS[text.lower()]
    if INT.fullmatch(text):
        whole = int(text)
        return whole if abs(whole) <= LARGEST else text
    if FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text
