"""Adoption: which snapshots are to get a checkpoint, and what their authors may be told."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot
from zoo.errors import ZooError
from zoo.serve.hub.ask import Hub
from zoo.serve.keep.adopt import Wanted, is_network
from zoo.serve.keep.history import SENT
from zoo.serve.who.may import Actor, may

__all__ = ["adopt_later", "adopt_what_is_left"]

LATELY = timedelta(days=1)
"""What could not be adopted for so long never will."""


def adopt_later(hub: Hub, actor: Actor, ref: Reference, snapshot: Digest) -> None:
    """Have a snapshot adopted that ``actor`` has sent, who may see this much."""
    rules = hub.accounts.rules()
    names = [(each, there) for each, there, _ in hub.workspace.registry.refs()]
    seen = {
        str(there): str(each)
        for each, there in names
        if may(actor, "read", rules.access(each.path))
    }
    wanted = Wanted(name=str(ref), snapshot=str(snapshot), seen=seen)
    hub.adopting.ask(wanted, actor.name)


def adopt_what_is_left(hub: Hub) -> None:
    """Have those adopted that were not when the server was stopped."""
    store, since = hub.workspace.store, datetime.now(UTC) - LATELY
    for ref in store.readable_refs()[0]:
        with suppress(ZooError, OSError):  # whoever asks for it is told
            entry = store.read_ref(ref)
            if (
                entry is None
                or entry.deleted
                or entry.why != SENT
                or (entry.when or since) <= since
            ):
                continue
            document, actor = store.document(entry.manifest), hub.accounts.actor(entry.by)
            if actor is None or not isinstance(document, Snapshot) or document.checkpoint:
                continue
            if is_network(document):
                adopt_later(hub, actor, ref, entry.manifest)
