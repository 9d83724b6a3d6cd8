"""Image files in class folders that are not taken are told."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.run import finetune
from zoo.workspace import Workspace


def test_what_looks_like_an_image_and_is_not_taken_is_counted(shapes: Path) -> None:
    assert open_dataset(str(shapes)).remarks == ()
    (shapes / "2" / "notes.txt").write_text("no image")
    (shapes / "2" / ".hidden.gif").write_bytes(b"")
    (shapes / "2" / "moving.heic").touch()
    shutil.copy(shapes / "10" / "00.png", shapes / "stray.png")
    (remark,) = open_dataset(str(shapes)).remarks
    assert remark.startswith("2 image files are skipped, such as 'stray.png': ")
    assert ".webp" in remark


def test_a_run_tells_it(
    workspace: Workspace, base: str, shapes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (shapes / "2" / "moving.heic").touch()
    recipe = Recipe(data=str(shapes), strategy="probe", image_size=32)
    with caplog.at_level(logging.WARNING):
        finetune(workspace, base, recipe, Reference.parse("team/x"), device="cpu")
    assert "1 image file is skipped, such as '2/moving.heic'" in caplog.text
