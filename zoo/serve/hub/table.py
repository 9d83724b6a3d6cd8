"""Table: all that is answered. Its order counts where two paths fit."""

from __future__ import annotations

from zoo.serve.http.router import Route
from zoo.serve.hub import account, files, info, listing, people, refs, repos, tree
from zoo.serve.hub.absent import ABSENT, ELSEWHERE
from zoo.serve.hub.ask import Hub

__all__ = ["ROUTES"]

REPO = ("RepoNotFound",)
REVISION = (*REPO, "RevisionNotFound", "EntryNotFound", "Busy")
WRITE = (*REPO, "NoToken", "Forbidden")
BODY = ("BadRequest", "NotImplemented", "NoToken")
MODEL = "/api/models/{namespace}/{name}"

ROUTES: tuple[Route[Hub], ...] = (
    Route(
        method="GET", path="/", scope="open", handler=account.front,
        summary="what this is, in words",
    ),
    Route(
        method="GET", path="/healthz", scope="open", handler=account.health,
        summary="that the server answers",
    ),
    Route(
        method="GET", path="/api/whoami-v2", scope="account", handler=account.whoami,
        errors=("NoToken",), summary="whose token it is",
    ),
    Route(
        method="GET", path="/api/users/{user}/overview", scope="account", handler=people.user,
        errors=("NoToken",), summary="an account and its teams",
    ),
    Route(
        method="GET", path="/api/organizations/{organization}/overview", scope="account",
        handler=people.organization, errors=("NoToken",), summary="a team",
    ),
    Route(
        method="GET", path="/api/organizations/{organization}/members", scope="account",
        handler=people.members, errors=("NoToken",), summary="who is in a team",
    ),
    Route(
        method="GET", path="/api/agent-harnesses", scope="open",
        handler=account.agent_harnesses, summary="none; every client asks",
    ),
    Route(
        method="GET", path="/api/telemetry/{path...}", scope="open", handler=account.telemetry,
        summary="nothing is kept of it",
    ),
    *ABSENT,
    Route(
        method="GET", path="/api/models", scope="listed", handler=listing.list_models,
        summary="the repositories that may be read",
    ),
    Route(
        method="POST", path="/api/repos/create", scope="account", handler=repos.create,
        errors=(*BODY, "Forbidden", "Conflict"), summary="make an empty repository",
    ),
    Route(
        method="DELETE", path="/api/repos/delete", scope="account", handler=repos.delete,
        errors=(*BODY, *WRITE), summary="delete a repository",
    ),
    Route(
        method="POST", path="/api/repos/move", scope="account", handler=repos.move,
        errors=(*BODY, *WRITE, "Conflict"), summary="give a repository another name",
    ),
    Route(
        method="PUT", path=f"{MODEL}/settings", scope="share", handler=repos.change_settings,
        errors=(*BODY, *WRITE), summary="who may read a repository",
    ),
    *(Route(
        method="GET", path=f"/api/{kind}", scope="open", handler=listing.list_nothing,
        summary="an empty list",
    ) for kind in ("datasets", "spaces")),
    Route(
        method="GET", path=MODEL, scope="read", handler=info.model_info, errors=REVISION,
        summary="a repository",
    ),
    Route(
        method="GET", path=f"{MODEL}/revision/{{revision}}", scope="read",
        handler=info.model_info, errors=REVISION, summary="a repository at a revision",
    ),
    Route(
        method="GET", path=f"{MODEL}/auth-check", scope="read", handler=info.auth_check,
        errors=REPO, summary="whether it may be read",
    ),
    Route(
        method="GET", path=f"{MODEL}/auth-check/write", scope="write", handler=info.auth_check,
        errors=WRITE, summary="whether it may be written",
    ),
    Route(
        method="GET", path=f"{MODEL}/refs", scope="read", handler=refs.list_refs,
        errors=(*REPO, "Busy"), summary="branches and tags",
    ),
    Route(
        method="GET", path=f"{MODEL}/commits/{{revision}}", scope="read",
        handler=refs.list_commits, errors=REVISION, summary="commits, newest first",
    ),
    Route(
        method="GET", path=f"{MODEL}/tree/{{revision}}", scope="read", handler=tree.list_tree,
        errors=REVISION, summary="the files of a commit",
    ),
    Route(
        method="GET", path=f"{MODEL}/tree/{{revision}}/{{path...}}", scope="read",
        handler=tree.list_tree, errors=REVISION, summary="the files of a folder",
    ),
    Route(
        method="POST", path=f"{MODEL}/paths-info/{{revision}}", scope="read",
        handler=tree.paths_info, errors=(*REVISION, "BadRequest"), summary="some files of a commit",
    ),
    Route(
        method="GET", path="/{namespace}/{name}/resolve/{revision}/{path...}", scope="read",
        handler=files.resolve, errors=(*REVISION, "RangeNotSatisfiable", "Damaged"),
        summary="a file",
    ),
    Route(
        method="GET", path="/{namespace}/{name}/raw/{revision}/{path...}", scope="read",
        handler=files.raw, errors=(*REVISION, "Damaged"), summary="a file, or the pointer to it",
    ),
    *ELSEWHERE,
)  # fmt: skip
"""All routes."""
