"""Storage: what is stored, how much of it is shared, what namespaces hold and may hold, and whether
it was found to be what was stored; for admins.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from zoo.codec.header import Header
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.quantity import read_bytes
from zoo.domain.reference import Reference
from zoo.domain.stored import StoredFile
from zoo.errors import ZooError
from zoo.lookup.caches import list_caches
from zoo.lookup.reported import REPORTED
from zoo.lookup.runs import ACTIVATIONS, CACHE, CHECKED, RUNS, TRIALS
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages.form import Form
from zoo.serve.pages.largest import LARGEST, Large, largest
from zoo.serve.watch.scrub import Pass, read_scrubbed
from zoo.store.cached import CachedBackend
from zoo.store.disk import STAGING
from zoo.store.encoded import Headers, read_headers
from zoo.store.listing import KIND_NAMES, list_folder
from zoo.store.sent import FOLDER as SENT

__all__ = ["FORMS", "FileUsage", "Namespace", "ScrubPass", "Storage", "look_storage"]

DAMAGED = 50
"""So many damaged files are named."""
BESIDE = {
    RUNS: "runs",
    TRIALS: "recipes that were tried",
    CACHE: "caches of training",
    REPORTED: "reported runs",
    STAGING: "temporary",
}
"""What else is in a zoo's folder, by the folders of it."""
WAITING = {
    "xorbs": "xorbs of files that are being sent",
    "parts": "parts of files that are being sent",
    "rest": "else sent, and not committed yet",
}
Files = Mapping[Digest, StoredFile]
OBJECTS: tuple[Kind, ...] = ("objects", "encoded")
REST = "names, index, accounts and the rest"
ANEW_SECONDS = 60
"""So long sums of what is beside the store are good, if no run or cache came or went: runs have
many files.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUsage:
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
class ScrubPass:
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
        beside: What else is in the zoo's folder.
        largest: Runs, caches and checkpoints that take the most.
        caches: What all caches of training take.
        whole: Bytes of all of that together.
        files: How many files that are.
        bytes: Their bytes.
        free: Bytes that are free where it is.
        namespaces: Who takes how much.
        alone: Bytes of what all names lead to, if each had its own copy.
        once: Bytes of that, each tensor and file counted once.
        last: The last scrub that has ended.
        now: The one that goes on.
        shared: Whether it is a bucket, which is scrubbed only if somebody wants that.
    """

    kept: tuple[FileUsage, ...]
    beside: tuple[FileUsage, ...]
    largest: tuple[Large, ...]
    caches: FileUsage
    whole: int
    files: int
    bytes: int
    free: int
    namespaces: tuple[Namespace, ...]
    alone: int
    once: int
    last: ScrubPass | None
    now: ScrubPass | None
    shared: bool


@dataclass(frozen=True, slots=True)
class _NameUsage:
    """What some names lead to: how many they are, bytes of all copies, and of each object once."""

    names: int = 0
    alone: int = 0
    once: int = 0


@dataclass(frozen=True, slots=True)
class _Totals:
    """What names lead to by namespace, of all of them by an empty name; and the checkpoints that
    have the most bytes on the disk that no other one has.
    """

    taken: Mapping[str, _NameUsage]
    own: Sequence[tuple[Digest, int]]


@dataclass(slots=True)
class _Read:
    """What manifests lead to.

    Attributes:
        alone: Bytes, if each had its own copy.
        objects: The objects, each with its bytes.
        only: The one manifest that has an object; None: several have.
        whole: Whether all could be read.
    """

    alone: int = 0
    objects: dict[Digest, int] = field(default_factory=dict)
    only: dict[Digest, Digest | None] = field(default_factory=dict)
    whole: bool = True


_sums: LruCache[tuple[object, ...], tuple[FileUsage, ...]] = LruCache(4)
_totals: LruCache[str, _Totals] = LruCache(4, lambda _: 1)
"""What names that are where they were lead to: to read all manifests takes seconds."""


def look_storage(ask: Ask) -> Storage:
    """The store as it is now."""
    store, room, quotas = ask.hub.workspace.store, ask.hub.room, ask.hub.accounts.quotas.all()
    files = {kind: list_folder(store, kind).files for kind in KIND_NAMES}
    kept = tuple(_kept(kind, by_digest.values()) for kind, by_digest in files.items())
    beside = (*_waiting(ask), *_beside(ask.hub.workspace.root))
    names = _names(ask)
    totals = _taken(ask, names, files)
    taken = totals.taken
    every, nothing = taken[""], _NameUsage()
    scrubbed = read_scrubbed(store)
    return Storage(
        kept=kept,
        beside=beside,
        largest=largest(ask.hub.workspace, names, totals.own),
        caches=_caches(ask.hub.workspace.root),
        whole=sum(each.bytes for each in (*kept, *beside)),
        files=sum(each.files for each in kept),
        bytes=sum(each.bytes for each in kept),
        free=shutil.disk_usage(ask.hub.workspace.root).free,
        namespaces=tuple(
            Namespace(
                name=name,
                names=has.names,
                alone=has.alone,
                once=has.once,
                holds=holds,
                quota=quotas.get(name),
            )
            for name in sorted({*taken, *quotas} - {""})
            for has, holds in ((taken.get(name, nothing), room.after(name).total),)
            if has.names or holds or name in quotas  # what was deleted takes its room until a prune
        ),
        alone=every.alone,
        once=every.once,
        last=_scrub(scrubbed.last),
        now=_scrub(scrubbed.now),
        shared=isinstance(store.backend, CachedBackend),
    )


def _kept(kind: Kind, files: Collection[StoredFile]) -> FileUsage:
    return FileUsage(
        kind=KIND_NAMES[kind], files=len(files), bytes=sum(each.bytes for each in files)
    )


def _waiting(ask: Ask) -> Iterator[FileUsage]:
    """What was sent and has no name yet, as it was within the last minute."""
    for kind, usage in ask.hub.waiting.look().items():
        if usage.files:
            yield FileUsage(kind=WAITING[kind], files=usage.files, bytes=usage.bytes)


def _beside(root: Path) -> tuple[FileUsage, ...]:
    """What is in a zoo's folder beside its store, as it was within the last minute."""
    changed = [
        _changed(root / name) for name in (RUNS, f"{CACHE}/{ACTIVATIONS}", f"{CACHE}/{CHECKED}")
    ]
    key = root, int(time.monotonic() // ANEW_SECONDS), *changed
    if cached := _sums.get(key):
        return cached
    files, sizes = Counter[str](), Counter[str]()
    for name, size in _sizes(root):
        kind = BESIDE.get(name, REST)
        files[kind] += 1
        sizes[kind] += size
    kinds = [kind for kind in (*BESIDE.values(), REST) if files[kind]]
    rows = tuple(FileUsage(kind=kind, files=files[kind], bytes=sizes[kind]) for kind in kinds)
    return _sums.put(key, rows)


def _sizes(root: Path) -> Iterator[tuple[str, int]]:
    """The files that are not of the store, each with the first part of its path, and its bytes."""
    for folder, below, names in os.walk(root):
        if folder == str(root):
            # What was sent is counted apart; on one of several machines it is a part of the cache.
            below[:] = [name for name in below if name not in (*KIND_NAMES, SENT)]
        parts = Path(folder).relative_to(root).parts
        for name in names:
            with suppress(OSError):  # it is gone since
                yield (*parts, name)[0], (Path(folder) / name).lstat().st_size


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _caches(root: Path) -> FileUsage:
    spaces = [each.space for each in list_caches(root)]
    return FileUsage(
        kind=BESIDE[CACHE], files=len(spaces), bytes=sum(each.bytes for each in spaces)
    )


def _names(ask: Ask) -> Mapping[Reference, RefEntry | None]:
    """All names that can be read, sorted, and where they are; None: nowhere any more."""
    store = ask.hub.workspace.store
    refs = sorted(store.readable_refs()[0], key=str)
    entries = ((ref, store.read_ref(ref)) for ref in refs)
    return {ref: entry if entry and not entry.deleted else None for ref, entry in entries}


def _taken(
    ask: Ask, names: Mapping[Reference, RefEntry | None], files: Mapping[Kind, Files]
) -> _Totals:
    """What the names of each namespace lead to now."""
    store, now = ask.hub.workspace.store, defaultdict[str, list[Digest]](list)
    for ref, entry in names.items():
        now[ref.namespace] += [entry.manifest] if entry else []
    key = hashlib.sha256(repr((str(store.root), *now.items())).encode()).hexdigest()
    if cached := _totals.get(key):
        return cached
    read = {space: _read(ask, manifests) for space, manifests in now.items()}
    every = {digest: size for each in read.values() for digest, size in each.objects.items()}
    taken = {
        space: _NameUsage(len(now[space]), each.alone, sum(each.objects.values()))
        for space, each in read.items()
    }
    taken[""] = _NameUsage(0, sum(each.alone for each in read.values()), sum(every.values()))
    totals = _Totals(
        taken, _own(read.values(), files, read_headers(store, "encoded", files["encoded"]))
    )
    whole = all(each.whole for each in read.values())
    return _totals.put(key, totals) if whole else totals  # what is damaged may be mended


def _own(
    read: Iterable[_Read], files: Mapping[Kind, Files], headers: Headers
) -> Sequence[tuple[Digest, int]]:
    """The checkpoints that have the most bytes on the disk that no other one has. Whoever has what
    is encoded has the base of it, too.
    """
    only, own = dict[Digest, Digest | None](), Counter[Digest]()
    for each in read:
        for digest, manifest in each.only.items():
            base = header.base if isinstance(header := headers.get(digest), Header) else None
            for needed in (digest, base) if base else (digest,):
                only[needed] = manifest if only.get(needed, manifest) == manifest else None
    for digest, manifest in only.items():
        if manifest:
            own[manifest] += sum(
                files[kind][digest].bytes for kind in OBJECTS if digest in files[kind]
            )
    return own.most_common(LARGEST)


def _read(ask: Ask, manifests: Sequence[Digest]) -> _Read:
    """What manifests lead to."""
    read = _Read()
    for manifest, names in Counter(manifests).items():
        try:
            objects = dict(ask.hub.workspace.store.document(manifest).objects())
        except ZooError:  # it is damaged, which the scrub tells
            read.whole = False
            continue
        read.objects |= objects
        read.only |= {each: None if each in read.only else manifest for each in objects}
        read.alone += names * sum(objects.values())
    return read


def _scrub(scrub: Pass | None) -> ScrubPass | None:
    if scrub is None:
        return None
    return ScrubPass(
        began=scrub.began.isoformat(),
        ended=scrub.ended.isoformat() if scrub.ended else "",
        files=scrub.files,
        bytes=scrub.bytes,
        damaged=len(scrub.damaged),
        names=tuple(scrub.damaged[:DAMAGED]),
    )


def _set_quota(ask: Ask, form: Form) -> None:
    most = form.text("bytes")
    bytes_ = None if most in ("", "none") else read_bytes(most)
    ask.hub.accounts.quotas.set(form.text("namespace"), bytes_)


FORMS = {"quota": _set_quota}
"""What the forms of the page do."""
