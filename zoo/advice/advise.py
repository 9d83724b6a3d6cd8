"""Advise: what `zoo.Zoo.advise` answers, and the folder that it writes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from zoo.advice.as_is import AS_IT_IS, AsItIs, as_it_is
from zoo.advice.candidates import Contest, clear_weights, race_of
from zoo.advice.cost import Speed, speed_of
from zoo.advice.facts import Duplicate, Facts, compare, facts_of, groups_of
from zoo.advice.layers import Layers, layers_of
from zoo.advice.plan import AdvicePlan, command_of, default_name, mended, plan_of, probe_row
from zoo.advice.reading import Reading, read
from zoo.advice.writing import clear, save_answer, save_text
from zoo.domain.csv_text import as_csv, write_rows
from zoo.domain.digest import Digest
from zoo.domain.plain import Json
from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe, chosen, data_name
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.task import Task
from zoo.domain.words import plural
from zoo.executors.executor import Executor, open_executor
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.images import FileImages
from zoo.finetune.preflight import ADVICE
from zoo.finetune.setup.prepare import (
    PreparedRun,
    paths_of,
    prepare,
    warn_of_guess,
    with_absolute_paths,
)
from zoo.finetune.setup.seen import runs_by_result, seen
from zoo.finetune.strategies.advised import groups_digest, test_digest
from zoo.lookup.history import Row, StoredAdvice, remember
from zoo.lookup.runs import ACTIVATIONS, CACHE, TRIALS, writable
from zoo.reflog import now
from zoo.workspace import Workspace

__all__ = ["Advice", "advise"]

SUSPECTS, SHEET, GROUPS, LABELS = "suspects.csv", "suspects.png", "groups.csv", "labels.csv"
PICTURE, PAGE = "advice.png", "advice.html"
COLUMNS = frozenset({"path_column", "label_column", "group_by"})
"""Options that name columns of a table."""
NAMES = 100
"""Results of advice for one data set that have names of their own."""
SHOWN = 24
"""Most images of each kind on the contact sheet."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Advice(Result):
    """What the images say, what the network knows of them, and what to do.

    Attributes:
        base: What the network was called.
        manifest: Which it is.
        data: The images.
        data_digest: The same for the same images with the same labels.
        split_digest: The same for the same images in the same splits.
        task: What their targets are.
        image_size: Height and width that the network gets.
        facts: What the images are, and which are suspect.
        layers: What the network's layers know of them; None where too few images, or labels that
            mean nothing, leave nothing to say.
        plan: What to do; None where nothing can be said of layers.
        remarks: What to know about the data.
        groups: A table of all images for `finetune`, where what shows the same is in one group;
            None where none was written.
        labels: A table of all images for `finetune`, to correct labels in, or to delete rows: those
            that are doubted come first, each with what it looks like. None where none was written.
        labels_command: What fine-tunes on that table as advised, once it is corrected, and saves
            as ``NAME``. Empty where there is none.
        root: The folder that the paths in that table begin at, the ``root`` of `finetune`.
    """

    base: str
    manifest: Digest
    data: str
    data_digest: str
    split_digest: str
    task: Task
    image_size: tuple[int, int]
    facts: Facts
    layers: Layers | None
    plan: AdvicePlan | None
    remarks: tuple[str, ...]
    groups: Path | None
    labels: Path | None
    labels_command: str
    root: Path | None


def advise(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    *,
    out: Path | None,
    budget: float,
    skip_alone: bool,
    batch_size: int,
    device: str,
    on: str,
    progress: Progress,
) -> Advice:
    """See what the data of ``recipe`` is; for the options see `Zoo.advise`."""
    if on:
        recipe = with_absolute_paths(recipe)
    with (
        writable(workspace, CACHE, TRIALS) as root,
        open_executor(device, on, paths_of(root, recipe), progress) as executor,
    ):
        own, cache = executor.own, root / CACHE
        prepared = prepare(
            workspace, base, recipe, own, progress, folder=cache, skip_alone=skip_alone
        )
        _announce(prepared)
        if root != workspace.root:
            progress.say("this zoo may only be read: what is tried is not kept in it")
        reading = read(prepared, batch_size, cache / ACTIVATIONS)
        facts, together = _facts(prepared, reading)
        layers, plan = _layers(prepared, reading, facts, together), None
        known = seen(workspace, prepared.parent, prepared.dataset, runs_by_result(workspace))
        if layers:
            best_single = layers.depths.best_single
            contest = Contest(workspace, prepared, reading, best_single, together, recipe, root)
            # A fine-tune refuses classes of one image, and so does each trial.
            allowed = 0 if prepared.dataset.alone else budget
            # Of images that it was trained on a network says too much.
            untrained = None if known else as_it_is(workspace, prepared, batch_size)
            plan = _plan(contest, layers, allowed, untrained, executor)
    tables: dict[str, Sequence[Sequence[str]]] = {
        GROUPS: _groups(prepared.dataset, reading, together),
        LABELS: _labels(prepared.dataset, reading, facts, together),
    }
    written = {name: out / name for name, rows in tables.items() if out and rows}
    remarks = (*prepared.dataset.remarks, *_of_base(prepared, known))
    grouped = "group" in next(iter(tables[LABELS]), ())
    advice = _advice(prepared, recipe, facts, layers, plan, written, remarks, grouped=grouped)
    if out:
        _write(out, advice, tables, prepared.dataset)
    return advice


def _announce(prepared: PreparedRun) -> None:
    warn_of_guess(prepared)
    dataset = prepared.dataset
    number = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    prepared.progress.say(
        f"{prepared.base} on {number:,} images of {dataset.spec}, on {prepared.device}"
    )


def _size(prepared: PreparedRun) -> tuple[int, int]:
    """Height and width that the network gets."""
    _, height, width = prepared.network.planned.preprocessing.input_size
    return height, width


def _facts(prepared: PreparedRun, reading: Reading) -> tuple[Facts, tuple[str, ...]]:
    """What the images are, and which of them stay together; a leak is said before any figure."""
    dataset, seed, progress = prepared.dataset, prepared.recipe.seed, prepared.progress
    compared = compare(dataset, reading, seed, progress)
    for leak in compared.leaks:
        progress.say(leak.text)
    together = groups_of(reading, compared.duplicates)
    return facts_of(dataset, reading, compared, together, _size(prepared), seed), together


def _layers(
    prepared: PreparedRun, reading: Reading, facts: Facts, groups: Sequence[str]
) -> Layers | None:
    """What the layers know; None where nothing can be learned, or there are too few images."""
    if facts.learnable and not facts.learnable.learnable:
        return None
    dataset, seed = prepared.dataset, prepared.recipe.seed
    return layers_of(reading, dataset.task, dataset.classes, groups, seed, prepared.progress)


def _advice(
    prepared: PreparedRun,
    recipe: Recipe,
    facts: Facts,
    layers: Layers | None,
    plan: AdvicePlan | None,
    written: Mapping[str, Path],
    remarks: tuple[str, ...],
    *,
    grouped: bool,
) -> Advice:
    """The answer; ``grouped``: the table of labels says what belongs together."""
    dataset, groups = prepared.dataset, written.get(GROUPS)
    root = dataset.images.root if written and isinstance(dataset.images, FileImages) else None
    if plan and groups and any(leak.copies for leak in facts.leaks):
        own = replace(plan, recipe=_without_columns(plan.recipe))
        plan = mended(own, prepared.base, str(groups), str(root))
    labels, command = written.get(LABELS), ""
    if labels:
        asked = _asked(prepared, recipe, plan) | {"data": str(labels), "root": str(root)}
        asked |= {"group_by": "group"} if grouped else {}
        command = command_of(prepared.base, asked, "NAME")
    return Advice(
        base=prepared.base,
        manifest=prepared.parent,
        data=recipe.data,
        data_digest=dataset.digest,
        split_digest=dataset.split_digest,
        task=dataset.task,
        image_size=_size(prepared),
        facts=facts,
        layers=layers,
        plan=plan,
        remarks=remarks,
        groups=groups,
        labels=labels,
        labels_command=command,
        root=root,
    )


def _asked(prepared: PreparedRun, recipe: Recipe, plan: AdvicePlan | None) -> Json:
    """The options that are advised, else those that were given, for a table that is written."""
    asked = dict(plan.recipe if plan else chosen(recipe.to_json()))
    if not prepared.dataset.skipped:
        asked.pop("skip_bad", None)
    return _without_columns(asked)


def _without_columns(recipe: Mapping[str, object]) -> Json:
    """A recipe without what says which columns its data has: for a table that has others."""
    return {name: value for name, value in recipe.items() if name not in COLUMNS}


def _plan(
    contest: Contest,
    layers: Layers,
    budget: float,
    untrained: AsItIs | None,
    executor: Executor,
) -> AdvicePlan:
    """Try recipes, if there is a budget, and plan; what was tried is kept."""
    prepared, race = contest.prepared, None
    speed = speed_of(prepared)
    if budget:
        unlike = layers.depths.gain.unlike
        race = race_of(contest, speed, budget, executor, unlike=unlike)
        race.run()
    save = _free_name(contest.workspace, default_name(contest.recipe.data))
    plan = plan_of(prepared, layers, speed, contest.recipe, race, budget, untrained, save=save)
    clear_weights(race, plan.advised)
    if not remember(contest.root, _advised(prepared, layers, speed, plan)):
        prepared.progress.say(
            "what was advised before is kept, as it rests on more trials than this; --strategy "
            "auto follows that where the images to test on are the same"
        )
    return plan


def _free_name(workspace: Workspace, name: str) -> str:
    """``name``, or ``name-2``: what was made after an earlier advice stays, and may be the base."""
    names = (name, *(f"{name}-{number}" for number in range(2, NAMES)))
    return next((x for x in names if workspace.store.read_ref(Reference.parse(x)) is None), name)


def _advised(prepared: PreparedRun, layers: Layers, speed: Speed, plan: AdvicePlan) -> StoredAdvice:
    """What is kept of a plan: the probes at all depths are among what was tried."""
    names = {each.name for each in plan.tried}
    probes = [probe_row(prepared, layers, speed, each.at, None) for each in layers.depths.depths]
    tried = [*plan.tried, *(each for each in probes if each.name not in names)]
    rows = [
        Row(**{each.name: getattr(row, each.name) for each in fields(Row)})
        for row in tried
        if row.kind != AS_IT_IS
    ]
    return StoredAdvice(
        base=prepared.base,
        manifest=str(prepared.parent),
        data=data_name(prepared.recipe.data),
        data_digest=prepared.dataset.digest,
        image_size=_size(prepared),
        measure=plan.measure,
        at=now(),
        name=plan.advised,
        options=plan.options,
        trained=any(each.kind == "training" for each in plan.tried),
        stopped=plan.stopped,
        test_digest=test_digest(prepared.dataset),
        groups_digest=groups_digest(prepared.dataset),
        tried=tuple(rows),
    )


def _of_base(prepared: PreparedRun, known: int) -> Iterator[str]:
    if known:
        images = len(prepared.dataset.train) + len(prepared.dataset.validation)
        yield (
            f"{prepared.base} was trained on {known:,} of these {plural(images, 'image')}, or "
            "chosen by them: what is said of its features, and of recipes that begin with them, "
            "may be better than it would be on new images"
        )


def _groups(
    dataset: Dataset, reading: Reading, groups: Sequence[str]
) -> list[tuple[str, str, str]]:
    """The table that keeps together what shows the same: path, label, group; no row where nothing
    does, or where images are no files with a class. Paths are those of the data.
    """
    is_files = isinstance(dataset.images, FileImages)
    if dataset.task != "classification" or not is_files or not any(groups):
        return []
    labels = [dataset.classes[target] for target in reading.targets.tolist()]
    return [
        ("path", "label", "group"),
        *(
            (sample.key, label, group)
            for sample, label, group in zip(reading.samples, labels, _filled(groups), strict=True)
        ),
    ]


def _labels(
    dataset: Dataset, reading: Reading, facts: Facts, groups: Sequence[str]
) -> list[tuple[str, ...]]:
    """The table to correct labels in, those that are doubted first; no row where none is. It has
    the splits, unless these leak, and where anything belongs together the groups.

    People open it in spreadsheets: none is written where one would take a name for a formula.
    """
    if not facts.doubted or not isinstance(dataset.images, FileImages):
        return []
    labels = [dataset.classes[target] for target in reading.targets.tolist()]
    columns = {"path": [sample.key for sample in reading.samples], "label": labels}
    if not any(each.copies for each in facts.leaks):
        columns["split"] = [*reading.part]
    if any(groups):
        columns["group"] = _filled(groups)
    known = {row[0]: row for row in zip(*columns.values(), strict=True)}
    doubted = [(*known.pop(one.image), one.predicted) for one in facts.doubted]
    rows = [(*columns, "looks_like"), *doubted, *((*row, "") for row in known.values())]
    return rows if as_csv(rows) == _exactly(rows) else []


def _filled(groups: Sequence[str]) -> list[str]:
    """The groups with one for each image that is alone: a table must say one of each."""
    return [group or f"alone {at}" for at, group in enumerate(groups)]


def _write(
    out: Path,
    advice: Advice,
    tables: Mapping[str, Sequence[Sequence[str]]],
    dataset: Dataset,
) -> None:
    """Write the advice, all suspects, their contact sheet, and a page with all of it."""
    from zoo.advice.page import page_of
    from zoo.advice.pictures import draw_advice
    from zoo.advice.sheet import sheet_of  # loads matplotlib
    from zoo.finetune.results.pictures import draw_sheet, save

    clear(out, ADVICE, GROUPS, LABELS, PICTURE, PAGE)
    save_text(out / SUSPECTS, as_csv(_suspects(advice.facts)))
    for name, rows in tables.items():
        if rows:
            save_text(out / name, _exactly(rows))
    save(draw_sheet(sheet_of(advice.facts, SHOWN), dataset.images.read), out / SHEET)
    picture = None
    if advice.layers and advice.plan:
        picture = out / PICTURE
        save(draw_advice(advice.layers, advice.plan), picture)
    save_text(out / PAGE, page_of(advice, picture, out / SHEET))
    save_answer(out / ADVICE, advice)


def _suspects(facts: Facts) -> Iterator[Sequence[object]]:
    yield "kind", "image", "part", "label", "other", "other_part", "other_label", "value"
    for pair in facts.duplicates:
        about = (pair.image, pair.part, pair.label, pair.other, pair.other_part, pair.other_label)
        yield kind_of(pair), *about, f"{pair.difference:.6f}"
    for one in facts.doubted:
        about = (one.image, one.part, one.label, "", "", one.predicted)
        yield "doubted", *about, f"{one.of_label:.6f}"
    for odd in facts.odd:
        yield "odd", odd.image, odd.part, odd.label, "", "", "", f"{odd.far:.3f}"
    for key, reason in facts.skipped:
        yield "unusable", key, "", "", "", "", "", reason


def _exactly(rows: Sequence[Sequence[str]]) -> str:
    """CSV for `finetune`, which takes names as they are; no spreadsheet need open it."""
    text = io.StringIO(newline="")
    write_rows(text, rows)
    return text.getvalue()


def kind_of(pair: Duplicate) -> str:
    """What two images that show the same are called."""
    return "copy" if pair.copy else "near-duplicate"
