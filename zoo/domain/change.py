"""Change: what differs for those who use a name, where it moves to another checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from unicodedata import normalize

from zoo.domain.manifest import Manifest
from zoo.domain.plain import Json
from zoo.domain.recipe import data_name
from zoo.domain.result import Result
from zoo.domain.task import Task, task_of
from zoo.domain.words import some

__all__ = ["Change", "change_of", "trained_on"]

AGAIN = "other images of "
UNSAID: Task = "classification"
"""What a task is of which nobody says anything."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Change(Result):
    """What another checkpoint answers otherwise. What is unknown of one of them is no difference.

    Attributes:
        new: Classes that it alone has.
        gone: Classes that it does not have any more.
        common: How many classes both have.
        task: The task before, and its own, each empty where nobody has said it, which counts as
            classification; None if that is the same.
        dataset: What was trained on before, and for it; None if that is the same.
    """

    new: tuple[str, ...] = field(default=(), metadata={"json": "new_classes"})
    gone: tuple[str, ...] = field(default=(), metadata={"json": "gone_classes"})
    common: int = field(default=0, metadata={"json": "common_classes"})
    task: tuple[str, str] | None = None
    dataset: tuple[str, str] | None = None

    @property
    def is_other(self) -> bool:
        """Whether nothing that was asked by the name is answered any more."""
        task = self.task is not None and all(self.task)
        return task or bool(self.new and self.gone and not self.common)

    @property
    def lines(self) -> tuple[str, ...]:
        """What differs, for people."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.task:
            before, after = (task or UNSAID for task in self.task)
            yield f"the task is {after}, was {before}"
        counts = [(self.new, "new"), (self.gone, "gone")]
        classes = ", ".join(
            f"{len(names)} {what} ({some(names)})" for names, what in counts if names
        )
        if classes:
            yield f"{'classes' if self.common else 'no class in common'}: {classes}"
        if self.dataset:
            yield f"trained on {self.dataset[1]}, was {self.dataset[0]}"

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Inverse of `to_json`."""
        pairs = {name: data[name] and tuple(data[name]) for name in ("task", "dataset")}
        new, gone = tuple(data["new_classes"]), tuple(data["gone_classes"])
        return cls(new=new, gone=gone, common=data["common_classes"], **pairs)


def change_of(before: Manifest, after: Manifest) -> Change | None:
    """What differs where a name moves from one checkpoint to another; None if nothing does."""
    old, has = (
        dict.fromkeys(normalize("NFC", name) for name in each.classes) for each in (before, after)
    )
    known = bool(old and has)
    change = Change(
        new=tuple(name for name in has if known and name not in old),
        gone=tuple(name for name in old if known and name not in has),
        common=len(old.keys() & has.keys()),
        task=_tasks(before, after),
        dataset=_data(before, after),
    )
    return change if change.lines else None


def _tasks(before: Manifest, after: Manifest) -> tuple[str, str] | None:
    if task_of(before) == task_of(after):
        return None
    old, has = (str((each.recipe or {}).get("task") or "") for each in (before, after))
    return old, has


def _pair(before: object, after: object) -> tuple[str, str] | None:
    known = isinstance(before, str) and isinstance(after, str) and before and after
    return (str(before), str(after)) if known and before != after else None


def _data(before: Manifest, after: Manifest) -> tuple[str, str] | None:
    """The data sets; the same images are the same, whatever they are called."""
    digests = [each.provenance.get("data_digest") for each in (before, after)]
    if digests[0] and digests[0] == digests[1]:
        return None
    old, has = trained_on(before), trained_on(after)
    if old and old == has and all(digests):
        return old, f"{AGAIN}{has}"
    return _pair(old, has)


def trained_on(manifest: Manifest) -> str:
    """What it was trained on, as was stated; else the folder, without what is above it; empty if
    that is unknown.
    """
    data = manifest.provenance.get("dataset") or (manifest.recipe or {}).get("data")
    return data_name(data) if isinstance(data, str) else ""
