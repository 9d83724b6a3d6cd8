"""Workers on this machine: results in any order, and whoever is killed is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.trials import dies, gone, lasts, noted, raises, where

from zoo.domain.progress import silent
from zoo.errors import Unavailable
from zoo.executors.processes import open_processes

DRIVER = """
import sys
from functools import partial
from pathlib import Path
from fakes.trials import lasts
from zoo.domain.progress import silent
from zoo.executors.processes import open_processes
with open_processes(["cpu"], silent) as workers:
    list(workers.run([(0, partial(lasts, Path(sys.argv[1])))]))
"""


def test_each_worker_has_a_device_and_trials_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And is asked for the next trial when there is room for it, not before."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    done, begun = list[tuple[int, str, str]](), list[int]()

    def trials() -> Iterator[tuple[int, Callable[[], Any]]]:
        for number in range(5):
            assert number - len(done) < 3
            begun.append(number)
            yield number, partial(raises, True) if number == 2 else where

    with open_processes(["cuda:4", "cuda:7"], silent) as workers:
        assert (workers.own, workers.device) == ("cuda:4", "cuda")
        for key, result in workers.run(trials()):
            if key == 2:
                with pytest.raises(RuntimeError, match="1 and 2"):
                    result()
                done.append((0, "", ""))
            else:
                done.append(result())
        assert dict(workers.run([(9, where)]))[9]()[0] in {pid for pid, *_ in done}
    assert begun == [0, 1, 2, 3, 4]
    pids = {seen: pid for pid, seen, _ in done if pid}
    assert pids.keys() == {"4", "7"}
    assert {threads for pid, _, threads in done if pid} == {"3"}
    assert all(map(gone, pids.values()))


def test_what_a_killed_worker_did_is_done_again_once(tmp_path: Path) -> None:
    lines = list[str]()
    progress: Any = SimpleNamespace(say=lines.append)
    trials: list[tuple[int, Callable[[], Any]]] = [(0, where)]
    trials += [(times, partial(dies, tmp_path / str(times), times)) for times in (1, 2)]
    with open_processes(["cpu"], progress) as workers:
        found = dict(workers.run(trials))
        assert found[1]() == "done"
        with pytest.raises(Unavailable, match="the worker on cpu: it was killed 2 times") as caught:
            found[2]()
        assert found[0]()
    assert "--batch-size" in caught.value.advice
    assert lines == ["cpu: the worker was killed, and begins again"] * 2
    pids = [name.read_text().splitlines() for name in (tmp_path / "1", tmp_path / "2")]
    assert [len(set(each)) for each in pids] == [2, 2]


def test_a_worker_that_was_killed_between_trials_is_replaced() -> None:
    with open_processes(["cpu"], silent) as workers:
        pid, *_ = dict(workers.run([(0, where)]))[0]()
        os.kill(pid, signal.SIGKILL)
        assert dict(workers.run([(0, where)]))[0]()[0] != pid


def test_ctrl_c_ends_what_runs_and_is_no_matter_for_the_workers(tmp_path: Path) -> None:
    """A terminal sends it to all."""
    notes = tmp_path / "pid"

    def interrupt() -> None:
        os.kill(noted(notes)[0], signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with open_processes(["cpu"], silent) as workers:
        Timer(0.0, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            list(workers.run([(0, partial(lasts, notes))]))
        assert all(map(gone, noted(notes)))
        assert dict(workers.run([(0, where)]))[0]()


def test_nobody_who_is_killed_leaves_a_worker_behind(tmp_path: Path) -> None:
    """It would go on, and hold the lock of its trial."""
    notes = tmp_path / "pid"
    path = os.pathsep.join(filter(None, sys.path))
    line = [sys.executable, "-c", DRIVER, str(notes)]
    with subprocess.Popen(line, env={**os.environ, "PYTHONPATH": path}) as driver:
        pids = noted(notes)
        driver.kill()
    assert all(map(gone, pids))
