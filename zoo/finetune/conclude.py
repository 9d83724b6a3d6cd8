"""Conclude a run: measure the network on the test images, and publish it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from zoo.backbones.save import save_state
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Parent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.task import SCORE, Task
from zoo.errors import Diverged
from zoo.exchange.commit import new_checkpoint
from zoo.exchange.origins import base_models
from zoo.finetune.features.loaders import Loader, image_loaders
from zoo.finetune.loop.evaluate import predict
from zoo.finetune.results.card import model_card
from zoo.finetune.results.interval import warning
from zoo.finetune.results.journal import Journal
from zoo.finetune.results.report import Measured, Report, write_report
from zoo.finetune.setup.prepare import Prepared
from zoo.reflog import now
from zoo.store.files import add_file, add_weights
from zoo.workspace import Workspace

__all__ = ["Finetuned", "conclude"]

CARD = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Finetuned(Result):
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
        warning: Why it is no better than no training (`zoo.finetune.results.interval`); else empty.
        skipped: How many images were left out, because they cannot be used.
        seconds: Wall-clock time of the whole run.
    """

    ref: Reference
    manifest: Digest
    parent: Digest
    run: str
    freeze: Mapping[str, object]
    task: Task
    metrics: Mapping[str, float]
    warning: str
    skipped: int = field(metadata={"json": "skipped_images"})
    seconds: float


def conclude(
    workspace: Workspace,
    prepared: Prepared,
    weights_name: str,
    loader: Loader,
    journal: Journal,
    began: float,
) -> Finetuned:
    """Measure and publish the network as it is, with the weights of that name (``epoch 3``).

    ``began`` is when the run did, by `time.monotonic`. Raises `Diverged` where a figure is NaN or
    infinite; nothing is published then.
    """
    report = _test(prepared, loader, journal)
    metrics = dict(report.metrics)
    warned = warning(prepared, [*journal.run.lines()], metrics)
    provenance = {**journal.run.provenance, **({"warning": warned} if warned else {})}
    manifest = _manifest(prepared, weights_name, metrics, provenance)
    save = Reference.parse(journal.run.save)
    digest = publish(workspace, prepared, manifest, save, report)
    # Only now: a run that dies in between is resumed, and publishes the same bits again.
    journal.done({"manifest": str(digest), "metrics": metrics, "warning": warned})
    return Finetuned(
        ref=save,
        manifest=digest,
        parent=prepared.parent,
        run=journal.run.id,
        freeze=dict(manifest.freeze or {}),
        task=prepared.task,
        metrics=metrics,
        warning=warned,
        skipped=len(prepared.dataset.skipped),
        seconds=round(time.monotonic() - began, 3),
    )


def _manifest(
    prepared: Prepared, weights_name: str, metrics: dict[str, float], provenance: dict[str, str]
) -> Manifest:
    parent = Parent(manifest=prepared.parent, relation="finetune", ref=prepared.base)
    return replace(
        prepared.network.planned.descending(prepared.known, parent),
        freeze={
            "frozen_units": prepared.lowest,
            "trainable_units": prepared.units - prepared.lowest,
            "boundary": prepared.hierarchy.boundary_name(prepared.lowest),
            "kept": weights_name,
        },
        metrics=metrics,
        provenance=provenance,
        created=now(),
    )


def publish(
    workspace: Workspace, prepared: Prepared, manifest: Manifest, ref: Reference, report: Report
) -> Digest:
    """Store the network's weights and a model card under ``manifest``, and name it ``ref``."""
    with new_checkpoint(workspace, ref, "finetune") as new:
        path, card = new.scratch / "model.safetensors", new.scratch / CARD
        save_state(prepared.model.state_dict(), path)
        bases = base_models(workspace, manifest)
        text = model_card(str(ref), manifest, prepared.dataset, bases, report.classes)
        card.write_text(text, "utf-8")
        whole = replace(
            manifest,
            weights=(add_weights(workspace.store, path, progress=prepared.progress),),
            files=(*manifest.files, add_file(workspace.store, card, name=CARD)),
        )
        return new.commit(whole)


def _test(prepared: Prepared, loader: Loader, journal: Journal) -> Report:
    """Measure the network on the test images, and write down what there is to see."""
    from zoo.finetune.results.pictures import draw_curves

    # What was recorded in half precision is not what the network will be asked.
    if prepared.recipe.precision != "fp32":
        loader = image_loaders(prepared).test
    dataset = prepared.dataset
    with prepared.progress("testing", len(dataset.test)) as task:
        logits, targets = predict(
            prepared.model, loader.whole(), loader.forward, advance=task.advance
        )
    metrics = prepared.head.metrics(logits, targets, prepared.task)
    if not all(map(math.isfinite, metrics.values())):
        raise Diverged(max(line["steps"] for line in journal.run.lines()), prepared.recipe.lr)
    images = [sample.key for sample in dataset.test]
    measured = Measured(prepared.task, logits, targets, dataset.classes, images)
    report = measured.report({**metrics, "test_images": float(len(images))})
    journal.note("test", 0, **report.metrics)
    folder = journal.run.folder
    draw_curves(journal.run.lines(), SCORE[prepared.task]).savefig(folder / "curves.png")
    write_report(folder, report.to_json(), measured)
    journal.picture("curves")
    if prepared.task == "classification":
        journal.picture("confusion")
    return report
