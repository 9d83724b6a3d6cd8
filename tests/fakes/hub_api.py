"""The hub's routes for listing and for writing; see `fakes.hub_server`.

Large files come by Git LFS: without hf_xet, or with it switched off, the client sends them so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fakes.hub_protocol import Answer, Repo, Request, error, is_lfs, json_answer

if TYPE_CHECKING:
    from fakes.hub_server import HubServer

__all__ = ["ROUTES", "described"]


def described(name: str, repo: Repo) -> dict[str, Any]:
    """What the hub says of a repository, but for its files."""
    return {
        "id": name,
        "author": name.partition("/")[0],
        "sha": repo.refs.get("main"),
        "lastModified": repo.modified,
        "gated": "auto" if repo.gated else False,
        "cardData": repo.card,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        **repo.info,
    }


def _list(server: HubServer, request: Request) -> Answer:
    """Newest first; the cursor is a date and a name, so that it means the same after changes."""
    wanted = {key: values[0] for key, values in request.query.items()}
    rows = [
        described(name, repo)
        for name, repo in server.repos.items()
        if repo.readable(request.token, server.members)
    ]
    rows.sort(key=_place, reverse=True)
    if "cursor" in wanted:
        if not wanted["cursor"].startswith("2026"):
            return error(400, "BadCursor")
        rows = [row for row in rows if _place(row) < wanted["cursor"]]
    fits = [row for row in rows if _fits(row, wanted)]
    page = fits[: min(int(wanted["limit"]), server.page)]
    answer = json_answer([_expanded(row, request.query["expand"]) for row in page])
    if len(page) == len(fits):
        return answer
    following = {**request.query, "cursor": [_place(page[-1])]}
    link = f"{server.url}/api/models?{urlencode(following, doseq=True)}"
    return Answer(200, {**answer.headers, "Link": f'<{link}>; rel="next"'}, answer.body)


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['lastModified']} {row['id']}"


def _fits(row: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return wanted.get("author", row["author"]) == row["author"] and (
        "filter" not in wanted or wanted["filter"] in (row.get("library_name"), *row["tags"])
    )


def _expanded(row: Mapping[str, Any], fields: list[str]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key in ("id", *fields)}


def _create(server: HubServer, request: Request) -> Answer:
    asked = json.loads(request.body)
    name = f"{asked['organization']}/{asked['name']}"
    url = {"url": f"{server.url}/{name}"}
    if request.token not in server.members:
        return error(401, "Unauthorized")
    if name in server.repos:
        return json_answer({**url, "error": "exists"}, 409)
    server.commit(
        name,
        {".gitattributes": b""},
        info={"private": asked.get("visibility") == "private" or asked.get("private", False)},
    )
    return json_answer(url)


def _validate(server: HubServer, request: Request) -> Answer:
    return json_answer({"errors": [], "warnings": []})


def _preupload(server: HubServer, request: Request, name: str, branch: str) -> Answer:
    if refusal := _refused(server, request, name):
        return refusal
    files = json.loads(request.body)["files"]
    modes = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if is_lfs(file["path"]) else "regular",
            "shouldIgnore": False,
        }
        for file in files
    ]
    return json_answer({"files": modes})


def _batch(server: HubServer, request: Request, name: str) -> Answer:
    objects = []
    for wanted in json.loads(request.body)["objects"]:
        href = f"{server.url}/lfs/{name}/{wanted['oid']}?secret=1"
        objects.append({**wanted, "actions": {"upload": {"href": href}}})
    return json_answer({"transfer": "basic", "objects": objects})


def _store(server: HubServer, request: Request, name: str, oid: str) -> Answer:
    if request.query.get("secret") != ["1"] or hashlib.sha256(request.body).hexdigest() != oid:
        return error(403, "WrongBytes")
    server.repos[name].uploads[oid] = request.body
    return Answer(200)


def _commit(server: HubServer, request: Request, name: str, branch: str) -> Answer:
    if refusal := _refused(server, request, name):
        return refusal
    lines = [json.loads(line) for line in request.body.splitlines()]
    repo, header = server.repos[name], lines[0]["value"]
    if header.get("parentCommit") not in (None, repo.refs[branch]):
        return error(412, "ParentMismatch")
    gone = {line["value"]["path"] for line in lines if line["key"] == "deletedFile"}
    there = repo.commits[repo.refs[branch]]
    if not gone <= there.keys():
        return error(404, "EntryNotFound")
    kept = {path: body for path, body in there.items() if path not in gone}
    files = {**kept, **dict(_added(repo, lines[1:]))}
    commit = server.commit(name, files, branch=branch)
    repo.messages[commit] = header["summary"]
    return json_answer({"commitOid": commit, "commitUrl": f"{server.url}/{name}/commit/{commit}"})


def _added(repo: Repo, lines: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            yield value["path"], base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            yield value["path"], repo.uploads[value["oid"]]


def _refused(server: HubServer, request: Request, name: str) -> Answer | None:
    if name not in server.repos:
        return error(404, "RepoNotFound")
    return None if request.token in server.members else error(403, "Forbidden")


REPO = "([^/]+/[^/]+)"
ROUTES: tuple[tuple[re.Pattern[str], Callable[..., Answer]], ...] = (
    (re.compile("/api/models"), _list),
    (re.compile("/api/repos/create"), _create),
    (re.compile("/api/validate-yaml"), _validate),
    (re.compile(f"/api/models/{REPO}/preupload/([^/]+)"), _preupload),
    (re.compile(f"/{REPO}.git/info/lfs/objects/batch"), _batch),
    (re.compile(f"/lfs/{REPO}/([0-9a-f]+)"), _store),
    (re.compile(f"/api/models/{REPO}/commit/([^/]+)"), _commit),
)
