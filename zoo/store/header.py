"""The header of a safetensors file, read strictly.

Format: https://huggingface.co/docs/safetensors (8 bytes little-endian length, JSON, tensor bytes).
We read it ourselves because the file is stored taken apart and must come back byte-identical: we
need every offset and the verbatim header, which the safetensors library does not give.
"""

from __future__ import annotations

import json
import math
import mmap
import zipfile
from dataclasses import dataclass
from pathlib import Path

from zoo.domain.limits import DIMENSIONS, HEADER_BRACKETS, HEADER_BYTES, LARGEST, TENSORS
from zoo.domain.plain import Json
from zoo.errors import InvalidWeights

__all__ = ["BITS", "Entry", "Header", "is_safetensors", "parse_header", "read_header"]

BITS = {
    name: bits
    for bits, names in {
        4: "F4",
        6: "F6_E2M3 F6_E3M2",
        8: "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
        16: "I16 U16 F16 BF16",
        32: "I32 U32 F32",
        64: "I64 U64 F64 C64",
    }.items()
    for name in names.split()
}
"""Bits of an element, by dtype as safetensors spells it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the header; ``begin`` and ``end`` are byte positions in the whole file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file of ``size`` bytes: its own length, and the tensors in file order."""

    length: int
    entries: tuple[Entry, ...]


def is_safetensors(path: Path) -> bool:
    """Whether the file's first bytes are those of a safetensors file, whatever its name."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:9] == b"{" and not zipfile.is_zipfile(path)


def parse_header(path: Path, data: memoryview, size: int | None = None) -> Header:
    """Read and check the header of the safetensors file whose bytes are ``data``.

    Where ``data`` is no more than the header, ``size`` is that of the whole file.

    Raises:
        InvalidWeights: The file breaks the format, with the reason.
    """
    if len(data) < 8:
        raise InvalidWeights(path, "not a safetensors file: shorter than 8 bytes")
    length = int.from_bytes(data[:8], "little")
    if length > HEADER_BYTES:
        raise InvalidWeights(
            path, f"its header has {length:,} bytes; the most are {HEADER_BYTES:,}"
        )
    if 8 + length > len(data):
        raise InvalidWeights(path, "truncated: it ends within its header")
    try:
        # Decoded here: the parser would guess UTF-16, which the format does not allow.
        text = bytes(data[8 : 8 + length]).decode("utf-8")
        if text.count("[") + text.count("{") > HEADER_BRACKETS:
            raise ValueError(f"its header has more than {HEADER_BRACKETS:,} brackets")
        raw = json.loads(text, object_pairs_hook=_unique, parse_constant=_none, parse_int=_whole)
        if not isinstance(raw, dict):
            raise TypeError("the header is not an object")
        _check_metadata(raw.pop("__metadata__", None))
        if len(raw) > TENSORS:
            raise ValueError(f"it has more than {TENSORS:,} tensors")
        entries = [_entry(name, item, 8 + length) for name, item in raw.items()]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidWeights(path, f"not a safetensors file: {error!s:.300}") from error
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    _check_cover(path, entries, 8 + length, len(data) if size is None else size)
    return Header(8 + length, tuple(entries))


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file, and nothing else. Raises as `parse_header`."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        return parse_header(path, data)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise ValueError("the header names something twice")
    return items


def _none(constant: str) -> None:
    raise ValueError(f"the header has the value {constant}, which is not JSON")


def _whole(text: str) -> int:
    """A number as other readers take it, to whom -0 is none of those without a sign."""
    return min(int(text), -1) if text.startswith("-") else int(text)


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) for text in metadata.values()
    ):
        raise ValueError("its metadata is not a map of strings")


def _entry(name: str, item: Json, base: int) -> Entry:
    name.encode()  # JSON can escape half a character, which no manifest can hold
    dtype, shape, (begin, end) = item["dtype"], item["shape"], item["data_offsets"]
    what = f"tensor '{name:.100}'"
    if len(shape) > DIMENSIONS:
        raise ValueError(f"{what} has {len(shape):,} dimensions")
    numbers = [*shape, begin, end]
    if any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in numbers):
        raise ValueError(f"{what} has a size that is not a whole number")
    # No more than 64 numbers of 64 bits: their product is soon made. Beside a 0, too, it must be a
    # number that others can hold.
    if max(numbers) > LARGEST or math.prod(size or 1 for size in shape) > LARGEST:
        raise ValueError(f"{what} has a size above {LARGEST}")
    if dtype not in BITS:
        raise ValueError(f"{what} has the unknown dtype {dtype!r:.100}")
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8 or end - begin != bits // 8:
        raise ValueError(f"{what} takes {end - begin} bytes, its shape needs {bits / 8:g}")
    return Entry(name, dtype, tuple(shape), base + begin, base + end)


def _check_cover(path: Path, entries: list[Entry], position: int, size: int) -> None:
    for entry in entries:
        if entry.begin != position:
            what = "overlap" if entry.begin < position else "leave a hole"
            raise InvalidWeights(path, f"the tensors {what} before '{entry.name:.100}'")
        position = entry.end
    if position > size:
        raise InvalidWeights(path, f"truncated: {position - size} bytes are missing")
    if position < size:
        raise InvalidWeights(path, f"{size - position} bytes follow the last tensor")
