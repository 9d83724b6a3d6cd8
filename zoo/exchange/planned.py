"""PlannedFile, ImportPlan: what an import of a folder does, or has done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from zoo.domain.digest import Digest
from zoo.domain.plain import Json
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.exchange.layouts import PublishedLayout
from zoo.exchange.run_names import Moment

__all__ = ["Draft", "ImportPlan", "WalkedFile", "PlannedFile", "PlannedParent", "Status"]

Status = Literal["new", "here", "bad", "imported"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlannedParent(Result):
    """The parent that a file of a plan gets.

    Attributes:
        ref: Its name, here or once it is imported.
        how: How it was found, or that it was stated.
        manifest: It, if it is here.
        file: The file of the plan that it is, if it is not here.
        share: Share of the file's weights that are its, byte for byte; None if it was stated.
        apart: How far the weights are from its; None if it was stated.
        remark: What else is to be known of it.
    """

    ref: str
    how: str
    manifest: Digest | None = None
    file: Path | None = None
    share: float | None = None
    apart: float | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlannedFile(Result):
    """A file of weights below a folder that is imported, or a folder that says what it is.

    Attributes:
        path: The file, or the folder.
        run: The folder of the run that it is of, below that which is imported; with what its name
            begins with, where several runs are in one folder.
        refs: The names that its checkpoint gets.
        chosen: How it was chosen, if it is the one of a run of several that gets the run's name:
            ``best`` (its script or its name says so), ``best by accuracy``, or ``last``.
        status: ``new``, ``here`` (under these names), ``bad`` (see ``problem``), or ``imported``.
        size: Bytes of the file.
        sha256: Of the file, in hex.
        unchanged: What tells that the file is still the one that was hashed.
        script: What wrote it: ``timm``, ``Lightning``, ``Trainer``, or empty.
        key: The key of it that holds the weights.
        stripped: What the names of those tensors begin with that are taken.
        backbone: Plugin of the architecture.
        architecture: What network it is.
        architecture_by: Who says so.
        custom: How its configuration differs from that of the published network of that name.
        headless: Whether it has the tensors of that network but for the head.
        epoch: The epoch after which it was written.
        step: The step after which it was written.
        metrics: What it was measured to have, by its script.
        metrics_by: Who says so.
        verdict: What it is to the checkpoint here that it resembles most (`zoo identify`).
        of: The name of that checkpoint.
        share: Share of its weights that are that one's.
        nan_tensors: Its tensors with NaN or infinite values.
        parent: The parent that it gets.
        adds: What it tells that the checkpoint here does not have, and gets: metrics, parent; once
            it is imported also what the user says: license, class names, task, preprocessing.
        keeps: What it or the user tells otherwise than that checkpoint, which keeps its own.
        moves: Names among ``refs`` that are another checkpoint's now: the run has grown, or the
            user forces it.
        duplicate_of: Another file of the plan with the same bytes.
        alike: Another file of the plan with the same weights in other bytes.
        manifest: The checkpoint that it is, once it is here.
        problem: Why it is not imported.
        notes: What the import has to say.
    """

    path: Path
    run: str = ""
    refs: tuple[Reference, ...] = ()
    chosen: str = ""
    status: Status = "new"
    size: int = 0
    sha256: str = ""
    unchanged: tuple[int, ...] = ()
    script: str = ""
    key: str = ""
    stripped: str = ""
    backbone: str = ""
    architecture: str = ""
    architecture_by: str = ""
    custom: str = ""
    headless: bool = False
    epoch: int | None = None
    step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_by: str = ""
    verdict: str = "unknown"
    of: str = ""
    share: float | None = None
    nan_tensors: tuple[str, ...] = ()
    parent: PlannedParent | None = None
    adds: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    moves: Mapping[str, Digest] = field(default_factory=dict)
    duplicate_of: Path | None = None
    alike: Path | None = None
    manifest: Digest | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """Plain data for JSON."""
        data = Result.to_json(self)
        del data["unchanged"]
        return data


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ImportPlan(Result):
    """What an import of a folder does, or has done.

    Attributes:
        folder: The folder.
        files: Its files of weights, run by run, the earliest first.
        left_out: What else was met that is not imported, each with the reason.
        weights_bytes: Bytes of the weights of all files that are not here yet.
        shared_bytes: Bytes of these that are in the zoo already, or in two of the files.
        parent: What it was asked for as the parent: a name, ``auto``, or nothing.
    """

    folder: Path
    files: tuple[PlannedFile, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    weights_bytes: int = 0
    shared_bytes: int = 0
    parent: str = ""

    def having(self, *statuses: Status) -> tuple[PlannedFile, ...]:
        """Its files of some statuses."""
        return tuple(file for file in self.files if file.status in statuses)


@dataclass(frozen=True, slots=True)
class WalkedFile:
    """A file or folder of weights, where it lies and what its name says.

    Attributes:
        path: What is imported.
        weights: What is read of it.
        below: Its path below the folder that is imported.
        moment: Which moment of its run it is, as its name says.
        run: The folder of its run, and what its own name begins with.
        layout: What the files of a folder say that it is.
    """

    path: Path
    weights: Path
    below: Path
    moment: Moment | None
    run: tuple[PurePath, str]
    layout: PublishedLayout | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A file of a plan that has no names yet, and what they and its parent are found by.

    Attributes:
        walked: Where it lies.
        file: What is known of it.
        best: Name of the file that is called the best of its run.
        shares: The share of its weights that are those of checkpoints here.
        same: Checkpoints here with the same weights.
        weights: Tells its weights from others.
        unfit: Why it cannot be imported for itself, where its bytes are here.
    """

    walked: WalkedFile
    file: PlannedFile
    best: str = ""
    shares: Mapping[Digest, float] = field(default_factory=dict)
    same: frozenset[Digest] = frozenset()
    weights: str = ""
    unfit: str = ""
