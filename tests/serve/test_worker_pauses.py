"""A worker that keeps dying is started again after pauses that get longer."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from zoo.serve import workers
from zoo.serve.http.guard import Address
from zoo.serve.workers import _Setup, _Worker


@pytest.mark.long
def test_pauses_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, began = 0.0, list[float]()
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    setup = _Setup(root="", address=Address.checked("127.0.0.1", 0, ""), number=0, quiet=True,
                   log_format="text", listening=0, ready=-1, alive=0)  # fmt: skip
    worker = _Worker(setup, str(tmp_path))
    worker.start()
    while now < 90:
        process = worker.process
        assert process
        process.wait()
        worker.look()
        if worker.process is not process:
            began.append(now)
        now += 0.5
    worker.close()
    looked = 0.5  # it is seen to have died when it is looked at next
    assert [two - one - looked for one, two in pairwise(began)][:5] == [1, 3, 7, 15, 30]
