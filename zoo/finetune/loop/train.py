"""Carry out a plan: phase after phase, keep the best, and be ready to be cut off at any moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean
from time import monotonic

import torch
from torch import Tensor, nn

from zoo.backbones.freeze import freeze
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.phase import Phase
from zoo.domain.progress import Progress, Task
from zoo.domain.task import SCORE
from zoo.finetune.features.loader import Feed
from zoo.finetune.features.loaders import Feeds
from zoo.finetune.loop.batchnorm import apart, settle
from zoo.finetune.loop.ema import Average
from zoo.finetune.loop.evaluate import measure
from zoo.finetune.loop.learner import Learner, Step, learn, outputs
from zoo.finetune.loop.state import (
    Best,
    Position,
    State,
    learner_state,
    random_state,
    rank,
    restore_learner,
    restore_random,
    write_state,
)
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup.optimizer import make_optimizer, parameter_groups, schedule
from zoo.finetune.setup.prepare import Prepared
from zoo.finetune.strategies.blend import TENTHS, Kept, interpolated, soup
from zoo.finetune.strategies.probing import probe_heads

__all__ = ["Training", "live_tensors", "make_learner"]

FIRST = "first"
FITTED = ("probe", "lp-ft")
"""Strategies that begin with a probe."""
NOTED = 10
"""Every so many steps one is written to the journal."""
RARELY = 50
"""How many times as long as saving takes, training goes on until it is saved again."""


class Training:
    """A plan being carried out.

    Args:
        prepared: What is trained, on what, and how.
        feeds: Makes the feeds of a phase whose boundary is given.
        journal: Told what happens.
        progress: Likewise.
        save_to: Where the state is kept.
        save_every: After so many steps, and each epoch; 0: after an epoch, but where saving takes
            long no more often than costs a fiftieth of the time.
    """

    def __init__(
        self,
        prepared: Prepared,
        feeds: Callable[[int], Feeds],
        journal: Journal,
        progress: Progress,
        *,
        save_to: Path,
        save_every: int,
    ) -> None:
        self.prepared = prepared
        self.feeds = feeds
        self.journal = journal
        self.progress = progress
        self.save_to = save_to
        self.save_every = save_every
        self.best = Best()
        self.position = Position()
        lowest = min(prepared.boundaries, default=len(prepared.hierarchy.units))
        self.processes = prepared.processes
        self.kept = Kept(save_to.parent / "weights")
        self._made: tuple[int, Feeds] | None = None
        self._next_save = 0.0
        self._speed = 0.0
        self._latest: float | None = None
        self._losses: list[float] = []
        self.live = live_tensors(prepared.model, prepared.hierarchy, lowest)

    def restore(self, state: State) -> None:
        """Go to where ``state`` was taken; `run` goes on from there."""
        self.position, self.best = state.position, state.best
        put(state.tensors, self.live)

    def run(self, state: State | None = None) -> Feeds:
        """Carry out what is left of the plan, and leave the best weights in the model.

        Args:
            state: What `restore` was given, if this goes on from there.

        Returns:
            Feeds that fit these weights.
        """
        feeds = self._begin(state)
        phases = self.prepared.phases
        images = len(self.prepared.dataset.train)
        with self.progress("training", sum(phase.epochs for phase, _ in phases) * images) as task:
            for number, (phase, boundary) in enumerate(phases):
                if number < self.position.phase and number + 1 < len(phases):
                    task.advance(phase.epochs * images)
                    continue
                feeds = self._frozen(boundary)
                if number == self.position.phase:
                    task.advance(self.position.epoch * images)
                    self._phase(number, feeds, task, state)
                    state = None
        return self._concluded(feeds) if phases else feeds

    def _concluded(self, feeds: Feeds) -> Feeds:
        """Try blends, put the best weights into the model, and return feeds that fit them.

        Those of the last phase may be activations of units that an earlier phase trained: blends,
        and the best weights, can be other ones there.
        """
        lowest = min(self.prepared.boundaries)
        if self.prepared.recipe.blend != "none":
            feeds = self._frozen(lowest)
            if self.processes.first:
                self._blend(feeds)
        if self.best.tensors:
            put(self.best.tensors, self.live)
        return feeds if self.processes.share(feeds.fit()) else self._frozen(lowest)

    def consider(self, name: str, feeds: Feeds) -> dict[str, float]:
        """Measure the model as it is on the validation split, and keep it if it is the best.

        Of equal scores the smaller loss counts, and else what was there before. Without a
        validation split the latest is the best.
        """
        if feeds.validation is None:
            self.best = Best(name, tensors=snapshot(self.live))
            return {}
        figures = self.measure(feeds.validation)
        self._latest = score = figures[SCORE[self.prepared.task]]
        loss = figures.get("loss", math.nan)
        if not self.best.name or rank(score, loss) > self.best.rank:
            self.best = Best(name, score, self.best.since, snapshot(self.live), loss)
        return figures

    def measure(self, feed: Feed) -> dict[str, float]:
        """The head's metrics on all that ``feed`` has."""
        said = outputs(
            self.prepared.model, feed.whole(), feed.forward, self.prepared.recipe.precision
        )
        return measure(self.prepared.head, self.prepared.task, said)

    def _begin(self, state: State | None) -> Feeds:
        """Freeze for the first phase; a training that begins with a probe fits it."""
        feeds = self._frozen(self.prepared.boundaries[0] if self.prepared.boundaries else None)
        if state is None:
            if self.processes.first:
                self._probe(feeds)
            self.processes.wait()
            self.processes.align(self.live)
            if self.prepared.recipe.strategy in FITTED:
                self.save(None)
        return feeds

    def _probe(self, feeds: Feeds) -> None:
        if self.prepared.recipe.strategy in FITTED:
            settle(self.prepared, feeds.plain, self.progress)
            found = probe_heads(self.prepared, feeds, self.progress)
            self.journal.note("probe", 0, **found, **self.consider("probe", feeds))
        if self.prepared.recipe.blend == "wise-ft":
            self.kept.keep(FIRST, snapshot(self.live))

    def _blend(self, feeds: Feeds) -> None:
        """Try means of weights; the best of them may be the best of all.

        The mean of running statistics is not what the mean of weights gives: batch norms that were
        trained take theirs anew (as `torch.optim.swa_utils.update_bn`).
        """
        last = snapshot(self.live)
        if self.prepared.recipe.blend == "wise-ft":
            first = self.kept.read(FIRST)
            for tenths in TENTHS:
                self._put(interpolated(first, last, tenths / 10), 2, feeds)
                self._noted(f"{tenths}/10 of the way", feeds)
        if self.prepared.recipe.blend == "soup":
            mean, names = soup(self.kept, partial(self._score, feeds))
            self._put(mean, len(names), feeds)
            self._noted(f"mean of {', '.join(names)}", feeds)

    def _noted(self, name: str, feeds: Feeds) -> None:
        figures = self.consider(name, feeds)
        self.journal.note("blend", self.position.steps, name=name, **figures)

    def _put(self, tensors: Mapping[str, Tensor], of: int, feeds: Feeds) -> None:
        """Put the mean of so many weights into the model."""
        put(tensors, self.live)
        if of > 1:
            settle(self.prepared, feeds.plain, self.progress)

    def _score(self, feeds: Feeds, tensors: Mapping[str, Tensor], of: int) -> tuple[float, float]:
        """Score and loss on the validation split (`rank`) of the mean of so many weights."""
        self._put(tensors, of, feeds)
        assert feeds.validation is not None
        figures = self.measure(feeds.validation)
        return rank(figures[SCORE[self.prepared.task]], figures.get("loss", math.nan))

    def _frozen(self, boundary: int | None) -> Feeds:
        """Freeze ``boundary`` units, or all; the feeds for that, made once."""
        boundary = self.prepared.units if boundary is None else boundary
        freeze(self.prepared.model, self.prepared.hierarchy, boundary)
        if self._made is None or self._made[0] != boundary:
            self._made = boundary, self.feeds(boundary)
            for text in filter(None, (self._made[1].remark, apart(self.prepared))):
                self.journal.remark(text)
        return self._made[1]

    def _phase(self, number: int, feeds: Feeds, task: Task, state: State | None) -> None:
        phase, boundary = self.prepared.phases[number]
        learner, feed = make_learner(self.prepared, phase, boundary, feeds)
        if state and state.learner:
            restore_learner(learner, state.learner)
        if state and self.processes.rank < len(state.random):
            restore_random(state.random[self.processes.rank])
        if not (self.position.epoch or self.position.batch):
            self.best.since = 0  # each phase has all the patience
        before = sum(earlier.epochs for earlier, _ in self.prepared.phases[:number])
        for epoch in range(self.position.epoch, phase.epochs):
            label = f"epoch {before + epoch + 1}"
            for step in self._steps(learner, feed, before + epoch):
                task.advance(step.images, self._note(label, step))
                if self.save_every and self.position.steps % self.save_every == 0:
                    self.save(learner)
            stop = self._end_epoch(label, learner, feeds)
            last = stop or epoch + 1 == phase.epochs
            self.position = Position(
                number + last, 0 if last else epoch + 1, 0, self.position.steps
            )
            if self.save_every or self.processes.share(monotonic() >= self._next_save):
                self.save(None if last else learner)
            if stop:
                break

    def _note(self, label: str, step: Step) -> str:
        """What is shown beside the bar."""
        note = f"{label}, loss {step.loss:.3f}, rate {step.lr:.2g}, {self._speed:.0f} images/s"
        if self._latest is None:
            return note
        return f"{note}, {SCORE[self.prepared.task].replace('_', ' ')} {self._latest:.4f}"

    @torch.no_grad()
    def _collect(self, learner: Learner) -> None:
        """Bring the network to what was trained, where that is a sharded copy."""
        if learner.model is not self.prepared.model:
            self.processes.wait()  # what the first did alone may have taken long
            for name, value in (*learner.model.named_parameters(), *learner.model.named_buffers()):
                if name in self.live:
                    self.live[name].copy_(self.processes.whole(value))

    def _steps(self, learner: Learner, feed: Feed, number: int) -> Iterator[Step]:
        batches = feed.epoch(number, skip=self.position.batch)
        began, images = monotonic(), 0
        self._losses = []
        for step in learn(learner, batches, feed.forward):
            self.position.batch += step.batches
            self.position.steps += 1
            images += step.images
            self._losses.append(step.loss)
            self._speed = images / max(monotonic() - began, 1e-9)
            if self.position.steps % NOTED == 1:
                self.journal.note(
                    "step", self.position.steps, epoch=number + 1, loss=step.loss, lr=step.lr,
                    images_per_second=round(self._speed, 1),
                )  # fmt: skip
            yield step

    def _end_epoch(self, label: str, learner: Learner, feeds: Feeds) -> bool:
        """Look at what the epoch brought; whether to stop early."""
        self.processes.align(dict(learner.model.named_buffers()))
        before = self.best.rank[0]
        self._look(label, learner, feeds, **self._course())
        if self.processes.first and self.prepared.recipe.blend == "soup":
            self.kept.keep(label, snapshot(self.live))
        if learner.average:
            with learner.average.in_place():
                self._look(f"average of {label}", learner, feeds)
            self._collect(learner)
        # A plateau ends, too: only a better score counts, not the same with a smaller loss.
        self.best.since = 0 if self.best.rank[0] > before else self.best.since + 1
        patience = self.prepared.recipe.patience
        stop = patience and self.best.score is not None and self.best.since >= patience
        return self.processes.share(bool(stop))

    def _course(self) -> dict[str, float]:
        # None, where a run goes on after the last step of an epoch.
        return {"train_loss": fmean(self._losses)} if self._losses else {}

    def _look(self, name: str, learner: Learner, feeds: Feeds, **figures: float) -> None:
        self._collect(learner)
        if self.processes.first:
            figures |= self.consider(name, feeds)
            self.journal.note("epoch", self.position.steps, name=name, **figures)

    def save(self, learner: Learner | None) -> None:
        """Keep all that is needed to go on from here; all processes come here together."""
        began, random, moving = monotonic(), self.processes.gather(random_state()), None
        if learner:
            self._collect(learner)
            moving = self.processes.gathered(learner_state(learner))
        if not self.processes.first:
            return
        state = State(self.position, self.best, snapshot(self.live), moving, random)
        write_state(state, self.save_to)
        self._next_save = monotonic() + RARELY * (monotonic() - began)


def make_learner(
    prepared: Prepared, phase: Phase, boundary: int, feeds: Feeds
) -> tuple[Learner, Feed]:
    """What trains the network, or a sharded copy of it, through ``phase``; and on what."""
    model, hierarchy, recipe = prepared.model, prepared.hierarchy, prepared.recipe
    feed = feeds.train
    if prepared.processes.sharded:
        from zoo.finetune.ranks.sharded import shard

        prepared.processes.wait()
        model = shard(model, hierarchy, feeds.cut)
        feed = feed.into(model)
    optimizer = make_optimizer(parameter_groups(model, hierarchy, phase, recipe), recipe)
    rates = schedule(optimizer, phase.epochs * -(-len(feed) // recipe.accumulate), recipe)
    moving = live_tensors(model, hierarchy, boundary)
    average = Average(moving, recipe.ema) if recipe.ema else None
    learner = Learner(
        model, optimizer, rates, prepared.loss, recipe, phase, average, prepared.processes
    )
    return learner, feed


def live_tensors(model: nn.Module, hierarchy: Hierarchy, boundary: int) -> dict[str, Tensor]:
    """What training above ``boundary`` moves: parameters and buffers outside the frozen units."""
    still = {n for unit in hierarchy.units[:boundary] for n in (*unit.parameters, *unit.buffers)}
    found: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value for name, value in found.items() if name not in still}


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each in memory of its own: mapped ones share what lies side by side."""
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


@torch.no_grad()
def put(kept: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Copy tensors in place, by name."""
    for name, value in kept.items():
        into[name].copy_(value)
