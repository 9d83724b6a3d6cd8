"""The smallest architecture of every one of timm's model classes, found at run time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import timm
import torch
from torch import nn

from zoo.testing.backbones import check_coverage, check_order, check_stages
from zoo_timm.backbone import TimmBackbone

pytestmark = pytest.mark.long

# Tiny by name, so that test architectures do not stand for the classes that people use.
NOT_REAL = "test_"


def smallest() -> dict[str, str]:
    """Class name to architecture."""
    found: dict[str, tuple[float, str]] = {}
    for name in timm.list_models():
        with torch.device("meta"):
            module = TimmBackbone().build(name)
        size = sum(parameter.numel() for parameter in module.parameters())
        key = type(module).__name__
        real = (size, name) if not name.startswith(NOT_REAL) else (math.inf, name)
        found[key] = min(found.get(key, real), real)
    return {key: name for key, (_, name) in sorted(found.items())}


def problems(architecture: str) -> Iterator[str]:
    """What is wrong with the hierarchy of an architecture, the row of the table last."""
    backbone = TimmBackbone()
    with torch.device("meta"):
        module: nn.Module = backbone.build(architecture)
        images = torch.zeros(1, *backbone.preprocessing(module).input_size)
    hierarchy = backbone.hierarchy(architecture, module)
    for what, check in (
        ("coverage", lambda: check_coverage(module, hierarchy)),
        ("order", lambda: check_order(module, hierarchy, images)),
        ("stages", lambda: check_stages(hierarchy)),
    ):
        try:
            check()
        except AssertionError as error:
            yield f"{architecture}: {what}: {error}"
    inner = sum(unit.cut for unit in hierarchy.units[1:])
    yield f"{len(hierarchy.units):5} {inner:5} {len(hierarchy.stages):6} {hierarchy.params:>12,}"


def test_every_class_has_a_sound_hierarchy(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = smallest()
    rows, wrong, with_inner_cut = [], [], 0
    for kind, architecture in chosen.items():
        *found, row = problems(architecture)
        wrong += found
        with_inner_cut += int(row.split()[1]) > 0
        rows.append(f"{kind:28} {architecture:44} {row}")
    with capsys.disabled():
        print(f"\n{'class':28} {'architecture':44} units inner stages   parameters")  # noqa: T201
        print("\n".join(rows))  # noqa: T201
        print(f"{len(chosen)} classes, {with_inner_cut} with an inner cut, {len(wrong)} wrong")  # noqa: T201
    assert not wrong
    assert len(chosen) >= 90
    assert with_inner_cut >= 90
