"""What is measured of a network on a dataset, as it is kept: asked again, nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path
from typing import TypeVar

import msgspec
from blake3 import blake3

from zoo.domain.limits import JSON_FILE_BYTES, KEPT_RANKINGS
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.errors import ZooError
from zoo.store.atomic import write_whole
from zoo.store.regular import read_regular

__all__ = ["FeatureScores", "keep", "kept", "kept_in", "path_of"]

Kind = TypeVar("Kind", bound=Result)

FOLDER = "ranking"
SCHEME = "3"
"""Changes with whatever changes figures."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FeatureScores(Result):
    """What a network's features know of the images, and what the network costs.

    Attributes:
        manifest: The network.
        data_digest: The images.
        image_size: Height and width that the network got.
        score: Mean `zoo.finetune.strategies.linear.goodness` of a probe on all depths together, on
            images that it was not fitted on.
        low: Lower end of its 95 % interval.
        high: Upper end.
        error: Its standard error.
        depth: The single depth whose features alone are best, or ``head``.
        depth_score: What a probe on these reaches.
        last_score: What a probe on the last features reaches.
        knn: How well the ten nearest other images predict each, by the last features.
        logme: Log evidence of a linear model on the last features, for an image.
        h_score: Variance between classes in the last features; None for labels and numbers.
        ms: Milliseconds for one image by itself, on one core of a CPU; the best of several times.
        gmacs: Multiply-accumulates of an image at that size, in 10^9; None where not known.
        device: What it ran on.
        seconds: How long all of this took.
        scores: The score of each image, by the probe on all depths together, to be compared with
            other networks; left out in JSON that is printed.
    """

    manifest: str
    data_digest: str
    image_size: int
    score: float
    low: float
    high: float
    error: float
    depth: str
    depth_score: float
    last_score: float
    knn: float
    logme: float
    h_score: float | None
    ms: float
    gmacs: float | None
    device: str
    seconds: float
    scores: tuple[float, ...]

    def to_json(self) -> Json:
        """Plain data for JSON."""
        data = Result.to_json(self)
        del data["scores"]
        return data


def path_of(folder: Path, *asked: object) -> Path:
    """The file of a measurement, named after all that is ``asked``; ``folder`` is for caches."""
    name = blake3("\0".join([SCHEME, *map(str, asked)]).encode("utf-8", "surrogateescape"))
    return folder / FOLDER / f"{name.hexdigest()}.json"


def kept(path: Path, kind: type[Kind]) -> Kind | None:
    """What was kept; None where there is nothing, or it is damaged."""
    try:
        return msgspec.json.decode(read_regular(path, JSON_FILE_BYTES), type=kind)
    except (OSError, ZooError, ValueError, RecursionError):
        return None


def keep(path: Path, result: Result) -> None:
    """Keep what was found; where it cannot be written, it is computed again the next time."""
    with suppress(OSError, ZooError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [msgspec.json.encode(result)])


def kept_in(folder: Path) -> Iterator[FeatureScores]:
    """The measurements that were kept, newest first; of very many the newest."""
    files = (folder / FOLDER).glob("*.json")
    for path in nlargest(KEPT_RANKINGS, files, key=_changed):
        if scores := kept(path, FeatureScores):
            yield scores


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # another process has removed it
        return 0.0
