"""The HF Hub as a source: a locator is ``org/name`` or ``org/name@revision``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import huggingface_hub
from huggingface_hub import constants, hf_hub_url
from huggingface_hub.errors import HFValidationError

# Documented there, but loaded in a way that type checkers do not see.
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from zoo.config import hub_offline
from zoo.domain.catalog import CatalogEntry, Page, Release, SourceFile
from zoo.domain.plain import Json
from zoo.domain.words import up_to
from zoo.errors import InvalidReference, Unavailable, UnknownName, Unsupported
from zoo_hub import client
from zoo_hub.cache import cached_file, cached_snapshot, is_sound, read, snapshot_files

__all__ = ["HubSource"]

SAFE = "model.safetensors"
INDEX = ".index.json"
PICKLES = ("pytorch_model.bin", f"pytorch_model.bin{INDEX}", "open_clip_pytorch_model.bin")

ONLINE = "go online: unset HF_HUB_OFFLINE"
FORM = "write hf://ORG/NAME, or hf://ORG/NAME@REVISION"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"\w[\w.+/-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Locator:
    """A repository, and a branch, tag or commit of it; None is the default branch."""

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> _Locator:
        repo, at, revision = text.partition("@")
        try:
            validate_repo_id(repo)
        except HFValidationError as error:
            why = f"'{text}' is not a hub locator: {error}"
            raise InvalidReference(why, hint=FORM) from error
        if repo.count("/") != 1:
            why = f"'{text}' is not a hub locator: it is not of the form org/name"
            raise InvalidReference(why, hint=FORM)
        # The cache looks up a revision as a file, so one that climbs out of it must not get there.
        if at and (not _REVISION.fullmatch(revision) or ".." in revision):
            why = f"'{text}' is not a hub locator: malformed revision '{revision}'"
            raise InvalidReference(why, hint=FORM)
        return cls(repo, revision or None)

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


class HubSource:
    """Repositories of the HF Hub, or of a server that speaks its protocol (``HF_ENDPOINT``).

    Files are streamed from the pinned commit, and none is left in the hub's own cache; what that
    cache holds already is read from there.
    """

    network = True

    def version(self) -> str:
        """The version of huggingface_hub; how far the listing has come is kept apart."""
        return huggingface_hub.__version__

    def entries(self) -> Iterable[CatalogEntry]:
        """All repositories, newest first: hours of pages.

        Raises:
            Unavailable: The hub does not answer, or refuses.
        """
        return (entry for page in self.pages() for entry in page.entries)

    def pages(
        self, *, library: str | None = None, author: str | None = None, cursor: str | None = None
    ) -> Iterator[Page]:
        """The repositories of a library or an author, last modified first, page by page.

        Raises:
            Unavailable: The hub does not answer, or refuses.
        """
        if _offline():
            raise Unavailable("the hub", "HF_HUB_OFFLINE forbids asking it", hint=ONLINE)
        from zoo_hub.catalog import listing  # here and below: what a pull need not wait for

        return listing(library=library, author=author, cursor=cursor)

    def resolve(self, locator: str) -> Release:
        """Pin ``locator`` to a commit; where ``HF_HUB_OFFLINE`` is set, to the cached one.

        Raises:
            InvalidReference: ``locator`` is malformed.
            UnknownName: There is no such repository or revision.
            Unavailable: The hub does not answer, or refuses.
            Unsupported: The repository holds no weights that we read.
        """
        repository = _Locator.parse(locator)
        if _offline():
            return _cached_release(repository)
        attempts = client.Attempts(str(repository))
        return client.ask(lambda: _release(_answer(repository), repository), attempts)

    def open(self, release: Release, path: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of one file at the pinned commit from ``offset`` on, in pieces.

        Raises:
            UnknownName: The release has no such file.
            Unavailable: The hub does not answer, refuses, or stopped answering.
        """
        repository = _Locator(_Locator.parse(release.locator).repo, release.revision)
        asked = f"{repository}/{path}"
        try:
            file = release.file(path)
        except KeyError:
            near = get_close_matches(path, [known.path for known in release.files])
            raise UnknownName("hub file", asked, near) from None
        cached = cached_file(repository.repo, release.revision, file)
        if cached is not None and is_sound(cached, file):
            return read(cached, offset)
        if _offline():
            raise _is_offline(asked, cached)
        url = hf_hub_url(
            repository.repo, path, revision=release.revision, endpoint=client.endpoint()
        )
        return client.stream(url, offset, file.size, client.Attempts(asked))

    def local(self, release: Release, path: str) -> Path | None:
        """Where the hub's own cache has a file of the pinned commit."""
        repo = _Locator.parse(release.locator).repo
        return cached_file(repo, release.revision, release.file(path))

    def publish(
        self,
        locator: str,
        folder: Path,
        *,
        facts: Mapping[str, object],
        lineage: Sequence[str],
        known: Collection[str],
        force: bool,
        private: bool,
        note: str,
    ) -> str:
        """Make the files of ``folder`` the newest commit of a repository (`zoo_hub.target`).

        Raises:
            InvalidReference: ``locator`` is malformed, or names a revision.
            Conflict: Somebody else has changed the repository; nothing was sent.
            Unavailable: The hub does not answer, or the user's token may not write there.
        """
        repository = _Locator.parse(locator)
        if repository.revision:
            why = f"'{locator}' names a revision: a push makes a new one"
            raise InvalidReference(why, hint=f"push to hf://{repository.repo}")
        if _offline():
            raise Unavailable("the hub", "HF_HUB_OFFLINE forbids asking it", hint=ONLINE)
        from zoo_hub.target import publish

        return publish(
            repository.repo,
            folder,
            facts=facts,
            lineage=lineage,
            known=known,
            force=force,
            private=private,
            note=note,
        )


def _offline() -> bool:
    # The client library reads the variable once, at import, and then refuses for good.
    return hub_offline() or constants.HF_HUB_OFFLINE


def _is_offline(asked: str, damaged: Path | None = None) -> Unavailable:
    if damaged:
        return Unavailable("the hub", f"HF_HUB_OFFLINE forbids asking it, and {damaged} is damaged")
    return Unavailable(
        "the hub",
        f"HF_HUB_OFFLINE forbids asking it, and '{asked}' is not in its cache",
        hint=ONLINE,
    )


def _cached_release(repository: _Locator) -> Release:
    folder = cached_snapshot(repository.repo, repository.revision, (SAFE, SAFE + INDEX, *PICKLES))
    if folder is None:
        raise _is_offline(str(repository))
    files = snapshot_files(folder)
    return Release(
        source="hub",
        locator=repository.repo,
        revision=folder.name,
        files=files,
        weights=_weights(repository, [file.path for file in files]),
    )


def _answer(repository: _Locator) -> object:
    """What the hub says of a repository. Asked as `huggingface_hub.HfApi.model_info` asks, whose
    module takes a tenth of a second to import.
    """
    at = f"/revision/{quote(repository.revision, safe='')}" if repository.revision else ""
    return client.answer(f"{client.endpoint()}/api/models/{repository.repo}{at}", blobs=True).json()


def _release(answer: Any, repository: _Locator) -> Release:
    """The commit and the files that the hub tells of.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: It is not the answer of a hub.
    """
    answer["id"]  # each hub says it
    commit, card = answer.get("sha"), answer.get("cardData") or {}
    if commit is None and not answer.get("siblings"):
        raise Unsupported(f"'{repository}' is empty: nothing was sent to it yet")
    if commit is None or not _COMMIT.fullmatch(commit):
        raise Unavailable("the hub", f"it names no commit for '{repository}'")
    listed = (_file(sibling, repository) for sibling in answer.get("siblings") or ())
    files = tuple(sorted(listed, key=lambda file: file.path))
    stated = card.get("license")
    return Release(
        source="hub",
        locator=repository.repo,  # one commit is one release, however it was asked for
        revision=commit,
        files=files,
        weights=_weights(repository, [file.path for file in files]),
        license=stated if isinstance(stated, str) else None,
    )


def _file(sibling: Json, repository: _Locator) -> SourceFile:
    """A file in the answer of the hub. Raises as `_release`."""
    name, size, large = sibling["rfilename"], sibling.get("size"), sibling.get("lfs")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise Unsupported(f"'{repository}' lists a file outside of itself: '{name}'")
    if size is None:
        raise Unavailable("the hub", f"it states no size for '{repository}/{path}'")
    if type(size) is not int or size < 0:
        raise ValueError(f"a size of {size!r:.40}")
    sha256 = large["sha256"] if large else None
    git = None if sha256 else sibling.get("blobId")
    if not isinstance(sha256, str | None) or not isinstance(git, str | None):
        raise TypeError("a digest that is not text")
    return SourceFile(name, size, sha256, git)


def _weights(repository: _Locator, paths: Sequence[str]) -> str:
    """The file to read weights from: safetensors if there is any, else what torch wrote.

    Where they are in several files, it is the index of these.
    """
    if SAFE in paths:
        return SAFE
    if SAFE + INDEX in paths:
        return SAFE + INDEX
    # Folders hold parts of larger pipelines, and an adapter is not a network.
    plain = [path for path in paths if path.endswith(".safetensors") and "/" not in path]
    whole = [path for path in plain if "adapter" not in path]
    if len(whole) == 1:
        return whole[0]
    for name in PICKLES:
        if name in paths:
            return name
    raise Unsupported(
        f"'{repository}' holds no weights that can be read: looked for {SAFE}, one other "
        f".safetensors file, or {PICKLES[0]}; found {up_to(paths, 10) or 'no files'}"
    )
