"""Signs in a bucket: uploads and prunes see each other, without locks.

They are those of a store in a folder (``docs/store.md``): each side sets a sign of its own before
it looks for the other's, so at least one of two sees the other and gives way. A sign says which
process set it, and is written anew each minute. All ages are the service's, so that clocks need not
agree.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial

from zoo.config import author
from zoo.domain.limits import SIGN_BYTES
from zoo.domain.owner import Owner, is_stale, renewing, under_way
from zoo.errors import Conflict, Unavailable, Unsupported
from zoo_bucket.bucket import Bucket

__all__ = ["PROBES", "now", "pruning", "uploading"]

PROBES = "tmp/probe-"
PRUNE = "tmp/prune"  # and more
UPLOADS = "tmp/uploads/"


@contextmanager
def uploading(bucket: Bucket) -> Iterator[None]:
    """Announce that things are being written.

    Raises:
        Conflict: A prune is under way.
    """
    with _sign(bucket, UPLOADS) as sign:
        _give_way(bucket, sign, PRUNE, "a prune of this store is")
        yield


@contextmanager
def pruning(bucket: Bucket) -> Iterator[None]:
    """Announce that things are about to be deleted.

    Raises:
        Conflict: Somebody is writing, or pruning; nothing may be deleted.
    """
    with _sign(bucket, PRUNE + "-") as sign:
        _give_way(bucket, sign, PRUNE, "another prune of this store is")
        _give_way(bucket, sign, UPLOADS, "an upload to this store is")
        yield


def now(bucket: Bucket) -> datetime:
    """The time of the service, which dates nothing but what is written."""
    with _written(bucket, PROBES + uuid.uuid4().hex, b"") as sign:
        return _ages(bucket, sign)[sign]


@contextmanager
def _sign(bucket: Bucket, prefix: str) -> Iterator[str]:
    key, data = prefix + uuid.uuid4().hex, Owner.here(author()).to_bytes()
    with _written(bucket, key, data), renewing(partial(bucket.put, key, data)):
        yield key


@contextmanager
def _written(bucket: Bucket, key: str, data: bytes) -> Iterator[str]:
    bucket.put(key, data)
    try:
        yield key
    finally:
        # A sign that stays counts for some minutes; that must not hide what went wrong before.
        with suppress(Unavailable, Unsupported):
            bucket.delete(key)


def _give_way(bucket: Bucket, sign: str, prefix: str, what: str) -> None:
    """Raise `Conflict` if a sign of another process begins with ``prefix`` and counts."""
    ages = _ages(bucket, sign)
    at = ages.pop(sign)
    for key, other in ages.items():
        age = (at - other).total_seconds()
        if not key.startswith(prefix):
            continue
        owner = Owner.from_bytes(bucket.get(key, SIGN_BYTES) or b"")
        if not is_stale(age, owner) and not (owner and owner.has_ended):
            raise Conflict(under_way(what, f"{bucket.place}/{key}", owner, age))


def _ages(bucket: Bucket, sign: str) -> dict[str, datetime]:
    ages = {file.name: file.at for file in bucket.files("tmp/")}
    if sign not in ages:  # who does not see itself would not see others
        raise Unavailable(str(bucket.place), "its listing lacks what was written just now")
    return ages
