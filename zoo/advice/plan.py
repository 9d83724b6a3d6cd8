"""The plan: what to do with these images, the numbers that say so, and all that was tried."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from statistics import fmean
from typing import ClassVar

import torch

from zoo.advice.as_is import AS_IT_IS, AsItIs
from zoo.advice.cost import Speed
from zoo.advice.depths import TOGETHER, span, usable
from zoo.advice.layers import Layers
from zoo.advice.race import Entry, Race
from zoo.backbones.taps import HEAD
from zoo.domain.recipe import Recipe, chosen, data_name, in_words
from zoo.domain.result import Result
from zoo.domain.task import Task
from zoo.domain.words import plural
from zoo.finetune.setup.prepare import PreparedRun

__all__ = [
    "NAMESPACE",
    "AdvicePlan",
    "Scenario",
    "TriedRecipe",
    "command_of",
    "mended",
    "plan_of",
    "probe_row",
]

MUCH = 0.01
"""What a hundred more images bring at least where there are few."""
NAMESPACE = "advised"
"""Where the result of an advised command is saved, unless another name is given."""
LONGER = 4
"""How many times as long a training that is proposed takes as one that is tried."""
NAMED = 5
"""Most classes that are named."""
NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Scenario(Result):
    """Which of the four scenarios of transfer learning this is.

    Attributes:
        few: Whether a hundred more images would bring at least a point, or it cannot be seen that
            they would not.
        unlike: Whether an earlier depth knows more of the classes than the end of the network does,
            so that the images are unlike those that it was trained on.
        brings: What a hundred more images would bring; None: it cannot be said, which counts as
            few.
        gain: By how much the best earlier depth is better than the end of the network.
        text: Both in words.
    """

    few: bool
    unlike: bool
    brings: float | None
    gain: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TriedRecipe(Result):
    """A recipe that was tried, and what it came to on images that were held out.

    Attributes:
        name: What it is called.
        kind: ``probe``, ``training``, or ``as it is``: the base without either.
        options: Those of `zoo.Recipe` that make it what it is.
        score: Its score (`Layers.score`); of a training after as many epochs as were best on the
            other folds, or after all that were done, if there is one fold.
        low: Lower end of the 95 % interval.
        high: Upper end.
        images: How many images that rests on.
        epochs: How long it is trained; 0: its own probe was never beaten.
        done: Epochs that were trained of each fold's schedule, at most.
        of: Epochs of the schedule.
        seconds: What the trial took; of a probe, an estimate of one pass over all images.
        megabytes: Size of the checkpoint.
        dropped: Why it is not tried further; empty: it is among the last.
    """

    _COLUMNS: ClassVar = ("name", "score", "low", "high", "epochs", "seconds", "megabytes")

    name: str
    kind: str
    options: Mapping[str, object]
    score: float
    low: float
    high: float
    images: int
    epochs: int
    done: int
    of: int
    seconds: float
    megabytes: float
    dropped: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AdvicePlan(Result):
    """What to do.

    Attributes:
        scenario: Which of the four scenarios this is.
        measure: What scores are.
        tried: All that was tried, the best first.
        advised: The name of the one that is advised.
        why: Why, in words.
        as_it_is: What to know of the base that has these classes already, where it is no worse
            without any training; else empty.
        options: The options of `zoo.Recipe` that are advised.
        recipe: These, and those that say what the data is.
        command: What carries it out; empty where a fine-tune refuses the images.
        refused: Why it does; empty: it does not.
        seconds: Estimated, of that.
        changes: What would change the advice.
        left_out: Recipes that the budget left out, each with the seconds that it needs.
        budget: Seconds that trials were allowed.
        stopped: Why they ended early: ``budget`` or ``interrupted``; empty: they did not.
    """

    scenario: Scenario
    measure: str
    tried: tuple[TriedRecipe, ...]
    advised: str
    why: str
    as_it_is: str
    options: Mapping[str, object]
    recipe: Mapping[str, object]
    command: str
    refused: str
    seconds: float
    changes: tuple[str, ...]
    left_out: Mapping[str, float]
    budget: float
    stopped: str


def plan_of(
    prepared: PreparedRun,
    layers: Layers,
    speed: Speed,
    recipe: Recipe,
    race: Race | None,
    budget: float,
    untrained: AsItIs | None = None,
    *,
    save: str,
) -> AdvicePlan:
    """The plan that the depths, and the ``race`` if there was one, ask for.

    ``recipe`` is what all trials had in common, ``untrained`` the base where it has the classes;
    the command saves as ``save``.
    """
    winner = race.winner() if race else None
    # Of one fold of three a race that ended early says less of probes than the depths do.
    judges = race if race and (winner or race.whole) else None
    tried = _tried(prepared, layers, speed, race, judges)
    probe = (judges.probe() if judges else "") or layers.depths.preferred
    name = winner.candidate.name if winner else f"probe at {probe}"
    one = next(each for each in tried if each.name == name)
    base = _untrained(prepared, speed, untrained, race) if untrained else None
    options = dict(one.options)
    if winner and not prepared.dataset.validation:
        # Nothing would choose an epoch: as many as were best on the folds.
        options["epochs"] = winner.epochs
    asked = {**chosen(recipe.to_json()), **options}
    if not prepared.dataset.skipped:
        asked.pop("skip_bad", None)
    refused, scenario = _refused(prepared.dataset.alone), _scenario(layers)
    return AdvicePlan(
        scenario=scenario,
        measure=layers.score,
        tried=_ordered([*tried, base]) if base else tried,
        advised=name,
        why=_why(one, tried, winner, judges) + _only_zoo(prepared, one, tried),
        as_it_is=_enough(prepared, base, one) if base else "",
        options=options,
        recipe=asked,
        command="" if refused else command_of(prepared.base, asked, save),
        refused=refused,
        seconds=round(_seconds(prepared, speed, winner), 1),
        changes=(
            *_changes(layers, one, race, refused),
            *_longer(one, race),
            *_smaller(layers, one, tried),
            *_series(recipe),
        ),
        left_out={each.name: round(race.needs(each)) for each in race.too_long} if race else {},
        budget=budget,
        stopped=race.stopped if race else "",
    )


def default_name(data: str) -> str:
    """A name for the result: ``advised/flowers``, of a folder or table called so."""
    stem = data_name(data).partition(".")[0]
    return f"{NAMESPACE}/{NO_NAME.sub('-', stem).strip('-')[:64] or 'images'}"


def command_of(base: str, recipe: Mapping[str, object], save: str) -> str:
    """The command for a recipe, as a shell takes it."""
    words = [f"zoo finetune {quote(base)} --data {quote(str(recipe['data']))}"]
    words += in_words({name: value for name, value in recipe.items() if name != "data"})
    return " ".join([*words, f"--save {quote(save)}"])


def mended(plan: AdvicePlan, base: str, table: str, root: str) -> AdvicePlan:
    """The same with a recipe and a command for a ``table`` that keeps together what is the same: of
    splits that leak a figure says nothing.
    """
    if plan.refused:
        return plan
    recipe = {**plan.recipe, "data": table, "root": root, "group_by": "group"}
    save = plan.command.rpartition(" --save ")[2]
    return replace(plan, recipe=recipe, command=command_of(base, recipe, save))


def _refused(alone: Sequence[str]) -> str:
    """Why a fine-tune refuses images with classes that are ``alone``: fewer than two are theirs."""
    if not alone:
        return ""
    names = ", ".join(alone[:NAMED]) + (", …" if len(alone) > NAMED else "")
    return f"zoo finetune asks for two images of each class, and fewer are of {names}"


def _scenario(layers: Layers) -> Scenario:
    growth, gain = layers.growth, layers.depths.gain
    brings = growth.brings if growth else None
    few, unlike = growth is None or growth.high >= MUCH, gain.unlike
    much, count = "", "few" if few else "enough"
    if growth:
        much = f": {growth.more} more would bring {growth.brings:.3f}"
        if few and growth.brings < MUCH:  # it cannot be seen
            count, much = "perhaps few", f"{much}, or as much as {growth.high:.3f}"
    theirs = "those of the pretraining"
    if gain.at == gain.over:
        far = f"no earlier depth says whether they are like {theirs}"
    elif unlike:
        far = f"unlike {theirs}: {gain.at} knows {gain.score:.3f} more than {gain.end}"
    else:
        far = f"like {theirs}: no earlier depth is known to be better than {gain.end}"
    return Scenario(
        few=few,
        unlike=unlike,
        brings=brings,
        gain=gain.score,
        text=f"{count} images{much}; {far}",
    )


def _tried(
    prepared: PreparedRun, layers: Layers, speed: Speed, race: Race | None, judges: Race | None
) -> tuple[TriedRecipe, ...]:
    rows = [
        probe_row(prepared, layers, speed, at, judges) for at in usable(layers.depths.best_single)
    ]
    if race:
        rows += [_training(prepared, entry, race) for entry in race.entries if entry.trials]
    return _ordered(rows)


def _ordered(rows: Sequence[TriedRecipe]) -> tuple[TriedRecipe, ...]:
    return tuple(sorted(rows, key=lambda row: -row.score))


def _untrained(
    prepared: PreparedRun, speed: Speed, known: AsItIs, race: Race | None
) -> TriedRecipe:
    """The base without training, on the images that probes at each depth were judged by."""
    groups = race.groups if race else {}
    values = torch.tensor(list(known.scores.values()))
    score, low, high = span(values, [groups.get(key, "") for key in known.scores], prepared.task)
    return TriedRecipe(
        name=AS_IT_IS,
        kind=AS_IT_IS,
        options={},
        score=score,
        low=low,
        high=high,
        images=len(values),
        epochs=0,
        done=0,
        of=0,
        seconds=round(speed.image * len(values), 1),
        megabytes=known.megabytes,
        dropped="",
    )


def _enough(prepared: PreparedRun, base: TriedRecipe, advised: TriedRecipe) -> str:
    """What to know of a base that does the job without any training."""
    if base.score < advised.score:
        return ""
    return (
        f"{prepared.base} has these classes already, and as it is {base.score:.3f} "
        f"({base.low:.3f} to {base.high:.3f}), no less than what is advised: nothing need be "
        "trained, if it was trained on none of these images"
    )


def probe_row(
    prepared: PreparedRun, layers: Layers, speed: Speed, at: str, race: Race | None
) -> TriedRecipe:
    """A probe at one depth, or on all: on the images of the ``race``, if it was in it."""
    depth, units = layers.depths[at], prepared.hierarchy.units
    score, low, high, images = depth.score, depth.low, depth.high, layers.images
    if race and at in race.probed:
        score, low, high = _span(race.probed[at], race, prepared.task)
        images = len(race.probed[at])
    boundary = next((unit.depth + 1 for unit in units if unit.name == at), len(units))
    kept = sum(unit.params for unit in units[:boundary])
    outputs = len(prepared.dataset.classes)
    whole = sum(map(len, (getattr(prepared.dataset, part) for part in ("train", "validation"))))
    return TriedRecipe(
        name=f"probe at {at}",
        kind="probe",
        options={"strategy": "probe"} | ({} if at == HEAD else {"at": at}),
        score=score,
        low=low,
        high=high,
        images=images,
        epochs=0,
        done=0,
        of=0,
        seconds=round(speed.image * whole * (1 - speed.above(boundary)), 1)
        if boundary < len(units)
        else round(speed.image * whole, 1),
        megabytes=_megabytes(kept + outputs * (depth.features + 1)),
        dropped="",
    )


def _training(prepared: PreparedRun, entry: Entry, race: Race) -> TriedRecipe:
    scores = entry.held_out()
    score, low, high = _span(scores, race, prepared.task)
    return TriedRecipe(
        name=entry.candidate.name,
        kind="training",
        options=entry.candidate.options,
        score=score,
        low=low,
        high=high,
        images=len(scores),
        epochs=entry.epochs,
        done=max(trial.epochs for trial in entry.trials),
        of=race.epochs,
        seconds=round(entry.seconds, 1),
        megabytes=_megabytes(prepared.hierarchy.params),
        dropped=entry.dropped,
    )


def _megabytes(parameters: int) -> float:
    return round(4 * parameters / 1e6, 1)


def _span(scores: Mapping[str, float], race: Race, task: Task) -> tuple[float, float, float]:
    groups = [race.groups.get(key, "") for key in scores]
    return span(torch.tensor(list(scores.values())), groups, task)


def _why(
    one: TriedRecipe, tried: Sequence[TriedRecipe], winner: Entry | None, judges: Race | None
) -> str:
    trained = [each for each in tried if each.kind == "training"]
    if winner and judges:
        scores = winner.held_out()
        at, probe = judges.best_probe(scores)
        images = plural(len(probe), "image")
        if not judges.ahead(scores, probe):
            return (
                f"as far as {images} tell it is as good as the best probe (at {at}), and of so "
                "many images, unlike those of the pretraining, training is the better one then"
            )
        gained = fmean(scores[key] - probe[key] for key in probe)
        return (
            f"it is {gained:.3f} better than the best probe (at {at}) on the same {images}, "
            "which is more than one standard error"
        )
    if trained:
        where = "" if judges else f" out of fold on {plural(one.images, 'image')}"
        return (
            "no training was better than the best probe by more than one standard error; "
            f"{_of_probes(one)} ({one.score:.3f}{where})"
        )
    return f"{_of_probes(one)}; no training was tried"


def _of_probes(one: TriedRecipe) -> str:
    if one.options.get("at") == TOGETHER:
        return "no single depth is better than all together by more than two standard errors"
    return "it is better than all depths together by more than two standard errors"


def _only_zoo(prepared: PreparedRun, one: TriedRecipe, tried: Sequence[TriedRecipe]) -> str:
    at = one.options.get("at")
    if at is None:
        return ""
    what = "puts the head on several depths" if at == TOGETHER else "ends the network there"
    score = next((f" ({each.score:.3f})" for each in tried if each.name == f"probe at {HEAD}"), "")
    library = prepared.known.backbone.plugin
    return (
        f". It {what}: zoo loads that, {library} does not; --at head{score} keeps the whole network"
    )


def _seconds(prepared: PreparedRun, speed: Speed, winner: Entry | None) -> float:
    """Of the advised command: what is measured of trials, on all of its images."""
    data = prepared.dataset
    images = len(data.train) + len(data.validation) + len(data.test)
    if not winner:
        return 1.0 + speed.image * images
    trial = winner.trials[-1]
    each = (trial.seconds[trial.epochs] - trial.seconds.get(0, 0.0)) / max(trial.epochs, 1)
    epochs = winner.epochs if not data.validation else trial.of
    return winner.candidate.begin + epochs * each * len(data.train) / trial.trained


def _changes(layers: Layers, one: TriedRecipe, race: Race | None, refused: str) -> Iterator[str]:
    growth = layers.growth
    if growth and growth.high >= MUCH:
        yield (
            f"more images: {growth.more} more would bring about {growth.brings:.3f} "
            f"({growth.low:.3f} to {growth.high:.3f}) to a probe, and training gains more from "
            "them than a probe does; ask again then"
        )
    if race is None:
        why = "as a fine-tune refuses these images" if refused else "--budget 10m allows them"
        yield f"trials: none was made ({why})"
        return
    if race.stopped == "budget" or race.too_long:
        names = [each.name for each in race.too_long] or [
            entry.candidate.name for entry in race.racing
        ]
        if names:
            further = f"{', '.join(names)} would be tried further"
            yield f"a larger --budget, or a smaller --image-size: {further}"
    if race.stopped == "interrupted":
        yield "the trials that were interrupted: asked again, they resume where they stopped"
    close = next(
        (
            entry
            for entry in race.racing
            if entry.trials and entry.candidate.name != one.name and not _worse(race, entry)
        ),
        None,
    )
    if one.kind == "probe" and close:
        images = len(close.held_out())
        yield (
            f"more images to judge by: between {one.name} and {close.candidate.name} no difference "
            f"can be seen on {images}"
        )


def _longer(one: TriedRecipe, race: Race | None) -> Iterator[str]:
    """More epochs of the advised training, which are too many to be tried: where images are many
    they may bring points (``docs/benchmarks.md``, "On more images").
    """
    if race and race.ties and one.kind == "training":
        options = {**one.options, "epochs": LONGER * race.epochs}
        yield (
            f"a longer training: {LONGER * race.epochs} epochs take {LONGER} times as long as the "
            f"{race.epochs} that were tried, and may be better: {' '.join(in_words(options))}"
        )


def _smaller(layers: Layers, one: TriedRecipe, tried: Sequence[TriedRecipe]) -> Iterator[str]:
    """The cheapest probe that is as good as the advised one, as far as can be seen."""
    cheap = next(each for each in tried if each.name == f"probe at {layers.depths.cheapest}")
    if one.options.get("at") == TOGETHER and cheap is not one:
        yield (
            f"a need for a smaller network: {cheap.name} ({cheap.score:.3f}, "
            f"{cheap.megabytes} MB in place of {one.megabytes}) is as good, as far as "
            f"{plural(layers.images, 'image')} tell"
        )


def _series(recipe: Recipe) -> Iterator[str]:
    """What nobody but the user knows of the images."""
    if not recipe.group_by:
        yield (
            "images in series: where several show one thing, person or place, and some are trained "
            "on and others held out, all figures are too good; --group-by says what belongs "
            "together"
        )


def _worse(race: Race, entry: Entry) -> bool:
    """Whether a training is behind the best probe."""
    scores = entry.held_out()
    return race.ahead(race.best_probe(scores)[1], scores)
