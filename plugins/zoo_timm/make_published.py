"""Write ``published.csv``: timm's results on ImageNet-1k, and multiply-accumulates by tracing.

    git -C CHECKOUT show COMMIT:results/results-imagenet.csv | \
        python -m zoo_timm.make_published COMMIT

writes it anew, for the timm that is installed and its results as of that commit: some ten minutes.
"""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TextIO

import torch
from torch.utils.flop_counter import FlopCounterMode

import zoo_timm
from zoo.backbones.untrained import on_meta
from zoo.domain.catalog import CatalogEntry
from zoo.domain.surgery import BuildOptions
from zoo_timm.backbone import TimmBackbone
from zoo_timm.outlines import listed
from zoo_timm.published import COLUMNS, TABLE

__all__ = ["macs", "write"]

REPOSITORY = "https://github.com/huggingface/pytorch-image-models"
HEAD = """\
# What timm publishes of its weights. Written by make published; do not edit.
# top1, top5 in percent of the validation images of ImageNet-1k, at top1_size pixels:
# {repository}
# results/results-imagenet.csv at {commit}, of several sizes the best.
# macs: multiply-accumulates of one image at the input size of the weights, of convolutions and
# products of matrices (those of attention, too), counted by torch on what {timm} builds.
"""


@cache
def macs(architecture: str, size: tuple[int, int, int], outputs: int) -> int:
    """Multiply-accumulates of one image: half the operations that torch counts, without values."""
    with on_meta(), torch.no_grad():
        options = BuildOptions(image_size=size[1:], num_classes=outputs)
        module = TimmBackbone().build(architecture, options).eval().requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, *size))
    return int(counter.get_total_flops()) // 2


def write(entries: Iterable[CatalogEntry], results: TextIO, commit: str, path: Path) -> None:
    """Write the rows of ``entries``; ``results`` is the table that timm publishes."""
    published: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(results):
        published.setdefault(row["model"], row)  # the best is first
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(HEAD.format(repository=REPOSITORY, commit=commit, timm=zoo_timm.version()))
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for entry in entries:
            name = entry.name.removeprefix("timm/")
            row = published.get(name, {})
            numbers = (row.get(key, "") for key in ("top1", "top5", "img_size"))
            table.writerow([name, _macs_of(entry), *numbers])


def _macs_of(entry: CatalogEntry) -> int | str:
    if entry.input_size is None or entry.num_classes is None:
        return ""
    try:
        return macs(entry.architecture, entry.input_size, entry.num_classes)
    except Exception as error:  # noqa: BLE001 - of any network: the others are counted
        warnings.warn(f"{entry.name}: {error!r:.200}", stacklevel=1)
        return ""


if __name__ == "__main__":
    write(listed(), sys.stdin, sys.argv[1], TABLE)
