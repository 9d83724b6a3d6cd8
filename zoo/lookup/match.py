"""Match: the tensors of a file beside those of a checkpoint, whatever the file calls them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Tensor
from zoo.lookup.compare import content, is_object
from zoo.store import Store
from zoo.store.tensor_keys import beginning, sample_keys
from zoo.tensor_names import names_among

__all__ = ["FileTensor", "Match", "MatchedTensor", "hash_of", "match", "prefix_of"]

Verdict = Literal["same", "cast", "part", "derived", "unknown"]
"""What a file can be to a checkpoint, the closest first."""

PREFIXES = 8
"""Parts of a name that may be a prefix: a stranger's name can have any number."""


class MatchedTensor(Protocol):
    """What is asked of a file's tensor."""

    @property
    def dtype(self) -> str:
        """Its dtype, as safetensors spells it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""

    @property
    def elements(self) -> int:
        """Number of elements."""

    @property
    def hash(self) -> str:
        """The BLAKE3 of its bytes, in hex."""

    @property
    def samples(self) -> Collection[int]:
        """Keys of how it begins: `zoo.store.tensor_keys.sample_keys`."""

    def equals(self, ours: Tensor, store: Store) -> bool:
        """Whether the values are those of a stored tensor, the one rounded to the other's dtype if
        they have two. Raises as `match`.
        """


@dataclass(frozen=True, slots=True)
class FileTensor:
    """A tensor of a file.

    Attributes:
        dtype: safetensors spelling.
        shape: Dimensions.
        data: Its bytes, in row order.
        digest: Of these, where it is known: what is stored under one need not be read.
    """

    dtype: str
    shape: tuple[int, ...]
    data: memoryview
    digest: Digest | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def hash(self) -> str:
        """The BLAKE3 of its bytes, in hex."""
        return self.digest.hex if self.digest else blake3(self.data).hexdigest()

    @property
    def samples(self) -> set[int]:
        """Keys of how it begins."""
        return sample_keys(self.dtype, self.shape, self.data)

    def equals(self, ours: Tensor, store: Store) -> bool:
        """Whether the values are equal, the one rounded to the other's dtype if they have two."""
        if self.shape != ours.shape:
            return False
        same_dtype = self.dtype == ours.dtype
        if same_dtype and self.digest:
            if self.digest == ours.object:
                return True
            if is_object(store, ours):
                return False
        data = content(store, ours)
        if same_dtype:
            return bytes(self.data) == bytes(data)
        from zoo.lookup.distance import equal_when_cast

        return equal_when_cast(self.dtype, self.data, ours.dtype, data)


@dataclass(frozen=True, slots=True)
class Match:
    """A file beside a checkpoint. Names are the checkpoint's, those of ``added`` the file's.

    Attributes:
        share: Share of the file's elements that are the checkpoint's.
        prefix: What the file's names begin with more.
        renamed: How many of its tensors go by another name, the prefix aside.
        casts: Dtypes that differ where values do not: ``F32 to BF16``.
        same: Tensors that are the checkpoint's.
        changed: Tensors of the same name that are not.
        missing: Tensors that the file lacks.
        added: Tensors that the checkpoint lacks.
    """

    share: float
    prefix: str
    renamed: int
    casts: tuple[str, ...]
    same: tuple[str, ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """What the file is to the checkpoint."""
        if not self.same:
            return "unknown"
        if self.changed or self.added:
            return "derived"
        if self.missing:
            return "part"
        return "cast" if self.casts else "same"


def match(store: Store, manifest: Manifest, tensors: Mapping[str, MatchedTensor]) -> Match:
    """Pair the tensors of a file with a checkpoint's, and compare their values.

    Raises:
        MissingObject: Bytes of the checkpoint are not here.
        Corrupt: They are damaged.
    """
    stored = {tensor.name: tensor for tensor in manifest.tensors}
    prefix = prefix_of(tensors, stored)
    names = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    among = names_among(manifest.backbone.plugin, names, stored)
    pairs = {names[name]: own for name, own in among.items()}
    pairs |= dict(_alike(store, tensors, stored, pairs))
    pairs |= dict(_interchangeable(store, tensors, stored, pairs))
    casts: set[str] = set()
    same, changed = [], []
    elements = 0
    for name, own in pairs.items():
        theirs, ours = tensors[name], stored[own]
        if not theirs.equals(ours, store):
            changed.append(own)
            continue
        same.append(own)
        elements += theirs.elements
        if theirs.dtype != ours.dtype:
            casts.add(f"{ours.dtype} to {theirs.dtype}")
    total = sum(tensor.elements for tensor in tensors.values())
    return Match(
        share=elements / total if total else 0.0,
        prefix=prefix,
        renamed=sum(name != prefix + own for name, own in pairs.items()),
        casts=tuple(sorted(casts)),
        same=tuple(same),
        changed=tuple(changed),
        missing=tuple(name for name in stored if name not in pairs.values()),
        added=tuple(name for name in tensors if name not in pairs),
    )


def prefix_of(names: Iterable[str], stored: Container[str]) -> str:
    """What most names begin with before they become one of ``stored``: ``module.``, or nothing."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".", PREFIXES)
        for start in range(len(parts)):
            if ".".join(parts[start:]) in stored:
                counts["".join(f"{part}." for part in parts[:start])] += 1
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")


def _alike(
    store: Store,
    tensors: Mapping[str, MatchedTensor],
    stored: Mapping[str, Tensor],
    paired: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """Tensors that go by quite another name, found by how they begin."""
    left = [name for name in stored if name not in set(paired.values())]
    begins: dict[int, str] = {}
    for own in left:
        ours = stored[own]
        for key in sample_keys(ours.dtype, ours.shape, beginning(store, ours)):
            begins.setdefault(key, own)
    used: set[str] = set()
    for name, tensor in tensors.items():
        if name not in paired:
            matches = {begins[key] for key in tensor.samples if key in begins} - used
            if len(matches) == 1 and tensor.equals(stored[one := matches.pop()], store):
                used.add(one)
                yield name, one


def _interchangeable(
    store: Store,
    tensors: Mapping[str, MatchedTensor],
    stored: Mapping[str, Tensor],
    paired: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """Tensors that how they begin cannot tell apart, such as counters of batches: any two with the
    same bytes and the same last part of their names.
    """

    def alike(name: str, dtype: str, shape: tuple[int, ...], hashed: str) -> tuple[object, ...]:
        return name.rpartition(".")[2], dtype, shape, hashed

    left: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for own in sorted(stored.keys() - set(paired.values())):
        ours = stored[own]
        left[alike(own, ours.dtype, ours.shape, hash_of(store, ours))].append(own)
    for name, tensor in tensors.items() if left else ():
        if name not in paired and (
            matches := left.get(alike(name, tensor.dtype, tensor.shape, tensor.hash))
        ):
            yield name, matches.pop(0)


def hash_of(store: Store, tensor: Tensor) -> str:
    """The BLAKE3 of a stored tensor's bytes, in hex: of what is an object that is its name.

    Raises:
        MissingObject: They are not here.
        Corrupt: They are damaged.
    """
    if is_object(store, tensor):
        return tensor.object.hex
    return blake3(content(store, tensor)).hexdigest()
