"""Runs: the fine-tunes of the zoo that is served, as a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.domain.digest import Digest
from zoo.domain.recipe import data_name
from zoo.domain.words import shortened
from zoo.lookup.runs import Run
from zoo.lookup.side_by_side import Figure
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all
from zoo.serve.hub.seen import readable_name, repo_in
from zoo.serve.pages.course import Progress, course_of
from zoo.serve.pages.kept_runs import measure_of, published_digest, seen_runs
from zoo.serve.pages.known import KnownCheckpoint, known
from zoo.serve.pages.number import number_in
from zoo.store.manifests import checkpoint_of

__all__ = ["RunRow", "RunsPage", "look_runs", "look_runs_of", "score_of", "where_of"]

PAGE = 100
STATES = ("running", "done", "interrupted", "failed", "silent")
LETTERS = 200
"""Of the reason why a run failed."""
NOWHERE = KnownCheckpoint()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run in a list.

    Attributes:
        id: Its id.
        status: How it is: ``running``, ``done``, ``interrupted``, ``failed`` or ``silent``.
        kept: What one that was cut off resumes from.
        progress: How far one is that trains; None of another.
        name: What its result is saved as; empty if who asks may not see that name.
        where: The name that its checkpoint has, if one has.
        data: What its images are called.
        strategy: How it was trained.
        measure: What its score is.
        score: That, with its interval; None of one that is not done.
        started: When, UTC.
        by: Who began it; empty where that was not noted.
        error: Why it failed, for who sees all of it.
        reporter: Who reported it, of one on another machine.
        heard: When that was last heard of, UTC, of one that is to be running.
    """

    id: str
    status: str
    kept: str
    progress: Progress | None
    name: str
    where: KnownCheckpoint
    data: str
    strategy: str
    measure: str
    score: Figure | None
    started: str
    by: str
    error: str
    reporter: str
    heard: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPage:
    """The page.

    Attributes:
        repo: The repository whose runs they are; empty: those of all.
        rows: Newest first.
        number: Which page, from 1.
        beyond: The page that was asked for, where there is none; else 0.
        pages: How many there are.
        total: How many runs there are, in the state that is asked for.
        state: That; empty: all of them.
        states: Those that there are, each with how many runs are in it.
        all_seen: Whether whoever asks sees the runs of all, whatever came of them.
    """

    repo: str = ""
    rows: tuple[RunRow, ...] = ()
    number: int = 1
    beyond: int = 0
    pages: int = 1
    total: int = 0
    state: str = ""
    states: tuple[tuple[str, int], ...] = ()
    all_seen: bool = False


def look_runs(ask: Ask) -> RunsPage:
    """The runs that whoever asks may see, a page of them."""
    return _page(ask, seen_runs(ask))


def look_runs_of(ask: Ask) -> RunsPage:
    """Those that were to be saved in a repository, or made a checkpoint that it has.

    Raises:
        Refused: There is no such repository.
    """
    ask = ask.knowing_all()  # runs are of other repositories, too
    if not ask.hub.exists(ask.repo):
        raise ask.no_repo()
    store = ask.hub.workspace.store
    versions = ask.hub.history.versions(ask.repo)
    has = {checkpoint_of(store, version.entry.manifest) for version in versions} - {None}
    own = [
        run
        for run in seen_runs(ask)
        if repo_in(run.save) == ask.repo or (published_digest(run) in has and not run.reporter)
    ]
    return _page(ask, own)


def _page(ask: Ask, runs: Sequence[Run]) -> RunsPage:
    counts, state = Counter(run.status for run in runs), ask.call.query.get("state", "")
    state = state if state in STATES else ""
    runs = [run for run in runs if state in ("", run.status)]
    pages = max(1, -(-len(runs) // PAGE))
    asked = number_in(ask.call, "page", least=1)
    number = min(asked, pages)
    shown = runs[(number - 1) * PAGE : number * PAGE]
    names = known(ask, {digest for run in shown if (digest := published_digest(run))})
    return RunsPage(
        repo=ask.repo,
        rows=tuple(_row(ask, run, names) for run in shown),
        number=number,
        beyond=asked if asked > pages else 0,
        pages=pages,
        total=len(runs),
        state=state,
        states=tuple((each, counts[each]) for each in STATES if counts[each]),
        all_seen=sees_all(ask.actor),
    )


def _row(ask: Ask, run: Run, names: Mapping[Digest, KnownCheckpoint]) -> RunRow:
    measure, score = score_of(run)
    return RunRow(
        id=run.id,
        status=run.status,
        kept=run.kept if sees_all(ask.actor) else "",
        progress=course_of(run, remarks=False).progress if run.status == "running" else None,
        name=readable_name(ask, run.save),
        where=where_of(run, names),
        data=data_name(str(run.recipe.get("data", ""))),
        strategy=str(run.recipe.get("strategy", "")),
        measure=measure,
        score=score,
        started=run.started,
        by=run.reporter or str(run.author),
        error=shortened(run.error, LETTERS) if sees_all(ask.actor) else "",
        reporter=run.reporter,
        heard=run.heard,
    )


def where_of(run: Run, names: Mapping[Digest, KnownCheckpoint]) -> KnownCheckpoint:
    """The name that has what a run made. One that was reported may say so of its own name alone."""
    digest = published_digest(run)
    named = names.get(digest, NOWHERE) if digest else NOWHERE
    return NOWHERE if run.reporter and named.repo != repo_in(run.save) else named


def score_of(run: Run) -> tuple[str, Figure | None]:
    """What the score of a run is called, and what it is."""
    name = measure_of(run)
    values = [run.metrics.get(f"{name}{end}") for end in ("", "_low", "_high")]
    value, low, high = (each if isinstance(each, float) else None for each in values)
    return name, None if value is None else Figure(value=value, low=low, high=high)
