"""Runs whose pictures are left blank: drawing them takes as long as a quick fine-tune."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from zoo.finetune.results import pictures

__all__ = ["blank_pictures"]


@pytest.fixture(autouse=True)
def blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn, and saved as one white pixel, but in tests marked ``pictures``."""

    def save(_: Figure, path: Path, **_how: object) -> None:
        Image.new("RGB", (1, 1), "white").save(path)

    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr(Figure, "savefig", save)
        for name in ("draw_curves", "draw_confusion", "draw_sheet"):
            monkeypatch.setattr(pictures, name, lambda *_: Figure())
