"""A matrix that is not square, or counts less than nothing, is no matrix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo.lookup.runs import Run
from zoo.serve.pages.kept_runs import matrix_of


@pytest.mark.parametrize(
    ("counts", "sound"),
    [([[3, 1], [0, 2]], True), ([[3, 1]], False), ([[3], [0]], False), ([[3, 1, 1], [0, 2]], False),
     ([[3, 1], [0, 2], [0, 0]], False), ([[1, -1], [0, 2]], False), ([], False)],
)  # fmt: skip
def test_what_is_a_matrix(tmp_path: Path, counts: list[list[int]], sound: bool) -> None:
    run = Run(folder=tmp_path, base="", parent="", save="", recipe={}, device="cpu", started="")
    (tmp_path / "confusion.json").write_text(json.dumps({"classes": ["a", "b"], "counts": counts}))
    assert (matrix_of(run) is not None) is sound
