"""Evaluated: what a checkpoint showed on labeled images, as a zoo keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from zoo.domain.digest import Digest
from zoo.domain.limits import LARGEST
from zoo.domain.matrix import Matrix
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.domain.task import TASKS, Task

__all__ = ["Evaluated"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluated(Result):
    """The figures of one evaluation. A later one on the same data takes its place.

    Attributes:
        manifest: The checkpoint.
        data: What the data is called: its folder or table, without what is above it.
        data_digest: That of the data, as a fine-tune records it.
        split: Which of its images: ``all``, ``train``, ``validation`` or ``test``.
        split_digest: That of the checkpoint's own split, where it was measured on the test images
            of that; else empty.
        images_digest: Of which images, whatever their order.
        images: How many.
        task: What was measured.
        metrics: The figures over all images, with their intervals.
        at: When, UTC, ISO 8601.
        matrix: What images of each class were taken for, of classes that are not many. It is kept,
            and no part of `to_json`.
    """

    manifest: Digest
    data: str
    data_digest: str
    split: str
    split_digest: str
    images_digest: str
    images: int
    task: Task
    metrics: Mapping[str, float]
    at: str
    matrix: Matrix | None = field(default=None, repr=False)

    def to_kept(self) -> Json:
        """All of it as plain data."""
        return {**self.to_json(), **({"matrix": asdict(self.matrix)} if self.matrix else {})}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Read what `to_kept` or `to_json` wrote; what a later version wrote beside it is left out.

        Raises:
            ValueError: It is none.
        """
        known: dict[str, Any] = {field.name: data.get(field.name) for field in fields(cls)}
        for name, value in known.items():
            if name not in ("images", "metrics", "matrix") and not (
                isinstance(value, str) and len(value) < 1000 and (value + "x").isprintable()
            ):
                raise ValueError(f"its {name} is no line of text")
        if known["task"] not in TASKS:
            raise ValueError("its task is unknown")
        if type(known["images"]) is not int or not 0 < known["images"] <= LARGEST:
            raise ValueError("its number of images is none")
        known["metrics"] = _figures(known["metrics"])
        if known["matrix"] is not None:
            known["matrix"] = Matrix.from_json(known["matrix"])
        known["manifest"] = Digest.parse(str(known["manifest"]))
        Digest.parse(str(known["data_digest"]))
        return cls(**known)


def _figures(metrics: object) -> dict[str, float]:
    if not isinstance(metrics, dict):
        raise ValueError("it has no metrics")
    for name, value in metrics.items():
        if type(value) not in (int, float) or not math.isfinite(value) or not name.isprintable():
            raise ValueError(f"its metric {name!r} is no number")
    return {name: float(value) for name, value in metrics.items()}
