"""What is drawn: graphs, charts and matrices, as SVG that says what it shows."""

from __future__ import annotations

import math
import re

import pytest
from lxml import etree
from markupsafe import Markup

from zoo.domain.calibration import Bin
from zoo.serve.pages.chart import (
    POINTS,
    Curve,
    Point,
    draw_curves,
    draw_intervals,
    draw_matrix,
    thinned,
)
from zoo.serve.pages.graph import Box, Line, Proof, draw_graph
from zoo.serve.pages.reliability import draw_reliability

EVIL = "\"><script>alert(1)</script>'&"
SVG = "{http://www.w3.org/2000/svg}"


def read(drawn: str) -> etree._Element:
    """It as XML: what is not well formed fails."""
    return etree.fromstring(drawn)


def test_the_legend_of_a_reliability_fits() -> None:
    bins = [Bin(confidence=0.5, right=0.4, count=9)]
    for raw in ([], bins):
        drawn = read(draw_reliability(bins, raw))
        _, _, width, _ = map(float, drawn.attrib["viewBox"].split())
        told = [each for each in drawn.iter("{*}text") if each.get("y") == "16"]
        assert told[0].text == "ideal"
        assert len(told) == 2 + bool(raw)
        for each in told:
            assert float(each.attrib["x"]) + 7 * len(each.text or "") < width


def boxes(*ids: str) -> list[Box]:
    return [Box(id=each, lines=(each,)) for each in ids]


def line(begin: str, end: str, proof: Proof = "proven") -> Line:
    return Line(begin=begin, end=end, proof=proof)


def lefts(drawn: Markup) -> dict[str, float]:
    """How far each box is from the left."""
    found = {}
    for box in read(drawn).xpath("//*[starts-with(@class, 'box')]"):
        found[box.find("text").text] = float(box.find("rect").get("x"))
    return found


def test_what_comes_from_something_stands_right_of_it() -> None:
    edges = [line("a", "b"), line("a", "c"), line("b", "d"), line("c", "d"), line("a", "d")]
    at = lefts(draw_graph(boxes("d", "c", "b", "a"), edges, "x"))
    assert at["a"] < at["b"] == at["c"] < at["d"]


def test_boxes_do_not_lie_on_one_another() -> None:
    ids = [f"n{number}" for number in range(30)]
    edges = [line(f"n{(number - 1) // 3}", f"n{number}") for number in range(1, 30)]
    drawn = read(draw_graph(boxes(*ids), edges, "x"))
    places = [(float(r.attrib["x"]), float(r.attrib["y"])) for r in drawn.iter("rect")]
    assert len({*places}) == 30
    for x, y in places:
        assert not [1 for a, b in places if a == x and 0 < abs(b - y) < 58]
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    assert all(0 <= x <= width - 216 and 0 <= y <= height - 58 for x, y in places)


def test_a_circle_is_drawn_all_the_same() -> None:
    drawn = draw_graph(boxes("a", "b", "c"), [line("a", "b"), line("b", "c"), line("c", "a")], "x")
    assert {*lefts(drawn)} == {"a", "b", "c"}


@pytest.mark.parametrize("proof", ["declared", "contradicted"])
def test_an_edge_that_is_not_proven_says_so_in_a_word_and_by_its_stroke(proof: Proof) -> None:
    drawn = read(draw_graph(boxes("a", "b"), [line("a", "b", proof)], "x"))
    (edge,) = drawn.xpath("//*[starts-with(@class, 'edge')]")
    assert edge.findtext("text") == proof
    assert edge.find("path").get("stroke-dasharray") != "none"
    solid = read(draw_graph(boxes("a", "b"), [line("a", "b")], "x"))
    assert solid.xpath("//*[@class='edge proven']/path/@stroke-dasharray") == ["none"]
    assert not solid.xpath("//*[@class='edge proven']/text")


def test_texts_are_texts() -> None:
    drawn = [
        draw_graph([Box(id="a", lines=(EVIL,), url=EVIL, told=EVIL)], [], EVIL),
        draw_curves([Curve(EVIL, (Point(0, 1), Point(1, 2)))], EVIL, EVIL, [(0, EVIL)]),
        draw_matrix([EVIL, "b"], [[1, 0], [0, 1]], EVIL),
        draw_intervals([(EVIL, Point(0, 1.0))], EVIL),
    ]
    for each in drawn:
        root = read(
            str(each).replace('viewBox="', 'xmlns="http://www.w3.org/2000/svg" viewBox="', 1)
        )
        assert not [*root.iter(f"{SVG}script")]
        assert EVIL[:10] in "".join(root.itertext())


def test_lines_are_within_the_chart_and_intervals_around_them() -> None:
    points = tuple(Point(x, x / 10, x / 10 - 0.1, x / 10 + 0.2) for x in range(5))
    drawn = read(draw_curves([Curve("one", points), Curve("two", points[:2])], "It", "step"))
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    (band,) = drawn.xpath("//*[@class='s0']/*[@class='band']/@d")
    for text in (band, *drawn.xpath("//*[@class='s0']/path[contains(@d, 'L')]/@d")):
        numbers = [float(each) for each in text.strip("MZ").replace("L", " ").split()]
        assert all(0 <= x <= width for x in numbers[::2])
        assert all(0 <= y <= height for y in numbers[1::2])
    dashes = {*drawn.xpath("//*[starts-with(@class, 's')]/path/@stroke-dasharray")}
    assert len(dashes) == 2, "lines are told apart without color, too"
    assert drawn.findtext("desc") == "one goes from 0 to 0.4; two goes from 0 to 0.1"


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-9, 1e12])
def test_a_line_that_is_level_is_drawn(value: float) -> None:
    for points in ((Point(0, value), Point(1, value)), (Point(0, value),)):
        drawn = read(draw_curves([Curve("it", points)], "It", "step"))
        assert len(drawn.findall(".//circle")) == len(points)


@pytest.mark.parametrize(
    ("values", "shown"), [((10_400, 10_800), "10500"), ((0.00031, 0.00034), "0.00031")]
)
def test_numbers_beside_an_axis_are_whole_and_within_the_picture(
    values: tuple[float, float], shown: str
) -> None:
    points = tuple(Point(at, value) for at, value in enumerate(values, 1))
    drawn = read(draw_curves([Curve("it", points)], "It", "step"))
    left = float(drawn.attrib["viewBox"].split()[0])
    beside = drawn.xpath("//text[@text-anchor='end'][not(@class)]")
    assert shown in [each.text for each in beside]
    # Digits of 16 pixels, as they are where the window is narrow, are up to 10.2 wide.
    assert all(float(each.get("x")) - 10.2 * len(each.text) >= left for each in beside)
    steps = [each.text for each in drawn.xpath("//text[@text-anchor='middle']")]
    assert steps == ["1", "2"]


def test_no_line_crosses_the_name_of_a_figure_and_the_axis_says_what_it_is() -> None:
    rows = [("a name", Point(0, 0.5, 0.2, 0.8)), ("another", Point(0, 0.6, 0.3, 0.9))]
    drawn = read(draw_intervals(rows, "accuracy with 95% intervals"))
    names = [float(y) for y in drawn.xpath("//text[not(@text-anchor)]/@y")]
    lines = " ".join(drawn.xpath("//path[@class='grid']/@d"))
    spans = [(int(y), int(y) + int(v)) for y, v in re.findall(r"M[\d.]+ (\d+)v(\d+)", lines)]
    assert (len(names), len(spans) > 3) == (2, True)
    assert not [1 for low, high in spans for y in names if low < y and high > y - 12]
    assert "accuracy with 95% intervals" in drawn.xpath("//text[@class='axis']/text()")


def test_a_matrix_has_as_much_room_for_names_as_they_take() -> None:
    counts = [[1, 0], [0, 1]]
    sizes = [
        [float(each) for each in read(draw_matrix(names, counts, "It")).attrib["viewBox"].split()]
        for names in (
            ["0", "1"],
            ["a long name", "b"],
            ["x" * 80, "y"],
            ["漢" * 80, "y"],
        )
    ]
    lefts = [-left for left, *_ in sizes]
    assert lefts[0] < 30, "no blank beside a digit"
    assert lefts == sorted(lefts)
    assert lefts[2] < 160, "a name of any length is shortened"
    assert lefts[3] > 12 * 17, "letters of East Asia are wide"
    for left, top, width, height in sizes:
        assert width + left > 52
        assert height + top > 52


def test_nothing_is_drawn_of_nothing() -> None:
    assert not draw_curves([Curve("it", ())], "It", "step")
    assert not draw_intervals([], "It")
    assert not draw_matrix([], [], "It")
    assert not draw_matrix([str(each) for each in range(41)], [[0] * 41] * 41, "It")


def test_a_long_line_keeps_its_course_and_drops_what_is_no_number() -> None:
    many = [Point(x, math.sin(x / 900)) for x in range(10_000)]
    many[5] = Point(5, math.nan)
    many[6] = Point(6, math.inf)
    few = thinned(many)
    assert len(few) <= POINTS
    assert few[-1].x == 9999
    assert max(abs(point.y - math.sin(point.x / 900)) for point in few) < 0.05
    assert thinned([Point(0, 1)]) == (Point(0, 1),)


def test_a_matrix_shows_each_count_and_shades_by_the_share_of_the_class() -> None:
    drawn = read(draw_matrix(["a", "b"], [[3, 1], [0, 8]], "It"))
    numbers = [each.text for each in drawn.iter("text") if each.get("class")]
    assert numbers == ["3", "1", "8"]
    shades = {float(each.attrib["fill-opacity"]) for each in drawn.iter("path")}
    assert len(shades) == 3
    large = draw_matrix([str(each) for each in range(40)], [[1] * 40] * 40, "It")
    assert len(large) < 50_000
