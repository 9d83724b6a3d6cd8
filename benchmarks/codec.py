"""Ratios and speeds of the codecs on a real fine-tune, beside two others, in one run.

    python benchmarks/codec.py

Real ImageNet weights of tf_efficientnet_lite0, all layers fine-tuned for 100 AdamW steps on
scikit-learn's digits.
Each tensor is coded alone, as push does. The peers are written here from their papers, to be
measured on the same bytes:

- BitX (ZipLLM; in ``bitx.py``): XOR with the parent, its bytes in streams of their own, zstd;
- FM-Delta (NeurIPS 2024): differences of the bits taken as integers, sign and bit length
  entropy-coded, the lower bits stored. Its range coder is given here at its entropy bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import bitx
import numpy as np
import timm
import torch
from digits import train
from lite0 import ARCHITECTURE, State, pretrained
from numpy.typing import NDArray
from torch import Tensor

from zoo.codec.frame import decode, encode
from zoo.codec.header import Codec
from zoo.codec.layouts import LAYOUTS
from zoo.domain.digest import Digest

STEPS = 100
Words = NDArray[Any]
Pairs = list[tuple[Words, Words]]
NAME = Digest("blake3", "0" * 64)


def main() -> None:
    """Fine-tune twice, and print one table."""
    parent = pretrained()
    print(f"{ARCHITECTURE}, {STEPS} AdamW steps on digits, {torch.get_num_threads()} cores")
    print(
        f"{'dtype':6} {'rate':6} {'codec':20} {'ratio':>7} {'encode MB/s':>12} {'decode MB/s':>12}"
    )
    for rate in (1e-5, 1e-4):
        child = finetuned(parent, rate)
        for dtype, name in ((torch.float32, "F32"), (torch.bfloat16, "BF16")):
            pairs = bits(parent, child, dtype)
            total = sum(one.nbytes for one, _ in pairs)
            for codec, (size, encoding, decoding) in measure(pairs, name).items():
                speeds = (total / 1e6 / seconds if seconds else math.nan
                          for seconds in (encoding, decoding))  # fmt: skip
                print(f"{name:6} {rate:<6g} {codec:20} {total / size:7.3f} "
                      + " ".join(f"{speed:12.0f}" for speed in speeds))  # fmt: skip


def finetuned(parent: State, rate: float) -> State:
    """The parent after some steps of full fine-tuning."""
    torch.manual_seed(0)
    model = timm.create_model(ARCHITECTURE)
    model.load_state_dict(parent)
    model.train()
    train(model, steps=STEPS, rate=rate)
    return model.state_dict()


def bits(parent: State, child: State, dtype: torch.dtype) -> Pairs:
    """Child and parent of each float tensor, as unsigned integers."""
    view = torch.int32 if dtype == torch.float32 else torch.int16
    unsigned = np.uint32 if dtype == torch.float32 else np.uint16

    def words(values: Tensor) -> Words:
        found: Words = values.to(dtype).flatten().contiguous().view(view).numpy().view(unsigned)
        return found

    floats = [key for key in parent if parent[key].is_floating_point()]
    return [(words(child[key]), words(parent[key])) for key in floats]


def measure(pairs: Pairs, name: str) -> dict[str, tuple[int, float, float]]:
    """Bytes, seconds to encode and seconds to decode, by codec."""
    codecs = (Codec.FULL, Codec.FAST, Codec.MAX)
    rows = {f"zoo {codec.name}": ours(pairs, name, codec) for codec in codecs}
    rows["BitX layout"] = theirs(pairs, lambda one, base: sum(map(len, bitx.encode(one, base))))
    rows["FM-Delta at its bound"] = theirs(pairs, fm_delta)
    return rows


def ours(pairs: Pairs, name: str, codec: Codec) -> tuple[int, float, float]:
    """Encode and decode every tensor; the median of three rounds."""
    layout, alone, rounds = LAYOUTS[name], codec == Codec.FULL, []
    for _ in range(3):
        began = time.perf_counter()
        forms = [
            encode(codec, one.tobytes(), layout, None if alone else base.tobytes(), NAME)
            for one, base in pairs
        ]
        middle = time.perf_counter()
        plain = [
            list(decode(form, limit=one.nbytes, base=None if alone else [base.tobytes()]))
            for form, (one, base) in zip(forms, pairs, strict=True)
        ]
        rounds.append((middle - began, time.perf_counter() - middle))
    assert all(b"".join(p) == one.tobytes() for p, (one, _) in zip(plain, pairs, strict=True))
    encoding, decoding = (sorted(times)[1] for times in zip(*rounds, strict=True))
    return sum(map(len, forms)), encoding, decoding


def theirs(
    pairs: Pairs,
    code: Callable[[Words, Words], int],
) -> tuple[int, float, float]:
    """The peers' sizes; their Python speed here would say nothing of theirs."""
    return sum(code(one, base) for one, base in pairs), 0.0, 0.0


def fm_delta(one: Words, base: Words) -> int:
    """Bytes of FM-Delta's model at its entropy: (sign, bit length) coded, lower bits stored."""
    difference = one.astype(np.int64) - base.astype(np.int64)
    length = np.zeros(len(one), np.int64)
    nonzero = difference != 0
    length[nonzero] = np.floor(np.log2(np.abs(difference[nonzero]))).astype(np.int64) + 1
    _, counts = np.unique(length * np.sign(difference), return_counts=True)
    share = counts / counts.sum()
    entropy = -(share * np.log2(share)).sum() * len(one)
    stored = np.maximum(length - 1, 0).sum()
    return math.ceil(float(entropy + stored) / 8)


if __name__ == "__main__":
    main()
