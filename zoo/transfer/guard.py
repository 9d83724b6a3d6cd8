"""Guard: no push or pull takes a name from work that only one side has, unless it is forced."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry, was_pulled
from zoo.domain.reference import Reference
from zoo.errors import WouldReplace
from zoo.reflog import check_movable
from zoo.store import Store
from zoo.store.manifests import ancestry_of, shown_digest

__all__ = ["check_pull", "check_push"]


def check_push(
    store: Store,
    remote: Store,
    there: RefEntry | None,
    ref: Reference,
    digest: Digest,
    to: str,
    versions: Callable[[Digest], Iterable[Digest]],
    *,
    force: bool,
) -> None:
    """See that what ``ref`` points at at a ``remote`` was known here, or is an ancestor of
    ``digest``; with ``force``, that it may be moved at all. ``versions`` are what the remote had
    under it, and what the one that it has now derives from.

    Raises:
        WouldReplace: It is somebody's work, which the push would hide.
        Protected: It may not be moved.
    """
    if there is None or there.manifest == digest:
        return
    check_movable(remote, ref, there, to)
    if force or there.deleted:
        return
    known = {entry.manifest for entry in store.history(ref)}
    if there.manifest not in known | ancestry_of(store, digest):
        behind = digest in versions(there.manifest)
        what = f"{ref} there is not a version that this zoo knows ({_moved(there)})"
        if behind:
            what = f"{ref} here is behind the one there, which went on from it ({_moved(there)})"
        now = str(shown_digest(there.manifest, [store, remote]))
        raise WouldReplace("push", str(ref), now, to, what, behind=behind)


def check_pull(
    store: Store,
    here: RefEntry | None,
    ref: Reference,
    other: str,
    known: Callable[[], Iterable[Digest]],
) -> None:
    """See that what ``ref`` points at here came by a pull, or is ``known`` at the place ``other``
    that another checkpoint is to come from.

    Raises:
        WouldReplace: It is work from here, which the pull would hide.
    """
    if here is None or here.deleted or was_pulled(store.history(ref), here.manifest):
        return
    if here.manifest not in known():
        raise WouldReplace(
            "pull",
            str(ref),
            str(shown_digest(here.manifest, [store])),
            other,
            f"{ref} here is work that {other} has never had ({_moved(here)})",
        )


def _moved(entry: RefEntry) -> str:
    return f"{entry.why} by {entry.by}, {entry.at}"
