"""Trials: recipes that are tried, each for some epochs of its own schedule, before one is chosen.

A trial has the folder of a run, below ``trials`` in place of ``runs``. It notes whether it is right
of each image held out, so that two trials can be compared image by image. It can go on later, to
the bit, and so can the run of its recipe. Asked again, it answers from what it noted.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from pathlib import Path

import msgspec
from blake3 import blake3

from zoo.domain.limits import KEPT_ADVICE
from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe
from zoo.domain.task import SCORE
from zoo.errors import Conflict, Invalid, InvalidOption
from zoo.finetune.loop.phases import phase_loaders
from zoo.finetune.loop.state import State, saved_in
from zoo.finetune.loop.train import train
from zoo.finetune.ranks.ranks import ALONE, Ranks
from zoo.finetune.results.journal import LIBRARIES, NOTHING, Journal, continued, provenance
from zoo.finetune.results.trackers import Trackers
from zoo.finetune.setup.prepare import PreparedRun, prepare
from zoo.finetune.strategies.choose import EPOCH, Scores, scores_of
from zoo.finetune.strategies.probe import PROBE, begin
from zoo.lookup.alive import LOCK, RunLock, machine
from zoo.lookup.runs import CACHE, METRICS, RUN, STATE, TRIALS, WEIGHTS, Run
from zoo.reflog import now
from zoo.store.atomic import write_whole
from zoo.workspace import Workspace

__all__ = [
    "StoredTrial",
    "Trial",
    "drop",
    "kept_trials",
    "locked",
    "patience",
    "take_over",
    "try_out",
]

OPENING = (
    *("data", "root", "path_column", "label_column", "max_pixels", "skip_bad"),
    *("validation_share", "test_share", "held_out", "fold", "preset"),
)
"""Options that say where images are and how they are divided. Their digests say what came of it."""
COMPUTED = ("device", "processes", "reading", "training", *LIBRARIES)
"""What of the provenance gives other figures."""
BY_IMAGE = "images"
BEGUN = "begun"
LOOK = 1.0
"""Seconds between two looks at what another process has tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a recipe came to on the images that were held out.

    Attributes:
        folder: Where it is kept.
        of: The epochs of its schedule.
        images: The keys of the images held out.
        scores: By the number of epochs; 0: of the probe that it began with.
        by_image: The score of each image (`goodness`), by the number of epochs.
        seconds: What it took up to there.
        trained: How many images were trained on.
    """

    folder: Path
    of: int
    images: tuple[str, ...]
    scores: Scores
    by_image: Mapping[int, tuple[float, ...]]
    seconds: Mapping[int, float]
    trained: int

    @property
    def epochs(self) -> int:
        """How many are done."""
        return max(self.scores, default=0)


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A trial as it is kept.

    Attributes:
        recipe: The options, as JSON, with nothing left to decide.
        epochs: How many are done.
        resumable: Whether its weights are kept, too.
    """

    recipe: Mapping[str, object]
    epochs: int
    resumable: bool


class _Line(msgspec.Struct):
    """What a trial reads of a line of its journal."""

    kind: str
    time: float
    name: str = ""
    scores: tuple[float, ...] = ()

    @property
    def epochs(self) -> int | None:
        """After how many the scores of all images were noted; None: it is another line."""
        if self.kind != BY_IMAGE:
            return None
        match = EPOCH.fullmatch(self.name)
        return int(match[1]) if match else 0 if self.name == PROBE else None


def try_out(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    *,
    device: str,
    progress: Progress,
    root: Path,
    epochs: int | None = None,
    ranks: Ranks = ALONE,
    known_as: str = "",
    waits: Callable[[], bool] = lambda: False,
) -> Trial:
    """Train ``base`` after ``recipe`` up to so many ``epochs``, or all of them; or answer from what
    is kept of that in ``root``, which is the zoo's, or a temporary folder.

    It answers for so many epochs, even where more are kept. While another process is at it, it
    asks ``waits`` again and again whether to wait for what that finds.

    Raises as `zoo.finetune.run.finetune`, and `Conflict` where it does not wait any longer.
    """
    with NOTHING.threads(device, ranks):
        prepared = prepare(
            workspace, base, recipe, device, progress, ranks, known_as, folder=root / CACHE
        )
        if not prepared.dataset.validation:
            raise InvalidOption("a trial is judged by images that are held out, and there are none")
        asked = sum(phase.epochs for phase in prepared.recipe.plan())
        until = asked if epochs is None else min(epochs, asked)
        folder = root / TRIALS / key_of(prepared)

        def known() -> Trial | None:
            return ranks.on_main(lambda: _answer(folder, prepared, until))

        new = ranks.on_main(lambda: _new(folder, prepared))
        with ExitStack() as lock:
            while not (trial := known()):
                try:
                    lock.enter_context(locked(new, ranks))
                    break
                except Conflict:
                    if not ranks.on_main(waits):
                        raise
                    time.sleep(LOOK)
            # Again: another process may have ended it just before it was locked.
            if trial := trial or known():
                return trial
            run = ranks.on_main(lambda: _kept_or(new, prepared))
            _train(prepared, run, root, until)
            return ranks.on_main(lambda: _read(run, prepared, until))


def patience(progress: Progress, until: float = inf) -> Callable[[], bool]:
    """What waits for another process that tries the same, and says so once; until then, by
    `time.monotonic`.
    """
    announced = False

    def waits() -> bool:
        nonlocal announced
        if not announced:
            progress.say("  another process is trying this: waiting for what it finds")
        announced = True
        return time.monotonic() < until

    return waits


def _answer(folder: Path, prepared: PreparedRun, until: int) -> Trial | None:
    """What is kept, if that is enough."""
    with suppress(Invalid):
        run = Run.read(folder)
        trial = _read(run, prepared, until)
        if until in trial.scores or (trial.scores and run.status == "done"):
            return trial
    return None


def _new(folder: Path, prepared: PreparedRun) -> Run:
    """The trial as it begins, in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return Run(
        folder=folder,
        base=prepared.base,
        parent=str(prepared.parent),
        save="",
        recipe=prepared.recipe.to_json(),
        device=str(prepared.device),
        started=now(),
        machine=machine(),
        provenance=provenance(prepared),
    )


def _kept_or(new: Run, prepared: PreparedRun) -> Run:
    """The trial as it is kept; else ``new``, in a folder that has nothing but the lock, which is
    held: what was cut off while it was made, or is damaged, is deleted.
    """
    try:
        run = Run.read(new.folder)
        _read(run, prepared, 0)
        if run.status == "done":
            raise Invalid(f"{run.folder / METRICS} lacks what it has shown")
    except Invalid:
        for path in new.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
        return new
    return run


def _train(prepared: PreparedRun, run: Run, root: Path, until: int) -> None:
    """Go on from what is kept, if there is something, to so many epochs."""
    saved = saved_in(run.folder, prepared.ranks)
    steps = saved.position.steps if saved else 0
    known = continued(run.provenance if saved else {}, prepared)
    with Journal(
        replace(run, provenance=known),
        Trackers(()),
        steps=steps,
        writes=prepared.ranks.is_main,
        by_image=prepared.task,
    ) as journal:
        journal.note(BEGUN, steps)
        loaders = phase_loaders(root / CACHE, prepared, lambda _: None)
        state = State(prepared, journal)
        begin(prepared, loaders, journal, state, saved)
        train(prepared, loaders, journal, state, until)
        if state.position.phase == len(prepared.phases):
            journal.done({"trained_images": len(prepared.dataset.train)}, keep=True)


def key_of(prepared: PreparedRun) -> str:
    """What a trial is kept under: a digest of all that decides its figures."""
    kept = {k: v for k, v in prepared.recipe.to_json().items() if k not in OPENING}
    known = provenance(prepared)
    what = [
        str(prepared.parent),
        kept,
        prepared.dataset.digest,
        prepared.dataset.split_digest,
        {name: known[name] for name in COMPUTED},
    ]
    return blake3(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _read(run: Run, prepared: PreparedRun, until: int) -> Trial:
    """What its journal says of so many epochs; raises `Invalid` where it is damaged."""
    dataset, measure = prepared.dataset, SCORE[prepared.task]
    noted = _noted(run)
    try:
        scores = msgspec.convert(scores_of(run.lines(), measure), dict[int, float])
    except (KeyError, msgspec.ValidationError) as error:
        raise Invalid(f"{run.folder / METRICS} is damaged: {error}") from error
    by_image = {line.epochs: line.scores for line in noted if line.epochs is not None}
    # What was cut off between the two lines of an epoch has but one of them.
    images = len(dataset.validation)
    known = {at for at in scores if at <= until and len(by_image.get(at, ())) == images}
    seconds = _seconds(noted)
    return Trial(
        folder=run.folder,
        of=sum(phase.epochs for phase in prepared.recipe.plan()),
        images=tuple(sample.key for sample in dataset.validation),
        scores={at: scores[at] for at in known},
        by_image={at: by_image[at] for at in known},
        seconds={at: seconds[at] for at in known},
        trained=len(dataset.train),
    )


def _noted(run: Run) -> list[_Line]:
    """The lines of its journal; raises `Invalid` where one is none."""
    try:
        return msgspec.convert(list(run.lines()), list[_Line])
    except msgspec.ValidationError as error:
        raise Invalid(f"{run.folder / METRICS} is damaged: {error}") from error


def _seconds(lines: Sequence[_Line]) -> dict[int, float]:
    """By the number of epochs; the time between two sessions does not count."""
    seconds, before, whole = dict[int, float](), 0.0, 0.0
    for line in lines:
        if line.kind != BEGUN:
            whole += line.time - before
        before = line.time
        if line.epochs is not None:
            seconds[line.epochs] = round(whole, 3)
    return seconds


def kept_trials(prepared: PreparedRun, root: Path) -> list[StoredTrial]:
    """The trials that are kept in ``root`` of this network on these images, computed as here."""
    here, trials = provenance(prepared), list[StoredTrial]()
    for path in islice((root / TRIALS).glob(f"*/{RUN}"), KEPT_ADVICE):
        with suppress(Invalid):
            run = Run.read(path.parent)
            same = all(
                run.provenance.get(name) == here[name] for name in ("data_digest", *COMPUTED)
            )
            if same and run.parent == str(prepared.parent):
                done = [line.epochs for line in _noted(run) if line.epochs is not None]
                resumable = (run.folder / STATE).is_file()
                trials.append(StoredTrial(run.recipe, max(done, default=0), resumable))
    return trials


def drop(trial: Trial) -> None:
    """Delete the weights of a trial that nobody will resume; its figures stay. Not while
    another process continues it.
    """
    try:
        lock = RunLock(trial.folder, machine())
    except (Conflict, OSError):  # or its folder was deleted
        return
    try:
        (trial.folder / STATE).unlink(missing_ok=True)
        shutil.rmtree(trial.folder / WEIGHTS, ignore_errors=True)
    finally:
        lock.release()


def take_over(prepared: PreparedRun, root: Path, run: Run) -> str:
    """Give a ``run`` the weights of the trial of just its recipe, and what that noted, if it is
    kept and the run would have the same bits. The id of that trial; empty: there is none.
    """
    return prepared.ranks.on_main(lambda: _taken_over(prepared, root, run))


def _taken_over(prepared: PreparedRun, root: Path, run: Run) -> str:
    folder = root / TRIALS / key_of(prepared)
    if not (folder / STATE).is_file():
        return ""
    try:
        lock = RunLock(folder, machine())
    except Conflict:  # another process is at it
        return ""
    try:
        trial = Run.read(folder)
        if trial.provenance != provenance(prepared) or not (folder / STATE).is_file():
            return ""
        lines = [line for line in trial.lines() if line.get("kind") not in (BY_IMAGE, BEGUN)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_whole(run.folder / METRICS, [text.encode()])
        if (folder / WEIGHTS).is_dir():
            shutil.copytree(folder / WEIGHTS, run.folder / WEIGHTS)
        # Last, and at once: whoever is interrupted before has the trial, and after it the run.
        (folder / STATE).rename(run.folder / STATE)
        shutil.rmtree(folder / WEIGHTS, ignore_errors=True)
    except Invalid:
        return ""
    finally:
        lock.release()
    return trial.id


@contextmanager
def locked(run: Run, ranks: Ranks) -> Iterator[None]:
    """While the main rank holds the run's lock; raises `Conflict` where another process has it."""
    locks: list[RunLock] = []

    def take() -> Conflict | None:
        try:
            locks.append(RunLock(run.folder, run.machine))
        except Conflict as error:
            return error
        return None

    # Returned rather than raised: the other ranks wait for what the main one says.
    if problem := ranks.on_main(take):
        raise problem
    try:
        yield
    finally:
        for lock in locks:
            lock.release()
