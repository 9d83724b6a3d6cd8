"""Multipart: a form with files, as browsers send it (RFC 7578)."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["read_multipart"]

BOUNDARY = re.compile(
    r"""multipart/form-data\s*;.*?\bboundary=("?)([\w'()+,./:=? -]{1,70})\1""",
    re.IGNORECASE | re.ASCII,
)
NAME = re.compile(
    rb"""(?im)^content-disposition:\s*form-data;[^\r\n]*?\bname="([^"\r\n]{1,80})\""""
)
HEAD_BYTES, MOST = 4096, 16
"""Of what precedes the value of a field; fields."""


def read_multipart(kind: str, body: bytes) -> Mapping[str, bytes]:
    """What was sent for each field; ``kind`` is the header ``Content-Type``. What a file is called
    is not looked at. Of a field that was sent twice, the last one counts.

    Raises:
        ValueError: It is no such form.
    """
    match = BOUNDARY.match(kind)
    if match is None:
        raise ValueError("it is no form with files (multipart/form-data)")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + match[2].encode(), MOST + 1)
    last = next((at for at, part in enumerate(parts) if part.startswith(b"--")), 0)
    if not last:
        raise ValueError(f"the form ends early, or has none or more than {MOST} fields")
    return dict(map(_field, parts[:last]))


def _field(part: bytes) -> tuple[str, bytes]:
    head, _, value = part.partition(b"\r\n\r\n")
    named = NAME.search(head[:HEAD_BYTES])
    if named is None:
        raise ValueError("a field of the form has no name")
    return named[1].decode(errors="replace"), value
