"""Origin: what is known of weights beside their bytes, and the manifest that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

from zoo import plugins
from zoo.backbones.describe import outline_of
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.hashes import sha256_of
from zoo.domain.import_options import AUTO, ImportOptions
from zoo.domain.surgery import Surgery
from zoo.domain.task import with_task
from zoo.domain.words import checked_note
from zoo.errors import InvalidOption, InvalidWeights
from zoo.exchange.layouts import PublishedLayout
from zoo.exchange.metadata import Metadata, metadata_of_options
from zoo.lookup.identify import Candidate
from zoo.lookup.parent import FoundParent, ParentFinder
from zoo.store.header import is_safetensors, read_header
from zoo.workspace import Workspace

__all__ = [
    "IMPORTED",
    "STATED",
    "Find",
    "FromPlan",
    "Origin",
    "origin_of",
    "outlined",
    "stamp",
]

DTYPES = frozenset(["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"])
"""What every version of torch reads."""
IMPORTED = ("file", "folder")
"""What the provenance of imported weights has as their source."""
STATED = "stated on import"
"""What it has of what nothing but the user says."""
Find = Callable[[m.Manifest, Sequence[Candidate]], FoundParent | None]
"""Finds the parent of a checkpoint whose tensors are stored, given those that share some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPlan:
    """What the plan of an import of a folder knows of a file; nothing for a file alone.

    Attributes:
        metrics: What the weights were measured to have.
        metrics_by: Who says so.
        find: Says what the parent is, where it is to be found; None: it is looked for.
        parent: Name and digest of the one that the user states: the name may have moved since.
        sha256: Of the file, as far as that is `unchanged`; empty if it is not known.
        unchanged: Its `stamp` when it was hashed.
        replaces: The checkpoint that the name may be taken from, as a plan said.
        seen: Of weights that somebody has sent: the checkpoints here that they may see. Nothing
            else here tells of the weights, and these only what their parent is. None: all tell.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_by: str = ""
    find: Find | None = None
    parent: tuple[str, Digest] | None = None
    sha256: str = ""
    unchanged: tuple[int, ...] = ()
    replaces: Digest | None = None
    seen: frozenset[Digest] | None = None

    def hash_of(self, path: Path) -> str:
        """The SHA-256 of the file, in hex; it is read if it is not known, or has changed since."""
        if self.sha256 and stamp(path) == self.unchanged:
            return self.sha256
        return sha256_of(path)


def stamp(path: Path) -> tuple[int, ...]:
    """What changes whenever a file is written to, or another one takes its place."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is known of weights beside their bytes.

    Attributes:
        plugin: The backbone plugin.
        architecture: A name that it knows.
        architecture_by: Who says that it is that one; empty if it is the user, or the publisher.
        tag: Pretrained tag, for the preprocessing and class names that belong to it.
        license: License id.
        provenance: Where they came from, as text.
        layout: How their publisher describes the network, where that is what counts.
        published: Whether they are the weights that the architecture was published with, so that
            their outputs are the classes of these.
        metadata: What else is said of imported weights, by the user first.
        built_with: How its script says that it differs from the architecture.
        image_size: Height and width that the user says it is built for.
        metrics: What the user says the weights were measured to have.
        parent: What the user says they were fine-tuned from, and its manifest.
        find: Finds the parent; None if it is not looked for.
        from_plan: What the plan of an import of a folder knows of the file.
    """

    plugin: str
    architecture: str
    architecture_by: str = ""
    tag: str | None = None
    license: str | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    layout: PublishedLayout | None = None
    published: bool = False
    metadata: tuple[Metadata, ...] = ()
    built_with: Surgery = field(default_factory=Surgery)
    image_size: tuple[int, int] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    parent: tuple[m.Parent, m.Manifest] | None = None
    find: Find | None = None
    from_plan: FromPlan = field(default_factory=FromPlan)

    @property
    def surgery(self) -> Surgery:
        """How the network differs from the architecture, as far as anybody says."""
        surgery = self.layout.network.surgery if self.layout else self.built_with
        return replace(surgery, image_size=self.image_size) if self.image_size else surgery

    @property
    def may_be_here(self) -> bool:
        """Whether a checkpoint here with these bytes is what is meant: of a file, or of a folder
        that zoo wrote, imported by itself.
        """
        whole = self.layout is not None and self.layout.whole is not None
        known = whole if self.provenance["source"] == "folder" else True
        by_user = self.provenance["source"] in ("file", "folder")
        return by_user and known and not self.from_plan.sha256

    @property
    def preprocessing_by(self) -> str:
        """Who says what its preprocessing is; empty if nobody does."""
        if self.layout:
            return self.layout.file if self.layout.network.preprocessing else ""
        return f"{self.architecture}.{self.tag}" if self.tag else ""

    @property
    def classes_by(self) -> str:
        """Who says what its classes are; empty if nobody does."""
        return self.layout.file if self.layout else self.preprocessing_by

    @property
    def are_published_classes(self) -> bool:
        """Whether its outputs are those that the architecture was published with. As many outputs
        as ImageNet has are no reason to take its names.
        """
        stated = self.layout and self.layout.network.published_classes
        return bool(self.published or self.tag or stated)

    def manifest(
        self, outputs: int, preprocessing: m.Preprocessing, classes: tuple[str, ...]
    ) -> m.Manifest:
        """The manifest of its network with so many outputs; without weights."""
        task = self.layout.network.task if self.layout else "classification"
        manifest = m.Manifest(
            backbone=m.Backbone(
                plugin=self.plugin,
                architecture=self.architecture,
                options=replace(self.surgery, num_classes=outputs).to_options(),
            ),
            head=m.Head(kind="native", num_classes=outputs),
            preprocessing=preprocessing,
            classes=classes if len(classes) == outputs else (),
            weights=(),
            license=self.license,
        )
        return with_task(manifest, task)


def origin_of(
    workspace: Workspace,
    source: str,
    options: ImportOptions,
    from_plan: FromPlan | None,
) -> Origin:
    """What is said of weights by the user and beside them, before it is known of what network they
    are.

    Raises:
        InvalidOption: A metric has no name, or a value that it cannot have.
        UnknownName: The parent is not here.
    """
    from_plan = from_plan or FromPlan()
    provenance, metrics = {"source": source}, dict(options.get("metrics") or {})
    if dataset := options.get("dataset"):
        provenance["dataset"] = dataset
    if note := checked_note(options.get("note") or ""):
        provenance["note"] = note
    if metrics:
        provenance["metrics"] = f"{STATED}, not measured"
        if not 0 <= (share := metrics.get("accuracy", 0.0)) <= 1 and isfinite(share):
            raise InvalidOption(f"accuracy {share:g}: a share of 1 is meant (accuracy=0.725)")
    elif from_plan.metrics:
        metrics = dict(from_plan.metrics)
        provenance["metrics"] = f"from {from_plan.metrics_by}, not measured here"
    if wrong := [name for name, value in metrics.items() if not name or not isfinite(value)]:
        raise InvalidOption(f"the metric '{wrong[0]}' needs a name and a finite number")
    parent = find = None
    if (name := options.get("parent")) == AUTO:
        find = from_plan.find or ParentFinder(workspace).find
    elif name:
        ref, digest = from_plan.parent or workspace.names.resolve(name)
        stated = m.Parent(manifest=digest, relation="finetune", ref=str(ref or name))
        parent = (stated, workspace.store.manifest(digest))
        provenance["parent"] = STATED
    return Origin(
        plugin="",
        architecture="",
        license=options.get("license"),
        provenance=provenance,
        metadata=(metadata_of_options(options),),
        image_size=options.get("image_size"),
        metrics=metrics,
        parent=parent,
        find=find,
        from_plan=from_plan,
    )


def outlined(sources: Sequence[Path], origin: Origin) -> m.Manifest | None:
    """The manifest, without weights, of one safetensors file that has exactly the tensors of the
    outline of its architecture, with any number of outputs.

    What is found here is what building the network would tell. Where there is any doubt it is None,
    and no error told: whoever asks builds the network, and says what is wrong.
    """
    layout = origin.layout
    if len(sources) != 1 or origin.image_size or (layout and not layout.as_outlined):
        return None
    if origin.built_with != Surgery():
        return None
    known, outline = plugins.known(origin.plugin), outline_of(origin.plugin, origin.architecture)
    if known is None or outline is None:
        return None
    shapes = _shapes(sources[0])
    outputs = outline.fits(shapes) if shapes else None
    tag = origin.tag or ""
    preprocessing = layout.network.preprocessing if layout else outline.preprocessing.get(tag)
    if outputs is None or preprocessing is None:
        return None
    classes: tuple[str, ...] | None = layout.network.classes if layout else ()
    if not classes and origin.are_published_classes:
        with plugins.blaming("zoo.backbones", origin.plugin):
            classes = known.classes(outputs)
    return None if classes is None else origin.manifest(outputs, preprocessing, classes)


def _shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    try:
        if not path.is_file() or not is_safetensors(path):
            return None
        entries = read_header(path).entries
    except InvalidWeights:
        return None
    plain = all(entry.dtype in DTYPES for entry in entries)
    return {entry.name: entry.shape for entry in entries} if plain else None
