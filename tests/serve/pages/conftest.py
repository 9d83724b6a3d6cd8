"""A real fine-tune, served to somebody who may read its parent and to somebody who may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.paged import make_tuned
from fakes.prepared import copy_zoo
from fakes.served import Served, serving


@pytest.fixture(scope="session")
def tuned_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zoo of `make_tuned`."""
    return make_tuned(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def tuned(tuned_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """It, served: ann may read all, and ben ``team/tuned`` alone, as anybody may."""
    root = copy_zoo(tuned_home, tmp_path_factory.mktemp("tuned") / "zoo")
    with serving(root) as served:
        served.accounts.set_level("team", level="private")
        served.accounts.set_level("team/tuned", level="public")
        served.token("ann")
        served.accounts.grant("team", "ann", "reader")
        yield served
