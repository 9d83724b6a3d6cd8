"""Adoption: which snapshots are to get a checkpoint, and what their authors may be told."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from zoo.domain.digest import Digest
from zoo.domain.network import CONFIG
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot
from zoo.errors import ZooError
from zoo.serve.hub.ask import Hub
from zoo.serve.keep.adopt import Wanted
from zoo.serve.keep.history import SENT
from zoo.serve.who.may import Actor, may

__all__ = ["adopt_later", "adopt_what_is_left"]

LOG = logging.getLogger("zoo.serve")
SAYS = (CONFIG, "open_clip_config.json")
"""Files of which one says what network weights are."""
LATELY = timedelta(days=1)
"""What could not be adopted for so long never will."""


def adopt_later(hub: Hub, actor: Actor, ref: Reference, digest: Digest, snapshot: Snapshot) -> None:
    """Have a snapshot adopted that ``actor`` has sent, unless it has its checkpoint, or can be
    none. What ``actor`` may not see is not looked at.
    """
    if snapshot.checkpoint or not _may_be_network(snapshot):
        return
    rules = hub.accounts.rules()
    seen = {
        str(there): str(each)
        for each, there, _ in hub.workspace.registry.refs()
        if may(actor, "read", rules.access(each.path))
    }
    wanted = Wanted(name=str(ref), snapshot=str(digest), seen=seen)
    hub.adopter.ask(wanted, actor.name)


def _may_be_network(snapshot: Snapshot) -> bool:
    named = any(name in snapshot.by_path for name in SAYS)
    return named and any(file.weights and "/" not in file.path for file in snapshot.files)


def adopt_what_is_left(hub: Hub) -> None:
    """Have those adopted that were not when the server was stopped."""
    store, since = hub.workspace.store, datetime.now(UTC) - LATELY
    for ref in store.readable_refs()[0]:
        try:
            entry = store.read_ref(ref)
            if entry is None or entry.deleted or entry.why != SENT:
                continue
            if entry.when is None or entry.when <= since:
                continue
            document, actor = store.document(entry.manifest), hub.accounts.actor(entry.by)
            if actor and isinstance(document, Snapshot):
                adopt_later(hub, actor, ref, entry.manifest, document)
        except (ZooError, OSError):
            continue  # whoever asks for it is told
        except Exception:
            LOG.exception("%s is not adopted", ref)
