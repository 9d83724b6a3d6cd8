"""What a file of weights, its name, and what lies beside it tell of it: the network, the moment of
its run, and what its script has measured. A single import and that of a folder read it here.

All of it is what anybody may have written; what is malformed is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from zoo.domain.plain import finite
from zoo.exchange.metadata import RECORDS
from zoo.exchange.run_names import Moment, is_named_by_script, moment_of, run_path, stem_of
from zoo.exchange.run_records import (
    ABOVE_ONE,
    ARCHITECTURE,
    RunRecord,
    is_possible,
    named_architecture,
    named_metrics,
    read_record,
)

__all__ = ["FileRecord", "measured", "file_record", "when_saved", "written_beside"]

LIGHTNING = "pytorch-lightning_version"
METRICS = (
    *("accuracy", "acc", "acc1", "top1", "val_acc", "val_accuracy", "val_acc1", "test_acc"),
    *("test_accuracy", "best_acc", "best_accuracy", "best_acc1", "best_prec1", "best_top1"),
    *("best_val_acc", "best_val_accuracy", "prec1"),
)
"""What training scripts call the accuracy that they keep beside the weights. On which scale it is
nobody knows, nor of which images: it keeps its name."""
MONITORED = re.compile(r"[A-Za-z][A-Za-z0-9_/.-]{0,60}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """What a pickle tells beside its weights.

    Attributes:
        script: Who wrote it: ``timm``, ``Lightning``, or empty.
        architecture: The network that it names; empty if it names none.
        epoch: The epoch that it tells.
        step: The step that it tells.
        metrics: The metrics that it tells.
        architecture_key: Its key that the network is from.
        metric_keys: Its keys that the metrics are from.
        best: Name of the file that it calls the best of its run.
    """

    script: str = ""
    architecture: str = ""
    epoch: int | None = None
    step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    architecture_key: str = ""
    metric_keys: tuple[str, ...] = ()
    best: str = ""


def file_record(saved: Mapping[str, object]) -> FileRecord:
    """What is ``saved`` beside weights."""
    own = {key: named_architecture({key: saved[key]}) for key in ARCHITECTURE if key in saved}
    own |= {key: named_architecture(saved[key]) for key in RECORDS if key in saved}
    key, architecture = next((each for each in own.items() if each[1]), ("", ""))
    meta = saved.get("meta")
    epoch = _whole(saved.get("epoch"))
    if epoch is None and isinstance(meta, Mapping):
        epoch = _whole(meta.get("epoch"))
    script = "Lightning" if LIGHTNING in saved else ""
    if not script and isinstance(saved.get("arch"), str) and "state_dict" in saved:
        script = "timm"
    figures = {name: _figure(saved.get(name)) for name in METRICS}
    metrics = {n: x for n, x in figures.items() if x is not None and is_possible(n, x)}
    keys = tuple(metrics)
    metric = saved.get("metric")
    top1 = script == "timm" and getattr(saved.get("args"), "eval_metric", "top1") == "top1"
    if top1 and isinstance(metric, float) and 0 <= metric <= 100:
        # timm writes percents; up to 1 it may be a share, of a script that was made of its.
        percent = metric > ABOVE_ONE
        metrics = {"accuracy": metric / 100} if percent else {"metric": metric}
        keys = ("metric",)
    if not metrics and (monitored := _monitored(saved)):
        metrics, keys = monitored, ()
    return FileRecord(
        script=script,
        architecture=architecture,
        architecture_key=key,
        epoch=epoch,
        step=_whole(saved.get("global_step")),
        metrics=metrics,
        metric_keys=keys,
        best=_best(saved),
    )


def written_beside(path: Path) -> RunRecord:
    """What is written down in the folder of a file, and in that of its run."""
    folder = path.absolute().parent
    above = [folder.parent] if moment_of(folder.name, steps=True) else []
    return read_record(*dict.fromkeys((folder, *above, Path(run_path(folder)))))


def measured(
    path: Path, architecture: str, inside: FileRecord, record: RunRecord
) -> tuple[Mapping[str, float], str]:
    """What the weights in a file, which are of that network, were measured to have by their script;
    and who says so: what is written beside it, what it tells, what its name says.

    Any file can lie beside what a script wrote, with the same epoch and of the same network: only
    one that is named as the script names its own gets the figures that are written there.
    """
    moment = moment_of(stem_of(path))
    if not moment or not moment.tag:  # the folder of transformers' Trainer is called for its step
        moment = moment_of(path.absolute().parent.name, steps=True) or moment
    written = record.metrics(*when_saved(moment, inside))
    same = record.architecture in ("", architecture, architecture.partition(".")[0])
    if written and same and is_named_by_script(path, record.metrics_file):
        return written, record.metrics_by(written)
    if inside.metrics:
        percent = inside.metric_keys == ("metric",) and "accuracy" in inside.metrics
        return inside.metrics, "the file (in percent there)" if percent else "the file"
    named = named_metrics(dict(moment.figures)) if moment else {}
    return named, "the file's name" if named else ""


def when_saved(moment: Moment | None, inside: FileRecord) -> tuple[int | None, int | None]:
    """The epoch and the step of a file, as its name says, else as it tells."""
    epoch = moment.epoch if moment and moment.epoch is not None else inside.epoch
    step = moment.step if moment and moment.step is not None else inside.step
    return epoch, step


def _monitored(saved: Mapping[str, object]) -> dict[str, float]:
    """The figure that Lightning's callback has of the very weights that it saves."""
    for state in _callbacks(saved):
        name = state.get("monitor")
        if isinstance(name, str) and MONITORED.fullmatch(name):
            value = _figure(state.get("current_score"))
            return {} if value is None else named_metrics({name: value})
    return {}


def _best(saved: Mapping[str, object]) -> str:
    """The file that Lightning's callback calls the best: of the path its last part alone."""
    for state in _callbacks(saved):
        path = state.get("best_model_path")
        if isinstance(path, str) and path:
            return PurePath(path.replace("\\", "/")).name
    return ""


def _callbacks(saved: Mapping[str, object]) -> Iterator[Mapping[str, Any]]:
    """The states of Lightning's callbacks."""
    callbacks = saved.get("callbacks")
    states = callbacks.values() if isinstance(callbacks, Mapping) else ()
    yield from (state for state in states if isinstance(state, Mapping))


def _whole(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < 2**53 else None


def _figure(value: Any) -> float | None:
    """A number, or a tensor of one: torchvision's scripts keep that."""
    try:
        if callable(count := getattr(value, "numel", None)) and count() == 1:
            value = value.item()
    except RuntimeError:  # not every dtype of torch has numbers
        return None
    return None if isinstance(value, str) else finite(value)
