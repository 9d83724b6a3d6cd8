"""Which encoding an object gets."""

from __future__ import annotations

import numpy as np
import pytest
from blake3 import blake3

from zoo.codec.choose import encode_best, layout_of
from zoo.codec.header import Codec, read_header
from zoo.codec.layouts import LAYOUTS
from zoo.domain.digest import Digest
from zoo.domain.manifest import Tensor

F32 = LAYOUTS["F32"]
NAME = Digest("blake3", blake3(b"base").hexdigest())


@pytest.fixture
def base() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(100_000).astype(np.float32) * np.float32(0.05)


def nudged(base: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(len(base)).astype(np.float32)
    moved: np.ndarray = base + noise * np.float32(1e-5)
    return moved


@pytest.mark.parametrize(("smallest", "codec"), [(False, Codec.FAST), (True, Codec.MAX)])
def test_a_small_step_from_the_base_is_a_delta(
    base: np.ndarray, smallest: bool, codec: Codec
) -> None:
    form = encode_best(nudged(base).tobytes(), F32, base.tobytes(), NAME, smallest=smallest)
    assert form is not None
    assert read_header(form).codec == codec
    assert read_header(form).base == NAME
    assert len(form) < base.nbytes / 1.5


def test_max_is_smaller_than_fast(base: np.ndarray) -> None:
    one, other = nudged(base).tobytes(), base.tobytes()
    fast = encode_best(one, F32, other, NAME)
    smallest = encode_best(one, F32, other, NAME, smallest=True)
    assert fast is not None
    assert smallest is not None
    assert len(smallest) < len(fast)


def test_an_unrelated_base_is_not_used(base: np.ndarray) -> None:
    unrelated = np.random.default_rng(2).standard_normal(len(base)).astype(np.float32)
    form = encode_best(unrelated.tobytes(), F32, base.tobytes(), NAME)
    assert form is not None
    assert read_header(form).codec == Codec.FULL
    assert read_header(form).base is None


def test_noise_is_left_as_it_is() -> None:
    noise = np.random.default_rng(3).bytes(100_000)
    assert encode_best(noise, LAYOUTS["BYTES"], None, None) is None


def test_what_is_tiny_is_left_as_it_is() -> None:
    assert encode_best(bytes(1000), F32, None, None) is None


def test_the_layout_is_that_of_most_bytes() -> None:
    def tensor(dtype: str, nbytes: int) -> Tensor:
        return Tensor(name=dtype, dtype=dtype, shape=(), object=NAME, offset=0, nbytes=nbytes)

    mixed = [tensor("I64", 8), tensor("F32", 400), tensor("F32", 40)]
    assert layout_of(mixed, 448) == F32
    assert layout_of(mixed, 447) == LAYOUTS["BYTES"]
    assert layout_of([tensor("F8_E4M3", 64)], 64) == LAYOUTS["BYTES"]
    assert layout_of([], 64) == LAYOUTS["BYTES"]
