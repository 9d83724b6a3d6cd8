"""Which checkpoint of a run its name points at: its best, as its script, the names of its files or
figures say; else its last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from zoo.exchange.planned import Draft

__all__ = ["head_of", "when"]

HIGHER = re.compile(r"acc|top_?1|prec|recall|f1|auc|auroc|map|iou|dice|score", re.IGNORECASE)
LOWER = re.compile(r"loss|error|err\b|mae|mse", re.IGNORECASE)


def head_of(members: Sequence[Draft]) -> tuple[Draft, str]:
    """The head of a run, and how it was chosen: ``best``, ``best by accuracy``, ``last``."""
    latest = max(members, key=when)
    best = latest.best or next((each.best for each in members if each.best), "")
    # What a script calls its best may be gone, or be nothing: then the next that tells counts.
    named = [each for each in members if best and each.walked.path.name == best]
    named = named or [each for each in members if _role(each) == "best"]
    if named:
        return max(named, key=when), "best"
    for metric in _metrics(members):
        measured = [each for each in members if metric in each.file.metrics]
        if len({each.file.metrics[metric] for each in measured}) > 1:
            sign = -1 if LOWER.search(metric) else 1
            # Of equals the first: what came later was no better.
            head = max(measured, key=lambda each: _rank(each, sign * each.file.metrics[metric]))
            return head, f"best by {metric}"
    return max(members, key=lambda each: (_role(each) == "last", when(each))), "last"


def when(draft: Draft) -> tuple[int, int]:
    """The epoch and the step of a checkpoint, to sort by."""
    file = draft.file
    return -1 if file.epoch is None else file.epoch, -1 if file.step is None else file.step


def _rank(draft: Draft, value: float) -> tuple[float, int, int, bool]:
    epoch, step = when(draft)
    return value, -epoch, -step, _role(draft) != "last"


def _role(draft: Draft) -> str:
    return draft.walked.moment.role if draft.walked.moment else ""


def _metrics(members: Sequence[Draft]) -> Iterator[str]:
    """Metrics by which a best can be told, the most usual first."""
    names = dict.fromkeys(name for each in members for name in each.file.metrics)
    yield from (name for name in names if name == "accuracy")
    yield from (n for n in names if n != "accuracy" and HIGHER.search(n) and not LOWER.search(n))
    yield from (name for name in names if LOWER.search(name))
