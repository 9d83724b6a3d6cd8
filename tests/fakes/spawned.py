"""Processes that `multiprocessing` starts, as `fakes.warm` does: with torch imported already."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator

import pytest
from fakes import warm

__all__ = ["warm_processes"]


@pytest.fixture
def warm_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those that tracing starts have torch already."""
    for name, value in warm.environment().items():
        monkeypatch.setenv(name, value)
    multiprocessing.set_executable(str(warm.server().python))
    yield
    multiprocessing.set_executable(sys.executable)
