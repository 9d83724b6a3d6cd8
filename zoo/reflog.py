"""The ref log: entries that point a ref of a store or remote at another checkpoint."""

from __future__ import annotations

from datetime import UTC, datetime

from zoo import config
from zoo.domain.digest import Digest
from zoo.domain.history import RENAMED, RESTORED, RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Protected, UnknownName
from zoo.store import Store
from zoo.store.capabilities import is_served
from zoo.store.manifests import shown_digest

__all__ = [
    "append_adoption",
    "append_after",
    "append_deletion",
    "append_deprecation",
    "append_protection",
    "append_renaming",
    "append_restoration",
    "check_movable",
    "now",
]


def now() -> str:
    """UTC time, ISO 8601, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def append_after(
    store: Store,
    current: RefEntry | None,
    ref: Reference,
    digest: Digest,
    why: str,
    note: str = "",
) -> RefEntry:
    """Move a ref of a store or remote on from ``current``, its newest entry; no new entry if that
    points at ``digest`` already, or somebody else has moved it there meanwhile, unless there is
    another ``note`` to keep.

    Raises:
        Conflict: The ref is at neither any more, it is protected, or a prune is under way.
    """
    if (
        current
        and current.manifest == digest
        and not current.deleted
        and note in ("", current.note)
    ):
        return current
    check_movable(store, ref, current)
    try:
        return _append(store, ref, current, digest, why, note=note)
    except Conflict:
        newest = store.read_ref(ref)
        if note or newest is None or newest.deleted or newest.manifest != digest:
            raise
        return newest  # somebody else has done the same meanwhile


def append_adoption(
    store: Store, current: RefEntry, ref: Reference, digest: Digest, why: str
) -> RefEntry:
    """Point a ref of a store, whose newest entry is ``current``, at the same files with their
    checkpoint: it stays as protected, and as deprecated, as it is.

    Raises:
        Conflict: Someone else moved the ref meanwhile, or a prune is under way.
    """
    protected, deprecated = current.protected, current.deprecated
    return _append(store, ref, current, digest, why, protected=protected, deprecated=deprecated)


def append_deletion(
    store: Store, ref: Reference, *, of: RefEntry | None = None, why: str = "delete"
) -> RefEntry:
    """Delete a name of a store or remote, so that it can be restored.

    Args:
        store: The store or remote.
        ref: The name.
        of: The newest entry that whoever decided so has seen; None: whatever it is now.
        why: What deletes it.

    Raises:
        UnknownName: There is no such name.
        Conflict: Someone else moved the ref meanwhile, or it is protected.
    """
    newest = store.read_ref(ref)
    # What was told of it may name the checkpoint of a snapshot: what is kept is what is there.
    seen = newest if of and newest and newest.number == of.number else of
    current = seen or _present(store, ref)
    check_movable(store, ref, current)
    return _append(store, ref, current, current.manifest, why, deleted=True)


def append_restoration(store: Store, ref: Reference) -> RefEntry:
    """Bring back a name of a store or remote that was deleted; no new entry if it is there.

    Raises:
        UnknownName: There was never such a name.
        MissingObject: A prune has taken what it pointed at.
        Conflict: Someone else moved the ref meanwhile, or a prune at a server has taken that.
    """
    current = store.read_ref(ref)
    if current is None:
        raise UnknownName("checkpoint", str(ref))
    if not current.deleted:
        return current
    with store.upload():  # else a prune could take it before the name protects it
        # A server looks itself: it shows nothing of what is deleted.
        if not is_served(store.backend):
            store.require_manifest(current.manifest)
        return _append(store, ref, current, current.manifest, RESTORED)


def append_renaming(store: Store, ref: Reference, of: RefEntry, new: Reference) -> RefEntry:
    """Delete a name that is ``new`` from now on, with its protection; ``of`` is its newest entry.

    Raises:
        Conflict: Someone else moved the ref meanwhile.
    """
    return _append(store, ref, of, of.manifest, f"{RENAMED}{new}", deleted=True)


def append_protection(store: Store, ref: Reference, *, on: bool) -> RefEntry:
    """Protect a name from being moved and deleted, or end that; no new entry if it is so already.

    Raises:
        UnknownName: There is no such name.
        Conflict: Someone else moved the ref meanwhile.
    """
    current = _present(store, ref)
    if current.protected == on:
        return current
    why = "protect" if on else "unprotect"
    return _append(store, ref, current, current.manifest, why, protected=on)


def append_deprecation(store: Store, ref: Reference, text: str) -> RefEntry:
    """Say why a name is to be used no more; an empty text ends that. A name that moves on to
    another checkpoint is deprecated no more. No new entry if it is said already.

    Raises:
        UnknownName: There is no such name.
        Conflict: Someone else moved the ref meanwhile.
    """
    current = _present(store, ref)
    if current.deprecated == text:
        return current
    why = "deprecate" if text else "undeprecate"
    return _append(
        store, ref, current, current.manifest, why, protected=current.protected, deprecated=text
    )


def _present(store: Store, ref: Reference) -> RefEntry:
    current = store.read_ref(ref)
    if current is None or current.deleted:
        raise UnknownName("checkpoint", str(ref))
    return current


def check_movable(store: Store, ref: Reference, current: RefEntry | None, where: str = "") -> None:
    """See that ``ref``, whose newest entry in the ``store`` here, or of the remote ``where``, is
    ``current``, may be moved.

    Raises:
        Protected: It may not.
    """
    if current and current.protected:
        raise Protected(str(ref), str(shown_digest(current.manifest, [store])), where)


def _append(
    store: Store,
    ref: Reference,
    current: RefEntry | None,
    digest: Digest,
    why: str,
    *,
    note: str = "",
    deleted: bool = False,
    protected: bool = False,
    deprecated: str | None = None,
) -> RefEntry:
    if deprecated is None:  # what was said of a checkpoint is not said of the next one
        deprecated = current.deprecated if current and current.manifest == digest else ""
    entry = RefEntry(
        number=(current.number if current else 0) + 1,
        manifest=digest,
        previous=current.manifest if current else None,
        at=now(),
        by=config.author(),
        why=why,
        note=note,
        deleted=deleted,
        protected=protected,
        deprecated=deprecated,
    )
    with store.upload():  # else a prune could take the entry for a leftover while it is written
        try:
            store.append_ref(ref, entry)
        except Conflict as error:
            if not error.current:
                raise
            newest = shown_digest(Digest.parse(error.current), [store])
            raise Conflict(error.what, str(newest)) from None
    return entry
