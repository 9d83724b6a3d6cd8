"""Chart: lines with their intervals, and a matrix of what was taken for what, as SVG."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from markupsafe import Markup

from zoo.domain.words import shortened

__all__ = ["Curve", "Point", "draw_curves", "draw_intervals", "draw_matrix", "thinned"]

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 28, 36
"""Room for numbers and words around a chart."""
TICKS = 5
SMALLEST, LARGEST = 1e-100, 1e100
"""Figures that are drawn, beside 0: differences of others may be 0, or infinite."""
DIGIT = 11
"""How wide a letter beside an axis is at most, in pixels, where the letters are larger."""
POINTS = 240
"""Of a line at most: more than there are pixels tell nothing."""
DASHES = ("none", "7 4", "2 4", "9 3 2 3")
"""Lines are told apart by these and by color."""
ROW = 38
"""Of figures below one another."""
CELL, LETTER, GAP = 26, 7, 8
"""Of a matrix, in pixels: a cell, a letter of the names beside it, and the gap to them."""
NUMBERED, DRAWN = 20, 40
"""Most classes whose matrix has numbers, and is drawn at all."""
LEAN = math.radians(60)
"""How steep the names of columns are."""
SHADES = 9
LETTERS = 18


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line, and its interval if that is known."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """A line: what it is called, and its points from left to right."""

    name: str
    points: tuple[Point, ...]


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """As many points as are drawn: means of neighbors where there are more; only those that can be
    drawn.
    """
    drawn = [each for each in points if _can_be_drawn(each)]
    step = math.ceil(len(drawn) / POINTS)
    if step <= 1:
        return tuple(drawn)
    groups = [drawn[at : at + step] for at in range(0, len(drawn), step)]
    return tuple(Point(group[-1].x, sum(each.y for each in group) / len(group)) for group in groups)


def _can_be_drawn(point: Point) -> bool:
    values = (point.x, point.y, point.low, point.high)
    return all(not each or SMALLEST <= abs(each) <= LARGEST for each in values)


def draw_curves(
    curves: Sequence[Curve], title: str, across: str, marks: Sequence[tuple[float, str]] = ()
) -> Markup:
    """Lines over one another, their intervals as bands; ``across`` is what the x axis has, and
    ``marks`` are names for places on it, in the place of numbers. Nothing where there is no point.
    """
    points = [point for curve in curves for point in curve.points]
    if not points:
        return Markup()
    xs, ys = [point.x for point in points], [*_ends(points)]
    scale = _Scale(min(xs), max(xs), *_around(min(ys), max(ys)))
    whole = all(float(x).is_integer() for x in xs)
    drawn = [*_grid(scale, across, marks, whole=whole)]
    room = max(len(_number(value)) for value in _ticks(scale.low, scale.high)) * DIGIT + GAP
    more = max(0, room - LEFT)
    drawn += [_curve(curve, at, scale) for at, curve in enumerate(curves) if curve.points]
    drawn += [*_legend(curves)]
    return Markup(
        '<svg class="chart" role="img" viewBox="{x} 0 {w} {h}" aria-label="{title}">'
        "<title>{title}</title><desc>{told}</desc>{drawn}</svg>"
    ).format(
        x=-more,
        w=WIDTH + more,
        h=HEIGHT,
        title=title,
        told=_alt_text(curves),
        drawn=Markup("\n").join(drawn),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        """Where a value is, in pixels from the left."""
        share = (value - self.left) / (self.right - self.left) if self.right > self.left else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Where a value is, in pixels from above."""
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _ends(points: Iterable[Point]) -> Iterator[float]:
    for point in points:
        yield from (each for each in (point.low, point.y, point.high) if each is not None)


def _around(low: float, high: float) -> tuple[float, float]:
    """A little more than from the least to the most."""
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    # Shares, losses and rates are never below nothing.
    return (max(low - room, 0.0) if low >= 0 else low - room), high + room


def _number(value: float) -> str:
    """A number beside an axis."""
    return f"{value:.6g}"


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round numbers between two; of ``whole`` things, whole ones."""
    if high <= low:
        return [low]
    raw = (high - low) / TICKS
    step = 10.0 ** math.floor(math.log10(raw))
    step *= next(times for times in (1, 2, 5, 10) if times * step >= raw * 0.999)
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [at * step for at in range(first, first + TICKS + 2) if at * step <= high + step * 1e-9]


def _grid(
    scale: _Scale, across: str, marks: Sequence[tuple[float, str]], *, whole: bool
) -> Iterator[Markup]:
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value in _ticks(scale.low, scale.high):
        y = scale.y(value)
        yield Markup(
            '<path class="grid" d="M{} {}H{}" stroke="currentColor" stroke-opacity=".15"/>'
            '<text x="{}" y="{}" text-anchor="end">{}</text>'
        ).format(LEFT, y, right, LEFT - GAP, y + 4, _number(value))
    steps = _ticks(scale.left, scale.right, whole=whole)
    for place, name in marks or [(at, _number(at)) for at in steps]:
        yield Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
            scale.x(place), floor + 17, shortened(name, LETTERS)
        )
    yield Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>').format(
        right, HEIGHT - 4, across
    )


def _curve(curve: Curve, at: int, scale: _Scale) -> Markup:
    path = "M" + "L".join(f"{scale.x(each.x):g} {scale.y(each.y):g}" for each in curve.points)
    band = [each for each in curve.points if each.low is not None and each.high is not None]
    drawn = Markup()
    if band:
        there = [(each.x, each.high or 0.0) for each in band]
        back = [(each.x, each.low or 0.0) for each in reversed(band)]
        around = "L".join(f"{scale.x(x):g} {scale.y(y):g}" for x, y in [*there, *back])
        drawn = Markup(
            '<path class="band" d="M{}Z" fill="currentColor" fill-opacity=".15"/>'
        ).format(around)
    if len(curve.points) <= TICKS * 8:
        drawn += Markup().join(
            Markup('<circle cx="{:g}" cy="{:g}" r="3" fill="currentColor"/>').format(
                scale.x(each.x), scale.y(each.y)
            )
            for each in curve.points
        )
    return Markup(
        '<g class="s{}">{}<path d="{}" fill="none" stroke="currentColor" stroke-width="2" '
        'stroke-dasharray="{}"/></g>'
    ).format(at % len(DASHES), drawn, path, DASHES[at % len(DASHES)])


def _legend(curves: Sequence[Curve]) -> Iterator[Markup]:
    x = LEFT
    for at, curve in enumerate(curves):
        yield Markup(
            '<g class="s{}"><path d="M{} 12h22" stroke="currentColor" stroke-width="2" '
            'stroke-dasharray="{}"/></g><text x="{}" y="16">{}</text>'
        ).format(at % len(DASHES), x, DASHES[at % len(DASHES)], x + 28, curve.name)
        x += 48 + 7 * len(curve.name)


def _alt_text(curves: Iterable[Curve]) -> str:
    """What lines show, for who does not see them."""
    return "; ".join(
        f"{curve.name} goes from {curve.points[0].y:.4g} to {curve.points[-1].y:.4g}"
        for curve in curves
        if curve.points
    )


def draw_intervals(rows: Sequence[tuple[str, Point]], title: str) -> Markup:
    """Figures below one another, each a dot on the line of its interval; their x says nothing. The
    title says what they are.
    """
    rows = [(name, point) for name, point in rows if _can_be_drawn(point)]
    points = [point for _, point in rows]
    if not points:
        return Markup()
    ends = [*_ends(points)]
    scale = _Scale(*_around(min(ends), max(ends)), 0, 1)
    floor = len(rows) * ROW + 8
    drawn = [*_across(len(rows), scale, title)]
    for at, (name, point) in enumerate(rows):
        y = at * ROW + 26
        low, high = (point.y if each is None else each for each in (point.low, point.high))
        drawn.append(
            Markup(
                '<text x="{}" y="{}">{}</text><g class="s0">'
                '<path d="M{:g} {}H{:g}" stroke="currentColor" stroke-width="3" '
                'stroke-linecap="round" stroke-opacity=".45"/>'
                '<circle cx="{:g}" cy="{}" r="5" fill="currentColor"/></g>'
            ).format(LEFT + 6, y - 10, name, scale.x(low), y, scale.x(high), scale.x(point.y), y)
        )
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {w} {h}" aria-label="{title}">'
        "<title>{title}</title>{drawn}</svg>"
    ).format(w=WIDTH, h=floor + 44, title=title, drawn=Markup("\n").join(drawn))


def _across(rows: int, scale: _Scale, title: str) -> Iterator[Markup]:
    """The axis below so many figures, and its lines: beside figures only, as one through a name is
    hard to read.
    """
    floor = rows * ROW + 8
    for value in _ticks(scale.left, scale.right):
        x = scale.x(value)
        path = "".join(f"M{x:g} {at * ROW + 20}v14" for at in range(rows))
        yield Markup(
            '<path class="grid" d="{}" stroke="currentColor" stroke-opacity=".15"/>'
            '<text x="{:g}" y="{}" text-anchor="middle">{}</text>'
        ).format(path, x, floor + 16, _number(value))
    yield Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>').format(
        WIDTH - RIGHT, floor + 36, title
    )


def draw_matrix(names: Sequence[str], counts: Sequence[Sequence[int]], title: str) -> Markup:
    """How many images of each class (rows) were taken for each (columns), as shades of their share
    of the class, and as numbers if there are few classes; nothing if there are too many.
    """
    if not names or len(names) > DRAWN:
        return Markup()
    size = CELL if len(names) <= NUMBERED else CELL // 2
    side, long = len(names) * size, LETTER * max(map(_length, names))
    left, top = long + 2 * GAP, math.ceil(long * math.sin(LEAN)) + 2 * GAP
    right = left + side + math.ceil(long * math.cos(LEAN))
    shades: defaultdict[int, list[str]] = defaultdict(list)
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count:
                shade = math.ceil(SHADES * count / sum(line))
                place = f"M{column * size} {row * size}h{size}v{size}h-{size}z"
                shades[shade].append(place)
    drawn = [
        Markup('<path class="shade" d="{}" fill="currentColor" fill-opacity="{:.2f}"/>').format(
            "".join(cells), 0.08 + 0.72 * shade / SHADES
        )
        for shade, cells in sorted(shades.items())
    ]
    drawn += _names(names, size)
    if len(names) <= NUMBERED:
        drawn += _numbers(counts)
    return Markup(
        '<svg class="matrix" role="img" viewBox="-{x} -{y} {w} {h}" width="{w}" height="{h}" '
        'aria-label="{title}"><title>{title}</title>{drawn}'
        '<rect width="{s}" height="{s}" fill="none" stroke="currentColor" '
        'stroke-opacity=".3"/></svg>'
    ).format(
        x=left,
        y=top,
        w=right,
        h=top + side + 4,
        s=side,
        title=title,
        drawn=Markup("\n").join(drawn),
    )


def _length(name: str) -> int:
    """Of what is shown of a name, in letters: those of East Asia are twice as wide."""
    shown = shortened(name, LETTERS)
    return len(shown) + sum(east_asian_width(letter) in "WF" for letter in shown)


def _names(names: Sequence[str], size: int) -> Iterator[Markup]:
    for at, name in enumerate(names):
        middle = at * size + size // 2
        whole, shown = name, shortened(name, LETTERS)
        yield Markup(
            '<text x="-{}" y="{}" text-anchor="end"><title>{}</title>{}</text>'
            '<text transform="translate({} -{}) rotate(-{:.0f})"><title>{}</title>{}</text>'
        ).format(GAP, middle + 4, whole, shown, middle + 3, GAP, math.degrees(LEAN), whole, shown)


def _numbers(counts: Sequence[Sequence[int]]) -> Iterator[Markup]:
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count:
                dark = count > 0.55 * sum(line)
                yield Markup(
                    '<text class="{}" x="{}" y="{}" text-anchor="middle">{}</text>'
                ).format(
                    "on-dark" if dark else "on-light",
                    column * CELL + CELL // 2,
                    row * CELL + CELL // 2 + 4,
                    count,
                )
