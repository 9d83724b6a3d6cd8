"""The card of a repository: what people wrote in it stays, what zoo wrote in it is renewed.

Zoo's section of the text is between two comments. The first one holds a digest of each field that
zoo wrote into the front matter, and of the text around the section: what is still as zoo wrote it
is zoo's to change, and all else is somebody's own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # loaded lazily

from zoo.errors import Invalid

__all__ = ["completed_card", "joined_card"]

END = "<!-- zoo:end -->"
SECTION = re.compile(rf"\n*<!-- zoo:begin (\{{[^\n]*\}}) -->\n[\s\S]*?{re.escape(END)}\n*")
UNMARKED = re.compile(r"\n+## Lineage\n\nThis is `[^\n]*\n\n(?: *- [^\n]*\n?)*")
"""The section as it was written before it had marks."""
BODY = "body"


@dataclass(slots=True)
class _Card:
    """A card taken apart.

    Attributes:
        fields: The front matter.
        body: The text without zoo's section.
        written: Digests of what zoo wrote last, by field, and of the body.
    """

    fields: dict[str, object] = field(default_factory=dict)
    body: str = ""
    written: dict[str, object] = field(default_factory=dict)


def completed_card(text: str, facts: Mapping[str, object], lineage: Sequence[str]) -> str:
    """A card with ``facts`` in its front matter, and ``lineage``, lines of Markdown, in a section.

    What the front matter states already stays, but tags are joined and the base models replaced.
    """
    try:
        card = _parsed(text)
    except Invalid:  # it came with weights that are published without it, too
        card = _Card(body=_split(text)[1])
    for key, value in facts.items():
        stated = card.fields.get(key)
        if key == "tags":
            card.fields[key] = _both(stated, value)
        elif not stated or key.startswith("base_model"):
            card.fields[key] = value
    return _written(card.fields, card.body, card, lineage)


def joined_card(
    existing: str, text: str, facts: Mapping[str, object], lineage: Sequence[str]
) -> str:
    """As `completed_card`, joined with the ``existing`` card.

    Raises:
        Invalid: Its front matter cannot be read, so it cannot be kept.
    """
    old, new = _parsed(existing), _parsed(completed_card(text, facts, lineage))
    fields = {
        key: value
        for key, value in old.fields.items()
        if key in new.fields or old.written.get(key) != _digest(value)
    }
    for key, value in new.fields.items():
        if key == "tags":
            fields[key] = _both(fields.get(key), value)
        elif old.written.get(key) == (_digest(fields[key]) if key in fields else None):
            fields[key] = value
    own = not old.body.strip() or old.written.get(BODY) == _digest(old.body.strip())
    return _written(fields, new.body if own else old.body, new, lineage)


def _written(fields: dict[str, object], body: str, own: _Card, lineage: Sequence[str]) -> str:
    """The text of a card; ``own`` is what zoo says in it."""
    written = {key: _digest(value) for key, value in own.fields.items()}
    mark = json.dumps({**written, BODY: _digest(own.body.strip())}, sort_keys=True)
    mark = mark.replace(">", "\\u003e")  # which would end the comment
    section = [f"<!-- zoo:begin {mark} -->", "## Lineage", "", *lineage, END]
    front = yaml_dump(fields, sort_keys=False).strip()
    return f"---\n{front}\n---\n\n{body.strip()}\n\n" + "\n".join(section) + "\n"


def _parsed(text: str) -> _Card:
    block, rest = _split(text)
    try:
        fields = yaml.safe_load(block) or {}
        if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
            raise ValueError("it is not a mapping of names")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Invalid(f"the front matter of README.md cannot be read: {error}") from error
    match = SECTION.search(rest)
    if match is None:
        return _Card(fields, UNMARKED.sub("", rest))
    try:
        written = json.loads(match[1])
    except (ValueError, RecursionError):  # somebody changed it: then nothing is known to be zoo's
        written = {}
    body = "\n\n".join(filter(None, (rest[: match.start()], rest[match.end() :])))
    return _Card(fields, body, written)


def _split(text: str) -> tuple[str, str]:
    """The front matter, without its fences, and the rest."""
    match = REGEX_YAML_BLOCK.search(text)
    return (match[2], text[match.end() :]) if match else ("", text)


def _both(one: object, other: Any) -> list[object]:
    """Two lists as one; a single value is a list of one."""
    values = [*(one if isinstance(one, list) else [one] if one else []), *other]
    return [each for at, each in enumerate(values) if each not in values[:at]]


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]
