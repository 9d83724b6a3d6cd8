from __future__ import annotations

from pathlib import Path

import pytest

from zoo.contracts import Remote
from zoo.store import Store
from zoo.testing.remotes import RemoteSuite


class TestStore(RemoteSuite):
    @pytest.fixture
    def remote(self, tmp_path: Path) -> Remote:
        return Store.connect(str(tmp_path / "zoo"), create=True)
