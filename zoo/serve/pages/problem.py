"""Problem: a refusal as a page, where a browser has asked for one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zoo.domain.query import Query
from zoo.serve.http.answer import Answer
from zoo.serve.pages.page import Site, show

__all__ = ["Problem", "problem_page"]

TITLES = {401: "Sign in to see this", 403: "Not for you", 404: "Not found", 405: "Not like this"}
BY_LINK = "The link opens this"
OTHERWISE = "That did not work"


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong.

    Attributes:
        status: The HTTP status.
        title: It in a few words.
        message: It in a sentence.
        sign_in: Whether to sign in may help.
        search: What to look for where no repository has the name: sources may list it.
    """

    status: int
    title: str
    message: str
    sign_in: bool
    search: str = ""


def problem_page(site: Site, refusal: Answer) -> Answer:
    """A refusal as a page, with the headers that it has for programs."""
    status, stranger = refusal.status, not (site.who or site.alone)
    title = BY_LINK if status == 401 and site.alone else TITLES.get(status, OTHERWISE)
    search = "/".join(site.path.split("/")[1:3]) if refusal.code == "RepoNotFound" else ""
    signing = stranger and status in (401, 403)
    problem = Problem(
        status, title, refusal.message, signing, str(Query((search,) if search else ()))
    )
    answer = show(site, "problem.html", problem, status)
    return replace(answer, headers={**refusal.headers, **answer.headers}, code=refusal.code)
