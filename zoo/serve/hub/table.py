"""Table: what is answered to clients of the hub. Its order counts where two paths fit."""

from __future__ import annotations

from zoo.serve.http.router import Route
from zoo.serve.hub import (
    account,
    branches,
    commit,
    device,
    duplicates,
    exchange,
    files,
    headers,
    hooks,
    info,
    lfs,
    listing,
    people,
    refs,
    repos,
    tree,
    watching,
    xet,
)
from zoo.serve.hub.absent import ABSENT, ELSEWHERE
from zoo.serve.hub.ask import Hub

__all__ = ["HUB"]

REPO = ("RepoNotFound",)
REVISION = (*REPO, "RevisionNotFound", "EntryNotFound", "Busy")
WRITE = (*REPO, "NoToken", "Forbidden")
SEND = (*REVISION, "NoToken", "Forbidden", "BadRequest")
SENDING = (*WRITE, "BadRequest", "NotImplemented")
BYTES = ("InvalidSeal", "BadRequest", "Mismatch", "TooSlow", "DiskFull", "Busy")
LFS = "/{namespace}/{name}.git/info/lfs/objects"
HOOK = ("BadRequest", "NotImplemented", "RepoNotFound")
BODY = ("BadRequest", "NotImplemented", "NoToken")
MODEL = "/api/models/{namespace}/{name}"

HUB: tuple[Route[Hub], ...] = (
    Route(
        method="GET", path="/healthz", scope="open", handler=account.health,
        summary="that the server answers",
    ),
    Route(
        method="GET", path="/readyz", scope="open", handler=watching.ready,
        summary="that the store, the database and the disk are well",
    ),
    Route(
        method="GET", path="/metrics", scope="listed", handler=watching.metrics,
        errors=("NoToken", "Forbidden"), summary="figures for Prometheus",
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
    *(Route(
        method="GET", path=f"/api{whose}/settings/repositories", scope="account",
        handler=people.repositories, errors=("NoToken",), summary=summary,
    ) for whose, summary in (
        ("", "the account's own repositories"),
        ("/organizations/{organization}", "a team's repositories"),
    )),
    Route(
        method="GET", path="/api/agent-harnesses", scope="open",
        handler=account.agent_harnesses, summary="none; every client asks",
    ),
    Route(
        method="GET", path="/api/telemetry/{path...}", scope="open", handler=account.telemetry,
        summary="nothing is kept of it",
    ),
    Route(
        method="POST", path="/v1/telemetry", scope="open", handler=account.telemetry,
        summary="nothing is kept of it",
    ),
    Route(
        method="GET", path="/zoo/v1/audit", scope="admin", handler=watching.audit,
        query=("since", "who", "name", "after", "limit"),
        errors=("NoToken", "Forbidden"), summary="who changed what, and what was refused",
    ),
    Route(
        method="POST", path="/oauth/device", scope="listed", handler=device.begin,
        errors=("BadRequest", "TooMany"), summary="a code for a program that is to get a token",
    ),
    Route(
        method="POST", path="/oauth/token", scope="listed", handler=exchange.give,
        errors=("BadRequest", "Busy"),
        summary="its token, once somebody has confirmed the code, then the next; or that of a job",
    ),
    *(Route(
        method=method, path=f"/api/settings/webhooks{rest}", scope="account", handler=handler,
        body=body, errors=("NoToken", "Forbidden", *errors), summary=summary,
    ) for method, rest, handler, body, errors, summary in (
        ("GET", "", hooks.list_hooks, None, (), "the webhooks of what one owns"),
        ("POST", "", hooks.create_hook, hooks.NewHook, HOOK, "make a webhook"),
        ("GET", "/{id}", hooks.show_hook, None, (), "a webhook"),
        ("POST", "/{id}", hooks.change_hook, hooks.HookChange, HOOK, "change it"),
        ("DELETE", "/{id}", hooks.delete_hook, None, (), "delete it"),
        ("POST", "/{id}/enable", hooks.enable_hook, None, (), "tell it again"),
        ("POST", "/{id}/disable", hooks.disable_hook, None, (), "tell it nothing for now"),
    )),
    *ABSENT,
    Route(
        method="GET", path="/api/models", scope="listed", handler=listing.list_models,
        query=listing.KNOWN, errors=("BadRequest",),
        summary="the repositories that may be read",
    ),
    Route(
        method="POST", path="/api/repos/create", scope="account", handler=repos.create,
        body=repos.NewRepo,
        errors=(*BODY, "Forbidden", "Conflict"), summary="make an empty repository",
    ),
    Route(
        method="DELETE", path="/api/repos/delete", scope="account", handler=repos.delete,
        body=repos.RepoName,
        errors=(*BODY, *WRITE), summary="delete a repository",
    ),
    Route(
        method="POST", path="/api/repos/move", scope="account", handler=repos.move, body=repos.Move,
        errors=(*BODY, *WRITE, "Conflict"), summary="give a repository another name",
    ),
    Route(
        method="POST", path=f"{MODEL}/duplicate", scope="read", handler=duplicates.duplicate,
        body=duplicates.Duplicate, errors=(*BODY, *WRITE, "Conflict", "EntryNotFound", "Busy"),
        summary="make another repository of what it has",
    ),
    Route(
        method="PUT", path=f"{MODEL}/settings", scope="share", handler=repos.change_settings,
        body=repos.Settings,
        errors=(*BODY, *WRITE), summary="who may read a repository",
    ),
    Route(
        method="POST", path="/api/validate-yaml", scope="account",
        handler=commit.validate_yaml, body=commit.Card, errors=("NoToken", "BadRequest"),
        summary="whether the front of a README can be read",
    ),
    Route(
        method="POST", path=f"{MODEL}/preupload/{{revision}}", scope="write",
        handler=commit.preupload,
        body=commit.CommitPlan, query=("create_pr",), errors=(*SEND, "NotImplemented"),
        summary="how files are to be sent",
    ),
    Route(
        method="POST", path=f"{MODEL}/commit/{{revision}}", scope="write", handler=commit.commit,
        query=("create_pr",),
        errors=(*SEND, "NotImplemented", "TooSlow", "Conflict", "Moved", "DiskFull"), streams=True,
        summary="add and delete files of a branch",
    ),
    Route(
        method="POST", path=f"{MODEL}/branch/{{branch}}", scope="write",
        handler=branches.create_branch,
        body=branches.Branch, errors=(*SEND, "Conflict"), summary="make a branch",
    ),
    Route(
        method="DELETE", path=f"{MODEL}/branch/{{branch}}", scope="force",
        handler=branches.delete_branch, errors=(*SEND, "Conflict"), summary="delete a branch",
    ),
    Route(
        method="POST", path=f"{MODEL}/tag/{{revision}}", scope="write",
        handler=branches.create_tag,
        body=branches.Tag, errors=(*SEND, "Conflict"), summary="make a tag",
    ),
    Route(
        method="DELETE", path=f"{MODEL}/tag/{{tag}}", scope="force", handler=branches.delete_tag,
        errors=(*SEND, "Conflict"), summary="delete a tag",
    ),
    *(Route(
        method="GET", path=f"/api/{kind}", scope="open", handler=listing.list_nothing,
        summary="an empty list",
    ) for kind in ("datasets", "spaces")),
    Route(
        method="GET", path=MODEL, scope="read", handler=info.model_info,
        query=("expand", "expand[]", "blobs"), errors=REVISION,
        summary="a repository",
    ),
    Route(
        method="GET", path=f"{MODEL}/revision/{{revision}}", scope="read",
        handler=info.model_info,
        query=("expand", "expand[]", "blobs"), errors=REVISION,
        summary="a repository at a revision",
    ),
    Route(
        method="GET", path=f"{MODEL}/safetensors-metadata/{{path...}}", scope="read",
        handler=headers.safetensors_metadata, errors=(*REVISION, "BadRequest", "Damaged"),
        summary="what the files of an index say of their tensors",
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
        query=("include_prs",),
        errors=(*REPO, "Busy"), summary="branches and tags",
    ),
    Route(
        method="GET", path=f"{MODEL}/commits/{{revision}}", scope="read",
        handler=refs.list_commits,
        query=("p", "expand[]"), errors=REVISION, summary="commits, newest first",
    ),
    Route(
        method="GET", path=f"{MODEL}/tree/{{revision}}", scope="read", handler=tree.list_tree,
        query=("recursive", "expand", "cursor"),
        errors=REVISION, summary="the files of a commit",
    ),
    Route(
        method="GET", path=f"{MODEL}/tree/{{revision}}/{{path...}}", scope="read",
        handler=tree.list_tree,
        query=("recursive", "expand", "cursor"), errors=REVISION, summary="the files of a folder",
    ),
    Route(
        method="POST", path=f"{MODEL}/paths-info/{{revision}}", scope="read",
        handler=tree.paths_info, errors=(*REVISION, "BadRequest"), summary="some files of a commit",
    ),
    Route(
        method="GET", path="/{namespace}/{name}/resolve/{revision}/{path...}", scope="read",
        handler=files.resolve, known=files.resolve_known, summary="a file",
        errors=(*REVISION, "RangeNotSatisfiable", "Damaged"),
    ),
    Route(
        method="GET", path="/{namespace}/{name}/raw/{revision}/{path...}", scope="read",
        handler=files.raw, errors=(*REVISION, "Damaged"), summary="a file, or the pointer to it",
    ),
    Route(
        method="POST", path=f"{LFS}/batch", scope="write", handler=lfs.batch,
        body=lfs.Batch, errors=SENDING,
        summary="where to send large files that are not there yet",
    ),
    Route(
        method="POST", path=f"{LFS}/verify", scope="write", handler=lfs.verify, body=lfs.File,
        errors=(*SENDING, "EntryNotFound"), summary="whether a file that was sent is there",
    ),
    Route(
        method="PUT", path="/lfs/objects/{oid}", scope="open", handler=lfs.put,
        query=("seal",), errors=BYTES,
        streams=True, summary="a large file",
    ),
    Route(
        method="PUT", path="/lfs/parts/{oid}/{number}", scope="open", handler=lfs.put_part,
        query=("seal",),
        errors=BYTES, streams=True, summary="a part of one",
    ),
    Route(
        method="POST", path="/lfs/complete/{oid}", scope="open", handler=lfs.complete,
        query=("seal",),
        errors=BYTES, summary="that all parts were sent",
    ),
    Route(
        method="GET", path=f"{MODEL}/xet-write-token/{{revision}}", scope="write",
        handler=xet.write_token, query=("create_pr",), errors=SENDING,
        summary="where to send large files by Xet",
    ),
    Route(
        method="GET", path="/xet/{space}/v1/chunks/default/{digest}", scope="open",
        handler=xet.chunks, query=("seal",), errors=("InvalidSeal", "Busy"), slow=True,
        summary="which chunks are here, too",
    ),
    Route(
        method="POST", path="/xet/{space}/v1/xorbs/default/{digest}", scope="open",
        handler=xet.put_xorb, query=("seal",), errors=BYTES, streams=True,
        summary="some chunks of files",
    ),
    Route(
        method="POST", path="/xet/{space}/v1/shards", scope="open", handler=xet.put_shard,
        query=("seal",), errors=BYTES, streams=True, summary="which chunks are which files",
    ),
    *ELSEWHERE,
)  # fmt: skip
"""The routes."""
