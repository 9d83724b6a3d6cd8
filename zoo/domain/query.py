"""Query: what to look for, read from text and printed back as text.

    convnext "cat's ear" params<30M license:apache-2.0 updated>2026-01-01

A query is words and filters, separated by spaces; all must hold. A filter is a field, an operator
and a value; `FIELDS` has them all. Quotes keep spaces together, and make a word of what would be a
filter; inside them a backslash keeps the next character as it is. ``docs/search.md`` tells users.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Self, TypedDict

from zoo.errors import InvalidOption, UnknownName

__all__ = [
    "FIELDS",
    "OF_DEVICE",
    "SORTS",
    "SUFFIXES",
    "FieldFilters",
    "Field",
    "Filter",
    "Kind",
    "Query",
    "Sort",
    "Value",
]

Value = str | int | float | bool
"""What a field is compared with; a date is a text."""

MOST_PARTS = 100
METRIC = "metric."
OF_DEVICE = re.compile(r"(?:ms|images_per_second)\.(?:cpu|cuda|mps|xpu|hpu|npu)")
"""Fields that `zoo bench` measures, on a kind of device that torch has: ``ms.cpu``."""
NEAR = 0.55
"""How much of a misspelled field is one that there is: lisence, license."""
KEYWORDS = {"architecture": ("arch", ":"), "max_params": ("params", "<=")}
"""Keywords that are not spelled as their field."""
SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
"""What may follow a number, and multiplies it."""
FLAGS = {"yes": True, "true": True, "no": False, "false": False}
NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)([kmgb]?|%)", re.IGNORECASE)
DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
FILTER = re.compile(r"(metric\.[^\s<>=!:]+|[A-Za-z_][\w.]*)(<=|>=|==|!=|=|<|>|:)(.*)", re.DOTALL)
QUOTED = re.compile(r'"((?:\\.|[^"\\])*+)"', re.DOTALL)
CLOSED = re.compile(rf'(?:{QUOTED.pattern}|[^"])*+', re.DOTALL)
PART = re.compile(
    r'((?:"(?:\\.|[^"\\])*+"|[^\s"])++)(?:\s++([kmgb%])(?!\S))?', re.DOTALL | re.IGNORECASE
)
"""A word or a filter, and a unit that stands alone behind it."""


class Kind(Enum):
    """What a field's values are, as an error says it."""

    TEXT = "a text"
    NUMBER = "a number"
    DATE = "a date"
    FLAG = "yes or no"

    @property
    def operators(self) -> tuple[str, ...]:
        """What may stand between field and value."""
        return (":", "=") if self in (Kind.TEXT, Kind.FLAG) else ("<", "<=", "=", ">=", ">", ":")


@dataclass(frozen=True, slots=True)
class Field:
    """Something that can be asked for: its ``name``, ``kind``, ``example`` and ``help``."""

    name: str
    kind: Kind
    example: str
    help: str


FIELDS: Mapping[str, Field] = {
    field.name: field
    for field in (
        Field("name", Kind.TEXT, "name:team/flowers*", "the name, with its tag"),
        Field("owner", Kind.TEXT, "owner:team", "the part of the name before the slash"),
        Field("arch", Kind.TEXT, "arch:convnext*", "architecture"),
        Field("tag", Kind.TEXT, "tag:v3", "tag of a reference, or pretrained tag"),
        Field("backbone", Kind.TEXT, "backbone:timm", "backbone plugin"),
        Field("head", Kind.TEXT, "head:linear", "kind of head"),
        Field("license", Kind.TEXT, "license:apache-2.0", "license id"),
        Field("dataset", Kind.TEXT, "dataset:digits", "what it was trained on"),
        Field("classes", Kind.TEXT, "classes:espresso", "a class that it tells"),
        Field("parent", Kind.TEXT, "parent:timm/resnet50*",
              "what it was fine-tuned from, by name or digest"),
        Field("source", Kind.TEXT, "source:hub", "a source that lists it"),
        Field("pulled", Kind.FLAG, "pulled:yes", "whether it is here"),
        Field("params", Kind.NUMBER, "params<30M", "number of parameters"),
        Field("input", Kind.NUMBER, "input>=288", "height of the input in pixels"),
        Field("macs", Kind.NUMBER, "macs<5G", "multiply-accumulates of one image at that size"),
        Field("num_classes", Kind.NUMBER, "num_classes=10", "outputs of the classifier"),
        Field("frozen", Kind.NUMBER, "frozen>=50%", "share of units that training left alone"),
        Field("accuracy", Kind.NUMBER, "accuracy>=0.97", "accuracy on the held-out split"),
        Field("loss", Kind.NUMBER, "loss<0.1", "loss on the held-out split"),
        Field("top1", Kind.NUMBER, "top1>80", "published top-1 accuracy on ImageNet-1k, percent"),
        Field("updated", Kind.DATE, "updated>2026-01-01", "when the name moved last"),
    )
}  # fmt: skip
"""All fields by name, beside ``metric.NAME``."""


class FieldFilters(TypedDict, total=False):
    """`FIELDS` as keywords, each with what it must equal; None asks nothing.

    ``architecture`` is a name for ``arch``; ``max_params`` is ``params<=``.
    """

    name: str | None
    owner: str | None
    arch: str | None
    architecture: str | None
    tag: str | None
    backbone: str | None
    head: str | None
    license: str | None
    dataset: str | None
    classes: str | None
    parent: str | None
    source: str | None
    pulled: bool | None
    params: int | None
    max_params: float | None
    input: int | None
    macs: int | None
    num_classes: int | None
    frozen: float | None
    accuracy: float | None
    loss: float | None
    top1: float | None
    updated: str | None


MEASURED = ("accuracy", "loss", "macs", "top1")
"""Fields that are metrics, so that ``metric.`` may be left out."""
SORTS = ("name", "params", "input", "num_classes", "updated", *MEASURED)
"""What results can be ordered by, beside ``metric.NAME``."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition: ``field``, ``operator`` and ``value``.

    A number's ``:`` is ``=``, and a text's ``=`` is ``:``.

    Raises:
        UnknownName: No such field; near ones are suggested.
        InvalidOption: The field does not take this operator.
    """

    field: str
    operator: str
    value: Value

    def __post_init__(self) -> None:
        field, operator = _field(self.field), self.operator
        allowed = field.kind.operators
        if operator not in allowed:
            takes = f"'{self.field}' takes {' '.join(allowed)}, not {operator}"
            raise InvalidOption(f"{takes}: write {field.example}")
        canonical = {":": "="} if "<" in allowed else {"=": ":"}
        object.__setattr__(self, "operator", canonical.get(operator, operator))

    @classmethod
    def parse(cls, field: str, operator: str, text: str) -> Self:
        """Read the value as the field wants it.

        Raises:
            UnknownName: No such field; near ones are suggested.
            InvalidOption: The field takes no such operator or value.
        """
        return cls(field, operator, _value(_field(field), text))

    @property
    def metric(self) -> str | None:
        """The metric that the field is; None for any other field."""
        return _metric(self.field)

    def __str__(self) -> str:
        flag = "yes" if self.value else "no"
        value = flag if isinstance(self.value, bool) else str(self.value)
        return f"{self.field}{self.operator}{_quoted(value)}"


@dataclass(frozen=True, slots=True)
class Sort:
    """What results are ordered by: ``field`` is one of `SORTS`, or ``metric.NAME``.

    ``descending`` puts the largest first; what lacks the field comes last.
    """

    field: str
    descending: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``params``, or ``-params`` for the largest first.

        Raises:
            UnknownName: Nothing can be sorted so; near fields are suggested.
        """
        field = text.removeprefix("-")
        if field not in SORTS and _metric(field) in (None, ""):
            near = difflib.get_close_matches(field, SORTS, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(SORTS)}"
            raise UnknownName("field to sort by", field, near, f"{hint}\nfor example: -accuracy")
        return cls(field, text.startswith("-"))

    @property
    def metric(self) -> str | None:
        """The metric that it is sorted by; None for any other field."""
        return _metric(self.field)


@dataclass(frozen=True, slots=True, init=False)
class Query:
    """What to look for; the empty query finds everything.

    Attributes:
        words: Each must occur, as a part of a name or as a whole word elsewhere.
        filters: Conditions on fields.
        sort: The order; None: what is here or at a remote, newest first, then the rest by name.
        limit: Most results.
    """

    words: tuple[str, ...]
    filters: tuple[Filter, ...]
    sort: Sort | None
    limit: int

    def __init__(
        self,
        words: tuple[str, ...] = (),
        filters: tuple[Filter, ...] = (),
        *,
        sort: Sort | str | None = None,
        limit: int = 50,
        **asked: Value | None,
    ) -> None:
        """Further keywords are fields, and what they must equal; None asks nothing.

        ``architecture`` is a name for ``arch``; ``max_params`` is ``params<=``.

        Raises:
            UnknownName: No such field; near ones are suggested.
            InvalidOption: A value or limit that cannot be, or too many words and filters.
        """
        filters += tuple(_asked(key, value) for key, value in asked.items() if value is not None)
        if len(words) + len(filters) > MOST_PARTS:
            raise InvalidOption(f"a query has at most {MOST_PARTS} words and filters")
        if limit < 0:
            raise InvalidOption(f"a limit is 0 or more, not {limit}")
        put = object.__setattr__
        put(self, "words", words)
        put(self, "filters", filters)
        put(self, "sort", Sort.parse(sort) if isinstance(sort, str) else sort)
        put(self, "limit", limit)

    @classmethod
    def parse(
        cls, text: str, *, sort: Sort | str | None = None, limit: int = 50, **asked: Value | None
    ) -> Self:
        """Read words and filters; the rest is as for a query made of its parts.

        Raises:
            UnknownName: No such field; near ones are suggested.
            InvalidOption: An operator or value that the field does not take, or an open quote.
        """
        parts = list(_parts(text))
        words = tuple(part for part in parts if isinstance(part, str))
        filters = tuple(part for part in parts if isinstance(part, Filter))
        return cls(words, filters, sort=sort, limit=limit, **asked)

    def __str__(self) -> str:
        words = (_quoted(word, odd=FILTER.fullmatch(word)) for word in self.words)
        return " ".join([*words, *map(str, self.filters)])


def _parts(text: str) -> Iterator[str | Filter]:
    """Words and filters in order. A part may be quoted as a whole or behind its operator."""
    if not CLOSED.fullmatch(text):
        raise InvalidOption(f"a quote is not closed: {text}")
    for part, unit in PART.findall(text):
        bare, quote, rest = part.partition('"')
        rest = QUOTED.sub(lambda found: re.sub(r"\\(.)", r"\1", found[1], flags=re.S), quote + rest)
        match = FILTER.fullmatch(bare)
        if match and unit and not rest and _lacks_unit(match[1], match[3]):
            match, unit = FILTER.fullmatch(bare + unit), ""
        if match:
            yield Filter.parse(match[1], match[2], match[3] + rest)
        else:
            yield bare + rest
        if unit:
            yield unit


def _lacks_unit(field: str, value: str) -> bool:
    """Whether a number of a filter has no unit: what stands alone behind it may be one."""
    known, number = FIELDS.get(field), NUMBER.fullmatch(value)
    counts = known.kind is Kind.NUMBER if known else field.startswith(METRIC)
    return counts and number is not None and not number[2]


def _quoted(text: str, odd: re.Match[str] | None = None) -> str:
    """A text in quotes, if it is ``odd`` or would not be read back without."""
    if text and not odd and not re.search(r'[\s"]', text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _asked(key: str, value: Value) -> Filter:
    name, operator = KEYWORDS.get(key, (key, ""))
    field = _field(name)
    if field.kind is Kind.NUMBER and isinstance(value, float) and not math.isfinite(value):
        raise _wrong(field, str(value))
    if isinstance(value, str) and field.kind is not Kind.TEXT:
        if value.startswith(("<", ">", "=")):
            hint = f"a keyword is a value; more goes into the text: search({f'{key}{value}'!r})"
            raise InvalidOption(str(_wrong(field, value)), hint=hint)
        value = _value(field, value)
    return Filter(name, operator or ("=" if field.kind is not Kind.TEXT else ":"), value)


def _metric(field: str) -> str | None:
    if field in MEASURED or OF_DEVICE.fullmatch(field):
        return field
    return field.removeprefix(METRIC) if field.startswith(METRIC) else None


def _field(name: str) -> Field:
    if name.startswith(METRIC) and name != METRIC:
        return Field(name, Kind.NUMBER, f"{name}>0.5", "any other metric")
    if OF_DEVICE.fullmatch(name):
        return Field(name, Kind.NUMBER, f"{name}<20", "what `zoo bench` measured on that device")
    if name in FIELDS:
        return FIELDS[name]
    near = difflib.get_close_matches(name.lower(), FIELDS, n=3, cutoff=NEAR)
    near = near or [each for each in FIELDS if _shortens(name.lower(), each)]
    shown = near or list(FIELDS)
    hint = f"did you mean {' or '.join(near)}?" if near else f"fields: {', '.join(shown)}"
    example = FIELDS[shown[0]].example
    hint += f'\nfor example: {example}; to find the text itself, quote it: "{name}:…"'
    raise UnknownName("field", name, near, hint)


def _shortens(text: str, field: str) -> bool:
    """Whether a text is the first letter of a field and some of the others: ``ds``, ``acc``."""
    letters = iter(field)
    return text[:1] == field[0] and len(text) > 1 and all(each in letters for each in text)


def _value(field: Field, text: str) -> Value:
    if field.kind is Kind.NUMBER:
        return _number(field, text)
    if field.kind is Kind.FLAG and text.lower() in FLAGS:
        return FLAGS[text.lower()]
    if field.kind is Kind.TEXT and text:
        return text
    if field.kind is Kind.DATE and DATE.fullmatch(text):
        with suppress(ValueError):
            date.fromisoformat(text + "-01-01"[len(text) - 4 :])
            return text
    raise _wrong(field, text)


def _number(field: Field, text: str) -> int | float:
    match = NUMBER.fullmatch(text)
    if match is None:
        raise _wrong(field, text)
    if not math.isfinite(float(match[1]) * 10**9):
        raise InvalidOption(f"'{field.name}' cannot be {text[:20]}…: it is too large")
    # Decimals, or 57% would be 0.5700000000000001.
    number = Decimal(match[1])
    number = number / 100 if match[2] == "%" else number * SUFFIXES[match[2].lower()]
    return int(number) if float(number).is_integer() else float(number)


def _wrong(field: Field, text: str) -> InvalidOption:
    return InvalidOption(
        f"'{field.name}' takes {field.kind.value}, not '{text:.40}': write {field.example}"
    )
