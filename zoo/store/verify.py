"""Verify: hash everything again, and say what is damaged and who needs it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.limits import OBJECT_SLACK
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.snapshot import Snapshot
from zoo.domain.stored import StoredFile
from zoo.errors import (
    Corrupt,
    DiskFull,
    InvalidManifest,
    Unavailable,
    Unsupported,
    ZooError,
)
from zoo.store.encoded import read_encoded
from zoo.store.listing import (
    KIND_NAMES,
    Listing,
    is_below,
    list_folder,
    map_each,
    name_of,
    pruned,
    read_one,
)
from zoo.store.manifests import FORMS, decode_manifest, document_of, read_document
from zoo.store.proof import File as CheckpointFile
from zoo.store.proof import Objects, check_file, files_of, key_of
from zoo.store.signatures import kept_at
from zoo.store.store import Store

__all__ = ["Damage", "NotFinite", "VerifyReport", "verify"]

KINDS: tuple[Kind, ...] = (*FORMS, "encoded", "objects")
"""In the order of listing: what needs others, before them."""

DAMAGED = "its bytes do not have the digest in its name"
MISSING = "is missing"

File = tuple[Kind, Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as it should be.

    Attributes:
        kind: ``object``, ``encoded object``, ``manifest``, ``encoded manifest``, ``ref``,
            ``signature`` or ``evaluation``.
        name: The digest, or the ref; the file's name where it is neither.
        problem: What was found.
        needed_by: Names, or digests where they have none, of the checkpoints that need it.
        mendable: Whether a sound copy in its place would mend it: `zoo.transfer.repair`.
        newer: Whether it is of a format that this program does not know, and so is not checked.
    """

    kind: str
    name: str
    problem: str
    needed_by: tuple[str, ...] = ()
    mendable: bool = False
    newer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFinite:
    """A checkpoint with NaN or infinite values: its bytes are as they came, so nothing is damaged.

    Attributes:
        manifest: The checkpoint.
        names: What it is called, or its digest.
        tensors: Those of its tensors that have such values.
    """

    manifest: Digest
    names: tuple[str, ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class VerifyReport(Result):
    """What was checked, and what was found.

    Attributes:
        files: Objects and manifests, encoded or not, that were hashed.
        bytes: Their size together.
        damages: All that is wrong, sorted; empty for a sound store.
        healed: Of a repair: damage that is no more.
        newer: What is of a newer format, and could not be checked.
        not_finite: Checkpoints with NaN or infinite values, by name.
    """

    files: int
    bytes: int
    damages: tuple[Damage, ...]
    healed: tuple[Damage, ...] = ()
    newer: tuple[Damage, ...] = ()
    not_finite: tuple[NotFinite, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """What checking one file brought: ``problem`` is empty where it is sound."""

    problem: str = ""
    mendable: bool = True
    newer: bool = False


SOUND = _Found()


class _Checks:
    """The checks of one store: what was found so far of each file.

    Attributes:
        sizes: Bytes of each file, as it is listed.
        found: Of what was read.
        needs: Of an object, the manifests.
        checkpoints: Of a snapshot, the checkpoint.
        odd: Of a manifest, the tensors with NaN or infinite values, if it has any.
    """

    def __init__(self, store: Store, listed: Mapping[Kind, Listing]) -> None:
        self.sizes: dict[File, int] = {
            (kind, digest): file.bytes
            for kind in KINDS
            for digest, file in listed[kind].files.items()
        }
        self.found: dict[File, _Found] = {}
        self.needs: dict[Digest, list[Digest]] = defaultdict(list)
        self.checkpoints: dict[Digest, Digest] = {}
        self.odd: dict[Digest, tuple[str, ...]] = {}
        self._odd: dict[str, tuple[str, ...]] = {}
        self._store, self._plain = store, listed["objects"].files
        self._least: dict[Digest, int] = {}
        self._proven: dict[str, _Found | None] = {}

    def all(self) -> Iterator[tuple[File, _Found]]:
        """What was found of each file; first of what manifests need, as it is read for them. Who
        takes these puts each into ``found`` before the next: what is there is not read again.
        """
        manifests = [file for file in self.sizes if file[0] in FORMS]
        checked = map_each(self._store, self._manifest, manifests)
        for file, (problem, needed, read) in zip(manifests, checked, strict=True):
            for item, least in needed:
                self.needs[item].append(file[1])
                self._least[item] = max(least, self._least.get(item, 0))
            yield file, problem
            yield from read.items()
        left = [file for file in self.sizes if file not in self.found]
        yield from zip(left, map_each(self._store, self._content, left), strict=True)

    def _manifest(self, file: File) -> tuple[_Found, list[tuple[Digest, int]], dict[File, _Found]]:
        """What is wrong with it, which objects it needs, and which of them were read for that."""
        read: dict[File, _Found] = {}
        kind, digest = file
        try:
            if kind == "manifests":
                document = read_document(self._store, digest)
            else:
                document = document_of(decode_manifest(self._store, digest))
        except (ZooError, OSError) as error:
            return _problem(error, digest), [], read
        verdict = SOUND
        for part in files_of(document):
            key = key_of(part)
            if key not in self._proven:  # two at once do no harm
                self._proven[key] = self._prove(part, read)
            verdict = self._proven[key] or verdict
        if isinstance(document, Snapshot) and document.checkpoint:
            self.checkpoints[digest] = document.checkpoint
        odd = [name for part in files_of(document) for name in self._odd.get(key_of(part), ())]
        if odd and digest not in self.checkpoints:  # else the checkpoint tells
            self.odd[digest] = tuple(odd)
        return verdict, list(document.objects()), read

    def _prove(self, file: CheckpointFile, read: dict[File, _Found]) -> _Found | None:
        """Whether the objects make the file, unless something is wrong with them already."""
        odd: list[str] = []
        with closing(Objects(self._store, self._plain, file)) as objects:
            try:
                check_file(file, objects.read, odd)
                self._odd[key_of(file)] = tuple(odd)
            except (DiskFull, Unavailable):
                raise
            except InvalidManifest as error:
                if all(objects.sound.values()):
                    return _Found(str(error), mendable=False)
            except (ZooError, OSError):
                pass  # the object is looked at by itself
            finally:
                read |= {item: SOUND for item, sound in objects.sound.items() if sound}
        return None

    def _content(self, file: File) -> _Found:
        """What is wrong with an object, encoded or not, if anything."""
        kind, digest = file
        least = self._least.get(digest)
        if least is not None and self.sizes[file] > least + OBJECT_SLACK:
            return _Found(DAMAGED)  # to hash what a sparse file claims to hold could take days
        try:
            if kind == "encoded":
                deque(read_encoded(self._store, digest), maxlen=0)  # that hashes it
                return SOUND
            return SOUND if self._store.is_sound(kind, digest) else _Found(DAMAGED)
        except (ZooError, OSError) as error:
            return _problem(error, digest)


def _problem(error: ZooError | OSError, digest: Digest) -> _Found:
    if isinstance(error, DiskFull | Unavailable):
        raise error
    if isinstance(error, Unsupported):
        return _Found(str(error), mendable=False, newer=True)
    if isinstance(error, Corrupt) and str(digest) in error.what:
        return _Found(DAMAGED)
    return _Found(f"cannot be decoded: {error}" if isinstance(error, Corrupt) else str(error))


def verify(
    store: Store,
    *,
    known: Mapping[Reference, int] | None = None,
    progress: Progress = silent,
) -> VerifyReport:
    """Hash every object and manifest, decode what is encoded, put every file of a checkpoint
    together and compare its SHA-256, look for NaN and infinite values, and follow every ref; each
    object is read once.

    ``known`` are numbers of the newest entries that refs had before, as an index remembers them.

    Raises:
        Unavailable: The store stopped answering, which says nothing about what it holds.
        DiskFull: No space for temporary files.
    """
    # Names first, then what they lead to: writers go the other way, so that of what is pushed
    # meanwhile nothing seems to be missing.
    histories, damages = _histories(store, known or {})
    listed = {kind: list_folder(store, kind) for kind in KINDS}
    manifests = {digest for form in FORMS for digest in listed[form].files}
    gone = pruned(store, manifests)
    names = _names(histories, gone)
    checks = _Checks(store, listed)
    sizes = checks.sizes
    with progress("verifying", sum(sizes.values()), "B") as task:
        for file, verdict in checks.all():
            if file in sizes and file not in checks.found:
                checks.found[file] = verdict
                task.advance(sizes[file])
    for snapshot, checkpoint in checks.checkpoints.items():
        if snapshot in names and checkpoint not in gone:
            names[checkpoint] += names[snapshot]
    users = _Users(names, checks.needs)
    lacking, hidden = _lacking(listed, users)
    problems = _damages(checks.found | dict.fromkeys(lacking, _Found(MISSING)), users)
    damages += [
        *_signatures(store),
        *_misplaced(listed),
        *hidden,
        *(each for each in problems if not each.newer),
    ]
    order = attrgetter("kind", "name")
    return VerifyReport(
        files=len(sizes),
        bytes=sum(sizes.values()),
        damages=tuple(sorted(damages, key=order)),
        newer=tuple(sorted((each for each in problems if each.newer), key=order)),
        not_finite=tuple(
            NotFinite(manifest=digest, names=users.of([("manifests", digest)]), tensors=odd)
            for digest, odd in sorted(checks.odd.items())
        ),
    )


def _histories(
    store: Store, known: Mapping[Reference, int]
) -> tuple[dict[Reference, tuple[RefEntry, ...]], list[Damage]]:
    """The log of every ref that can be read, and the refs that are damaged, or lack an entry that
    is ``known``.
    """
    histories: dict[Reference, tuple[RefEntry, ...]] = {}
    refs, unlisted = store.readable_refs()
    damages = [
        Damage(kind="ref", name=name or "refs", problem=str(error))
        for name, error in unlisted.items()
    ]
    read = partial(read_one, store.history)
    for ref, entries in zip(refs, map_each(store, read, refs), strict=True):
        if not isinstance(entries, Exception):
            histories[ref] = entries
        if problem := str(entries) if isinstance(entries, Exception) else _gap(entries):
            damages.append(Damage(kind="ref", name=str(ref), problem=problem))
    reported = {damage.name for damage in damages}
    lost = _lost(histories, known, unlisted)
    return histories, damages + [damage for damage in lost if damage.name not in reported]


def _gap(entries: tuple[RefEntry, ...]) -> str:
    """What is missing from a history, or changed in it, if anything."""
    if [entry.number for entry in entries] != list(range(1, len(entries) + 1)):
        return "its history has gaps"
    if changed := [str(entry.number) for entry in entries if not entry.intact]:
        return f"its text was changed after it was written: entry {', '.join(changed)}"
    befores = [None, *(entry.manifest for entry in entries)]
    for entry, before in zip(entries, befores, strict=False):
        if entry.previous != before:
            return f"its history has a break: entry {entry.number} comes from {entry.previous}"
    return ""


def _signatures(store: Store) -> Iterator[Damage]:
    """The signatures that are damaged, or not where they belong. What they are worth is another
    question: that depends on whom one trusts.
    """
    try:
        files, unlisted = store.readable_files("signatures")
    except Unsupported:  # a server of before there were any
        return
    problems = {folder: str(error) for folder, error in unlisted.items()}
    for file, reason in zip(files, map_each(store, partial(_unread, store), files), strict=True):
        problems |= {file.name: reason} if reason else {}
    for name, problem in problems.items():
        yield Damage(kind="signature", name=name, problem=f"{problem}; delete it, and sign again")


def _unread(store: Store, file: StoredFile) -> str:
    """What is wrong with a signature, if anything."""
    if (kept := kept_at(file)) is None:
        return "does not belong in a store"
    problem = read_one(kept.read, store)
    return str(problem) if isinstance(problem, Exception) else ""


def _lost(
    histories: Mapping[Reference, tuple[RefEntry, ...]],
    known: Mapping[Reference, int],
    unlisted: Mapping[str, ZooError],
) -> list[Damage]:
    """Newest entries that are gone: no other file tells of them."""
    last = {ref: entries[-1].number for ref, entries in histories.items()}
    return [
        Damage(kind="ref", name=str(ref), problem=f"entry {number}, which the index knows, is gone")
        for ref, number in known.items()
        if last.get(ref, 0) < number and not is_below(f"{ref.path}/{ref.tag}", unlisted)
    ]


def _names(
    histories: Mapping[Reference, tuple[RefEntry, ...]], gone: set[Digest]
) -> dict[Digest, list[str]]:
    """What every checkpoint is called that a ref points or pointed at, those ``gone`` left out."""
    names: dict[Digest, list[str]] = defaultdict(list)
    for ref, entries in histories.items():
        for entry in entries:
            current = entry is entries[-1] and not entry.deleted
            if current or entry.manifest not in gone:
                names[entry.manifest].append(_called(ref, entry, entries[-1]))
    return names


def _called(ref: Reference, entry: RefEntry, newest: RefEntry) -> str:
    if entry.manifest != newest.manifest:
        return f"{ref} (entry {entry.number})"
    if newest.renamed:
        return f"{ref} (renamed to {newest.renamed})"
    return f"{ref} (deleted)" if newest.deleted else str(ref)


def _misplaced(listed: Mapping[Kind, Listing]) -> list[Damage]:
    return [
        Damage(kind=KIND_NAMES[kind], name=file.name, problem=problem)
        for kind in KINDS
        for file, problem in listed[kind].misplaced
    ]


@dataclass(frozen=True, slots=True)
class _Users:
    """Who needs what: the names of checkpoints, or the digests of those that have none."""

    names: Mapping[Digest, list[str]]
    needs: Mapping[Digest, list[Digest]]

    def of(self, files: Iterable[File]) -> tuple[str, ...]:
        """Those that need one of ``files``."""
        called: set[str] = set()
        for kind, digest in files:
            for user in [digest] if kind in FORMS else self.needs.get(digest, ()):
                called.update(self.names.get(user) or [str(user)])
        return tuple(sorted(called))


def _lacking(listed: Mapping[Kind, Listing], users: _Users) -> tuple[list[File], list[Damage]]:
    """What is needed and is not there; and the folders that cannot be listed, with who needs what
    may be in them.
    """
    there = listed["objects"].files.keys() | listed["encoded"].files.keys()
    needed: list[tuple[File, list[str]]] = [
        (("manifests", digest), [name_of(form, digest) for form in FORMS])
        for digest in users.names.keys() - {item for form in FORMS for item in listed[form].files}
    ]
    needed += [
        (("objects", digest), [name_of("objects", digest), name_of("encoded", digest)])
        for digest in users.needs.keys() - there
    ]
    left, hidden = dict(needed), []
    for kind in KINDS:
        for folder, error in listed[kind].unlisted.items():
            below = [file for file, at in needed if any(is_below(name, [folder]) for name in at)]
            hidden.append(
                Damage(
                    kind=KIND_NAMES[kind],
                    name=folder,
                    problem=str(error),
                    needed_by=users.of(below),
                )
            )
            for file in below:
                left.pop(file, None)
    return list(left), hidden


def _damages(verdicts: Mapping[File, _Found], users: _Users) -> list[Damage]:
    """Each problem, with all who need what has it."""
    return [
        Damage(
            kind=KIND_NAMES[kind],
            name=str(digest),
            problem=what.problem,
            needed_by=users.of([(kind, digest)]),
            mendable=what.mendable,
            newer=what.newer,
        )
        for (kind, digest), what in verdicts.items()
        if what.problem
    ]
