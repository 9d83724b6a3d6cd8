"""Files: their bytes."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from zoo.domain.network import CONFIG
from zoo.serve.http.answer import Answer, Body
from zoo.serve.http.errors import Refused
from zoo.serve.http.ranges import asked_range, is_known
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.git import pointer
from zoo.serve.keep.history import Commit
from zoo.serve.keep.view import View, ViewedFile

__all__ = ["file_of", "raw", "resolve", "resolve_known"]

COUNTED = (
    CONFIG,
    "config.yaml",
    "hyperparams.yaml",
    "params.json",
    "meta.yaml",
    "model.safetensors",
)
"""The first of these that a repository has is what its downloads are counted by."""
YEAR = 365 * 86400
OLD = re.compile(r"\bhf_hub/0\.(\d|1\d|20)\.")
"""Clients that send no token to where they are sent: huggingface_hub before 0.21."""


def resolve(ask: Ask, revision: str, path: str) -> Answer:
    """A file. At a revision that can move, a client is sent to the commit that it is now: else it
    could look at one file and get another.
    """
    if ask.is_empty(revision):  # clients ask for its README before they send one
        raise Refused("EntryNotFound", f"there is no file '{path}': nothing was sent yet")
    commit = ask.commit(revision)
    file = file_of(ask, commit, path)
    if commit.id != revision and not OLD.search(ask.call.headers.get("user-agent", "")):
        return _pinned(ask, commit, "resolve", path)
    return _resolved(ask, commit, ask.view(commit), file, revision)


def resolve_known(ask: Ask, revision: str, path: str) -> Answer | None:
    """As `resolve`, of what is in memory: HEAD, of a commit, of files that were asked for before.
    Clients ask so for each file of a repository, which leaves few of them to wait for a thread.
    """
    hub = ask.hub
    if (
        ask.call.method != "HEAD"
        or (commit := hub.history.known_commit(ask.repo, revision)) is None
    ):
        return None
    view = hub.views.known(commit.manifest)
    file = view.file(path) if view else None
    return _resolved(ask, commit, view, file, revision) if view and file else None


def _resolved(ask: Ask, commit: Commit, view: View, file: ViewedFile, revision: str) -> Answer:
    """A file of a commit, or what is asked for of it."""
    etag = f'"{file.etag}"'
    headers = _headers(ask, commit, revision, etag) | {
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.path, safe='')}",
    }
    if is_known(ask.call.headers, etag):
        answer = Answer(status=304, headers=headers)
    elif ask.call.method == "HEAD":  # the ranges of all objects are not worked out for that
        if file.text is None:
            ask.check_here(commit.manifest)
        answer = Answer(headers=headers, length=file.size)
    else:
        answer = _sent(ask, commit, file, headers, asked_range(ask.call.headers, file.size, etag))
    if _is_download(ask, view, file.path):
        ask.hub.accounts.downloads.count(ask.repo)
    return answer


def _sent(
    ask: Ask,
    commit: Commit,
    file: ViewedFile,
    headers: dict[str, str],
    span: tuple[int, int] | None,
) -> Answer:
    """A file, or a span of it."""
    if span is None:
        return Answer(headers=headers, body=_body(ask, commit, file, 0, file.size))
    begin, end = span
    headers["Content-Range"] = f"bytes {begin}-{end - 1}/{file.size}"
    return Answer(status=206, headers=headers, body=_body(ask, commit, file, begin, end))


def _is_download(ask: Ask, view: View, path: str) -> bool:
    """Whether a request for a file is a download of its repository: one of all those that it takes
    to load what is in it. It is a request for the file that all of them ask for, HEAD or GET; for
    one client, which asks for HEAD before each GET, it is HEAD alone.
    """
    if ask.hub.alone or path != next((name for name in COUNTED if view.file(name)), ""):
        return False
    if ask.call.method == "HEAD":
        return True
    sent = ask.call.headers
    return "hf_hub/" not in sent.get("user-agent", "") and "range" not in sent


def raw(ask: Ask, revision: str, path: str) -> Answer:
    """A file as Git keeps it: of a large one, the pointer to it."""
    commit = ask.commit(revision)
    file = file_of(ask, commit, path)
    if commit.id != revision:
        return _pinned(ask, commit, "raw", path)
    headers = _headers(ask, commit, revision, f'"{file.git}"')
    headers["Content-Type"] = "text/plain; charset=utf-8"
    if is_known(ask.call.headers, headers["ETag"]):
        return Answer(status=304, headers=headers)
    if file.sha256:
        return Answer(headers=headers, body=pointer(file.sha256, file.size))
    return Answer(headers=headers, body=_body(ask, commit, file, 0, file.size))


def file_of(ask: Ask, commit: Commit, path: str) -> ViewedFile:
    """A file of a commit. Raises `Refused` if there is none of that path."""
    file = ask.view(commit).file(path)
    if file is None:
        # The client remembers of which commit that is so.
        headers = {"X-Repo-Commit": commit.id}
        raise Refused("EntryNotFound", f"there is no file '{path}'", headers=headers)
    return file


def _pinned(ask: Ask, commit: Commit, what: str, path: str) -> Answer:
    # Without the host: clients before 1.0 take another one, written out, for another server.
    above = urlsplit(ask.call.base).path
    location = f"{above}/{ask.repo}/{what}/{commit.id}/{quote(path)}"
    headers = {"Location": location, "X-Repo-Commit": commit.id, "Cache-Control": "no-cache"}
    return Answer(status=307, headers=headers)


def _headers(ask: Ask, commit: Commit, revision: str, etag: str) -> dict[str, str]:
    who = "public" if ask.access.level == "public" else "private"
    stays = f"{who}, max-age={YEAR}, immutable" if commit.id == revision else "no-cache"
    return {
        "ETag": etag,
        "X-Repo-Commit": commit.id,
        "Cache-Control": stays,
    }


def _body(ask: Ask, commit: Commit, file: ViewedFile, begin: int, end: int) -> Body:
    if file.text is not None:
        return file.text.encode()[begin:end]
    ask.check_here(commit.manifest)
    parts = ask.hub.files.parts(commit.manifest, file.path, begin, end)
    ask.hub.files.check(parts)
    return parts
