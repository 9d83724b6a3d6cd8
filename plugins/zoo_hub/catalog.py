"""The hub's listing, newest first, as pages of catalog entries."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from huggingface_hub import ModelInfo, get_session, hf_raise_for_status
from huggingface_hub.errors import BadRequestError
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # loaded lazily

from zoo.domain.catalog import CatalogEntry, Location, Page
from zoo.errors import Unavailable
from zoo_hub import client

__all__ = ["listing", "to_entry"]

PAGE = 500
PATIENCE = 330
"""Seconds: the hub counts requests over five minutes, and says how many of these are left."""
ASKED = (
    "author", "cardData", "config", "createdAt", "downloads", "gated", "lastModified",
    "library_name", "likes", "pipeline_tag", "private", "safetensors", "sha", "tags",
)  # fmt: skip
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""Old repositories have no owner; they cannot be named here."""

UNUSUAL = re.compile(r"\W+")
"""What a name in a query cannot have."""

Query = list[tuple[str, str]]
Raw = dict[str, Any]


def listing(
    *, library: str | None = None, author: str | None = None, cursor: str | None = None
) -> Iterator[Page]:
    """Pages of the repositories that match, last modified first.

    ``cursor`` is that of the page before; one that the hub does not take any more begins anew.

    Raises:
        Unavailable: The hub does not answer, or refuses.
    """
    begin: Query = [("sort", "lastModified"), ("limit", str(PAGE))]
    begin += [("expand", field) for field in ASKED]
    begin += [(name, value) for name, value in (("filter", library), ("author", author)) if value]
    query: Query | None = parse_qsl(cursor) if cursor else begin
    while query is not None:
        try:
            entries, cursor = _page(query)
        except Unavailable as error:
            if query == begin or not isinstance(error.__cause__, BadRequestError):
                raise
            query = begin
            continue
        yield Page(entries, cursor)
        query = parse_qsl(cursor) if cursor else None


def _page(query: Query) -> tuple[tuple[CatalogEntry, ...], str | None]:
    endpoint = client.endpoint()
    attempts = client.Attempts(client.host(endpoint), "its listing", patience=PATIENCE)

    def request() -> tuple[tuple[CatalogEntry, ...], str | None]:
        response = get_session().get(
            f"{endpoint}/api/models?{urlencode(query)}", headers=build_hf_headers(),
            timeout=client.TIMEOUT,
        )  # fmt: skip
        hf_raise_for_status(response)
        # Only the query of the link is used: its host could be another one, and gets no token.
        following = response.links.get("next", {}).get("url")
        cursor = urlsplit(following).query if following else None
        listed = (raw for raw in response.json() if NAME.fullmatch(raw["id"]))
        return tuple(to_entry(raw) for raw in listed), cursor

    return client.ask(request, attempts)


def to_entry(raw: Raw) -> CatalogEntry:
    """What the hub says of one repository."""
    card = raw.get("cardData")
    # The client would complain of each card that breaks a rule; nobody here can mend them.
    card = card if isinstance(card, dict) else {}
    read: Callable[..., ModelInfo] = ModelInfo
    info = read(**{**raw, "cardData": None})
    tags = info.tags or []
    library = info.library_name or "unknown"
    config = info.config if isinstance(info.config, dict) else {}
    weights = info.safetensors
    return CatalogEntry(
        name=info.id,
        backbone=library,
        architecture=_architecture(info.id, config),
        license=_license(card, tags),
        hub_id=info.id,
        num_classes=_natural(config.get("num_classes")),
        params=weights.total if weights else None,
        datasets=_datasets(card, tags) or None,
        keywords=tuple(tags) or None,
        updated=_date(info.last_modified),
        metrics=_metrics(info, card),
        facts=_facts(info, card, tags),
        location=Location("hub", info.id),
    )


def _architecture(name: str, config: Mapping[str, Any]) -> str:
    """What the configuration says; else the name, without what stands behind its first dot."""
    many = config.get("architectures")
    first = many[0] if isinstance(many, list) and many else None
    for stated in (config.get("architecture"), first):
        if isinstance(stated, str) and stated:
            return stated
    return name.partition("/")[2].partition(".")[0]


def _license(card: Mapping[str, Any], tags: Iterable[str]) -> str | None:
    stated = card.get("license")
    return stated if isinstance(stated, str) else next(_tagged(tags, "license:"), None)


def _datasets(card: Mapping[str, Any], tags: Iterable[str]) -> tuple[str, ...]:
    stated = _texts(card.get("datasets"))
    return tuple(dict.fromkeys(stated or _tagged(tags, "dataset:")))


def _tagged(tags: Iterable[str], prefix: str) -> Iterator[str]:
    return (tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _facts(info: ModelInfo, card: dict[str, Any], tags: Iterable[str]) -> dict[str, Any]:
    bases = _texts(card.get("base_model"))
    kept = {key: value for key, value in card.items() if key != "model-index"}
    stated = {
        "sha": info.sha,
        "library": info.library_name,
        "pipeline": info.pipeline_tag,
        "parameters": dict(info.safetensors.parameters) if info.safetensors else None,
        "base_model": bases or [tag for tag in _tagged(tags, "base_model:") if ":" not in tag],
        "created": _date(info.created_at),
        "gated": info.gated or None,
        "private": info.private or None,
        "card_data": kept,
    }
    return {key: value for key, value in stated.items() if value not in (None, [], {})}


def _metrics(info: ModelInfo, card: Mapping[str, Any]) -> dict[str, float]:
    """Downloads, likes, and the first result of each kind in the card."""
    found: dict[str, float] = {}
    for name, value in (("downloads", info.downloads), ("likes", info.likes)):
        if value is not None:
            found[name] = float(value)
    for name, value in _results(card.get("model-index")):
        if isinstance(name, str) and isinstance(value, (int, float)) and math.isfinite(value):
            # Anybody may claim it, so it is not called as results that were measured here.
            found.setdefault(f"card.{re.sub(UNUSUAL, '_', name)}", float(value))
    return found


def _results(index: Any) -> Iterator[tuple[Any, Any]]:
    """Kinds and values in a ``model-index``, which anybody may have written."""
    for model in _dicts(index):
        for result in _dicts(model.get("results")):
            for metric in _dicts(result.get("metrics")):
                yield metric.get("type"), metric.get("value")


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _natural(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _date(value: Any) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
