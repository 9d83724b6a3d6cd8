"""Ranges: which bytes of a file are asked for, and whether the client has them already."""

from __future__ import annotations

import re

from starlette.datastructures import Headers

from zoo.serve.http.errors import Refused

__all__ = ["asked_range", "is_known"]

ONE = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*")
"""A single range, of which one end may be missing; several are answered with all of the file."""


def asked_range(headers: Headers, size: int, etag: str) -> tuple[int, int] | None:
    """The first byte that is asked for and the one behind the last; None: all of them.

    Raises:
        Refused: There is no such range.
    """
    match = ONE.fullmatch(headers.get("range", ""))
    if match is None or match[0].endswith("=-") or match.groups() == ("", ""):
        return None
    if headers.get("if-range", etag) != etag:  # the client has a part of another file
        return None
    first, last = match.groups()
    if first:
        begin, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None  # malformed, and so not there
    else:
        begin, end = max(size - int(last), 0), size
    if begin >= end:
        raise Refused("RangeNotSatisfiable", headers={"Content-Range": f"bytes */{size}"})
    return begin, end


def is_known(headers: Headers, etag: str) -> bool:
    """Whether the client has the file with this tag already."""
    header = headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in tags or "*" in tags
