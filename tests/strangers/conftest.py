"""A zoo for all tests of this folder, and a copy for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.strangers import make_images, make_zoo
from fakes.traced import traced_once  # noqa: F401 - a fixture of all tests here


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``zoo`` and ``images``."""
    root = tmp_path_factory.mktemp("strangers")
    make_zoo(root / "zoo")
    make_images(root / "images")
    return root


@pytest.fixture
def images(made: Path) -> Path:
    return made / "images"


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the zoo; the current folder."""
    root = shutil.copytree(made / "zoo", tmp_path / "zoo")
    monkeypatch.chdir(root)
    return root
