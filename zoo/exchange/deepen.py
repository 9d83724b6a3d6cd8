"""Deepen: trace all architectures that a source lists, so that nobody waits for it later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from zoo import plugins
from zoo.backbones.describe import traced
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.progress import Progress, silent
from zoo.errors import ZooError
from zoo.workspace import Workspace

__all__ = ["deepen"]


def deepen(
    workspace: Workspace, source: str, *, progress: Progress = silent
) -> tuple[int, dict[str, str]]:
    """Keep the hierarchy of every architecture that ``source`` lists, and of all of the backbone of
    that name, with pretrained weights or without; on all cores.

    What is kept already is not traced again, so an interrupted run goes on where it was.

    Returns:
        How many were traced, and why each of those that could not be was not.
    """
    registry = workspace.registry
    wanted: list[tuple[str, str]] = []
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
        wanted += [(plugin, name) for name in sorted(architectures - known)]
    failed: dict[str, str] = {}
    with progress(f"tracing what {source} lists", len(wanted)) as task:
        for (plugin, name), found in _traced(wanted):
            if isinstance(found, Hierarchy):
                registry.keep_hierarchy(plugin, versions[plugin], found)
            else:
                failed[name] = found
            task.advance()
    return len(wanted) - len(failed), failed


def _traced(wanted: list[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Hierarchy | str]]:
    if not wanted:
        return
    # Spawned: torch does not survive a fork of a process whose threads have worked.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        running: dict[Future[Hierarchy | str], tuple[str, str]] = {
            pool.submit(_trace, *each): each for each in wanted
        }
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _trace(plugin: str, architecture: str) -> Hierarchy | str:
    import torch

    torch.set_num_threads(1)  # there are as many processes as cores
    try:
        return traced(plugin, architecture)
    except Exception as error:  # noqa: BLE001 - one network must not end the work on all others
        return str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}"
