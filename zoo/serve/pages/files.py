"""Files: those of a version, folder by folder."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

from zoo.domain.digest import Digest
from zoo.domain.manifest import PlainFile
from zoo.domain.reference import DEFAULT_TAG
from zoo.serve.http.answer import Answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask, iso_time
from zoo.serve.keep.files import Files, Part
from zoo.serve.keep.pickled import Pickled, read_pickled
from zoo.serve.keep.recent import LruCache
from zoo.serve.keep.view import View, ViewedFile
from zoo.serve.pages.chosen import ShownVersion, pick
from zoo.serve.pages.later import Later
from zoo.serve.pages.page import site_of

__all__ = [
    "Commit",
    "FileRow",
    "FilesPage",
    "look_files",
    "to_commit",
    "to_commits",
    "to_tree",
]

PAGE = 200
"""Files and folders on a page."""
PICKLES = re.compile(r"(^|/)[^/.]+$|\.(bin|ckpt|data?|dill|joblib|pickle|pkl|pth?|th|tar)$", re.I)
"""How files are called that may be pickles: which are is told by what is in them."""
AT_ONCE = 20
"""So many are looked at for one page; the others for the next that asks."""
FETCHED = 64 << 20
"""Bytes of a file that is taken out of a bucket, or decoded, for it; larger ones are not."""
LATER = Pickled(problem="being looked at: load this page again in a while")
TOO_LARGE = Pickled(problem="too large to be fetched for a look at it")

_looked: LruCache[str, tuple[Pickled | None]] = LruCache(10_000)
_later = Later()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """A file, or a folder: then it has no more than a name.

    Attributes:
        path: Where it is.
        name: The last part of that.
        folder: Whether it is one.
        size: Its bytes.
        sha256: Of its bytes, where the store knows it; empty if not.
        git: The id that Git gives to it, or to the pointer in its place.
        made: Whether it was made here.
        download: The path to fetch it from.
        pickle: What it imports where it is unpickled; None: it is no pickle.
    """

    path: str
    name: str
    folder: bool
    size: int = 0
    sha256: str = ""
    git: str = ""
    made: bool = False
    download: str = ""
    pickle: Pickled | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit: its id, when it was made, by whom, and why."""

    id: str
    at: str
    by: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPage:
    """The files in a folder of a version.

    Attributes:
        chosen: Which.
        commit: What it is; None if nothing was committed yet.
        path: The folder, or the one file; empty: the uppermost one.
        above: The folders that lead to it, each with its path.
        rows: First folders, then files.
        next: The last path on this page, if there is another page.
        size: Bytes of all files of the version.
        count: How many there are.
        problem: Why it has no ``config.json``.
        server: The URL that this server is asked by.
    """

    chosen: ShownVersion
    commit: Commit | None
    path: str
    above: tuple[tuple[str, str], ...]
    rows: tuple[FileRow, ...]
    next: str
    size: int
    count: int
    problem: str
    server: str


def look_files(ask: Ask) -> FilesPage:
    """The files in ``?path=``, a page of them. Raises as `pick`, and if there is no such path."""
    picked, path = pick(ask), ask.call.query.get("path", "").strip("/")
    if picked.digest is None:
        return FilesPage(
            chosen=picked.chosen,
            commit=None,
            path="",
            above=(),
            rows=(),
            next="",
            size=0,
            count=0,
            problem="",
            server=ask.call.base,
        )
    commit = ask.commit(picked.chosen.revision)
    view = ask.view(commit)
    rows = _rows(ask, view, commit.id, path)
    after = ask.call.query.get("after", "")
    begin = bisect_right([_order(row) for row in rows], _order_of(rows, after))
    page = rows[begin : begin + PAGE]
    parts = path.split("/") if path else []
    return FilesPage(
        chosen=picked.chosen,
        commit=Commit(id=commit.id, at=iso_time(commit.at), by=commit.author, title=commit.title),
        path=path,
        above=tuple((name, "/".join(parts[: at + 1])) for at, name in enumerate(parts)),
        rows=tuple(_with_pickles(ask.hub.files, commit.manifest, page)),
        next=page[-1].path if begin + PAGE < len(rows) else "",
        size=sum(file.size for file in view.files),
        count=len(view.files),
        problem=view.problem,
        server=ask.call.base,
    )


def _rows(ask: Ask, view: View, commit: str, path: str) -> list[FileRow]:
    """What is in a folder, or the one file of that path."""
    if file := view.file(path):
        return [_row(ask, commit, file)]
    below, folders, files = f"{path}/" if path else "", dict[str, None](), []
    for file in view.files:
        if file.path.startswith(below):
            name, slash, _ = file.path.removeprefix(below).partition("/")
            if slash:
                folders[name] = None
            else:
                files.append(_row(ask, commit, file))
    if path and not folders and not files:
        raise Refused("EntryNotFound", f"there is no file or folder '{path}'")
    rows = [FileRow(path=f"{below}{name}", name=name, folder=True) for name in folders]
    return sorted([*rows, *files], key=_order)


def _order(row: FileRow) -> tuple[bool, str]:
    return (not row.folder, row.path)


def _order_of(rows: list[FileRow], path: str) -> tuple[bool, str]:
    """The place of a path among the rows; before all of them, if it is none of theirs."""
    return next((_order(row) for row in rows if row.path == path), (False, ""))


def _row(ask: Ask, commit: str, file: ViewedFile) -> FileRow:
    return FileRow(
        path=file.path,
        name=file.path.rpartition("/")[2],
        folder=False,
        size=file.size,
        sha256=file.sha256 or "",
        git=file.git,
        made=file.text is not None,
        download=f"/{ask.repo}/resolve/{commit}/{quote(file.path)}",
    )


def _with_pickles(files: Files, manifest: Digest, rows: Sequence[FileRow]) -> Iterator[FileRow]:
    """The rows, with what is known of pickles; what is not is looked at meanwhile."""
    waiting = list[Callable[[], object]]()
    for row in rows:
        if row.folder or row.made or not PICKLES.search(row.path):
            yield row
            continue
        key = row.sha256 or f"{manifest} {row.path}"
        if not (known := _looked.get(key)):
            waiting.append(partial(_look, files, manifest, row, key))
        yield replace(row, pickle=known[0] if known else LATER)
    _later.begin(waiting[:AT_ONCE])


def _look(files: Files, manifest: Digest, row: FileRow, key: str) -> None:
    found, file = None, files.file(manifest, row.path)
    if isinstance(file, PlainFile):
        parts = files.parts(manifest, row.path, 0, file.size)
        at_hand = all(map(_is_plain, parts))

        def read(begin: int, end: int) -> bytes:
            ranges = files.parts(manifest, row.path, begin, end)
            return b"".join(piece for part in ranges for piece in part.pieces())

        found = TOO_LARGE if file.size > FETCHED and not at_hand else read_pickled(read, file.size)
    _looked.put(key, (found,))


def _is_plain(part: Part) -> bool:
    """Whether any of it can be read without the rest."""
    if not part.is_at_hand or (file := part.open()) is None:
        return False
    file.close()
    return True


def to_tree(ask: Ask, revision: str, path: str = "") -> Answer:
    """From the address of a folder or a file at the hub to its page here, which shows no bytes."""
    return _to(ask, "files", revision=revision, path=path)


def to_commit(ask: Ask, revision: str) -> Answer:
    """From the address of a commit at the hub to the model as it was then."""
    return _to(ask, revision=revision)


def to_tag(ask: Ask, tag: str) -> Answer:
    """From a name with a tag, as commands print it, to that version of the model."""
    return _to(ask, revision="" if tag == DEFAULT_TAG else tag)


def to_commits(ask: Ask, revision: str) -> Answer:
    """From the address of a branch's commits at the hub to its versions."""
    return _to(ask, "versions", revision=revision)


def _to(ask: Ask, *page: str, **query: str) -> Answer:
    if not ask.hub.exists(ask.repo):
        raise ask.no_repo()
    location = site_of(ask).url(ask.repo, *page, **query)
    return Answer(status=307, headers={"Location": location, "Cache-Control": "no-cache"})
