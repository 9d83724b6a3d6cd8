"""CSV that people open in a spreadsheet, with names of files and classes that strangers chose.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, which can
read other cells and open addresses. Such a cell gets a ``'`` before it, as OWASP advises.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

__all__ = ["as_csv", "safe_cell"]

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - also wide


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; no cell is a formula."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerows([safe_cell(cell) for cell in row] for row in rows)
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
