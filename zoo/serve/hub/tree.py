"""Tree: the files of a commit."""

from __future__ import annotations

from zoo.domain.plain import Json
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask, at
from zoo.serve.hub.info import lfs
from zoo.serve.keep.history import Commit
from zoo.serve.keep.view import ViewedFile

__all__ = ["list_tree", "paths_info"]


def list_tree(ask: Ask, revision: str, path: str = "") -> Answer:
    """The files of a folder; a checkpoint has none but the one that all its files are in."""
    commit = ask.commit(revision)
    if path.strip("/"):
        raise Refused(
            "EntryNotFound", "there is no such folder", headers={"X-Repo-Commit": commit.id}
        )
    return json_answer(_items(ask, commit, commit.view.files, expand=ask.call.flag("expand")))


def paths_info(ask: Ask, revision: str) -> Answer:
    """What is told of the files that are asked for; others are left out."""
    commit, form = ask.commit(revision), ask.call.form
    files = [commit.view.file(path) for path in dict.fromkeys(form.get("paths", ()))]
    expand = [text.lower() for text in form.get("expand", ())] == ["true"]
    return json_answer(_items(ask, commit, [file for file in files if file], expand=expand))


def _items(
    ask: Ask, commit: Commit, files: list[ViewedFile] | tuple[ViewedFile, ...], *, expand: bool
) -> list[Json]:
    line = ask.commits(commit.id) if expand else ()
    return [_item(file) | ({"lastCommit": _last(line, file)} if expand else {}) for file in files]


def _item(file: ViewedFile) -> Json:
    return {"type": "file", "path": file.path, "size": file.size, "oid": file.git, **lfs(file)}


def _last(line: tuple[Commit, ...], file: ViewedFile) -> Json:
    """The commit since which a file is as it is, of those that lead to it, newest first."""
    last = line[0]
    for commit in line[1:]:
        there = commit.view.file(file.path)
        if there is None or there.git != file.git:
            break
        last = commit
    return {"id": last.id, "title": last.title, "date": at(last.at)}
