"""Cluster: trials run as tasks of Ray, each with a GPU, or with so many cores, of some node.

All nodes must reach the folders of the zoo and of the images under the same paths, and have the
same version of zoo. A task whose worker is killed is begun again here, and not by Ray, which begins
one that needs too much memory again and again.
"""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from logging import ERROR
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

import torch

from zoo import config
from zoo.backbones.devices import pick_device
from zoo.domain.progress import Progress, silent
from zoo.errors import Unavailable
from zoo.executors.executor import TIMES, carried_out, ended, killed
from zoo.packages import version

__all__ = ["Cluster", "open_cluster"]

K = TypeVar("K")
T = TypeVar("T")
PROJECT = "zoo-registry"
ANSWERS = 120.0
"""Seconds in which a node must say what it reaches: its first worker has yet to start."""


@contextmanager
def open_cluster(
    on: str, device: str, reached: Sequence[Path], progress: Progress
) -> Iterator[Cluster]:
    """The cluster ``on`` which trials run: ``ray://HOST:10001``; ``ray``: that of ``RAY_ADDRESS``,
    else the one of this machine, which is started if there is none.

    Raises:
        Unavailable: It does not answer, has no such device, or a node does not reach a path.
    """
    config.keep_ray_quiet()
    import ray  # not installed with zoo, and slow

    mine = not ray.is_initialized()
    if mine:
        address = {"address": on} if "://" in on else {"include_dashboard": False}
        try:
            with warnings.catch_warnings(action="ignore"):  # of what is raised, too
                ray.init(**address, logging_level=ERROR, log_to_driver=False)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            hint = "the address is that of a client; a cluster may want RAY_AUTH_MODE=token"
            raise Unavailable(on, f"no Ray cluster answers: {reason}", hint=hint) from error
    try:
        cluster = Cluster(ray, on, device, progress)
        cluster.check(reached)
        yield cluster
    finally:
        if mine:
            ray.shutdown()


class Cluster:
    """See `Executor`.

    Attributes:
        ray: The package.
        on: What it is called.
        threads: How many a trial has.
    """

    progress = silent  # workers have no terminal

    def __init__(self, ray: Any, on: str, device: str, progress: Progress) -> None:
        self.ray, self.on, self._say = ray, on, progress.say
        # A cluster is a machine: what was measured on some of its nodes is not measured on others.
        self.host = on if "://" in on else f"{on} {platform.node()}"
        has_gpus = any(node.get("GPU") for node in self._nodes())
        self.device = ("cuda" if has_gpus else "cpu") if device == "auto" else device
        self.own = pick_device("auto" if self.device == "cuda" else "cpu")
        most = int(max((node.get("CPU", 0) for node in self._nodes()), default=0))
        # As many as here: sums are taken in their order.
        self.threads = max(min(torch.get_num_threads(), most), 1)
        self._asked = {"num_cpus": self.threads, "num_gpus": int(self.device == "cuda")}
        if not self.places():
            raise Unavailable(on, f"no node of the cluster has a {self.device} device")

    def _nodes(self) -> list[dict[str, float]]:
        """What those have that are there now."""
        return [each["Resources"] for each in self.ray.nodes() if each["Alive"]]

    def places(self) -> int:
        """How many trials run at once: a cluster grows and shrinks."""
        asked = {"CPU": self._asked["num_cpus"], "GPU": self._asked["num_gpus"]}
        return sum(
            int(min(node.get(name, 0) // number for name, number in asked.items() if number))
            for node in self._nodes()
        )

    def check(self, reached: Sequence[Path]) -> None:
        """Each node that may get a trial has this version of zoo, and these paths.

        Raises:
            Unavailable: One has not.
        """
        from ray.exceptions import RayError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = self.ray.remote(num_cpus=0, max_retries=0)(_look)
        with NamedTemporaryFile(dir=reached[0], prefix=".ray-") as here:  # of no other zoo
            asked = {
                node["NodeManagerHostname"]: look.options(
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                ).remote(reached, Path(here.name))
                for node in self.ray.nodes()
                if node["Alive"] and node["Resources"].get("CPU")
            }
            for name, reference in asked.items():
                what = f"node {name} of the cluster"
                try:
                    there, lacking = self.ray.get(reference, timeout=ANSWERS)
                except RayError as error:
                    reason = str(error).strip().splitlines() or [type(error).__name__]
                    hint = f"on it: pip install '{PROJECT}=={version(PROJECT)}'"
                    raise Unavailable(what, f"zoo does not run: {reason[-1]}", hint=hint) from error
                if there != version(PROJECT):
                    raise Unavailable(what, f"it has zoo {there}, and here is {version(PROJECT)}")
                if lacking:
                    raise Unavailable(
                        what,
                        f"it does not reach {lacking}",
                        hint="the zoo and the images lie on a disk that all nodes share",
                    )

    def run(
        self, trials: Iterable[tuple[K, Callable[[], T]]]
    ) -> Iterator[tuple[K, Callable[[], T]]]:
        """See `Executor.run`."""
        waiting = iter(trials)
        task = self.ray.remote(**self._asked, max_retries=0)(_task)
        os.umask(mask := os.umask(0o077))
        begin = partial(task.remote, self.threads, mask)
        busy = dict[object, tuple[K, Callable[[], T], int]]()
        try:
            while True:
                while len(busy) < self.places() and (trial := next(waiting, None)):
                    busy[begin(trial[1])] = (*trial, 1)
                if not busy:
                    return
                for reference in self.ray.wait(list(busy))[0]:
                    key, trial_of_it, times = busy.pop(reference)
                    if outcome := self._result(reference):
                        yield key, partial(ended, *outcome)
                    elif times == TIMES:
                        yield key, partial(ended, None, killed(self.on))
                    else:
                        self._say(f"{self.on}: a worker was killed, and its trial begins again")
                        busy[begin(trial_of_it)] = (key, trial_of_it, times + 1)
        finally:
            for reference in busy:
                self.ray.cancel(reference, force=True)

    def _result(self, reference: object) -> tuple[Any, Exception | None] | None:
        """What a task gave; None where its worker, or its node, was killed."""
        from ray.exceptions import RayError, RayTaskError

        try:
            outcome: tuple[object, Exception | None] = self.ray.get(reference)
        except RayTaskError as error:  # not of the trial, which answers what it raises
            return None, RuntimeError(str(error))
        except RayError:
            return None
        return outcome


def _look(paths: Sequence[Path], here: Path) -> tuple[str, Path | None]:
    """The version of zoo on this node, and the first of ``paths`` that it does not reach; without
    the file ``here``, it is another folder of that name.
    """
    lacking = [each for each in paths if not os.access(each, os.R_OK)]
    if not here.exists():
        lacking.insert(0, here.parent)
    return version(PROJECT), next(iter(lacking), None)


def _task(threads: int, mask: int, trial: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """A trial on a node, which makes files with the rights that they would have here."""
    os.umask(mask)
    torch.set_num_threads(threads)
    return carried_out(trial)
