"""Versions of packages are read once, until something is installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from zoo import packages


def lay(folder: Path, version: str) -> None:
    """Install a distribution, as pip does: beside one that it then removes."""
    for older in folder.glob("acme-*"):
        (older / "METADATA").unlink()
        older.rmdir()
    made = folder / f"acme-{version}.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme\nVersion: {version}\n")


@pytest.mark.long
def test_a_version_is_read_again_where_something_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = metadata.version

    def noted(name: str) -> str:
        reads.append(name)
        return read(name)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metadata, "version", noted)
    monkeypatch.setattr(packages, "SETTLED", 0)
    with pytest.raises(metadata.PackageNotFoundError):
        packages.version("acme")
    lay(tmp_path, "1.0")
    assert [packages.version("acme") for _ in range(3)] == ["1.0"] * 3
    assert reads == ["acme"] * 2
    lay(tmp_path, "2.0")
    assert packages.version("acme") == "2.0"
