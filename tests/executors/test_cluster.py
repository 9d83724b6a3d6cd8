"""A Ray cluster on this machine: nodes are asked first, and whoever is killed is replaced."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.trials import dies, gone, lasts, noted, raises, where

from zoo.domain.progress import silent
from zoo.errors import Unavailable
from zoo.executors import cluster
from zoo.executors.cluster import open_cluster

Trials = list[tuple[int, Callable[[], Any]]]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of files that it leaves open
]


@pytest.fixture(scope="module", autouse=True)
def nodes() -> Iterator[None]:
    """A cluster of one node, which all tests here share: to start it takes seconds."""
    import ray

    path = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}  # of fakes
    ray.init("local", num_cpus=2, runtime_env=path, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_whatever_a_trial_gives_or_raises_comes_back(tmp_path: Path) -> None:
    with open_cluster("ray", "auto", [tmp_path], silent) as executor:
        assert (executor.own, executor.device) == ("cpu", "cpu")
        trials: Trials = [(0, where), (1, partial(raises, False)), (2, partial(raises, True))]
        found = dict(executor.run(trials))
        pid, gpu, threads = found[0]()
        assert (bool(pid), gpu, threads) == (True, "", "1")
        with pytest.raises(Unavailable, match="it: is away") as caught:
            found[1]()
        assert caught.value.advice == "wait"
        with pytest.raises(RuntimeError, match="1 and 2"):
            found[2]()


def test_what_a_killed_worker_did_is_done_again_once(tmp_path: Path) -> None:
    lines = list[str]()
    progress: Any = SimpleNamespace(say=lines.append)
    trials = [(times, partial(dies, tmp_path / str(times), times)) for times in (1, 2)]
    with open_cluster("ray", "cpu", [tmp_path], progress) as executor:
        found = dict(executor.run(trials))
        assert found[1]() == "done"
        with pytest.raises(Unavailable, match="the worker on ray: it was killed 2 times"):
            found[2]()
    assert lines == ["ray: a worker was killed, and its trial begins again"] * 2


def test_what_runs_when_nobody_asks_any_more_is_ended(tmp_path: Path) -> None:
    with open_cluster("ray", "cpu", [tmp_path], silent) as executor:
        trials: Trials = [(0, partial(lasts, tmp_path / "pid")), (1, where)]
        for key, _ in executor.run(trials):
            assert key == 1
            pid, _ = noted(tmp_path / "pid")
            break
        assert gone(pid)


def test_nodes_that_are_not_as_here_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(device: str, *reached: Path) -> str:
        with (
            pytest.raises(Unavailable) as caught,
            open_cluster("ray", device, reached, silent),
        ):
            pass
        return str(caught.value)

    assert refused("cuda", tmp_path) == "ray: no node of the cluster has a cuda device"
    elsewhere = tmp_path / "elsewhere"
    said = refused("cpu", tmp_path, elsewhere)
    assert said.startswith("node ")
    assert said.endswith(f" of the cluster: it does not reach {elsewhere}")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(cluster, "version", lambda _: "9.9")
    assert "of the cluster: it has zoo" in refused("cpu", tmp_path)
