"""Rank: measure networks one after another, try the finalists, and write it all to a folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from zoo.advice.layers import SCORES
from zoo.advice.writing import clear, save_answer
from zoo.backbones.devices import pick_device
from zoo.backbones.taps import REFUSALS
from zoo.domain.digest import Digest
from zoo.domain.duration import time_of
from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe
from zoo.domain.words import plural
from zoo.errors import Unsupported, ZooError
from zoo.exchange.sharing import pull
from zoo.finetune.preflight import RANKING
from zoo.finetune.setup.data import dataset_of
from zoo.finetune.setup.prepare import warn_of_guess
from zoo.finetune.setup.seen import runs_by_result, seen
from zoo.lookup.runs import CACHE, TRIALS, writable
from zoo.ranking.asked import Asked
from zoo.ranking.candidates import known_of
from zoo.ranking.finals import finals
from zoo.ranking.measure import judges_of, measure
from zoo.ranking.measured import Measured, keep, kept
from zoo.ranking.order import by_finals, by_probes
from zoo.ranking.past import past_figures
from zoo.ranking.prior import Prior, priors
from zoo.ranking.ranked import Ranked, Ranking, State
from zoo.ranking.work import Work
from zoo.registry import Found
from zoo.workspace import Workspace

__all__ = ["rank"]

PICTURE = "rank.png"
MOST_PULLED = 10
"""Networks that are pulled for one ranking."""


def rank(workspace: Workspace, recipe: Recipe, asked: Asked, progress: Progress) -> Ranking:
    """Rank networks on the data of ``recipe``."""
    begun = time.monotonic()
    with writable(workspace, CACHE, TRIALS) as root:
        try:
            # Split alike for all networks, whatever some of them have seen.
            recipe = replace(recipe, held_out="any")
            dataset = dataset_of(root / CACHE, recipe, progress)
            judges, device = judges_of(dataset, recipe.seed), pick_device(asked.device)
            runs = runs_by_result(workspace)
            work = Work(workspace, recipe, asked, dataset, judges, runs, root, device, progress)
            before = _before(work)
        except KeyboardInterrupt:  # images are not known yet; networks are
            return _of_priors(workspace, recipe, asked, time.monotonic() - begun)
        rows = by_probes(_measured(work, before), judges.groups, asked.top)
        tried = finals(work, [row for row in rows if row.finalist])
    if tried:
        rows = by_finals(rows, tried, work.groups)
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
        networks=rows,
        winner=rows[0].name if rows[0].measured else None,
        left_out=tried.left_out if tried else {},
        ended=work.ended,
        seconds=time.monotonic() - work.begun,
    )
    _write(asked, ranking)
    return ranking


def _of_priors(workspace: Workspace, recipe: Recipe, asked: Asked, seconds: float) -> Ranking:
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
        prior=before[0].kind,
        networks=tuple(rows),
        winner=None,
        left_out={},
        ended="interrupted",
        seconds=seconds,
    )
    _write(asked, ranking)
    return ranking


def _unmeasured(found: Found, prior: Prior, state: State) -> Ranked:
    manifest = found.manifest if found.pulled else None
    return Ranked(name=found.name, manifest=manifest, state=state, prior=prior, params=found.params)


def _before(work: Work) -> list[Prior]:
    """What is known of each network before anything is measured."""
    known = [known_of(work.workspace, each) for each in work.asked.networks]
    lines = {Digest.parse(name) for each in known for name in each.networks}
    figures = past_figures(work.workspace, lines, work.caches, work.dataset.digest)
    return priors(known, figures, work.asked.results)


def _by_prior(networks: Sequence[Found], before: Sequence[Prior]) -> list[tuple[Found, Prior]]:
    """The most promising first; those of which nothing is known last."""

    def promise(pair: tuple[Found, Prior]) -> float:
        strength = pair[1].strength
        return float("-inf") if strength is None else strength

    return sorted(zip(networks, before, strict=True), key=promise, reverse=True)


def _measured(work: Work, before: Sequence[Prior]) -> list[Ranked]:
    """Each network as far as it was come to; what is kept from before costs nothing."""
    rows: list[Ranked] = []
    for found, prior in _by_prior(work.asked.networks, before):
        row = _unmeasured(found, prior, "not here")
        try:
            rows.append(_one(work, found, row))
        except ZooError as error:
            rows.append(replace(row, state="failed", why=str(error)))
            work.progress.say(f"{row.name}: {error}")
        except KeyboardInterrupt:  # what is measured so far, or was kept before, is an answer, too
            work.ended = "interrupted"
            rows.append(replace(row, state="not reached") if row.manifest else row)
    return rows


def _one(work: Work, found: Found, row: Ranked) -> Ranked:
    """One network, pulled and measured if there is time for it."""
    digest = row.manifest or _brought(work, found)
    if digest is None:
        return row
    manifest = work.workspace.store.manifest(digest)
    row = replace(row, manifest=digest, bytes=manifest.logical_bytes, state="not reached")
    dataset = work.judges.dataset
    images = len(dataset.train)
    if number := seen(work.workspace, digest, dataset, work.runs):
        why = f"it was trained on {number:,} of these {plural(images, 'image')}"
        return replace(row, state="knows the labels", why=why)
    if first := work.asked.same_run.get(found.name):
        why = f"{first} stands for it; by itself: --among {quote(found.name)}"
        return replace(row, state="same run", why=why)
    paths = work.paths(digest)
    known = (kept(path, Measured) for path in paths)
    measured = next((each for each in known if each and len(each.scores) == images), None)
    if measured is None:
        if work.over():
            return row
        measured = _measure(work, row, digest)
        keep(paths[0], measured)
    return replace(row, state="measured", measured=measured)


def _brought(work: Work, found: Found) -> Digest | None:
    """What is not here, pulled if that was asked for and there is time."""
    if not work.asked.pulls or work.pulled >= MOST_PULLED:
        return None
    if work.over():
        return None
    work.pulled += 1
    remote = found.remotes[0] if found.remotes else None
    return pull(work.workspace, found.name, remote=remote, progress=work.progress).manifest


def _measure(work: Work, row: Ranked, digest: Digest) -> Measured:
    try:
        prepared = work.prepare(digest, row.name, "probe")
        warn_of_guess(prepared)
        measured = measure(prepared, work.judges, work.asked.batch_size)
    except REFUSALS as error:
        # Networks come from anywhere, and one that cannot be run ends no ranking of the others.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise Unsupported(f"it cannot be measured: {reason}") from error
    work.progress.say(
        f"{row.name}: {measured.score:.3f} ({measured.low:.3f} to {measured.high:.3f}) in "
        f"{measured.seconds:.0f} s; {time_of(max(work.left, 0))} of the budget left"
    )
    return measured


def _write(asked: Asked, ranking: Ranking) -> None:
    """Write the ranking, and the picture of it if there is anything to see."""
    from zoo.finetune.results.pictures import save  # loads matplotlib
    from zoo.ranking.plot import draw

    if asked.out:
        clear(asked.out, RANKING, PICTURE)
        if ranking.winner:
            save(draw(ranking), asked.out / PICTURE)
        save_answer(asked.out / RANKING, ranking)
