"""Run: how one fine-tune went, or goes: its curves, its figures, what it took for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from zoo.domain.matrix import Matrix
from zoo.domain.recipe import chosen, data_name
from zoo.domain.reference import Reference
from zoo.lookup.history import all_advice
from zoo.lookup.run_files import DEPTH, SIZES, ByClass, Confusion, Depths, RunReport
from zoo.lookup.runs import METRICS, REPORT, RUN, Run
from zoo.lookup.side_by_side import Figure
from zoo.serve.http.answer import NO_STORE, Answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all
from zoo.serve.hub.reported import delete_reported, no_run
from zoo.serve.hub.seen import readable_name
from zoo.serve.pages.chart import Curve, Point, draw_curves, draw_matrix, thinned
from zoo.serve.pages.course import NAMES, Course, course_of
from zoo.serve.pages.examples import Pictures, pictures_of_run
from zoo.serve.pages.kept_runs import digest_in, matrix_of, published_digest, read_json, run_of
from zoo.serve.pages.known import KnownCheckpoint, known
from zoo.serve.pages.page import show, site_of
from zoo.serve.pages.reliability import draw_reliability
from zoo.serve.pages.runs import NOWHERE, score_of, where_of
from zoo.serve.pages.sign_in import away

__all__ = ["RunPage", "delete_run", "look_run", "run_events"]

WORST = 12
"""Pairs of classes, and classes, that are listed of many."""
CLASSES = 200
TRIED = 12
NAMED = 8
"""Units that have their name below a depth curve."""
RETRY_MS = 1500
"""A browser asks again so often for what is new."""
EVENTS = {"Content-Type": "text/event-stream", **NO_STORE}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """What `zoo advise` has tried of the same network on the same images."""

    name: str
    kind: str
    measure: str
    score: Figure
    images: int
    advised: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """The page.

    Attributes:
        id: The run.
        status: How it is.
        error: Why it failed.
        kept: What one that was cut off resumes from.
        name: What its result is saved as; empty if who asks may not see that name.
        where: The name that its checkpoint has, if one has.
        base: What it began with; of what who asks may not see, the digest.
        based_on: The name of that.
        device: What it computes on.
        started: When, UTC.
        data: What its images are called.
        options: What was chosen of its recipe.
        measure: What its score is.
        score: That, with its interval.
        gained: What training gained over a probe.
        warning: Why that may be nothing.
        course: How it went.
        report: What its test images show; None where there is none yet.
        matrix: What they were taken for.
        pictures: Some of them.
        depths: Probes at each depth, of a probe.
        tried: Advice.
        all_seen: Whether who asks sees all of a run.
        reporter: Who reported it, of one on another machine: nothing of it is proven.
        reported: Since when, UTC.
        heard: When that was last heard of, UTC, of one that is to be running.
        deletable: Whether who asks may delete it.
    """

    id: str
    status: str
    error: str
    kept: str
    name: str
    where: KnownCheckpoint
    base: str
    based_on: KnownCheckpoint
    device: str
    started: str
    data: str
    options: Mapping[str, str]
    measure: str
    score: Figure | None
    gained: str
    warning: str
    course: Course
    report: RunReport | None
    matrix: Matrix | None
    pictures: Pictures | None
    depths: Depths | None
    tried: tuple[TrialRow, ...]
    all_seen: bool
    reporter: str
    reported: str
    heard: str
    deletable: bool

    @property
    def live(self) -> bool:
        """Whether it is running."""
        return self.status == "running"

    @property
    def worst(self) -> tuple[Confusion, ...]:
        """The classes that are taken for one another most."""
        return self.report.confusions[:WORST] if self.report else ()

    @property
    def weakest(self) -> tuple[ByClass, ...]:
        """The classes, those with the least recall first."""
        classes = self.report.classes if self.report else ()
        return tuple(sorted(classes, key=lambda one: one.figures.get("recall") or 0.0)[:CLASSES])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The figures that classes have, the first of them."""
        return self._kinds[:NAMES]

    @property
    def more_kinds(self) -> int:
        """How many further ones there are."""
        return max(0, len(self._kinds) - NAMES)

    @property
    def _kinds(self) -> tuple[str, ...]:
        names = dict.fromkeys(name for one in self.weakest for name in one.figures)
        return tuple(name for name in names if not name.endswith(("_low", "_high")))

    def losses(self) -> Markup:
        """The loss, drawn."""
        curves = (Curve("training", self.course.loss), Curve("validation", self.course.validation))
        return draw_curves([each for each in curves if each.points], "Loss", "step")

    def scores(self) -> Markup:
        """The score on the validation images, drawn."""
        return draw_curves(self.course.scores, f"{spoken(self.measure)} on validation", "step")

    def rates(self) -> Markup:
        """The learning rate, drawn."""
        curve = Curve("of the head", self.course.rates)
        return draw_curves([curve] if curve.points else [], "Learning rate", "step")

    def speeds(self) -> Markup:
        """Images per second, drawn."""
        curve = Curve("images per second", self.course.speeds)
        return draw_curves([curve] if curve.points else [], "Images per second", "step")

    def confusion(self) -> Markup:
        """The matrix, drawn."""
        if not self.matrix:
            return Markup()
        title = "What the test images (rows) were taken for (columns)"
        return draw_matrix(self.matrix.classes, self.matrix.counts, title)

    def reliability(self) -> Markup:
        """How often it is right where it is so sure, drawn."""
        return draw_reliability(self.report.bins, self.report.raw_bins) if self.report else Markup()

    def depth_curve(self) -> Markup:
        """How well a probe does at each unit, drawn; with twice the error around it."""
        points = self.depths.points if self.depths else ()
        probes = [
            Point(at, one.score, one.score - 2 * one.error, one.score + 2 * one.error)
            for at, one in enumerate(points)
        ]
        near = [Point(at, one.knn) for at, one in enumerate(points) if one.knn is not None]
        curves = [Curve("probe", thinned(probes)), Curve("nearest neighbors", thinned(near))]
        step = max(1, len(points) // NAMED)
        marks = [(at, one.unit) for at, one in enumerate(points) if at % step == 0]
        return draw_curves([c for c in curves if c.points], "A probe at each unit", "unit", marks)


def spoken(name: str) -> str:
    """A figure's name in a sentence."""
    return name.replace("_", " ")


def look_run(ask: Ask, id: str) -> RunPage:  # noqa: A002 - the field of the path
    """A run, as far as who asks may see it.

    Raises:
        Refused: There is none, or they may not see it: nobody learns which.
    """
    return _page(ask, _run(ask, id))


def _run(ask: Ask, name: str) -> Run:
    if run := run_of(ask, name):
        return run
    raise no_run()


def _page(ask: Ask, run: Run) -> RunPage:
    digest, everything = published_digest(run), sees_all(ask.actor)
    parent = digest_in(run.parent)
    names = known(ask, {*filter(None, [digest, parent])})
    measure, score = score_of(run)
    gained = run.result.get("gained")
    based_on = names.get(parent, NOWHERE) if parent else NOWHERE
    readable = str(based_on) or readable_name(ask, run.base)
    return RunPage(
        id=run.id,
        status=run.status,
        error=run.error if everything else "",
        kept=run.kept if everything else "",
        name=readable_name(ask, run.save),
        where=where_of(run, names),
        base=readable or (parent.short if parent else ""),
        based_on=based_on,
        device=run.device,
        started=run.started,
        data=data_name(str(run.recipe.get("data", ""))),
        options=_options(run),
        measure=measure,
        score=score,
        gained=str(gained.get("text", "")) if isinstance(gained, dict) else "",
        warning=str(run.result.get("warning", "")),
        course=course_of(run, remarks=everything),
        report=read_json(run.folder / REPORT, SIZES[REPORT], RunReport),
        matrix=matrix_of(run),
        pictures=pictures_of_run(ask, run),
        depths=read_json(run.folder / DEPTH, SIZES[DEPTH], Depths),
        tried=tuple(_tried(ask, run)) if (everything or readable) and not run.reporter else (),
        all_seen=everything,
        reporter=run.reporter,
        reported=run.reported,
        heard=run.heard,
        deletable=bool(run.reporter) and ask.may("protect", Reference.parse(run.save).path),
    )


def run_events(ask: Ask, id: str) -> Answer:  # noqa: A002 - the field of the path
    """What a run shows now, as an event for a browser (server-sent events), and ``end`` of one that
    is not running. The browser asks again by itself: so nothing is held open here, and proxies that
    keep answers back until they are whole do no harm.
    """
    run = _run(ask, id)
    page, now = _page(ask, run), _stamp(run.folder)
    lines = [f"retry: {RETRY_MS}", f"id: {now}"]
    if not page.live:
        lines += ["event: end", "data:"]
    elif ask.call.headers.get("last-event-id") != now:
        shown = show(site_of(ask), "_run.html", page)
        assert isinstance(shown.body, bytes)
        lines += ["event: run", *(f"data: {line}" for line in shown.body.decode().splitlines())]
    return Answer(headers=EVENTS, body=("\n".join(lines) + "\n\n").encode())


def delete_run(ask: Ask, id: str) -> Answer:  # noqa: A002 - the field of the path
    """Delete a run that was reported, and lead to the others."""
    _run(ask, id)
    if ask.call.form.get("do") != ["delete"]:
        raise Refused("BadRequest", "no form of this page sends that")
    ask.hub.reserve.spend(lambda: delete_reported(ask, id))
    return away(ask.call, "/runs")


def _stamp(folder: Path) -> str:
    """What is another after each note of a run."""
    numbers = []
    for name in (RUN, METRICS):
        with suppress(OSError):
            state = (folder / name).stat()
            numbers += [state.st_mtime_ns, state.st_size]
    return "-".join(map(str, numbers))


def _options(run: Run) -> dict[str, str]:
    """What was chosen, as a checkpoint records it: without folders of this machine."""
    options = {**run.recipe, "data": "", "root": Path(str(run.recipe.get("root") or "")).name}
    return {
        spoken(name): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in chosen(options, run.device).items()
        if value != ""
    }


def _tried(ask: Ask, run: Run) -> Iterator[TrialRow]:
    """What was tried of the network that a run began with, on its images."""
    data = run.provenance.get("data_digest")
    for advice in all_advice(ask.hub.workspace):
        if advice.manifest != run.parent or advice.data_digest != data:
            continue
        for one in sorted(advice.past(), key=lambda one: -one.score)[:TRIED]:
            yield TrialRow(
                name=one.name,
                kind=one.kind,
                measure=one.measure,
                score=Figure(value=one.score, low=one.low, high=one.high),
                images=one.images,
                advised=one.advised,
            )
        return  # the newest counts
