"""Published tables of results, joined to a catalog by name.

timm publishes such tables (``results-imagenet.csv`` and others): a row for each set of weights,
under ``model`` its name, then numbers.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from zoo.domain.catalog import CatalogEntry
from zoo.domain.location import is_http
from zoo.errors import InvalidOption, Unavailable, UnknownName

__all__ = ["joined", "read_results"]

MAIN = "results-imagenet"
"""The table whose metrics have no other name in front."""
NAME = "model"
NO_RESULTS = re.compile(
    r"model|param_count|crop_pct|interpolation|.+_img_size|.*batch_size|rank_diff"
)
LIMIT = 64 << 20
TIMEOUT = 30

Results = dict[str, dict[str, float]]


def read_results(tables: Sequence[str]) -> Results:
    """Metrics by name of the weights, from files or ``https://`` addresses.

    Metrics are named as the columns are (``top1``), the size of the images that they were measured
    on ``top1_size``; those of a table other than ImageNet's own have
    its name in front (``imagenet_real_top1``).

    Raises:
        InvalidOption: A table cannot be read.
        Unavailable: An address does not answer.
    """
    results: Results = {}
    for table in tables:
        prefix = _prefix(table)
        for row in _rows(table):
            numbers = {f"{prefix}{key}": value for key, value in _numbers(row)}
            # The first row of a name is its best; others are of other sizes of image.
            known = results.setdefault(str(row[NAME]), {})
            known.update({key: value for key, value in numbers.items() if key not in known})
    return results


def joined(entries: Iterable[CatalogEntry], results: Results) -> Iterator[CatalogEntry]:
    """``entries``, with the results of those that are named alike but for what is before the slash.

    Raises:
        UnknownName: No name of the table is one of an entry, so that it is another's table.
    """
    matched = False
    for entry in entries:
        metrics = results.get(entry.name.partition("/")[2])
        matched = matched or metrics is not None
        yield replace(entry, metrics={**(entry.metrics or {}), **metrics}) if metrics else entry
    if not matched:
        first = next(iter(results), "")
        raise UnknownName("name in a table of results", first, hint="it is from another source")


def _rows(table: str) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(_text(table).splitlines())
    if NAME not in (reader.fieldnames or ()):
        raise InvalidOption(f"{table}: not a table of results: it has no column '{NAME}'")
    yield from (row for row in reader if row[NAME])


def _numbers(row: dict[str, str]) -> Iterator[tuple[str, float]]:
    for key, text in row.items():
        if not key or NO_RESULTS.fullmatch(key) or not isinstance(text, str):
            continue
        try:
            value = float(text.replace(",", ""))
        except ValueError:
            continue
        if math.isfinite(value):
            yield "top1_size" if key == "img_size" else key, value


def _text(table: str) -> str:
    try:
        if not is_http(table):
            return Path(table).read_text(encoding="utf-8")
        with urlopen(table, timeout=TIMEOUT) as answer:  # noqa: S310 - no other scheme gets here
            body: bytes = answer.read(LIMIT)
            return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidOption(f"{table}: not a table of results: it is not text") from error
    except URLError as error:
        raise Unavailable(urlsplit(table).hostname or table, f"{error.reason}") from error
    except OSError as error:
        raise InvalidOption(f"{table}: {error.strerror or error}") from error


def _prefix(table: str) -> str:
    stem = PurePosixPath(urlsplit(table).path.replace("\\", "/")).stem
    name = re.sub(r"\W+", "_", stem.removeprefix("results-"))
    return "" if stem == MAIN else f"{name}_"
