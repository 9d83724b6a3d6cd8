"""What Aim has of a run: read back without its server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["in_aim"]


def in_aim(run: str, name: str) -> Iterator[tuple[int, float]]:
    """What Aim has of the one run that is called so, in the current folder: steps and values."""
    import aim
    from aim.sdk.index_manager import RepoIndexManager

    here = str(Path.cwd())  # absolute: Aim remembers a repository by its path
    repo = aim.Repo(here)
    index = RepoIndexManager.get_index_manager(repo)
    for each in repo.list_all_runs():
        index.index(each)  # as its server does; without, a run has no metrics
    (found,) = aim.Repo(here).query_runs(f"run.name == '{run}'", report_mode=0).iter_runs()
    for metric in found.run.metrics():
        if metric.name == name:
            steps, (values,) = metric.data.view(("step", "val")).items_list()
            yield from zip(steps, values, strict=True)
