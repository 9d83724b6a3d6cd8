"""Trials: recipes that are tried, each for some epochs of its own schedule, before one is chosen.

A trial has the folder of a run, below ``trials`` in place of ``runs``. It notes whether it is right
of each image held out, so that two trials can be compared image by image. It can go on later, to
the bit, and so can the run of its recipe. Asked again, it answers from what it noted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from zoo.domain.plain import Json
from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe
from zoo.domain.task import SCORE
from zoo.errors import Conflict, Invalid, InvalidOption
from zoo.finetune.loop.phases import phase_loaders
from zoo.finetune.loop.state import State, read_state
from zoo.finetune.loop.train import train
from zoo.finetune.ranks.ranks import ALONE, Ranks
from zoo.finetune.results.journal import LIBRARIES, NOTHING, Journal, provenance
from zoo.finetune.results.trackers import Trackers
from zoo.finetune.setup.prepare import Prepared, prepare
from zoo.finetune.strategies.choose import EPOCH, Scores, scores_of
from zoo.finetune.strategies.probe import PROBE, probe
from zoo.lookup.alive import RunLock
from zoo.lookup.runs import CACHE, METRICS, STATE, TRIALS, Run
from zoo.reflog import now
from zoo.store.atomic import write_whole
from zoo.store.rights import for_all_of
from zoo.workspace import Workspace

__all__ = ["Trial", "drop", "locked", "take_over", "tried", "try_out"]

OPENING = (
    *("data", "root", "path_column", "label_column", "max_pixels", "skip_bad"),
    *("validation_share", "test_share", "fold", "preset"),
)
"""Options that say where images are and how they are divided. Their digests say what came of it."""
COMPUTED = ("device", "processes", "reading", "training", *LIBRARIES)
"""What of the provenance gives other figures."""
BY_IMAGE = "images"
BEGUN = "begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a recipe came to on the images that were held out.

    Attributes:
        folder: Where it is kept.
        recipe: With nothing left to decide.
        measure: What is measured (`SCORE`).
        of: The epochs of its schedule.
        images: The keys of the images held out.
        scores: By the number of epochs; 0: of the probe that it began with.
        by_image: How well each image is told (`goodness`), by the number of epochs.
        seconds: What it took up to there.
        trained: How many images were trained on.
    """

    folder: Path
    recipe: Recipe
    measure: str
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
) -> Trial:
    """Train ``base`` after ``recipe`` up to so many ``epochs``, or all of them; or answer from what
    is kept of that in ``root``, which is the zoo's, or a temporary folder.

    Raises as `zoo.finetune.run.finetune`, and `Conflict` where another process is at it.
    """
    with NOTHING.threads(device, ranks):
        prepared = prepare(
            workspace, base, recipe, device, progress, ranks, known_as, folder=root / CACHE
        )
        if not prepared.dataset.validation:
            raise InvalidOption("a trial is judged by images that are held out, and there are none")
        asked = sum(phase.epochs for phase in prepared.recipe.plan())
        until = asked if epochs is None else min(epochs, asked)
        run = ranks.on_main(lambda: _run(prepared, root))
        found = ranks.on_main(lambda: _read(run, prepared))
        if until in found.scores or run.status == "done":
            return found
        with locked(run, ranks):
            _train(prepared, run, root, until)
        return ranks.on_main(lambda: _read(run, prepared))


def _train(prepared: Prepared, run: Run, root: Path, until: int) -> None:
    """Go on from what is kept, if there is something, to so many epochs."""
    ranks, path = prepared.ranks, run.folder / STATE
    saved = read_state(path) if ranks.on_main(path.exists) else None
    steps = saved.position.steps if saved else 0
    run = replace(run, provenance=provenance(prepared))
    with Journal(
        run, Trackers(()), steps=steps, writes=ranks.is_main, by_image=prepared.task
    ) as journal:
        journal.note(BEGUN, steps)
        loaders = phase_loaders(root / CACHE, prepared, lambda _: None)
        state = State(prepared, journal)
        ranks.seed(prepared.recipe.seed)
        if saved:
            state.load(saved)
        else:
            probe(prepared, loaders, journal, state)
        train(prepared, loaders, journal, state, until)
        if state.position.phase == len(prepared.phases):
            journal.done({"trained_images": len(prepared.dataset.train)}, keep=True)


def _run(prepared: Prepared, root: Path) -> Run:
    """The trial's `Run`: as it is kept, or new."""
    with for_all_of(root, TRIALS):
        folder = root / TRIALS / key_of(prepared)
        folder.mkdir(exist_ok=True)
    try:
        return Run.read(folder)
    except Invalid:  # none yet, or cut off while it was made
        shutil.rmtree(folder)
        folder.mkdir()
        return Run(
            folder=folder,
            base=prepared.base,
            parent=str(prepared.parent),
            save="",
            recipe=prepared.recipe.to_json(),
            device=str(prepared.device),
            started=now(),
            status="interrupted",
            provenance=provenance(prepared),
        )


def key_of(prepared: Prepared) -> str:
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


def _read(run: Run, prepared: Prepared) -> Trial:
    """What its journal tells so far."""
    lines = list(run.lines())
    by_image = {
        at: tuple(line["scores"])
        for line in lines
        if line.get("kind") == BY_IMAGE and (at := _epochs(line["name"])) is not None
    }
    measure, dataset = SCORE[prepared.task], prepared.dataset
    return Trial(
        folder=run.folder,
        recipe=prepared.recipe,
        measure=measure,
        of=sum(phase.epochs for phase in prepared.recipe.plan()),
        images=tuple(sample.key for sample in dataset.validation),
        scores=scores_of(lines, measure),
        by_image=by_image,
        seconds=_seconds(lines),
        trained=len(dataset.train),
    )


def _epochs(name: str) -> int | None:
    match = EPOCH.fullmatch(name)
    return int(match[1]) if match else 0 if name == PROBE else None


def _seconds(lines: list[Json]) -> dict[int, float]:
    """By the number of epochs; the time between two sessions does not count."""
    found, before, whole = dict[int, float](), 0.0, 0.0
    for line in lines:
        if line["kind"] != BEGUN:
            whole += line["time"] - before
        before = line["time"]
        if line["kind"] == BY_IMAGE and (at := _epochs(line["name"])) is not None:
            found[at] = round(whole, 3)
    return found


def drop(trial: Trial) -> None:
    """Delete the weights of a trial that nobody will go on with; its figures stay."""
    (trial.folder / STATE).unlink(missing_ok=True)
    shutil.rmtree(trial.folder / "weights", ignore_errors=True)


def tried(prepared: Prepared, root: Path) -> Run | None:
    """The trial of just this recipe, if it is kept with its weights and a run would have the same
    bits; None: there is none.
    """
    folder = root / TRIALS / key_of(prepared)
    try:
        run = Run.read(folder)
    except Invalid:
        return None
    same = run.provenance == provenance(prepared) and run.status != "running"
    return run if same and (folder / STATE).is_file() else None


def take_over(trial: Run, run: Run, ranks: Ranks) -> None:
    """Give the weights of a trial, and what it noted, to a ``run`` of the same recipe."""
    with locked(trial, ranks):
        lines = [line for line in trial.lines() if line.get("kind") not in (BY_IMAGE, BEGUN)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_whole(run.folder / METRICS, [text.encode()])
        if (trial.folder / "weights").is_dir():
            (trial.folder / "weights").rename(run.folder / "weights")
        (trial.folder / STATE).rename(run.folder / STATE)


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
