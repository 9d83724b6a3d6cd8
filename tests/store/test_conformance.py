from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.places import write

from zoo.contracts import Maintained
from zoo.store import Store
from zoo.testing.remotes import MaintainedSuite


class TestStore(MaintainedSuite):
    @pytest.fixture
    def remote(self, tmp_path: Path) -> Maintained:
        return Store.connect(str(tmp_path / "zoo"), create=True)

    @pytest.fixture
    def plant(self, tmp_path: Path) -> Callable[[str, bytes], None]:
        return lambda name, data: write(tmp_path / "zoo" / name, data)
