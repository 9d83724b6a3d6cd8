"""Manifest: canonical JSON that describes one checkpoint; its digest is its identity."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Self

from msgspec import Meta, ValidationError, convert, to_builtins

from zoo.domain.bounded import parse, unrolled
from zoo.domain.digest import Digest
from zoo.domain.limits import (
    FILE_BYTES,
    MANIFEST_BYTES,
    MANIFEST_NESTING,
    MANIFEST_VALUES,
    NESTED_ANCESTORS,
)
from zoo.domain.plain import Json
from zoo.errors import MALFORMED, InvalidManifest, InvalidReference, Unsupported

__all__ = [
    "DECLARED",
    "EDITED",
    "FOUND",
    "STATED_HERE",
    "Backbone",
    "Head",
    "Manifest",
    "Parent",
    "PlainFile",
    "Preprocessing",
    "Tensor",
    "WeightsFile",
    "as_digest",
    "canonical",
    "is_file_name",
    "objects_of",
]

FORMAT = 1
"""An ancestor holds its own ancestors within it."""
FLAT = 2
"""The parents of ancestors are in a table, so that lineage has any depth."""
NESTED = 32
"""Ancestors in one line that are still written as format 1, which every version of zoo reads."""
Bytes = Annotated[int, Meta(ge=0, le=FILE_BYTES)]
"""A number of bytes, or a dimension, of what a file can hold; msgspec checks it."""
FOUND = "found"
"""The relation of a parent that nobody has declared: weights were found to derive from it."""
DECLARED = "declared"
"""The relation of a parent that only a folder from elsewhere states, and that was not here to be
compared: no name moves for it."""
EDITED = "edited"
"""Under this, the provenance of a checkpoint names the one of the same weights of which less was
stated."""
STATED_HERE = "stated"
"""All that is only said of a checkpoint begins with it in the provenance."""
UNKNOWN = "unknown"
"""What the provenance says of a preprocessing that nobody has stated."""
GUESSED = "guessed"
"""Under this, the provenance of a fine-tune names the settings that were unknown of its base: as it
was trained with them, they are a fact of it, and a guess of the base."""
SETTINGS = ("mean", "std", "interpolation", "crop_pct", "image_size")
"""What of a preprocessing can be unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor as a byte range of an object.

    Attributes:
        name: Key in the weights file.
        dtype: safetensors spelling (``F32``, ``BF16``…).
        shape: Dimensions.
        object: The object that holds the bytes.
        offset: First byte within it.
        nbytes: Length of the range.
    """

    name: str
    dtype: str
    shape: tuple[Bytes, ...]
    object: Digest
    offset: Bytes
    nbytes: Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A safetensors file ``name`` taken apart: its verbatim header, its tensors in file order.

    ``size`` and ``sha256`` are those of the whole file, so that it can be put together again
    byte-identical and checked.
    """

    name: str
    size: Bytes
    sha256: Digest
    header: Digest
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainFile:
    """Any other file of a checkpoint, kept whole as one object: ``name``, ``size``, ``sha256``."""

    name: str
    size: Bytes
    sha256: Digest
    object: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """How to build the network: the plugin, its architecture, and options for ``build``."""

    plugin: str
    architecture: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def is_like(self, other: Backbone) -> bool:
        """Whether both are of one architecture, whatever their options."""
        return (self.plugin, self.architecture) == (other.plugin, other.architecture)

    @property
    def custom(self) -> str:
        """How its configuration differs from that of the architecture, whose published weights do
        not fit then: ``num_hidden_layers=2``; empty if it does not, or only as training needs it.
        """
        values = self.options.get("arguments")
        changed = values.items() if isinstance(values, Mapping) else ()
        shown = [f"{name}={value}" for name, value in changed if "drop" not in name]
        return ", ".join(sorted(shown))

    @property
    def shown(self) -> str:
        """Its architecture, for people: marked where it is not the published one."""
        return f"{self.architecture} (custom config)" if self.custom else self.architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The task output. ``kind`` names a head plugin; ``native`` is the architecture's own.

    ``num_classes`` is the number of outputs, whatever the task.
    """

    kind: str
    num_classes: Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes the network's input.

    Attributes:
        input_size: Channels, height, width.
        mean: Per-channel mean on a 0..1 scale.
        std: Per-channel standard deviation on a 0..1 scale.
        interpolation: Resize filter (``bicubic``…).
        crop_pct: The image is resized to ``size / crop_pct`` before the crop.
        crop_mode: ``center``, ``squash`` or ``border``.
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: int | float
    crop_mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A checkpoint that this one derives from.

    Attributes:
        manifest: Its identity.
        relation: How (``finetune``), or `FOUND`, or `DECLARED`.
        ref: The name that it had then.
    """

    manifest: Digest
    relation: str
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One immutable checkpoint.

    Attributes:
        backbone: How to build the network.
        head: Its task output.
        preprocessing: How images become its input.
        classes: Class names in index order; empty where unknown.
        weights: Weights files.
        files: Other files.
        license: License id, or None where unknown.
        parents: What it derives from.
        ancestors: What its ancestors derive from, those that are roots left out, so that lineage
            travels where weights do not.
        recipe: Options of the fine-tune that made it.
        freeze: The freeze plan as applied: frozen and trainable units, and the boundary.
        metrics: Results on the held-out split.
        provenance: Where the bytes came from and what made them, as text.
        created: When training made it, UTC, ISO 8601. None for what was pulled or imported: the
            same published weights are the same checkpoint, whoever pulls them and when.
        format: How lineage is written: nested (1) or as a table (2).
    """

    backbone: Backbone
    head: Head
    preprocessing: Preprocessing
    weights: tuple[WeightsFile, ...]
    classes: tuple[str, ...] = ()
    files: tuple[PlainFile, ...] = ()
    license: str | None = None
    parents: tuple[Parent, ...] = ()
    recipe: Mapping[str, Any] | None = None
    freeze: Mapping[str, Any] | None = None
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    created: str | None = None
    ancestors: Mapping[Digest, tuple[Parent, ...]] = field(default_factory=dict)
    format: int = FORMAT

    def __repr__(self) -> str:
        classes = f"{len(self.classes)} classes" if self.classes else "classes unknown"
        tensors = sum(len(file.tensors) for file in self.weights)
        return f"<Manifest of {self.backbone.architecture}: {classes}, {tensors} tensors>"

    def descending(self, base: Manifest, parent: Parent, *others: tuple[Manifest, Parent]) -> Self:
        """The same with one parent, whose manifest is ``base``, and perhaps ``others``, and the
        lineage of these.
        """
        bases = ((base, parent), *others)
        ancestors: dict[Digest, tuple[Parent, ...]] = {}
        for known, each in bases:
            ancestors |= known.ancestors
            ancestors |= {each.manifest: known.parents} if known.parents else {}
        parents = tuple(each for _, each in bases)
        short = len(ancestors) < NESTED
        line = short and all(len(generation) == 1 for generation in (parents, *ancestors.values()))
        return replace(self, parents=parents, ancestors=ancestors, format=FORMAT if line else FLAT)

    def ancestry(self) -> set[Digest]:
        """The identities of its parents, theirs, and so on to the roots; of those that are only
        `DECLARED` none.
        """
        return {parent.manifest for _, parent in self.lineage() if parent.relation != DECLARED}

    def lineage(self, *above: Parent) -> Iterator[tuple[Digest | None, Parent]]:
        """Each ancestor once, the nearest first, with who derives from it; None for this one.

        With ``above``, only those parents and their ancestors.
        """
        waiting: deque[tuple[Digest | None, Parent]] = deque()
        waiting.extend((None, parent) for parent in above or self.parents)
        seen: set[Digest] = set()
        while waiting:
            child, parent = waiting.popleft()
            if parent.manifest not in seen:
                seen.add(parent.manifest)
                yield child, parent
                further = self.ancestors.get(parent.manifest, ())
                waiting.extend((parent.manifest, each) for each in further)

    def objects(self) -> Iterator[tuple[Digest, int]]:
        """Each object that the checkpoint needs, once, with the least number of bytes it has."""
        yield from objects_of((*self.weights, *self.files))

    @property
    def stated_metrics(self) -> tuple[str, ...]:
        """The figures that people stated, and no training or evaluation measured."""
        source, colon, names = self.provenance.get("metrics", "").partition(": ")
        if not source.startswith(STATED_HERE):
            return ()
        return tuple(name for name in self.metrics if not colon or name in names.split(", "))

    @property
    def unknown(self) -> tuple[str, ...]:
        """What nobody has said of the weights: ``classes``, ``preprocessing`` or settings of it.

        The preprocessing is that of the architecture then, which is a guess. As every reader wants
        one, only the provenance says so.
        """
        names = ["classes"] if self.head.num_classes and not self.classes else []
        stated = self.provenance.get("preprocessing", "")
        if stated == UNKNOWN:
            names.append("preprocessing")
        elif stated.startswith(f"{UNKNOWN}: "):
            names += [name for name in SETTINGS if name in stated.partition(": ")[2].split(", ")]
        return tuple(names)

    @property
    def guessed(self) -> tuple[str, ...]:
        """The settings of its preprocessing that were unknown of it, or of what it derives from."""
        names = {*self.unknown, *self.provenance.get(GUESSED, "").split(", ")}
        return SETTINGS if "preprocessing" in names else tuple(x for x in SETTINGS if x in names)

    @property
    def logical_bytes(self) -> int:
        """Size of all its files together."""
        return sum(w.size for w in self.weights) + sum(f.size for f in self.files)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of all weights files."""
        return tuple(tensor for weights in self.weights for tensor in weights.tensors)

    def to_json(self) -> Json:
        """Plain data for JSON, digests as text."""
        plain = self._plain()
        # Lineage has lists only, and is deeper than there is room for on the stack.
        return {k: value if k == "parents" else _listed(value) for k, value in plain.items()}

    def _plain(self) -> Json:
        data: Json = to_builtins(self, enc_hook=str)
        if self.format == FORMAT:
            del data["ancestors"]
            data["parents"] = _nested(self)
        return data

    def to_bytes(self) -> bytes:
        """The canonical form: UTF-8 JSON, keys sorted, no spaces, no NaN, no line end.

        Raises:
            InvalidManifest: A text in it is none that UTF-8 can hold.
        """
        data = self._plain()
        deep = self.format == FORMAT and len(self.ancestors) > NESTED
        text = unrolled(lambda: canonical(data)) if deep else canonical(data)
        try:
            return text.encode()
        except UnicodeEncodeError as error:  # JSON can hold halves of characters
            near = text[max(0, error.start - 40) : error.end]
            raise InvalidManifest(f"it has half a character, at the end of {near!a}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the canonical form.

        Raises:
            InvalidManifest: The bytes are no manifest.
            Unsupported: A manifest of another format version.
        """
        raw, version = read_document(data, "manifest", MANIFEST_NESTING, (FORMAT, FLAT))
        try:
            manifest = replace(cls.from_json(raw), format=version)
            # Else two programs could read the same bytes, and with them one digest, differently.
            if manifest.to_bytes() != data:
                raise ValueError("it is not in canonical form")
        except MALFORMED as error:
            raise InvalidManifest(f"not a manifest: {error}") from error
        return manifest

    @classmethod
    def from_json(cls, raw: Json) -> Self:
        """Inverse of `to_json`, without ``format``; raises `MALFORMED` if it is not such data."""
        parts: Mapping[str, type] = {
            "backbone": Backbone,
            "head": Head,
            "preprocessing": Preprocessing,
        }
        _check_known(raw, cls)
        for part, kind in parts.items():
            _check_known(raw[part], kind)
        table = raw["ancestors"] if "ancestors" in raw else _unnested(raw["parents"])
        manifest: Self = convert({**raw, "ancestors": table}, cls, dec_hook=as_digest)
        for name in [file.name for files in (manifest.weights, manifest.files) for file in files]:
            if not is_file_name(name):
                raise ValueError(f"unsafe file name {name!r}")
        for weights in manifest.weights:
            if weights.size < sum(tensor.nbytes for tensor in weights.tensors):
                raise ValueError(f"'{weights.name}' is smaller than its tensors")
        # msgspec takes the keys of objects as they are.
        ancestors = {Digest.parse(child): line for child, line in manifest.ancestors.items()}
        return replace(manifest, ancestors=ancestors)


def objects_of(files: Iterable[WeightsFile | PlainFile]) -> Iterator[tuple[Digest, int]]:
    """Each object that files need, once, with the least number of bytes it has."""
    sizes: dict[Digest, int] = {}
    for file in files:
        if isinstance(file, PlainFile):
            sizes[file.object] = max(sizes.get(file.object, 0), file.size)
            continue
        rest = file.size - sum(tensor.nbytes for tensor in file.tensors)
        sizes[file.header] = max(sizes.get(file.header, 0), rest)
        for tensor in file.tensors:
            end = tensor.offset + tensor.nbytes
            sizes[tensor.object] = max(sizes.get(tensor.object, 0), end)
    yield from sizes.items()


def _check_known(raw: Mapping[str, object], kind: type[Any]) -> None:
    known = {entry.name for entry in fields(kind)} - {"format"}
    if unknown := set(raw) - known:  # msgspec would read past them
        raise ValueError(f"unknown fields {sorted(unknown)}")


def as_digest(_: type, value: object) -> Digest:
    """Called by msgspec for what it does not know itself: digests alone."""
    if not isinstance(value, str):
        raise TypeError(f"a digest cannot be {value!r:.80}")
    try:
        return Digest.parse(value)
    except InvalidReference as error:  # msgspec adds where it is to a ValueError, and to no other
        raise ValueError(str(error)) from error


def _listed(value: object) -> object:
    """The same with lists for tuples, as JSON has it."""
    if isinstance(value, dict):
        return {name: _listed(each) for name, each in value.items()}
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value


def read_document(
    data: bytes, kind: str, deepest: int, formats: Sequence[int]
) -> tuple[dict[str, object], int]:
    """The values of a document beside manifests, nested at most so deep, and its format.

    Raises:
        InvalidManifest: The bytes are no such document.
        Unsupported: It is of none of these ``formats``.
    """
    try:
        # All bounds come before the parser: what it makes takes many times the bytes.
        if len(data) > MANIFEST_BYTES:
            raise ValueError(f"it has {len(data)} bytes; the most is {MANIFEST_BYTES}")
        raw = parse(data, values=MANIFEST_VALUES, deepest=deepest)
        version = raw.pop("format")
    except MALFORMED as error:
        raise InvalidManifest(f"not a {kind}: {error}") from error
    if version not in formats or type(version) is not int:
        known = f"this program reads {' and '.join(map(str, formats))}"
        raise Unsupported(f"{kind} format {version!r:.80}; {known}")
    return raw, version


def canonical(data: Mapping[str, object]) -> str:
    """The one text of JSON that data have: keys sorted, no spaces, no NaN, no line end."""
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _unnested(parents: list[Json]) -> dict[str, list[Json]]:
    """The table of format 2 from format 1, in which each parent holds its own ``parents``."""
    table: dict[str, list[Json]] = {}
    waiting = deque(parents)
    while waiting:
        parent = waiting.popleft()
        if parent["parents"]:
            table[parent["manifest"]] = parent["parents"]
            waiting.extend(parent["parents"])
    return table


def _nested(manifest: Manifest) -> list[Json]:
    """Inverse of `_unnested`."""
    top: list[Json] = []
    waiting = deque([(top, manifest.parents)])
    left = NESTED_ANCESTORS
    while waiting:
        target, parents = waiting.popleft()
        for parent in parents:
            target.append({**to_builtins(parent, enc_hook=str), "parents": []})
            waiting.append((target[-1]["parents"], manifest.ancestors.get(parent.manifest, ())))
            left -= 1
        # Its table can lead in a circle, or tell of one ancestor along 2^n ways.
        if left < 0:
            raise ValueError("its lineage has no end")
    return top


def is_file_name(value: str) -> bool:
    """Whether a file of a checkpoint may be called so."""
    # The name becomes a path on export; a manifest may come from anybody.
    if value in ("", ".", "..") or set(value) & set("/\\\0:"):
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)  # bytes that are no UTF-8


# Here, by one thread: what msgspec knows of a class it finds out when it first meets it, and of
# several threads that have it do so at once, some crash the process.
with suppress(ValidationError):
    convert({}, Manifest, dec_hook=as_digest)
