"""Storage: what is stored, how much of it is shared, what namespaces hold and may hold, and whether
it was found to be what was stored; for admins.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.quantity import read_bytes
from zoo.errors import ZooError
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.recent import Recent
from zoo.serve.pages.form import Form
from zoo.serve.watch.scrub import Pass, read_scrubbed
from zoo.store.listing import KIND_NAMES, list_folder

__all__ = ["FORMS", "Kept", "Namespace", "Scrubbed", "Storage", "look_storage"]

DAMAGED = 50
"""So many damaged files are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Files of a kind: how many, and their bytes on the disk."""

    kind: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """What a namespace takes.

    Attributes:
        name: Which.
        names: How many names are in it.
        alone: Bytes of what these lead to now, if each had its own copy.
        once: Bytes of that, each tensor and file counted once.
        holds: The same with what they led to before, until a prune: what its quota is of.
        quota: Bytes that it may hold; None: as many as there is room for.
    """

    name: str
    names: int
    alone: int
    once: int
    holds: int
    quota: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """A time through the store: when it began and ended, how much it read of what there is, and the
    files that it found damaged, of which some are named.
    """

    began: str
    ended: str
    files: int
    bytes: int
    damaged: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The store.

    Attributes:
        kept: What is in it, by kind.
        files: How many files that are.
        bytes: Their bytes.
        free: Bytes that are free where it is.
        namespaces: Who takes how much.
        alone: Bytes of what all names lead to, if each had its own copy.
        once: Bytes of that, each tensor and file counted once.
        last: The last scrub that has ended.
        now: The one that goes on.
    """

    kept: tuple[Kept, ...]
    files: int
    bytes: int
    free: int
    namespaces: tuple[Namespace, ...]
    alone: int
    once: int
    last: Scrubbed | None
    now: Scrubbed | None


@dataclass(frozen=True, slots=True)
class _Taken:
    """What some names lead to: how many they are, bytes of all copies, and of each object once."""

    names: int = 0
    alone: int = 0
    once: int = 0


Totals = Mapping[str, _Taken]
"""By namespace; of all of them by an empty name."""
_totals: Recent[str, Totals] = Recent(4, lambda _: 1)
"""What names that are where they were lead to: to read all manifests takes seconds."""


def look_storage(ask: Ask) -> Storage:
    """The store as it is now."""
    store, room, quotas = ask.hub.workspace.store, ask.hub.room, ask.hub.accounts.quotas.all()
    kept = tuple(_kept(ask, kind) for kind in KIND_NAMES)
    taken = _taken(ask)
    every, nothing = taken[""], _Taken()
    scrubbed = read_scrubbed(store)
    return Storage(
        kept=kept,
        files=sum(each.files for each in kept),
        bytes=sum(each.bytes for each in kept),
        free=shutil.disk_usage(ask.hub.workspace.root).free,
        namespaces=tuple(
            Namespace(
                name=name,
                names=taken.get(name, nothing).names,
                alone=taken.get(name, nothing).alone,
                once=taken.get(name, nothing).once,
                holds=room.after(name).total,
                quota=quotas.get(name),
            )
            for name in sorted({*taken, *quotas} - {""})
        ),
        alone=every.alone,
        once=every.once,
        last=_scrub(scrubbed.last),
        now=_scrub(scrubbed.now),
    )


def _kept(ask: Ask, kind: Kind) -> Kept:
    files = list_folder(ask.hub.workspace.store, kind).files.values()
    return Kept(kind=KIND_NAMES[kind], files=len(files), bytes=sum(each.bytes for each in files))


def _taken(ask: Ask) -> Totals:
    """What the names of each namespace lead to now."""
    store, now = ask.hub.workspace.store, defaultdict[str, list[Digest]](list)
    for ref in sorted(store.readable_refs()[0], key=str):
        entry = store.read_ref(ref)
        if entry and not entry.deleted:
            now[ref.namespace].append(entry.manifest)
    key = hashlib.sha256(repr((str(store.root), *now.items())).encode()).hexdigest()
    if found := _totals.get(key):
        return found
    read = [(space, *_read(ask, manifests)) for space, manifests in now.items()]
    every = dict(each for _, _, objects, _ in read for each in objects.items())
    totals = {
        space: _Taken(len(now[space]), alone, sum(objects.values()))
        for space, alone, objects, _ in read
    }
    totals[""] = _Taken(0, sum(alone for _, alone, _, _ in read), sum(every.values()))
    whole = all(each for *_, each in read)
    return _totals.put(key, totals) if whole else totals  # what is damaged may be mended


def _read(ask: Ask, manifests: Sequence[Digest]) -> tuple[int, dict[Digest, int], bool]:
    """Bytes of what manifests lead to, if each had its own copy; the objects, each with its bytes;
    and whether all could be read.
    """
    alone, objects, whole = 0, dict[Digest, int](), True
    for manifest, names in Counter(manifests).items():
        try:
            found = dict(ask.hub.workspace.store.document(manifest).objects())
        except ZooError:  # it is damaged, which the scrub tells
            whole = False
            continue
        objects |= found
        alone += names * sum(found.values())
    return alone, objects, whole


def _scrub(scrub: Pass | None) -> Scrubbed | None:
    if scrub is None:
        return None
    return Scrubbed(
        began=scrub.began.isoformat(),
        ended=scrub.ended.isoformat() if scrub.ended else "",
        files=scrub.files,
        bytes=scrub.bytes,
        damaged=len(scrub.damaged),
        names=tuple(scrub.damaged[:DAMAGED]),
    )


def _set_quota(ask: Ask, form: Form) -> str:
    most = form.text("bytes")
    bytes_ = None if most in ("", "none") else read_bytes(most)
    ask.hub.accounts.quotas.set(form.text("namespace"), bytes_)
    return ""


FORMS = {"quota": _set_quota}
"""What the forms of the page do."""
