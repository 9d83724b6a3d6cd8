"""Signs in a bucket: uploads and prunes see each other, without locks.

They are those of a store in a folder (``docs/store.md``): each side sets a sign of its own before
it looks for the other's, so at least one of two sees the other and gives way. Both ages are the
service's, so that clocks need not agree.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from zoo.errors import Conflict, Unavailable, Unsupported
from zoo_bucket.bucket import Bucket

__all__ = ["PROBES", "now", "pruning", "uploading"]

PROBES = "tmp/probe-"
PRUNE = "tmp/prune"  # and more
UPLOADS = "tmp/uploads/"
STALE_SECONDS = 24 * 3600


@contextmanager
def uploading(bucket: Bucket) -> Iterator[None]:
    """Announce that things are being written.

    Raises:
        Conflict: A prune is under way.
    """
    with _sign(bucket, UPLOADS) as sign:
        if any(key.startswith(PRUNE) for key in _others(bucket, sign)):
            raise Conflict(
                "a prune of this store is under way; run the same command again after it"
            )
        yield


@contextmanager
def pruning(bucket: Bucket) -> Iterator[None]:
    """Announce that things are about to be deleted.

    Raises:
        Conflict: Somebody is writing, or pruning; nothing may be deleted.
    """
    with _sign(bucket, PRUNE + "-") as sign:
        others = _others(bucket, sign)
        if any(key.startswith(PRUNE) for key in others):
            raise Conflict("another prune of this store is under way")
        writers = [key for key in others if key.startswith(UPLOADS)]
        if writers:
            raise Conflict(f"{len(writers)} uploads to this store are under way; try again later")
        yield


def now(bucket: Bucket) -> datetime:
    """The time of the service, which dates nothing but what is written."""
    with _sign(bucket, PROBES) as sign:
        return _ages(bucket, sign)[sign]


@contextmanager
def _sign(bucket: Bucket, prefix: str) -> Iterator[str]:
    key = prefix + uuid.uuid4().hex
    bucket.put(key, b"")
    try:
        yield key
    finally:
        # A sign that stays counts for a day; that must not hide what went wrong before.
        with suppress(Unavailable, Unsupported):
            bucket.delete(key)


def _others(bucket: Bucket, sign: str) -> list[str]:
    """The keys in scratch that are no more than a day older than one's own sign."""
    ages = _ages(bucket, sign)
    at = ages.pop(sign)
    return [key for key, age in ages.items() if (at - age).total_seconds() < STALE_SECONDS]


def _ages(bucket: Bucket, sign: str) -> dict[str, datetime]:
    ages = {file.name: file.at for file in bucket.files("tmp/")}
    if sign not in ages:  # who does not see itself would not see others
        raise Unavailable(str(bucket.place), "its listing lacks what was written just now")
    return ages
