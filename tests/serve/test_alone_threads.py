"""Threads of one process keep apart where the file system has no locks, too."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from zoo.serve.keep.alone import LOCKS, alone_in
from zoo.store.disk import Disk


def test_without_locks_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / "refs").mkdir()
    disk, inside = Disk(tmp_path), Event()

    def enter(folder: str) -> None:
        with alone_in(disk, folder):
            inside.set()

    with ThreadPoolExecutor(2) as pool:
        with alone_in(disk, "refs"):
            waiting = pool.submit(enter, "refs")
            assert not inside.wait(0.2)
            pool.submit(enter, "not-there").result(60)
        waiting.result(60)
    assert not [name for name in LOCKS if name.startswith(str(tmp_path))], "none is kept for ever"
