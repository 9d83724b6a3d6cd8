"""A zoo with probes, to measure and compare them in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.prepared import Run
from fakes.program import zoo


@pytest.fixture
def home(probed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the zoo with probes; the current folder."""
    root = Path(shutil.copytree(probed, tmp_path / "zoo"))
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def run(home: Path) -> Run:
    """The program, in that copy."""
    return zoo
