"""Report: what outputs for labeled images are worth, class by class, each figure with its interval.

A fine-tune makes one of its test images, `zoo.Zoo.evaluate` of any images: there is one way to
measure. Shares have Wilson's interval, all else that of a thousand draws of the images; both are of
groups where images belong together (`zoo.finetune.results.interval`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csc_array, csr_array
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from zoo.backbones.heads.tasks import TaskHead
from zoo.contracts import Head
from zoo.domain.calibration import Bin, Effect, calibration_error
from zoo.domain.csv_text import as_csv
from zoo.domain.result import Result
from zoo.domain.task import Task, decided
from zoo.finetune.results import interval as i
from zoo.finetune.results.calibrate import effect_of, reliability
from zoo.finetune.results.interval import Array, Matrix
from zoo.lookup.runs import PREDICTIONS, REPORT
from zoo.store.atomic import write_whole

__all__ = [
    "ByClass",
    "Confusion",
    "Doubtful",
    "LabeledOutputs",
    "Report",
    "predicted",
    "write_report",
]

TOP = 5
ERROR = "calibration_error"
DOUBTS = ("wrong", "unsure")
DOUBTFUL = 24
"""Most images that are listed as wrong, and as unsure."""
LARGEST = 2000
"""Most classes of a matrix that is written: its file grows with their square."""
Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ByClass(Result):
    """Figures of one class, label or column.

    Attributes:
        name: Its name.
        images: How many show it; of numbers, how many there are.
        figures: By name, each with its interval (``recall``, ``recall_low``, ``recall_high``);
            None where there is nothing to take it of.
    """

    name: str
    images: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Confusion(Result):
    """Images of one class that were predicted to be of another.

    Attributes:
        true: Their class.
        predicted: The other one.
        images: How many.
        share: Of all images of their class.
        low: Where its interval begins.
        high: Where it ends.
    """

    true: str
    predicted: str
    images: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Doubtful(Result):
    """An image that a network gets wrong, or is unsure of.

    Attributes:
        image: What it is called.
        label: Its class, its labels with ``|`` between them, or its numbers.
        predicted: What the network says.
        probability: Of the class that it says; None for labels and numbers.
        error: The loss of the image, by the temperature; of numbers the mean absolute error.
    """

    image: str
    label: str
    predicted: str
    probability: float | None
    error: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report(Result):
    """What outputs for labeled images are worth.

    Attributes:
        task: What the outputs mean.
        images: How many there are.
        groups: In how many groups they are, an image alone being one; None where each is alone.
        metrics: Figures over all images, by name, and their intervals (``accuracy_low``, …).
        classes: Figures of each class or label that occurs, or of each column.
        confusions: Every pair of classes that were confused, the worst first.
        wrong: The images with the largest error of those that are wrong, the worst first.
        unsure: Those where two classes, or yes and no, are nearest to each other; none of numbers.
        bins: Probabilities as they are said, and the share of them that is right; none of numbers.
        raw_bins: The same without the temperature of the network; empty where it has none.
    """

    task: Task
    images: int
    groups: int | None = None
    metrics: Mapping[str, float]
    classes: tuple[ByClass, ...]
    confusions: tuple[Confusion, ...]
    wrong: tuple[Doubtful, ...]
    unsure: tuple[Doubtful, ...]
    bins: tuple[Bin, ...] = ()
    raw_bins: tuple[Bin, ...] = ()


class LabeledOutputs(NamedTuple):
    """Outputs (N, K) of a network, float32, for images with targets (see `zoo.contracts.Head`)."""

    task: Task
    outputs: Tensor
    targets: Tensor
    classes: Sequence[str]  # names of the K outputs
    images: Sequence[str]  # what the N images are called
    groups: Sequence[str] = ()  # of the N images; "" is alone. Empty: all are
    temperature: float = 1.0  # what outputs are divided by before they become probabilities

    @property
    def blocks(self) -> NDArray[np.int64]:
        """A number for each image, the same for those of one group."""
        return i.blocks(self.groups or [""] * len(self.images))

    @property
    def bins(self) -> tuple[Bin, ...]:
        """What is said of the images with a probability, and how much of that is right."""
        outputs, targets = self.outputs.numpy(), self.targets.numpy()
        return reliability(self.task, outputs, targets, self.temperature)

    @property
    def raw_bins(self) -> tuple[Bin, ...]:
        """The same without the temperature; empty where there is none."""
        return self._replace(temperature=1.0).bins if self.temperature != 1 else ()

    @property
    def effect(self) -> Effect | None:
        """What the temperature comes to; None where there is none."""
        outputs, targets = self.outputs.numpy(), self.targets.numpy()
        return effect_of(self.task, outputs, targets, self.temperature, self.groups)

    def measured(self, head: Head | TaskHead) -> dict[str, float]:
        """What ``head`` measures. The ``loss`` is by the temperature, as all probabilities are;
        ``raw_loss`` is without, where there is one.
        """
        metrics = dict(head.metrics(self.outputs, self.targets, self.task))
        if self.temperature == 1 or self.task == "regression" or "loss" not in metrics:
            return metrics
        scaled = head.metrics(self.outputs / self.temperature, self.targets, self.task)
        return {**metrics, "loss": scaled["loss"], "raw_loss": metrics["loss"]}

    def report(self, metrics: Mapping[str, float]) -> Report:
        """The report; ``metrics`` are those of `measured`, all of them finite."""
        make = {"classification": _classes, "multi-label": _labels, "regression": _numbers}
        more, classes = make[self.task](self)
        wrong, unsure = _doubtful(self)
        bins, raw_bins = self.bins, self.raw_bins
        for name, some in ((ERROR, bins), (f"raw_{ERROR}", raw_bins)):
            more |= {name: calibration_error(some)} if some else {}
        return Report(
            task=self.task,
            images=len(self.images),
            groups=int(self.blocks.max()) + 1 if any(self.groups) else None,
            # What the head has measured stays as it is, to the last bit.
            metrics={**metrics, **{k: v for k, v in more.items() if k not in metrics}},
            classes=classes,
            confusions=tuple(_confusions(self)) if self.task == "classification" else (),
            wrong=wrong,
            unsure=unsure,
            bins=bins,
            raw_bins=raw_bins,
        )


Made = tuple[dict[str, float], tuple[ByClass, ...]]


def _classes(measured: LabeledOutputs) -> Made:
    outputs, targets = measured.outputs, measured.targets
    guesses, true = outputs.argmax(dim=1).numpy(), targets.numpy()
    count, number = len(true), len(measured.classes)
    present = np.flatnonzero(np.bincount(true, minlength=number)).tolist()
    pair = _one_hot(guesses, number)[:, present], _one_hot(true, number)[:, present]

    def macro(times: Array) -> Array:
        hits, said_so, is_so = i.counted(*pair, times)
        both = i.f1s(hits, said_so, is_so), hits / np.maximum(is_so, 1)
        return np.stack([i.mean_of_known(np.where(is_so == 0, np.nan, each)) for each in both])

    metrics = _share_of("accuracy", outputs.argmax(dim=1) == targets, measured.groups)
    if number > TOP:
        best = (outputs.topk(TOP, dim=1).indices == targets[:, None]).any(dim=1)
        metrics |= _share_of(f"top{TOP}_accuracy", best, measured.groups)
    names = [measured.classes[index] for index in present]
    counts = i.counted(*pair, np.ones((1, count)))
    classes = _by_class(names, counts, {}, _alike(pair, measured.groups))
    f1, recall = _drawn(macro, measured)
    balanced = _mean(classes, "recall")
    # A group may have images of several classes, whose recalls are then not independent.
    if any(measured.groups):
        balanced = _wider(balanced, recall)
    metrics |= _named("balanced_accuracy", balanced)
    metrics |= _named("macro_f1", _wider(_mean(classes, "f1"), f1))
    return metrics, classes


def _labels(measured: LabeledOutputs) -> Made:
    outputs, targets = measured.outputs.double().numpy(), measured.targets.double().numpy()
    says, is_so = outputs > 0, targets > 0.5
    count, present = len(outputs), np.flatnonzero(is_so.any(axis=0)).tolist()
    right = (says == is_so).mean(axis=1)
    pair = csr_array(says.astype(np.float64)), csr_array(is_so.astype(np.float64))

    def figures(times: Array) -> Array:
        hits, positives, true = i.counted(*pair, times)
        f1 = i.f1s(hits, positives, true)
        total = i.f1s(hits.sum(axis=0), positives.sum(axis=0), true.sum(axis=0))
        precision = i.average_precisions(outputs[:, present], targets[:, present], times)
        macro = i.mean_of_known(np.where(true == 0, np.nan, f1))
        overall = [times @ right / times.sum(axis=1), total, i.mean_of_known(precision), macro]
        return np.vstack([*overall, np.nan_to_num(precision)])

    accuracy, f1, precision, macro, *by_label = _drawn(figures, measured)
    hits, positives, true = (each[present] for each in i.counted(*pair, np.ones((1, count))))
    names = [measured.classes[index] for index in present]
    of_labels = pair[0][:, present], pair[1][:, present]
    alike = _alike(of_labels, measured.groups)
    classes = _by_class(names, (hits, positives, true), {"average_precision": by_label}, alike)
    metrics = _named("accuracy", accuracy) | _named("f1", f1)
    metrics |= _named("mean_average_precision", precision)
    metrics |= _named("macro_f1", _wider(_mean(classes, "f1"), macro))
    return metrics, classes


def _numbers(measured: LabeledOutputs) -> Made:
    outputs, targets = measured.outputs.double().numpy(), measured.targets.double().numpy()
    error, count = outputs - targets, len(outputs)
    columns = [slice(None), *(slice(k, k + 1) for k in range(outputs.shape[1]))]
    names = ("mae", "rmse", "r2")

    def figures(times: Array) -> Array:
        values = []
        for column in columns:
            absolute, square = (
                times @ each.mean(axis=1) / times.sum(axis=1)
                for each in (np.abs(error[:, column]), np.square(error[:, column]))
            )
            r2 = i.r2s(outputs[:, column], targets[:, column], times)
            values += [absolute, np.sqrt(square), r2]
        return np.array(values)

    parts = np.split(_drawn(figures, measured), len(columns))
    each = [
        {
            key: value
            for pair in zip(names, part, strict=True)
            for key, value in _named(*pair).items()
        }
        for part in parts
    ]
    classes = tuple(
        ByClass(name=name, images=count, figures=part)
        for name, part in zip(measured.classes, each[1:], strict=True)
    )
    return each[0], classes


def _one_hot(indices: NDArray[np.int64], number: int) -> Matrix:
    count = len(indices)
    ones = np.ones(count), (np.arange(count), indices)
    return csr_array(ones, shape=(count, number))


def _drawn(figures: i.Figures, measured: LabeledOutputs) -> Array:
    """Each figure (F, 3) of all images, and its interval."""
    middle = figures(np.ones((1, len(measured.images))))[:, 0]
    return np.stack([middle, *i.bootstrapped(figures, measured.blocks)], axis=1)


def _named(name: str, value: Iterable[float]) -> dict[str, float]:
    middle, low, high = map(float, value)
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def _share_of(name: str, right: Tensor, groups: Sequence[str]) -> dict[str, float]:
    images = i.independent(right.double(), groups)
    return _named(name, i.share(int(right.sum()), len(right), images))


def _alike(pair: tuple[Matrix, Matrix], groups: Sequence[str]) -> list[tuple[int, int, int]]:
    """Of each class of ``pair`` (said and true, N x K), as how many independent images those count
    that its recall, its precision and its F1 are of; empty where each image is alone.
    """
    if not any(groups):
        return []
    arrays = [csc_array(each) for each in pair]
    columns = [np.split(each.indices, each.indptr[1:-1]) for each in arrays]
    counts = []
    for positives, true in zip(*columns, strict=True):
        hits = np.intersect1d(positives, true)
        parts = [(np.isin(of, hits), of) for of in (true, positives, np.union1d(true, positives))]
        recall, precision, f1 = (
            i.independent(torch.from_numpy(right).double(), [groups[at] for at in of.tolist()])
            for right, of in parts
        )
        counts.append((recall, precision, f1))
    return counts


def _by_class(
    names: Sequence[str],
    counts: tuple[Array, Array, Array],
    drawn: Mapping[str, Sequence[Array]],
    alike: Sequence[tuple[int, int, int]],
) -> tuple[ByClass, ...]:
    """``counts`` are those of `counted` (K, 1), ``drawn`` more figures (K, 3) with intervals,
    ``alike`` those of `_alike`.
    """
    nothing = {f"precision{end}": None for end in ("", "_low", "_high")}
    by_class = []
    for at, name in enumerate(names):
        hits, positives, true = (int(count[at, 0]) for count in counts)
        of_recall, of_precision, of_f1 = alike[at] if alike else (None, None, None)
        figures: dict[str, float | None] = {**_named("recall", i.share(hits, true, of_recall))}
        precision = (
            _named("precision", i.share(hits, positives, of_precision)) if positives else nothing
        )
        figures |= {**precision, **_named("f1", i.f1(hits, positives, true, of_f1))}
        for kind, values in drawn.items():
            figures |= _named(kind, values[at])
        by_class.append(ByClass(name=name, images=true, figures=figures))
    return tuple(by_class)


def _mean(classes: Sequence[ByClass], name: str) -> Array:
    """The mean (3,) of a figure over classes, with the interval that theirs make of it."""
    ends = ("", "_low", "_high")
    known = [[one.figures[f"{name}{end}"] or 0.0 for end in ends] for one in classes]
    return i.mean_with_interval(np.array(known, np.float64).reshape(-1, 3))


def _wider(mean: Array, drawn: Array) -> Array:
    # One class's false positive is another's miss, which draws of images see and the mean does not;
    # where nothing is wrong, all draws are alike, and only the mean sees how few images there are.
    middle, low, high = mean
    return np.array([middle, min(low, drawn[1]), max(high, drawn[2])])


def _confusions(measured: LabeledOutputs) -> Iterator[Confusion]:
    guesses, true = measured.outputs.argmax(dim=1).numpy(), measured.targets.numpy()
    totals, answers = np.bincount(true), torch.from_numpy(guesses)
    wrong = np.stack([true, guesses])[:, guesses != true]
    pairs, counts = np.unique(wrong, axis=1, return_counts=True)
    shares = counts / totals[pairs[0]]
    for at in np.lexsort((-shares, -counts)):
        one, other = pairs[:, at]
        images = None
        if any(measured.groups):
            of = np.flatnonzero(true == one).tolist()
            own = [measured.groups[image] for image in of]
            images = i.independent((answers[of] == other).double(), own)
        share, low, high = i.share(int(counts[at]), int(totals[one]), images)
        yield Confusion(
            true=measured.classes[one],
            predicted=measured.classes[other],
            images=int(counts[at]),
            share=share,
            low=low,
            high=high,
        )


def _doubtful(measured: LabeledOutputs) -> tuple[tuple[Doubtful, ...], tuple[Doubtful, ...]]:
    """The most wrong images, and the most unsure ones, `DOUBTFUL` of each at most."""
    outputs, targets = measured.outputs, measured.targets
    scaled, shares = outputs / measured.temperature, None
    if measured.task == "classification":
        guesses, shares = outputs.argmax(dim=1), scaled.softmax(dim=1)
        errors, wrong = cross_entropy(scaled, targets, reduction="none"), guesses != targets
        best = shares.topk(min(2, shares.shape[1]), dim=1).values
        margins: Tensor | None = best[:, 0] - best[:, -1]
    elif measured.task == "multi-label":
        errors = binary_cross_entropy_with_logits(scaled, targets, reduction="none").mean(dim=1)
        wrong = ((outputs > 0) != (targets > 0.5)).any(dim=1)
        margins = outputs.abs().amin(dim=1)
    else:
        errors = (outputs - targets).abs().mean(dim=1)
        wrong, margins = errors > 0, None

    def listed(order: Tensor) -> tuple[Doubtful, ...]:
        return tuple(
            Doubtful(
                image=measured.images[at],
                label=_in_words(measured, targets[at]),
                predicted=_in_words(measured, outputs[at], is_output=True),
                probability=None if shares is None else float(shares[at].max()),
                error=float(errors[at]),
            )
            for at in order[:DOUBTFUL].tolist()
        )

    order = errors.argsort(descending=True, stable=True)
    unsure = () if margins is None else listed(margins.argsort(stable=True))
    return listed(order[wrong[order]]), unsure


def _in_words(measured: LabeledOutputs, values: Tensor, *, is_output: bool = False) -> str:
    """A target, or the outputs of an image if ``is_output``."""
    if measured.task == "classification":
        return measured.classes[int(values.argmax() if is_output else values)]
    if measured.task == "regression":
        return ", ".join(f"{value:.4g}" for value in values.tolist())
    present = (values > (0 if is_output else 0.5)).tolist()
    return "|".join(name for name, there in zip(measured.classes, present, strict=True) if there)


def write_report(
    folder: Path,
    report: Mapping[str, Any],
    measured: LabeledOutputs,
    read: Callable[[str], Image.Image],
) -> None:
    """Write ``report`` and all predictions into a folder; of classes, their matrix, too; and those
    images that are most wrong or unsure, which ``read`` opens one by one.
    """
    from zoo.finetune.results.pictures import (
        Tile,
        confusion_counts,
        draw_confusion,
        draw_reliability,
        draw_sheet,
        save,
    )

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    _write(folder / REPORT, text)
    _write(folder / PREDICTIONS, as_csv(predicted(measured)))
    _write(folder / "doubtful.csv", as_csv(_doubtful_rows(report)))
    sheet = {f"most {kind}": [Tile(*_captions(one)) for one in report[kind]] for kind in DOUBTS}
    save(draw_sheet(sheet, read), folder / "doubtful.png")
    if bins := measured.bins:
        save(draw_reliability(bins, measured.raw_bins), folder / "reliability.png")
    if measured.task != "classification":
        return
    outputs, targets, classes = measured.outputs, measured.targets, measured.classes
    counts, names = confusion_counts(outputs, targets, classes)
    if len(names) <= LARGEST:
        rows = ([name, *row] for name, row in zip(names, counts.tolist(), strict=True))
        _write(folder / "confusion.csv", as_csv([["true \\ predicted", *names], *rows]))
        matrix = {"classes": list(names), "counts": counts.tolist()}
        _write(folder / "confusion.json", json.dumps(matrix, ensure_ascii=False) + "\n")
    save(draw_confusion(outputs, targets, classes), folder / "confusion.png")


def _captions(one: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """An image, what it is, and what it was taken for."""
    share = "" if one["probability"] is None else f" {one['probability']:.2f}"
    return one["image"], (f"true: {one['label']}", f"predicted{share}: {one['predicted']}")


def _doubtful_rows(report: Mapping[str, Any]) -> Iterator[Sequence[object]]:
    names = [field.name for field in fields(Doubtful)]
    yield "kind", *names
    for kind in DOUBTS:
        for one in report[kind]:
            yield kind, *(one[name] for name in names)


def predicted(measured: LabeledOutputs) -> Iterator[Sequence[object]]:
    """A table of predictions, its head first: a row for each image."""
    classes, outputs = measured.classes, measured.outputs.double()
    if measured.task != "regression":
        outputs = outputs / measured.temperature
    if measured.task == "classification":
        yield "path", "label", "predicted", "probability", "probability_of_label"
        shares = outputs.softmax(dim=1)
        best, guesses = shares.max(dim=1)
        own = shares.gather(1, measured.targets[:, None])[:, 0]
        rows = zip(
            measured.targets.tolist(), guesses.tolist(), best.tolist(), own.tolist(), strict=True
        )
        for image, (true, guess, share, its) in zip(measured.images, rows, strict=True):
            yield image, classes[true], classes[guess], f"{share:.6f}", f"{its:.6f}"
        return
    shares = outputs.sigmoid() if measured.task == "multi-label" else outputs
    kind = "probability" if measured.task == "multi-label" else "predicted"
    has_labels = measured.task == "multi-label"
    name = "labels_" if "labels" in classes else "labels"
    yield "path", *classes, *(f"{kind}:{each}" for each in classes), *([name] * has_labels)
    for image, true, given, logits in zip(
        measured.images,
        measured.targets.tolist(),
        shares.tolist(),
        measured.outputs.tolist(),
        strict=True,
    ):
        cells = *(f"{value:g}" for value in true), *(f"{value:.6g}" for value in given)
        yield image, *cells, *([decided(classes, logits)] * has_labels)


def _write(path: Path, text: str) -> None:
    write_whole(path, [text.encode("utf-8", "surrogateescape")])  # file names need not be UTF-8
