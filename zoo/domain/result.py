"""Result: what a method of `zoo.Zoo` answers, a frozen dataclass that prints itself."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from zoo.domain.digest import Digest
from zoo.domain.plain import Json
from zoo.domain.reference import Reference
from zoo.domain.table import html_of
from zoo.errors import InvalidReference

__all__ = ["AtRemote", "Result", "plain"]

LONGEST = 160
"""Characters after which a printed answer leaves out the rest."""


class _Short(reprlib.Repr):
    """Names and digests as a user types them, the beginning of what is long, and of what is in an
    answer only what and how many: a reader asks for the rest by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxtuple, self.maxstring, self.maxdict = 4, 60, 2

    def repr_float(self, number: float, _: int) -> str:
        return f"{number:.4g}"

    def repr_str(self, text: str, level: int) -> str:
        with suppress(InvalidReference):  # a digest that is kept as text
            return Digest.parse(text).short
        return super().repr_str(text, level)

    def repr_PosixPath(self, path: Path, level: int) -> str:  # noqa: N802
        return self.repr_str(str(path), level)

    def repr_Digest(self, digest: Digest, _: int) -> str:  # noqa: N802 - the name that reprlib calls
        return digest.short

    def repr_tuple(self, values: tuple[object, ...], level: int) -> str:
        if values and is_dataclass(values[0]):
            return f"<{len(values)} {type(values[0]).__name__}>"
        return super().repr_tuple(values, level)

    def repr_instance(self, value: object, level: int) -> str:
        if is_dataclass(value):
            name = getattr(value, "name", "")
            return f"<{type(value).__name__}{f' {name}' if name else ''}>"
        return super().repr_instance(value, level)

    def repr_Reference(self, ref: Reference, _: int) -> str:  # noqa: N802
        return str(ref)


@dataclass(frozen=True, slots=True)
class Result:
    """A base for what methods answer; a subclass is a dataclass with ``repr=False``.

    A field whose metadata have ``json`` is called that in JSON; one with ``repr=False`` (an array)
    is neither printed nor in JSON.
    """

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return {
            field.metadata.get("json", field.name): plain(getattr(self, field.name))
            for field in fields(self)
            if field.repr
        }

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.repr}
        shown: list[str] = []
        for name, value in values.items():
            if value is None or value in ((), "", {}):
                continue
            if len(", ".join(shown)) > LONGEST:
                shown.append("…")
                break
            shown.append(f"{name}={_SHORT.repr(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the line that is printed, and tables of what it counts."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.repr}
        rows = {name: value for name, value in values.items() if _is_rows(value)}
        return html_of(repr(self), rows)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AtRemote(Result):
    """What a remote had under a name when it was asked last.

    Attributes:
        remote: Its short name.
        manifest: What the name points at there.
        at: When it moved there, UTC, ISO 8601.
        by: Who moved it; None where an earlier version has asked.
        note: What was said of that (``zoo push --note``).
        here: How the name here stands to it (``same``, ``ahead``, ``behind``, ``diverged``); None
            if it is not here, or cannot be read.
    """

    remote: str
    manifest: Digest
    at: str
    by: str | None
    note: str | None
    here: str | None


def _is_rows(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and is_dataclass(value[0])


def plain(value: object) -> Any:
    """A value as JSON has it."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Digest | Reference | Path):
        return str(value)
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Set):
        return sorted(map(plain, value))
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


_SHORT = _Short()
