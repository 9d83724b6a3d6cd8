"""Sent: files that somebody has sent to a server of this zoo, and that no name leads to yet.

They are told of in ``sent/ACCOUNT/SHA256-REPO.json``. Who sent them may commit them for a day
where they were sent to; so long a prune leaves their objects alone. Beside that lies what has not
arrived as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import blake2b

from zoo.domain.digest import Digest, digests_in
from zoo.domain.limits import MANIFEST_BYTES
from zoo.domain.snapshot import Snapshot, SnapshotFile
from zoo.errors import InvalidManifest, Unsupported
from zoo.store.capabilities import present, read_small, sync, touch
from zoo.store.store import Store

__all__ = [
    "FOLDER",
    "clear_folder",
    "clear_sent",
    "forget_sent",
    "keep_sent",
    "keep_sent_object",
    "sent",
    "sent_lately",
    "sent_objects",
]

FOLDER = "sent"
KEPT = timedelta(days=1)
"""So long a file that was sent can be committed."""
IDLE = timedelta(hours=1)
"""So long a file may take to go on arriving."""
WHOLE = re.compile(rf"{FOLDER}/[^/]+/[0-9a-f]{{64}}-[0-9a-f]{{32}}\.json")


def keep_sent(store: Store, account: str, repo: str, file: SnapshotFile) -> None:
    """Note that an account has sent a file to a repository, and its objects are here. In an upload
    of the store.
    """
    store.backend.put(_key(account, repo, file.sha256), [Snapshot.of([file]).to_bytes()])
    sync(store.backend)


def sent(store: Store, account: str, repo: str, sha256: Digest) -> SnapshotFile | None:
    """A file that an account has sent to a repository within a day; None if it has not."""
    key = _key(account, repo, sha256)
    status = store.backend.stat(key)
    if status is None or status.at < store.now() - KEPT:
        return None
    # It may have been cleared since, or be damaged: then it is sent again.
    with suppress(FileNotFoundError, InvalidManifest, Unsupported):
        return Snapshot.from_bytes(read_small(store.backend, key, MANIFEST_BYTES)).files[0]
    return None


def keep_sent_object(store: Store, sender: str, digest: Digest) -> None:
    """Note that an object or a manifest that is here was sent by somebody (`sent_lately`)."""
    touch(store.backend, _object_key(sender, digest), f'"{digest}"'.encode())


def sent_lately(store: Store, sender: str, digests: Iterable[Digest]) -> set[Digest]:
    """Those of some objects and manifests that somebody has sent within a day.

    ``sender`` is an account, and after a slash what else has to be the same of who relies on it.
    """
    keys = {_object_key(sender, digest): digest for digest in digests}
    if not keys:
        return set()
    since = store.now() - KEPT
    there = present(store.backend, keys.keys())
    return {keys[name] for name, file in there.items() if file.at >= since}


def clear_folder(store: Store, folder: str) -> None:
    """Delete what has arrived in a folder."""
    for file in store.backend.list(f"{folder}/"):
        store.backend.delete(file.name)
    store.disk.remove_folder(folder)


def forget_sent(store: Store, account: str) -> None:
    """Forget what an account has sent: who is called so from now on may be somebody else."""
    for file in store.backend.list(f"{FOLDER}/{account}/"):
        store.backend.delete(file.name)


def sent_objects(store: Store, now: datetime) -> set[Digest]:
    """The objects of all files that were sent within a day, and the manifests."""
    objects: set[Digest] = set()
    for file in store.backend.list(f"{FOLDER}/"):
        if WHOLE.fullmatch(file.name) and file.at >= now - KEPT:
            with suppress(FileNotFoundError):
                objects |= digests_in(read_small(store.backend, file.name, MANIFEST_BYTES))
    return objects


def clear_sent(store: Store) -> None:
    """Delete what nobody has committed, and what did not go on arriving."""
    now, files = store.now(), [*store.backend.list(f"{FOLDER}/")]
    newest: dict[str, datetime] = {}
    for file in files:
        upload = _upload(file.name)
        newest[upload] = max(newest.get(upload, file.at), file.at)
    old = {
        upload
        for upload, at in newest.items()
        if at < now - (KEPT if WHOLE.fullmatch(upload) else IDLE)
    }
    for file in files:
        if _upload(file.name) in old:
            store.backend.delete(file.name)
    for folder in sorted(_folders(store), reverse=True):
        if store.disk.age(folder) > IDLE.total_seconds():
            store.disk.remove_folder(folder)


def _object_key(sender: str, digest: Digest) -> str:
    account, _, limits = sender.partition("/")
    return f"{FOLDER}/{account}/{digest.hex}-{_short(limits)}.json"


def _short(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _key(account: str, repo: str, sha256: Digest) -> str:
    # Two names may be longer than that of a file can be.
    return f"{FOLDER}/{account}/{sha256.hex}-{_short(repo)}.json"


def _upload(name: str) -> str:
    """What a file belongs to: ``sent/ACCOUNT/…``."""
    return "/".join(name.split("/")[:3])


def _folders(store: Store) -> Iterator[str]:
    for account in store.disk.folders(FOLDER):
        yield f"{FOLDER}/{account}"
        for upload in store.disk.folders(f"{FOLDER}/{account}"):
            yield f"{FOLDER}/{account}/{upload}"
