"""CSV that people open in a spreadsheet, with names of files and classes that strangers chose.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, which can
read other cells and open addresses. Such a cell gets a ``'`` before it, as OWASP advises.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TextIO

__all__ = ["as_csv", "safe_cell", "write_rows"]

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - also wide


class _Lines:
    """Where a writer of CSV writes. It quotes a cell for a ``\\r`` in it only where that is in its
    own end of a line (before Python 3.13), so lines get their ``\\n`` here.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text

    def write(self, line: str) -> None:
        self._text.write(line.removesuffix("\r\n") + "\n")


def write_rows(text: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Write rows as CSV, with cells as they are, in lines that end in ``\\n``."""
    csv.writer(_Lines(text)).writerows(rows)


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; no cell is a formula."""
    text = io.StringIO(newline="")
    write_rows(text, ([safe_cell(cell) for cell in row] for row in rows))
    return text.getvalue()


def safe_cell(cell: object) -> object:
    """The cell, with a ``'`` before it where a spreadsheet would take it for a formula; a number
    below zero is none.
    """
    if not isinstance(cell, str) or not cell.startswith(FORMULAS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
