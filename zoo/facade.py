"""Zoo: everything that can be done with a zoo, in one place. Each method hands on to its package.

Torch, timm and numpy are imported by the methods that touch tensors, not before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from zoo.domain.digest import Digest
from zoo.domain.manifest import Head
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.domain.surgery import Surgery
from zoo.errors import Unsupported
from zoo.lookup.details import details
from zoo.lookup.lineage import lineage
from zoo.lookup.runs import Run, find_run, list_runs
from zoo.store.retry import maintained
from zoo.workspace import Workspace, connect

if TYPE_CHECKING:
    from torch import nn

    from zoo.backbones.predict import Prediction
    from zoo.contracts import Maintained
    from zoo.domain.catalog import Release
    from zoo.domain.hierarchy import Hierarchy
    from zoo.domain.history import RefEntry
    from zoo.exchange.adapt import Adapted
    from zoo.finetune.features import Features
    from zoo.finetune.find_rate import RateCurve
    from zoo.finetune.run import Result
    from zoo.registry import Found
    from zoo.store.prune import Plan
    from zoo.store.verify import Report
    from zoo.transfer.copy import Copied
    from zoo.transfer.fetch import Fetched
    from zoo.transfer.repair import Repaired

__all__ = ["Zoo"]


class Zoo:
    """A zoo on disk. A context manager; `close` releases its registry.

    Args:
        workspace: The folder, its store and its registry.
        progress: Told how far long work is.
    """

    def __init__(self, workspace: Workspace, *, progress: Progress = silent) -> None:
        self.workspace = workspace
        self.progress = progress

    @classmethod
    def open(cls, home: Path | str | None = None, *, progress: Progress = silent) -> Self:
        """Open ``home``, else what ``ZOO_HOME`` names, else the nearest zoo upward from here.

        Raises:
            NoZoo: There is none.
        """
        return cls(Workspace.find(Path(home) if home else None), progress=progress)

    @classmethod
    def init(cls, home: Path | str = ".", *, progress: Progress = silent) -> Self:
        """Make a zoo in the folder ``home``; one that is there is kept as it is."""
        return cls(Workspace.create(Path(home).resolve()), progress=progress)

    def close(self) -> None:
        """Release the registry."""
        self.workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def root(self) -> Path:
        """The zoo's folder."""
        return self.workspace.root

    def index(self, source: str, **wanted: Any) -> int:
        """List a source's checkpoints in the registry; how many there are.

        ``wanted`` are fields of `zoo.exchange.indexing.Wanted`: ``library="timm"``, ``author``,
        ``limit``, ``results=("results-imagenet.csv",)``.

        Raises:
            UnknownName: No source of that name.
            InvalidOption: The source cannot be asked so.
            Unavailable: It does not answer.
        """
        from zoo.exchange.indexing import Wanted, index

        return index(self.workspace, source, Wanted(**wanted), progress=self.progress)

    def deepen(self, source: str) -> tuple[int, dict[str, str]]:
        """Trace all architectures that a source lists (`zoo.exchange.deepen.deepen`)."""
        from zoo.exchange.deepen import deepen

        return deepen(self.workspace, source, progress=self.progress)

    def search(self, text: str = "", **asked: Any) -> list[Found]:
        """Checkpoints here and at remotes, newest first, then catalog entries by name.

        ``text`` holds words and filters: ``convnext params<30M license:apache-2.0``; all must hold
        (docs/search.md). ``asked`` are ``sort``, ``limit``, and fields with what they must equal.

        Raises:
            UnknownName: No such field; near ones are suggested.
            InvalidOption: A value that the field does not take.
        """
        from zoo.registry import Query

        return self.workspace.registry.search(Query.parse(text, **asked))

    def count(self, text: str = "", *, at_most: int | None = None, **asked: Any) -> int:
        """How many `search` finds, whatever the limit; no more than ``at_most`` are counted."""
        from zoo.registry import Query

        return self.workspace.registry.count(Query.parse(text, **asked), at_most=at_most)

    def show(self, name: str) -> dict[str, Any]:
        """All that is known of a checkpoint or catalog entry (`zoo.lookup.details.details`)."""
        return details(self.workspace, name)

    def log(self, name: str) -> dict[str, Any]:
        """Lineage and history of a checkpoint (`zoo.lookup.lineage.lineage`)."""
        return lineage(self.workspace, name)

    def diff(self, one: str, other: str) -> dict[str, Any]:
        """What is different between two checkpoints (`zoo.lookup.diff.diff`)."""
        from zoo.lookup.diff import diff

        return diff(self.workspace, one, other)

    def identify(self, path: Path | str) -> dict[str, Any]:
        """Which checkpoint a stray weights file is (`zoo.exchange.stray.identify_file`)."""
        from zoo.exchange.stray import identify_file

        return identify_file(self.workspace, Path(path))

    def best(self, text: str = "", **how: Any) -> dict[str, Any]:
        """The checkpoint with the best ``metric`` on a ``dataset`` (`zoo.lookup.best.best`)."""
        from zoo.lookup.best import best

        return best(self.workspace, text, **how)

    def architectures(self, pattern: str = "*") -> dict[str, Any]:
        """Architectures, or all weights of one (`zoo.lookup.architectures.architectures`)."""
        from zoo.lookup.architectures import architectures

        return architectures(self.workspace, pattern)

    def reindex(self) -> dict[str, Any]:
        """Make ``registry.db`` again (`zoo.exchange.reindexing.reindex`)."""
        from zoo.exchange.reindexing import reindex

        return reindex(self.workspace, progress=self.progress)

    def tree(self, name: str) -> Hierarchy:
        """The units, stages and head of a checkpoint, a catalog entry, or an architecture.

        Raises:
            UnknownName: None of these is called ``name``; near names are suggested.
            Unsupported: The network cannot be traced.
        """
        from zoo.exchange.architecture import hierarchy_of

        return hierarchy_of(self.workspace, name)

    def pull(self, name: str, *, source: str | None = None) -> tuple[Reference, Digest, Release]:
        """Fetch published weights into the zoo (`zoo.exchange.acquire.acquire`)."""
        from zoo.exchange.acquire import acquire
        from zoo.exchange.reindexing import keep_hierarchy

        done = acquire(self.workspace, name, source=source, progress=self.progress)
        keep_hierarchy(self.workspace, done[1])
        return done

    @classmethod
    def clone(cls, remote: str, home: Path | str = ".", *, progress: Progress = silent) -> Self:
        """Make a zoo in the folder ``home`` that knows ``remote`` as ``origin``; `fetch` that.

        Raises:
            Unavailable: The remote is not there.
            Conflict: A zoo with another ``origin`` is in ``home`` already.
        """
        connect(remote)  # before anything is made
        made = cls.init(home, progress=progress)
        made.workspace.add_remote("origin", remote)
        return made

    def fetch(self, remote: str) -> Fetched:
        """Learn what a remote has, without its weights (`zoo.transfer.fetch.fetch`)."""
        from zoo.transfer.fetch import fetch

        return fetch(self.workspace, remote, progress=self.progress)

    def holder(self, name: str) -> str | None:
        """The remote to pull ``name`` from (`zoo.transfer.sync.holder`)."""
        from zoo.transfer import sync

        return sync.holder(self.workspace, name)

    def pull_from(self, name: str, remote: str) -> tuple[Reference, Copied]:
        """Bring a checkpoint from a remote (`zoo.transfer.sync.pull`)."""
        from zoo.transfer import sync

        return sync.pull(self.workspace, name, remote, progress=self.progress)

    def push(
        self, name: str, to: str, *, force: bool = False, smallest: bool = False
    ) -> tuple[Reference, Copied]:
        """Send a checkpoint to a remote (`zoo.transfer.sync.push`)."""
        from zoo.transfer import sync

        return sync.push(
            self.workspace, name, to, force=force, smallest=smallest, progress=self.progress
        )

    def delete(self, name: str) -> RefEntry:
        """Delete a name; until a prune, ``tag`` restores it from its last digest."""
        return self.workspace.delete(Reference.parse(name))

    def plan_prune(
        self, remote: str | None = None, *, keep_days: float = 90, grace_days: float = 14
    ) -> Plan:
        """What a prune would delete (`zoo.store.prune.plan`). Nothing is changed."""
        from zoo.store.prune import plan

        keep, grace = timedelta(days=keep_days), timedelta(days=grace_days)
        return plan(self._maintained(remote), keep=keep, grace=grace)

    def prune(
        self,
        plan: Plan,
        remote: str | None = None,
        *,
        keep_days: float = 90,
        grace_days: float = 14,
    ) -> Plan:
        """Delete what ``plan`` lists and nothing needs; what was deleted.

        Raises:
            Conflict: Somebody is writing; nothing was deleted.
        """
        from zoo.store.prune import execute

        keep, grace = timedelta(days=keep_days), timedelta(days=grace_days)
        done = execute(
            self._maintained(remote), plan, keep=keep, grace=grace, progress=self.progress
        )
        if not remote:
            gone = [item.name for item in done.doomed if item.kind == "manifest"]
            self.workspace.registry.forget(Digest.parse(name) for name in gone)
        return done

    def verify(self, remote: str | None = None) -> Report:
        """Hash everything in the zoo, or in a remote, again (`zoo.store.verify.verify`)."""
        from zoo.store.verify import verify

        return verify(self._maintained(remote), progress=self.progress)

    def repair(self, source: str | None = None, *, remote: str | None = None) -> Repaired:
        """Mend the zoo, or ``remote``, from the remote ``source``; None: from the zoo itself."""
        from zoo.transfer.repair import repair

        place = self.workspace.remote(source) if source else self.workspace.store
        return repair(self._maintained(remote), place, progress=self.progress)

    def _maintained(self, remote: str | None) -> Maintained:
        if not remote:
            return self.workspace.store
        place = maintained(self.workspace.remote(remote))
        if place is None:
            raise Unsupported(f"the remote '{remote}' cannot list what it holds")
        return place

    def tag(self, name: str, new: str, *, at: datetime | None = None) -> RefEntry:
        """Point the reference ``new`` at what ``name`` (a reference or digest) points at.

        With ``at``, a time with a time zone, at what the reference ``name`` pointed at then.
        """
        ref = Reference.parse(new)
        self.workspace.check_free(ref)
        digest = self.workspace.resolve_at(name, at) if at else self.workspace.resolve(name)[1]
        return self.workspace.move(ref, digest, f"tag {name}" + (f" at {at:%F}" if at else ""))

    def protect(self, name: str, *, on: bool = True) -> RefEntry:
        """Keep a name where it is until it is unprotected (``on=False``)."""
        return self.workspace.protect(Reference.parse(name), on=on)

    def import_file(
        self,
        path: Path | str,
        name: str,
        *,
        architecture: str,
        backbone: str = "timm",
        license: str | None = None,  # noqa: A002 - the field's word
        files: Iterable[Path | str] = (),
    ) -> tuple[Reference, Digest]:
        """Store a ``.safetensors`` or weights-only ``.pth`` file (`zoo.exchange.importing`)."""
        from zoo.exchange.importing import Origin, import_file
        from zoo.exchange.reindexing import keep_hierarchy

        ref = Reference.parse(name)
        self.workspace.check_free(ref)
        origin = Origin(
            plugin=backbone,
            architecture=architecture,
            license=license,
            provenance={"source": "file"},
        )
        digest = import_file(
            self.workspace, Path(path), ref, origin, files=[Path(file) for file in files],
            progress=self.progress,
        )  # fmt: skip
        keep_hierarchy(self.workspace, digest)
        return ref, digest

    def export(self, name: str, folder: Path | str) -> list[Path]:
        """Write a checkpoint as a folder that its own library loads (`zoo.exchange.exporting`)."""
        from zoo.exchange.exporting import export

        _, digest = self.workspace.resolve(name)
        return export(self.workspace, digest, Path(folder))

    def adapt(
        self, name: str, save: str, *, classes: int | None = None, head: str = "linear", **how: Any
    ) -> Adapted:
        """A checkpoint's weights in another network (`zoo.exchange.adapt.adapt`).

        ``how`` are fields of `zoo.domain.surgery.Surgery`: ``truncate="blocks.3"``,
        ``image_size=(320, 320)``, ``channels``, ``without``, ``convolutional``; ``classes`` is for
        a new head of the kind ``head``.
        """
        from zoo.exchange.adapt import adapt

        new = Head(kind=head, num_classes=classes) if classes is not None else None
        return adapt(
            self.workspace, name, Reference.parse(save), Surgery(**how), head=new,
            progress=self.progress,
        )  # fmt: skip

    def load(self, name: str, *, device: str = "cpu") -> nn.Module:
        """A checkpoint as a module in eval mode, with its `Card` as ``module.zoo``.

        Raises:
            UnknownName: No such checkpoint here.
            Corrupt: A part of it is damaged.
        """
        from zoo.backbones.load import load

        _, digest = self.workspace.resolve(name)
        return load(self.workspace.store, digest, device=device)

    def predict(self, name: str, images: Iterable[Path | str], *, top: int = 5) -> list[Prediction]:
        """The likeliest classes of each image, and all logits."""
        from zoo.backbones.predict import predict

        return list(predict(self.load(name), images, top=top))

    def features(
        self, name: str, data: Path | str, out: Path | str, *, at: str = "head",
        batch_size: int = 32, device: str = "auto", force: bool = False,
    ) -> Features:  # fmt: skip
        """Write the codes of all images in ``data`` at a unit (`zoo.finetune.features`)."""
        from zoo.finetune.features import write_features

        return write_features(
            self.workspace, name, str(data), Path(out), at=at, batch_size=batch_size,
            device=device, force=force, progress=self.progress,
        )  # fmt: skip

    def finetune(
        self, base: str, data: Path | str, save: str, *, device: str = "auto",
        save_every: int = 0, **options: Any,
    ) -> Result:  # fmt: skip
        """Fine-tune ``base`` on ``data`` and save the result under ``save``.

        ``options`` are the fields of `zoo.domain.recipe.Recipe`: ``freeze="stages.2"``, ``head``,
        ``epochs``…

        Raises:
            InvalidOption, InvalidFreeze, InvalidData: Before anything is trained.
        """
        freeze = str(options.pop("freeze", "none"))  # a count may be given as a number
        recipe = Recipe(data=str(data), freeze=freeze, **options)
        return self.carry_out(recipe, base, save, device=device, save_every=save_every)

    def carry_out(
        self, recipe: Recipe, base: str, save: str, *, device: str = "auto", save_every: int = 0
    ) -> Result:
        """Fine-tune ``base`` after ``recipe``; the rest is as for `finetune`."""
        from zoo.finetune.run import finetune

        return finetune(
            self.workspace, base, recipe, Reference.parse(save), device=device,
            save_every=save_every, progress=self.progress,
        )  # fmt: skip

    def try_rates(self, recipe: Recipe, base: str, *, device: str = "auto") -> RateCurve:
        """Try learning rates for ``recipe`` on ``base``; nothing is kept.

        Raises:
            InvalidOption: The recipe trains nothing; else as `finetune`.
        """
        from zoo.finetune.run import try_rates

        return try_rates(self.workspace, base, recipe, device=device, progress=self.progress)

    def resume(self, run: str, *, save_every: int = 0) -> Result:
        """Go on with a run that was cut off; ``last`` is the newest.

        Raises:
            UnknownName: No such run.
            Conflict: It is done, or going on.
            InvalidData: The images are not those that it was trained on so far.
        """
        from zoo.finetune.run import resume

        return resume(self.workspace, run, save_every=save_every, progress=self.progress)

    def rerun(
        self, name: str, save: str, *, data: Path | str | None = None, device: str = "auto"
    ) -> Result:
        """Fine-tune again as the checkpoint ``name`` was.

        Raises:
            UnknownName: No such checkpoint, or its base is not here.
            Unsupported: It is not the result of a fine-tune.
            InvalidData: The images are not those that it was trained on.
        """
        from zoo.finetune.run import rerun

        return rerun(
            self.workspace, name, Reference.parse(save), data=str(data) if data else None,
            device=device, progress=self.progress,
        )  # fmt: skip

    def runs(self) -> list[Run]:
        """All fine-tunes that were begun here, newest first."""
        return list_runs(self.workspace)

    def run(self, name: str) -> Run:
        """One of them, by its id or the beginning of it; ``last`` is the newest.

        Raises:
            UnknownName: None begins so, or several do.
        """
        return find_run(self.workspace, name)
