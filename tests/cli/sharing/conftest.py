"""Two zoos of tiny checkpoints and a folder between them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fakes.teammates import NAME, grow

import zoo


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests copy: a zoo, ``mine``, that has pushed its first flowers to ``lab``, and one of a
    teammate, ``theirs``, that has pulled them.
    """
    root = tmp_path_factory.mktemp("shared")
    with zoo.init(root / "mine") as mine:
        grow(root / "mine", NAME)
        mine.push(NAME, str(root / "lab"))
    with zoo.clone(str(root / "lab"), root / "theirs") as theirs:
        theirs.fetch("origin")
        theirs.pull(NAME, remote="origin")
    return root


@pytest.fixture
def lab(shared: Path, tmp_path: Path) -> Path:
    for name in ("lab", "mine", "theirs"):
        shutil.copytree(shared / name, tmp_path / name)
    for name, remote in (("mine", "lab"), ("theirs", "origin")):
        place = {remote: str(tmp_path / "lab")}
        (tmp_path / name / "remotes.json").write_text(json.dumps(place))
    return tmp_path / "lab"


@pytest.fixture
def mine(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """My zoo; the current folder."""
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def theirs(lab: Path, tmp_path: Path) -> Path:
    return tmp_path / "theirs"
