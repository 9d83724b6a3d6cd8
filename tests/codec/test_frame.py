"""The encoded form of objects: lossless, checked, frozen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.codec.frame import decode, encode
from zoo.codec.header import FIXED, Codec, read_header
from zoo.codec.layouts import LAYOUTS, WordLayout
from zoo.domain.digest import Digest
from zoo.errors import Corrupt, Unsupported

GOLDEN = Path(__file__).parent / "golden"
CODECS = [Codec.FULL, Codec.FAST, Codec.MAX]
CASES = [
    (codec, name)
    for codec in CODECS
    for name, layout in LAYOUTS.items()
    if codec != Codec.MAX or layout.exponent
]


def digest_of(data: bytes) -> Digest:
    return Digest("blake3", blake3(data).hexdigest())


def encoded(codec: Codec, layout: WordLayout, data: bytes, base: bytes) -> bytes:
    if codec == Codec.FULL:
        return encode(codec, data, layout)
    return encode(codec, data, layout, base, digest_of(base))


def decoded(codec: Codec, form: bytes, base: bytes) -> bytes:
    return b"".join(decode(form, limit=1 << 30, base=None if codec == Codec.FULL else [base]))


def weights(count: int, seed: int) -> np.ndarray:
    """Numbers like weights, from integer arithmetic only: the same on every machine."""
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(6364136223846793005 + 2 * seed)
    state ^= state >> np.uint64(33)
    state *= np.uint64(0xFF51AFD7ED558CCD)
    unit = (state >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)
    cubed: np.ndarray = unit * unit * unit
    return cubed


@pytest.mark.parametrize(("codec", "name"), CASES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_bits_come_back(codec: Codec, name: str, data: st.DataObject) -> None:
    layout = LAYOUTS[name]
    count = data.draw(st.integers(0, 300))
    size = count * layout.width
    one = data.draw(st.binary(min_size=size, max_size=size))
    other = data.draw(st.binary(min_size=size, max_size=size))
    assert decoded(codec, encoded(codec, layout, one, other), other) == one


@pytest.mark.parametrize(("codec", "name"), CASES)
def test_special_floats_and_neighbors_across_zero_come_back(codec: Codec, name: str) -> None:
    layout = LAYOUTS[name]
    bits = layout.width * 8
    edges = [0, 1, 2, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1]
    edges += [((1 << layout.exponent) - 1) << layout.mantissa, 1 << layout.mantissa]
    values = [edge % (1 << bits) for edge in edges]
    one = np.array(values * len(values), layout.unsigned).tobytes()
    other = np.repeat(np.array(values, layout.unsigned), len(values)).tobytes()
    assert decoded(codec, encoded(codec, layout, one, other), other) == one


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [0, 1, 256 * 1024 - 1, 256 * 1024, 600_000])
def test_whole_and_broken_chunks_come_back(codec: Codec, count: int) -> None:
    one, other = weights(count, 1).tobytes(), weights(count, 2).tobytes()
    form = encoded(codec, LAYOUTS["F32"], one, other)
    assert decoded(codec, form, other) == one
    assert read_header(form).chunks == -(-count // (256 * 1024))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", ["F32", "BF16"])
def test_golden_files_decode(codec: Codec, name: str) -> None:
    """The format is a promise: what was written once can be read for ever."""
    base: np.ndarray = weights(5000, 3)
    child: np.ndarray = base + weights(5000, 4) * np.float32(1e-4)
    if name == "BF16":
        base, child = ((a.view(np.uint32) >> 16).astype(np.uint16) for a in (base, child))
    path = GOLDEN / f"{codec.name.lower()}-{name.lower()}.zooc"
    assert decoded(codec, path.read_bytes(), base.tobytes()) == child.tobytes()


@pytest.mark.parametrize("codec", CODECS)
def test_every_flipped_byte_is_found(codec: Codec) -> None:
    base = weights(600, 5)
    one, other = (base * np.float32(1.001)).tobytes(), base.tobytes()
    form = encoded(codec, LAYOUTS["F32"], one, other)
    for position in range(0, len(form), 7 if len(form) > 1000 else 1):
        broken = bytearray(form)
        broken[position] ^= 0x10
        with pytest.raises((Corrupt, Unsupported)):
            decoded(codec, bytes(broken), other)


@pytest.mark.parametrize("codec", CODECS)
def test_every_truncation_is_found(codec: Codec) -> None:
    base = weights(600, 5)
    one, other = (base * np.float32(1.001)).tobytes(), base.tobytes()
    form = encoded(codec, LAYOUTS["F32"], one, other)
    for length in (0, 3, FIXED.size - 1, FIXED.size, FIXED.size + 4, len(form) - 1):
        with pytest.raises(Corrupt):
            decoded(codec, form[:length], other)


def test_more_bytes_than_allowed_are_refused_before_allocating() -> None:
    form = bytearray(encode(Codec.FULL, bytes(4096), LAYOUTS["F32"]))
    with pytest.raises(Corrupt, match="at most 100 bytes"):
        decode(bytes(form), limit=100)


def test_a_delta_needs_its_base() -> None:
    base = weights(600, 5).tobytes()
    form = encoded(Codec.FAST, LAYOUTS["F32"], base, base)
    with pytest.raises(Corrupt, match="base"):
        decode(form, limit=1 << 20)
    with pytest.raises(Corrupt, match="base"):
        list(decode(form, limit=1 << 20, base=[base[:-4]]))


def test_a_newer_format_is_refused_as_such() -> None:
    form = bytearray(encode(Codec.FULL, bytes(64), LAYOUTS["F32"]))
    form[4] = 2
    with pytest.raises(Unsupported):
        decode(bytes(form), limit=64)


def test_a_wrong_chunk_table_under_a_right_checksum_is_found() -> None:
    """What a stranger made on purpose, and signed with the right checksum."""
    form = encode(Codec.FULL, weights(300_000, 1).tobytes(), LAYOUTS["F32"])
    table = FIXED.size
    for end in (0, 1 << 62, len(form)):
        broken = form[:table] + end.to_bytes(8, "little") + form[table + 8 :]
        checksum = blake3(broken[:48]).update(broken[80:]).digest()
        with pytest.raises(Corrupt):
            list(decode(broken[:48] + checksum + broken[80:], limit=1 << 30))


def test_threads_do_not_disturb_each_other() -> None:
    """Sharing one zstd compressor between threads crashed the process."""
    base = weights(300_000, 6)
    one, other = (base * np.float32(1.001)).tobytes(), base.tobytes()

    def round_trip(_: int) -> bool:
        form = encoded(Codec.FAST, LAYOUTS["F32"], one, other)
        return decoded(Codec.FAST, form, other) == one

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(16)))
