"""A zoo with real weights, and one fine-tune of these."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.derived import LITE0, LITE1, TRAINED, TUNED, derive, train, weights_of
from fakes.traced import traced_once  # noqa: F401 - a fixture of all tests here

import zoo as z
from zoo.domain.digest import Digest


@pytest.fixture(scope="session")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo with two published checkpoints, whose weights Python packages ship."""
    root = tmp_path_factory.mktemp("pulled") / "zoo"
    with z.init(root) as made:
        for name in (LITE0, LITE1):
            made.pull(name)
    return root


@pytest.fixture(scope="session")
def with_tuned(pulled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with `TUNED`: as `FREEZE` says, made from `LITE0`."""
    root = _copy(pulled, tmp_path_factory.mktemp("tuned") / "zoo")
    with z.open(root) as made:
        values = train(weights_of(made.workspace, LITE0), TRAINED)
        derive(made.workspace, LITE0, TUNED, values)
    return root


def _copy(root: Path, target: Path) -> Path:
    def copy(here: str, there: str) -> None:
        shared = {"objects", "manifests"} & set(Path(here).relative_to(root).parts)
        (os.link if shared else shutil.copy2)(here, there)

    shutil.copytree(root, target, copy_function=copy)
    return target


@pytest.fixture
def zoo(pulled: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[z.Zoo]:
    """A copy for this test alone, with `TUNED` where a test asks for `tuned`."""
    if "tuned" in request.fixturenames:
        pulled = request.getfixturevalue("with_tuned")
    with z.open(_copy(pulled, tmp_path / "zoo")) as opened:
        yield opened


@pytest.fixture
def tuned(zoo: z.Zoo) -> Digest:
    """What `TUNED` names."""
    return zoo.workspace.names.resolve(TUNED)[1]
