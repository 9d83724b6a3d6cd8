"""Conclude a run: measure the network on the test images, and publish it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from zoo.backbones.lora import split
from zoo.backbones.save import save_state
from zoo.domain.adapter import ADAPTER_FILE, BASE_FILE, MERGED_FILE
from zoo.domain.calibration import CALIBRATION_FILE, Calibration, subject
from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.history import moved_from
from zoo.domain.manifest import Manifest, Parent, WeightsFile
from zoo.domain.plain import Json
from zoo.domain.recipe import ADAPTERS
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.task import SCORE, Task
from zoo.errors import Diverged
from zoo.exchange.commit import new_checkpoint
from zoo.exchange.origins import base_models
from zoo.finetune.calibration import calibrated
from zoo.finetune.features.loaders import Loader, Loaders, image_loaders
from zoo.finetune.loop.evaluate import predict
from zoo.finetune.loop.state import State, put
from zoo.finetune.results.card import model_card
from zoo.finetune.results.examples import write_examples
from zoo.finetune.results.interval import warning
from zoo.finetune.results.journal import Journal, latest
from zoo.finetune.results.paired import Gain, earlier_probe, gain
from zoo.finetune.results.report import LabeledOutputs, Report, write_report
from zoo.finetune.setup.network import DTYPES
from zoo.finetune.setup.prepare import PreparedRun
from zoo.finetune.strategies.blend import FIRST
from zoo.finetune.strategies.probe import PROBE
from zoo.lookup.examples import EXAMPLES, SHEET
from zoo.lookup.runs import Run, list_runs
from zoo.reflog import now
from zoo.store import Store
from zoo.store.files import add_file, add_weights
from zoo.transfer.changes import change_from
from zoo.workspace import Workspace

__all__ = ["Finetuned", "conclude"]

CARD = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Finetuned(Result):
    """What a fine-tune made.

    Attributes:
        ref: The name it was saved under.
        manifest: The checkpoint.
        moved_from: What the name pointed at before, if that was another checkpoint.
        change: What differs from that for those who use the name.
        parent: What it derives from.
        run: Id of the run.
        freeze: ``frozen_units`` and ``trainable_units`` as counts; ``boundary``, the first unit
            that was trained, or ``head``; ``kept``, which weights were the best; ``trained``, the
            strategy, if that trains a small part of each unit.
        task: What was learned.
        metrics: Results on the test split.
        gained: What training gained over a probe, where there is one (`lp-ft`, or an earlier run).
        warning: Why the figures are too good, or no better than without training
            (`zoo.finetune.results.interval`); else empty.
        skipped: How many images were left out, because they cannot be used.
        seconds: Wall-clock time of the whole run.
    """

    ref: Reference
    manifest: Digest
    moved_from: Digest | None
    change: Change | None
    parent: Digest
    run: str
    freeze: Mapping[str, object]
    task: Task
    metrics: Mapping[str, float]
    gained: Gain | None
    warning: str
    skipped: int = field(metadata={"json": "skipped_images"})
    seconds: float

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Inverse of `to_json`."""
        read: Mapping[str, Callable[[Any], Any]] = {
            "ref": Reference.parse,
            "manifest": Digest.parse,
            "moved_from": lambda digest: digest and Digest.parse(digest),
            "change": lambda change: change and Change.from_json(change),
            "parent": Digest.parse,
            "gained": lambda gained: gained and Gain.from_json(gained),
        }
        values = {each.name: data[each.metadata.get("json", each.name)] for each in fields(cls)}
        return cls(**{k: read[k](v) if k in read else v for k, v in values.items()})

    @classmethod
    def of_run(cls, run: Run, known: Manifest) -> Self:
        """What a ``run`` made that is done: the checkpoint ``known``."""
        return cls.from_json(
            {
                **run.result,
                "ref": run.save,
                "moved_from": None,
                "change": None,
                "parent": run.parent,
                "run": run.id,
                "freeze": dict(known.freeze or {}),
                "task": run.recipe["task"],
                "skipped_images": int(latest(run.provenance)["skipped_images"]),
            }
        )


def conclude(
    workspace: Workspace,
    prepared: PreparedRun,
    state: State,
    parts: Loaders,
    journal: Journal,
    began: float,
) -> Finetuned:
    """Measure and publish the network as it is, with the best weights of ``state``.

    ``began`` is when the run did, by `time.monotonic`. Raises `Diverged` where a figure is NaN or
    infinite; nothing is published then.
    """
    # What was recorded in half precision is not what the network will be asked.
    if prepared.recipe.precision in DTYPES:
        parts = image_loaders(prepared)
    measured, report, calibration = _tested(prepared, parts, journal)
    metrics = dict(report.metrics)
    gained = _gain(list_runs(workspace), journal.run, prepared, state, parts.test, measured)
    better = gained is not None and gained.paired.first_is_better
    warned = warning(prepared, [*journal.run.lines()], metrics, gained=better)
    texts = {"gained": gained.text if gained else "", "warning": warned}
    manifest = _manifest(prepared, state.best.name, metrics, journal.run.provenance, texts)
    examples = journal.run.folder if prepared.recipe.publish_examples else None
    digest, before = publish(
        workspace, prepared, manifest, journal.run.save, report, calibration, examples
    )
    # Only now: a run that dies in between is resumed, and publishes the same bits again.
    seconds = round(time.monotonic() - began, 3)
    result = {
        "manifest": str(digest),
        "metrics": metrics,
        "warning": warned,
        "gained": gained.to_json() if gained else None,
        "validation_images": len(prepared.dataset.validation),
        "seconds": seconds,
    }
    journal.done(result)
    return Finetuned(
        ref=Reference.parse(journal.run.save),
        manifest=digest,
        moved_from=before,
        change=change_from(workspace.store, before, workspace.store.manifest(digest)),
        parent=prepared.parent,
        run=journal.run.id,
        freeze=dict(manifest.freeze or {}),
        task=prepared.task,
        metrics=metrics,
        gained=gained,
        warning=warned,
        skipped=len(prepared.dataset.skipped),
        seconds=seconds,
    )


def _manifest(
    prepared: PreparedRun,
    weights_name: str,
    metrics: dict[str, float],
    provenance: Mapping[str, str],
    texts: Mapping[str, str],
) -> Manifest:
    """All but its files; the ``texts`` of the result go with the provenance."""
    parent = Parent(manifest=prepared.parent, relation="finetune", ref=prepared.base)
    planned, strategy = prepared.network.planned, prepared.recipe.strategy
    if prepared.adapted:
        options = {**planned.backbone.options, "lora": prepared.recipe.rank}
        planned = replace(planned, backbone=replace(planned.backbone, options=options))
    return replace(
        planned.descending(prepared.known, parent),
        freeze={
            "frozen_units": prepared.lowest,
            "trainable_units": prepared.units - prepared.lowest,
            "boundary": prepared.hierarchy.boundary_name(prepared.lowest),
            "kept": weights_name,
            **({"trained": strategy} if strategy in ADAPTERS else {}),
        },
        metrics=metrics,
        provenance={**provenance, **{name: text for name, text in texts.items() if text}},
        created=now(),
    )


def publish(
    workspace: Workspace,
    prepared: PreparedRun,
    manifest: Manifest,
    save: str,
    report: Report,
    calibration: Calibration,
    examples: Path | None = None,
) -> tuple[Digest, Digest | None]:
    """Store the network's weights and a model card under ``manifest``, with its ``calibration`` and
    the example images in the folder ``examples``, and name it ``save``; the checkpoint, and what
    that name pointed at before, if it was another.
    """
    with new_checkpoint(workspace, Reference.parse(save), "finetune") as new:
        card = new.scratch / CARD
        bases = base_models(workspace, manifest)
        text = model_card(save, manifest, prepared.dataset, bases, report, calibration)
        card.write_text(text, "utf-8")
        weights = tuple(_stored(workspace.store, prepared, new.scratch))
        whole = replace(manifest, weights=weights)
        trust = new.scratch / CALIBRATION_FILE
        trust.write_bytes(replace(calibration, of=subject(whole)).to_bytes())
        shown = [examples / name for name in (SHEET, EXAMPLES)] if examples else []
        files = [add_file(workspace.store, each, name=each.name) for each in (card, trust, *shown)]
        digest = new.commit(replace(whole, files=(*manifest.files, *files)))
    return digest, moved_from(new.before, digest)


def _stored(store: Store, prepared: PreparedRun, scratch: Path) -> Iterator[WeightsFile]:
    """The network's weights; an adapter in a file of its own, so that all else is the parent's."""
    own, factors = split(prepared.model.state_dict())
    files = {BASE_FILE: own, ADAPTER_FILE: factors} if factors else {MERGED_FILE: own}
    for name, state in files.items():
        save_state(state, scratch / name)
        yield add_weights(store, scratch / name, name=name, progress=prepared.progress)


def _measured(prepared: PreparedRun, loader: Loader) -> LabeledOutputs:
    """What the network as it is says of the test images."""
    dataset = prepared.dataset
    with prepared.progress("testing", len(dataset.test)) as task:
        outputs, targets = predict(
            prepared.model, loader.whole(), loader.forward, advance=task.advance
        )
    images = [sample.key for sample in dataset.test]
    groups = [dataset.groups.get(image, "") for image in images]
    return LabeledOutputs(prepared.task, outputs, targets, dataset.classes, images, groups)


def _tested(
    prepared: PreparedRun, parts: Loaders, journal: Journal
) -> tuple[LabeledOutputs, Report, Calibration]:
    """What the network answers on the test images, what that shows, and how its answers are
    calibrated on the validation images.
    """
    calibration = calibrated(prepared, parts)
    measured = _measured(prepared, parts.test)
    measured = measured._replace(temperature=calibration.temperature or 1.0)
    report = _test(prepared, measured, journal)
    calibration = replace(
        calibration, bins=report.bins, raw_bins=report.raw_bins, effect=measured.effect
    )
    if trust := str(calibration):
        journal.say(trust)
    return measured, report, calibration


def _test(prepared: PreparedRun, measured: LabeledOutputs, journal: Journal) -> Report:
    """Write down what the test images show."""
    from zoo.finetune.results.pictures import draw_curves

    metrics = measured.measured(prepared.head)
    if not all(map(math.isfinite, metrics.values())):
        raise Diverged(max(line["steps"] for line in journal.run.lines()), prepared.recipe.lr)
    metrics["test_images"] = float(len(measured.images))
    if prepared.seen:
        metrics["test_seen"] = float(prepared.seen)
    report = measured.report(metrics)
    if report.groups is not None:
        figures = {**report.metrics, "test_groups": float(report.groups)}
        report = replace(report, metrics=figures)
    journal.note("test", 0, **report.metrics)
    folder = journal.run.folder
    draw_curves(journal.run.lines(), SCORE[prepared.task]).savefig(folder / "curves.png")
    write_report(folder, report.to_json(), measured, prepared.dataset.images.read)
    if prepared.recipe.keep_examples:
        count, read = prepared.recipe.keep_examples, prepared.dataset.images.read
        write_examples(folder, measured, report, count, read)
    journal.picture("curves")
    if prepared.task == "classification":
        journal.picture("confusion")
    return report


def _metrics(prepared: PreparedRun, measured: LabeledOutputs) -> dict[str, float]:
    return prepared.head.metrics(measured.outputs, measured.targets, measured.task)


def _gain(
    runs: Sequence[Run],
    run: Run,
    prepared: PreparedRun,
    state: State,
    loader: Loader,
    measured: LabeledOutputs,
) -> Gain | None:
    """What training gained over the better probe, of that which it began with and an earlier run's:
    their batch norms have other statistics. Where the former is what is kept, it gained nothing.
    """
    if prepared.recipe.strategy == "probe":
        return None
    kept = state.best.name == PROBE
    probes: list[LabeledOutputs | None] = [measured if kept else earlier_probe(runs, run, measured)]
    if prepared.recipe.fits_head and not kept:
        probes.append(_first(prepared, state, loader))
    measure = SCORE[prepared.task]
    scored = [(_metrics(prepared, each)[measure], each) for each in probes if each]
    if not scored:
        return None
    alone, probe = max(scored, key=itemgetter(0))
    reached = _metrics(prepared, measured)[measure]
    return gain(probe, measured, (alone, reached), kept=kept)


def _first(prepared: PreparedRun, state: State, loader: Loader) -> LabeledOutputs | None:
    """What the network said of the test images before training."""
    if FIRST not in state.snapshots.names():  # an older version began the run
        return None
    put(state.snapshots.read(FIRST), state.live)
    try:
        return _measured(prepared, loader)
    finally:
        put(state.best.tensors, state.live)
