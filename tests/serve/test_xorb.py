"""What clients of Xet send is read as it is, and nothing else is."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import lz4.frame
import pytest
from fakes.sending import packed, sha256, shard, xorb
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import Corrupt
from zoo.serve.keep.shard import ChunkRange, shard_files
from zoo.serve.keep.xorb import chunk_hash, chunks_of, xorb_hash


@given(chunks=st.lists(st.binary(min_size=1, max_size=40)), cut=st.integers(1, 60))
def test_chunks_come_back(chunks: list[bytes], cut: int) -> None:
    body = b"".join(packed(chunk, at % 3) for at, chunk in enumerate(chunks))
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    assert [*chunks_of(pieces)] == chunks
    assert [*chunks_of([*pieces, b"XETBLOB and more"])] == chunks


SIZES = (
    131072,
    19750,
    20779,
    32027,
    131072,
    43279,
    131072,
    48188,
    131072,
    131072,
    46152,
    59846,
    26689,
    53477,
    58100,
    13710,
    56363,
    35511,
    131072,
    12027,
    62606,
    118729,
    6335,
)
NAMED = "82daf0201bae25c10a0a3bf63e9f25fbee94fede372e7b4645a2cf94a853be2a"


def test_a_xorb_is_named_as_a_client_names_it() -> None:
    """hf_xet 1.8 cut these bytes so, and called them that."""
    data, chunks = Random(0).randbytes(1_500_000), []
    for size in SIZES:
        chunks.append((chunk_hash(data[:size]), size))
        data = data[size:]
    assert not data
    assert xorb_hash(chunks) == NAMED


@given(data=st.binary(max_size=200), at=st.integers(0, 400), value=st.integers(0, 255))
def test_anything_else_is_refused(data: bytes, at: int, value: int) -> None:
    name, body, count = xorb(bytes(range(256)) * 2, 100)
    good = shard([(sha256(b"x"), [(name, 0, count, 512)] * 3)])
    for whole in (body, good):
        changed = bytearray(whole)
        changed[at % len(whole)] = value
        for hostile in (data, whole[:48] + data, bytes(changed)):
            with suppress(Corrupt):
                assert sum(map(len, chunks_of([hostile]))) < 10_000
            with suppress(Corrupt):
                assert sum(1 for file in shard_files(memoryview(hostile)) for _ in file.spans) < 50


def test_a_shard_tells_of_files() -> None:
    name = "0123456789abcdef" * 4
    spans = [(name, 0, 3, 30), (name, 5, 6, 7)]
    (one, two) = shard_files(memoryview(shard([(sha256(b"x"), spans), (sha256(b""), [])])))
    assert (one.sha256, one.size, [*one.spans]) == (
        sha256(b"x"), 37, [ChunkRange(name, 0, 3, 30), ChunkRange(name, 5, 6, 7)],
    )  # fmt: skip
    assert (two.size, [*two.spans]) == (0, [])


def test_a_bomb_is_not_unpacked() -> None:
    bomb = lz4.frame.compress(bytes(1 << 20))
    head = b"\0" + len(bomb).to_bytes(3, "little") + b"\1" + (1000).to_bytes(3, "little")
    with pytest.raises(Corrupt):
        next(chunks_of([head + bomb]))
