"""Table: the pages. Its order counts where two paths fit; all of them come after the hub's."""

from __future__ import annotations

from dataclasses import replace

from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Hub
from zoo.serve.pages import files, sso
from zoo.serve.pages.assets import asset
from zoo.serve.pages.compare import compare_page, look_compare
from zoo.serve.pages.deprecated import look_deprecated
from zoo.serve.pages.examples import model_sheet, run_sheet
from zoo.serve.pages.home import home, look_home
from zoo.serve.pages.identify import identify_form, identify_keys, look_identify
from zoo.serve.pages.layers import look_layers
from zoo.serve.pages.lineage import look_lineage
from zoo.serve.pages.listed import look_listed
from zoo.serve.pages.model import look_model
from zoo.serve.pages.page import page_routes
from zoo.serve.pages.run import delete_run, look_run, run_events
from zoo.serve.pages.runs import look_runs, look_runs_of
from zoo.serve.pages.settings_table import SETTINGS
from zoo.serve.pages.setup import look_setup, set_up
from zoo.serve.pages.sign_in import look_sign_in, open_link, sign_in, sign_out
from zoo.serve.pages.try_it import SENT_SECONDS, look_try, try_form, try_image
from zoo.serve.pages.versions import look_versions

__all__ = ["PAGES", "TRY_IMAGE"]

HOME = page_routes("/", "home.html", look_home, "what there is", scope="listed", twin="/index.json")
SIGN_IN = page_routes("/sign-in", "sign_in.html", look_sign_in, "to sign in", scope="listed")

REPO = "/{namespace}/{name}"
REVISION = ("RevisionNotFound", "EntryNotFound", "Busy")
TRIED = ("RepoNotFound", "NoToken", "Forbidden", "NotImplemented", "TooMany", *REVISION)

TRY_IMAGE: Route[Hub] = Route(
    method="POST", path=f"{REPO}/try.json", scope="read", handler=try_image, streams=True,
    within=SENT_SECONDS, errors=TRIED, query=("revision", "output"),
    summary="what a model says of an image, in JSON",
)  # fmt: skip
"""For programs, too."""

MODEL: tuple[Route[Hub], ...] = (
    Route(
        method="GET", path=f"{REPO}:{{tag}}", scope="read", handler=files.to_tag, page=True,
        errors=("RepoNotFound",), summary="to the page of what commands call so",
    ),
    *page_routes(
        REPO, "model.html", look_model, "a model", errors=REVISION, twin=f"{REPO}/index.json"
    ),
    *page_routes(
        f"{REPO}/layers", "layers.html", look_layers, "the layers of a model", errors=REVISION
    ),
    *page_routes(f"{REPO}/files", "files.html", files.look_files, "its files", errors=REVISION),
    *page_routes(
        f"{REPO}/versions", "versions.html", look_versions, "its versions", errors=REVISION
    ),
    *page_routes(
        f"{REPO}/try", "try.html", look_try, "to try an image with a model", errors=REVISION
    ),
    Route(
        method="POST", path=f"{REPO}/try", scope="read", handler=try_form, page=True, streams=True,
        within=SENT_SECONDS, errors=TRIED, summary="page: what a model says of an image",
    ),
    TRY_IMAGE,
    *(Route(
        method="GET", path=f"{REPO}/{path}", scope="read", handler=handler, page=True,
        errors=("RepoNotFound",), summary="to the page of what has this address at the hub",
    ) for path, handler in (
        ("tree/{revision}", files.to_tree), ("tree/{revision}/{path...}", files.to_tree),
        ("blob/{revision}/{path...}", files.to_tree), ("commit/{revision}", files.to_commit),
        ("commits/{revision}", files.to_commits),
    )),
)  # fmt: skip
"""Those of a repository; anything that has two parts would fit the first of them."""

RUN = page_routes(
    "/-/runs/{id}",  # not "/runs/{id}", which is where a repository of the namespace "runs" is
    "run.html", look_run, "how a fine-tune went, or goes",
    scope="listed", errors=("NotFound",),
)  # fmt: skip
COMPARE = page_routes(
    "/compare", "compare.html", look_compare, "two to four checkpoints side by side",
    scope="listed",
    errors=("BadRequest", "Conflict", "EntryNotFound", "RepoNotFound", "RevisionNotFound"),
)  # fmt: skip
TRAINED: tuple[Route[Hub], ...] = (
    replace(COMPARE[0], handler=compare_page),
    COMPARE[1],
    *page_routes("/runs", "runs.html", look_runs, "the fine-tunes of this zoo", scope="listed"),
    # The id takes in all of a part of a path.
    *reversed(RUN),
    Route(
        method="POST", path="/-/runs/{id}", scope="account", handler=delete_run, page=True,
        errors=("NoToken", "NotFound", "Forbidden", "BadRequest"),
        summary="delete a run that was reported",
    ),
    Route(
        method="GET", path="/-/runs/{id}/events", scope="listed", handler=run_events, page=True,
        errors=("NotFound",), summary="what a run shows now, as a server-sent event",
    ),
    Route(
        method="GET", path="/-/runs/{id}/examples.png", scope="listed", handler=run_sheet,
        page=True, errors=("NotFound",), summary="small test images that a run kept",
    ),
    Route(
        method="GET", path=f"{REPO}/examples.png", scope="read", handler=model_sheet, page=True,
        errors=("RepoNotFound", *REVISION), summary="small test images that a checkpoint has",
    ),
    *page_routes(
        f"{REPO}/lineage", "lineage.html", look_lineage, "what derives from what",
        errors=("RevisionNotFound",),
    ),
    *page_routes(f"{REPO}/runs", "runs.html", look_runs_of, "the fine-tunes of a repository"),
)  # fmt: skip
"""Those of lineage, comparisons and runs."""

IDENTIFY: tuple[Route[Hub], ...] = (
    *page_routes(
        "/-/identify", "identify.html", look_identify, "to choose a file, and learn what it is",
        scope="listed",
    ),
    Route(
        method="POST", path="/-/identify", scope="listed", handler=identify_form, page=True,
        errors=("Forbidden", "BadRequest"), summary="page: which checkpoint has these keys",
    ),
    Route(
        method="POST", path="/-/identify.json", scope="listed", handler=identify_keys,
        errors=("BadRequest",), summary="which checkpoint has these keys, in JSON",
    ),
)  # fmt: skip
"""What an unknown file is."""

PAGES: tuple[Route[Hub], ...] = (
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
    *(Route(
        method="GET", path=f"/-/sso/{{provider}}{path}", scope="listed", handler=handler, page=True,
        query=query, errors=("NotFound", "NoToken", "Forbidden", "Busy"), summary=summary,
    ) for path, handler, query, summary in (
        ("", sso.begin, ("next", "link"), "to sign in by another service"),
        ("/back", sso.come_back, ("state", "code", "iss", "error"), "who comes back from there"),
    )),
    Route(
        method="GET", path="/-/open", scope="open", handler=open_link, page=True,
        errors=("NotFound", "NoToken"), summary="the link that `zoo ui` prints",
    ),
    Route(
        method="GET", path="/-/setup", scope="listed", handler=look_setup, page=True,
        query=("key",), summary="the link that a new server prints: to make the first account",
    ),
    Route(
        method="POST", path="/-/setup", scope="listed", handler=set_up, page=True,
        errors=("Forbidden", "BadRequest"), summary="make it, and begin a session",
    ),
    *TRAINED,
    *SETTINGS,
    *IDENTIFY,
    *page_routes(
        "/-/deprecated", "deprecated.html", look_deprecated, "names that are to be used no more",
        scope="listed",
    ),
    *page_routes(
        "/-/listed", "listed.html", look_listed, "what a source lists", scope="listed",
        errors=("NotFound",),
    ),
    Route(
        method="GET", path="/-/{digest}/{file}", scope="open", handler=asset,
        errors=("NotFound",), summary="a style sheet or a script of the pages",
    ),
    *MODEL,
)  # fmt: skip
"""The routes."""
