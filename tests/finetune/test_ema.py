"""An average of weights: warm-up, buffers, and exactness of what stands still."""

from __future__ import annotations

import pytest
import torch

from zoo.finetune.loop.learner import EMA


def test_early_updates_count_more() -> None:
    value = torch.zeros(3)
    average = EMA({"w": value}, decay=0.9)
    expected = 0.0
    for update in range(1, 200):
        value.fill_(update)
        average.update()
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
        assert average.values["w"][0].item() == pytest.approx(expected, rel=1e-4)


def test_counters_are_copied() -> None:
    counter = torch.tensor(0)
    average = EMA({"n": counter}, decay=0.99)
    counter += 7
    average.update()
    assert average.values["n"].item() == 7


def test_what_stands_still_keeps_its_bits() -> None:
    value = torch.rand(1000)
    before = value.clone()
    average = EMA({"w": value}, decay=0.999)
    for _ in range(50):
        average.update()
    with average.in_place():
        assert torch.equal(value, before)


def test_in_place_gives_back_what_was_there() -> None:
    value = torch.zeros(2)
    average = EMA({"w": value}, decay=0.5)
    value.fill_(1)
    average.update()
    with average.in_place():
        assert 0 < value[0] < 1
    assert torch.equal(value, torch.ones(2))
    assert 0 < average.values["w"][0] < 1


def test_limits_that_are_infinite_stay() -> None:
    limits = torch.tensor([-torch.inf, torch.inf, 1.0])
    average = EMA({"limits": limits}, decay=0.9)
    average.update()
    assert torch.equal(average.values["limits"], limits)
