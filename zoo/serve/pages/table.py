"""Table: the pages. Its order counts where two paths fit; all of them come after the hub's."""

from __future__ import annotations

from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Hub
from zoo.serve.pages.assets import asset
from zoo.serve.pages.home import home, look_home
from zoo.serve.pages.page import page_routes

__all__ = ["PAGES"]

HOME = page_routes("/", "home.html", look_home, "what there is", scope="listed", twin="/index.json")

PAGES: tuple[Route[Hub], ...] = (
    Route(
        method="GET", path="/-/{digest}/{file}", scope="open", handler=asset,
        errors=("NotFound",), summary="a style sheet or a script of the pages",
    ),
    Route(
        method="GET", path="/", scope="listed", handler=home, page=True,
        summary="page: what there is; for programs, what this is, in words",
    ),
    HOME[1],
)  # fmt: skip
"""The routes."""
