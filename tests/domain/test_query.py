from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.domain.query import FIELDS, SORTS, Filter, Kind, Query, Sort
from zoo.errors import InvalidOption, UnknownName

DOCS = Path(__file__).parents[2] / "docs" / "search.md"


def parts(text: str) -> tuple[tuple[str, ...], list[tuple[str, str, Any]]]:
    query = Query.parse(text)
    return query.words, [(each.field, each.operator, each.value) for each in query.filters]


def test_the_whole_grammar_in_one_line() -> None:
    words, filters = parts(
        "convnext arch:convnext* params<30M input>=288 license:apache-2.0 dataset:digits"
        " accuracy>=0.97 parent:timm/resnet50.a1_in1k frozen>=50% head:svm source:hub pulled:yes"
        " owner:team updated>2026-01-01 classes:espresso metric.top5>0.9 tiny"
    )
    assert words == ("convnext", "tiny")
    assert filters == [
        ("arch", ":", "convnext*"),
        ("params", "<", 30_000_000),
        ("input", ">=", 288),
        ("license", ":", "apache-2.0"),
        ("dataset", ":", "digits"),
        ("accuracy", ">=", 0.97),
        ("parent", ":", "timm/resnet50.a1_in1k"),
        ("frozen", ">=", 0.5),
        ("head", ":", "svm"),
        ("source", ":", "hub"),
        ("pulled", ":", True),
        ("owner", ":", "team"),
        ("updated", ">", "2026-01-01"),
        ("classes", ":", "espresso"),
        ("metric.top5", ">", 0.9),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params<1.5k", ("params", "<", 1500)),
        ("params=2B", ("params", "=", 2 * 10**9)),
        ("params:7", ("params", "=", 7)),
        ("frozen>57%", ("frozen", ">", 0.57)),
        ("loss<1e-3", ("loss", "<", 0.001)),
        ("license=mit", ("license", ":", "mit")),
        ("pulled=NO", ("pulled", ":", False)),
        ("updated>=2026-02", ("updated", ">=", "2026-02")),
        ('classes:"red cat"', ("classes", ":", "red cat")),
        (r'classes:"say \"hi\" \\ bye"', ("classes", ":", 'say "hi" \\ bye')),
        ("name:a:b", ("name", ":", "a:b")),
    ],
)
def test_values(text: str, expected: tuple[str, str, Any]) -> None:
    assert parts(text) == ((), [expected])


def test_quotes_make_words_of_anything() -> None:
    assert parts('"cat\'s ear" "params<3" a"b c"d') == (
        ("cat's ear", "params<3", "ab cd"),
        [],
    )
    assert parts("  \n ") == ((), [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("params:many", "'params' takes a number, not 'many': write params<30M"),
        ("params<nan", "a number"),
        ("params<" + "9" * 400, "too large"),
        ("license<mit", "'license' takes : =, not <"),
        ("params!=3", "not !="),
        ("updated>2026-02-30", "a date"),
        ("updated>today", "a date"),
        ("pulled:perhaps", "yes or no"),
        ("license:", "a text"),
        ('"open', "a quote is not closed"),
        pytest.param('"' + r"\"" * 50_000, "a quote is not closed", id="long"),  # at once
        ("a " * 101, "at most 100"),
    ],
)
def test_what_cannot_be_is_refused_with_an_example(text: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says.replace("+", r"\+")):
        Query.parse(text)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("licence:mit", "license"),
        ("lisence:mit", "license"),
        ("accurcy>1", "accuracy"),
        ("Params<3", "params"),
    ],
)
def test_an_unknown_field_names_near_ones(text: str, near: str) -> None:
    with pytest.raises(UnknownName) as caught:
        Query.parse(text)
    assert near in caught.value.near
    assert near in (caught.value.hint or "")
    with pytest.raises(UnknownName, match="field to sort by"):
        Sort.parse("parms")


def test_a_field_near_to_nothing_shows_them_all() -> None:
    with pytest.raises(UnknownName) as caught:
        Query.parse("qqqq:1")
    hint = caught.value.hint or ""
    assert all(field in hint for field in FIELDS)
    assert '"qqqq:' in hint


def test_keywords_are_fields_too() -> None:
    query = Query.parse("a", architecture="x*", max_params=5, pulled=True, head=None, sort="-loss")
    assert str(query) == "a arch:x* params<=5 pulled:yes"
    assert (query.sort, query.limit) == (Sort("loss", descending=True), 50)
    with pytest.raises(UnknownName):
        Query(color="red")
    with pytest.raises(InvalidOption):
        Query(params=float("nan"))
    with pytest.raises(InvalidOption) as raised:
        Query(params="<6M")
    assert str(raised.value.hint).endswith("the text: search('params<6M')")
    with pytest.raises(InvalidOption):
        Query(limit=-1)


def examples(kind: Kind) -> st.SearchStrategy[Any]:
    numbers = st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9)
    return {
        Kind.TEXT: st.text(min_size=1),
        Kind.NUMBER: numbers,
        Kind.DATE: st.dates().map(str),
        Kind.FLAG: st.booleans(),
    }[kind]


FILTERS = st.sampled_from(list(FIELDS.values())).flatmap(
    lambda field: st.builds(
        Filter, st.just(field.name), st.sampled_from(field.kind.operators), examples(field.kind)
    )
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text()), st.lists(FILTERS))
def test_what_is_printed_reads_back_the_same(words: list[str], filters: list[Filter]) -> None:
    query = Query(tuple(words), tuple(filters))
    assert Query.parse(str(query)) == query


def test_the_documentation_tells_every_field_as_it_is() -> None:
    text = DOCS.read_text()
    for field in FIELDS.values():
        assert f"| `{field.name}` | {field.kind.value} | `{field.example}` | {field.help} |" in text
        assert Query.parse(field.example).filters[0].field == field.name
    assert all(f"`{sort}`" in text for sort in SORTS)
