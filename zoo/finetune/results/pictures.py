"""Pictures of a run: learning curves, the confusion matrix and the depth curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib import font_manager, rc_context, rcParams
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix
from torch import Tensor

from zoo.domain.calibration import Bin, calibration_error
from zoo.domain.manifest import Preprocessing
from zoo.domain.words import shortened
from zoo.errors import InvalidImage
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.results.journal import Line

if TYPE_CHECKING:
    from zoo.finetune.strategies.depth import Curve

__all__ = [
    "Tile",
    "confusion_counts",
    "draw_confusion",
    "draw_curves",
    "draw_depth",
    "draw_reliability",
    "draw_samples",
    "draw_sheet",
    "save",
]

NAMED = 40
"""Most classes whose names fit beside a matrix."""
LARGEST = 20.0
"""Inches of a matrix at most."""
BRIGHT = 0.6
"""The share from which on a cell is so bright that white is not read on it."""
FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
)
"""Fonts with letters that matplotlib's own has not."""
SMOOTHING = 0.9
SAMPLES, ACROSS = 16, 8
LONGEST = 255
"""Letters of a label that is drawn, those of a file's name at most."""
COLUMNS, CELL = 6, 150
THUMBNAIL, BELOW, LINE = 128, 40, 11
"""Of a contact sheet, in pixels; ``BELOW`` each image are lines that say what it is."""
WIDE = 30
"""Letters of a line there."""


def draw_curves(lines: Iterable[Line], score: str) -> Figure:
    """Loss, rate and score over the steps of a run, from the lines of its journal."""
    noted = list(lines)
    steps = [line for line in noted if line["kind"] == "step"]
    epochs = [line for line in noted if line["kind"] == "epoch" and score in line]
    figure = Figure(figsize=(8, 7), layout="constrained")
    loss, rate, result = figure.subplots(3, sharex=True)
    xs, losses = [line["steps"] for line in steps], [line["loss"] for line in steps]
    loss.plot(xs, losses, alpha=0.3)
    loss.plot(xs, _smoothed(losses), color="C0")
    loss.set_ylabel("training loss")
    rate.plot(xs, [line["lr"] for line in steps])
    rate.set_ylabel("rate of the head")
    result.plot([line["steps"] for line in epochs], [line[score] for line in epochs], "o-")
    result.set_ylabel(f"validation {score.replace('_', ' ')}")
    result.set_xlabel("step")
    return figure


def _smoothed(values: Sequence[float]) -> list[float]:
    """An exponential moving average, without the bias of its beginning."""
    mean, smoothed = 0.0, []
    for number, value in enumerate(values, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        smoothed.append(mean / (1 - SMOOTHING**number))
    return smoothed


def draw_samples(batches: Batches, preprocessing: Preprocessing) -> Image.Image:
    """Some images as the first epoch has them, side by side."""
    shown = range(0, len(batches.samples), math.ceil(len(batches.samples) / SAMPLES))
    mean, std = (np.array(x)[:, None, None] for x in (preprocessing.mean, preprocessing.std))
    images = [batches.image(at, 0).numpy() * std + mean for at in shown]
    rows = [
        np.concatenate(images[at : at + ACROSS], axis=2) for at in range(0, len(images), ACROSS)
    ]
    rows[-1] = np.pad(rows[-1], ((0, 0), (0, 0), (0, rows[0].shape[2] - rows[-1].shape[2])))
    sheet = (np.concatenate(rows, axis=1).clip(0, 1) * 255).round().astype(np.uint8)
    channels = sheet if len(sheet) == 3 else np.broadcast_to(sheet[:1], (3, *sheet.shape[1:]))
    return Image.fromarray(np.ascontiguousarray(channels.transpose(1, 2, 0)))


def confusion_counts(
    outputs: Tensor, targets: Tensor, classes: Sequence[str]
) -> tuple[NDArray[np.int64], Sequence[str]]:
    """How many images of each class (rows) were predicted to be of each (columns), and the classes.

    Of outputs (N, K), class indices (N,) and the names of K classes. Where these are many, only
    those that occur or are predicted.
    """
    true, predicted = targets.numpy(), outputs.argmax(dim=1).numpy()
    labels = np.arange(len(classes)) if len(classes) <= NAMED else np.union1d(true, predicted)
    counts = confusion_matrix(true, predicted, labels=labels)
    return counts, [classes[index] for index in labels.tolist()]


def draw_confusion(outputs: Tensor, targets: Tensor, classes: Sequence[str]) -> Figure:
    """`confusion_counts` as colors, a share of the class, and as numbers."""
    counts, names = confusion_counts(outputs, targets, classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    named = len(names) <= NAMED
    shown, fonts = drawable(names if named else ())
    longest = max(map(len, shown), default=0)
    side = min(max(4.0, 0.45 * len(names)) if named else 8.0, LARGEST)
    with rc_context({"font.family": fonts}):
        figure = Figure(figsize=(side + 2 + 0.09 * longest, side + 1 + 0.09 * longest))
        axes = figure.subplots()
        image = axes.imshow(shares, vmin=0, vmax=1)
        figure.colorbar(image, label="share of the class")
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if named:
            axes.set_xticks(range(len(names)), shown, rotation=90)
            axes.set_yticks(range(len(names)), shown)
            for row, column in np.argwhere(counts).tolist():
                color = "black" if shares[row, column] > BRIGHT else "white"
                number = str(counts[row, column])
                axes.text(column, row, number, ha="center", va="center", color=color, fontsize=8)
    return figure


class Tile(NamedTuple):
    """An image of a contact sheet, and what is said of it above its name, line by line."""

    image: str
    lines: tuple[str, ...]


def draw_sheet(shown: Mapping[str, Sequence[Tile]], read: Callable[[str], Image.Image]) -> Figure:
    """A contact sheet of images, those of each kind below its title.

    ``read`` opens an image. One at a time is in memory, and of each a small copy stays.
    """
    kinds = [(title, tiles) for title, tiles in shown.items() if tiles]
    rows = [math.ceil(len(tiles) / COLUMNS) for _, tiles in kinds]
    height = sum(BELOW + count * (THUMBNAIL + BELOW) for count in rows) or BELOW
    sheet = Image.new("RGB", (COLUMNS * CELL, height), "white")
    texts: list[tuple[int, int, str]] = []
    top = 0
    for (title, tiles), count in zip(kinds, rows, strict=True):
        texts.append((0, top, title))
        top += BELOW
        for at, tile in enumerate(tiles):
            row, column = divmod(at, COLUMNS)
            x, y = column * CELL, top + row * (THUMBNAIL + BELOW)
            sheet.paste(_thumbnail(read, tile.image), (x, y))
            for line, text in enumerate(_caption(tile)):
                texts.append((x, y + THUMBNAIL + line * LINE, text))
        top += count * (THUMBNAIL + BELOW)
    written, fonts = drawable([text for *_, text in texts])
    with rc_context({"font.family": fonts}):
        figure = Figure(figsize=(sheet.width / 100, sheet.height / 100), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(sheet, aspect="auto", interpolation="nearest")
        axes.axis("off")
        for (x, y, _), text in zip(texts, written, strict=True):
            axes.text(x, y + 2, text, va="top", fontsize=6, clip_on=True)
    return figure


def _thumbnail(read: Callable[[str], Image.Image], name: str) -> Image.Image:
    try:
        image = read(name)
    except InvalidImage:  # gone since it was measured
        return Image.new("RGB", (THUMBNAIL, THUMBNAIL), "lightgray")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def _caption(tile: Tile) -> Iterator[str]:
    """What is said of an image, and what its file is called."""
    yield from (shortened(line, WIDE) for line in tile.lines)
    name = tile.image
    yield name if len(name) <= WIDE else f"…{name[1 - WIDE :]}"  # its end says more


def save(figure: Figure, path: Path) -> None:
    """Write a figure with all of its labels, however long they are."""
    figure.savefig(path, bbox_inches="tight")


def drawable(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names as they can be drawn, and the fonts for that.

    Letters that no font here has are written as Python does it (``\\u82b1``): boxes would be alike.
    """
    here, fonts = set(font_manager.get_font_names()), list[str]()
    missing = set("".join(names)) - _letters(*rcParams["font.family"])
    for name in FONTS if missing else ():
        if name in here and missing & (letters := _letters(name)):
            fonts.append(name)
            missing -= letters
    shown = [
        "".join(ascii(char)[1:-1] if char in missing else char for char in _plain(name))
        for name in names
    ]
    return shown, [*rcParams["font.family"], *fonts]


@cache
def _letters(*family: str) -> frozenset[str]:
    """What a font has."""
    path = font_manager.findfont(font_manager.FontProperties(family=list(family)))
    return frozenset(map(chr, font_manager.get_font(path).get_charmap()))


def draw_depth(curve: Curve) -> Figure:
    """The score of a probe at each unit, with its standard error, and of nearest neighbors."""
    points, xs = curve.points, range(len(curve.points))
    figure = Figure(figsize=(max(6.0, 0.35 * len(points)), 5), layout="constrained")
    axes = figure.subplots()
    scores, errors = [p.score for p in points], [p.error for p in points]
    axes.errorbar(xs, scores, yerr=errors, fmt="o-", capsize=2, label="probe")
    near = [math.nan if p.knn is None else p.knn for p in points]
    if not all(map(math.isnan, near)):
        axes.plot(xs, near, "s--", alpha=0.6, label="nearest neighbors")
    chosen = points[curve.chosen]
    axes.axvline(curve.chosen, color="gray", linestyle=":", label=f"chosen: {_plain(chosen.unit)}")
    axes.set_xticks(xs, [_plain(p.unit) for p in points], rotation=90)
    axes.set_ylabel("score on images held out")
    axes.legend()
    return figure


def draw_reliability(bins: Sequence[Bin], raw_bins: Sequence[Bin]) -> Figure:
    """The share that is right over what was said, with the temperature and without it."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", label="right as often as said")
    kinds = ("with the temperature", "without it") if raw_bins else ("said", "")
    for kind, some in zip(kinds, (bins, raw_bins), strict=True):
        if some:
            xs, ys = [each.confidence for each in some], [each.right for each in some]
            axes.plot(xs, ys, "o-", label=f"{kind}: error {calibration_error(some):.3f}")
    axes.set_xlabel("probability that was said")
    axes.set_ylabel("share that is right")
    axes.legend()
    return figure


def draw_rates(rates: Sequence[float], losses: Sequence[float], suggestion: float | None) -> Figure:
    """The smoothed loss over the rates that were tried."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    if suggestion:
        axes.axvline(suggestion, color="gray", linestyle=":", label=f"suggested: {suggestion:.1e}")
        axes.legend()
    axes.set_xscale("log")
    axes.set_xlabel("rate of the head")
    axes.set_ylabel("training loss, smoothed")
    return figure


def _plain(name: str) -> str:
    return name[:LONGEST].replace("$", r"\$")  # a dollar sign begins a formula
