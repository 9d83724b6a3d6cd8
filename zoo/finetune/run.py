"""Run a recipe: prepare, probe, train, measure, publish; and go on where a run was cut off."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from zoo.backbones.freeze import freeze
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.domain.task import SCORE, Task
from zoo.errors import Conflict, Diverged, InvalidOption, Unsupported
from zoo.exchange.reindexing import keep_hierarchy
from zoo.finetune.features.loaders import Feeds, image_feeds, make_feeds
from zoo.finetune.loop.batchnorm import settle
from zoo.finetune.loop.find_lr import RateCurve, find_rate
from zoo.finetune.loop.learner import outputs
from zoo.finetune.loop.state import State, read_state
from zoo.finetune.loop.train import Training, live_tensors, make_learner
from zoo.finetune.ranks.device import pick_device
from zoo.finetune.ranks.distributed import Processes
from zoo.finetune.results.interval import interval
from zoo.finetune.results.journal import Journal, new_run
from zoo.finetune.results.outcome import warning
from zoo.finetune.results.provenance import NOTHING, Earlier, continued, latest
from zoo.finetune.results.publish import completed, publish
from zoo.finetune.setup.prepare import Prepared, prepare
from zoo.finetune.strategies.probing import at_depth, probe_heads
from zoo.lookup.alive import Held
from zoo.lookup.runs import CACHE, STATE, Run, find_run, list_runs
from zoo.workspace import Workspace

__all__ = ["Result", "finetune", "rerun", "resume", "try_rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a fine-tune made.

    Attributes:
        ref: The name it was saved under.
        manifest: The checkpoint.
        parent: What it derives from.
        run: Id of the run.
        freeze: ``frozen_units`` and ``trainable_units`` as counts; ``boundary``, the first unit
            that was trained, or ``head``; ``kept``, which weights were the best.
        task: What was learned.
        metrics: Results on the test split.
        warning: Why it is no better than no training (`zoo.finetune.results.outcome`); else empty.
        skipped: How many images were left out, because they cannot be used.
        seconds: Wall-clock time of the whole run.
    """

    ref: Reference
    manifest: Digest
    parent: Digest
    run: str
    freeze: Mapping[str, Any]
    task: Task
    metrics: Mapping[str, float]
    warning: str
    skipped: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "ref": str(self.ref),
            "manifest": str(self.manifest),
            "parent": str(self.parent),
            "run": self.run,
            "freeze": dict(self.freeze),
            "task": self.task,
            "metrics": dict(self.metrics),
            "warning": self.warning,
            "skipped_images": self.skipped,
            "seconds": round(self.seconds, 3),
        }


def finetune(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    save: Reference,
    *,
    device: str = "auto",
    save_every: int = 0,
    progress: Progress = silent,
    known_as: str | None = None,
    earlier: Earlier = NOTHING,
) -> Result:
    """Fine-tune the checkpoint ``base`` after ``recipe`` and save the result under ``save``.

    Args:
        workspace: The zoo.
        base: A reference or digest.
        recipe: All options that decide the result.
        save: The result's name.
        device: See `zoo.finetune.ranks.device.pick_device`.
        save_every: Steps after which the state is kept, to go on from; 0: see `Training`.
        progress: Told how far it is.
        known_as: What the lineage calls the base, if not ``base``.
        earlier: How it was, if it is done again.

    Raises:
        UnknownName, InvalidFreeze, InvalidData, InvalidOption, DiskFull: See
            `zoo.finetune.setup.prepare.prepare`; nothing was trained.
        Diverged: The loss became no number, in training or on the test images; nothing was saved.
    """
    began = time.monotonic()
    workspace.check_free(save)
    processes, device = Processes.join(pick_device(device))
    with earlier.threads(device, processes):
        prepared = prepare(workspace, base, recipe, device, progress, processes, known_as)
        if earlier is not NOTHING:
            earlier.check_data(prepared)
        run = processes.share(new_run(workspace, prepared, str(save)) if processes.first else None)
        assert run is not None
        with _held(run, processes), Journal(run, writes=processes.first) as journal:
            if remark := earlier.remark(prepared):
                journal.remark(remark)
            return _carry_out(workspace, prepared, journal, None, save_every, began, progress)


def resume(
    workspace: Workspace,
    name: str,
    *,
    device: str | None = None,
    save_every: int = 0,
    progress: Progress = silent,
) -> Result:
    """Go on with a run that was cut off; on a CPU, to the bits of one that was not.

    Args:
        workspace: The zoo.
        name: The run's id, or the beginning of it; ``last`` is the newest.
        device: See `finetune`; None: what it ran on, if there is such a one here.
        save_every: See `finetune`.
        progress: Told how far it is.

    Raises:
        UnknownName: No such run.
        Conflict: It is done, or going on.
        InvalidData: The images, or their split, are not those that it was trained on so far.
        InvalidOption: The device cannot be used.
    """
    began = time.monotonic()
    run = find_run(workspace, name)
    if run.status == "done":
        raise Conflict(f"the run {run.id} is done")
    processes, device = Processes.join(pick_device(device or run.device))
    with _held(run, processes):
        return _go_on(workspace, run, processes, device, save_every, began, progress)


def _go_on(
    workspace: Workspace,
    run: Run,
    processes: Processes,
    device: str,
    save_every: int,
    began: float,
    progress: Progress,
) -> Result:
    # Again, now that it is held: another process may have gone on with it meanwhile.
    run = Run.read(run.folder)
    if run.status == "done":
        raise Conflict(f"the run {run.id} is done")
    recipe = Recipe.recorded(run.recipe)
    earlier = Earlier(latest(run.provenance), "when the run began")
    with earlier.threads(device, processes):
        prepared = prepare(workspace, run.parent, recipe, device, progress, processes, run.base)
        earlier.check_data(prepared)
        path = run.folder / STATE
        # The first may write one before another has looked.
        state = read_state(path) if processes.share(path.exists()) else None
        steps = state.position.steps if state else 0
        # Without a state it begins anew.
        before, remark = (run.provenance, earlier.remark(prepared)) if state else ({}, "")
        made = continued(before, prepared)
        run = replace(run, device=str(prepared.device), provenance=made)
        with Journal(run, steps=steps, writes=processes.first) as journal:
            if remark:
                journal.remark(remark)
            return _carry_out(workspace, prepared, journal, state, save_every, began, progress)


@contextmanager
def _held(run: Run, processes: Processes) -> Iterator[None]:
    """While the first process holds the run.

    Raises:
        Conflict: It goes on elsewhere; in all processes.
    """
    held, problem = None, None
    if processes.first:
        try:
            held = Held(run.folder, run.machine)
        except Conflict as error:
            problem = error
    if problem := processes.share(problem):
        raise problem
    try:
        yield
    finally:
        if held:
            held.release()


def rerun(
    workspace: Workspace,
    name: str,
    save: Reference,
    *,
    data: str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Result:
    """Fine-tune again as the checkpoint ``name`` was.

    On a CPU, with the same versions and as many processes, to the bit: in as many threads. What
    is other is remarked on.

    Args:
        workspace: The zoo.
        name: The result of a fine-tune.
        save: Name of the new result.
        data: Where the images are now; None: where they were.
        device: See `finetune`.
        progress: Told how far it is.

    Raises:
        UnknownName: No such checkpoint, or its base is not here.
        Unsupported: It is not the result of a fine-tune.
        InvalidOption: It was trained elsewhere, and ``data`` is None.
        InvalidData: The images, or their split, are not those that it was trained on.
    """
    _, digest = workspace.resolve(name)
    known = workspace.store.manifest(digest)
    tuned = [parent for parent in known.parents if parent.relation == "finetune"]
    if known.recipe is None or not tuned:
        raise Unsupported(f"{name} is not the result of a fine-tune: it has no recipe")
    if not data and not _made_here(workspace, digest):
        raise InvalidOption(
            f"{name} was not trained in this zoo, and the data that its recipe names "
            f"('{known.recipe.get('data')}') are not opened unasked: name them here (--data)"
        )
    recipe = Recipe.recorded({**known.recipe, **({"data": data} if data else {})})
    earlier = Earlier(known.provenance, f"when {name} was trained")
    base = str(tuned[0].manifest)
    return finetune(workspace, base, recipe, save, device=device, progress=progress,
                    known_as=tuned[0].ref, earlier=earlier)  # fmt: skip


def _made_here(workspace: Workspace, digest: Digest) -> bool:
    return any(run.result.get("manifest") == str(digest) for run in list_runs(workspace))


def try_rates(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> RateCurve:
    """Try learning rates for the first phase of ``recipe``; nothing is kept. Raises as `finetune`.

    Raises:
        InvalidOption: The recipe trains nothing.
    """
    processes, device = Processes.join(pick_device(device))
    prepared = prepare(workspace, base, recipe, device, progress, processes)
    if not prepared.phases:
        raise InvalidOption("a probe alone has no learning rate")
    phase, boundary = prepared.phases[0]
    freeze(prepared.model, prepared.hierarchy, boundary)
    feeds = make_feeds(prepared, boundary, workspace.root / CACHE / "crossings", progress)
    if prepared.recipe.strategy == "lp-ft" and processes.first:
        settle(prepared, feeds.plain, progress)
        probe_heads(prepared, feeds, progress)
    processes.wait()
    processes.align(live_tensors(prepared.model, prepared.hierarchy, boundary))
    learner, feed = make_learner(prepared, phase, boundary, feeds)
    found = find_rate(learner, feed, progress)
    processes.wait()
    if phase.own_rate:
        return replace(found, phase=str(phase))
    # The recipe's rate is that of a new head; one that was fitted before has a share of it.
    return found.scaled(prepared.recipe.lr / phase.lr)


def _carry_out(
    workspace: Workspace,
    prepared: Prepared,
    journal: Journal,
    state: State | None,
    save_every: int,
    began: float,
    progress: Progress,
) -> Result:
    run = journal.run
    for text in prepared.dataset.remarks:
        journal.remark(text)
    if prepared.recipe.strategy == "probe":
        prepared = at_depth(prepared, journal, progress)

    def feeds(boundary: int) -> Feeds:
        return make_feeds(prepared, boundary, workspace.root / CACHE / "crossings", progress)

    training = Training(
        prepared, feeds, journal, progress,
        save_to=run.folder / STATE, save_every=save_every,
    )  # fmt: skip
    if state:
        training.restore(state)
    if prepared.processes.size > 1:
        torch.manual_seed(prepared.recipe.seed + prepared.processes.rank)  # dropout of its own
    last = training.run(state)
    result = None
    if prepared.processes.first:
        result = _conclude(workspace, prepared, training.best.name, last, journal, began, progress)
        training.kept.clear()  # not before: a run that is cut off here blends again
    result = prepared.processes.share(result)
    prepared.processes.wait()
    assert result is not None
    return result


def _conclude(
    workspace: Workspace,
    prepared: Prepared,
    kept: str,
    feeds: Feeds,
    journal: Journal,
    began: float,
    progress: Progress,
) -> Result:
    """Measure and publish what the training left in the model."""
    metrics = _test(prepared, feeds, journal, progress)
    keep_hierarchy(workspace, prepared.parent)  # what is frozen is told by it, later and elsewhere
    warned = warning(prepared, journal.lines(), metrics)
    made = {**journal.run.provenance, **({"warning": warned} if warned else {})}
    manifest = completed(prepared, kept, metrics, made)
    save = Reference.parse(journal.run.save)
    digest = publish(workspace, prepared.model, manifest, prepared.dataset, save, progress=progress)
    journal.done({"manifest": str(digest), "metrics": metrics, "warning": warned})
    return Result(
        ref=save,
        manifest=digest,
        parent=prepared.parent,
        run=journal.run.id,
        freeze=dict(manifest.freeze or {}),
        task=prepared.task,
        metrics=metrics,
        warning=warned,
        skipped=len(prepared.dataset.skipped),
        seconds=time.monotonic() - began,
    )


def _test(
    prepared: Prepared, feeds: Feeds, journal: Journal, progress: Progress
) -> dict[str, float]:
    """Measure the model on the test images, and draw what there is to see."""
    from zoo.finetune.results.pictures import draw_confusion, draw_curves

    # What was recorded in half precision is not what the network will be asked.
    feed = feeds.test if prepared.recipe.precision == "fp32" else image_feeds(prepared).test
    said = []
    with progress("testing", len(prepared.dataset.test)) as task:
        for batch in outputs(prepared.model, feed.whole(), feed.forward):
            said.append(batch)
            task.advance(len(batch[1]))
    found, targets = (torch.cat(parts) for parts in zip(*said, strict=True))
    score = SCORE[prepared.task]
    figures = prepared.head.metrics(found, targets, prepared.task)
    figures[f"{score}_low"], figures[f"{score}_high"] = interval(prepared.task, found, targets)
    figures["test_images"] = float(len(prepared.dataset.test))
    if not all(map(math.isfinite, figures.values())):
        raise Diverged(max(line["steps"] for line in journal.lines()), prepared.recipe.lr)
    journal.note("test", 0, **figures)
    folder = journal.run.folder
    draw_curves(journal.lines(), score).savefig(folder / "curves.png")
    if prepared.task == "classification":
        matrix = draw_confusion(found, targets, prepared.dataset.classes)
        matrix.savefig(folder / "confusion.png")
    return figures
