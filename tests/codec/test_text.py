"""Text encoded as the difference from an earlier one: lossless, checked, bounded, frozen."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.codec.frame import decode
from zoo.codec.header import FIXED, Codec, checksum, read_header, sealed
from zoo.codec.layouts import LAYOUTS
from zoo.codec.text import decode_text, encode_text
from zoo.domain.digest import Digest
from zoo.domain.limits import CHUNK_WORDS, TEXT_BYTES
from zoo.errors import Corrupt, Unsupported

GOLDEN = Path(__file__).parent / "golden" / "zstd-text.zooc"
NAME = Digest("blake3", blake3(b"base").hexdigest())


def text(changed: int = 0, tensors: int = 200) -> bytes:
    """JSON like a manifest's, the first tensors of which are ``changed``."""
    keys = [b"%d" % (row + 1000 * (row < changed)) for row in range(tensors)]
    rows = [
        {"name": f"blocks.{row}.weight", "object": blake3(key).hexdigest()}
        for row, key in enumerate(keys)
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


def signed(body: bytes, size: int, *, chunk: int | None = None, layout: str = "BYTES") -> bytes:
    """What a stranger made on purpose: any claims, and the right checksum."""
    return sealed(Codec.ZSTD, LAYOUTS[layout], size, None, chunk or size, [body])


@settings(max_examples=30, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=500), base=st.binary(max_size=500), cut=st.integers(0, 500)
)
def test_any_text_comes_back(data: bytes, base: bytes, cut: int) -> None:
    for child in (data, base[:cut] + data + base[cut:], base + b"\0"):
        form = encode_text(child, base, NAME if base else None)
        assert read_header(form).base == (NAME if base else None)
        pieces = [base[:cut], base[cut:]]
        assert decode_text(form, limit=len(child), base=pieces) == child
        assert b"".join(decode(form, limit=len(child), base=pieces if base else None)) == child


def test_what_changed_is_all_that_it_takes() -> None:
    form = encode_text(text(3), text(), NAME)
    assert len(form) < FIXED.size + 8 + 3 * 50 + 60
    assert len(encode_text(text(), text(), NAME)) < FIXED.size + 40
    assert len(encode_text(text())) < 0.6 * len(text())


def test_the_whole_of_a_long_base_is_seen() -> None:
    base = text(tensors=30_000)
    assert 3 << 20 < len(base) <= TEXT_BYTES
    assert len(encode_text(base[: len(base) // 2], base, NAME)) < 2000


def test_standard_tools_read_the_chunk() -> None:
    """`zstd --patch-from` makes such frames, with the whole base before the text."""
    form = encode_text(text(3), text(), NAME)
    dictionary = zstandard.ZstdCompressionDict(text(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    plain = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(form[FIXED.size + 8 :])
    assert plain == text(3)


def test_a_golden_file_decodes() -> None:
    """The format is a promise: what was written once can be read for ever."""
    assert decode_text(GOLDEN.read_bytes(), limit=TEXT_BYTES, base=[text()]) == text(3)


def test_every_flipped_byte_and_truncation_is_found() -> None:
    form = encode_text(text(1, 20), text(0, 20), NAME)
    for position in range(len(form)):
        broken = bytearray(form)
        broken[position] ^= 0x10
        for wrong in (bytes(broken), form[:position]):
            with pytest.raises((Corrupt, Unsupported)):
                decode_text(wrong, limit=TEXT_BYTES, base=[text(0, 20)])


def test_another_base_gives_no_text() -> None:
    form = encode_text(text(3), text(), NAME)
    for base in (text(9), b"", text()[:-1]):
        with suppress(Corrupt):
            assert decode_text(form, limit=TEXT_BYTES, base=[base]) != text(3)


def test_more_than_is_allowed_is_refused() -> None:
    with pytest.raises(Corrupt, match="at most 100 bytes"):
        decode_text(encode_text(text()), limit=100)
    with pytest.raises(Corrupt, match=r"base.*at most"):
        decode_text(encode_text(text()), limit=TEXT_BYTES, base=[bytes(1 << 20)] * 5)


@pytest.mark.parametrize(
    "form",
    [
        signed(b"", TEXT_BYTES + 1),
        signed(b"", 1 << 40, chunk=1 << 31),
        signed(b"", 2 * CHUNK_WORDS, chunk=CHUNK_WORDS),
        signed(zstandard.compress(bytes(64)), 64, layout="F32", chunk=16),
        signed(zstandard.compress(bytes(1 << 28)), 1000),
        signed(zstandard.compress(bytes(64))[:-1], 64),
        signed(zstandard.compress(bytes(64)) + b"more", 64),
        signed(b"no frame", 64),
    ],
    ids=["long", "longer", "chunks", "words", "a frame of more", "cut", "trailing", "none"],
)
def test_claims_are_checked_before_memory_is_taken(form: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt):
            decode_text(form, limit=TEXT_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_frame_that_lies_of_its_size_takes_no_more() -> None:
    honest = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 << 20))
    size = 1000 - 256
    lying = honest[:4] + bytes([honest[4] | 0x40]) + honest[5:6] + size.to_bytes(2, "little")
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt):
            decode_text(signed(lying + honest[6:], 1000), limit=TEXT_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_text_is_no_object_of_another_codec() -> None:
    form = bytearray(encode_text(text()))
    form[5] = Codec.FULL
    form[48:80] = checksum(bytes(form))
    with pytest.raises(Corrupt):
        decode_text(bytes(form), limit=TEXT_BYTES)
