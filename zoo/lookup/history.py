"""History: what was tried here of networks on images, by `zoo.Zoo.advise`, and what it advised.

trials/advice/<digest of network, images, groups and size>.json, one for each; the newest counts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
from blake3 import blake3

from zoo.domain.limits import JSON_FILE_BYTES, KEPT_ADVICE
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.errors import Corrupt, Invalid, NotAFile
from zoo.lookup.runs import TRIALS
from zoo.store.atomic import write_whole
from zoo.store.regular import read_regular
from zoo.workspace import Workspace

__all__ = ["StoredAdvice", "PastTrial", "all_advice", "history", "known_advice", "remember"]

LOG = logging.getLogger("zoo")
FOLDER = f"{TRIALS}/advice"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PastTrial(Result):
    """Something that was tried: a probe at one depth, or a recipe.

    Attributes:
        base: What the network was called.
        manifest: Which it is.
        data: What the images were called.
        data_digest: The same for the same images with the same labels.
        image_size: Height and width that the network got.
        measure: What the score is.
        name: What was tried.
        kind: ``probe`` or ``training``.
        score: On images that were held out.
        low: Lower end of its 95 % interval.
        high: Upper end.
        images: How many that rests on.
        seconds: What it took, or an estimate for probes.
        advised: Whether it was advised.
        at: When, UTC, ISO 8601.
    """

    _COLUMNS: ClassVar = ("base", "data", "name", "measure", "score", "low", "high", "at")

    base: str
    manifest: str
    data: str
    data_digest: str
    image_size: Sequence[int]
    measure: str
    name: str
    kind: str
    score: float
    low: float
    high: float
    images: int
    seconds: float
    advised: bool
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was tried, as it is kept: the fields of `zoo.advice.plan.TriedRecipe`."""

    name: str
    kind: str
    score: float
    low: float
    high: float
    images: int
    seconds: float
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 0
    megabytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAdvice:
    """What was advised for a network, some images and a size, and all that was tried for it.

    Attributes:
        options: Those of `zoo.Recipe` that are advised.
        tried: What was tried: probes and recipes.
        stopped: Why trials ended early; empty: they did not.
        test_digest: The same for the same images to test on.
        groups_digest: The same where the same images stay together; empty: each is alone.
        trained: Whether any training was tried.
    """

    base: str
    manifest: str
    data: str
    data_digest: str
    image_size: tuple[int, ...]
    measure: str
    at: str
    name: str
    options: Mapping[str, Any]
    trained: bool
    stopped: str = ""
    test_digest: str = ""
    groups_digest: str = ""
    tried: tuple[Row, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one that is kept.

        Raises:
            Invalid: It is damaged, or has a number that is not finite.
        """
        try:
            # Not msgspec's JSON: names of files need not be UTF-8.
            text = read_regular(path, JSON_FILE_BYTES)
            data = json.loads(text, parse_float=_finite, parse_constant=_finite)
            return msgspec.convert(data, cls)
        except (OSError, ValueError, RecursionError, Corrupt, NotAFile) as error:
            raise Invalid(f"{path} cannot be read: {error}") from error

    @property
    def complete(self) -> bool:
        """Whether recipes were compared to the end."""
        return self.trained and not self.stopped

    def past(self) -> Iterator[PastTrial]:
        """Each that was tried."""
        for each in self.tried:
            yield PastTrial(
                base=self.base,
                manifest=self.manifest,
                data=self.data,
                data_digest=self.data_digest,
                image_size=self.image_size,
                measure=self.measure,
                name=each.name,
                kind=each.kind,
                score=each.score,
                low=each.low,
                high=each.high,
                images=each.images,
                seconds=each.seconds,
                advised=each.name == self.name,
                at=self.at,
            )


def remember(root: Path, advised: StoredAdvice) -> bool:
    """Keep it in the place of an earlier one; whether it was kept. It is not where that one knows
    more: it has tried to train, or has done so to the end, and this one has not.
    """
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    path = root / _file(
        advised.manifest, advised.data_digest, advised.image_size, advised.groups_digest
    )
    before = _read(path) if path.is_file() else None
    if before and (before.complete, before.trained) > (advised.complete, advised.trained):
        return False
    write_whole(path, [json.dumps(asdict(advised), indent=2).encode(), b"\n"])
    return True


def known_advice(
    workspace: Workspace,
    manifest: str,
    data_digest: str,
    image_size: Sequence[int],
    groups_digest: str = "",
) -> StoredAdvice | None:
    """What was advised for this network, these images, grouped so, and this size; None: nothing."""
    path = workspace.root / _file(manifest, data_digest, image_size, groups_digest)
    return _read(path) if path.is_file() else None


def history(workspace: Workspace) -> list[PastTrial]:
    """What was tried here, newest first, the best of each time first. Of a network, images and a
    size that is what was tried last.
    """
    trials = [past for known in all_advice(workspace) for past in known.past()]
    trials.sort(key=lambda past: -past.score)
    return sorted(trials, key=lambda past: past.at, reverse=True)


def all_advice(workspace: Workspace) -> Iterator[StoredAdvice]:
    """What was advised here, newest first."""
    return filter(None, map(_read, _newest(workspace.root / FOLDER)))


def _newest(folder: Path) -> list[Path]:
    """As many files of advice as are read at most."""
    dated = []
    for path in folder.glob("*.json"):
        try:
            dated.append((path.stat().st_mtime, path))
        except OSError:  # deleted meanwhile, or a link to nowhere
            LOG.warning("%s cannot be read", path)
    return [path for _, path in sorted(dated, reverse=True)[:KEPT_ADVICE]]


def _read(path: Path) -> StoredAdvice | None:
    try:
        return StoredAdvice.read(path)
    except Invalid as error:
        LOG.warning("%s", error)
        return None


def _finite(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number


def _file(manifest: str, data_digest: str, image_size: Sequence[int], groups_digest: str) -> str:
    """Where it is kept, below the zoo."""
    what: Json = {"manifest": manifest, "data": data_digest, "size": list(image_size)}
    if groups_digest:  # without groups, as before there were any here
        what = {**what, "groups": groups_digest}
    return f"{FOLDER}/{blake3(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]}.json"
