"""Hub cache: have what is here in the cache of huggingface_hub, too, without fetching it again.

Its layout is documented: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. A file of
large-file storage lies there under its SHA-256, any other under the hash that Git has of it. What
has that SHA-256 here is written from the store; the rest is fetched, and checked by its hash.

The client's own `snapshot_download` is not used: it takes what a server calls a file for a path.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from urllib.parse import quote

from huggingface_hub import HfApi, constants, get_session, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.file_download import repo_folder_name

# Documented there, but loaded in a way that type checkers do not see.
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from zoo.config import hub_endpoint
from zoo.domain.digest import Digest
from zoo.domain.file_names import fits_everywhere
from zoo.domain.hashes import git_hasher
from zoo.domain.limits import LARGEST, PATH_FOLDERS
from zoo.domain.location import hub_address, is_http
from zoo.domain.manifest import Manifest, PlainFile, WeightsFile
from zoo.domain.progress import Progress
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.snapshot import Snapshot
from zoo.errors import Corrupt, InvalidOption, Unavailable, disk_errors
from zoo.logins import ServerUrl, token_for
from zoo.store.atomic import write_whole
from zoo.store.files import restore_file
from zoo.store.proof import files_of
from zoo.workspace import Workspace

__all__ = ["Filled", "Repository", "fill_hub_cache", "repository_at"]

# huggingface_hub 2 brings httpx2, 1 brings httpx: the errors of the one that is in use are raised.
HTTPError: type[Exception] = import_module(HfHubHTTPError.__bases__[0].__module__).HTTPError
COMMIT, KEY = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
SHA256_DIGITS = 64
TIMEOUT = 60


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Filled(Result):
    """A repository in the cache of huggingface_hub.

    Attributes:
        folder: Its snapshot, as `huggingface_hub.snapshot_download` gives it.
        files: How many files that has.
        here: How many of them were written from the store, and not fetched.
    """

    folder: Path
    files: int
    here: int


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at the hub, or at a server that speaks its protocol.

    Attributes:
        endpoint: The URL of that; None: what huggingface_hub takes.
        token: For it; False: none; None: what huggingface_hub has.
        repo: ``org/name``.
        revision: A branch or tag; None: ``main``.
    """

    endpoint: str | None
    token: str | bool | None
    repo: str
    revision: str | None

    @property
    def url(self) -> str:
        """The URL that its files are below."""
        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def shown(self) -> str:
        """What users know it as."""
        return f"{self.url}/{self.repo}"


def repository_at(workspace: Workspace, name: str, remote: str) -> Repository:
    """Where the hub's client finds ``name``.

    Raises:
        InvalidOption: ``remote`` does not speak the hub's protocol, as a folder.
    """
    location = workspace.remotes.all().get(remote, remote)
    if address := hub_address(location):
        repo, _, at = address.partition("://")[2].partition("@")
        return Repository(hub_endpoint(), None, repo, at or None)
    if not is_http(location):
        raise InvalidOption(
            f"{remote} has no commits, which the hub's cache is ordered by",
            hint="a folder that other libraries load: zoo export",
        )
    ref, url = Reference.parse(name), ServerUrl.parse(location)
    revision = None if ref.tag == "latest" else ref.tag
    # Without one for this server: none, never that of another, which the client has of the hub.
    return Repository(str(url), token_for(url) or False, ref.path, revision)


def fill_hub_cache(
    workspace: Workspace, digest: Digest, repository: Repository, progress: Progress
) -> Filled:
    """Have a repository whose files are those of ``digest``, or among these, in the cache.

    Raises:
        Unavailable: It does not answer, or not to who asks, or answers what is no repository.
        Corrupt: A file of the store is damaged, or what was sent is not what was promised.
        DiskFull: No room.
    """
    have = dict(_here(workspace.store.document(digest)))
    name = repo_folder_name(repo_id=repository.repo, repo_type="model")
    folder = Path(constants.HF_HUB_CACHE) / name
    commit, files = _ask_hub(repository)
    with disk_errors(folder), progress(f"writing {repository.repo}", len(files)) as task:
        for file in files:
            blob = folder / "blobs" / file.key
            if not blob.exists():
                blob.parent.mkdir(parents=True, exist_ok=True)
                if file.key in have:
                    restore_file(workspace.store, have[file.key], blob)
                else:
                    write_whole(blob, _fetched(repository, commit, file))
            _link(folder / "snapshots" / commit / file.path, blob)
            task.advance()
        if repository.revision != commit:
            ref = folder / "refs" / (repository.revision or "main")
            ref.parent.mkdir(parents=True, exist_ok=True)
            write_whole(ref, [commit.encode()])
    here = sum(file.key in have for file in files)
    return Filled(folder=folder / "snapshots" / commit, files=len(files), here=here)


def _here(document: Manifest | Snapshot) -> Iterator[tuple[str, WeightsFile | PlainFile]]:
    """The files that are here, by each hash that the hub's client may call them by."""
    for file in files_of(document):
        yield file.sha256.hex, file
    if isinstance(document, Snapshot):
        yield from ((each.git, each.stored) for each in document.files if each.git)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a repository; ``key`` is its SHA-256, or Git's hash of it."""

    path: str
    size: int
    key: str


def _ask_hub(repository: Repository) -> tuple[str, list[_File]]:
    """The commit, and its files, as the server says; all of that may become paths here."""
    try:
        api = HfApi(repository.endpoint, token=repository.token)
        info = api.model_info(
            repository.repo, revision=repository.revision, files_metadata=True, timeout=TIMEOUT
        )
        files = [
            _File(
                each.rfilename,
                -1 if each.size is None else each.size,
                (each.lfs.sha256 if each.lfs else each.blob_id) or "",
            )
            for each in info.siblings or ()
        ]
        at = (repository.revision or "main").split("/")
        sound = all([COMMIT.fullmatch(info.sha or ""), *map(_is_sound, files)])
        sound = sound and all(map(fits_everywhere, at))
    except (HfHubHTTPError, HTTPError, OfflineModeIsEnabled) as error:
        # Its first line names no secret; what follows quotes the request.
        raise Unavailable(repository.shown, str(error).splitlines()[0]) from error
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unavailable(repository.shown, "it answers what is no repository") from error
    if not sound or len({file.path for file in files}) < len(files):
        raise Unavailable(repository.shown, "it answers what is no repository")
    return str(info.sha), files


def _is_sound(file: _File) -> bool:
    parts = file.path.split("/")
    return (
        bool(KEY.fullmatch(file.key))
        and type(file.size) is int
        and 0 <= file.size <= LARGEST
        and len(parts) <= PATH_FOLDERS + 1
        and all(map(fits_everywhere, parts))
    )


def _fetched(repository: Repository, commit: str, file: _File) -> Iterator[bytes]:
    """The bytes of a file that is not here.

    Raises:
        Unavailable: They cannot be fetched.
        Corrupt: They are others; who writes them then keeps none.
    """
    at = "/".join(map(quote, (*repository.repo.split("/"), "resolve", commit, file.path)))
    hasher = sha256() if len(file.key) == SHA256_DIGITS else git_hasher(file.size)
    come = 0
    try:
        with get_session().stream(
            "GET",
            f"{repository.url}/{at}",
            headers={**build_hf_headers(token=repository.token), "Accept-Encoding": "identity"},
            timeout=TIMEOUT,
            follow_redirects=True,
        ) as response:
            hf_raise_for_status(response)
            for piece in response.iter_bytes():
                come += len(piece)
                if come > file.size:
                    break
                hasher.update(piece)
                yield piece
    except (HfHubHTTPError, HTTPError) as error:
        raise Unavailable(repository.shown, str(error).splitlines()[0]) from error
    if come != file.size or hasher.hexdigest() != file.key:
        raise Corrupt(file.path, file.key, hasher.hexdigest(), repository.shown)


def _link(path: Path, blob: Path) -> None:
    """Have a file of the snapshot be the blob; a copy where there are no symbolic links."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it leads nowhere
    try:
        path.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:
        shutil.copyfile(blob, path)
