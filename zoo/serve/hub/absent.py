"""Absent: what clients ask for and this server does not do, so that they say so.

Discussions must not be an empty list: transformers would then send the repository's name and the
token to a service elsewhere that converts pickles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zoo.serve.http.answer import Answer
from zoo.serve.http.errors import Refused
from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Ask, Hub

__all__ = ["ABSENT", "ELSEWHERE"]

KINDS = ("datasets", "spaces", "kernels")
WRITING = ("POST", "PUT", "PATCH", "DELETE")
WRITES = (
    *(("POST", f"/api/{{kind}}/{{namespace}}/{{name}}/{rest}")
      for rest in ("super-squash/{revision}", "lfs-files/duplicate")),
    *((method, f"/api/{kind}/{{namespace}}/{{name}}/{{rest...}}")
      for kind in KINDS for method in WRITING),
    ("POST", "/{kind}/{namespace}/{name}.git/info/lfs/objects/batch"),
)  # fmt: skip
OTHERS = (
    *(
        (method, f"/api/{what}{rest}")
        for what in ("buckets", "collections", "jobs", "papers", "scheduled-jobs")
        for method in ("GET", *WRITING)
        for rest in ("", "/{rest...}")
    ),
    *((method, "/api/settings/{rest...}") for method in ("GET", *WRITING)),
    ("GET", "/api/daily_papers"),
    *(
        ("POST", f"/api/models/{{namespace}}/{{name}}/discussions{rest}")
        for rest in ("", "/{rest...}")
    ),
)
UNKNOWN = (
    *(
        ("GET", f"/api/models/{{namespace}}/{{name}}/discussions{rest}")
        for rest in ("", "/{rest...}")
    ),
    ("GET", "/api/models/{namespace}/{name}/xet-read-token/{revision}"),
)
OTHER_NAMES = (
    ("GET", "/api/models/{name}"), ("GET", "/api/models/{name}/revision/{revision}"),
    ("GET", "/{name}/resolve/{revision}/{path...}"),
    *(("GET", f"/api/{kind}/{{namespace}}/{{name}}{rest}")
      for kind in KINDS for rest in ("", "/{rest...}")),
    *(("GET", f"/{kind}/{{namespace}}/{{name}}/resolve/{{revision}}/{{path...}}")
      for kind in KINDS),
)  # fmt: skip
"""Repositories that cannot be: of one word, or of another kind than models."""


def _no_repo(ask: Ask, **fields: str) -> Answer:
    del fields
    raise ask.no_repo()


def _refused(
    paths: Iterable[tuple[str, str]], code: str, summary: str, why: str = ""
) -> Iterator[Route[Hub]]:
    def refuse(ask: Ask, **fields: str) -> Answer:
        del ask, fields
        raise Refused(code, why)

    for method, path in paths:
        yield Route(method, path, "open", refuse, summary, errors=(code,))


NO_WRITE = "this server keeps models, and does not rewrite their history"
ABSENT: tuple[Route[Hub], ...] = (
    *_refused(WRITES, "NotImplemented", "no uploads of that kind", NO_WRITE),
    *_refused(OTHERS, "NotImplemented", "not offered"),
    *_refused(UNKNOWN, "NotFound", "must not be there"),
)
"""What comes before other routes."""

ELSEWHERE: tuple[Route[Hub], ...] = tuple(
    Route(method, path, "listed", _no_repo, "no repository can be called so",
          errors=("RepoNotFound",)) for method, path in OTHER_NAMES
)  # fmt: skip
"""What comes after them: a repository may be called ``team/resolve``."""
