"""Adoption: which snapshots are to get a checkpoint, and what may be told with it: whoever sent it
learns of it, and so do all who may read the name that has it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.network import CONFIG
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot
from zoo.errors import ZooError
from zoo.serve.hub.ask import Hub
from zoo.serve.keep.adopt import AdoptRequest
from zoo.serve.who.may import Actor, all_may_read, may

__all__ = ["adopt_later", "adopt_what_is_left"]

LOG = logging.getLogger("zoo.serve")
SAYS = (CONFIG, "open_clip_config.json")
"""Files of which one says what network weights are."""
LATELY = timedelta(days=1)
"""What could not be adopted for so long never will."""


def adopt_later(hub: Hub, actor: Actor, ref: Reference, digest: Digest, snapshot: Snapshot) -> None:
    """Have a snapshot adopted that ``actor`` has sent, unless it has its checkpoint, or can be
    none. What ``actor``, or whoever may read the name, may not see is not looked at.
    """
    if snapshot.checkpoint or not _may_be_network(snapshot):
        return
    rules = hub.accounts.rules()
    readers, seen = rules.access(ref.path), {}
    for each, there, _ in hub.workspace.registry.refs():
        other = rules.access(each.path)
        if may(actor, "read", other) and all_may_read(other, readers):
            seen[str(there)] = str(each)
    wanted = AdoptRequest(name=str(ref), snapshot=str(digest), seen=seen)
    hub.adopter.ask(wanted, actor.name)


def _may_be_network(snapshot: Snapshot) -> bool:
    named = any(name in snapshot.by_path for name in SAYS)
    return named and any(file.weights and "/" not in file.path for file in snapshot.files)


def adopt_what_is_left(hub: Hub) -> None:
    """Have those adopted that were not when the server was stopped."""
    store, since = hub.workspace.store, datetime.now(UTC) - LATELY
    limited = {token.account for token in hub.accounts.tokens() if token.only}
    for ref in store.readable_refs()[0]:
        try:
            entry = store.read_ref(ref)
            if entry is None or entry.deleted or not _is_since(entry, since):
                continue
            if not hub.workspace.registry.unknown([entry.manifest]):  # it is a checkpoint
                continue
            if hub.accounts.repos.begun(ref.path):  # a copy that was cut off is made anew as it was
                continue
            sent = _arrival(store.history(ref))
            if not _is_since(sent, since):
                continue
            document, actor = store.document(entry.manifest), hub.accounts.actor(sent.by)
            if actor and actor.name in limited:  # it may have been by that token
                actor = replace(actor, only=frozenset({ref.path}))
            if actor and isinstance(document, Snapshot):
                adopt_later(hub, actor, ref, entry.manifest, document)
        except (ZooError, OSError):
            continue  # whoever asks for it is told
        except Exception:
            LOG.exception("%s is not adopted", ref)


def _is_since(entry: RefEntry, since: datetime) -> bool:
    return entry.when is not None and entry.when > since


def _arrival(history: Sequence[RefEntry]) -> RefEntry:
    """The entry by which what a name has now came to it: later ones protect it, say."""
    now = history[-1].manifest
    return [*takewhile(lambda entry: entry.manifest == now, reversed(history))][-1]
