"""The poison proof itself: on networks whose cuts are known by construction."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from zoo.backbones.trace import trace
from zoo.domain.hierarchy import Hierarchy
from zoo.testing.cuts import proves_cut
from zoo.testing.from_cut import check_from_cut


class Chain(nn.Module):
    """Four steps; ``skip`` adds what left step 0 to what enters step 3."""

    def __init__(self, *, skip: bool = False, image: bool = False, late: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.head = nn.Linear(3, 2)
        self.skip, self.image, self.late = skip, image, late

    def forward(self, x: Tensor) -> Tensor:
        image, kept = x, torch.zeros(())
        for index, block in enumerate(self.blocks):
            if index == 3 and self.skip:
                x = x + kept
            if index == 2 and self.image:
                x = x + image
            x = block(x)
            nn.functional.relu_(x)
            kept = x if index == 0 else kept
        if self.late:
            x = x + self.blocks[1](x)
        outputs: Tensor = self.head(x.mean((2, 3)))
        return outputs


class Nested(nn.Module):
    """Hands on a dict of tensors by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Widen()
        self.second = Narrow()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.second(pair=self.first(x))}


class Widen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"plus": self.conv(x), "minus": -self.conv(x)}


class Narrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, pair: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = self.conv(pair["plus"] - pair["minus"])
        return outputs


class Turned(nn.Module):
    """Every block adds what one module makes of the coordinates alone; ``seen``: of pixels too."""

    def __init__(self, *, seen: bool = False) -> None:
        super().__init__()
        self.embed = Embed(seen=seen)
        self.table = Table()
        self.blocks = nn.ModuleList(Add() for _ in range(3))
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, places = self.embed(x)
        table = self.table(x, places)
        for block in self.blocks:
            x = block(x, table)
        places += 1  # in place, in what was made below
        outputs: Tensor = self.head((x * places).mean((2, 3)))
        return outputs


class Embed(nn.Module):
    def __init__(self, *, seen: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.seen = seen

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
        return self.conv(x), places + x.mean() if self.seen else places


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.tensor(0.5))

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        return (places * self.get_buffer("frequency")).sin().to(x.dtype)


class Add(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        more: Tensor = self.conv(x + table)
        return x + more


def prepared(module: nn.Module) -> tuple[nn.Module, Hierarchy, Tensor]:
    torch.manual_seed(0)
    head = ("head",) if hasattr(module, "head") else ()
    hierarchy = trace("made", module, input_size=(3, 8, 8), head=head)
    return module, hierarchy, torch.randn(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("module", "cuts"),
    [
        (Chain(), [True, True, True, True]),
        (Chain(skip=True), [True, False, False, True]),
        (Chain(image=True), [False, False, True, True]),
        (Chain(late=True), [True, True, False, False]),
        (Nested(), [True, True]),
        (Turned(), [True, True, True, True]),
        (Turned(seen=True), [True, False, False, False, False]),
    ],
    ids=["chain", "skip", "image", "late", "nested", "turned", "seen"],
)
def test_proof_and_liveness_agree_with_the_construction(
    module: nn.Module, cuts: list[bool]
) -> None:
    module, hierarchy, images = prepared(module)
    proven = [proves_cut(module, hierarchy, unit.depth, images) for unit in hierarchy.units]
    assert proven == cuts
    assert [unit.cut for unit in hierarchy.units] == cuts


def test_what_no_image_changes_is_no_step_and_is_kept() -> None:
    """Training from each cut has the bits of training the whole, though all that is above uses what
    units below it made.
    """
    module, hierarchy, images = prepared(Turned())
    assert hierarchy.units[0].modules == ("embed", "table")
    assert check_from_cut(module, hierarchy, images) == [1, 2, 3, 4]


def test_module_is_left_as_it_was() -> None:
    module, hierarchy, images = prepared(Chain(skip=True))
    module.train()
    module.get_submodule("blocks.2").eval()
    state = copy.deepcopy(module.state_dict())
    before = [(dict(child.__dict__), child.training) for child in module.modules()]
    output = module(images)
    proves_cut(module, hierarchy, 2, images)
    assert torch.equal(module(images), output)
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    for (attributes, training), child in zip(before, module.modules(), strict=True):
        assert child.__dict__.keys() == attributes.keys()
        assert not child._forward_hooks
        assert not child._forward_pre_hooks
        assert child.training == training


def test_module_is_left_as_it_was_when_a_run_fails() -> None:
    module, hierarchy, images = prepared(Chain())
    with pytest.raises(RuntimeError):
        proves_cut(module, hierarchy, 1, images[:, :2])
    assert torch.equal(module(images), module(images))
    assert not any(child._forward_pre_hooks for child in module.modules())
    assert all("forward" not in child.__dict__ for child in module.modules())
