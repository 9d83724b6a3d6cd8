"""Problem: a refusal as a page, where a browser has asked for one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zoo.serve.http.answer import Answer
from zoo.serve.http.call import Call
from zoo.serve.pages.page import show

__all__ = ["Problem", "problem_page"]

TITLES = {401: "Sign in to see this", 403: "Not for you", 404: "Not found", 405: "Not like this"}
OTHERWISE = "That did not work"


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong.

    Attributes:
        status: The HTTP status.
        title: It in a few words.
        message: It in a sentence.
        sign_in: Whether to sign in may help.
    """

    status: int
    title: str
    message: str
    sign_in: bool


def problem_page(call: Call, who: str, refusal: Answer) -> Answer:
    """A refusal as a page for ``who``, with the headers that it has for programs."""
    status = refusal.status
    title, sign_in = TITLES.get(status, OTHERWISE), not who and status in (401, 403)
    problem = Problem(status, title, refusal.message, sign_in)
    made = show(call, who, "problem.html", problem, status)
    return replace(made, headers={**refusal.headers, **made.headers}, code=refusal.code)
