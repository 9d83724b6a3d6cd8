"""Errors: what is refused, as clients of the hub understand it.

They look at the header ``X-Error-Code`` first, and show the text of ``X-Error-Message``, as an
answer to HEAD has no body. ``docs/protocol.md`` has the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from zoo.serve.http.answer import Answer, json_answer

__all__ = ["CODES", "Refused", "header_line"]


class _Code(NamedTuple):
    status: int
    meaning: str


CODES: Mapping[str, _Code] = {
    "RepoNotFound": _Code(404, "There is no such repository, or you may not read it."),
    "RevisionNotFound": _Code(404, "The repository has no such branch, tag or commit."),
    "EntryNotFound": _Code(404, "The commit has no such file or folder."),
    "NotFound": _Code(404, "There is nothing at this address."),
    "InvalidToken": _Code(401, "The token has expired, is revoked, or is of another server."),
    "NoToken": _Code(401, "A token is needed."),
    "InvalidSeal": _Code(403, "This address to send bytes to has expired, or was for others."),
    "Forbidden": _Code(403, "You may read this, and not do that with it."),
    "BadRequest": _Code(400, "The request is malformed."),
    "MethodNotAllowed": _Code(405, "The address is there, and does not take this method."),
    "TooSlow": _Code(408, "Nothing came for a minute, or too little."),
    "Conflict": _Code(409, "It is there already, or somebody else was faster."),
    "Moved": _Code(412, "The branch is not where the client has seen it."),
    "Exists": _Code(412, "There is something under this key already, or the name has moved."),
    "TooLarge": _Code(413, "The body of the request is too large."),
    # No 507: clients of Xet ask again for minutes then.
    "DiskFull": _Code(413, "The server has no space left for it; nothing was kept."),
    "TooMany": _Code(429, "Too many tries; wait some minutes."),
    "RangeNotSatisfiable": _Code(416, "The file has no such range."),
    "WrongHost": _Code(421, "The server is not called so."),
    "Mismatch": _Code(422, "The bytes are not what was promised; nothing was kept."),
    "Lacking": _Code(424, "It relies on something that is not there for you."),
    "Damaged": _Code(500, "The zoo's files are damaged; its log tells which."),
    "Failed": _Code(500, "The server has failed; its log tells of what."),
    "NotImplemented": _Code(501, "This server does not do that."),
    "Busy": _Code(503, "It takes a moment; ask again."),
}
"""All codes, the status of each, and what it means."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
LONGEST = 500
"""Letters of a message that a header has."""


class Refused(Exception):
    """A request that is refused with a code of `CODES`, and a message for people.

    Attributes:
        code: The code.
        message: What is told.
        status: The status, if it is not the code's own.
        headers: Further headers.
        data: What is told beside the message.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> None:
        self.code, self.message, self.data = code, message or CODES[code].meaning, data or {}
        self.status, self.headers = status or CODES[code].status, headers or {}
        super().__init__(self.message)

    def answer(self) -> Answer:
        """The answer that says so."""
        error_headers = {"X-Error-Code": self.code, "X-Error-Message": header_line(self.message)}
        if self.status == 401:
            error_headers["WWW-Authenticate"] = "Bearer"
        data, headers = {**self.data, "error": self.message}, {**error_headers, **self.headers}
        answer = json_answer(data, self.status, headers)
        return replace(answer, code=self.code, message=self.message)


def header_line(text: str) -> str:
    """A text as a header can have it: one line, of letters of Latin-1, not too long."""
    return CONTROL.sub(" ", text)[:LONGEST].encode("latin-1", "replace").decode("latin-1")
