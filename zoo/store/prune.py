"""Prune: delete what nothing reaches, after showing a plan. The only thing that deletes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from types import MappingProxyType

from zoo.codec.header import Header
from zoo.contracts import Kind
from zoo.domain.digest import Digest, digests_in
from zoo.domain.plain import Json
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.snapshot import Snapshot
from zoo.domain.stored import StoredFile
from zoo.errors import (
    DiskFull,
    Forbidden,
    InvalidManifest,
    MissingObject,
    Unsupported,
)
from zoo.store.encoded import Headers, read_headers
from zoo.store.forgotten import Forgotten
from zoo.store.listing import KIND_NAMES, is_below, list_folder, map_each, pruned, read_one
from zoo.store.manifests import FORMS, encode_alone, manifest_bytes, manifest_header, read_document
from zoo.store.refs import entry_name
from zoo.store.sent import sent_objects
from zoo.store.signatures import kept_at
from zoo.store.store import Store

__all__ = ["FileToDelete", "PrunePlan", "execute", "plan"]

KINDS: tuple[Kind, ...] = (*FORMS, "encoded", "objects")
ENCODED: tuple[Kind, ...] = ("encoded-manifests", "encoded")
TURNS = {
    "manifest deltas": 0,
    "encoded-manifests": 1,
    "manifests": 2,
    "deltas": 3,
    "encoded": 4,
    "objects": 5,
    "leftovers": 6,
    "signatures": 6,
}
"""Manifests go first and what they listed after them, so that whoever is interrupted leaves no
manifest without objects; deltas go before what stands alone, as that may be their base."""

LEFTOVER = "leftover"
MADE = re.compile(
    r"tmp/(tmp[a-z0-9_]{8}(/.*)?"  # files and folders that are not finished
    r"|part-[0-9a-f]{64}(-encoded)?-[0-9a-f]{32}"  # downloads that were cut off
    r"|(prune-|probe-|uploads/)[0-9a-f]{32})",
    re.DOTALL,
)
"""What zoo itself writes to scratch. Whatever else lies there is somebody's, and stays."""

Known = Mapping[Reference, int]
Led = Set[tuple[str, Digest]]
"""Names, without their tags, each with a checkpoint that it once was."""
NOTHING: Known = MappingProxyType({})
ALL_KEPT = "no checkpoint is deleted while that is so"


@dataclass(frozen=True, slots=True)
class FileToDelete:
    """One file that is to be deleted.

    Attributes:
        kind: ``manifest``, ``encoded manifest``, ``object``, ``encoded object``, ``signature``,
            ``leftover``, or what else of a zoo is collected.
        name: The digest; of a leftover or a signature, the file's name in the store.
        file: The file's name in the store.
        bytes: Its size.
        why: Why nothing needs it.
        turn: When it goes; what has a higher one waits for it (`TURNS`).
    """

    kind: str
    name: str
    file: str
    bytes: int
    why: str
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PrunePlan(Result):
    """What a prune deletes, in order.

    Attributes:
        doomed: The files to delete.
        young: Number of files that nothing reaches either, but that are spared for their age.
        recent: Number of checkpoints that no name points at any more, kept as one did lately.
        rebased: Manifests that stay, encoded against one that goes: they are encoded anew.
        unread: What cannot be read, with the reason; all that it may need is kept.
        checkpoints: Those that go, by the names that they had, where somebody asked for them.
    """

    doomed: tuple[FileToDelete, ...]
    young: int
    recent: int = 0
    rebased: tuple[Digest, ...] = ()
    unread: tuple[str, ...] = ()
    checkpoints: tuple[Forgotten, ...] = ()

    @property
    def manifests(self) -> set[Digest]:
        """The checkpoints that are deleted."""
        kinds = {KIND_NAMES[form] for form in FORMS}
        return {Digest.parse(item.name) for item in self.doomed if item.kind in kinds}

    @property
    def bytes(self) -> int:
        """Bytes that are freed."""
        return sum(item.bytes for item in self.doomed)

    def __repr__(self) -> str:
        parts = f"doomed={len(self.doomed)}, bytes={self.bytes}, young={self.young}"
        return f"Plan({parts}, recent={self.recent})"

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return {
            "bytes": self.bytes,
            "spared": self.young,
            "recent": self.recent,
            "rebased": [str(digest) for digest in self.rebased],
            "unread": list(self.unread),
            "checkpoints": [each.to_json() for each in self.checkpoints],
            "items": [
                {"kind": item.kind, "name": item.name, "bytes": item.bytes, "why": item.why}
                for item in self.doomed
            ],
        }


def plan(store: Store, *, keep: timedelta, grace: timedelta, known: Known = NOTHING) -> PrunePlan:
    """What a prune would delete. Nothing is changed.

    ``known`` are the newest entries that an index knows, by number: a name that lacks one counts
    as one that cannot be read.

    Reached, and kept, is: what a name points at; what it pointed at less than ``keep`` ago, before
    it moved or was deleted; the checkpoint of a snapshot that is; every object that these need, and
    every base that an encoded one is coded against. A manifest is not kept as a base: what is
    encoded against it is encoded anew, alone. What nothing reaches is spared while its file is
    younger than ``grace``, and so is all that it needs: its upload may be going on, or be taken up
    again. Where a name cannot be read, no checkpoint is deleted; of a manifest that another version
    wrote, whatever it names is kept.

    Raises:
        Corrupt, MissingObject: Something that is reached is damaged. What it needs cannot be
            known, so nothing may be deleted: verify first.
    """
    try:
        return _plan(store, keep, grace, known)
    except MissingObject:
        # Another prune may have deleted it just after its name was read. If not, this says so.
        return _plan(store, keep, grace, known)


def _plan(
    store: Store, keep: timedelta, grace: timedelta, known: Known, shown: Set[str] | None = None
) -> PrunePlan:
    """As `plan`; a file that is not among ``shown``, if given, counts as young. It stays, whatever
    became of it since, and so must stay all that it needs.
    """
    # First the time, then files, then names. What is written meanwhile counts as young, and what a
    # name comes to point at meanwhile is kept by it.
    now = store.now()
    before = _earlier(now, grace)

    def is_young(file: StoredFile) -> bool:
        return file.at > before or (shown is not None and file.name not in shown)

    files = {kind: _listed(store, kind) for kind in KINDS}
    young = {
        kind: {digest for digest, file in held.items() if is_young(file)}
        for kind, held in files.items()
    }
    headers = {kind: read_headers(store, kind, files[kind]) for kind in ENCODED}
    unread: list[str] = []
    gone = pruned(store, _either(files))
    current, past, led = _reached(store, _earlier(now, keep), gone, known, unread)
    reached = current | past | (_either(files) if unread else set())
    needs = _needs(store, reached, gone, headers["encoded"], unread)
    # An upload may rely on old objects and bases that nothing else needs, and so may what was sent
    # to a server; a bucket may be the store of one.
    coming = sent_objects(store, now)
    young_manifests = (_either(young) | coming & _either(files)) - reached
    relied = _needs(store, young_manifests, gone, headers["encoded"], [])
    relied |= coming | _bases(headers["encoded"], young["encoded"] | coming)
    doomed, spared = list[FileToDelete](), 0
    for kind, held in files.items():
        needed, spare = (reached, young_manifests) if kind in FORMS else (needs, relied)
        left = held.keys() - needed
        old = left - young[kind] - spare
        spared += len(left) - len(old)
        of_kind = headers.get(kind, {})
        doomed += (_doom(kind, digest, held[digest], of_kind) for digest in held if digest in old)
    doomed += _leftovers(store, is_young)
    doomed += _signatures(store, is_young, reached | young_manifests, None if unread else led)
    return PrunePlan(
        doomed=tuple(sorted(doomed, key=lambda item: item.turn)),
        young=spared,
        recent=len((past - current) & _either(files)),
        rebased=_rebased(headers["encoded-manifests"], reached | young_manifests),
        unread=tuple(unread),
    )


def _either(files: Mapping[Kind, Iterable[Digest]]) -> set[Digest]:
    """The manifests among files, however they are kept."""
    return {digest for form in FORMS for digest in files[form]}


def _rebased(headers: Headers, kept: Set[Digest]) -> tuple[Digest, ...]:
    """Of the manifests that are kept and encoded, those whose base is not kept."""
    return tuple(sorted(d for d in headers.keys() & kept if _bases(headers, [d]) - kept))


def _listed(store: Store, kind: Kind) -> dict[Digest, StoredFile]:
    """All files of a kind.

    Raises:
        Forbidden, NotAFile: Some cannot be listed: it cannot be known what is needed.
    """
    listing = list_folder(store, kind)
    for error in listing.unlisted.values():
        raise error
    return listing.files


def execute(
    store: Store,
    shown: PrunePlan,
    *,
    keep: timedelta,
    grace: timedelta,
    known: Known = NOTHING,
    progress: Progress = silent,
) -> PrunePlan:
    """Delete what ``shown`` lists and is still to be deleted; what was deleted.

    Raises:
        Conflict: Somebody is writing to the store, or pruning it; nothing was deleted.
    """
    with store.pruning():
        # From here on no upload begins, and none is going on.
        # Planned again: a name may have moved, or come back, since the plan was shown.
        again = _plan(store, keep, grace, known, {item.file for item in shown.doomed})
        gone: list[FileToDelete] = []
        unmarked: list[Digest] = []
        try:
            with progress("deleting", len(again.doomed)) as task:
                for items in _in_turn(store, again.doomed, again.rebased):
                    for item in map_each(store, partial(_delete, store, unmarked), items):
                        gone += [item] if item else []
                        task.advance()
        finally:
            for digest in unmarked:  # now there is room
                store.remember_pruned(digest)
    return replace(again, doomed=tuple(gone), young=shown.young)


def _in_turn(
    store: Store, doomed: Sequence[FileToDelete], rebased: Iterable[Digest]
) -> Iterator[Iterable[FileToDelete]]:
    """What may be deleted at once, one after the other. Before a manifest, those that are encoded
    against it are encoded anew: at first, or at last if the disk is full.
    """
    full = [digest for digest in rebased if not _encoded_alone(store, digest)]
    bases = {str(manifest_header(store, digest).base) for digest in full}
    first = (item for item in doomed if item.name not in bases)
    for _, items in groupby(first, lambda item: item.turn):
        yield items
    for digest in full:  # now there is room
        encode_alone(store, digest)
    yield [item for item in doomed if item.name in bases]


def _encoded_alone(store: Store, digest: Digest) -> bool:
    """Encode a manifest anew, alone, in one step; False if there is no room for that."""
    try:
        encode_alone(store, digest)
    except DiskFull:
        return False
    return True


def _delete(store: Store, unmarked: list[Digest], item: FileToDelete) -> FileToDelete | None:
    """Delete one; None if it is a leftover of somebody who alone may delete it. A manifest for
    whose mark there is no room is added to ``unmarked``.
    """
    if item.kind in (KIND_NAMES[form] for form in FORMS):
        digest = Digest.parse(item.name)
        # The mark goes first: if this is killed in between, verify would miss what was not lost.
        try:
            store.remember_pruned(digest)
        except DiskFull:
            unmarked.append(digest)
    try:
        store.remove(item.file)
    except Forbidden:
        if item.kind != LEFTOVER:
            raise
        return None
    return item


def _earlier(now: datetime, span: timedelta) -> datetime:
    """``span`` before ``now``, or as early as there is a time."""
    return now - min(span, now - datetime.min.replace(tzinfo=UTC))


def _reached(
    store: Store, since: datetime, gone: set[Digest], known: Known, unread: list[str]
) -> tuple[set[Digest], set[Digest], Led]:
    """The manifests that names lead to; those they led to at ``since`` or later, if not ``gone``
    since; and all that each ever led to.

    Names that cannot be read, or lack an entry that is ``known``, are added to ``unread``.
    """
    current, recent, led = set[Digest](), set[Digest](), set[tuple[str, Digest]]()
    last: dict[Reference, int] = {}
    # An entry says when it was made by the clock of whoever made it, which may have been wrong.
    dates = {file.name: file.at for file in store.readable_files("refs")[0]}
    refs, unlisted = store.readable_refs()
    unread += [f"refs/{name}: {error}; {ALL_KEPT}" for name, error in unlisted.items()]
    histories = map_each(store, partial(read_one, store.history), refs)
    for ref, entries in zip(refs, histories, strict=True):
        if isinstance(entries, Exception):
            unread.append(f"{ref}: {entries}; {ALL_KEPT}")
            continue
        last[ref] = entries[-1].number if entries else 0
        led |= {(ref.path, entry.manifest) for entry in entries}
        # What an entry named was in use until the next one, and at least until a deletion.
        for entry, following in zip(entries, [*entries[1:], None], strict=True):
            ended = entry if entry.deleted else following
            if ended is None:
                current.add(entry.manifest)
            elif entry.manifest not in gone and (
                ended.when is None
                or ended.when >= since
                or dates.get(entry_name(ref, ended.number), since) > since
            ):
                recent.add(entry.manifest)
    for ref, number in known.items():
        if is_below(f"{ref.path}/{ref.tag}", unlisted):
            continue  # that is told already
        if last.get(ref, number if ref in refs else 0) < number:
            unread.append(f"{ref}: entry {number}, which the index knows, is gone; {ALL_KEPT}")
    return current, recent, led


def _needs(
    store: Store, manifests: set[Digest], gone: set[Digest], headers: Headers, unread: list[str]
) -> set[Digest]:
    """All objects of these manifests and snapshots, and the bases that those are coded against.

    The checkpoints that snapshots have are added to ``manifests``, unless they are ``gone``; what
    other versions wrote is added to ``unread``.
    """
    objects: set[Digest] = set()
    further = {*manifests}
    while further:
        named = list(map_each(store, partial(_named, store), further))
        objects.update(*(needed for needed, _, _ in named))
        unread += [problem for _, _, problem in named if problem]
        further = {each for _, each, _ in named if each} - manifests - gone
        manifests |= further
    return objects | _bases(headers, objects)


def _named(store: Store, digest: Digest) -> tuple[set[Digest], Digest | None, str]:
    """The objects of a checkpoint or snapshot, the checkpoint that the latter has, and what is
    wrong with it if it cannot be read.
    """
    try:
        document = read_document(store, digest)
        further = document.checkpoint if isinstance(document, Snapshot) else None
        return {item for item, _ in document.objects()}, further, ""
    except (InvalidManifest, Unsupported) as error:
        # Its bytes are what its digest says: another version wrote it so.
        objects = digests_in(manifest_bytes(store, digest))
        return objects, None, f"manifest {digest}: {error}; all that it lists is kept"


def _bases(headers: Headers, objects: Iterable[Digest]) -> set[Digest]:
    bases: set[Digest] = set()
    for digest in objects:
        header = headers.get(digest)  # None: it is not held encoded
        if isinstance(header, Header):
            bases |= {header.base} if header.base else set()
        elif header and not isinstance(header, MissingObject):  # gone since it was listed
            raise header
    return bases


def _doom(kind: Kind, digest: Digest, file: StoredFile, headers: Headers) -> FileToDelete:
    why = "no name leads to it" if kind in FORMS else "no checkpoint needs it"
    header = headers.get(digest)
    # Against one that cannot be read, nothing can be decoded.
    is_delta = kind in ENCODED and not (isinstance(header, Header) and header.base is None)
    delta = "manifest deltas" if kind in FORMS else "deltas"
    turn = TURNS[delta if is_delta else kind]
    return FileToDelete(KIND_NAMES[kind], str(digest), file.name, file.bytes, why, turn)


def _leftovers(store: Store, is_young: Callable[[StoredFile], bool]) -> Iterator[FileToDelete]:
    for file in sorted(store.files("tmp"), key=lambda file: file.name):
        if not is_young(file) and MADE.fullmatch(file.name):
            why = "left by an unfinished write"
            yield FileToDelete(LEFTOVER, file.name, file.name, file.bytes, why, TURNS["leftovers"])


def _signatures(
    store: Store, is_young: Callable[[StoredFile], bool], kept: Set[Digest], led: Led | None
) -> Iterator[FileToDelete]:
    """Those of manifests that are not ``kept``, or under a name that never ``led`` there, if it is
    known which did; what is none stays, as somebody else's.
    """
    with suppress(Unsupported):  # a server of before there were any
        for file in sorted(store.files("signatures"), key=lambda file: file.name):
            signature, why = kept_at(file), ""
            if signature is None or is_young(file):
                continue
            if signature.manifest not in kept:
                why = "its checkpoint is not kept"
            elif led is not None and (signature.path, signature.manifest) not in led:
                why = f"{signature.path} was never that checkpoint"
            if why:
                turn = TURNS["signatures"]
                yield FileToDelete("signature", file.name, file.name, file.bytes, why, turn)
