"""Cells of CSV that a spreadsheet would take for formulas."""

from __future__ import annotations

import csv
import io

import pytest

from zoo.domain.csv_text import as_csv, safe_cell


@pytest.mark.parametrize("cell", ["=1", "+a", "-1+cmd|' /C calc'!A0", "@x", "\t=1", "\uff1d1", "-"])
def test_text_that_begins_a_formula_is_quoted(cell: str) -> None:
    assert safe_cell(cell) == f"'{cell}"
    assert next(csv.reader(io.StringIO(as_csv([[cell, 1]]), newline=""))) == [f"'{cell}", "1"]


@pytest.mark.parametrize("cell", ["-1.5", "+2", "-inf", "a=1", "", -3, None, "'=1"])
def test_numbers_and_other_text_stay(cell: object) -> None:
    assert safe_cell(cell) is cell


@pytest.mark.parametrize("cell", ["a\rb", "a\r", "a\nb", "a\r\nb", 'a"b', "a,b"])
def test_a_cell_is_read_as_it_was_written(cell: str) -> None:
    """Also one with a carriage return, as of folders that a script with Windows' lines made."""
    rows = [[cell, "1"], ["x", cell]]
    assert [*csv.reader(io.StringIO(as_csv(rows), newline=""))] == rows
