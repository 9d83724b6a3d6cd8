"""Hub cache: have what is here in the cache of huggingface_hub, too, without fetching it again.

Its layout is documented: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. A file of
large-file storage lies there under its SHA-256. So whatever has that SHA-256 here is written to
its place first, and the client itself does the rest: it fetches what is missing, and links all of
it into the snapshot of its commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.file_download import repo_folder_name

from zoo.config import hub_endpoint
from zoo.domain.digest import Digest
from zoo.domain.location import hub_address
from zoo.domain.manifest import PlainFile, WeightsFile
from zoo.domain.progress import Progress
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import InvalidOption, Unavailable, disk_errors
from zoo.logins import ServerUrl, token_for
from zoo.store.files import restore_file
from zoo.workspace import Workspace

__all__ = ["Filled", "Repository", "fill_hub_cache", "repository_at"]


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


def repository_at(workspace: Workspace, name: str, remote: str) -> Repository:
    """Where the hub's client finds ``name``.

    Raises:
        InvalidOption: ``remote`` does not speak the hub's protocol, as a folder.
    """
    location = workspace.remotes.all().get(remote, remote)
    if address := hub_address(location):
        repo, _, at = address.partition("://")[2].partition("@")
        return Repository(hub_endpoint(), None, repo, at or None)
    if not location.startswith(("http://", "https://")):
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
    """Have a repository whose weights are those of ``digest`` in the cache.

    Raises:
        Unavailable: It does not answer, or not to who asks.
        Corrupt: A file of the store is damaged; the cache has nothing of it.
        DiskFull: No room.
    """
    manifest = workspace.store.manifest(digest)
    files: Sequence[WeightsFile | PlainFile] = (*manifest.weights, *manifest.files)
    have = {file.sha256.hex: file for file in files}
    cache = Path(constants.HF_HUB_CACHE)
    blobs = cache / repo_folder_name(repo_id=repository.repo, repo_type="model") / "blobs"
    shown = f"{repository.endpoint or constants.ENDPOINT}/{repository.repo}"
    try:
        api = HfApi(repository.endpoint, token=repository.token)
        info = api.model_info(repository.repo, revision=repository.revision, files_metadata=True)
        names = {each.lfs.sha256 for each in info.siblings or () if each.lfs}
        mine = sorted(names & have.keys())
        with disk_errors(blobs), progress(f"writing {repository.repo}", len(mine)) as task:
            for name in mine:
                if not (blobs / name).exists():
                    blobs.mkdir(parents=True, exist_ok=True)
                    restore_file(workspace.store, have[name], blobs / name)
                task.advance()
        folder = snapshot_download(
            repository.repo,
            revision=repository.revision,
            endpoint=repository.endpoint,
            token=repository.token,
            cache_dir=cache,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        # Its first line names no secret; what follows quotes the request.
        raise Unavailable(shown, str(error).splitlines()[0]) from error
    return Filled(folder=Path(folder), files=len(info.siblings or ()), here=len(mine))
