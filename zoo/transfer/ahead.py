"""Ahead: a remote that is asked for all that a push will want to know of it, in one or two
questions. Over a network each takes as long as a small object does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.errors import ZooError
from zoo.store import Store
from zoo.store.capabilities import is_served
from zoo.store.listing import ENCODED_AS, name_of
from zoo.store.manifests import Document
from zoo.store.remembering import Remembering

__all__ = ["ASKED", "asked_ahead"]

ASKED = 64
"""Ancestors, the nearest first, that a remote is asked for."""


def asked_ahead(remote: Store, store: Store, digest: Digest, ref: Reference) -> Store:
    """A remote that knows what it has of a checkpoint or a snapshot of ``store``, and of what that
    derives from. A folder is asked each time: that costs nothing.

    Raises:
        Forbidden: The user may not move the name ``ref`` there.
    """
    if remote.is_near:
        return remote
    wanted = {*_wanted(store, digest)}
    keys = {name_of(kind, each): name_of(ENCODED_AS[kind], each) for kind, each in wanted}
    backend = Remembering(remote.backend)
    missing = backend.learn(keys.keys(), str(ref))
    if is_served(backend):  # it shows all as it is
        backend.rule_out(keys.values())
    else:
        backend.learn({keys[key] for key in missing}, str(ref))
    return Store(backend)


def _wanted(store: Store, digest: Digest) -> Iterator[tuple[Kind, Digest]]:
    """What the remote is asked for, as it is: the other form is asked for where it has not that."""
    document = store.document(digest)
    yield from _whole(digest, document)
    if isinstance(document, Manifest):
        for _, parent in islice(document.lineage(), ASKED):
            yield "manifests", parent.manifest
        for parent in document.parents:
            with suppress(ZooError):  # not here, and so nothing is coded against it
                yield from _whole(parent.manifest, store.manifest(parent.manifest))
    elif document.checkpoint:
        yield from _wanted(store, document.checkpoint)


def _whole(digest: Digest, document: Document) -> Iterator[tuple[Kind, Digest]]:
    yield "manifests", digest
    for item, _ in document.objects():
        yield "objects", item
