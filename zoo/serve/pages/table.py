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
    "POST", f"{REPO}/try.json", "read", try_image, "what a model says of an image, in JSON",
    streams=True, within=SENT_SECONDS, errors=TRIED, query=("revision", "output"),
)  # fmt: skip
"""For programs, too."""

MODEL: tuple[Route[Hub], ...] = (
    Route("GET", f"{REPO}:{{tag}}", "read", files.to_tag, "to the page of what commands call so",
          page=True, errors=("RepoNotFound",)),
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
    Route("POST", f"{REPO}/try", "read", try_form, "page: what a model says of an image", page=True,
          streams=True, within=SENT_SECONDS, errors=TRIED),
    TRY_IMAGE,
    *(Route("GET", f"{REPO}/{path}", "read", handler,
            "to the page of what has this address at the hub", page=True, errors=("RepoNotFound",))
      for path, handler in (
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
    Route("POST", "/-/runs/{id}", "account", delete_run, "delete a run that was reported",
          page=True, errors=("NoToken", "NotFound", "Forbidden", "BadRequest")),
    Route("GET", "/-/runs/{id}/events", "listed", run_events,
          "what a run shows now, as a server-sent event", page=True, errors=("NotFound",)),
    Route("GET", "/-/runs/{id}/examples.png", "listed", run_sheet,
          "small test images that a run kept", page=True, errors=("NotFound",)),
    Route("GET", f"{REPO}/examples.png", "read", model_sheet,
          "small test images that a checkpoint has", page=True, errors=("RepoNotFound", *REVISION)),
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
    Route("POST", "/-/identify", "listed", identify_form, "page: which checkpoint has these keys",
          page=True, errors=("Forbidden", "BadRequest")),
    Route("POST", "/-/identify.json", "listed", identify_keys,
          "which checkpoint has these keys, in JSON", errors=("BadRequest",)),
)  # fmt: skip
"""What an unknown file is."""

PAGES: tuple[Route[Hub], ...] = (
    Route("GET", "/", "listed", home, "page: what there is; for programs, what this is, in words",
          page=True),
    HOME[1],
    SIGN_IN[0],
    Route("POST", "/sign-in", "listed", sign_in, "begin a session, with a token", page=True,
          errors=("Forbidden", "BadRequest")),
    Route("POST", "/sign-out", "listed", sign_out, "end it", page=True, errors=("Forbidden",)),
    *(Route("GET", f"/-/sso/{{provider}}{path}", "listed", handler, summary, page=True, query=query,
            errors=("NotFound", "NoToken", "Forbidden", "Busy"))
      for path, handler, query, summary in (
        ("", sso.begin, ("next", "link"), "to sign in by another service"),
        ("/back", sso.come_back, ("state", "code", "iss", "error"), "who comes back from there"),
    )),
    Route("GET", "/-/open", "open", open_link, "the link that `zoo ui` prints", page=True,
          errors=("NotFound", "NoToken")),
    Route("GET", "/-/setup", "listed", look_setup,
          "the link that a new server prints: to make the first account", page=True,
          query=("key",)),
    Route("POST", "/-/setup", "listed", set_up, "make it, and begin a session", page=True,
          errors=("Forbidden", "BadRequest")),
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
    Route("GET", "/-/{digest}/{file}", "open", asset, "a style sheet or a script of the pages",
          errors=("NotFound",)),
    *MODEL,
)  # fmt: skip
"""The routes."""
