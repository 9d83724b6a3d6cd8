from __future__ import annotations

from pathlib import Path

import pytest

from zoo.contracts import Backend, LocalDisk, SupportsBatches, SupportsPermissions, SupportsSync
from zoo.store.folder import FolderBackend
from zoo.testing.remotes import BackendSuite, StoreSuite


class OfFolder:
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return FolderBackend.connect(str(tmp_path / "zoo"), create=True)


class TestFolder(OfFolder, BackendSuite):
    def test_it_does_all_that_a_disk_can(self, backend: Backend) -> None:
        for capability in (SupportsBatches, LocalDisk, SupportsSync, SupportsPermissions):
            assert isinstance(backend, capability)


class TestStore(OfFolder, StoreSuite):
    pass
