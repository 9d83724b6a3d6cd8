"""Listing: the repositories that somebody may read, as `zoo search` knows them."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from msgspec.json import encode

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.query import Query
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import Unavailable, ZooError
from zoo.registry import Registry, SearchResult
from zoo.serve.http.answer import JSON, Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.info import USUAL, ModelInfo, chosen
from zoo.serve.keep.history import MAIN
from zoo.serve.keep.view import View

__all__ = ["KNOWN", "having_files", "list_models", "list_nothing", "readable", "entries_of"]

T = TypeVar("T")
LOG = logging.getLogger("zoo.serve")
MOST = 1_000_000
PAGE = 1000
SHORT = ("downloads", "lastModified", "library_name", "likes", "pipeline_tag", "private", "tags")
SHOWS = {"expand", "expand[]", "full", "cardData", "config", "securityStatus", "blobs"}
ORDERS = {"limit", "sort", "direction", "cursor"}
FILTERS = {"search", "author", "filter", "pipeline_tag", "num_parameters", "gated"}
KNOWN = (*sorted(SHOWS | ORDERS | FILTERS),)
"""Parameters that are known. One that is not is a filter that nothing fits."""
USUAL_ORDER = "lastModified"
SORTS: Mapping[str, Callable[[ModelInfo], object]] = {
    USUAL_ORDER: lambda info: info.modified,
    "createdAt": lambda info: info.created(),
    "downloads": lambda info: info.value("downloads"),
    "likes": lambda info: info.value("likes"),
}
"""What a list can be sorted by; of two that are alike, by the last change. Anything else, as the
``trendingScore`` that clients ask for, is as `USUAL_ORDER`.
"""
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
BOUND = re.compile(r"(min|max):(\d+(?:\.\d+)?)([KMBT]?)", re.IGNORECASE)


def list_nothing(_: Ask) -> Answer:
    """An empty list: there are no repositories of that kind."""
    return json_answer([])


def list_models(ask: Ask) -> Answer:
    """The repositories that fit, in the order that is asked for, a page of them."""
    query = ask.call.query
    begin, size = _number(ask, "cursor", 0), min(_number(ask, "limit", PAGE, least=1), PAGE)
    order, ascending = _order(ask)
    wanted = _wanted(ask) if query.keys() <= {*KNOWN} and not _gated(ask) else ()
    placed = [
        (place, each)
        for each, place in entries_of(wanted, lambda each: (each, _place(ask, each, order)))
        if place
    ]
    placed.sort(key=lambda each: each[0], reverse=not ascending)
    names = chosen(ask, _shown(ask))
    page, more = [each for _, each in placed[begin : begin + size]], begin + size < len(placed)
    return Answer(
        headers={**JSON, **(ask.next_page(cursor=begin + size) if more else {})},
        body=b"[" + b",".join(entries_of(page, lambda each: encode(each.to_json(names)))) + b"]",
    )


def entries_of(infos: Iterable[ModelInfo], tell: Callable[[ModelInfo], T]) -> Iterator[T]:
    """What is told of each repository; one that fails is left out, and fails no list.

    Raises:
        Unavailable: One is being described.
    """
    for each in infos:
        try:
            entry = tell(each)
        except Unavailable:
            raise
        except (Refused, ZooError) as error:  # the index lags behind, or it is damaged
            LOG.warning("%s is left out of a list: %s", each.repo, error)
        except Exception:
            LOG.exception("%s is left out of a list", each.repo)
        else:
            yield entry


def _number(ask: Ask, name: str, usual: int, *, least: int = 0) -> int:
    """A number of the query. Raises `Refused` if it is none."""
    text = ask.call.query.get(name, str(usual))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise Refused("BadRequest", f"{name} is a number from {least} on: not '{text:.40}'")
    return int(text)


def _gated(ask: Ask) -> bool:
    """Whether those are wanted for which one has to ask first; none is. Raises as `_number`."""
    text = ask.call.query.get("gated", "false").lower()
    if text not in ("true", "false"):
        raise Refused("BadRequest", f"gated is true or false: not '{text:.40}'")
    return text == "true"


def _order(ask: Ask) -> tuple[Callable[[ModelInfo], object], bool]:
    """What a list is sorted by, and whether what is least comes first.

    Raises:
        Refused: The direction is none.
    """
    sort, direction = ask.call.query.get("sort", ""), ask.call.query.get("direction", "-1")
    if direction not in ("1", "-1"):
        text = f"direction is -1, what is most first, or 1: not '{direction:.40}'"
        raise Refused("BadRequest", text)
    return SORTS.get(sort, SORTS[USUAL_ORDER]), direction == "1"


def _place(
    ask: Ask, info: ModelInfo, order: Callable[[ModelInfo], object]
) -> tuple[object, datetime, str] | None:
    """Where a repository comes in a list; None if it is not in it."""
    return (order(info), info.modified, info.repo) if _fits(ask, info) else None


def _shown(ask: Ask) -> Iterable[str]:
    if ask.call.flag("full"):
        return USUAL
    return (*SHORT, *(name for name in ("cardData", "config") if ask.call.flag(name)))


def _wanted(ask: Ask) -> Iterator[ModelInfo]:
    query = ask.call.query
    search, bounds = query.get("search", "").lower(), _bounds(query.get("num_parameters", ""))
    return having_files(ask, query.get("author"), search=search, bounds=bounds)


def having_files(
    ask: Ask,
    author: str | None,
    *,
    search: str = "",
    bounds: tuple[float, float] | None = None,
) -> Iterator[ModelInfo]:
    """The repositories that may be read and are not empty, of all or of one namespace; those with
    ``search`` in their names, and a number of parameters within ``bounds``.
    """
    newest = readable(ask, author)
    for path, result in newest.items():
        if search not in path.lower():
            continue
        if bounds and not bounds[0] <= (result.params or 0) <= bounds[1]:
            continue
        if info := _of_checkpoint(ask, path, result):
            yield info
    # The index knows checkpoints only.
    for path in [] if bounds else ask.hub.history.repos():
        if path in newest or search not in path.lower():
            continue
        if author in (None, path.partition("/")[0]) and ask.may("read", path):
            yield from _of_files(ask, path)


def _of_files(ask: Ask, path: str) -> Iterator[ModelInfo]:
    """A repository that has no checkpoint, unless it is empty, or was deleted."""
    version = view = None
    with suppress(ZooError, OSError):  # whoever asks for it is told
        version = next(iter(ask.hub.history.versions(path)), None)
    if version and version.entry.when:
        view = _sent(ask, version.entry.manifest)
    if version and version.entry.when and view:
        yield ModelInfo(ask, path, version.entry.manifest, version.entry.when, version.name, view)


def _sent(ask: Ask, digest: Digest) -> View | None:
    """The view of a snapshot; None of something else, or if it cannot be told."""
    try:
        view = ask.hub.views.of(digest, 0)
    except (ZooError, OSError):  # whoever asks for it is told
        return None
    except Exception:
        LOG.exception("%s cannot be described", digest.short)
        return None
    return view if view.sent else None


def readable(ask: Ask, author: str | None) -> dict[str, SearchResult]:
    """What each repository has that may be read, of all or of one namespace, last changed first."""
    newest = _newest(ask.hub.workspace.registry, author)
    return {path: each for path, each in newest.items() if ask.may("read", path)}


def _newest(registry: Registry, author: str | None) -> dict[str, SearchResult]:
    """What each name has, last changed first: its default tag, or the newest of the others."""
    newest: dict[str, SearchResult] = {}
    asked = Query(sort="-updated", limit=MOST, pulled=True, owner=author)
    for result in registry.search(asked):
        if result.kind == "checkpoint":
            ref = Reference.parse(result.name)
            if ref.tag == DEFAULT_TAG:
                newest[ref.path] = result
            else:
                newest.setdefault(ref.path, result)
    return newest


def _of_checkpoint(ask: Ask, path: str, result: SearchResult) -> ModelInfo | None:
    modified = RefEntry.parse_time(result.updated or "")
    if result.manifest is None or modified is None:
        return None
    ref = Reference.parse(result.name)
    revision = MAIN if ref.tag == DEFAULT_TAG else ref.tag
    entry = ask.hub.workspace.store.read_ref(ref)
    sent = None
    if entry and entry.manifest != result.manifest:  # it is one among files, or the index lags
        sent = _sent(ask, entry.manifest)
    return ModelInfo(ask, path, result.manifest, modified, revision, sent)


def _fits(ask: Ask, info: ModelInfo) -> bool:
    """Whether the words that it is found by are those that are asked for."""
    query = ask.call.query
    words = [word for text in query.getlist("filter") for word in text.split(",")]
    words += query.getlist("pipeline_tag")
    return not words or set(words) <= set(info.tags)


def _bounds(text: str) -> tuple[float, float] | None:
    """The least and the most of a number: ``min:6M,max:128M``. Raises as `_number`."""
    bounds = {"min": 0.0, "max": math.inf}
    for part in text.split(",") if text else ():
        if not (match := BOUND.fullmatch(part.strip())):
            example = "min:6M,max:128M"
            raise Refused("BadRequest", f"num_parameters is like {example}: not '{text:.40}'")
        which, number, unit = match.groups()
        bounds[which.lower()] = float(number) * UNITS[unit.upper()]
    return (bounds["min"], bounds["max"]) if text else None
