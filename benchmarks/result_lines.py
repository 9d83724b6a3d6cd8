"""Results as lines of JSON: each is kept as soon as it is measured, and never measured twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Results:
    """A file of results.

    Args:
        path: The file; it need not exist.
        parts: The keys that say what was measured.
    """

    def __init__(self, path: Path, parts: Iterable[str]) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: list[Row] = [json.loads(line) for line in lines]
        self._path, self._parts = path, tuple(parts)

    def missing(self, cells: Iterable[Mapping[str, str]]) -> Iterator[dict[str, str]]:
        """Those that are not measured."""
        done = {tuple(row[part] for part in self._parts) for row in self.rows}
        for cell in cells:
            if tuple(cell[part] for part in self._parts) not in done:
                yield dict(cell)

    def add(self, row: Row) -> None:
        """Keep a result."""
        self.rows.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
