"""Encode objects on their way to a remote: as deltas against a parent's, where that pays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from blake3 import blake3

from zoo.codec.text import encode_text
from zoo.domain.digest import Digest
from zoo.domain.limits import TEXT_BYTES
from zoo.domain.manifest import Manifest, Parent, Tensor
from zoo.errors import Corrupt, Invalid, MissingObject, Unsupported
from zoo.store import Store
from zoo.store.encoded import encoded_header, where_is
from zoo.transfer.present import seems_whole

__all__ = ["Coding", "Encoder"]

SMALL = 4 << 20
"""Bytes of what a folder takes coded alone from a fine-tune: a new head. It takes some hundredth of
a second, where the whole of a checkpoint would take longer than writing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How much is spent to make an upload small.

    Attributes:
        alone: Code also what no parent has. That saves a sixth of float32 weights and a third of
            bfloat16 ones, at a tenth of a disk's speed, or many times a network's.
        smallest: Take the smaller and slower delta (MAX).
    """

    alone: bool
    smallest: bool


class Encoder:
    """Encodes the objects of one checkpoint for one remote.

    Args:
        store: Holds the checkpoint and, if a delta is to be found, its parents.
        target: The remote, asked which bases it holds.
        manifest: The checkpoint.
        coding: How small.
        as_text: Whether a parent is at the remote, and it takes what is encoded as text: then
            headers of files are, and what is small is coded alone where it has no base.
    """

    def __init__(
        self, store: Store, target: Store, manifest: Manifest, coding: Coding, *, as_text: bool
    ) -> None:
        self.store = store
        self.target = target
        self.coding = coding
        self.as_text = as_text
        self._bases: dict[Digest, bool | None] = {}
        self._tensors: dict[Digest, list[Tensor]] = {}
        for tensor in manifest.tensors:
            self._tensors.setdefault(tensor.object, []).append(tensor)
        self._headers = {file.header: file.name for file in manifest.weights}
        parents = list(self._readable(manifest.parents))
        self._parents = [{each.name: each for each in parent.tensors} for parent in parents]
        self._parent_headers = [
            {file.name: file.header for file in parent.weights} for parent in parents
        ]

    def _readable(self, parents: Iterable[Parent]) -> Iterator[Manifest]:
        """Each parent that is here and can be read."""
        for parent in parents:
            with suppress(MissingObject, Corrupt, Invalid, Unsupported):
                yield self.store.manifest(parent.manifest)

    def encode(self, digest: Digest, data: memoryview) -> bytes | None:
        """The object ``data`` encoded, or None where it is better sent as it is.

        Raises:
            Corrupt: It is damaged; encoded, nobody would notice before a pull.
        """
        is_text = self.as_text and digest in self._headers and len(data) <= TEXT_BYTES
        base = self._base_of_header(digest) if is_text else self._base(digest, len(data))
        alone = self.coding.alone or (self.as_text and len(data) <= SMALL)
        if base is None and not alone:
            return None
        found = blake3(data).hexdigest()
        if found != digest.hex:
            where = where_is(self.store)
            raise Corrupt(f"object {digest}", str(digest), f"blake3:{found}", where)
        plain = None if base is None else self.store.view("objects", base)
        if is_text:
            text = encode_text(data, plain or b"", base)
            return text if len(text) < len(data) else None
        from zoo.codec.choose import encode_best, layout_of  # numpy and the coders, if needed

        layout = layout_of(self._tensors.get(digest, ()), len(data))
        return encode_best(data, layout, plain, base, alone=alone, smallest=self.coding.smallest)

    @property
    def bases(self) -> frozenset[Digest]:
        """What was coded against."""
        return frozenset(base for base, sound in self._bases.items() if sound)

    @property
    def damaged(self) -> frozenset[Digest]:
        """Bases that were not used, as they are damaged here or there."""
        return frozenset(base for base, sound in self._bases.items() if sound is False)

    def _base(self, digest: Digest, size: int) -> Digest | None:
        """An object of the same size that both sides hold sound, and that the remote does not hold
        as a delta itself: deltas are one hop deep.
        """
        for parent in self._parents:
            twins = {_twin(tensor, parent) for tensor in self._tensors.get(digest, ())}
            twin = twins.pop() if len(twins) == 1 else None
            base = None if twin is None else self._standing(twin)
            if base is None or self.store.missing("objects", [base]):
                continue
            if self.store.size("objects", base) == size and self._is_sound(base, size):
                return base
        return None

    def _base_of_header(self, digest: Digest) -> Digest | None:
        """As `_base`, of the header of a file: a parent's of the file of that name, of any size."""
        for headers in self._parent_headers:
            twin = headers.get(self._headers[digest])
            base = None if twin is None else self._standing(twin)
            if base is None or self.store.missing("objects", [base]):
                continue
            size = self.store.size("objects", base)
            if size <= TEXT_BYTES and self._is_sound(base, size):
                return base
        return None

    def _is_sound(self, base: Digest, size: int) -> bool:
        """Whether what is coded against ``base`` can be decoded there: it is hashed, once."""
        if base not in self._bases:  # two threads that find so at once do no harm
            try:
                sound = self.store.is_sound("objects", base)
                self._bases[base] = sound and seems_whole(self.target, base, size)
            except Unsupported:  # a newer version encoded it there: not damaged, but no use
                self._bases[base] = None
        return bool(self._bases[base])

    def _standing(self, digest: Digest) -> Digest | None:
        """``digest`` if the remote holds it by itself; its base if it holds it as a delta."""
        if not self.target.missing("objects", [digest]):
            return digest
        try:
            return encoded_header(self.target, digest).base or digest
        except (MissingObject, Unsupported):
            return None
        except Corrupt:
            self._bases[digest] = False
            return None


def _twin(tensor: Tensor, parent: dict[str, Tensor]) -> Digest | None:
    """The parent's object that holds the tensor of this name at the same place."""
    other = parent.get(tensor.name)
    if other is None or (tensor.dtype, tensor.shape, tensor.offset) != (
        other.dtype,
        other.shape,
        other.offset,
    ):
        return None
    return other.object
