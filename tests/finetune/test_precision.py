"""What --precision stands for, and that products are taken as it says."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from fakes.products import products

from zoo.finetune.setup.network import multiplying, usual_precision


@pytest.mark.parametrize(("precision", "takes"), [("tf32", "tf32"), ("fp32", "ieee")])
def test_all_products_are_of_one_kind(precision: str, takes: str) -> None:
    before = products()
    with suppress(KeyboardInterrupt), multiplying(precision):
        assert products() == (takes, takes)
        raise KeyboardInterrupt
    assert products() == before


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_leaves_them_alone(precision: str) -> None:
    before = products()
    with multiplying(precision):
        assert products() == before


def test_auto_is_bf16_where_a_gpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, has=has, **__: has)
        assert usual_precision(torch.device("cuda", 1)) == precision
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    assert [usual_precision(torch.device(each)) for each in ("cpu", "mps")] == ["fp32", "fp32"]
