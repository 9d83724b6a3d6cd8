"""Router: one table says what is answered, who may ask for it, and what can be refused.

Paths are matched as they were sent: a revision such as ``dev%2Fa`` is one part of a path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Generic, Literal, TypeVar
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from zoo.serve.http.answer import Answer
from zoo.serve.http.call import Call
from zoo.serve.http.errors import CODES, Refused

__all__ = ["Route", "Router", "Scope"]

S = TypeVar("S")
Scope = Literal[
    "open",
    "listed",
    "account",
    "admin",
    "read",
    "write",
    "force",
    "protect",
    "delete",
    "share",
]
"""Who may ask: anybody, and no token is looked at; anybody, and what is answered depends on what
they may read; who has an account; who is an admin; who may do that with the repository in the
path.
"""
FIELD = re.compile(r"\{(\w+)(\.\.\.)?\}")
PROGRAMS = "(?!/(?:api|lfs|xet|zoo)/)"
"""No page lies where programs ask: what is not there is no repository, either."""


@dataclass(frozen=True)
class Route(Generic[S]):
    """A row of the table.

    Attributes:
        method: ``GET`` takes HEAD, too.
        path: With fields: ``{name}`` is one part of a path, ``{path...}`` all that is left. The
            repository is ``{namespace}/{name}``.
        scope: Who may ask.
        handler: Answers, from what the server knows, the request, and the fields.
        summary: What it is, in a line.
        errors: Codes of what can be refused, beside those of all routes.
        streams: Whether its body may be large: the handler takes it as it comes.
        within: Seconds that such a body may take: others wait meanwhile.
        page: Whether it is for people: a session counts, and a browser is refused with a page.
        alone: Whether who works alone may ask for what else is for admins.
        slow: Whether a ``GET`` may take minutes: it takes a turn of its own, and nobody else's.
        body: What the handler reads its body as, from JSON.
        query: What the handler looks at of what follows the question mark.
        known: Answers as the handler does where that is in memory, and None where it is not. It
            runs on the event loop, where it must not wait for anything.
    """

    method: str
    path: str
    scope: Scope
    handler: Callable[..., Answer]
    summary: str
    _: KW_ONLY
    errors: tuple[str, ...] = ()
    streams: bool = False
    within: float = math.inf
    page: bool = False
    alone: bool = False
    slow: bool = False
    body: type[Struct] | None = None
    query: tuple[str, ...] = ()
    known: Callable[..., Answer | None] | None = None
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the path."""
        assert set(self.errors) <= CODES.keys(), self.errors
        text = self.path.replace(".git/", r"\.git/")
        text = FIELD.sub(lambda f: f"(?P<{f[1]}>{'.+' if f[2] else '[^/]+'})", text)
        if self.page:
            text = PROGRAMS + text
        object.__setattr__(self, "pattern", re.compile(text))


class Router(Generic[S]):
    """Finds the route of a request."""

    def __init__(self, routes: Sequence[Route[S]]) -> None:
        self.routes = routes
        # What a path may be for: those that begin as it does, and those that begin with a field.
        firsts = ["" if FIELD.match(each.path, 1) else _first(each.path) for each in routes]
        self._others = [each for each, first in zip(routes, firsts, strict=True) if not first]
        self._beginning = {
            first: [each for each, its in zip(routes, firsts, strict=True) if its in ("", first)]
            for first in {*firsts}
        }

    def find(self, call: Call) -> tuple[Route[S], Mapping[str, str]]:
        """The route, and the fields of its path, decoded.

        Raises:
            Refused: There is none, or not for this method.
        """
        method = "GET" if call.method == "HEAD" else call.method
        others = []
        for route in self._beginning.get(_first(call.path), self._others):
            match = route.pattern.fullmatch(call.path)
            if match and method == route.method:
                return route, {name: _decoded(text) for name, text in match.groupdict().items()}
            if match:
                others.append(route.method)
        if others:
            allowed = {"Allow": ", ".join(sorted({*others}))}
            raise Refused("MethodNotAllowed", headers=allowed)
        raise Refused("NotFound")


def _first(path: str) -> str:
    """The first part of a path."""
    return path.split("/", 2)[1] if "/" in path else ""


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Refused("NotFound") from None
