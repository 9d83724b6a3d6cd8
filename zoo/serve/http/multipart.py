"""Multipart: a form with files, as browsers send it (RFC 7578)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["read_multipart"]

BOUNDARY = re.compile(r"""multipart/form-data\s*;.*?\bboundary=("?)([\w'()+,./:=? -]{1,70})\1""",
                      re.IGNORECASE | re.ASCII)  # fmt: skip
NAME = re.compile(
    rb'(?i)\A(?:.*\r\n)*?content-disposition:\s*form-data;.*?\bname="([^"\r\n]{1,80})"'
)
HEAD_BYTES = 4096
MOST = 16
"""Fields of a form."""


def read_multipart(kind: str, body: bytes) -> Mapping[str, bytes]:
    """What was sent for each field; ``kind`` is the header ``Content-Type``. What a file is called
    is not looked at. Of a field that was sent twice, the last one counts.

    Raises:
        ValueError: It is no such form.
    """
    match = BOUNDARY.match(kind)
    if match is None:
        raise ValueError("it is no form with files (multipart/form-data)")
    return dict(_fields(b"--" + match[2].rstrip().encode(), b"\r\n" + body))


def _fields(boundary: bytes, body: bytes) -> Iterator[tuple[str, bytes]]:
    line = b"\r\n" + boundary
    at = body.find(line)
    for _ in range(MOST + 1):
        at += len(line)
        end = body.find(line, at)
        if at < len(line) or body[at : at + 2] == b"--":
            break
        if end < 0:
            raise ValueError("the form ends early")
        head_end = body.find(b"\r\n\r\n", at, min(end, at + HEAD_BYTES))
        named = NAME.match(body[at : max(at, head_end)].lstrip(b" \t\r\n"))
        if named is None:
            raise ValueError("a field of the form has no name")
        yield named[1].decode(errors="replace"), body[head_end + 4 : end]
        at = end
    else:
        raise ValueError(f"the form has more than {MOST} fields")
    if at < len(line):
        raise ValueError("the form has no fields")
