"""Tree: the files of a commit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping

from msgspec.json import encode

from zoo.domain.plain import Json
from zoo.serve.http.answer import JSON, Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask, iso_time
from zoo.serve.hub.info import lfs
from zoo.serve.keep.history import Commit
from zoo.serve.keep.view import ViewedFile

__all__ = ["list_tree", "paths_info"]


PAGE, EXPANDED = 1000, 50
"""Files and folders on a page, and if it is told of each since when it is as it is."""
LOOKED = 200
"""So many commits are looked at for that; each has to be read."""


def list_tree(ask: Ask, revision: str, path: str = "") -> Answer:
    """What is in a folder, a page of it; with ``recursive``, also in those within it."""
    if ask.is_empty(revision) and not path:
        return json_answer([])
    commit, path = ask.commit(revision), path.strip("/")
    folders = ask.hub.history.folders(commit, ask.patience)
    if path not in folders:
        raise Refused(
            "EntryNotFound", "there is no such folder", headers={"X-Repo-Commit": commit.id}
        )
    files = {file.path: file for file in ask.view(commit).files}
    below = f"{path}/" if path else ""
    there = [each for each in {**folders, **files} if each != path and each.startswith(below)]
    if not ask.call.flag("recursive"):
        there = [each for each in there if "/" not in each.removeprefix(below)]
    there.sort()
    expand = ask.call.flag("expand")
    # By its last path: a branch may have moved before the next page is asked for.
    begin = bisect_right(there, ask.call.query.get("cursor", ""))
    end = begin + (EXPANDED if expand else PAGE)
    page = there[begin:end]
    return Answer(
        headers={**JSON, **(ask.next_page(cursor=page[-1]) if end < len(there) else {})},
        body=encode(_items(ask, commit, page, expand=expand)),
    )


def paths_info(ask: Ask, revision: str) -> Answer:
    """What is told of the files and folders that are asked for; others are left out."""
    if ask.is_empty(revision):
        return json_answer([])
    commit, form = ask.commit(revision), ask.call.form
    paths = dict.fromkeys(path.strip("/") for path in form.get("paths", ()))
    expand = [text.lower() for text in form.get("expand", ())] == ["true"]
    return json_answer(_items(ask, commit, filter(None, paths), expand=expand))


def _items(ask: Ask, commit: Commit, paths: Iterable[str], *, expand: bool) -> list[Json]:
    view, folders = ask.view(commit), ask.hub.history.folders(commit, ask.patience)
    files = {path: view.file(path) for path in paths}
    last = _last(ask, commit, [*filter(None, files.values())]) if expand else {}
    items = []
    for path, file in files.items():
        if file:
            items.append(_item(file) | ({"lastCommit": last[path]} if expand else {}))
        elif path in folders:
            items.append({"type": "directory", "path": path, "oid": folders[path], "size": 0})
    return items


def _item(file: ViewedFile) -> Json:
    return {"type": "file", "path": file.path, "size": file.size, "oid": file.git, **lfs(file)}


def _last(ask: Ask, commit: Commit, files: Collection[ViewedFile]) -> Mapping[str, Json]:
    """The commit since which each file is as it is, of those that lead to ``commit``."""
    last = dict.fromkeys((file.path for file in files), commit)
    same = {file.path: file.git for file in files}
    for earlier in ask.commits(commit.id)[1:LOOKED]:
        if not same:
            break
        view = ask.view(earlier)
        for path, git in [*same.items()]:
            there = view.file(path)
            if there and there.git == git:
                last[path] = earlier
            else:
                del same[path]
    return {
        path: {"id": each.id, "title": each.title, "date": iso_time(each.at)}
        for path, each in last.items()
    }
