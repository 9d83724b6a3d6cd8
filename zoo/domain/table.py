"""Table: a list of answers of one kind, which shows itself as a table: as text, in a notebook, and
as a pandas data frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import fields
from html import escape
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeVar

from zoo.domain.digest import Digest
from zoo.domain.task import SCORE

__all__ = ["Table", "as_html", "as_text", "cells", "html_of"]

SHOWN = 20
"""So many rows are printed; what is behind them is counted."""
WIDEST = 60
"""Characters of a cell."""

FIRST = (*SCORE.values(), "top1", "recall")
FIGURES = 4
"""So many figures of a mapping are columns, these first."""

T = TypeVar("T")


class Table(list[T]):
    """Answers of one kind. It is a list; printed, a table of what most readers want to know.

    A class of answers with ``_COLUMNS`` shows these attributes, another all of its fields that fit
    into a cell. A mapping of numbers (metrics) is a column for each.

    Args:
        answers: What it holds.
        kind: Their class: what a table without any has for columns.
    """

    def __init__(self, answers: Iterable[T] = (), kind: type[T] | None = None) -> None:
        super().__init__(answers)
        self._kind = kind

    def __repr__(self) -> str:
        lines = as_text(*cells(self[:SHOWN])) if self else ["nothing"]
        more = [f"… and {len(self) - SHOWN:,} more"] if len(self) > SHOWN else []
        return "\n".join([*lines, *more])

    def _repr_html_(self) -> str:
        return as_html(*cells(self))

    def to_json(self) -> list[Any]:
        """Plain data for JSON."""
        return [each.to_json() for each in self]  # type: ignore[attr-defined] # a Result

    def to_pandas(self) -> Any:
        """A pandas data frame with a column for each field, and for each entry of a mapping.

        Raises:
            MissingPackage: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ModuleNotFoundError as error:
            from zoo.errors import MissingPackage

            raise MissingPackage("pandas", "pip install pandas") from error
        if not self and self._kind:
            return pandas.DataFrame(columns=_columns(self._kind))
        return pandas.json_normalize(self.to_json())


def cells(rows: Sequence[object]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of what is worth a column: empty ones are left out."""
    names = getattr(type(rows[0]), "_COLUMNS", None) if rows else ()
    if names is None:
        names = [field.name for field in fields(rows[0])]  # type: ignore[arg-type]
    table: dict[str, list[str]] = {}
    for name in names:
        values = [attrgetter(name)(row) for row in rows]
        if any(isinstance(value, Mapping) for value in values):
            figures = [{} if value is None else value for value in values]
            for key in _worth_a_column(figures):
                table[key] = [_cell(each.get(key)) for each in figures]
        else:
            table[name.rpartition(".")[2]] = [_cell(value) for value in values]
    kept = {name: column for name, column in table.items() if any(column)}
    return list(kept), [list(row) for row in zip(*kept.values(), strict=True)]


def as_text(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    lines = [[title.upper() for title in titles], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def as_html(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML; cells come from anybody, and none of them is taken for markup."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_of(line: str, parts: Mapping[str, Sequence[object]]) -> str:
    """A ``line``, and a table of each part that has rows."""
    tables = [
        f"<p>{escape(name)}</p>{as_html(*cells(rows))}" for name, rows in parts.items() if rows
    ]
    return f"<p><code>{escape(line)}</code></p>" + "".join(tables)


def _columns(kind: type) -> list[str]:
    """What a data frame of such answers has whatever they are: no entries of mappings."""
    return [
        each.metadata.get("json", each.name)
        for each in fields(kind)
        if not str(each.type).startswith(("dict", "Mapping"))
    ]


def _worth_a_column(figures: Sequence[Mapping[str, object]]) -> list[str]:
    """Names of figures, what most readers ask for first; intervals are left out."""
    names = dict.fromkeys(
        name
        for each in figures
        for name, value in each.items()
        if isinstance(value, int | float) and "@" not in name
        if not name.endswith(("_low", "_high", "_images"))
    )
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))[
        :FIGURES
    ]


def _cell(value: object) -> str:
    """What fits into a cell; else nothing."""
    match value:
        case bool():
            text = "yes" if value else ""
        case int():
            text = f"{value:,}"
        case float():
            text = f"{value:.4g}"
        case Digest():
            text = value.short
        case tuple() if value and all(isinstance(each, int) for each in value):
            text = "x".join(map(str, value))
        case tuple() | Set() if all(isinstance(each, str) for each in value):
            text = ", ".join(map(str, value))
        case None | tuple() | list() | Mapping():
            text = ""
        case _:
            text = str(value) if type(value).__str__ is not object.__str__ else ""
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
