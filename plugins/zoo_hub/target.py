"""Publishing on the hub: a folder becomes a commit of a repository."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

# Documented there, but loaded in a way that type checkers do not see.
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from huggingface_hub.utils._runtime import is_xet_available

from zoo.config import bound_xet_retries
from zoo.domain.hashes import git_hash, sha256
from zoo.errors import Conflict, Invalid, Unavailable, UnknownName, ZooError
from zoo_hub import client
from zoo_hub.card import completed_card, joined_card
from zoo_hub.client import LOG, waits_as_warnings, without_secrets

__all__ = ["publish"]

CARD = "README.md"
BLANK = (".gitattributes", CARD)
"""What a repository has that nobody has put a model in."""
CARD_LIMIT = 1 << 20
DECIDES = re.compile(
    r"(pytorch_model|model|adapter_model|open_clip_(pytorch_)?model)(-\d+-of-\d+)?\.(safetensors|bin)"
    r"|(pytorch_model|model)\.(bin|safetensors)\.index\.json"
    r"|tf_model(-\d+-of-\d+)?\.h5|tf_model\.h5\.index\.json"
    r"|flax_model(-\d+-of-\d+)?\.msgpack|flax_model\.msgpack\.index\.json"
    r"|(adapter|open_clip|preprocessor|processor)_config\.json"
)
"""Files by which libraries decide what they load: left beside new weights, they may win."""
ELSEWISE = "HF_HUB_DISABLE_XET=1 in the environment sends files another way"
NO_XET = (404, 405, 501)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Head:
    """The newest commit of a repository, None if it has none yet, and the sizes of its files by
    path.
    """

    commit: str | None
    files: Mapping[str, int]


def publish(
    repo: str,
    folder: Path,
    *,
    facts: Mapping[str, object],
    lineage: Sequence[str],
    known: Collection[str],
    force: bool,
    private: bool,
    note: str,
) -> str:
    """Make the files of ``folder`` the newest commit of ``repo``, made if it is not there.

    What is there and would be loaded in the place of the new weights, or with them, is deleted in
    the same commit; what people wrote in the card stays (`zoo_hub.card`).

    Arguments and answer are those of `zoo.contracts.Target.publish`; files are sent as they are,
    but ``README.md``, which is completed.

    Raises:
        Invalid: The hub does not take the card, or the one that is there cannot be read. Else as
            the contract says.
    """
    api = HfApi(endpoint=client.endpoint())
    with waits_as_warnings(client.host(api.endpoint)):
        head = _head(api, repo, private=private)
        is_blank = head.files.keys() <= set(BLANK)
        if not is_blank and head.commit not in known and not force:
            commit = (head.commit or "none")[:12]
            raise Conflict(
                f"hf://{repo} holds what was not pushed from here (commit {commit}): "
                "look at it, then push --force"
            )
        card = folder / CARD
        text = card.read_text(encoding="utf-8") if card.exists() else f"# {repo}\n"
        existing = _card(api, repo, head)
        text = (
            completed_card(text, facts, lineage)
            if existing is None
            else joined_card(existing, text, facts, lineage)
        )
        card.write_text(text, encoding="utf-8")
        return _commit(api, repo, folder, head, f"zoo push: {note}" if note else "zoo push")


def _card(api: HfApi, repo: str, head: _Head) -> str | None:
    """The card that is there.

    Raises:
        Invalid: It is no text, or too long for one.
    """
    size = head.files.get(CARD)
    if size is None:
        return None
    if size > CARD_LIMIT:
        raise Invalid(f"hf://{repo}/{CARD} has {size} bytes: nothing that long can be joined")
    url = hf_hub_url(repo, CARD, revision=head.commit, endpoint=api.endpoint)
    attempts = client.Attempts(f"{repo}/{CARD}")
    try:
        return b"".join(client.stream(url, 0, size, attempts)).decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"hf://{repo}/{CARD} is not UTF-8 text; repair it there first") from error


def _commit(api: HfApi, repo: str, folder: Path, head: _Head, message: str) -> str:
    """Send the files of ``folder``; the commit, on top of ``head`` and no other one."""
    names = {path.name for path in folder.iterdir()}
    stale = sorted(name for name in head.files if DECIDES.fullmatch(name) and name not in names)
    deletions = [CommitOperationDelete(name) for name in stale]
    with ExitStack() as open_files, _refusals(repo), _bars_if_seen():
        # First: the hub refuses a card only with the commit, after gigabytes were sent.
        _check_card(api, repo, folder / CARD)
        additions = _additions(folder, open_files if _lacks_xet(api, repo) else None)
        # The client tries each file again by itself: not once more around it.
        client.ask(
            lambda: _upload(api, repo, additions),
            client.Attempts(f"write {repo}", failed=client.RETRIES),
        )
        tries = 0

        def commit() -> str:
            nonlocal tries
            tries += 1
            if tries > 1 and (arrived := _arrived(api, repo, folder, stale)):
                return arrived  # only the answer was lost
            done = api.create_commit(
                repo, [*additions, *deletions], commit_message=message, parent_commit=head.commit
            )
            return str(done.oid)

        oid = client.ask(commit, client.Attempts(f"write {repo}"))
    if stale:
        why = "as it would be loaded in the place of what was pushed, or with it"
        LOG.warning("deleted in hf://%s, %s: %s", repo, why, ", ".join(stale))
    return oid


def _upload(api: HfApi, repo: str, additions: list[CommitOperationAdd]) -> None:
    """Send the large files.

    Raises:
        Unavailable: The upload failed, in a way that is no error of HTTP.
    """
    hub = f"the hub {client.host(api.endpoint)}"
    try:
        api.preupload_lfs_files(repo, additions, free_memory=False)
    except ValueError as error:
        if str(error).startswith("LFS batch"):  # else the answer is none that a hub gives
            raise Unavailable(hub, without_secrets(str(error))) from error
        raise
    except (RuntimeError, OSError) as error:
        for each in (error, error.__cause__):
            if isinstance(each, client.HTTPError):  # the client may have put its own around it
                raise each from None
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of a disk
        # Texts of hf_xet stay out: they may hold signed addresses.
        raise Unavailable(hub, f"the upload failed; {ELSEWISE}") from error


def _additions(folder: Path, open_files: ExitStack | None) -> list[CommitOperationAdd]:
    """The files of ``folder``; what is sent as an open file goes by Git LFS, not by Xet."""
    paths = sorted(folder.iterdir())
    if open_files is None:
        return [CommitOperationAdd(path.name, str(path)) for path in paths]
    return [
        CommitOperationAdd(path.name, open_files.enter_context(path.open("rb"))) for path in paths
    ]


def _check_card(api: HfApi, repo: str, card: Path) -> None:
    """Ask the hub whether it takes the card, before anything large is sent.

    Raises:
        Invalid: It does not.
    """

    def check() -> list[str]:
        content = {"content": card.read_text(encoding="utf-8"), "repoType": "model"}
        response = client.post(f"{api.endpoint}/api/validate-yaml", content)
        if response.status_code != 400:
            hf_raise_for_status(response)
            return []
        return [str(each["message"]) for each in response.json()["errors"]]

    if problems := client.ask(check, client.Attempts(f"check the card of {repo}")):
        reasons = without_secrets("; ".join(problems))
        raise Invalid(
            f"the hub {client.host(api.endpoint)} does not take the card of '{repo}': {reasons}"
        )


def _lacks_xet(api: HfApi, repo: str) -> bool:
    """Whether the client would send large files by Xet to a hub that does not know it.

    Raises:
        Unavailable: The hub knows it, and does not let the user in. The client would try for
            minutes before it says so.
    """
    if not is_xet_available():
        return False  # the client goes by Git LFS of itself
    bound_xet_retries()
    url = f"{api.endpoint}/api/models/{repo}/xet-write-token/main"
    try:
        client.ask(lambda: client.answer(url), client.Attempts(f"a token to write {repo} with"))
    except ZooError as error:
        if _status(error) in NO_XET:
            return True
        raise Unavailable(
            f"the hub {client.host(api.endpoint)}", f"{getattr(error, 'reason', error)}; {ELSEWISE}"
        ) from error.__cause__
    return False


def _arrived(api: HfApi, repo: str, folder: Path, stale: Sequence[str]) -> str | None:
    """The newest commit, if it holds the bytes of all files in ``folder``, and nothing stale."""
    info = api.model_info(repo, files_metadata=True, timeout=client.TIMEOUT)
    present = {s.rfilename: s.lfs.sha256 if s.lfs else s.blob_id for s in info.siblings or ()}
    if not present.keys().isdisjoint(stale):
        return None
    for path in folder.iterdir():
        with path.open("rb") as file:
            if present.get(path.name) not in (sha256(file), git_hash(file)):
                return None
    return info.sha


def _head(api: HfApi, repo: str, *, private: bool) -> _Head:
    def look() -> _Head:
        info = api.model_info(repo, files_metadata=True, timeout=client.TIMEOUT)
        files = {sibling.rfilename: int(sibling.size or 0) for sibling in info.siblings or ()}
        return _Head(info.sha, files)

    try:
        return client.ask(look, client.Attempts(repo))
    except UnknownName as error:
        if not isinstance(error.__cause__, RepositoryNotFoundError):
            raise
    with _refusals(repo):
        # The answer of a first try may be lost: so it may exist already.
        client.ask(
            lambda: api.create_repo(repo, private=private or None, exist_ok=True),
            client.Attempts(f"make {repo}"),
        )
    return client.ask(look, client.Attempts(repo))


def _status(error: ZooError) -> int:
    """The HTTP status of the answer that an error is about; 0 if there was none."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0


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
        if _status(error) == 412:
            raise Conflict(f"hf://{repo} was changed by somebody else just now") from error
        if _status(error) == 403:
            raise Unavailable(
                error.what,
                f"{error.reason}; the token needs the right to write '{repo}': make one, and log "
                "in with `hf auth login`",
            ) from error
        raise
