"""Rank: measure networks one after another, try the finalists, and write it all to a folder."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote

from zoo.advice.kept import networks_kept
from zoo.advice.layers import SCORES
from zoo.advice.writing import clear, save_answer
from zoo.domain.digest import Digest
from zoo.domain.duration import time_of
from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe
from zoo.domain.words import plural
from zoo.errors import Unsupported, ZooError
from zoo.exchange.sharing import pull
from zoo.executors.executor import open_executor
from zoo.finetune.preflight import RANKING
from zoo.finetune.setup.data import dataset_of
from zoo.finetune.setup.prepare import paths_of, warn_of_guess, with_absolute_paths
from zoo.finetune.setup.seen import runs_by_result, seen
from zoo.lookup.runs import ACTIVATIONS, CACHE, TRIALS, writable
from zoo.ranking.asked import RankOptions
from zoo.ranking.candidates import known_of
from zoo.ranking.finals import finals
from zoo.ranking.measure import Judges, judges_of, measure
from zoo.ranking.measured import FeatureScores, keep, kept
from zoo.ranking.order import by_finals, by_probes, ordered_by
from zoo.ranking.past import past_figures
from zoo.ranking.prior import Prior, priors
from zoo.ranking.ranked import Ranked, Ranking, State
from zoo.ranking.work import Bench, Work
from zoo.registry import SearchResult
from zoo.workspace import Workspace

__all__ = ["rank"]

PICTURE = "rank.png"
MOST_PULLED = 10
"""Networks that are pulled for one ranking."""


def rank(workspace: Workspace, recipe: Recipe, asked: RankOptions, progress: Progress) -> Ranking:
    """Rank networks on the data of ``recipe``."""
    begun = time.monotonic()
    if asked.on:
        recipe = with_absolute_paths(recipe)
    with (
        writable(workspace, CACHE, TRIALS) as root,
        open_executor(asked.device, asked.on, paths_of(root, recipe), progress) as executor,
    ):
        try:
            # Split alike for all networks, whatever some of them have seen.
            recipe = replace(recipe, held_out="any")
            dataset = dataset_of(root / CACHE, recipe, progress)
            judges, runs = judges_of(dataset, recipe.seed), runs_by_result(workspace)
            bench = Bench(workspace, recipe, root, executor.own, progress)
            work = Work(bench, executor, asked, dataset, judges, runs)
            before = _before(work)
        except KeyboardInterrupt:  # images are not known yet; networks are
            return _of_priors(workspace, recipe, asked, time.monotonic() - begun)
        rows = by_probes(_with_twins(_measured(work, before)), judges.groups, asked.top)
        tried = finals(work, [row for row in rows if row.finalist])
    if tried:
        rows = by_finals(rows, tried, work.groups, judges.groups)
    ranking = Ranking(
        data=recipe.data,
        data_digest=dataset.digest,
        split_digest=dataset.split_digest,
        task=dataset.task,
        measure=SCORES[dataset.task],
        images=len(judges.dataset.train),
        chance=judges.chance,
        without=judges.without,
        skipped=dataset.skipped,
        prior=before[0].kind,
        networks=rows,
        winner=rows[0].name if rows[0].measured else None,
        left_out=tried.left_out if tried else {},
        ended=work.ended,
        seconds=time.monotonic() - work.begun,
        ordered_by=ordered_by(rows, tried),
    )
    _write(asked, ranking)
    return ranking


def _of_priors(workspace: Workspace, recipe: Recipe, asked: RankOptions, seconds: float) -> Ranking:
    """The ranking of a Ctrl-C that came before anything was measured: without the zoo's history,
    of which nobody knows yet what is of these images.
    """
    before = priors([known_of(workspace, each) for each in asked.networks], (), asked.results)
    rows = [
        _unmeasured(each, prior, "not reached" if each.pulled else "not here")
        for each, prior in _by_prior(asked.networks, before)
    ]
    ranking = Ranking(
        data=recipe.data,
        data_digest="",
        split_digest="",
        task=None,
        measure="",
        images=0,
        chance=None,
        without=(),
        skipped=(),
        prior=before[0].kind,
        networks=tuple(rows),
        winner=None,
        left_out={},
        ended="interrupted",
        seconds=seconds,
    )
    _write(asked, ranking)
    return ranking


def _unmeasured(network: SearchResult, prior: Prior, state: State) -> Ranked:
    manifest = network.manifest if network.pulled else None
    return Ranked(
        name=network.name, manifest=manifest, state=state, prior=prior, params=network.params
    )


def _before(work: Work) -> list[Prior]:
    """What is known of each network before anything is measured."""
    known = [known_of(work.workspace, each) for each in work.asked.networks]
    lines = {Digest.parse(name) for each in known for name in each.networks}
    figures = past_figures(work.workspace, lines, work.caches, work.dataset.digest)
    ranked = {each.name for each in work.asked.networks if _takes_part(work, each)}
    return priors(known, figures, work.asked.results, ranked)


def _takes_part(work: Work, network: SearchResult) -> bool:
    """Whether a network is ranked by itself, and does not know the labels by heart."""
    if network.name in work.asked.same_run or network.name in work.asked.same_backbone:
        return False
    digest = network.manifest if network.pulled else None
    try:
        return not (digest and seen(work.workspace, digest, work.judges.dataset, work.runs))
    except ZooError:  # it is told when it is its turn
        return False


def _by_prior(
    networks: Sequence[SearchResult], before: Sequence[Prior]
) -> list[tuple[SearchResult, Prior]]:
    """The most promising first; those of which nothing is known last."""

    def promise(pair: tuple[SearchResult, Prior]) -> float:
        strength = pair[1].strength
        return float("-inf") if strength is None else strength

    return sorted(zip(networks, before, strict=True), key=promise, reverse=True)


def _measured(work: Work, before: Sequence[Prior]) -> list[Ranked]:
    """Each network as far as it was come to; what is kept from before costs nothing. Those come
    first that have read the images before, as they need least of the budget.
    """
    turns = _by_prior(work.asked.networks, before)
    rows = [_unmeasured(network, prior, "not here") for network, prior in turns]
    quick = _quick(work)
    places = sorted(range(len(rows)), key=lambda at: str(rows[at].manifest) not in quick)
    waiting = iter([(at, turns[at][0]) for at in places])
    while True:
        try:
            for (at, row, path), result in work.executor.run(_to_measure(work, rows, waiting)):
                with _failing(work, rows, at):
                    measured = result()
                    _tell(work, row, measured)
                    keep(path, measured)
                    rows[at] = replace(row, state="measured", measured=measured)
        except KeyboardInterrupt:  # what is measured so far, or was kept before, is an answer, too
            work.ended = "interrupted"
        else:
            return rows


def _quick(work: Work) -> set[str]:
    """The networks whose features of all these images are kept."""
    dataset = work.judges.dataset
    images = {dataset.digests[sample.key] for sample in dataset.train}
    folder = work.root / CACHE / ACTIVATIONS
    return networks_kept(folder, images, work.recipe.image_size, work.asked.batch_size)


def _to_measure(
    work: Work, rows: list[Ranked], waiting: Iterator[tuple[int, SearchResult]]
) -> Iterator[tuple[tuple[int, Ranked, Path], Callable[[], FeatureScores]]]:
    """The networks that are to be measured, each when there is room for it, with where that is
    kept; the others are put into ``rows`` as they are.
    """
    bench = replace(work.bench, device=work.executor.device, progress=work.executor.progress)
    for at, network in waiting:
        if rows[at].manifest:
            rows[at] = replace(rows[at], state="not reached")
        with _failing(work, rows, at):
            row = _one(work, network, rows[at])
            if row.state != "not reached" or not row.manifest or work.over():
                rows[at] = row
                continue
            asked = (bench, row.name, row.manifest, work.judges, work.asked.batch_size)
            yield (at, row, work.paths(row.manifest)[0]), partial(_measure, *asked)


@contextmanager
def _failing(work: Work, rows: list[Ranked], at: int) -> Iterator[None]:
    """What one network raises is a row, and ends no ranking of the others."""
    try:
        yield
    except ZooError as error:
        rows[at] = replace(rows[at], state="failed", why=str(error))
        work.progress.say(f"{rows[at].name}: {error}")


def _one(work: Work, network: SearchResult, row: Ranked) -> Ranked:
    """One network, pulled if need be, and what is known of it: it is ``not reached`` if that is not
    enough.
    """
    digest = row.manifest or _brought(work, network)
    if digest is None:
        return row
    manifest = work.workspace.store.manifest(digest)
    row = replace(row, manifest=digest, bytes=manifest.logical_bytes, state="not reached")
    dataset = work.judges.dataset
    images = len(dataset.train)
    if number := seen(work.workspace, digest, dataset, work.runs):
        why = f"it was trained on {number:,} of these {plural(images, 'image')}"
        return replace(row, state="knows the labels", why=why)
    if twin := _standing_for(work, network.name):
        why = f"{twin} stands for it"
        return replace(row, state="same backbone", why=why, same_backbone=(twin,))
    if first := work.asked.same_run.get(network.name):
        why = f"{first} stands for it; by itself: --among {quote(network.name)}"
        return replace(row, state="same run", why=why)
    known = (kept(path, FeatureScores) for path in work.paths(digest))
    measured = next((each for each in known if each and len(each.scores) == images), None)
    return replace(row, state="measured", measured=measured) if measured else row


def _standing_for(work: Work, name: str) -> str:
    """The network that is measured for one with the same backbone; empty if it is itself."""
    digests = {each.name: each.manifest for each in work.asked.networks}
    for twin in work.asked.same_backbone.get(name, ()):
        digest = digests[twin]
        if digest and not seen(work.workspace, digest, work.judges.dataset, work.runs):
            return twin
    return ""


def _with_twins(rows: Sequence[Ranked]) -> list[Ranked]:
    """The rows, each with those that it stands for."""
    twins = defaultdict[str, list[str]](list)
    for row in rows:
        for name in row.same_backbone:
            twins[name].append(row.name)
    return [
        replace(row, same_backbone=tuple(sorted(twins[row.name]))) if row.name in twins else row
        for row in rows
    ]


def _brought(work: Work, network: SearchResult) -> Digest | None:
    """What is not here, pulled if that was asked for and there is time."""
    if not work.asked.pulls or work.pulled >= MOST_PULLED:
        return None
    if work.over():
        return None
    work.pulled += 1
    remote = network.remotes[0] if network.remotes else None
    return pull(work.workspace, network.name, remote=remote, progress=work.progress).manifest


def _measure(
    bench: Bench, name: str, digest: Digest, judges: Judges, batch_size: int
) -> FeatureScores:
    try:
        prepared = bench.prepare(digest, name, "probe")
        warn_of_guess(prepared)
        return measure(prepared, judges, batch_size, bench.root / CACHE / ACTIVATIONS)
    except ZooError:
        raise
    except Exception as error:  # networks raise whatever they like; the others are ranked
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise Unsupported(f"it cannot be measured: {reason}") from error


def _tell(work: Work, row: Ranked, measured: FeatureScores) -> None:
    work.progress.say(
        f"{row.name}: {measured.score:.3f} ({measured.low:.3f} to {measured.high:.3f}) in "
        f"{measured.seconds:.0f} s; {time_of(max(work.left, 0))} of the budget left"
    )


def _write(asked: RankOptions, ranking: Ranking) -> None:
    """Write the ranking, and the picture of it if there is anything to see."""
    from zoo.finetune.results.pictures import save  # loads matplotlib
    from zoo.ranking.plot import draw

    if asked.out:
        clear(asked.out, RANKING, PICTURE)
        if ranking.winner:
            save(draw(ranking), asked.out / PICTURE)
        save_answer(asked.out / RANKING, ranking)
