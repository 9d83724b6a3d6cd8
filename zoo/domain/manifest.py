"""Manifest: canonical JSON that describes one checkpoint; its digest is its identity."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from types import NoneType
from typing import Any, Self

from zoo.domain.bounded import parse, unrolled
from zoo.domain.digest import Digest
from zoo.domain.limits import (
    FILE_BYTES,
    MANIFEST_BYTES,
    MANIFEST_NESTING,
    MANIFEST_VALUES,
    NESTED_ANCESTORS,
)
from zoo.errors import MALFORMED, InvalidManifest, Unsupported

__all__ = [
    "Backbone",
    "Head",
    "Manifest",
    "Parent",
    "PlainFile",
    "Preprocessing",
    "Tensor",
    "WeightsFile",
]

FORMAT = 1
"""An ancestor holds its own ancestors within it."""
FLAT = 2
"""The parents of ancestors are in a table, so that lineage has any depth."""
NESTED = 32
"""Ancestors in one line that are still written as format 1, which every version of zoo reads."""
UNKNOWN = "unknown"
SETTINGS = ("mean", "std", "interpolation", "crop_pct", "image_size")
"""What of a preprocessing can be unknown."""
TYPES: Mapping[str, tuple[type, ...]] = {
    "license": (str, NoneType),
    "created": (str, NoneType),
    "recipe": (dict, NoneType),
    "freeze": (dict, NoneType),
    "metrics": (dict,),
    "provenance": (dict,),
    "ancestors": (dict,),
}


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
    shape: tuple[int, ...]
    object: Digest
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A safetensors file ``name`` taken apart: its verbatim header, its tensors in file order.

    ``size`` and ``sha256`` are those of the whole file, so that it can be put together again
    byte-identical and checked.
    """

    name: str
    size: int
    sha256: Digest
    header: Digest
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainFile:
    """Any other file of a checkpoint, kept whole as one object: ``name``, ``size``, ``sha256``."""

    name: str
    size: int
    sha256: Digest
    object: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """How to build the network: the plugin, its architecture, and options for ``build``."""

    plugin: str
    architecture: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The task output. ``kind`` names a head plugin; ``native`` is the architecture's own.

    ``num_classes`` is the number of outputs, whatever the task.
    """

    kind: str
    num_classes: int


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
    crop_pct: float
    crop_mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A checkpoint that this one derives from.

    Attributes:
        manifest: Its identity.
        relation: How (``finetune``).
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
        freeze: The freeze plan as carried out: frozen and trainable units, and the boundary.
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
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    created: str | None = None
    ancestors: Mapping[Digest, tuple[Parent, ...]] = field(default_factory=dict)
    format: int = FORMAT

    def descending(self, base: Manifest, parent: Parent) -> Self:
        """The same with one parent, whose manifest is ``base``, and the lineage of that."""
        further = {parent.manifest: base.parents} if base.parents else {}
        ancestors = {**base.ancestors, **further}
        line = len(ancestors) < NESTED and all(len(found) == 1 for found in ancestors.values())
        return replace(
            self, parents=(parent,), ancestors=ancestors, format=FORMAT if line else FLAT
        )

    def ancestry(self) -> set[Digest]:
        """The identities of its parents, theirs, and so on to the roots."""
        return {parent.manifest for _, parent in self.lineage()}

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
        sizes: dict[Digest, int] = {}
        for weights in self.weights:
            sizes[weights.header] = weights.size - sum(t.nbytes for t in weights.tensors)
            for tensor in weights.tensors:
                end = tensor.offset + tensor.nbytes
                sizes[tensor.object] = max(sizes.get(tensor.object, 0), end)
        for file in self.files:
            sizes[file.object] = file.size
        yield from sizes.items()

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
    def logical_bytes(self) -> int:
        """Size of all its files together."""
        return sum(w.size for w in self.weights) + sum(f.size for f in self.files)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of all weights files."""
        return tuple(tensor for weights in self.weights for tensor in weights.tensors)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON, digests as text."""
        data = {"format": self.format, **_plain(replace(self, parents=(), ancestors={}))}
        del data["ancestors"]
        if self.format == FORMAT:
            return {**data, "parents": _nested(self)}
        table = {str(child): _edges(parents) for child, parents in self.ancestors.items()}
        return {**data, "parents": _edges(self.parents), "ancestors": table}

    def to_bytes(self) -> bytes:
        """The canonical form: UTF-8 JSON, keys sorted, no spaces, no NaN, no line end.

        Raises:
            InvalidManifest: A text in it is none that UTF-8 can hold.
        """
        data = self.to_json()
        deep = self.format == FORMAT and len(self.ancestors) > NESTED
        text = unrolled(lambda: _canonical(data)) if deep else _canonical(data)
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
        try:
            if len(data) > MANIFEST_BYTES:
                raise ValueError(f"it has {len(data)} bytes; the most is {MANIFEST_BYTES}")
            raw = parse(data, values=MANIFEST_VALUES, deepest=MANIFEST_NESTING)
            version = raw.pop("format")
        except MALFORMED as error:
            raise InvalidManifest(f"not a manifest: {error}") from error
        if version not in (FORMAT, FLAT) or type(version) is not int:
            known = f"this program reads {FORMAT} and {FLAT}"
            raise Unsupported(f"manifest format {version!r:.80}; {known}")
        try:
            manifest = replace(cls.from_json(raw), format=version)
            # Else two programs could read the same bytes, and with them one digest, differently.
            if manifest.to_bytes() != data:
                raise ValueError("it is not in canonical form")
        except MALFORMED as error:
            raise InvalidManifest(f"not a manifest: {error}") from error
        return manifest

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Inverse of `to_json`, without ``format``; raises `MALFORMED` if it is not such data."""
        known = {entry.name for entry in fields(cls)} - {"format"}
        if unknown := set(raw) - known:
            raise ValueError(f"unknown fields {sorted(unknown)}")
        for name, types in TYPES.items():
            if name in raw and not isinstance(raw[name], types):
                raise TypeError(f"{name} cannot be {raw[name]!r}")
        pre = raw["preprocessing"]
        table = "ancestors" in raw
        parents, ancestors = _table(raw) if table else _unnested(raw["parents"])
        return cls(
            **{
                **raw,
                "backbone": _backbone(raw["backbone"]),
                "head": Head(
                    **{
                        **raw["head"],
                        "kind": _text(raw["head"]["kind"], "a head's kind"),
                        "num_classes": _natural(raw["head"]["num_classes"], "num_classes"),
                    }
                ),
                "preprocessing": Preprocessing(
                    **{
                        **pre,
                        "input_size": _input_size(pre["input_size"]),
                        "mean": tuple(map(float, pre["mean"])),
                        "std": tuple(map(float, pre["std"])),
                        "interpolation": _text(pre["interpolation"], "interpolation"),
                        "crop_pct": _number(pre["crop_pct"], "crop_pct"),
                        "crop_mode": _text(pre["crop_mode"], "crop_mode"),
                    }
                ),
                "weights": tuple(map(_weights, raw["weights"])),
                "files": tuple(map(_plain_file, raw["files"])),
                "classes": tuple(map(str, raw["classes"])),
                "metrics": {name: _number(value, name) for name, value in raw["metrics"].items()},
                "provenance": {
                    name: _text(value, name) for name, value in raw.get("provenance", {}).items()
                },
                "parents": parents,
                "ancestors": ancestors,
            }
        )


def _backbone(raw: dict[str, Any]) -> Backbone:
    backbone = Backbone(**raw)
    _text(backbone.plugin, "a plugin")
    _text(backbone.architecture, "an architecture")
    if not isinstance(backbone.options, dict):
        raise TypeError(f"options cannot be {backbone.options!r}")
    return backbone


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} cannot be {value!r}")
    return value


def _number(value: Any, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{what} cannot be {value!r}")
    return value


def _canonical(data: dict[str, Any]) -> str:
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _parent(raw: dict[str, Any]) -> Parent:
    return Parent(
        manifest=Digest.parse(raw["manifest"]), relation=str(raw["relation"]), ref=str(raw["ref"])
    )


Lineage = tuple[tuple[Parent, ...], dict[Digest, tuple[Parent, ...]]]


def _table(raw: dict[str, Any]) -> Lineage:
    ancestors = {
        Digest.parse(child): tuple(map(_parent, parents))
        for child, parents in raw["ancestors"].items()
    }
    return tuple(map(_parent, raw["parents"])), ancestors


def _unnested(raw: list[dict[str, Any]]) -> Lineage:
    """Format 1: each parent holds its ``parents``. None is described twice in two ways."""
    ancestors: dict[Digest, tuple[Parent, ...]] = {}
    waiting = deque(raw)
    while waiting:
        entry = waiting.popleft()
        if entry["parents"]:
            ancestors[Digest.parse(entry["manifest"])] = tuple(map(_parent, entry["parents"]))
            waiting.extend(entry["parents"])
    return tuple(map(_parent, raw)), ancestors


def _nested(manifest: Manifest) -> list[dict[str, Any]]:
    """Inverse of `_unnested`."""
    top: list[dict[str, Any]] = []
    waiting = deque([(top, manifest.parents)])
    left = NESTED_ANCESTORS
    while waiting:
        target, parents = waiting.popleft()
        for parent in parents:
            target.append({**_edge(parent), "parents": []})
            waiting.append((target[-1]["parents"], manifest.ancestors.get(parent.manifest, ())))
            left -= 1
        if left < 0:
            raise ValueError("its lineage has no end")
    return top


def _edges(parents: Iterable[Parent]) -> list[dict[str, Any]]:
    return [_edge(parent) for parent in parents]


def _edge(parent: Parent) -> dict[str, Any]:
    return {"manifest": str(parent.manifest), "relation": parent.relation, "ref": parent.ref}


def _plain(value: Any) -> Any:
    # Not asdict(), which copies each value: every command reads manifests, and so comes by here.
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def _input_size(value: Any) -> tuple[int, int, int]:
    channels, height, width = map(int, value)
    return channels, height, width


def _natural(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{what} must be a whole number of 0 or more, not {value!r}")
    return value


def _bytes(value: Any, what: str) -> int:
    if _natural(value, what) > FILE_BYTES:
        raise ValueError(f"{what} of {value} is above {FILE_BYTES}")
    return int(value)


def is_file_name(value: str) -> bool:
    """Whether a file of a checkpoint may be called so."""
    # The name becomes a path on export; a manifest may come from anybody.
    if value in ("", ".", "..") or set(value) & set("/\\\0:"):
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)  # bytes that are no UTF-8


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not is_file_name(value):
        raise ValueError(f"unsafe file name {value!r}")
    return value


def _tensor(raw: dict[str, Any]) -> Tensor:
    return Tensor(
        name=str(raw["name"]),
        dtype=str(raw["dtype"]),
        shape=tuple(_bytes(size, "a dimension") for size in raw["shape"]),
        object=Digest.parse(raw["object"]),
        offset=_bytes(raw["offset"], "an offset"),
        nbytes=_bytes(raw["nbytes"], "a length"),
    )


def _weights(raw: dict[str, Any]) -> WeightsFile:
    tensors = tuple(map(_tensor, raw["tensors"]))
    size = _bytes(raw["size"], "a size")
    if size < sum(tensor.nbytes for tensor in tensors):
        raise ValueError(f"'{raw['name']}' is smaller than its tensors")
    return WeightsFile(
        name=_file_name(raw["name"]),
        size=size,
        sha256=Digest.parse(raw["sha256"]),
        header=Digest.parse(raw["header"]),
        tensors=tensors,
    )


def _plain_file(raw: dict[str, Any]) -> PlainFile:
    return PlainFile(
        name=_file_name(raw["name"]),
        size=_bytes(raw["size"], "a size"),
        sha256=Digest.parse(raw["sha256"]),
        object=Digest.parse(raw["object"]),
    )
