"""Whether one of two networks is better: a paired test, over the images that both were asked about.

Classes have McNemar's exact test, which looks at the images where one alone is right; labels and
numbers Wilcoxon's signed ranks of their errors by image. Where images belong together, it is groups
that are compared, of classes by a sign test, which is McNemar's where each image is alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from scipy.stats import wilcoxon
from torch.nn.functional import one_hot

from zoo.backbones.taps import HEAD
from zoo.domain.csv_text import safe_cell
from zoo.domain.paired import Paired, mcnemar
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.domain.task import SCORE
from zoo.domain.words import NOTHING_GAINED
from zoo.finetune.results.interval import MOST, Array, blocks
from zoo.finetune.results.report import LabeledOutputs
from zoo.finetune.setup.prepare import PreparedRun
from zoo.lookup.predictions import predictions
from zoo.lookup.runs import Run

__all__ = ["FEW_IMAGES", "Gain", "earlier_probe", "gain", "paired", "too_few"]

FEW = 50
"""Training images of a class, on average, below which training loses to a probe: with 16 the
default recipe had 0.62 and 0.60 on two sets, the preset small-data 0.91 and 0.80
(docs/benchmarks.md). That is made for up to some fifty; where training begins to win was not
measured."""
FEW_IMAGES = "training images of a class are few"
"""What a run notes that was told so."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Gain(Result):
    """What training gained over a probe, both measured on the test images.

    Attributes:
        measure: The figure by which they are compared (`SCORE`).
        probe: That of the probe alone.
        trained: That of what is saved.
        paired: The paired test of the two; in JSON its fields are beside the rest.
        text: All of it in words.
    """

    measure: str
    probe: float
    trained: float
    paired: Paired
    text: str

    def to_json(self) -> Json:
        """Plain data for JSON."""
        data = Result.to_json(self)
        apart: Json = data.pop("paired")
        return {**data, **apart}

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Inverse of `to_json`."""
        apart = {field.name: data[field.name] for field in fields(Paired) if field.name in data}
        return cls(**{k: v for k, v in data.items() if k not in apart}, paired=Paired(**apart))


def gain(
    probe: LabeledOutputs, trained: LabeledOutputs, scores: tuple[float, float], *, kept: bool
) -> Gain:
    """What training gained; ``scores`` are those of the two, ``kept``: the probe is what is saved,
    as no epoch was better on the validation images.
    """
    difference, measure, (alone, reached) = paired(trained, probe), SCORE[trained.task], scores
    text = f"a probe alone had {measure.replace('_', ' ')} {alone:.4f}"
    if kept:
        gained = NOTHING_GAINED if alone < MOST else "nothing was left to gain"
        text += f", and is what was kept: {gained}"
    else:
        text += f", training {reached:.4f}: {difference.in_words('training', 'the probe')}"
    return Gain(measure=measure, probe=alone, trained=reached, paired=difference, text=text)


def too_few(prepared: PreparedRun) -> str:
    """Advice where so few images are trained on that a probe usually gives more; else empty."""
    recipe, data = prepared.recipe, prepared.dataset
    each = len(data.train) / len(data.classes)
    if data.task != "classification" or each >= FEW:
        return ""
    if prepared.lowest == prepared.units or recipe.preset:
        return ""  # the head alone is trained, as a probe's is; or another one was chosen by name
    return (
        f"{each:.0f} {FEW_IMAGES}: --recipe small-data, which may end the network early, so that "
        "zoo alone loads it, or a probe on the whole network (--strategy probe) usually gives more "
        "than training does"
    )


def earlier_probe(runs: Iterable[Run], run: Run, measured: LabeledOutputs) -> LabeledOutputs | None:
    """What a probe of the same base, images and split said of the test images of ``run``, if one
    was fitted here; of classes only, which is what is kept of each image.
    """
    if measured.task != "classification":
        return None
    for other in runs:
        if other.status != "done" or not _same_but_for_training(run, other):
            continue
        rows, classes = predictions(other.folder), [safe_cell(name) for name in measured.classes]
        try:
            given = [rows[str(safe_cell(image))].predicted for image in measured.images]
            answers = torch.tensor([classes.index(name) for name in given])
        except (KeyError, ValueError):  # no run's file any more
            continue
        outputs = one_hot(answers, len(measured.classes)).float()
        return measured._replace(outputs=outputs)
    return None


def _same_but_for_training(run: Run, other: Run) -> bool:
    how = [{name: one.recipe.get(name) for name in ("image_size", "task")} for one in (run, other)]
    data = [
        [one.provenance.get(name) for name in ("data_digest", "split_digest")]
        for one in (run, other)
    ]
    alone = other.recipe.get("strategy") == "probe" and other.recipe.get("at") == HEAD
    return alone and run.parent == other.parent and how[0] == how[1] and data[0] == data[1]


def paired(first: LabeledOutputs, other: LabeledOutputs) -> Paired:
    """Compare two networks of one task; without an image in common, none differ."""
    names = {*first.classes} & {*other.classes}
    one, two = _errors(first, names), _errors(other, names)
    both = [key for key in one if key in two]
    difference: Array = np.array([one[key] - two[key] for key in both], np.float64)
    group = dict(zip(first.images, first.groups, strict=True)) if any(first.groups) else {}
    if group:
        where = blocks([group[key] for key in both])
        difference = np.bincount(where, difference).astype(np.float64)
    better, worse = int((difference < 0).sum()), int((difference > 0).sum())
    classes, p = first.task == "classification", 1.0
    if better + worse:
        p = mcnemar(better, worse) if classes else float(wilcoxon(difference).pvalue)
    return Paired(
        images=len(both),
        groups=len(difference) if group else None,
        better=better,
        worse=worse,
        test=("sign" if group else "mcnemar") if classes else "wilcoxon",
        p=p,
    )


def _errors(measured: LabeledOutputs, names: set[str]) -> Mapping[str, float]:
    """By image: 1 if its class is wrong; the share of wrong labels; the mean error of numbers."""
    outputs, targets = measured.outputs, measured.targets
    if measured.task == "classification":
        wrong = outputs.argmax(dim=1) != targets
        return dict(zip(measured.images, wrong.double().tolist(), strict=True))
    chosen = [at for at, name in enumerate(measured.classes) if name in names]
    if not chosen:
        return {}
    outputs, targets = outputs[:, chosen].double(), targets[:, chosen].double()
    errors = (outputs - targets).abs()
    if measured.task == "multi-label":
        errors = ((outputs > 0) != (targets > 0.5)).double()
    return dict(zip(measured.images, errors.mean(dim=1).tolist(), strict=True))
