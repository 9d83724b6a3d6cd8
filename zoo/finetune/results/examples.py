"""Examples of classes, and of the classes that are taken for one another most: a sheet of small
test images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO
from itertools import islice
from pathlib import Path

from PIL import Image, ImageOps

from zoo.errors import InvalidImage
from zoo.finetune.results.report import LabeledOutputs, Report
from zoo.lookup.examples import COLUMNS, EXAMPLES, MOST, SHEET, SIDE, Example, Examples
from zoo.store.atomic import write_whole

__all__ = ["write_examples"]

PAIRS = 12
"""Of the classes that were confused, the worst."""


def write_examples(
    folder: Path,
    measured: LabeledOutputs,
    report: Report,
    count: int,
    read: Callable[[str], Image.Image],
) -> None:
    """Write up to ``count`` test images of each of the worst confusions and of each class, drawn
    anew from their pixels, so that nothing else of a file comes along.
    """
    pairs = [*islice(_opened(_chosen(measured, report, count), read), MOST)]
    examples = Examples(SIDE, min(COLUMNS, max(len(pairs), 1)), tuple(each for each, _ in pairs))
    sheet = Image.new("RGB", examples.size, "white")
    for number, (_, image) in enumerate(pairs):
        sheet.paste(image, examples.place(number))
    data = BytesIO()
    sheet.save(data, "png", optimize=True)
    text = json.dumps(asdict(examples), ensure_ascii=False) + "\n"
    write_whole(folder / SHEET, [data.getvalue()])
    write_whole(folder / EXAMPLES, [text.encode("utf-8", "replace")])


def _opened(
    chosen: Iterator[tuple[Example, str]], read: Callable[[str], Image.Image]
) -> Iterator[tuple[Example, Image.Image]]:
    for example, key in chosen:
        with suppress(InvalidImage):  # it was there when it was measured
            yield example, ImageOps.fit(read(key).convert("RGB"), (SIDE, SIDE))


def _chosen(measured: LabeledOutputs, report: Report, count: int) -> Iterator[tuple[Example, str]]:
    """Images by what they are called: of the confusions, those that are most surely another class;
    of classes, those that are most surely theirs.
    """
    shares, targets, names = measured.outputs.softmax(dim=1), measured.targets, measured.classes
    predicted, index = shares.argmax(dim=1), {name: at for at, name in enumerate(names)}
    for pair in report.confusions[:PAIRS]:
        true, other = index[pair.true], index[pair.predicted]
        sure = shares[:, other].masked_fill((targets != true) | (predicted != other), -1)
        for at in sure.topk(min(count, pair.images)).indices.tolist():
            yield Example(pair.true, pair.predicted), measured.images[at]
    for each in report.classes:
        sure = shares[:, index[each.name]].masked_fill(targets != index[each.name], -1)
        for at in sure.topk(min(count, each.images)).indices.tolist():
            yield Example(each.name), measured.images[at]
