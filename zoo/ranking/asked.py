"""What is asked of a ranking, with all that can be refused before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.domain.duration import seconds_of
from zoo.domain.recipe import Recipe
from zoo.finetune.dataset.spec import check_spec, opening_of
from zoo.finetune.preflight import RANKING, check_report, check_where
from zoo.ranking.candidates import candidates, of_one_run, of_same_backbone
from zoo.ranking.prior import Figure, read_figures
from zoo.registry import SearchResult
from zoo.workspace import Workspace

__all__ = ["RankOptions", "ask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """How to rank.

    Attributes:
        networks: Which.
        same_run: Those that are not measured, as another moment of their run, here, is.
        same_backbone: Those that are not measured where another one, here, with the same weights
            but for the head can be: with these, the first choice first.
        results: Published results, if there are any.
        top: How many finalists there are.
        budget: Seconds after which nothing further is begun.
        pulls: Whether networks that are not here are pulled when it is their turn.
        out: The folder to write into, if any.
        batch_size: Images that run at once.
        device: ``auto``, ``cpu``, ``cuda:1``, …; of several, each runs a network.
        on: The Ray cluster that runs them; empty: this machine.
    """

    networks: Sequence[SearchResult]
    same_run: Mapping[str, str]
    same_backbone: Mapping[str, tuple[str, ...]]
    results: Sequence[Figure] | None
    top: int
    budget: float
    pulls: bool
    out: Path | None
    batch_size: int
    device: str
    on: str


def ask(
    workspace: Workspace,
    recipe: Recipe,
    among: str,
    *,
    results: Path | str | None,
    top: int,
    budget: str,
    pulls: bool,
    out: Path | str | None,
    force: bool,
    batch_size: int,
    device: str,
    on: str,
) -> RankOptions:
    """Check what `zoo.Zoo.rank` is asked."""
    folder, allowed = Path(out) if out else None, seconds_of(budget)
    check_where(device, on)
    check_report(folder, force=force, name=RANKING)
    check_spec(recipe.data, opening_of(recipe), None)
    networks = candidates(workspace, among)
    same_run = of_one_run(networks)
    return RankOptions(
        networks=networks,
        same_run=same_run,
        same_backbone=of_same_backbone(workspace, networks, same_run, recipe.image_size),
        results=None if results is None else read_figures(Path(results)),
        top=top,
        budget=allowed,
        pulls=pulls,
        out=folder,
        batch_size=batch_size,
        device=device,
        on=on,
    )
