"""Evaluation: measure a checkpoint, or two against each other, on labeled images.

Which of the images: those that the data calls its test split, else its validation split. Of the
very images that the checkpoint was trained on, those that were its test images then; else all.
Classes are matched by name. The report is that of a fine-tune (`zoo.finetune.results.report`). What
it finds is kept in the zoo (`zoo.store.side_files`), unless it is of images that the checkpoint
was trained on.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, cast

import torch

from zoo import plugins
from zoo.backbones.devices import pick_device
from zoo.backbones.heads.tasks import TaskHead
from zoo.backbones.load import load
from zoo.backbones.predict import guesses, refused
from zoo.backbones.taps import REFUSALS
from zoo.backbones.views import averaged
from zoo.contracts import Head
from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.manifest import Manifest
from zoo.domain.matrix import Matrix
from zoo.domain.paired import Paired
from zoo.domain.plain import Json
from zoo.domain.progress import Progress
from zoo.domain.recipe import data_name
from zoo.domain.result import Result
from zoo.domain.task import TASKS, Task
from zoo.domain.words import plural
from zoo.errors import InvalidData, Unsupported
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches, targets_of
from zoo.finetune.dataset.dataset import (
    PART_NAMES,
    PARTS,
    Dataset,
    Sample,
    content_digest,
    parts_digest,
)
from zoo.finetune.dataset.match import match
from zoo.finetune.dataset.open import absolute
from zoo.finetune.dataset.spec import DatasetOptions, is_named
from zoo.finetune.features.loaders import ImageLoader
from zoo.finetune.features.write import labeled_images
from zoo.finetune.loop.evaluate import predict
from zoo.finetune.results.paired import paired
from zoo.finetune.results.report import LabeledOutputs, Report, write_report
from zoo.finetune.setup.seen import SeenBy, among
from zoo.lookup.calibrated import calibration_of
from zoo.lookup.runs import DIGITS, caches
from zoo.store.side_files import EVALUATIONS
from zoo.workspace import Workspace

__all__ = [
    "Comparison",
    "Evaluation",
    "Model",
    "EvaluationSetting",
    "choose",
    "evaluate",
    "known_of",
    "matched_of",
    "model_of",
    "report_of",
    "without_seen",
]

ALL = "all"
MANY = 0.1
"""The share of images above which it is a warning that they are left out."""
MATRIX = 40
"""So many classes at most has a matrix that is kept with the figures."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison(Result):
    """How another checkpoint does on the same images.

    Attributes:
        name: What the other one was called.
        manifest: Which it is.
        metrics: Its figures, as those of a `Report`.
        seen: On how many of the images it was trained, or by how many chosen.
        paired: The paired test; in JSON its fields are beside the rest.
        verdict: That in words.
    """

    name: str
    manifest: Digest
    metrics: Mapping[str, float]
    seen: int
    paired: Paired
    verdict: str

    def to_json(self) -> Json:
        """Plain data for JSON."""
        data = Result.to_json(self)
        apart: Json = data.pop("paired")
        return {**data, **apart}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluation(Result):
    """What a checkpoint shows on labeled images.

    Attributes:
        name: What the checkpoint was called.
        manifest: Which it is.
        data: The images.
        data_digest: The same for the same images with the same labels.
        split: Which of them: ``all``, ``train``, ``validation`` or ``test``.
        report: The figures; in JSON they are beside the rest.
        skipped: How many images were left out, because they cannot be used.
        unknown: Classes, labels or columns of the data that the checkpoint has not, and how many
            images have them; of classes, these images are left out.
        absent: Classes or labels of the checkpoint that no image here has.
        remarks: What to know about the figures.
        against: How another checkpoint does, if one was given.
        kept: Whether the zoo keeps the figures, so that searches find them.
        seen: On how many of the images the checkpoint, or one that it derives from, was trained, or
            by how many it was chosen.
        left_out: How many images were left out, as one of the checkpoints has seen them, or one of
            their group.
    """

    name: str
    manifest: Digest
    data: str
    data_digest: str
    split: str
    report: Report
    skipped: int = field(metadata={"json": "skipped_images"})
    unknown: Mapping[str, int]
    absent: tuple[str, ...]
    remarks: tuple[str, ...]
    against: Comparison | None
    kept: bool
    seen: int
    left_out: int = 0

    def to_json(self) -> Json:
        """Plain data for JSON: the report, and the rest beside it."""
        data = Result.to_json(self)
        report = data.pop("report")
        return {"name": data.pop("name"), "manifest": data.pop("manifest"), **report, **data}

    def _repr_html_(self) -> str:
        return Result._repr_html_(self) + self.report._repr_html_()


class Model(NamedTuple):
    """A checkpoint that is measured."""

    name: str
    digest: Digest
    manifest: Manifest
    temperature: float  # 1 where it keeps none

    @property
    def task(self) -> Task:
        """What its outputs mean."""
        learned = (self.manifest.recipe or {}).get("task")
        return next((task for task in TASKS if task == learned), "classification")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its outputs, an index where they are unknown."""
        return self.manifest.classes or tuple(map(str, range(self.manifest.head.num_classes)))

    @property
    def head(self) -> Head | TaskHead:
        """What measures its outputs."""
        kind = self.manifest.head.kind
        return TaskHead() if kind == "native" else plugins.head(kind)


class CheckpointClasses(NamedTuple):
    """What a checkpoint knows of the images."""

    split: Dataset | None  # its own parts of them, if it was trained on these very images
    images: frozenset[str]  # those that it has seen (`SeenBy.images`)


class MatchedImages(NamedTuple):
    """Labeled images of which a checkpoint knows the classes."""

    samples: tuple[Sample, ...]  # with targets that are its own
    outputs: dict[int, str]  # which of its outputs count, and what each is called
    unknown: dict[str, int]
    absent: tuple[str, ...]
    left_out: int = 0  # images of classes that are unknown

    @property
    def warning(self) -> str:
        """What to say where many images are left out; empty where few are."""
        total = len(self.samples) + self.left_out
        if self.left_out <= MANY * total:
            return ""
        return (
            f"{self.left_out:,} of {total:,} images are left out, as it does not know their "
            "classes: figures say nothing of these"
        )


class Answers(NamedTuple):
    """What a checkpoint says of the images."""

    matched: MatchedImages
    measured: LabeledOutputs
    report: Report
    seen: int  # on how many of them it was trained, or by how many chosen
    kept: bool

    @property
    def way_out(self) -> str:
        """What to do where it has seen some of them, but not all."""
        some = 0 < self.seen < len(self.matched.samples)
        return "; --unseen measures on the others alone" if some else ""

    def remarks(self, model: Model) -> list[str]:
        """What to say where it has seen some."""
        if not self.seen:
            return []
        images = plural(len(self.matched.samples), "image")
        return [
            f"{model.name} was trained on {self.seen} of the {images}, or chosen by them: figures "
            f"on these say nothing about new images, and are not kept{self.way_out}"
        ]


def evaluate(
    workspace: Workspace,
    name: str,
    data: str,
    *,
    against: str | None,
    split: str | None,
    unseen: bool,
    group_by: str,
    skip_bad: bool,
    opening: DatasetOptions,
    out: Path | None,
    batch_size: int,
    device: str,
    save: bool,
    views: int,
    progress: Progress,
) -> Evaluation:
    """Measure ``name`` on ``data``; for the options see `Zoo.evaluate`."""
    device = pick_device(device)
    model, other = _models(workspace, name, against)
    dataset = labeled_images(workspace, data, model.task, skip_bad, opening, progress, group_by)
    known = known_of(workspace, dataset, opening, filter(None, (model, other)))
    own = known[model.digest].split
    asked_for, (split, samples) = split, choose(dataset, own, split)
    if split not in (ALL, asked_for):
        progress.say(_which(model, dataset, own, split, samples))
    asked, left_out = replace(dataset, test=samples), 0
    if own and not group_by:
        asked = replace(asked, groups=own.groups)
    if unseen:
        asked, left_out = without_seen(asked, known.values())
    # The figures of several views are none of what `load` gives.
    save = save and views == 1
    save = save and os.access(workspace.root, os.W_OK) and not workspace.registry.obstacle
    setting = EvaluationSetting(
        workspace, asked, split, left_out, batch_size, device, save, views, progress
    )
    for each in filter(None, (model, other)):
        matched_of(each, setting.dataset)  # before any of them runs
    mine = setting.answers(model, known[model.digest])
    remarks, comparison = setting.remarks(model, mine), None
    if other:
        theirs = setting.answers(other, known[other.digest])
        remarks += [*_guessed(other), *theirs.remarks(other)]
        comparison = _compare(model, mine, other, theirs)
    done = setting.evaluation(model, mine, remarks, comparison)
    if out:
        write_report(out, done.to_json(), mine.measured, dataset.images.read)
    return done


class EvaluationSetting(NamedTuple):
    """The images, and how they are measured on."""

    workspace: Workspace
    dataset: Dataset
    split: str
    left_out: int  # how many images of that split are not among those of the dataset
    batch_size: int
    device: str
    save: bool
    views: int
    progress: Progress

    def remarks(self, model: Model, answers: Answers) -> list[str]:
        """What limits the figures of the checkpoint."""
        several = f"figures are of {self.views} views of each image, and not kept"
        return [
            *answers.remarks(model),
            *([several] if self.views > 1 else []),
            *self.dataset.remarks,
            *_guessed(model),
            *_ungrouped(model, self.dataset),
        ]

    def answers(self, model: Model, known: CheckpointClasses) -> Answers:
        """Measure a checkpoint, and keep its figures if they are to be."""
        matched = matched_of(model, self.dataset)
        part = "" if self.split == ALL else f", {self.split} split"
        self.progress.say(
            f"{model.name} on {len(matched.samples):,} images of {self.dataset.spec}{part}, on "
            f"{self.device}"
        )
        if matched.warning:
            self.progress.say(f"WARNING: {model.name}: {matched.warning}")
        module = load(self.workspace.store, model.digest, device=self.device)
        measured = self.outputs(model, matched, module)
        report = report_of(model, measured)
        seen = among(known.images, self.dataset, matched.samples)
        # Not of images that it has seen: the best would be what has learned them by heart.
        kept = self.save and not seen
        kept = kept and self.workspace.keep_figures(
            EVALUATIONS,
            self.evaluated(model, known.split, matched, measured, report),
        )
        return Answers(matched, measured, report, seen, kept)

    def outputs(
        self, model: Model, matched: MatchedImages, module: torch.nn.Module
    ) -> LabeledOutputs:
        """What the checkpoint says of the images.

        Raises:
            Unsupported: It gives no number for each class, or does not take such images.
        """
        dataset, manifest = self.dataset, model.manifest
        transform = training_transform(manifest.preprocessing, manifest.backbone.plugin)
        device = next(module.parameters()).device
        batches = Batches(
            replace(dataset, task=model.task),
            matched.samples,
            transform,
            self.batch_size,
            device=device,
        )
        loader = ImageLoader(batches, device, model=module)

        def forward(images: torch.Tensor) -> torch.Tensor:
            if self.views == 1:
                return loader.forward(images)
            return averaged(loader.forward, images, self.views, model.task, model.temperature)

        with self.progress(f"testing {model.name}", len(matched.samples)) as task:
            try:
                outputs, _ = predict(module, loader.whole(), forward, advance=task.advance)
            except (MemoryError, torch.OutOfMemoryError):
                raise
            except REFUSALS as error:
                raise refused(transform.size, error) from error
        if outputs.dim() != 2 or outputs.shape[1] != len(model.classes):
            what = f"outputs {tuple(outputs.shape[1:])} for an image"
            raise Unsupported(f"{model.name} gives {what}, and has {len(model.classes)} classes")
        if odd := int((~outputs.isfinite()).any(dim=1).sum()):
            raise Unsupported(f"{model.name} gives NaN or infinite outputs for {odd} images")
        images = [sample.key for sample in matched.samples]
        targets = targets_of(matched.samples, model.task)
        names = [*matched.outputs.values()]
        groups = [dataset.groups.get(image, "") for image in images]
        answers = outputs[:, [*matched.outputs]]
        return LabeledOutputs(
            model.task, answers, targets, names, images, groups, model.temperature
        )

    def evaluation(
        self, model: Model, mine: Answers, remarks: list[str], against: Comparison | None
    ) -> Evaluation:
        """All that was found."""
        return Evaluation(
            name=model.name,
            manifest=model.digest,
            data=self.dataset.spec,
            data_digest=self.dataset.digest,
            split=self.split,
            report=mine.report,
            skipped=len(self.dataset.skipped),
            unknown=mine.matched.unknown,
            absent=mine.matched.absent,
            remarks=tuple(remarks),
            against=against,
            kept=mine.kept,
            seen=mine.seen,
            left_out=self.left_out,
        )

    def evaluated(
        self,
        model: Model,
        own: Dataset | None,
        matched: MatchedImages,
        measured: LabeledOutputs,
        report: Report,
    ) -> Evaluated:
        """The figures as they are kept; ``own`` are the checkpoint's parts of these images."""
        whole = own and self.split == "test" and not self.left_out
        return Evaluated(
            manifest=model.digest,
            data=_data_called(self.dataset.spec),
            data_digest=self.dataset.digest,
            split=self.split,
            split_digest=own.split_digest if own and whole else "",
            images_digest=parts_digest(((), (), matched.samples)),
            images=report.images,
            task=report.task,
            metrics=report.metrics,
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",  # several may be made within a second
            matrix=_matrix(measured),
        )


def _models(workspace: Workspace, name: str, against: str | None) -> tuple[Model, Model | None]:
    model, other = model_of(workspace, name), model_of(workspace, against) if against else None
    if other and other.task != model.task:
        raise Unsupported(f"{name} is for {model.task}, {against} for {other.task}")
    return model, other


def model_of(workspace: Workspace, name: str) -> Model:
    """A checkpoint that is to be measured.

    Raises:
        Unsupported: It has no head.
    """
    _, digest = workspace.names.resolve(name)
    manifest = workspace.store.manifest(digest)
    if not manifest.head.num_classes:
        says = f"{name} has no head: it names no classes, and cannot be measured"
        raise Unsupported(says, hint=_probe(name))
    kept = calibration_of(workspace.store, manifest)
    return Model(name, digest, manifest, (kept and kept.temperature) or 1.0)


def _probe(name: str) -> str:
    """What helps where a checkpoint is not for the classes at hand."""
    fit = f"zoo finetune {name} --strategy probe --data FOLDER --save NEW"
    return f"fit it a head for your classes: {fit}"


def _guessed(model: Model) -> list[str]:
    return [f"{model.name}: {guess}" for guess in guesses(model.manifest)]


def _ungrouped(model: Model, dataset: Dataset) -> list[str]:
    """A remark where images were grouped for its training, and these are not."""
    rule = (model.manifest.recipe or {}).get("group_by")
    if not rule or dataset.groups:
        return []
    return [
        f"{model.name} was trained with --group-by {rule}; here each image counts as independent "
        "of the others: if they are not, --group-by says which belong together"
    ]


def known_of(
    workspace: Workspace, dataset: Dataset, opening: DatasetOptions, models: Iterable[Model]
) -> dict[Digest, CheckpointClasses]:
    """What each checkpoint knows of the images."""
    with caches(workspace) as folder:
        seen = SeenBy(workspace, dataset, opening, folder)
        digests = [model.digest for model in models]
        return {each: CheckpointClasses(seen.split(each), seen.images(each)) for each in digests}


def choose(
    dataset: Dataset, own: Dataset | None, split: str | None
) -> tuple[str, tuple[Sample, ...]]:
    """Which part is measured on, and its images."""
    parts = own or dataset
    given = own is not None or bool(dataset.train or dataset.validation)
    if split is None:
        split = next((name for name in ("test", "validation") if getattr(parts, name)), ALL)
        split = split if given else ALL
    if split == ALL:
        return ALL, tuple(sorted((*dataset.train, *dataset.validation, *dataset.test)))
    samples: tuple[Sample, ...] = getattr(parts, split) if given else ()
    if not samples:
        there = ", ".join(name for name in PARTS if given and getattr(parts, name)) or "none"
        raise InvalidData(dataset.spec, [f"it has no {split} split; splits that it has: {there}"])
    return split, samples


def without_seen(dataset: Dataset, known: Iterable[CheckpointClasses]) -> tuple[Dataset, int]:
    """The dataset with those of its test images alone that no checkpoint has seen, nor another one
    of their group, and the digest of these; and how many are left out.

    Raises:
        InvalidData: None is left.
    """
    images = frozenset[str]().union(*(each.images for each in known))
    seen = {key for key, digest in dataset.digests.items() if digest[:DIGITS] in images}
    groups = {dataset.groups.get(key, "") for key in seen} - {""}
    new = tuple(
        sample
        for sample in dataset.test
        if sample.key not in seen and dataset.groups.get(sample.key, "") not in groups
    )
    if not new:
        reason = (
            "none of these images is new: each, or one of its group, was trained on or chosen by"
        )
        raise InvalidData(dataset.spec, [reason])
    left_out = len(dataset.test) - len(new)
    if left_out:  # these are other data, whose figures do not take the place of those of the whole
        digest = content_digest(dataset.classes, new, dataset.digests)
        dataset = replace(dataset, test=new, digest=digest)
    return dataset, left_out


def _which(
    model: Model, dataset: Dataset, own: Dataset | None, split: str, samples: Sequence[Sample]
) -> str:
    """Which images are measured on where nobody said so, and what takes the others, too."""
    whole = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    which = f"its {split} split"
    if own:
        tested = "tested on" if split == "test" else "chosen by"
        which = f"those that {model.name} was {tested}"
    some = f"{len(samples):,} of the {whole:,} images of {dataset.spec}"
    return f"{some} are used, {which}; --split all takes all"


def matched_of(model: Model, dataset: Dataset) -> MatchedImages:
    """The test images of ``dataset``, with targets of the checkpoint's, matched by name.

    Raises:
        InvalidData: None matches.
    """
    index = match(dataset.classes, model.classes)
    if model.task == "regression" and len(dataset.classes) == len(model.classes) == 1:
        index = {dataset.classes[0]: 0}  # there is nothing else that the column could be
    by_task = _match_classes if model.task == "classification" else _match_columns
    matched = by_task(model, dataset, index)
    if not index and not model.manifest.classes:
        raise Unsupported(
            f"the class names of {model.name} are unknown, and {dataset.spec} has none of its "
            f"indices: zoo edit {model.name} --classes FILE states them"
        )
    if not matched.samples or not index:
        here, there = (", ".join(names[:3]) for names in (dataset.classes, model.classes))
        raise InvalidData(
            dataset.spec,
            [f"none of its classes is one of {model.name}: it has {here}, …; the other {there}, …"],
            hint=f"names may differ in case, '_' and '-'; zoo show {model.name} --all lists them\n"
            f"or {_probe(model.name)}",
        )
    return matched


def _match_classes(model: Model, dataset: Dataset, index: Mapping[str, int]) -> MatchedImages:
    """Images of all classes that the checkpoint has; any of its classes may be its answer."""
    named = [(sample.key, dataset.classes[cast(int, sample.target)]) for sample in dataset.test]
    samples = tuple(Sample(key, index[name]) for key, name in named if name in index)
    shown = {sample.target for sample in samples}
    return MatchedImages(
        samples,
        dict(enumerate(model.classes)),
        dict(Counter(name for _, name in named if name not in index)),
        tuple(name for at, name in enumerate(model.classes) if at not in shown),
        len(named) - len(samples),
    )


def _match_columns(model: Model, dataset: Dataset, index: Mapping[str, int]) -> MatchedImages:
    """All images, for the labels or columns that both have."""
    columns = [at for at, name in enumerate(dataset.classes) if name in index]
    given = [(sample.key, cast(tuple[float, ...], sample.target)) for sample in dataset.test]
    return MatchedImages(
        tuple(Sample(key, tuple(target[at] for at in columns)) for key, target in given),
        {index[dataset.classes[at]]: dataset.classes[at] for at in columns},
        {
            name: sum(model.task == "regression" or target[at] > 0.5 for _, target in given)
            for at, name in enumerate(dataset.classes)
            if name not in index
        },
        tuple(name for at, name in enumerate(model.classes) if at not in index.values()),
    )


def report_of(model: Model, measured: LabeledOutputs) -> Report:
    """The figures of what a checkpoint said."""
    metrics = measured.measured(model.head)
    return measured.report({k: v for k, v in metrics.items() if math.isfinite(v)})


def _data_called(spec: str) -> str:
    """The name that figures on data are kept under: of one split alone with that of the folder that
    it is in, as ``test`` is in many.
    """
    whole = absolute(spec)
    name = data_name(whole)
    above = "" if is_named(spec) else Path(whole).parent.name
    return f"{above}-{name}" if above and Path(name).stem.lower() in PART_NAMES else name


def _matrix(measured: LabeledOutputs) -> Matrix | None:
    """What images of each class were taken for; None of more classes than are drawn on a page."""
    number = len(measured.classes)
    if measured.task != "classification" or number > MATRIX:
        return None
    pairs = measured.targets * number + measured.outputs.argmax(dim=1)
    counts = pairs.bincount(minlength=number * number).reshape(number, number)
    return Matrix(tuple(measured.classes), tuple(map(tuple, counts.tolist())))


def _compare(model: Model, mine: Answers, other: Model, theirs: Answers) -> Comparison:
    difference = paired(mine.measured, theirs.measured)
    if not difference.images:
        raise Unsupported(f"{model.name} and {other.name} have no class in common here")
    return Comparison(
        name=other.name,
        manifest=other.digest,
        metrics=theirs.report.metrics,
        seen=theirs.seen,
        paired=difference,
        verdict=_verdict(difference, model, mine, other, theirs),
    )


def _verdict(difference: Paired, model: Model, mine: Answers, other: Model, theirs: Answers) -> str:
    """Which is better, in words; of images that one of them has seen nobody knows."""
    sentence = difference.in_words(model.name, other.name)
    seen = [each.name for each, answers in ((model, mine), (other, theirs)) if answers.seen]
    if not seen:
        return sentence
    apart, who = sentence.rpartition(": ")[0], " and ".join(seen)
    way_out = mine.way_out or theirs.way_out
    return f"{apart}: which is better cannot be told, as these images are not new to {who}{way_out}"
