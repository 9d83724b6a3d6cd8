"""A zoo with real weights, and one fine-tune of these."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.derived import LITE0, LITE1, TRAINED, TUNED, derive, train, weights_of

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


@pytest.fixture
def zoo(pulled: Path, tmp_path: Path) -> Iterator[z.Zoo]:
    """A copy of it, for this test alone."""

    def copy(here: str, there: str) -> None:
        shared = {"objects", "manifests"} & set(Path(here).relative_to(pulled).parts)
        (os.link if shared else shutil.copy2)(here, there)

    shutil.copytree(pulled, tmp_path / "zoo", copy_function=copy)
    with z.open(tmp_path / "zoo") as opened:
        yield opened


@pytest.fixture
def tuned(zoo: z.Zoo) -> Digest:
    """`TUNED`: as `FREEZE` says, made from `LITE0`."""
    values = train(weights_of(zoo.workspace, LITE0), TRAINED)
    return derive(zoo.workspace, LITE0, TUNED, values)
