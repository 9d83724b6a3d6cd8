"""Changes: no name comes to answer with other classes only, or of another task, unless forced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from zoo.domain.change import Change, change_of, trained_on
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.errors import OtherClasses
from zoo.store import Store
from zoo.store.listing import read_one
from zoo.store.manifests import read_manifest, shown_digest

__all__ = ["change_from", "check_change", "free_suffix"]


def change_from(
    store: Store, before: Digest | None, after: Manifest | None, near: Sequence[Store] = ()
) -> Change | None:
    """What differs between the checkpoint ``before``, if there is one and it can be read, and the
    one that takes its name, None if that holds files only; ``near`` as for `read_manifest`.
    """
    if before is None or after is None:
        return None
    known = read_one(lambda digest: read_manifest(store, digest, near), before)
    return change_of(known, after) if isinstance(known, Manifest) else None


def check_change(
    store: Store,
    newest: RefEntry | None,
    ref: Reference,
    after: Manifest | None,
    doing: Literal["finetune", "push", "pull"],
    *,
    other: str = "",
    near: Sequence[Store] = (),
) -> None:
    """See that ``ref``, whose newest entry in ``store`` is ``newest``, may move to ``after``.

    Raises:
        OtherClasses: They have no class in common, or another task.
    """
    before = None if newest is None or newest.deleted else newest.manifest
    change = change_from(store, before, after, near)
    if before is None or after is None or change is None or not change.is_other:
        return
    there = f" at {other}" if doing == "push" else " here"
    what = f"{ref}{there} is for something else: {'; '.join(change.lines)}"
    now = str(shown_digest(before, [store, *near]))
    raise OtherClasses(doing, str(ref), now, what, str(_free(ref, after)), other)


def _free(ref: Reference, after: Manifest) -> Reference:
    """Another name, after what was trained on."""
    return Reference(ref.namespace, f"{ref.name[:80]}-{free_suffix(after)}")


def free_suffix(after: Manifest) -> str:
    """What tells another name apart: what was trained on."""
    return (re.sub(r"[^a-z0-9]+", "-", trained_on(after).lower()).strip("-") or "2")[:40]
