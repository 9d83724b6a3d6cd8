"""A name moved at once, whatever it points at."""

from __future__ import annotations

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.reflog import append_after
from zoo.store import Store

__all__ = ["append"]


def append(store: Store, ref: Reference, digest: Digest, why: str) -> RefEntry:
    """Move a ref on from its newest entry."""
    return append_after(store, store.read_ref(ref), ref, digest, why)
