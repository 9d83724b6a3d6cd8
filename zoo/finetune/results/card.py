"""The model card: what a person, or the HF Hub, reads of a fine-tune first.

Front matter as the Hub documents it (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from zoo.domain.calibration import CALIBRATION_TOLD, CARD_SECTION, Calibration
from zoo.domain.card import only_zoo_line, plain_text
from zoo.domain.description import only_zoo_builds
from zoo.domain.manifest import Manifest
from zoo.domain.task import COUNTS, PIPELINES, is_count, is_figure, with_intervals
from zoo.domain.words import of_groups, plural, up_to
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.spec import is_named
from zoo.finetune.results.report import ByClass, Confusion, Report

__all__ = ["model_card"]

SHOWN_CLASSES = 50
SHOWN_CONFUSIONS = 10
REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def model_card(
    name: str,
    manifest: Manifest,
    dataset: Dataset,
    bases: Sequence[str],
    report: Report | None = None,
    calibration: Calibration | None = None,
) -> str:
    """The card of the checkpoint ``name``, Markdown with YAML front matter.

    ``bases`` are the repositories on the Hub that it derives from: no other names are known there.
    ``report`` is of the test images. Which of them are wrong it does not say: a card is published,
    and names of files may be those of people.
    """
    pipeline, task = PIPELINES[dataset.task]
    data, on_hub = _data(dataset.spec)
    results = [
        EvalResult(
            task_type=task,
            dataset_type=data,
            dataset_name=data,
            metric_type=kind,
            metric_name=COUNTS.get(kind, kind),
            metric_value=int(value) if is_count(kind) else round(value, 6),
        )
        for kind, value in manifest.metrics.items()
        if is_figure(kind, manifest.metrics) or kind == "test_seen"
    ]
    front = ModelCardData(
        library_name=manifest.backbone.plugin,
        pipeline_tag=pipeline,
        tags=["zoo", manifest.backbone.architecture, dataset.task],
        model_name=name,
        eval_results=results,
        license=manifest.license,
        datasets=[data] if on_hub else None,
        base_model=list(bases) or None,
        base_model_relation="finetune" if bases else None,
    )
    return f"---\n{front.to_yaml()}\n---\n\n{_body(name, manifest, dataset, report, calibration)}"


def _data(spec: str) -> tuple[str, bool]:
    """What the data is called, and whether it is a dataset on the Hub.

    A card is published: it does not say where the data lies on this machine.
    """
    address = spec.partition("?")[0] if is_named(spec) else spec
    kind, _, name = address.partition("/")
    if kind.lower() == "hfds" and REPOSITORY.fullmatch(name) and not Path(name).exists():
        return name, True
    return Path(address).resolve().name, False


def _body(
    name: str,
    manifest: Manifest,
    dataset: Dataset,
    report: Report | None,
    calibration: Calibration | None,
) -> str:
    recipe, provenance = manifest.recipe or {}, manifest.provenance
    parent = manifest.parents[0].manifest if manifest.parents else ""
    lines = [
        f"# {plain_text(name)}\n",
        *_origin(manifest, dataset),
        "## Result on the test images\n",
        *_result(manifest),
        *(_table(report.classes) if report else ()),
        *(_confused(report.confusions) if report else ()),
        *(_trust(calibration) if calibration and str(calibration) else ()),
        "\n## Outputs\n",
        up_to([f"`{plain_text(label)}`" for label in manifest.classes], SHOWN_CLASSES),
        "\n## Recipe\n",
        "```json",
        json.dumps({**recipe, "data": _data(dataset.spec)[0]}, indent=2),
        "```\n",
        f"Parent: `{parent}`, data: `{provenance.get('data_digest')}`, split: "
        f"`{provenance.get('split_digest')}`.",
    ]
    return "\n".join(lines) + "\n"


def _origin(manifest: Manifest, dataset: Dataset) -> Iterator[str]:
    """What it is, and what it was made of."""
    plan, recipe, images = manifest.freeze or {}, manifest.recipe or {}, manifest.preprocessing
    by, note = (plain_text(manifest.provenance.get(key, "")) for key in ("author", "note"))
    parent = plain_text(manifest.parents[0].ref) if manifest.parents else "nothing"
    frozen, trained = (plan.get(f"{key}_units", 0) for key in ("frozen", "trainable"))
    if only_zoo := only_zoo_builds(manifest):
        yield f"{only_zoo_line(manifest, only_zoo)}\n"
    if note:
        yield f"{note}\n"
    yield (
        f"`{manifest.backbone.architecture}`, fine-tuned from `{parent}` on {len(dataset.train)} "
        f"images ({dataset.task}, {len(dataset.classes)} outputs){f', by {by}' if by else ''}.\n"
    )
    yield f"- strategy: {recipe.get('strategy')}, {frozen} of {frozen + trained} units frozen"
    yield f"- kept: {plan.get('kept', 'the last epoch')}"
    size = " x ".join(map(str, images.input_size))
    yield f"- input: {size}, mean {list(images.mean)}, std {list(images.std)}"
    yield (
        f"- images: {len(dataset.train)} to train on, {len(dataset.validation)} to choose on, "
        f"{len(dataset.test)} to test\n"
    )


def _result(manifest: Manifest) -> Iterator[str]:
    """The figures, after what is to be known of them."""
    warned, gained = (manifest.provenance.get(key, "") for key in ("warning", "gained"))
    groups = manifest.metrics.get("test_groups")
    if warned:
        yield f"**Warning:** {plain_text(warned)}.\n"
    if gained:
        yield f"{plain_text(gained[0].upper() + gained[1:])}.\n"
    if groups:
        yield f"{of_groups(groups).capitalize()}.\n"
    yield from ("| figure | value |", "| --- | --- |")
    for name, shown in with_intervals(manifest.metrics).items():
        yield f"| {COUNTS.get(name, name)} | {shown} |"


def _table(classes: Sequence[ByClass]) -> Iterator[str]:
    """A row for each class, the largest number of them that a reader looks through."""
    for at, one in enumerate(classes[:SHOWN_CLASSES]):
        figures = with_intervals(one.figures)
        if not at:
            yield "\n### Class by class\n"
            yield f"| class | images | {' | '.join(figures)} |"
            yield f"| --- | --- |{' --- |' * len(figures)}"
        yield f"| {plain_text(one.name)} | {one.images} | {' | '.join(figures.values())} |"
    if len(classes) > SHOWN_CLASSES:
        yield f"\nand {len(classes) - SHOWN_CLASSES} more"


def _confused(confusions: Sequence[Confusion]) -> Iterator[str]:
    """The classes that are confused most."""
    for at, one in enumerate(confusions[:SHOWN_CONFUSIONS]):
        if not at:
            yield "\n### What was taken for what\n"
            yield "| true | predicted | images | share of the class |"
            yield "| --- | --- | --- | --- |"
        share = f"{one.share:.4f} ({one.low:.3f} to {one.high:.3f})"
        yield f"| {plain_text(one.true)} | {plain_text(one.predicted)} | {one.images} | {share} |"
    if len(confusions) > SHOWN_CONFUSIONS:
        yield f"\nand {plural(len(confusions) - SHOWN_CONFUSIONS, 'more pair')} of classes"


def _trust(calibration: Calibration) -> Iterator[str]:
    """What answers are worth by how sure the network is."""
    yield f"\n{CARD_SECTION}\n"
    text = plain_text(str(calibration))
    yield f"{text[:1].upper()}{text[1:]}.\n"
    for at, step in enumerate(calibration.worth):
        if not at:
            yield "| answers from | share of the validation images | accuracy of these |"
            yield "| --- | --- | --- |"
        part = step.answered / calibration.images
        yield (
            f"| {step.confidence:.3f} | {part:.3f} | {step.accuracy:.4f}, at least {step.low:.3f} |"
        )
    yield f"\n{CALIBRATION_TOLD}"
