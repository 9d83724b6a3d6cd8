"""History: what was tried here of networks on images, by `zoo.Zoo.advise`, and what it advised.

trials/advice/<digest of network, images and size>.json, one for each; the newest counts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from blake3 import blake3

from zoo.domain.limits import RUN_BYTES
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.errors import Corrupt, Invalid, NotAFile
from zoo.lookup.runs import TRIALS
from zoo.store.atomic import write_whole
from zoo.store.regular import read_regular
from zoo.workspace import Workspace

__all__ = ["Advised", "Past", "history", "known_advice", "remember"]

LOG = logging.getLogger("zoo")
FOLDER = f"{TRIALS}/advice"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Past(Result):
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
class Advised:
    """What was advised for a network, some images and a size, and all that was tried for it.

    Attributes:
        options: Those of `zoo.Recipe` that are advised.
        tried: Name, kind, score, low, high, images and seconds of each.
        stopped: Why trials ended early; empty: they did not.
        trained: Whether any training was tried.
    """

    base: str
    manifest: str
    data: str
    data_digest: str
    image_size: Sequence[int]
    measure: str
    at: str
    name: str
    options: Mapping[str, Any]
    trained: bool
    stopped: str = ""
    tried: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one that is kept.

        Raises:
            Invalid: It is damaged.
        """
        try:
            data = json.loads(read_regular(path, RUN_BYTES))
            names = {each.name for each in fields(cls)}
            found = cls(**{name: value for name, value in data.items() if name in names})
            list(found.past())
        except (OSError, ValueError, TypeError, AttributeError, Corrupt, NotAFile) as error:
            raise Invalid(f"{path} cannot be read: {error}") from error
        return found

    def past(self) -> Iterator[Past]:
        """Each that was tried."""
        for each in self.tried:
            score, low, high = (float(each[name]) for name in ("score", "low", "high"))
            yield Past(
                base=str(self.base),
                manifest=str(self.manifest),
                data=str(self.data),
                data_digest=str(self.data_digest),
                image_size=tuple(map(int, self.image_size)),
                measure=str(self.measure),
                name=str(each["name"]),
                kind=str(each["kind"]),
                score=score,
                low=low,
                high=high,
                images=int(each["images"]),
                seconds=float(each["seconds"]),
                advised=each["name"] == self.name,
                at=str(self.at),
            )


def remember(root: Path, advised: Advised) -> None:
    """Keep it, in the place of an earlier one, unless only that one has tried to train."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_key(advised.manifest, advised.data_digest, advised.image_size)}.json"
    before = _read(path) if path.is_file() else None
    if before and before.trained and not advised.trained:
        return
    write_whole(path, [json.dumps(asdict(advised), indent=2).encode(), b"\n"])


def known_advice(
    workspace: Workspace, manifest: str, data_digest: str, image_size: Sequence[int]
) -> Advised | None:
    """What was advised for this network, these images and this size; None: nothing."""
    path = workspace.root / FOLDER / f"{_key(manifest, data_digest, image_size)}.json"
    return _read(path) if path.is_file() else None


def history(workspace: Workspace) -> list[Past]:
    """All that was tried here, newest first, the best of each time first."""
    folder = workspace.root / FOLDER
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    found = [past for path in files if (known := _read(path)) for past in known.past()]
    found.sort(key=lambda past: -past.score)
    return sorted(found, key=lambda past: past.at, reverse=True)


def _read(path: Path) -> Advised | None:
    try:
        return Advised.read(path)
    except Invalid as error:
        LOG.warning("%s", error)
        return None


def _key(manifest: str, data_digest: str, image_size: Sequence[int]) -> str:
    what: Json = {"manifest": manifest, "data": data_digest, "size": list(image_size)}
    return blake3(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
