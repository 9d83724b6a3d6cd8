"""Table: the pages. Its order counts where two paths fit; all of them come after the hub's."""

from __future__ import annotations

from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Hub
from zoo.serve.pages.assets import asset
from zoo.serve.pages.home import home, look_home
from zoo.serve.pages.page import page_routes
from zoo.serve.pages.sign_in import look_sign_in, open_link, sign_in, sign_out

__all__ = ["PAGES"]

HOME = page_routes("/", "home.html", look_home, "what there is", scope="listed", twin="/index.json")
SIGN_IN = page_routes("/sign-in", "sign_in.html", look_sign_in, "to sign in", scope="listed")

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
    SIGN_IN[0],
    Route(
        method="POST", path="/sign-in", scope="listed", handler=sign_in, page=True,
        errors=("Forbidden", "BadRequest"), summary="begin a session, with a token",
    ),
    Route(
        method="POST", path="/sign-out", scope="listed", handler=sign_out, page=True,
        errors=("Forbidden",), summary="end it",
    ),
    Route(
        method="GET", path="/-/open", scope="open", handler=open_link, page=True,
        errors=("NotFound", "NoToken"), summary="the link that `zoo ui` prints",
    ),
)  # fmt: skip
"""The routes."""
