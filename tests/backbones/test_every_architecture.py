"""A sound hierarchy for every architecture of timm. `make check-backbones` runs this."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

import pytest
import timm
import torch

from zoo.testing.backbones import check_coverage, check_order, check_stages
from zoo_timm.backbone import TimmBackbone

pytestmark = pytest.mark.backbones

WORKERS = 2


@dataclass
class Row:
    """What was found of one architecture; seconds are those of its processor."""

    architecture: str
    kind: str = ""
    units: int = 0
    inner_cuts: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def look(architecture: str) -> Row:
    torch.set_num_threads(1)
    backbone, row = TimmBackbone(), Row(architecture)
    began = time.process_time()
    try:
        with torch.device("meta"):
            module = backbone.build(architecture)
            images = torch.zeros(1, *backbone.preprocessing(module).input_size)
        row.kind = type(module).__name__
        hierarchy = backbone.hierarchy(architecture, module)
    except Exception as error:  # noqa: BLE001 - it is a row of the table
        row.problems.append(f"{type(error).__name__}: {error}")
        return row
    row.seconds = time.process_time() - began
    row.units = len(hierarchy.units)
    row.inner_cuts = sum(unit.cut for unit in hierarchy.units[1:])
    checks: dict[str, Callable[[], None]] = {
        "coverage": lambda: check_coverage(module, hierarchy),
        "order": lambda: check_order(module, hierarchy, images),
        "stages": lambda: check_stages(hierarchy),
    }
    for what, check in checks.items():
        try:
            check()
        except AssertionError as error:
            row.problems.append(f"{what}: {error}")
    return row


def table(rows: list[Row]) -> Iterator[str]:
    by_kind: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_kind[row.kind or "cannot be built"].append(row)
    yield f"{'class':28} architectures   units   inner cuts   without one"
    for kind, mine in sorted(by_kind.items()):
        units, cuts = [row.units for row in mine], [row.inner_cuts for row in mine]
        yield (
            f"{kind:28} {len(mine):13} {min(units):3}-{max(units):<3} "
            f"{min(cuts):5}-{max(cuts):<5} {cuts.count(0):12}"
        )
    for row in rows:
        yield from (f"{row.architecture}: {problem}" for problem in row.problems)


def test_every_architecture(record_property: Callable[[str, object], None]) -> None:
    names = timm.list_models()
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(look, names, chunksize=8))
    mean = sum(row.seconds for row in rows) / len(rows)
    wrong = Counter(bool(row.problems) for row in rows)[True]
    for line in table(rows):
        record_property("table", line)
    record_property("table", f"{len(rows)} architectures, {wrong} wrong, {mean:.2f} s each")
    assert wrong == 0
    kinds = {row.kind for row in rows}
    assert len(kinds) >= 97
    assert kinds == {row.kind for row in rows if row.inner_cuts}
