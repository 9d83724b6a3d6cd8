"""The benchmark of accelerators, tried on the CPU with tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
FIGURES = {
    "images_per_second", "ms_per_step", "busy_percent", "peak_bytes", "card", "torch", "timm",
    "date", "batch", "precision", "images",
}  # fmt: skip
NETWORKS = ("test_vit", "test_convnext", "test_efficientnet")
MODES = {
    "bound": ("cached", "frozen", "full"), "zoo": ("cached", "frozen", "full"),
    "timm": ("frozen", "full"), "HF Trainer": ("full",),
}  # fmt: skip
AUGMENTED = {"zoo", "timm"}


def measured(out: Path) -> tuple[Path, str]:
    """The file of figures after a run, and what it said."""
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    (figures,) = out.glob("*.jsonl")
    return figures, done.stderr


@pytest.mark.long
def test_each_row_is_measured_once(tmp_path: Path) -> None:
    figures, _ = measured(tmp_path)
    lines = figures.read_text().splitlines()
    rows = {
        (row["network"], row["by"], row["mode"], row["augment"]): row
        for row in map(json.loads, lines)
    }
    expected = {
        (network, by, mode, augment)
        for network, (by, modes) in product(NETWORKS, MODES.items())
        for mode, augment in product(modes, ("none", "medium") if by in AUGMENTED else ("none",))
    }
    assert rows.keys() == expected
    assert len(lines) == len(rows)
    for row in rows.values():
        assert row.keys() >= FIGURES
        assert row["images_per_second"] > 0
        assert row["ms_per_step"] > 0
        assert 0 < row["busy_percent"] <= 100
    for network in NETWORKS:
        bounds = [
            rows[network, "bound", mode, "none"]["images_per_second"] for mode in MODES["zoo"]
        ]
        assert bounds == sorted(bounds, reverse=True)
        assert bounds[0] > rows[network, "zoo", "cached", "none"]["images_per_second"]
    text = figures.with_suffix(".md").read_text()
    assert text.count("\n| test_") == len(rows)
    # Cut off, it goes on with what is not there.
    figures.write_text("\n".join(lines[:-2]) + "\n")
    again, said = measured(tmp_path)
    assert again.read_text().splitlines()[:-2] == lines[:-2]
    assert said.count("images/s") == 2
    assert len(again.read_text().splitlines()) == len(lines)
