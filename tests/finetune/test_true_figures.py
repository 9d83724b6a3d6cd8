"""What a run recorded is what the checkpoint that it published gives: loaded anew, in a plain loop
over the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.tuned import drawings, evaluated, quick, small_zoo

import zoo

PLANS: dict[str, dict[str, Any]] = {
    "probe": {"strategy": "probe"},
    "partial": {"strategy": "partial", "freeze": "layer2", "epochs": 3, "lr": 0.02},
    "full": {"strategy": "full", "epochs": 3, "lr": 0.02},
    "lp-ft": {"strategy": "lp-ft", "freeze": "layer2", "epochs": 3, "lr": 0.05},
    "unfreezing": {"strategy": "gradual", "phases": ("all:1@1e-2", "none:2@1e-2")},
    "freezing": {"strategy": "gradual", "phases": ("none:3@1e-2", "all:1@1e-3")},
    "half frozen": {"strategy": "gradual", "phases": ("none:2@1e-2", "50%:2@1e-2")},
    "spoiled": {"strategy": "gradual",
                "phases": ("none:3@1e-2", "none:1@5e-1", "all:1@1e-6")},
}  # fmt: skip
CASES = [
    ("probe", {}),
    ("probe", {"cache": False}),
    ("partial", {"ema": 0.5, "patience": 1}),
    ("full", {"blend": "soup", "cache": False}),
    ("lp-ft", {"blend": "wise-ft", "ema": 0.5}),
    ("lp-ft", {"blend": "soup", "patience": 1}),
    ("unfreezing", {"blend": "soup", "ema": 0.5}),
    ("freezing", {"blend": "soup"}),
    ("freezing", {"ema": 0.5, "patience": 1, "seed": 1}),
    ("half frozen", {"blend": "soup", "ema": 0.5, "patience": 1}),
    ("spoiled", {}),
    ("spoiled", {"cache": False, "patience": 1}),
]
"""Each plan, and each pair of what else could go wrong, at least once."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.Zoo]:
    root = tmp_path_factory.mktemp("figures")
    drawings(root / "drawings")
    with quick(), small_zoo(root) as made:
        yield made


def check(small: zoo.Zoo, tmp_path: Path, plan: str, options: dict[str, Any]) -> None:
    data = small.root.parent / "drawings"
    result = small.finetune("team/base", str(data), "team/tuned", device="cpu", image_size=32,
                            batch_size=9, **PLANS[plan], **options)  # fmt: skip
    small.export("team/tuned", tmp_path)
    preprocessing = small.show("team/tuned")["preprocessing"]
    true = evaluated(tmp_path / "model.safetensors", preprocessing, data / "test")
    assert small.show("team/tuned")["metrics"] == result.metrics
    assert result.metrics["test_images"] == 15
    found = {name: result.metrics[name] for name in true}
    assert found == pytest.approx(true, rel=1e-4), result.freeze["kept"]


@pytest.mark.parametrize(("plan", "options"), CASES)
def test_recorded_figures_are_those_of_the_published_checkpoint(
    small: zoo.Zoo, tmp_path: Path, plan: str, options: dict[str, Any]
) -> None:
    check(small, tmp_path, plan, options)
