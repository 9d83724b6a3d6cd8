"""Graph: what derives from what, drawn in layers from left to right, as SVG.

Whatever stands left of a box came before it. How an edge is proven is told by its stroke, its color
and a word beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from zoo.domain.words import shortened

__all__ = ["Box", "Line", "Proof", "draw_graph"]

Proof = Literal["proven", "declared", "contradicted"]
WIDTH, HEIGHT = 216, 58
"""Of a box, in pixels."""
ACROSS, DOWN = 112, 18
"""Between two layers, where the words of edges are, and between two boxes of one."""
MARGIN = 4
LETTERS = (25, 31)
"""So many fit in a box, of its first line, and of others."""
SWEEPS = 4
"""Times that each layer is put in the order of its neighbors."""
DASHES: Mapping[Proof, str] = {"proven": "none", "declared": "6 5", "contradicted": "2 4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box of the graph: its ``id``, lines of text, where it leads (empty: nowhere), and what is
    said of it where it is pointed at.
    """

    id: str
    lines: tuple[str, ...]
    url: str = ""
    told: str = ""
    main: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An edge from one box to what was made of it."""

    begin: str
    end: str
    proof: Proof
    told: str = ""


def draw_graph(boxes: Sequence[Box], lines: Sequence[Line], title: str) -> Markup:
    """The graph; edges of boxes that are not there are left out, and one that closes a circle is
    drawn backwards.
    """
    known = {box.id for box in boxes}
    lines = [line for line in lines if {line.begin, line.end} <= known]
    layers = _layers([box.id for box in boxes], lines)
    places = _places(layers)
    width = len(layers) * (WIDTH + ACROSS) - ACROSS + 2 * MARGIN
    height = max(map(len, layers), default=0) * (HEIGHT + DOWN) - DOWN + 2 * MARGIN
    parts = [_line(line, places) for line in lines] + [_box(box, places[box.id]) for box in boxes]
    return Markup(
        '<svg class="graph" role="group" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
        'aria-label="{title}"><title>{title}</title>{parts}</svg>'
    ).format(w=max(width, 1), h=max(height, 1), title=title, parts=Markup("\n").join(parts))


def _layers(ids: Sequence[str], lines: Sequence[Line]) -> list[list[str]]:
    """The boxes from left to right: each right of all that it comes from."""
    after, before = _neighbors(lines)
    left = {each: len(before[each]) for each in ids}
    depth, done = dict.fromkeys(ids, 0), set[str]()
    waiting = [each for each in ids if not left[each]]
    while len(done) < len(ids):
        if not waiting:  # a circle, which only what is damaged has: cut anywhere
            waiting.append(next(each for each in ids if each not in done))
        each = waiting.pop(0)
        if each in done:
            continue
        done.add(each)
        for other in after[each]:
            if other not in done:
                depth[other] = max(depth[other], depth[each] + 1)
                left[other] -= 1
                waiting += [other] if not left[other] else []
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for each in ids:
        layers[depth[each]].append(each)
    return _ordered([layer for layer in layers if layer], after, before)


Neighbors = defaultdict[str, list[str]]


def _neighbors(lines: Iterable[Line]) -> tuple[Neighbors, Neighbors]:
    after, before = defaultdict(list), defaultdict(list)
    for line in lines:
        after[line.begin].append(line.end)
        before[line.end].append(line.begin)
    return after, before


def _ordered(layers: list[list[str]], after: Neighbors, before: Neighbors) -> list[list[str]]:
    """The same with each box near the middle of its neighbors, so that few edges cross."""
    for sweep in range(SWEEPS):
        near = before if sweep % 2 == 0 else after
        for layer in layers if near is before else reversed(layers):
            at = {each: place for row in layers for place, each in enumerate(row)}
            middle = {
                each: sum(at[n] for n in near[each]) / len(near[each]) if near[each] else at[each]
                for each in layer
            }
            layer.sort(key=lambda each: middle[each])
    return layers


def _places(layers: Sequence[Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Where the upper left corner of each box is: layers are centered on the tallest."""
    tallest = max(map(len, layers), default=0)
    return {
        each: (
            MARGIN + column * (WIDTH + ACROSS),
            MARGIN + (tallest - len(layer)) * (HEIGHT + DOWN) // 2 + row * (HEIGHT + DOWN),
        )
        for column, layer in enumerate(layers)
        for row, each in enumerate(layer)
    }


def _box(box: Box, place: tuple[int, int]) -> Markup:
    x, y = place
    first = y + HEIGHT / 2 - 9 * (len(box.lines) - 1) + 5
    texts = [
        Markup('<text class="{}" x="{}" y="{:g}">{}</text>').format(
            "name" if not at else "more", x + 10, first + 18 * at, shortened(text, LETTERS[at > 0])
        )
        for at, text in enumerate(box.lines)
    ]
    drawn = Markup(
        '<g class="box{}"><title>{}</title>'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="8" fill="none" stroke="currentColor"/>'
        "{}</g>"
    ).format(
        " main" if box.main else "" if box.url else " unseen",
        "\n".join(filter(None, [*box.lines, box.told])),
        *(x, y, WIDTH, HEIGHT),
        Markup().join(texts),
    )
    return Markup('<a href="{}">{}</a>').format(box.url, drawn) if box.url else drawn


def _line(line: Line, places: Mapping[str, tuple[int, int]]) -> Markup:
    (x, y), (to_x, to_y) = places[line.begin], places[line.end]
    x, y, to_y = x + WIDTH, y + HEIGHT // 2, to_y + HEIGHT // 2
    half = max(ACROSS // 2, (to_x - x) // 2)
    tip = to_x - 8
    word = Markup()
    if line.proof != "proven":
        word = Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
            to_x - 12, to_y - 6, line.proof
        )
    return Markup(
        '<g class="edge {proof}"><title>{told}</title>'
        '<path d="M{x} {y}C{a} {y} {b} {to_y} {tip} {to_y}" fill="none" stroke="currentColor" '
        'stroke-width="2" stroke-dasharray="{dashes}"/>'
        '<path d="M{to_x} {to_y}l-10 -5v10z" fill="currentColor"/>{word}</g>'
    ).format(
        proof=line.proof,
        told=f"{line.proof}: {line.told}" if line.told else line.proof,
        x=x,
        y=y,
        a=x + half,
        b=to_x - half,
        tip=tip,
        to_x=to_x,
        to_y=to_y,
        dashes=DASHES[line.proof],
        word=word,
    )
