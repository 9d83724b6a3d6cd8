"""Encode objects on their way to a remote: as deltas against a parent's, where that pays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from blake3 import blake3

from zoo.codec.text import encode_text
from zoo.domain.digest import Digest
from zoo.domain.limits import TEXT_BYTES
from zoo.domain.manifest import Tensor
from zoo.errors import Corrupt, Invalid, MissingObject, Unsupported
from zoo.store import Store
from zoo.store.encoded import encoded_header, where_is
from zoo.store.manifests import Document
from zoo.tensor_names import tensors_as
from zoo.transfer.present import seems_whole

__all__ = ["Coding", "Encoder", "twin_of"]

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
        store: Holds the checkpoint and, if a delta is to be found, what it derives from.
        target: The remote, asked which bases it holds.
        manifest: The checkpoint, or a snapshot whose checkpoint, if it has one, was sent.
        coding: How small.
        bases: The checkpoints that it may be coded against, the best first.
        as_text: Whether a parent is at the remote, and it takes what is encoded as text: then
            headers of files are, and what is small is coded alone where it has no base.
    """

    def __init__(
        self,
        store: Store,
        target: Store,
        manifest: Document,
        coding: Coding,
        bases: Iterable[Digest],
        *,
        as_text: bool,
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
        self._parents: list[tuple[dict[str, Tensor], dict[str, Digest]]] = []
        for each in bases:
            with suppress(MissingObject, Corrupt, Invalid, Unsupported):
                parent = store.manifest(each)
                tensors = tensors_as({tensor.name for tensor in manifest.tensors}, parent)
                headers = {file.name: file.header for file in parent.weights}
                self._parents.append((tensors, headers))

    def encode(self, digest: Digest, data: memoryview) -> bytes | None:
        """The object ``data`` encoded, or None where it is better sent as it is.

        Raises:
            Corrupt: It is damaged; encoded, nobody would notice before a pull.
        """
        is_text = self.as_text and digest in self._headers and len(data) <= TEXT_BYTES
        base = self._base(digest, None if is_text else len(data))
        alone = self.coding.alone or (self.as_text and len(data) <= SMALL)
        if base is None and not alone:
            return None
        actual = blake3(data).hexdigest()
        if actual != digest.hex:
            where = where_is(self.store)
            raise Corrupt(f"object {digest}", str(digest), f"blake3:{actual}", where)
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

    def _base(self, digest: Digest, size: int | None) -> Digest | None:
        """An object of that size (None: a header, as text, of any) that both sides hold sound, and
        that the remote does not hold as a delta itself: deltas are one hop deep.
        """
        for twin in self._twins(digest, is_text=size is None):
            base = self._standing(twin)
            if base is None or self.store.missing("objects", [base]):
                continue
            actual = self.store.size("objects", base)
            fits = actual <= TEXT_BYTES if size is None else actual == size
            if fits and self._is_sound(base, actual):
                return base
        return None

    def _twins(self, digest: Digest, *, is_text: bool) -> Iterator[Digest]:
        """What each parent has in the place of an object, where that is one object."""
        for tensors, headers in self._parents:
            if is_text:
                twins = {headers.get(self._headers[digest])}
            else:
                twins = {twin_of(tensor, tensors) for tensor in self._tensors.get(digest, ())}
            if len(twins) == 1 and (twin := twins.pop()):
                yield twin

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


def twin_of(tensor: Tensor, parent: dict[str, Tensor]) -> Digest | None:
    """The parent's object that holds the tensor of this name at the same place."""
    other = parent.get(tensor.name)
    return other.object if other and _layout(other) == _layout(tensor) else None


def _layout(tensor: Tensor) -> tuple[str, tuple[int, ...], int]:
    return tensor.dtype, tensor.shape, tensor.offset
