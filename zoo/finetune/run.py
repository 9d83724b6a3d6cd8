"""Run a recipe: prepare, probe, train, blend, conclude; and resume where a run was cut off."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import current_thread, main_thread
from traceback import clear_frames

from zoo.backbones.devices import out_of_memory, pick_device
from zoo.domain.csv_text import as_csv
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import Invalid, InvalidOption, OutOfMemory
from zoo.finetune.conclude import Finetuned, conclude
from zoo.finetune.features.loaders import Loaders
from zoo.finetune.loop.find_lr import LRCurve, search
from zoo.finetune.loop.learner import live_tensors, make_learner
from zoo.finetune.loop.pace import memory
from zoo.finetune.loop.phases import phase_loaders
from zoo.finetune.loop.state import SavedState, State, saved_in
from zoo.finetune.loop.train import train
from zoo.finetune.preflight import recorded, unfinished
from zoo.finetune.ranks.ranks import Ranks, join
from zoo.finetune.results.journal import (
    NOTHING,
    SAID,
    Earlier,
    Journal,
    continued,
    latest,
    new_run,
)
from zoo.finetune.results.paired import FEW_IMAGES, too_few
from zoo.finetune.results.reporter import reported
from zoo.finetune.results.trackers import Log, Trackers, named
from zoo.finetune.saved import check_saved
from zoo.finetune.setup.batch_size import that_fits
from zoo.finetune.setup.prepare import (
    PreparedRun,
    prepare,
    warn_of_guess,
    with_absolute_paths,
    with_batch,
)
from zoo.finetune.strategies.advised import as_advised, were_tried
from zoo.finetune.strategies.blend import blend
from zoo.finetune.strategies.choose import Scores, choose, undecided
from zoo.finetune.strategies.depth import at_depth
from zoo.finetune.strategies.depths import only_zoo_loads, with_units
from zoo.finetune.strategies.probe import begin, probe_heads, recalibrate_norms
from zoo.finetune.trial import drop, locked, patience, take_over, try_out
from zoo.lookup.runs import CACHE, RUNS, Run, find_run, list_runs
from zoo.store.rights import for_all_of
from zoo.workspace import Workspace

__all__ = ["Finetuned", "find_lr", "finetune", "phase_loaders", "rerun", "resume"]

SAMPLES = "samples.png"


def finetune(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    save: Reference,
    *,
    device: str = "auto",
    save_every: int = 0,
    profile: bool = False,
    log: Log = (),
    force: bool = False,
    note: str = "",
    report: str = "",
    progress: Progress = silent,
    earlier: Earlier = NOTHING,
) -> Finetuned:
    """Fine-tune the checkpoint ``base`` after ``recipe`` and save the result under ``save``.

    Args:
        workspace: The zoo.
        base: A reference or digest.
        recipe: All options that decide the result.
        save: The result's name.
        device: See `pick_device`.
        save_every: Steps after which the state is saved; 0: see `State`.
        profile: Trace and time some steps: see `Profile`.
        log: Trackers beside TensorBoard: names of plugins, or objects.
        force: Move the name even from what has no class in common, or another task.
        note: What the user says of it (`checked_note`).
        report: The URL of a server that is told of the run while it goes on.
        progress: Progress callback.
        earlier: What ran before, if it is run again.

    Raises:
        UnknownName, InvalidFreeze, InvalidData, InvalidOption, OtherClasses, DiskFull: Nothing was
            trained.
        Diverged: The loss, or a test figure, is NaN or infinite; nothing was saved.
        OutOfMemory: The device has no room for it; what was done can be resumed.
    """
    began = time.monotonic()
    workspace.names.check_free(save)  # saving checks it, too: hours later
    trackers = Trackers(log)
    ranks, device = join(pick_device(device))
    with earlier.threads(device, ranks):
        again = earlier is not NOTHING
        prepared = prepare(
            workspace,
            base,
            recipe,
            device,
            progress,
            ranks,
            earlier.base,
            again=again,
            finds_batch=again,
        )
        moving = check_saved(
            workspace, save, prepared.known, prepared.recipe, prepared.dataset, force=force
        )
        warn_of_guess(prepared)
        earlier.check_data(prepared)
        prepared, why = (prepared, "") if again else _decided(workspace, prepared, recipe)
        prepared = with_units(prepared)
        asked = with_absolute_paths(recipe).to_json()
        run = ranks.on_main(
            lambda: new_run(workspace, prepared, str(save), log, asked, note, report)
        )
        with (
            _locked(workspace, run, ranks),
            _memory_errors(workspace, run, prepared),
            _reported(run, prepared),
        ):
            saved = None if again else _begun(workspace, prepared, run)
            with _noted(run, prepared, trackers, saved) as journal:
                if moving:
                    journal.say(str(moving))
                journal.remark(earlier.remark(prepared))
                journal.advise(why)
                return _run(workspace, prepared, journal, saved, save_every, began, profile)


def _decided(workspace: Workspace, like: PreparedRun, recipe: Recipe) -> tuple[PreparedRun, str]:
    """With what the strategy ``auto`` stands for: what was advised, what folds choose, or just what
    it is by itself; and that in words. Empty: something else was asked for.
    """
    if recipe.strategy != "auto":
        return with_batch(like), ""
    # Once: other ranks may find other advice, as somebody may be writing it.
    chosen, remark = like.ranks.on_main(lambda: as_advised(workspace, like, recipe))
    if chosen == recipe:
        like = with_batch(like)  # not before: what is advised trains other layers
    if chosen == recipe and undecided(like):
        chosen, why = choose(like, lambda each: _trial(workspace, like, each))
        remark = f"{remark}; {why}" if remark else why
    if chosen == recipe:
        return like, remark
    # Anew: trials have drawn random numbers, and a rerun makes none.
    parent, device = str(like.parent), str(like.device)
    return prepare(workspace, parent, chosen, device, like.progress, like.ranks, like.base), remark


def _begun(workspace: Workspace, prepared: PreparedRun, run: Run) -> SavedState | None:
    """What a trial of the same recipe has done of the ``run``, which takes it over."""
    # At first: whoever is interrupted while it is taken over then resumes the run.
    prepared.ranks.on_main(run.write)
    trial = take_over(prepared, workspace.root, run)
    if not trial:
        return None
    prepared.progress.say(f"what a trial has done already is taken over ({trial[:8]})")
    return saved_in(run.folder, prepared.ranks)


def _trial(workspace: Workspace, like: PreparedRun, recipe: Recipe) -> Scores:
    """What the ``recipe`` comes to out of fold; only its figures are kept."""
    trial = try_out(
        workspace,
        str(like.parent),
        recipe,
        device=str(like.device),
        progress=like.progress,
        root=workspace.root,
        ranks=like.ranks,
        known_as=like.base,
        waits=patience(like.progress),
    )
    like.ranks.on_main(lambda: drop(trial))
    return trial.scores


def resume(
    workspace: Workspace,
    name: str,
    *,
    device: str | None = None,
    save_every: int = 0,
    profile: bool = False,
    log: Log = (),
    report: str = "",
    progress: Progress = silent,
) -> Finetuned:
    """Resume a run that was cut off; on a CPU, to the bits of one that was not.

    ``name`` is the run's id, its beginning, or ``last``. Without a ``device`` it is the one that it
    ran on, if there is such a one here. Without a ``log`` it goes to the trackers that were named
    when it began, and without a ``report`` to the server.

    Raises:
        UnknownName, InvalidOption: No such run, or no such device.
        Conflict: It is done, or running.
        InvalidData: The images, or their split, are not those that it was trained on so far.
        OutOfMemory: The device has no room for it; what was done can be resumed.
    """
    began = time.monotonic()
    run = find_run(workspace, name)
    trackers = Trackers(log or run.log)
    ranks, device = join(pick_device(device or run.device))
    with _locked(workspace, run, ranks):
        # Read now that it is locked: another process may have ended it meanwhile.
        run = unfinished(Run.read(run.folder))
        earlier = Earlier(latest(run.provenance), "when the run began", run.base)
        with earlier.threads(device, ranks):
            recipe = Recipe.recorded(run.recipe)
            # By its digest: the name of the base may point at another checkpoint by now.
            prepared = prepare(
                workspace, run.parent, recipe, device, progress, ranks, earlier.base, again=True
            )
            warn_of_guess(prepared)
            earlier.check_data(prepared)
            saved = saved_in(run.folder, ranks)
            run = _resumed(run, prepared, saved, log, report)
            with (
                _memory_errors(workspace, run, prepared),
                _reported(run, prepared),
                _noted(run, prepared, trackers, saved) as journal,
            ):
                journal.remark(earlier.remark(prepared) if saved else "")
                return _run(workspace, prepared, journal, saved, save_every, began, profile)


def _resumed(
    run: Run, prepared: PreparedRun, saved: SavedState | None, log: Log, report: str
) -> Run:
    """The run as it is resumed; without a state it begins anew."""
    known = run.provenance if saved else {k: v for k, v in run.provenance.items() if k in SAID}
    provenance = continued(known, prepared)
    device, log = str(prepared.device), named(log or run.log)
    report = report or run.told_to
    return replace(run, device=device, provenance=provenance, log=log, told_to=report)


def _reported(run: Run, prepared: PreparedRun) -> AbstractContextManager[None]:
    """While a run is told to the server that it is reported to, by one of its processes."""
    return reported(run.folder, run.told_to if prepared.ranks.is_main else "", prepared.progress)


def _noted(
    run: Run, prepared: PreparedRun, trackers: Trackers, saved: SavedState | None = None
) -> Journal:
    """The journal of a run, from what was ``saved`` on."""
    return Journal(
        run,
        trackers,
        steps=saved.position.steps if saved else 0,
        writes=prepared.ranks.is_main,
        progress=prepared.progress,
    )


@contextmanager
def _locked(workspace: Workspace, run: Run, ranks: Ranks) -> Iterator[None]:
    """While the main rank holds the run's lock; an interrupt says how to resume the run."""
    try:
        with locked(run, ranks), _ended_as_by_ctrl_c():
            yield
    except KeyboardInterrupt as error:
        # An interrupt before anything was written is no other error.
        with suppress(Invalid):
            if ranks.is_main and (now := Run.read(run.folder)).status != "done":
                error.add_note(_how_to_resume(workspace, now))
        raise


@contextmanager
def _memory_errors(workspace: Workspace, run: Run, prepared: PreparedRun) -> Iterator[None]:
    """While a run is trained; says what helps where its device, or the host, has too little
    memory.
    """
    try:
        yield
    except Exception as error:
        device = out_of_memory(error, prepared.device)
        if not device:
            raise
        # The first sentences, without torch's own advice.
        reason = ". ".join(str(error).split(". ")[:2]) or type(error).__name__
        recipe, peak = prepared.recipe, memory(device)
        raise OutOfMemory(
            str(device),
            reason,
            peak,
            recipe.images_per_batch,
            recipe.accumulate,
            _how_to_resume(workspace, Run.read(run.folder)),
            _tried(prepared, error) if device == prepared.device else None,
        ) from error


def _tried(prepared: PreparedRun, error: BaseException) -> int | None:
    """So many images of a batch do fit, fewer than there were in that of a training that has ended
    by ``error``; see `that_fits`.
    """
    # What the training had on the device hangs on its frames.
    ended: BaseException | None = error
    while ended:
        clear_frames(ended.__traceback__)
        ended = ended.__context__
    gc.collect()
    prepared.progress.say("out of memory; trying how many images fit")
    return that_fits(prepared, prepared.recipe.images_per_batch - 1)


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which batch systems send, end a run as Ctrl-C does, in each of several processes
    that a launcher sends it on to; unless somebody handles it.
    """
    number, here = signal.SIGTERM, current_thread() is main_thread()
    unhandled = here and signal.getsignal(number) == signal.SIG_DFL
    if unhandled:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        if unhandled:
            signal.signal(number, signal.SIG_DFL)


def _how_to_resume(workspace: Workspace, run: Run) -> str:
    """What is kept of a run that is interrupted, and the command that resumes it."""
    # It says that it is running where nothing has been noted since it was resumed.
    left = replace(run, status="interrupted").kept
    kept = f"{left}; to resume" if left else "nothing is kept yet; to begin it anew"
    return (
        f"{kept}: zoo finetune --resume {run.id}\n"
        f"in Python: zoo.open({str(workspace.root)!r}).resume({run.id!r})"
    )


def _was_told(workspace: Workspace, prepared: PreparedRun, journal: Journal) -> bool:
    """Whether another run here has told that these images are few."""
    return any(
        FEW_IMAGES in str(line.get("text"))
        for run in list_runs(workspace)
        if run.id != journal.run.id and run.provenance.get("data_digest") == prepared.dataset.digest
        for line in run.lines()
    )


def _run(
    workspace: Workspace,
    prepared: PreparedRun,
    journal: Journal,
    saved: SavedState | None,
    save_every: int,
    began: float,
    profile: bool,
) -> Finetuned:
    """Probe, train, blend and conclude, from the beginning or from what was ``saved``."""
    after = f", resumed after step {saved.position.steps}" if saved else ""
    journal.say(f"run {journal.run.id} in {journal.run.folder}{after}")
    journal.say(_outline(prepared))
    for text in prepared.dataset.remarks:
        journal.remark(text)
    few = too_few(prepared)
    if few and not prepared.ranks.on_main(
        lambda: were_tried(workspace, prepared) or _was_told(workspace, prepared, journal)
    ):
        journal.advise(few)
    journal.advise(only_zoo_loads(prepared))
    if prepared.recipe.strategy == "probe":
        prepared = at_depth(prepared, journal)
    ranks, state = prepared.ranks, State(prepared, journal, save_every)
    loaders = phase_loaders(workspace.root / CACHE, prepared, journal.remark)
    begin(prepared, loaders, journal, state, saved)
    if ranks.on_main(lambda: not (journal.run.folder / SAMPLES).exists()):
        _show_samples(prepared, loaders, journal)
    train(prepared, loaders, journal, state, profile=profile)
    blend(prepared, loaders, journal, state)
    parts = loaders(prepared.lowest if prepared.recipe.blend != "none" else prepared.last)
    # Those of the last phase may be activations of units that an earlier phase trained, and the
    # best weights others there.
    if not ranks.on_main(parts.fit):
        parts = loaders(prepared.lowest)
    result = ranks.on_main(lambda: conclude(workspace, prepared, state, parts, journal, began))
    if ranks.is_main:
        state.snapshots.clear()  # not before: a run that is cut off here blends again
    ranks.wait()
    return result


def _outline(prepared: PreparedRun) -> str:
    """What is about to be trained, in a line."""
    data = prepared.dataset
    counts = [f"{len(part):,}" for part in (data.train, data.validation, data.test)]
    how = prepared.recipe.batch_norm
    norms = f", batch norm {how}" if how != "auto" else ""
    return (
        f"{counts[0]} training, {counts[1]} validation and {counts[2]} test images; "
        f"{prepared.lowest} of {prepared.units} units frozen; {prepared.recipe.strategy} "
        f"on {prepared.device}{norms}"
    )


def _show_samples(
    prepared: PreparedRun, loaders: Callable[[int], Loaders], journal: Journal
) -> None:
    """Some images as the first phase trains on them. All ranks call this: they make its loaders."""
    from zoo.finetune.results.pictures import draw_samples  # loads matplotlib

    parts = loaders(prepared.boundaries[0] if prepared.boundaries else prepared.units)

    def show() -> None:
        preprocessing = prepared.network.planned.preprocessing
        draw_samples(parts.train.batches, preprocessing).save(journal.run.folder / SAMPLES)
        journal.picture("samples")

    prepared.ranks.on_main(show)


def rerun(
    workspace: Workspace,
    name: str,
    save: Reference,
    *,
    data: str | None = None,
    root: str = "",
    device: str = "auto",
    log: Log = (),
    force: bool = False,
    note: str = "",
    report: str = "",
    progress: Progress = silent,
) -> Finetuned:
    """Fine-tune again as the checkpoint ``name`` was, and save the result under ``save``.

    On a CPU, with the same versions and as many processes, to the bit: in as many threads. What
    differs is remarked on. ``data`` is where the images are now, if not where they were, ``root``
    the folder that paths in it begin at, if it is a table.

    Other images or another split raise `InvalidData`; `InvalidOption`, if it was trained elsewhere.
    """
    known, of, recipe = recorded(workspace, name, data, root)
    earlier, base = Earlier(known.provenance, f"when {name} was trained", of.ref), str(of.manifest)
    return finetune(
        workspace,
        base,
        recipe,
        save,
        device=device,
        log=log,
        force=force,
        note=note,
        report=report,
        progress=progress,
        earlier=earlier,
    )


def find_lr(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> LRCurve:
    """Try learning rates for the first phase of ``recipe``; nothing is kept but caches in
    ``folder``, and a table and a picture beside the zoo's runs.

    Raises as `finetune`, and `InvalidOption` where the recipe trains nothing, or leaves the batch
    size open.
    """
    if recipe.batch_size == "auto":
        raise InvalidOption("a learning rate is found for one batch size: give it as a number")
    ranks, device = join(pick_device(device))
    prepared = prepare(workspace, base, recipe, device, progress, ranks, folder=folder)
    warn_of_guess(prepared)
    if not prepared.phases:
        raise InvalidOption("a probe alone has no learning rate")
    phase, boundary = prepared.phases[0]
    loaders = phase_loaders(folder, prepared, lambda _: None)
    recalibrate_norms(prepared, loaders)
    parts = loaders(boundary)
    if prepared.recipe.fits_head:
        ranks.on_main(lambda: probe_heads(prepared, parts))
    ranks.sync(live_tensors(prepared.model, prepared.hierarchy, boundary, prepared.tuned))
    learner, loader = make_learner(prepared, phase, boundary, parts)
    curve = search(learner, loader, progress)
    ranks.wait()
    if phase.own_rate:
        curve = replace(curve, phase=str(phase))
    else:
        # The recipe's rate is that of a new head; one that was fitted before has a share of it.
        curve = curve.scaled(prepared.recipe.lr / phase.lr)
    return _kept(workspace, curve) if ranks.is_main else curve


def _kept(workspace: Workspace, curve: LRCurve) -> LRCurve:
    """The curve with a folder beside those of runs that has its table and picture."""
    from zoo.finetune.results.pictures import draw_rates, save  # load matplotlib

    if not os.access(workspace.root, os.W_OK):
        return curve
    folder = workspace.root / RUNS / f"lr-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    with for_all_of(workspace.root, RUNS):
        folder.mkdir(parents=True)
        rows = [("rate", "loss"), *zip(curve.rates, curve.losses, strict=True)]
        (folder / "rates.csv").write_text(as_csv(rows))
        save(draw_rates(curve.rates, curve.losses, curve.suggestion), folder / "rates.png")
    return replace(curve, folder=folder)
