"""Keys of a file: what tells which checkpoint its tensors are, without a byte of its weights.

A tensor has its name, dtype and shape, the BLAKE3 of its bytes, and the keys of how it begins
(`zoo.store.tensor_keys`). Who has the bytes makes them, and whoever has checkpoints looks for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.limits import DIMENSIONS, KEYED_TENSORS, LARGEST
from zoo.domain.manifest import Tensor
from zoo.lookup.compare import content
from zoo.lookup.match import FileTensor, hash_of
from zoo.store import Store
from zoo.store.header import BITS
from zoo.store.tensor_keys import beginning, sample_keys

__all__ = ["FileKeys", "KeyedTensor", "keys_of", "read_keys"]

NAME = 500
"""Letters of a tensor's name."""
FORMS = 3
"""Keys of how a tensor begins: one for each dtype that it could be cast to."""
Hex64 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Hex16 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]


class _Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A tensor, as it is sent."""

    name: Annotated[str, msgspec.Meta(max_length=NAME)]
    dtype: Annotated[str, msgspec.Meta(max_length=20)]
    shape: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=0, le=LARGEST)], ...],
        msgspec.Meta(max_length=DIMENSIONS),
    ]
    digest: Hex64
    samples: Annotated[tuple[Hex16, ...], msgspec.Meta(max_length=FORMS)]


class _Sent(msgspec.Struct, forbid_unknown_fields=True):
    """Keys, as they are sent."""

    zoo_keys: Annotated[int, msgspec.Meta(ge=1, le=1)]
    tensors: Annotated[tuple[_Row, ...], msgspec.Meta(max_length=KEYED_TENSORS, min_length=1)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""


@dataclass(frozen=True, slots=True)
class KeyedTensor:
    """A tensor of a file that is elsewhere.

    Attributes:
        dtype: safetensors spelling.
        shape: Dimensions.
        digest: Of its bytes, in row order.
        samples: Keys of how it begins.
    """

    dtype: str
    shape: tuple[int, ...]
    digest: Digest
    samples: frozenset[int]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def hash(self) -> str:
        """The BLAKE3 of its bytes, in hex."""
        return self.digest.hex

    def equals(self, ours: Tensor, store: Store) -> bool:
        """Whether it has the bytes of a stored tensor. Of one of another dtype it is compared how
        both begin, as nobody has both; what has no sample is cast. Raises as `hash_of`.
        """
        if self.shape != ours.shape:
            return False
        if self.dtype == ours.dtype:
            return self.hash == hash_of(store, ours)
        if begins := sample_keys(ours.dtype, ours.shape, beginning(store, ours)):
            return bool(self.samples & begins)
        from zoo.lookup.distance import cast

        data = cast(ours.dtype, content(store, ours), self.dtype)
        return data is not None and self.hash == blake3(data).hexdigest()


@dataclass(frozen=True, slots=True)
class FileKeys:
    """The keys of a file.

    Attributes:
        sha256: Of all of it, in hex; empty where that is not known.
        tensors: Its tensors, by name.
    """

    sha256: str
    tensors: Mapping[str, KeyedTensor]

    def to_json(self) -> dict[str, Any]:
        """As they are sent; `read_keys` reads it."""
        return {
            "zoo_keys": 1,
            "sha256": self.sha256,
            "tensors": [
                [name, one.dtype, one.shape, one.hash, sorted(map(_hex, one.samples))]
                for name, one in self.tensors.items()
            ],
        }


def keys_of(sha256: str, tensors: Mapping[str, FileTensor]) -> FileKeys:
    """The keys of a file of which the tensors are here."""
    by_name = {
        name: KeyedTensor(one.dtype, one.shape, Digest("blake3", one.hash), frozenset(one.samples))
        for name, one in tensors.items()
    }
    return FileKeys(sha256, by_name)


def read_keys(data: bytes) -> FileKeys:
    """The keys that somebody has sent.

    Raises:
        ValueError: They are none, or too many.
    """
    try:
        sent = msgspec.json.decode(data, type=_Sent)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    tensors = {row.name: _tensor(row) for row in sent.tensors}
    if len(tensors) != len(sent.tensors):
        raise ValueError("a name is there twice")
    return FileKeys(sent.sha256, tensors)


def _tensor(row: _Row) -> KeyedTensor:
    if row.dtype not in BITS:
        raise ValueError(f"the dtype {row.dtype!r} is unknown")
    if math.prod(size or 1 for size in row.shape) > LARGEST:
        raise ValueError("a tensor has too many elements")
    return KeyedTensor(
        row.dtype, row.shape, Digest("blake3", row.digest), frozenset(_numbers(row.samples))
    )


def _numbers(samples: Iterable[str]) -> Iterable[int]:
    return (int.from_bytes(bytes.fromhex(each), "big", signed=True) for each in samples)


def _hex(key: int) -> str:
    return key.to_bytes(8, "big", signed=True).hex()
