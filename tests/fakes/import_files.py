"""A file of weights as people have it, and what became of it in the zoo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
from fakes.program import Said

import zoo

__all__ = ["AS", "NET", "Run", "State", "assert_is", "prefixed", "shown", "small_state"]

Run = Callable[..., Said]
State = dict[str, torch.Tensor]
NET = "test_resnet"
AS = ("--architecture", NET, "--as", "team/net")
"""What the file is, and its name in the zoo."""


def small_state() -> State:
    """Weights of a small network with 3 outputs."""
    torch.manual_seed(3)
    return dict(timm.create_model(NET, num_classes=3).state_dict())


def prefixed(prefix: str, state: State) -> State:
    """With a prefix to all names."""
    return {prefix + name: tensor for name, tensor in state.items()}


def assert_is(state: State) -> None:
    """See that ``team/net`` has exactly these weights, and runs."""
    with zoo.open() as here:
        module = here.load("team/net")
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert module(torch.zeros(1, 3, 32, 32)).shape[0] == 1


def shown(run: Run) -> dict[str, Any]:
    """What is known of ``team/net``."""
    return dict(run("show", "team/net", "--json").json)
