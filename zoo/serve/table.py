"""Table: all that is answered. Its order counts where two paths fit."""

from __future__ import annotations

from functools import cache

from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.router import Route
from zoo.serve.hub.absent import ABSENT, ELSEWHERE
from zoo.serve.hub.ask import Ask, Hub
from zoo.serve.hub.table import HUB
from zoo.serve.native.table import NATIVE
from zoo.serve.openapi import openapi
from zoo.serve.pages.table import PAGES, TRY_IMAGE

__all__ = ["PROGRAMS", "ROUTES"]


def described(_: Ask) -> Answer:
    """What is answered to programs, as a document of OpenAPI."""
    return _described()


@cache
def _described() -> Answer:
    return json_answer(openapi(PROGRAMS))


DESCRIBED: Route[Hub] = Route(
    method="GET",
    path="/zoo/v1/openapi.json",
    scope="open",
    handler=described,
    summary="this table, as a document of OpenAPI 3.1",
)
ROUTES: tuple[Route[Hub], ...] = (DESCRIBED, *NATIVE, *HUB, *PAGES)
"""All routes."""
PROGRAMS: tuple[Route[Hub], ...] = (
    *(route for route in (DESCRIBED, *NATIVE, *HUB) if route not in {*ABSENT, *ELSEWHERE}),
    TRY_IMAGE,
)
"""Those for programs."""
