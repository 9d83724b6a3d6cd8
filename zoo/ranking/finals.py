"""The finals: finalists are trained for a short while, and judged by images that are held out.

The race is that of `zoo advise`, with a few of its recipes, and of several networks. So its trials
are those of `zoo advise`: what was trained here is not trained again there, nor the other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean

import torch

from zoo.advice.candidates import (
    EPOCHS,
    ROWS,
    Attempts,
    Contest,
    announce,
    candidates_of,
    clear_weights,
    judged_on,
)
from zoo.advice.cost import speed_of
from zoo.advice.depths import span, usable
from zoo.advice.race import Candidate, Entry, Race, Scores
from zoo.advice.reading import read
from zoo.backbones.taps import HEAD
from zoo.domain.task import Task
from zoo.finetune.setup.prepare import PreparedRun
from zoo.finetune.trial import StoredTrial, Trial, drop, kept_trials
from zoo.lookup.runs import ACTIVATIONS, CACHE
from zoo.ranking.measured import keep, kept
from zoo.ranking.outcome import Finals, Outcome
from zoo.ranking.ranked import Ranked
from zoo.ranking.work import Work

__all__ = ["finals", "outcomes"]

TRIED = tuple(
    replace(row, least=0, linear=False)
    for row in ROWS
    if row.freeze == "none" and row.batch_norm == "frozen"
)
"""Training of everything, at two rates: which one is right depends on the network."""


@dataclass(frozen=True, slots=True)
class _Finalist:
    """A network that takes part, and what is tried of it."""

    name: str
    prepared: PreparedRun
    best_single: str
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class _Attempts:
    """What trains the candidates of several networks."""

    by_network: Mapping[str, Attempts]

    def __call__(self, candidate: Candidate, fold: str, epochs: int) -> Trial:
        return self.by_network[candidate.network](candidate, fold, epochs)


def finals(work: Work, finalists: Sequence[Ranked]) -> Finals | None:
    """What short runs of these came to, now or before; None where nothing is known."""
    digests = sorted(each.manifest for each in finalists if each.manifest)
    paths = work.paths(*digests)
    known = next(filter(None, (kept(path, Finals) for path in paths)), None)
    if len(digests) < 2 or (known and known.complete) or work.over():
        return known
    try:
        result = _run(work, finalists)
    except KeyboardInterrupt:  # before any run began
        work.ended = "interrupted"
        return known
    if known and known.trained > result.trained:
        return known  # it rests on more
    keep(paths[0], result)
    return result


def _run(work: Work, rows: Sequence[Ranked]) -> Finals:
    """Race, as long as the budget allows."""
    ready = list[_Finalist]()
    for row in rows:
        with _reporting_failures(work, row.name):
            ready.append(_finalist(work, row))
    past = {one.name: kept_trials(one.prepared, work.root) for one in ready}
    candidates = [each for one in ready for each in one.candidates]
    work.progress.say(announce(candidates, work.dataset, work.left))
    if not any(past.values()) and all(x.seconds(EPOCHS) > work.left for x in candidates):
        work.ended = "budget"  # not even images are read
        needs = {each.name: round(each.seconds(EPOCHS)) for each in candidates}
        return Finals(networks={}, left_out=needs, ended=work.ended, trained=0)
    contests = dict[str, Contest]()
    for one in ready:
        with _reporting_failures(work, one.name):
            contests[one.name] = _contest(work, one)
    race = _race(work, contests, past, [x for x in candidates if x.network in contests])
    race.run()
    if race.stopped or race.too_long:
        work.ended = "interrupted" if race.stopped == "interrupted" else "budget"
    return _outcome(work, race, [one for one in ready if one.name in contests])


@contextmanager
def _reporting_failures(work: Work, name: str) -> Iterator[None]:
    """What one network raises, for want of memory say, ends no race of the others."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - networks raise whatever they like
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        work.progress.say(f"{name} takes no part in short runs: {reason}")


def _finalist(work: Work, row: Ranked) -> _Finalist:
    assert row.manifest  # it was measured
    assert row.measured
    prepared = work.bench.prepare(row.manifest, row.name, work.recipe.strategy)
    best_single, (_, held_out) = row.measured.depth, judged_on(prepared.dataset)
    every = candidates_of(prepared, best_single, speed_of(prepared), held_out, TRIED)
    candidates = [replace(x, name=_of(row.name, x.name), network=row.name) for x in every]
    return _Finalist(row.name, prepared, best_single, candidates)


def _of(network: str, name: str) -> str:
    """What a probe or recipe of one of several networks is called."""
    return f"{network}: {name}"


def _contest(work: Work, one: _Finalist) -> Contest:
    seen = replace(one.prepared.dataset, test=())
    folder = work.root / CACHE / ACTIVATIONS
    reading = read(one.prepared, work.asked.batch_size, folder, seen)
    return Contest(
        work.workspace,
        one.prepared,
        reading,
        one.best_single,
        reading.group,
        work.recipe,
        work.root,
    )


def _race(
    work: Work,
    contests: Mapping[str, Contest],
    past: Mapping[str, Sequence[StoredTrial]],
    candidates: Sequence[Candidate],
) -> Race:
    attempts = {
        name: contest.attempts(work.executor, work.left) for name, contest in contests.items()
    }

    def missing(candidate: Candidate, fold: str, epochs: int) -> int:
        network = candidate.network
        return contests[network].missing(past[network], candidate, fold, epochs)

    def probes(images: Sequence[str]) -> dict[str, list[float]]:
        return {
            _of(network, at): scores
            for network, contest in contests.items()
            for at, scores in contest.probes(images).items()
        }

    return Race(
        candidates,
        judged_on(work.dataset)[0],
        _Attempts(attempts),
        probes,
        epochs=EPOCHS,
        groups=work.dataset.groups,
        budget=work.left,
        missing=missing,
        progress=work.progress,
        drop=drop,
        executor=work.executor,
    )


def _outcome(work: Work, race: Race, finalists: Sequence[_Finalist]) -> Finals:
    """What the race says of each network."""
    networks = [
        (one, outcomes(race, one.name, one.best_single, work.keys, work.dataset.task))
        for one in finalists
        if race.probed
    ]
    best = max(networks, key=lambda each: each[1][0].score, default=None)
    clear_weights(race, _of(best[0].name, best[1][0].name) if best else "")
    return Finals(
        networks={str(one.prepared.parent): tuple(each) for one, each in networks},
        left_out={each.name: round(race.needs(each)) for each in race.too_long},
        ended=work.ended,
        trained=sum(trial.epochs for entry in race.entries for trial in entry.trials),
    )


def outcomes(
    race: Race, network: str, best_single: str, keys: Sequence[str], task: Task
) -> list[Outcome]:
    """What a network of the race came to, on the images ``keys``; first what counts."""

    def outcome(name: str, scores: Scores) -> Outcome:
        groups = [race.groups.get(key, "") for key in scores]
        score, low, high = span(torch.tensor(list(scores.values())), groups, task)
        return Outcome(
            name=name,
            kind="probe",
            options={},
            score=score,
            low=low,
            high=high,
            images=len(scores),
            scores=tuple(scores.get(key) for key in keys),
        )

    probes = {at: race.probed[_of(network, at)] for at in usable(best_single)}
    at = max(probes, key=lambda at: fmean(probes[at].values()))
    options = {"strategy": "probe"} | ({} if at == HEAD else {"at": at})
    probe = replace(outcome(f"probe at {at}", probes[at]), options=options)
    better, others = list[Outcome](), list[Outcome]()
    for entry in race.entries:
        if entry.candidate.network == network and entry.trials:
            scores = entry.held_out()
            name = entry.candidate.name.removeprefix(_of(network, ""))
            gains = entry.epochs and race.ahead(scores, probes[at])
            (better if gains else others).append(_training(race, entry, outcome(name, scores)))
    better.sort(key=lambda each: (bool(each.dropped), -each.score))
    return [*better, probe, *others]


def _training(race: Race, entry: Entry, outcome: Outcome) -> Outcome:
    return replace(
        outcome,
        kind="training",
        options=entry.candidate.options,
        epochs=entry.epochs,
        done=max(trial.epochs for trial in entry.trials),
        of=race.epochs,
        seconds=round(entry.seconds, 1),
        dropped=entry.dropped,
    )
