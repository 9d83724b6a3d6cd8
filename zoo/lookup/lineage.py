"""Lineage: how a checkpoint derives from others, checked, and what its name pointed at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import ClassVar

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import FOUND, Manifest
from zoo.domain.plain import Json
from zoo.domain.reference import Reference
from zoo.domain.result import AtRemote, Result
from zoo.errors import InvalidReference, MissingObject, NoCheckpoint, UnknownName, ZooError
from zoo.lookup.check import Check, check_parent
from zoo.lookup.edited import children
from zoo.lookup.license import Terms, terms
from zoo.lookup.ref_status import at_remotes
from zoo.store.manifests import checkpoint_of, manifest_if_any
from zoo.workspace import Workspace

__all__ = ["Lineage", "LogEntry", "Step", "descendants", "lineage"]

OF_CHECKPOINT = (
    "architecture",
    "created",
    "license",
    "freeze",
    "metrics",
    "source",
    "author",
    "note",
)
OF_PLACE = ("problem", "child", "check", "parent", "depth")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Step(Result):
    """One checkpoint of a lineage.

    Attributes:
        manifest: Its identity.
        name: Its name here, or else the one that it had where it is.
        refs: All of its names here.
        relation: ``self``, or how it is related to the one before.
        here: Whether it is in this zoo and can be read.
        problem: Why it cannot be read.
        architecture: Architecture; of what is not here, nothing from here to ``note`` is known.
        created: When it was made.
        license: License id.
        freeze: What training froze.
        metrics: Results.
        source: The source that it was pulled from.
        author: Who trained it.
        note: What was said of it then.
        child: Of an ancestor: what declares it as its parent.
        check: What the bytes say of that; None if it cannot be checked here.
        parent: Of a descendant: the checkpoint that it derives from.
        depth: Of a descendant: 1 for a child.
    """

    manifest: Digest
    name: str
    refs: tuple[str, ...]
    relation: str
    here: bool
    problem: str | None = None
    architecture: str | None = None
    created: str | None = None
    license: str | None = None
    freeze: Mapping[str, object] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    source: str | None = None
    author: str | None = None
    note: str | None = None
    child: Digest | None = None
    check: Check | None = None
    parent: Digest | None = None
    depth: int | None = None

    def to_json(self) -> Json:
        """Plain data for JSON, without what does not apply to such a step."""
        data = Result.to_json(self)
        left_out = {key for key in OF_PLACE if data[key] is None}
        left_out |= set() if self.here else set(OF_CHECKPOINT)
        left_out -= {"check"} if self.child else set()
        return {key: value for key, value in data.items() if key not in left_out}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry in the log of the name, and whether what it pointed at then is here."""

    _COLUMNS: ClassVar = (
        "entry.number",
        "entry.at",
        "entry.by",
        "entry.manifest",
        "entry.why",
        "here",
    )

    entry: RefEntry
    here: bool

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return {**self.entry.to_json(), "here": self.here}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Lineage(Result):
    """How a checkpoint derives from others, and what its name pointed at.

    Attributes:
        name: The name, or the digest if that was asked for.
        manifest: The checkpoint; of a name of files only, the snapshot.
        deleted: Whether the name was deleted; the checkpoint is then the last one.
        ancestors: From the checkpoint itself to the root; empty of files only.
        children: What derives from it directly.
        descendants: All that derives from it.
        terms: What the licenses come to.
        warnings: Where bytes or licenses disagree with what is declared.
        at_remotes: What remotes have under the name.
        history: The log of the name, newest first.
    """

    name: str
    manifest: Digest
    deleted: bool
    ancestors: tuple[Step, ...]
    children: tuple[Step, ...]
    descendants: tuple[Step, ...]
    terms: Terms
    warnings: tuple[str, ...]
    at_remotes: tuple[AtRemote, ...]
    history: tuple[LogEntry, ...]


def lineage(workspace: Workspace, name: str) -> Lineage:
    """The lineage of a checkpoint, each declared parent checked against bytes. A name that holds
    files only has none, but a history.

    Raises:
        UnknownName: No such checkpoint here, or not any more; near names are suggested.
    """
    ref, digest, deleted = _named(workspace, name)
    shown = str(ref or digest)
    manifest = manifest_if_any(workspace.store, digest)
    ancestors = _ancestors(workspace, digest, manifest, shown) if manifest else ()
    below = descendants(workspace, digest)
    nothing = Terms(limits=(), unknown=(), warning="")
    of_license = terms(workspace, shown, manifest) if manifest else nothing
    return Lineage(
        name=shown,
        manifest=digest,
        deleted=deleted,
        ancestors=ancestors,
        children=tuple(step for step in below if step.parent == digest),
        descendants=below,
        terms=of_license,
        warnings=(*_warnings(ancestors), *filter(None, [of_license.warning])),
        at_remotes=at_remotes(workspace, ref),
        history=tuple(
            LogEntry(workspace.shown_entry(entry), workspace.store.has_manifest(entry.manifest))
            for entry in reversed(workspace.store.history(ref) if ref else ())
        ),
    )


def _named(workspace: Workspace, name: str) -> tuple[Reference | None, Digest, bool]:
    """As `Names.resolve`, but a name of files only is known, and a deleted one as long as what it
    pointed at is here.
    """
    try:
        return *workspace.names.resolve(name), False
    except NoCheckpoint:
        return *workspace.names.target(name), False
    except UnknownName:
        with suppress(InvalidReference):  # it is a digest
            ref = Reference.parse(name)
            entry = workspace.store.read_ref(ref)
            if entry and workspace.store.has_manifest(entry.manifest):
                return ref, checkpoint_of(workspace.store, entry.manifest) or entry.manifest, True
        raise


def descendants(workspace: Workspace, digest: Digest) -> tuple[Step, ...]:
    """All that derives from a checkpoint, or from what it was edited from, as far as it is indexed:
    each right below its ``parent``, ``depth`` 1 for a child; oldest first.
    """
    seen, steps = {digest}, []
    waiting = [(digest, child, 1) for child in reversed(children(workspace, digest))]
    while waiting:
        parent, child, depth = waiting.pop()
        if child not in seen:
            seen.add(child)
            refs = [str(ref) for ref in workspace.registry.refs_of(child)]
            step = _step(workspace, child, refs, relation="child")
            steps.append(replace(step, parent=parent, depth=depth))
            further = reversed(workspace.registry.children(child))
            waiting += [(child, each, depth + 1) for each in further]
    return tuple(steps)


def _ancestors(
    workspace: Workspace, digest: Digest, manifest: Manifest, name: str
) -> tuple[Step, ...]:
    """From the checkpoint to the root. A manifest tells its whole lineage: none else is needed."""
    called = defaultdict(list)
    for ref, target, _ in workspace.registry.refs():
        called[target].append(str(ref))
    steps = [_step(workspace, digest, called[digest], relation="self", name=name)]
    for child, parent in manifest.lineage():
        refs, relation = called[parent.manifest], parent.relation
        step = _step(workspace, parent.manifest, refs, relation=relation, name=parent.ref)
        check = _check(workspace, child or digest, parent.manifest)
        steps.append(replace(step, child=child or digest, check=check))
    return tuple(steps)


def _check(workspace: Workspace, child: Digest, parent: Digest) -> Check | None:
    try:
        manifest = workspace.store.manifest(child)
    except (ZooError, OSError):  # its own step tells
        return None
    return check_parent(workspace, child, manifest, parent)


def _warnings(ancestors: Iterable[Step]) -> Iterator[str]:
    names = {step.manifest: step.name for step in ancestors}
    for step in ancestors:
        if step.child and step.check and not step.check.agrees:
            like = step.check.resembles
            yield (
                f"{names[step.child]} {_claims(step)}, but its bytes disagree: "
                f"{step.check.warning}{f'; it shares tensors with {like}' if like else ''}"
            )


def _claims(step: Step) -> str:
    if step.relation == FOUND:
        return f"was found to derive from {step.name}"
    return f"declares {step.name} as its parent"


def _step(
    workspace: Workspace, digest: Digest, refs: list[str], *, relation: str, name: str = ""
) -> Step:
    name = name or _name(workspace, digest, refs)
    step = Step(manifest=digest, name=name, refs=tuple(refs), relation=relation, here=False)
    try:
        manifest = workspace.store.manifest(digest)
    except MissingObject:
        return step
    except (ZooError, OSError) as error:  # the rest of the lineage is worth reading all the same
        return replace(step, problem=str(error))
    return replace(
        step,
        here=True,
        architecture=manifest.backbone.architecture,
        created=manifest.created,
        license=manifest.license,
        freeze=manifest.freeze or None,
        metrics=manifest.metrics,
        source=manifest.provenance.get("source"),
        author=manifest.provenance.get("author"),
        note=manifest.provenance.get("note"),
    )


def _name(workspace: Workspace, digest: Digest, refs: list[str]) -> str:
    names = refs or [str(ref) for ref in workspace.registry.remote_names(digest)]
    return names[0] if names else str(digest)
