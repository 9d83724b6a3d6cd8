"""The training loop, on one page.

For each phase, epoch and batch: forward, backward, step, average; then evaluate, keep the best, and
save the state, also after the step that an interrupt comes in. What comes before (a probe) and
after (a blend) is in `zoo.finetune.strategies`.

An accelerator computes while Python goes on; whoever reads a number of it waits for all that it was
given. So losses stay there, and are read of several steps at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from zoo.backbones.moved import moved
from zoo.domain import task as kinds
from zoo.domain.progress import Task
from zoo.errors import Diverged
from zoo.finetune.features.loaders import Batch, Forward, Inputs, Loader, Loaders
from zoo.finetune.loop.evaluate import live_norms, recalibrate, validate
from zoo.finetune.loop.interrupts import deferred_interrupts
from zoo.finetune.loop.learner import Learner, Step, make_learner
from zoo.finetune.loop.pace import Pace, memory
from zoo.finetune.loop.profile import Fed, Profile
from zoo.finetune.loop.sharpness import uphill
from zoo.finetune.loop.state import State
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup.network import autocast, fastest_convolutions, multiplying
from zoo.finetune.setup.prepare import PreparedRun
from zoo.finetune.setup.teacher import distillation_loss

__all__ = ["learn", "read", "train"]

READ_EVERY = {"cpu": 1}
"""Steps whose losses are read at once, by device; of an accelerator ten."""


def train(
    prepared: PreparedRun,
    loaders: Callable[[int], Loaders],
    journal: Journal,
    state: State,
    until: int | None = None,
    *,
    profile: bool = False,
) -> None:
    """Train what is left of the plan after ``state``, which has the best weights then.

    ``loaders`` freezes so many units, and gives the loaders for that. With ``until``, it ends after
    so many epochs at the latest, and its state is saved there. With ``profile``, the steps of each
    phase are watched (`Profile`).
    """
    images, epochs = len(prepared.dataset.train), [phase.epochs for phase, _ in prepared.phases]
    last = sum(epochs) if until is None else min(until, sum(epochs))
    with prepared.progress("training", last * images) as bar:
        bar.advance((sum(epochs[: state.position.phase]) + state.position.epoch) * images)
        reporter = _Reporter(state, journal, bar, Pace(sum(epochs), images))
        for number in range(state.position.phase, len(epochs)):
            if sum(epochs[:number]) + state.position.epoch >= last:
                return
            phase, boundary = prepared.phases[number]
            parts = loaders(boundary)
            learner, loader = make_learner(prepared, phase, boundary, parts)
            state.restore(learner)
            with (
                Profile(journal, number + 1, len(epochs)) if profile else nullcontext()
            ) as watching:
                feed = watching.watch(learner, loader) if watching else loader
                for epoch in range(state.position.epoch, phase.epochs):
                    count = sum(epochs[:number]) + epoch
                    with deferred_interrupts() as interrupted:
                        _steps(learner, feed, count, reporter, interrupted)
                        stop = _measure(prepared, parts, learner, reporter, count + 1)
                        state.end_epoch(last=stop or epoch + 1 == phase.epochs)
                        over, done = state.position.phase != number, stop or count + 1 == last
                        if over or done or state.due() or interrupted():
                            state.save(None if over else learner)
                    if done:
                        break
            # The memory of a device may not have room for two phases.
            del parts, learner, loader, feed


@dataclass(frozen=True, slots=True)
class _Reporter:
    """What a training is told by, and where it is."""

    state: State
    journal: Journal
    bar: Task
    pace: Pace

    def note(self, epoch: int, steps: Sequence[Step], losses: Sequence[float]) -> None:
        """Count steps of an epoch, from 0, that are the latest, and tell of each."""
        state, pace = self.state, self.pace
        pace.count(steps)
        for loss in losses:  # one by one: a run that is resumed has the same sum
            state.position.losses += loss
        state.position.counted += len(losses)
        begun = state.position.steps - len(steps)
        for number, (step, loss) in enumerate(zip(steps, losses, strict=True), begun + 1):
            figures = {"loss": loss, "lr": step.lr, "images_per_second": round(pace.speed, 1)}
            self.journal.note("step", number, epoch=epoch + 1, **figures)
            shown = f"epoch {epoch + 1}, loss {loss:.3f}, rate {step.lr:.2g}, "
            shown += f"{pace.speed:.0f} images/s"
            if state.score is not None:
                shown += f", {state.measure.replace('_', ' ')} {state.score:.4f}"
            self.bar.advance(step.images, shown)


@fastest_convolutions()
def _steps(
    learner: Learner,
    loader: Loader | Fed,
    epoch: int,
    reporter: _Reporter,
    interrupted: Callable[[], bool],
) -> None:
    """The steps of an epoch that are left; each is shown and noted, and the state saved if due, or
    after the step that an interrupt comes in.
    """
    reporter.pace.begin_epoch()
    state, every = reporter.state, READ_EVERY.get(learner.device.type, 10)
    unread: list[Step] = []
    batches = loader.epoch(epoch, skip=state.position.batch)
    for step in learn(learner, batches, loader.forward):
        state.position.batch += step.batches
        state.position.steps += 1
        unread.append(step)
        stops = interrupted()
        due = stops or (state.save_every and state.position.steps % state.save_every == 0)
        if due or len(unread) >= every:
            # Before it is saved: what has diverged is not.
            reporter.note(epoch, unread, read(learner, unread))
            unread.clear()
        if due:
            state.save(learner)
        if stops:
            raise KeyboardInterrupt
    reporter.note(epoch, unread, read(learner, unread))


def learn(learner: Learner, batches: Iterable[Batch], forward: Forward) -> Iterator[Step]:
    """One pass over ``batches``; yields after each optimizer step, when the weights have moved, or
    an accelerator has been told to move them. Nothing is read from it: see `read`.
    """
    learner.model.train()
    ranks = learner.ranks
    for group in _grouped(batches, learner.recipe.accumulate):
        masses = [_mass(learner.class_weights, batch.targets) for batch in group]
        # Each batch counts by its images, over all ranks and batches of the step: the gradients of
        # one batch in one process, however it is shared out.
        counts = [batch.images for batch in group]
        whole, images, lacking = ranks.totals([sum(masses), sum(counts), counts.count(0)])
        shares = [mass / whole for mass in masses]
        # Of a small last batch, of which a rank has nothing, none can wait for its batch norms.
        synced = learner.recipe.batch_norm == "synced" and not lacking
        loss = _gradients(learner, group, forward, shares, synced=synced)
        if learner.recipe.sam:
            with uphill(learner.model, learner.parameters, learner.recipe.sam):
                _gradients(learner, group, forward, shares, synced=synced)
        lr = learner.lr  # of this step: the scheduler moves on with it
        _optimizer_step(learner)
        yield Step(learner.scheduler.last_epoch, loss, lr, int(images), len(group))


def read(learner: Learner, steps: Sequence[Step]) -> list[float]:
    """The losses of ``steps``, waited for once; raises `Diverged` where one is NaN or infinite."""
    losses: list[float] = torch.stack([step.loss for step in steps]).tolist() if steps else []
    for step, loss in zip(steps, losses, strict=True):
        if not math.isfinite(loss):
            phase = learner.phase
            if phase.own_rate:
                raise Diverged(step.number, phase.lr, str(phase))
            raise Diverged(step.number, learner.recipe.lr)
    return losses


def _gradients(
    learner: Learner,
    group: Sequence[Batch],
    forward: Forward,
    shares: Sequence[float],
    *,
    synced: bool,
) -> Tensor:
    """Those of a step, summed over its batches and all ranks; its loss, likewise. Batch norms may
    be ``synced``.
    """
    ranks = learner.ranks
    # A network that runs again in the backward pass may give a parameter its gradient in parts.
    early = not synced and not learner.recipe.grad_checkpointing

    def through(inputs: Inputs) -> Tensor:
        with ranks.synced_norms() if synced else nullcontext():
            return forward(inputs)

    losses: list[Tensor] = []
    for batch, share in zip(group, shares, strict=True):
        last = len(losses) + 1 == len(group)
        with ranks.summing(learner.in_order, early=early) if last else nullcontext():
            losses.append(_backward(learner, batch, through, share))
    return ranks.summed(torch.stack(losses)).sum()


def _backward(learner: Learner, batch: Batch, forward: Forward, share: float) -> Tensor:
    """Add the gradients of this rank's part of a batch, ``share`` of the step; its loss."""
    empty = not batch.images  # of a small last batch, of which other ranks have all
    if empty and not learner.ranks.sharded:
        return torch.zeros((), device=learner.device)
    targets, precision = moved(batch.targets, learner.device), learner.recipe.precision
    with autocast(learner.model, precision):
        logits = forward(batch.inputs)
    with multiplying(precision):
        # Shards of weights are asked of all ranks in every step, whatever images they have.
        outputs = logits.float()
        taught = batch.taught
        loss = outputs.sum() * 0 if empty else _loss(learner, outputs, targets, taught) * share
        learner.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _loss(learner: Learner, outputs: Tensor, targets: Tensor, taught: Tensor | None) -> Tensor:
    loss: Tensor = learner.loss(outputs, targets)
    if taught is None:
        return loss
    recipe = learner.recipe
    task = cast(kinds.Task, recipe.task)  # decided, when training begins
    heat, part = recipe.distill_temperature, recipe.distill_weight
    far = distillation_loss(outputs, taught.to(outputs.device), task, heat)
    return (1 - part) * loss + part * far


def _optimizer_step(learner: Learner) -> None:
    # Clipping is of true gradients: scaled ones would be clipped by the scale, too.
    learner.scaler.unscale_(learner.optimizer)
    if learner.recipe.clip_norm:
        nn.utils.clip_grad_norm_(learner.parameters, learner.recipe.clip_norm)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.scheduler.step()
    if learner.ema:
        learner.ema.update()


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _mass(weights: Tensor | None, targets: Tensor) -> float:
    """What a mean over images divides by: their number, or the sum of their classes' weights."""
    if weights is not None and targets.dim() == 1:
        return float(weights[targets].sum())
    return float(len(targets))


def _measure(
    prepared: PreparedRun, parts: Loaders, learner: Learner, reporter: _Reporter, epoch: int
) -> bool:
    """Measure the weights after an epoch, from 1, and their average if there is one, and say it;
    whether patience is at its end.
    """
    state, name, before = reporter.state, f"epoch {epoch}", reporter.state.best.rank[0]
    # Running statistics are of each rank's images; the main one's are measured.
    prepared.ranks.sync(dict(learner.model.named_buffers()))
    loss = state.position.loss
    known = {} if loss is None else {"train_loss": loss}
    scores = _evaluate(prepared, parts, learner, reporter, name, known)
    if prepared.recipe.blend == "soup":
        state.keep(name)
    if learner.ema:
        with learner.ema.in_place():
            mean = _evaluate(
                prepared, parts, learner, reporter, f"average of {name}", {}, anew=True
            )
        measure = state.measure.replace("_", " ")
        scores |= {f"{measure} of the average": mean[measure]}
        # What is trained, not its average.
        prepared.ranks.collect(learner.model, state.live)
    reporter.journal.say(reporter.pace.line(epoch, loss, scores, prepared.device))
    if stop := state.best.end_epoch(before, prepared.recipe.patience):
        reporter.journal.say(f"stopped: no better in {prepared.recipe.patience} epochs")
    return stop


def _evaluate(
    prepared: PreparedRun,
    parts: Loaders,
    learner: Learner,
    reporter: _Reporter,
    name: str,
    known: Mapping[str, float],
    *,
    anew: bool = False,
) -> dict[str, float | None]:
    """Measure the weights as they are, keep them if they are the best, and note it with what is
    ``known`` of them; what is told of them by name, the score first. With ``anew``, batch norms
    that are live take their statistics before: averages of weights want others than there were.
    """
    state, journal = reporter.state, reporter.journal
    prepared.ranks.collect(learner.model, state.live)
    if anew:
        norms = live_norms(prepared.model)
        prepared.ranks.on_main(lambda: recalibrate(prepared, parts.plain, norms))
    each = journal.of_images(name, state.position.steps)
    metrics = prepared.ranks.on_main(lambda: validate(prepared, parts, each))
    state.consider(name, metrics)
    used = memory(prepared.device)
    journal.note("epoch", state.position.steps, name=name, **known, **metrics, memory_bytes=used)
    named = (state.measure, *state.errors)
    return {name.replace("_", " "): metrics.get(name) for name in named}
