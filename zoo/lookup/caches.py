"""Caches of training, which a prune deletes if that is asked for: what enters a network at a cut,
for each image (`zoo.finetune.features.cache`); features of images (`zoo.advice.kept`); and copies
of images that lie in Parquet files (`zoo.finetune.dataset.packed`).

They are made again when they are missed. What else lies in the folder of caches is small.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from zoo.domain.limits import JSON_FILE_BYTES
from zoo.domain.words import plural
from zoo.errors import ZooError
from zoo.lookup.alive import SILENT
from zoo.lookup.runs import ACTIVATIONS, CACHE, CHECKED
from zoo.lookup.space import DAY, Space, folders_in, space_of
from zoo.store.prune import FileToDelete, PrunePlan
from zoo.store.regular import read_regular

__all__ = ["Cache", "delete_caches", "list_caches", "what_of", "with_caches"]

KIND = "cache of training"
WHY = "a cache: training computes it again if it is missed"
FILLING = ".filling-"
OWN = {
    ACTIVATIONS: re.compile(rf"[0-9a-f]{{64}}|{re.escape(FILLING)}[0-9a-f]{{8}}"),
    CHECKED: re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}"),
}
"""What the folders of caches are called that zoo itself writes, by where they are."""


@dataclass(frozen=True, slots=True)
class Cache:
    """One of them: its path in the zoo's folder, and what it takes."""

    file: str
    space: Space

    @property
    def taken(self) -> bool:
        """Whether a process may be writing it, which takes a day at most, or reads copies."""
        age, path = time.time() - self.space.at, Path(self.file)
        if path.parent.name == CHECKED:
            return age < SILENT  # whoever has them open renews their time
        return path.name.startswith(FILLING) and age < DAY


class _Made(msgspec.Struct):
    architecture: str
    cut: str = ""  # none: features at all depths
    count: int = 0


def list_caches(root: Path) -> Iterator[Cache]:
    """Those of the zoo in ``root``."""
    for home, own in OWN.items():
        for folder in folders_in(root / CACHE / home):
            if own.fullmatch(folder.name):
                yield Cache(folder.relative_to(root).as_posix(), space_of(folder))


def what_of(root: Path, cache: Cache) -> str:
    """What a cache is of, in a few words; empty where that cannot be read."""
    if Path(cache.file).parent.name == CHECKED:
        return "copies of the images in a Parquet file"
    try:
        data = read_regular(root / cache.file / "description.json", JSON_FILE_BYTES)
        meta = msgspec.json.decode(data, type=_Made)
    except (OSError, msgspec.MsgspecError, ZooError, UnicodeError):
        return ""
    if not meta.cut:
        return f"{meta.architecture}, features of images"
    return f"{meta.architecture} up to {meta.cut}, {plural(meta.count, 'image')}"


def with_caches(root: Path, plan: PrunePlan, unused_days: float) -> PrunePlan:
    """The ``plan`` of a prune of the zoo, and the caches that nothing has used for so many days."""
    doomed, spared = _old(root, unused_days)
    return replace(plan, doomed=(*plan.doomed, *doomed), young=plan.young + spared)


def delete_caches(root: Path, shown: PrunePlan, done: PrunePlan, unused_days: float) -> PrunePlan:
    """Delete the caches that were ``shown`` and that nothing has used since: what is ``done``, and
    these. A run that has activations open goes on: the system keeps their bytes until then.
    """
    listed = {item.file for item in shown.doomed}
    doomed = [item for item in _old(root, unused_days)[0] if item.file in listed]
    for folder in {(root / item.file).parent for item in doomed}:
        shutil.rmtree(folder, ignore_errors=True)
    gone = (item for item in doomed if not (root / item.file).exists())
    return replace(done, doomed=(*done.doomed, *gone))


def _old(root: Path, unused_days: float) -> tuple[list[FileToDelete], int]:
    """The files that are to be deleted, and how many are spared."""
    doomed, spared, before = list[FileToDelete](), 0, time.time() - unused_days * DAY
    for each in list_caches(root):
        if each.taken or each.space.at > before:
            spared += each.space.files
            continue
        with suppress(OSError):  # another process makes way
            for path in sorted((root / each.file).iterdir()):
                name = f"{each.file}/{path.name}"
                doomed.append(FileToDelete(KIND, name, name, path.lstat().st_size, WHY, 0))
    return doomed, spared
