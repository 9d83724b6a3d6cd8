"""The benchmark of accelerators, tried on the CPU with tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

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


class Kernels:
    """In the place of torch's profiler: three kernels of 1 ms ran."""

    def __init__(self, **_: Any) -> None:
        pass

    def start(self) -> None:
        """See `torch.profiler.profile`."""

    stop = start

    def key_averages(self) -> list[Any]:
        return [SimpleNamespace(self_device_time_total=1000.0)] * 3


def test_a_card_is_traced_in_a_pass_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes of six steps; a second between them is not counted."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    gpu = import_module("gpu")
    clock = [0.0]
    monkeypatch.setattr(gpu, "profile", Kernels)
    monkeypatch.setattr(gpu, "wait_for", lambda _: None)
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    meter, passes, each = gpu.Meter(torch.device("cuda"), 10 / 64, warm=8), [], 1 / 64

    def steps() -> Iterator[int]:
        for _ in range(6):
            clock[0] += each
            yield 32

    def train() -> None:
        while True:
            passes.append(list(meter.watch(steps(), int)))
            clock[0] += 1

    with pytest.raises(gpu.Enough):
        train()
    assert len(passes) == 3  # 8 steps warm up, 10 are timed, and the fourth pass is traced
    assert (meter.steps, meter.images) == (10, 320)
    assert meter.seconds == 10 * each
    assert meter.busy == pytest.approx(0.003 / (6 * each))


def test_with_no_time_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing is made for it; what is left is told, and that is no failure."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    gpu = import_module("gpu")
    monkeypatch.setattr(gpu, "prepare", None)
    monkeypatch.setattr(gpu.logging.getLogger("zoo"), "setLevel", lambda _: None)
    how = ["--device", "cpu", "--tiny", "--minutes", "0", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *how])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert said.out == "nothing is measured yet\n"
    assert f"{len([*gpu.cells(gpu.SCALES['tiny'])])} rows are left: run it again" in said.err


def test_a_quick_run_compiles_a_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before what matters less, which there may be no time for."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    gpu = import_module("gpu")
    cells = [*gpu.cells(gpu.SCALES["quick"])]
    compiled = {"network": "vit_base_patch16_224", "by": "zoo compiled", "mode": "cached",
                "augment": "none"}  # fmt: skip
    assert cells.index(compiled) < next(at for at, cell in enumerate(cells) if cell["augment"]
                                        != "none" and cell["by"] == "zoo")  # fmt: skip


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
    there = product(NETWORKS, ("zoo",), ("frozen", "full"), ("medium, on the device",))
    levels = ("none", "medium", "medium, on the device")
    decoded = {*product(("none",), ("decode",), ("nothing",), levels)}
    assert rows.keys() == expected | {*there} | decoded
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
    assert text.count("\n| test_") == len(rows) - len(decoded)
    fed = rows["none", "decode", "nothing", "medium"]["images_per_second"]
    own = rows["test_vit", "zoo", "full", "medium"]["images_per_second"]
    (line,) = (each for each in text.splitlines() if "| test_vit | zoo | full | medium |" in each)
    assert line.endswith(f"| {own / fed:.0%} |")
    # Cut off, it goes on with what is not there.
    figures.write_text("\n".join(lines[:-2]) + "\n")
    again, said = measured(tmp_path)
    assert again.read_text().splitlines()[:-2] == lines[:-2]
    assert said.count("images/s") == 2
    assert len(again.read_text().splitlines()) == len(lines)
