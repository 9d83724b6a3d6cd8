"""Trace all architectures that a source lists, so that nobody waits for it later."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from zoo import plugins
from zoo.backbones.describe import traced
from zoo.config import cores
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.progress import Progress, silent
from zoo.domain.result import Result
from zoo.errors import ZooError
from zoo.trust import Trust
from zoo.workspace import Workspace, trust_in

__all__ = ["Traced", "trace_all"]

Network = tuple[str, str]
"""Names of a plugin and of an architecture of it."""

TRUSTED: list[Trust] = []
"""In a process that traces: of the zoo that it is for."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Traced(Result):
    """How many architectures were traced, and why each of those that could not be was not."""

    traced: int
    failed: Mapping[str, str]


def trace_all(workspace: Workspace, source: str, *, progress: Progress = silent) -> Traced:
    """Keep the hierarchy of every architecture that ``source`` lists, and of all of the backbone of
    that name, with pretrained weights or without; on all cores that this process may use.

    What is kept already is not traced again, so an interrupted run resumes. A network
    that cannot be traced, even one that ends the process it is traced in, keeps no other from it.
    """
    registry = workspace.registry
    networks: list[Network] = []
    versions: dict[str, str] = {}
    backbones = plugins.names("zoo.backbones")
    listed = registry.architectures(source)
    if listed and source in backbones:
        listed[source] = {*listed.get(source, ()), *plugins.architectures(source)}
    for plugin, architectures in listed.items():
        if plugin not in backbones:
            continue  # what the hub lists is of any library
        versions[plugin] = plugins.backbone_version(plugin)
        known = registry.traced(plugin, versions[plugin])
        networks += [(plugin, name) for name in sorted(architectures - known)]
    failed: dict[str, str] = {}
    with progress(f"tracing what {source} lists", len(networks)) as task:
        for (plugin, name), outcome in _traced(networks, workspace.root):
            if isinstance(outcome, Hierarchy):
                registry.keep_hierarchy(plugin, versions[plugin], outcome)
            else:
                failed[name] = outcome
            task.advance()
    return Traced(traced=len(networks) - len(failed), failed=failed)


def _traced(
    networks: list[Network], root: Path | None = None
) -> Iterator[tuple[Network, Hierarchy | str]]:
    """Each with its hierarchy, or why it has none.

    A network that ends the process it is in, as where memory runs out, takes along all that run
    beside it. These are tried again one after the other, and the rest goes on. What the zoo in
    ``root`` trusts may be imported.
    """
    left, processes = networks[::-1], cores()
    while left:
        running: dict[Future[Hierarchy | str], Network] = {}
        pool = _pool(processes, root)
        try:
            while left or running:
                # No more than run at once: so it is known which did when a process ends.
                while left and len(running) < processes:
                    running[pool.submit(_trace, *left[-1])] = left[-1]
                    left.pop()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    outcome = future.result()
                    yield running.pop(future), outcome
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for network in running.values():
            yield network, _traced_alone(network, root)


def _traced_alone(network: Network, root: Path | None) -> Hierarchy | str:
    """In a process of its own, whose end tells of nothing else.

    Raises:
        BrokenProcessPool: The process ends before there is a network in it.
    """
    with _pool(1, root) as pool:
        pool.submit(os.getpid).result()
        try:
            return pool.submit(_trace, *network).result()
        except BrokenProcessPool:
            return "tracing it ended the process, as happens where memory runs out"


def _pool(processes: int, root: Path | None) -> ProcessPoolExecutor:
    # Spawned: torch does not survive a fork of a process whose threads have worked.
    context = get_context("spawn")
    return ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(root,))


def _begin(root: Path | None) -> None:
    if root:
        TRUSTED.append(trust_in(root))


def _trace(plugin: str, architecture: str) -> Hierarchy | str:
    import torch

    torch.set_num_threads(1)  # there are as many processes as cores
    try:
        return traced(plugin, architecture)
    except Exception as error:  # noqa: BLE001 - one network must not end the work on all others
        return str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}"
