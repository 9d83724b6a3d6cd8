"""SVG: all that the pages draw. Plain data in, safe markup out: whatever is a text is escaped, and
looks are classes of the style sheet, as no style may stand in a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from zoo.domain.manifest import Preprocessing

__all__ = ["Cell", "crop", "interval", "level_of", "strip"]

LEVELS = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
"""Distances at which the cell of a strip gets the next color."""
PLACE, GAP, HEIGHT = 24, 2, 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a strip.

    Attributes:
        title: What it says to who points at it.
        kind: Its class: ``same``, ``far-0`` to ``far-5``, ``changed``, ``added``, ``unknown``.
        mark: Whether it has a mark below: it was frozen.
        link: Where it leads.
    """

    title: str
    kind: str
    mark: bool = False
    link: str = ""


def level_of(distance: float) -> int:
    """Which of the six colors a distance has."""
    return sum(distance >= level for level in LEVELS)


def strip(cells: Sequence[Cell], label: str) -> Markup:
    """Cells in a row, from the input to the output."""
    width = max(1, len(cells)) * PLACE
    drawn = Markup().join(_cell(index, cell) for index, cell in enumerate(cells))
    return Markup(
        '<svg class="strip" role="group" viewBox="0 0 {} {}" preserveAspectRatio="none" '
        'aria-label="{}">{}</svg>'
    ).format(width, HEIGHT + 8, label, drawn)


def _cell(index: int, cell: Cell) -> Markup:
    x, wide = index * PLACE, PLACE - GAP
    mark = Markup('<rect class="mark" x="{}" y="{}" width="{}" height="4"/>').format(
        x, HEIGHT + 3, wide
    )
    drawn = Markup(
        '<rect class="{}" x="{}" y="0" width="{}" height="{}"><title>{}</title></rect>{}'
    ).format(cell.kind, x, wide, HEIGHT, cell.title, mark if cell.mark else "")
    if not cell.link:
        return drawn
    # Not one more stop for the keyboard: the list below has each unit by itself.
    return Markup('<a href="{}" tabindex="-1" aria-label="{}">{}</a>').format(
        cell.link, cell.title, drawn
    )


def interval(value: float, low: float | None, high: float | None, label: str) -> Markup:
    """A figure between 0 and 1 as a dot, with its interval as a line."""
    ends = (value, value if low is None else low, value if high is None else high)
    at, first, last = (100 * min(1.0, max(0.0, each)) for each in ends)
    return Markup(
        '<svg class="interval" role="img" viewBox="-3 0 106 12" aria-label="{}"><title>{}</title>'
        '<line class="axis" x1="0" x2="100" y1="6" y2="6"/>'
        '<line class="span" x1="{:.1f}" x2="{:.1f}" y1="6" y2="6"/>'
        '<circle class="dot" cx="{:.1f}" cy="6" r="3"/></svg>'
    ).format(label, label, first, last, at)


def crop(how: Preprocessing, label: str) -> Markup:
    """What a network sees of an image that is wider than high: the image, and what is cut out."""
    _, high, wide = how.input_size
    scale = min(1.0, max(0.05, float(how.crop_pct)))
    box = 90.0  # the height of the image, which is four to three
    image = 120.0, box
    if how.crop_mode == "center":
        side = box * scale
        seen = _fitted(wide / high, side, side) if high else (side, side)
    elif how.crop_mode == "squash":
        seen = image[0] * scale, image[1] * scale
    else:  # a border around the whole image
        seen = image[0], image[0] if wide >= high else image[1]
    top = max(0.0, (seen[1] - image[1]) / 2)
    return Markup(
        '<svg class="crop" role="img" viewBox="-1 -1 {:.0f} {:.0f}" aria-label="{}">'
        "<title>{}</title>"
        '<rect class="image" x="0" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/>'
        '<circle class="scene" cx="{:.1f}" cy="{:.1f}" r="9"/>'
        '<path class="scene" d="M0 {:.1f} l34 -30 l24 20 l26 -34 l36 44 z"/>'
        '<rect class="seen" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1"/></svg>'
    ).format(
        image[0] + 2,
        image[1] + 2 * top + 2,
        label,
        label,
        top,
        *image,
        26.0,
        top + 24,
        top + image[1],
        (image[0] - seen[0]) / 2,
        top + (image[1] - seen[1]) / 2,
        *seen,
    )


def _fitted(ratio: float, wide: float, high: float) -> tuple[float, float]:
    """The largest rectangle of a ratio, width to height, that fits."""
    return (wide, wide / ratio) if ratio >= wide / high else (high * ratio, high)
