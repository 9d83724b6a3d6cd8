"""Rank: measure networks one after another, order them, and write the folder of a ranking."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from zoo.advice.layers import SCORES
from zoo.backbones.devices import pick_device
from zoo.backbones.rgb import READING
from zoo.backbones.taps import REFUSALS
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe
from zoo.errors import Unsupported, ZooError
from zoo.exchange.sharing import pull
from zoo.finetune.preflight import RANKING
from zoo.finetune.results.journal import LIBRARIES
from zoo.finetune.setup.prepare import dataset_of, prepare, warn_of_guess
from zoo.lookup.runs import caches
from zoo.packages import version
from zoo.ranking.candidates import known_of
from zoo.ranking.combine import combined, finalists, in_order
from zoo.ranking.differences import paired_error, significant_pairs
from zoo.ranking.measure import Judges, judges_of, measure
from zoo.ranking.measured import Measured, keep, kept, path_of
from zoo.ranking.past import past_figures, trained_on
from zoo.ranking.prior import Figure, Prior, priors
from zoo.ranking.ranked import Ended, Ranked, Ranking
from zoo.registry import Found
from zoo.store.atomic import write_whole
from zoo.workspace import Workspace

__all__ = ["RankOptions", "rank"]

PICTURE = "rank.png"
MOST_PULLED = 10
"""Networks that are pulled for one ranking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """How to rank.

    Attributes:
        top: How many finalists there are.
        budget: Seconds after which no further network is begun.
        pulls: Whether networks that are not here are pulled when it is their turn.
        results: Published results, if there are any.
        batch_size: Images that run at once.
        device: ``auto``, ``cpu``, ``cuda:1``, …
    """

    top: int
    budget: float
    pulls: bool
    results: Sequence[Figure] | None
    batch_size: int
    device: str


@dataclass(slots=True)
class _Work:
    """What is known while networks are measured, one after another."""

    workspace: Workspace
    recipe: Recipe
    asked: RankOptions
    judges: Judges
    split_digest: str
    folder: Path  # of caches
    device: str
    progress: Progress
    begun: float = field(default_factory=time.monotonic)
    pulled: int = 0
    ended: Ended = ""

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.asked.budget - (time.monotonic() - self.begun)

    def over(self) -> bool:
        """Whether nothing more is begun, which is then noted."""
        if not self.ended and self.left <= 0:
            self.ended = "budget"
        return bool(self.ended)


def rank(
    workspace: Workspace,
    recipe: Recipe,
    networks: Sequence[Found],
    asked: RankOptions,
    *,
    out: Path | None,
    progress: Progress,
) -> Ranking:
    """Rank networks on the data of ``recipe``; for the options see `zoo.Zoo.rank`."""
    with caches(workspace) as folder:
        dataset = dataset_of(folder, recipe, progress)
        judges = judges_of(dataset, recipe.seed)
        device = pick_device(asked.device)
        work = _Work(
            workspace, recipe, asked, judges, dataset.split_digest, folder, device, progress
        )
        before = _before(work, networks)
        rows = _measured(work, _by_prior(networks, before))
    ordered = _ordered(rows, judges.groups, asked.top)
    ranking = Ranking(
        data=recipe.data,
        data_digest=dataset.digest,
        split_digest=dataset.split_digest,
        task=dataset.task,
        measure=SCORES[dataset.task],
        images=len(judges.dataset.train),
        chance=judges.chance,
        without=judges.without,
        prior=before[0].kind,
        networks=ordered,
        winner=ordered[0].name if ordered[0].measured else None,
        ended=work.ended,
        seconds=time.monotonic() - work.begun,
    )
    if out:
        _write(out, ranking)
    return ranking


def _before(work: _Work, networks: Sequence[Found]) -> list[Prior]:
    """What is known of each network before anything is measured."""
    known = [known_of(work.workspace, each) for each in networks]
    lines = {Digest.parse(name) for each in known for name in each.networks}
    figures = past_figures(work.workspace, lines, work.folder, work.judges.dataset.digest)
    return priors(known, figures, work.asked.results)


def _by_prior(networks: Sequence[Found], before: Sequence[Prior]) -> list[tuple[Found, Prior]]:
    """The most promising first; those of which nothing is known last."""

    def promise(pair: tuple[Found, Prior]) -> float:
        strength = pair[1].strength
        return float("-inf") if strength is None else strength

    return sorted(zip(networks, before, strict=True), key=promise, reverse=True)


def _measured(work: _Work, networks: Sequence[tuple[Found, Prior]]) -> list[Ranked]:
    """Each network as far as it was come to; what is kept from before costs nothing."""
    rows: list[Ranked] = []
    for found, prior in networks:
        row = Ranked(
            name=found.name,
            manifest=found.manifest if found.pulled else None,
            state="not here",
            prior=prior,
            params=found.params,
        )
        try:
            rows.append(_one(work, found, row))
        except ZooError as error:
            rows.append(replace(row, state="failed", why=str(error)))
            work.progress.say(f"{row.name}: {error}")
        except KeyboardInterrupt:  # what is measured so far, or was kept before, is an answer, too
            work.ended = "interrupted"
            rows.append(replace(row, state="not reached") if row.manifest else row)
    return rows


def _one(work: _Work, found: Found, row: Ranked) -> Ranked:
    """One network, pulled and measured if there is time for it."""
    digest = row.manifest or _brought(work, found)
    if digest is None:
        return row
    manifest = work.workspace.store.manifest(digest)
    row = replace(row, manifest=digest, bytes=manifest.logical_bytes, state="not reached")
    if trained_on(work.workspace, manifest, work.judges.dataset.digest):
        return replace(row, state="knows the labels")
    path = _path(work, digest)
    measured = kept(path)
    if measured is None or len(measured.scores) != len(work.judges.dataset.train):
        if work.over():
            return row
        measured = _measure(work, row)
        keep(path, measured)
    return replace(row, state="measured", measured=measured)


def _brought(work: _Work, found: Found) -> Digest | None:
    """What is not here, pulled if that was asked for and there is time."""
    if not work.asked.pulls or work.pulled >= MOST_PULLED:
        return None
    if work.over():
        return None
    work.pulled += 1
    remote = found.remotes[0] if found.remotes else None
    return pull(work.workspace, found.name, remote=remote, progress=work.progress).manifest


def _path(work: _Work, manifest: Digest) -> Path:
    """Where a measurement is kept: all of this decides its figures, and times are of a machine."""
    recipe, dataset = work.recipe, work.judges.dataset
    data = (dataset.digest, work.split_digest, recipe.group_by, recipe.seed, recipe.image_size)
    code = (READING, *map(version, LIBRARIES))
    return path_of(work.folder, manifest, *data, *code, work.device, platform.node())


def _measure(work: _Work, row: Ranked) -> Measured:
    recipe = replace(work.recipe, strategy="probe")
    try:
        prepared = prepare(
            work.workspace,
            str(row.manifest),
            recipe,
            work.device,
            work.progress,
            known_as=row.name,
            folder=work.folder,
        )
        warn_of_guess(prepared)
        measured = measure(prepared, work.judges, work.asked.batch_size)
    except REFUSALS as error:
        # Networks come from anywhere, and one that cannot be run ends no ranking of the others.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise Unsupported(f"it cannot be measured: {reason}") from error
    work.progress.say(
        f"{row.name}: {measured.score:.3f} ({measured.low:.3f} to {measured.high:.3f}) in "
        f"{measured.seconds:.0f} s; {max(work.left, 0) / 60:.0f} min of the budget left"
    )
    return measured


def _ordered(rows: Sequence[Ranked], groups: Sequence[str], top: int) -> tuple[Ranked, ...]:
    """Those that were measured, the best first, then the others as they are."""
    pairs = [(row, row.measured) for row in rows if row.measured]
    if not pairs:
        return tuple(rows)
    scores = [measured.score for _, measured in pairs]
    strengths = [row.prior.strength for row, _ in pairs]
    by_image = [torch.tensor(measured.scores) for _, measured in pairs]
    values = combined(strengths, scores, paired_error(by_image, groups))
    differ = significant_pairs(by_image, groups)
    best = max(range(len(pairs)), key=lambda at: scores[at])
    behind = [(best, at) in differ for at in range(len(pairs))]
    order = in_order(values, behind)
    chosen = finalists(order, strengths, top)
    ranked = [
        replace(pairs[at][0], combined=values[at], behind=behind[at], finalist=at in chosen)
        for at in order
    ]
    return (*ranked, *(row for row in rows if not row.measured))


def _write(out: Path, ranking: Ranking) -> None:
    """Write the ranking, and the picture of it if there is anything to see."""
    from zoo.finetune.results.pictures import save  # loads matplotlib
    from zoo.ranking.plot import draw

    out.mkdir(parents=True, exist_ok=True)
    for stale in (RANKING, PICTURE):  # of an earlier one, which this replaces
        (out / stale).unlink(missing_ok=True)
    if ranking.winner:
        save(draw(ranking), out / PICTURE)
    text = json.dumps(ranking.to_json(), indent=2, ensure_ascii=False) + "\n"
    # Last: what has it is whole. File names need not be UTF-8.
    write_whole(out / RANKING, [text.encode("utf-8", "surrogateescape")])
