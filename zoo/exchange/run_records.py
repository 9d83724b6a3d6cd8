"""What training scripts write beside checkpoints: with what they were run, and how it went.

timm writes ``args.yaml`` and ``summary.csv``, Lightning ``hparams.yaml`` and ``metrics.csv``,
transformers' Trainer ``trainer_state.json``. Anybody may have written them: they are small or not
read, nothing in them is run, no path in them is followed, and what is malformed says nothing.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from zoo.domain.limits import ARGS_BYTES, RECORD_BYTES
from zoo.domain.plain import finite
from zoo.errors import ZooError
from zoo.exchange.run_names import TRAINER
from zoo.store.regular import open_regular

__all__ = [
    "ABOVE_ONE",
    "ARCHITECTURE",
    "RunRecord",
    "is_possible",
    "named_architecture",
    "named_metrics",
    "read_arguments",
    "read_record",
]

HPARAMS = ("args.yaml", "hparams.yaml")
TABLES = ("summary.csv", "metrics.csv")
ARCHITECTURE = ("model", "arch", "architecture", "model_name", "backbone")
"""What scripts call the network in what they keep."""
ROWS = 100_000
KNOWN_METRICS: Mapping[str, str] = {
    "eval_top1": "accuracy",
    "eval_top5": "top5_accuracy",
    "eval_loss": "loss",
    "eval_accuracy": "accuracy",
    "val_acc": "accuracy",
    "val_accuracy": "accuracy",
    "val/acc": "accuracy",
    "val_loss": "loss",
    "val/loss": "loss",
}
"""Figures of held-out images, and what zoo calls them."""
OF_TIMM = frozenset(["eval_top1", "eval_top5"])
"""Columns of one scale: timm writes percents, and a script that was made of its may write shares.
Top-1 alone can be below 1 percent in all epochs; top-5 is larger."""
ABOVE_ONE = 1.001
"""From here on an accuracy is in percent: below, it may be a share of 1 that was rounded."""
SHARE = re.compile(r"acc(?!um)|top_?\d|prec", re.IGNORECASE)
"""What a figure is called that is a share of images, or percents."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is written down of a run.

    Attributes:
        architecture: The network, as its script calls it; empty if nobody says.
        source: The file that says so.
        metrics_file: Where the metrics are from.
        by_epoch: Metrics after each epoch.
        by_step: Metrics after each step.
        in_percent: Accuracies that are in percent there; the metrics are shares of 1 all the same.
        best: Name of the file or folder that the script calls its best.
    """

    architecture: str = ""
    source: str = ""
    metrics_file: str = ""
    by_epoch: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    by_step: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    in_percent: frozenset[str] = frozenset()
    best: str = ""

    @property
    def script(self) -> str:
        """Who wrote it, as far as the names of its files tell."""
        return {"args.yaml": "timm", "hparams.yaml": "Lightning"}.get(self.source) or {
            "summary.csv": "timm",
            "metrics.csv": "Lightning",
            TRAINER: "Trainer",
        }.get(self.metrics_file, "")

    def metrics(self, epoch: int | None, step: int | None) -> Mapping[str, float]:
        """Those of a moment of the run; none if nothing is written down of it."""
        of_epoch = self.by_epoch.get(epoch, {}) if epoch is not None else {}
        return of_epoch or (self.by_step.get(step, {}) if step is not None else {})

    def metrics_by(self, metrics: Mapping[str, float]) -> str:
        """Where ``metrics`` are from, and whether they are in percent there."""
        percent = self.in_percent.intersection(metrics)
        return f"{self.metrics_file} (in percent there)" if percent else self.metrics_file


def read_record(*folders: Path) -> RunRecord:
    """What is written down in the folders of a run, the first of which counts most."""
    record = RunRecord()
    for folder in folders:
        record = _with_state(_with_table(_with_hparams(record, folder), folder), folder)
    return record


def read_arguments(path: Path) -> object:
    """What a script was run with, as a small YAML file has it; None if there is none."""
    import yaml

    try:
        # Texts, lists and mappings, and nothing else is made.
        return yaml.load(_text(path, ARGS_BYTES), yaml.BaseLoader)  # noqa: S506
    except (ValueError, OverflowError, RecursionError, yaml.YAMLError):
        return None


def named_architecture(record: object) -> str:
    """The network that a script's arguments name; empty if they name none."""
    if not isinstance(record, Mapping):
        record = getattr(record, "__dict__", {})
    for key in ARCHITECTURE:
        value = record.get(key)
        if isinstance(value, str) and 0 < len(value) <= 200:
            return value.removeprefix("timm/").partition(".")[0]
    return ""


def _with_hparams(record: RunRecord, folder: Path) -> RunRecord:
    for name in HPARAMS if not record.architecture else ():
        if architecture := named_architecture(read_arguments(folder / name)):
            return replace(record, architecture=architecture, source=name)
    return record


def _with_table(record: RunRecord, folder: Path) -> RunRecord:
    if record.metrics_file:
        return record
    for name in TABLES:
        text = _text(folder / name, RECORD_BYTES)
        try:
            percent = _in_percent(_rows(text))
            by_epoch = _by_moment(_rows(text), "epoch", percent)
        except csv.Error:
            continue
        if by_epoch:
            return replace(
                record, metrics_file=name, by_epoch=by_epoch, in_percent=_own_names(percent)
            )
    return record


def _with_state(record: RunRecord, folder: Path) -> RunRecord:
    try:
        state = json.loads(_text(folder / TRAINER, RECORD_BYTES) or "{}")
    except (ValueError, RecursionError):
        return record
    if not isinstance(state, Mapping):
        return record
    history = state.get("log_history")
    listed = history[:ROWS] if isinstance(history, list) else ()
    rows = [row for row in listed if isinstance(row, Mapping)]
    percent = _in_percent(rows)
    by_step = _by_moment(rows, "step", percent)
    best = state.get("best_model_checkpoint")
    if by_step and not record.metrics_file:
        record = replace(
            record, metrics_file=TRAINER, by_step=by_step, in_percent=_own_names(percent)
        )
    if isinstance(best, str) and len(best) < ARGS_BYTES:
        record = replace(record, best=PurePath(best.replace("\\", "/")).name)
    return record


def _rows(text: str) -> Iterator[Mapping[str, object]]:
    for number, row in enumerate(csv.DictReader(io.StringIO(text))):
        if number >= ROWS:
            return
        yield row


def is_possible(name: str, value: float) -> bool:
    """Whether a figure of that name can have that value: no accuracy is below 0 or above 100."""
    return 0 <= value <= 100 or not SHARE.search(name)


def named_metrics(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures of held-out images under the names that zoo has for them, if they are on its scale;
    else as they are.
    """
    named = {}
    for name, value in figures.items():
        if not is_possible(name, value):
            continue
        own = KNOWN_METRICS.get(name, name)
        fits = name not in OF_TIMM and (own != "accuracy" or 0 <= value <= 1)
        named[own if fits else name] = value
    return named


def _in_percent(rows: Iterable[Mapping[str, object]]) -> set[str]:
    """The columns of accuracies that are in percent: one row alone may be below 1 percent."""
    columns: set[str] = set()
    for row in rows:
        for key, name in KNOWN_METRICS.items():
            number = finite(row.get(key)) if SHARE.search(name) else None
            if number is not None and number > ABOVE_ONE and is_possible(name, number):
                columns |= OF_TIMM if key in OF_TIMM else {key}
    return columns


def _own_names(columns: Iterable[str]) -> frozenset[str]:
    return frozenset(KNOWN_METRICS[key] for key in columns)


def _by_moment(
    rows: Iterable[Mapping[str, object]], moment: str, percent: Collection[str]
) -> dict[int, dict[str, float]]:
    """Metrics by epoch or step, accuracies as shares of 1."""
    by_moment: dict[int, dict[str, float]] = {}
    for row in rows:
        number = _whole(row.get(moment))
        if number is not None and (metrics := _metrics(row, percent)):
            by_moment.setdefault(number, {}).update(metrics)
    return by_moment


def _metrics(row: Mapping[str, object], percent: Collection[str]) -> dict[str, float]:
    metrics = {}
    for key, name in KNOWN_METRICS.items():
        number = finite(row.get(key))
        if number is not None and is_possible(name, number):
            metrics[name] = number / (100.0 if key in percent else 1.0)
    return metrics


def _whole(value: object) -> int | None:
    number = finite(value)
    if number is None or not 0 <= number < 2**53 or number != int(number):
        return None
    return int(number)


def _text(path: Path, limit: int) -> str:
    """What a small file holds; nothing if it is not there, is larger, or is a link."""
    try:
        with open_regular(path, path) as file:
            data = file.read(limit + 1)
    except (OSError, ZooError):
        return ""
    return "" if len(data) > limit else data.decode("utf-8-sig", errors="replace")
