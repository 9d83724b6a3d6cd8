"""Weights in several files: the index that lists them, as transformers writes it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from zoo.domain.limits import HEADER_BYTES
from zoo.domain.manifest import is_file_name
from zoo.errors import Unsupported

__all__ = ["INDEX", "parts"]

INDEX = ".index.json"
"""How the file ends that says which tensors are in which of several files."""


def parts(index: Path, place: str, there: Collection[str]) -> list[str]:
    """Names of the files of weights that ``index`` lists, sorted.

    Args:
        index: The file, which anybody may have written.
        place: Where it is from, for messages.
        there: Names of the files that are beside it.

    Raises:
        Unsupported: It is malformed, or names a file that is not there.
    """
    where = f"'{place}/{index.name}'"
    try:
        with index.open("rb") as file:
            data = file.read(HEADER_BYTES + 1)
        if len(data) > HEADER_BYTES:
            raise ValueError(f"it has more than {HEADER_BYTES:,} bytes")
        names = sorted(set(json.loads(data)["weight_map"].values()), key=str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unsupported(f"{where} is not an index of weights: {error!r:.200}") from error
    for name in names:
        if not isinstance(name, str) or not is_file_name(name) or name not in there:
            raise Unsupported(f"{where} names a file that is not there: '{name!s:.100}'")
    if not names:
        raise Unsupported(f"{where} names no files")
    return names
