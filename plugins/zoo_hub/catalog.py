"""The hub's listing, newest first, as pages of catalog entries.

Anybody may have written what a row holds. What is of another type than it should be, or cannot be
stored, is left out; a row that has no usable name is skipped and reported.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from huggingface_hub.errors import BadRequestError

from zoo.domain.catalog import CatalogEntry, Location, Page
from zoo.domain.limits import LARGEST
from zoo.domain.plain import Json
from zoo.domain.reference import Reference
from zoo.errors import MALFORMED, Unavailable
from zoo_hub import client

__all__ = ["listing", "to_entry"]

PAGE = 500
PATIENCE = 330
"""Seconds: the hub counts requests over five minutes, and says how many of these are left."""
ASKED = (
    "author",
    "cardData",
    "config",
    "createdAt",
    "downloads",
    "gated",
    "lastModified",
    "library_name",
    "likes",
    "pipeline_tag",
    "private",
    "safetensors",
    "sha",
    "tags",
)
DEPTH = 8
"""How deep the data of a card are kept."""
CARD_LIMIT = 1 << 16
"""Characters of JSON; of longer cards the data are not kept."""
NAME_LIMIT = 100
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]')
ID = re.compile(r'"id"\s*:\s*"([^"\\]*)"')

UNUSUAL = re.compile(r"\W+")
"""What a name in a query cannot have."""

Query = list[tuple[str, str]]


def listing(
    *, library: str | None = None, author: str | None = None, cursor: str | None = None
) -> Iterator[Page]:
    """Pages of the repositories that match, last modified first.

    ``cursor`` is that of the page before; one that the hub no longer accepts starts over.

    Raises:
        Unavailable: The hub does not answer, or refuses.
    """
    begin: Query = [("sort", "lastModified"), ("limit", str(PAGE))]
    begin += [("expand", field) for field in ASKED]
    begin += [(name, value) for name, value in (("filter", library), ("author", author)) if value]
    query: Query | None = parse_qsl(cursor) if cursor else begin
    while query is not None:
        try:
            page = _page(query)
        except Unavailable as error:
            if query == begin or not isinstance(error.__cause__, BadRequestError):
                raise
            query = begin
            continue
        yield page
        query = parse_qsl(page.cursor) if page.cursor else None


def _page(query: Query) -> Page:
    def request() -> Page:
        response = client.answer(f"{client.endpoint()}/api/models?{urlencode(query)}")
        # Only the query of the link is used: its host could be another one, and gets no token.
        following = response.links.get("next", {}).get("url")
        cursor = urlsplit(following).query if following else None
        entries, skipped = [], []
        for raw in _rows(response.text):
            try:
                entries += _listed(raw)
            except (*MALFORMED, ArithmeticError, LookupError):
                skipped.append(_called(raw))
        return Page(tuple(entries), cursor, tuple(skipped))

    return client.ask(request, client.Attempts("its listing", patience=PATIENCE))


def _rows(text: str) -> list[Any]:
    """The rows of a listing. One that is nested too deep to be read comes as text.

    Raises:
        ValueError: It is no listing.
    """
    try:
        rows = json.loads(text)
    except RecursionError:
        rows = []
        for part in _parts(text):
            try:
                rows.append(json.loads(part))
            except RecursionError:
                rows.append(part)
    named = [row for row in rows if isinstance(row, str) or "id" in _dict(row)]
    if not isinstance(rows, list) or (rows and not named):
        raise ValueError("no listing of repositories")
    return rows


def _parts(text: str) -> Iterator[str]:
    """The text of each value of an array."""
    depth, start = 0, 0
    for token in TOKENS.finditer(text):
        mark = token[0]
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark, 0)
        if depth == 1 and mark == "[" and not start:
            start = token.end()
        elif not depth or (depth == 1 and mark == ","):
            yield text[start : token.start()]
            start = token.end()
        if not depth:
            return


def _called(raw: object) -> str:
    """What a row that cannot be listed is called, as far as it says."""
    name = raw.get("id") if isinstance(raw, dict) else None
    if isinstance(raw, str) and (match := ID.search(raw)):
        name = match[1]
    return _text(name)[:NAME_LIMIT] if isinstance(name, str) else "one without a name"


def _listed(raw: Json) -> list[CatalogEntry]:
    """The entry of a row. Old repositories have no owner; they cannot be named here."""
    name = raw["id"]
    if not isinstance(name, str):
        raise TypeError("a name is a text")
    return [to_entry(raw)] if "/" in name else []


def to_entry(raw: Json) -> CatalogEntry:
    """What the hub says of one repository.

    Raises:
        InvalidReference, ValueError: No name can be like that.
    """
    owner, own = raw["id"].split("/")
    name = Reference(owner, own).path
    card, config, weights = (_dict(raw.get(key)) for key in ("cardData", "config", "safetensors"))
    tags = _texts(raw.get("tags"))
    return CatalogEntry(
        name=name,
        backbone=_stated(raw.get("library_name")) or "unknown",
        architecture=_architecture(name, config),
        license=_stated(card.get("license")) or next(_tagged(tags, "license:"), None),
        hub_id=name,
        num_classes=_natural(config.get("num_classes")),
        params=_natural(weights.get("total")),
        datasets=_datasets(card, tags) or None,
        keywords=tuple(tags) or None,
        updated=_date(raw.get("lastModified")),
        metrics=_metrics(raw, card),
        facts=_facts(raw, card, tags),
        location=Location("hub", name),
    )


def _architecture(name: str, config: Mapping[str, object]) -> str:
    """What the configuration says; else the name, without what stands behind its first dot."""
    many = config.get("architectures")
    first = many[0] if isinstance(many, list) and many else None
    stated = _named(config.get("architecture")) or _stated(first)
    return stated or name.partition("/")[2].partition(".")[0]


def _datasets(card: Mapping[str, object], tags: Iterable[str]) -> tuple[str, ...]:
    stated = _texts(card.get("datasets"))
    return tuple(dict.fromkeys(stated or _tagged(tags, "dataset:")))


def _tagged(tags: Iterable[str], prefix: str) -> Iterator[str]:
    return (tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))


def _facts(raw: Json, card: dict[str, object], tags: Iterable[str]) -> dict[str, object]:
    bases = _texts(card.get("base_model"))
    facts = _plain({key: value for key, value in card.items() if key != "model-index"})
    stated = {
        "sha": _stated(raw.get("sha")),
        "library": _stated(raw.get("library_name")),
        "pipeline": _stated(raw.get("pipeline_tag")),
        "parameters": _plain(_dict(_dict(raw.get("safetensors")).get("parameters"))),
        "base_model": bases or [tag for tag in _tagged(tags, "base_model:") if ":" not in tag],
        "created": _date(raw.get("createdAt")),
        "gated": _plain(raw.get("gated")) or None,
        "private": _plain(raw.get("private")) or None,
        "card_data": facts if len(json.dumps(facts)) <= CARD_LIMIT else None,
    }
    return {key: value for key, value in stated.items() if value not in (None, [], {})}


def _metrics(raw: Json, card: Mapping[str, object]) -> dict[str, float]:
    """Downloads, likes, and the first result of each kind in the card."""
    metrics: dict[str, float] = {}
    for name in ("downloads", "likes"):
        if (value := _number(raw.get(name))) is not None:
            metrics[name] = value
    for kind, result in _results(card.get("model-index")):
        if isinstance(kind, str) and (value := _number(result)) is not None:
            # Anybody may claim it, so it is not called as results that were measured here.
            metrics.setdefault(f"card.{re.sub(UNUSUAL, '_', _text(kind))[:NAME_LIMIT]}", value)
    return metrics


def _results(index: object) -> Iterator[tuple[object, object]]:
    """Kinds and values in a ``model-index``, which anybody may have written."""
    for model in _dicts(index):
        for result in _dicts(model.get("results")):
            for metric in _dicts(result.get("metrics")):
                yield metric.get("type"), metric.get("value")


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: str) -> str:
    """What can be stored of a text: JSON may have halves of characters, and zeros."""
    return value.encode("utf-8", "replace").decode().replace("\0", "")


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [_text(each) for each in values if isinstance(each, str)]


def _stated(value: object) -> str | None:
    """A text that says something."""
    return _text(value) or None if isinstance(value, str) else None


def _named(value: object) -> str | None:
    """A name; zoo says in its place why only zoo loads it."""
    text = _stated(value)
    return None if text and " " in text else text


def _natural(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= LARGEST else None


def _number(value: Any) -> float | None:
    if type(value) not in (int, float):
        return None
    with suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def _date(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at.isoformat().replace("+00:00", "Z")


def _plain(value: object, depth: int = DEPTH) -> object:
    """What can be stored of a value in JSON; None for what cannot."""
    match value:
        case str():
            return _text(value)
        case bool():
            return value
        case int():
            return value if abs(value) <= LARGEST else None
        case float():
            return value if math.isfinite(value) else None
        case list() if depth:
            return [_plain(each, depth - 1) for each in value]
        case dict() if depth:
            return {_text(key): _plain(each, depth - 1) for key, each in value.items()}
    return None
