"""Publishing on the hub: a folder becomes a commit of a repository."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

# Documented there, but loaded in a way that type checkers do not see.
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from zoo.errors import Conflict, Unavailable, UnknownName
from zoo_hub import client
from zoo_hub.card import completed_card

__all__ = ["publish"]

CARD = "README.md"
BLANK = (".gitattributes", CARD)
"""What a repository has that nobody has put a model in."""

T = TypeVar("T")


def publish(
    repo: str,
    folder: Path,
    *,
    facts: Mapping[str, Any],
    lineage: Sequence[str],
    known: str | None,
    force: bool,
    private: bool,
) -> str:
    """Make the files of ``folder`` the newest commit of ``repo``, made if it is not there.

    Args:
        repo: ``org/name``.
        folder: Its files are sent as they are; ``README.md`` is completed (`zoo_hub.card`).
        facts: Fields of the card.
        lineage: Lines of the card.
        known: The commit that was published from here last.
        force: Overwrite others' work, too.
        private: Make it private, if it is made.

    Returns:
        The commit.

    Raises:
        Conflict: Somebody else has changed the repository; nothing was sent.
        Unavailable: The hub does not answer, or the user's token may not write there.
    """
    api = HfApi(endpoint=client.endpoint())
    head = _head(api, repo, private=private)
    if head.files and head.commit != known and not force:
        raise Conflict(
            f"hf://{repo} holds what was not pushed from here (commit {head.commit[:12]}): look at "
            "it, then push --force"
        )
    card = folder / CARD
    text = card.read_text(encoding="utf-8") if card.exists() else f"# {repo}\n"
    card.write_text(completed_card(text, facts, lineage), encoding="utf-8")
    return _commit(api, repo, folder, head.commit)


def _commit(api: HfApi, repo: str, folder: Path, parent: str) -> str:
    """Send the files of ``folder``; the commit, on top of ``parent`` and no other one."""
    tries = 0

    def commit() -> str:
        nonlocal tries
        tries += 1
        if tries > 1 and (arrived := _arrived(api, repo, folder)):
            return arrived  # only the answer was lost
        # Made again for each try: a commit uses them up. What has arrived is not sent again.
        operations = [CommitOperationAdd(path.name, str(path)) for path in sorted(folder.iterdir())]
        with _upload_errors(api):
            done = api.create_commit(
                repo, operations, commit_message="zoo push", parent_commit=parent
            )
        return str(done.oid)

    with _refusals(repo), _bars_if_seen():
        return _ask(api, f"write {repo}", commit)


def _arrived(api: HfApi, repo: str, folder: Path) -> str | None:
    """The newest commit, if it holds exactly the bytes of all files in ``folder``."""
    info = api.model_info(repo, files_metadata=True, timeout=client.TIMEOUT)
    there = {s.rfilename: s.lfs.sha256 if s.lfs else s.blob_id for s in info.siblings or ()}
    for path in folder.iterdir():
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if there.get(path.name) not in (sha256, _git_hash(path)):
            return None
    return info.sha


def _git_hash(path: Path) -> str:
    """What Git calls the bytes of a file."""
    hasher = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    hasher.update(path.read_bytes())
    return hasher.hexdigest()


class _Head:
    """The newest commit of a repository, and whether there is more than an empty card in it."""

    def __init__(self, info: Any) -> None:
        self.commit = str(info.sha)
        self.files = [s.rfilename for s in info.siblings or () if s.rfilename not in BLANK]


def _head(api: HfApi, repo: str, *, private: bool) -> _Head:
    def look() -> _Head:
        return _Head(api.model_info(repo, timeout=client.TIMEOUT))

    try:
        return _ask(api, repo, look)
    except UnknownName as error:
        if not isinstance(error.__cause__, RepositoryNotFoundError):
            raise

    def create() -> None:
        # It may have been made though the answer was lost.
        api.create_repo(repo, private=private or None, exist_ok=True)

    with _refusals(repo):
        _ask(api, f"make {repo}", lambda: create())
    return _ask(api, repo, look)


def _ask(api: HfApi, asked: str, request: Callable[[], T]) -> T:
    return client.ask(request, client.Attempts(client.host(api.endpoint), asked))


@contextmanager
def _upload_errors(api: HfApi) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, HfHubHTTPError):  # the client has put its own around it
            raise error.__cause__ from None
        # Texts stay out: they may hold signed addresses.
        raise Unavailable(
            f"the hub {client.host(api.endpoint)}",
            "the upload failed; HF_HUB_DISABLE_XET=1 in the environment sends files another way",
        ) from error


@contextmanager
def _bars_if_seen() -> Iterator[None]:
    """The client draws its progress wherever it runs: only where somebody looks, then."""
    if are_progress_bars_disabled() or (sys.stderr is not None and sys.stderr.isatty()):
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _refusals(repo: str) -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        cause = error.__cause__
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
        if status == 412:
            raise Conflict(f"hf://{repo} was changed by somebody else just now") from error
        if status in (401, 403):
            raise Unavailable(
                error.what,
                f"it lets nobody write '{repo}' without a token that may: make one with the right "
                "to write, and log in with `hf auth login`",
            ) from error
        raise
