"""Executor: where trials run, such as the measuring of a network or some epochs of a recipe.

Whoever has trials says them one by one, each when there is room for it, so that a budget is looked
at just before a trial begins. Results come as trials end, in any order. `SerialExecutor` runs one
after the other in this process; others are `zoo.executors.processes` and `zoo.executors.cluster`.
"""

from __future__ import annotations

import platform
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from zoo.domain.progress import Progress
from zoo.errors import Unavailable, ZooError

__all__ = ["TIMES", "SerialExecutor", "Executor", "carried_out", "ended", "killed", "open_executor"]

K = TypeVar("K")
T = TypeVar("T")
TIMES = 2
"""How often a trial is begun whose worker is killed: it may be what kills it."""


class Executor(Protocol):
    """Where trials run.

    Attributes:
        own: The device of this process, for what is not a trial.
        device: What a trial computes on, as the process that runs it calls it.
        host: Whose times are measured.
        progress: Where a trial says how far it is.
    """

    @property
    def own(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def progress(self) -> Progress: ...  # noqa: D102

    def run(
        self, trials: Iterable[tuple[K, Callable[[], T]]]
    ) -> Iterator[tuple[K, Callable[[], T]]]:
        """Each trial with what is its own, as it ends: a call gives its result, or raises.

        Trials can be pickled. When this is interrupted, those that run are ended.
        """


@dataclass(frozen=True, slots=True)
class SerialExecutor:
    """This process, one trial after the other."""

    own: str
    progress: Progress
    host: str = platform.node()

    @property
    def device(self) -> str:
        """The same."""
        return self.own

    def run(
        self, trials: Iterable[tuple[K, Callable[[], T]]]
    ) -> Iterator[tuple[K, Callable[[], T]]]:
        """See `Executor.run`: a trial begins when its result is asked for."""
        return iter(trials)


def open_executor(
    devices: str, on: str, reached: Sequence[Path], progress: Progress
) -> AbstractContextManager[Executor]:
    """The executor for ``--device`` and ``--on``; ``reached`` are paths that trials read.

    Raises:
        InvalidOption: There is no such device here.
        Unavailable: No such cluster answers, or a node does not reach the zoo.
    """
    if on:
        from zoo.executors.cluster import open_cluster

        return open_cluster(on, devices, reached, progress)
    from zoo.backbones.devices import pick_devices  # torch, which a worker may do without

    names = pick_devices(devices)
    if len(names) > 1:
        from zoo.executors.processes import open_processes

        return open_processes(names, progress)
    return _alone(names[0], progress)


@contextmanager
def _alone(device: str, progress: Progress) -> Iterator[Executor]:
    yield SerialExecutor(device, progress)


def carried_out(trial: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """What a trial gives in a worker, or what it raises: only errors of zoo and of Python
    itself can be unpickled for sure.
    """
    try:
        return trial(), None
    except ZooError as error:
        return None, error
    except Exception as error:  # noqa: BLE001 - it is raised again by who asks for the result
        again = RuntimeError(str(error) or type(error).__name__)
        again.add_note(traceback.format_exc())
        return None, again


def ended(value: T, error: Exception | None) -> T:
    """What a trial gave; raises what it raised."""
    if error:
        raise error
    return value


def killed(where: str) -> Unavailable:
    """The error of a trial whose worker was killed as often as it was begun."""
    return Unavailable(
        f"the worker on {where}",
        f"it was killed {TIMES} times while it did this",
        hint="the memory may be too small: --batch-size takes less",
    )
