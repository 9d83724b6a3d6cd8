"""Repack: encode what a remote holds as differences from related checkpoints that it holds, too.

A push does so where the parent is known and at the remote. What was pushed before its parent, or
imported without one, is held in full; so is all of a bucket's that was coded alone.

The order of steps is that of a prune's safety. While uploads may go on, deltas are written beside
the plain objects, read back, decoded and hashed: readers take the plain one, so nothing changes for
them. Then, while no upload goes on, what may have changed meanwhile is looked at again, and plain
objects are deleted. Whoever is killed in between leaves both, which a second run finishes.
"""

from __future__ import annotations

import math
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Event

from blake3 import blake3

from zoo.codec.choose import encode_best, layout_of
from zoo.codec.header import FIXED, Header, read_header
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Tensor
from zoo.domain.progress import Progress, silent
from zoo.domain.result import Result
from zoo.domain.snapshot import Snapshot
from zoo.domain.stored import StoredFile
from zoo.errors import Conflict, Corrupt, DiskFull, InvalidOption, MissingObject, ZooError
from zoo.store import Store
from zoo.store.encoded import decode_object, read_headers, read_object
from zoo.store.listing import list_folder, name_of, read_one
from zoo.store.manifests import FORMS, checkpoint_of, read_document
from zoo.store.nearness import NEAR, Sketch, apart, sketch
from zoo.tensor_names import tensors_as
from zoo.transfer.at_once import at_once
from zoo.transfer.encode import twin_of

__all__ = ["Delta", "Pair", "RepackPlan", "Repacked", "plan_repack", "repack"]

PROBED = 3
"""Objects of a checkpoint that an estimate encodes a part of: the largest."""
PART = 1 << 18
COMMON = 0.5
"""Share of the elements that two checkpoints must have in tensors of the same shapes: at a remote
nobody tells the head from the rest, and of a small network it can be a third."""
WORTH = 0.98
"""As a push has it: what saves less stays as it is."""


@dataclass(frozen=True, slots=True)
class Delta:
    """An object, the one of the same size that it is to be coded against, and its tensors."""

    object: Digest
    base: Digest
    size: int
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Pair(Result):
    """A checkpoint, and the one that it is coded against.

    Attributes:
        manifest: The checkpoint.
        names: Its names at the remote.
        base: What it is coded against.
        base_names: The names of that.
        distance: None if its manifest names the base as an ancestor. Else the base was found: how
            far sampled weights are from it, as a share of their length.
        objects: Number of objects that may be encoded.
        bytes: What these take now.
        estimate: What they take afterwards: estimated in a plan, counted when it is done.
    """

    manifest: Digest
    names: tuple[str, ...]
    base: Digest
    base_names: tuple[str, ...]
    distance: float | None
    objects: int
    bytes: int
    estimate: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RepackPlan(Result):
    """What a repack would encode.

    Attributes:
        pairs: Each checkpoint with its base; a base comes before what is coded against it.
        unread: What cannot be read, with the reason. It stays as it is.
    """

    pairs: tuple[Pair, ...]
    unread: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What the objects take now."""
        return sum(pair.bytes for pair in self.pairs)

    @property
    def estimate(self) -> int:
        """What they take afterwards, estimated."""
        return sum(pair.estimate for pair in self.pairs)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Repacked(Result):
    """What a repack did.

    Attributes:
        pairs: Each checkpoint of which something was encoded, counted.
        objects: Number of objects that are encoded now.
        bytes_before: What these took before.
        bytes_after: What they take now.
        left: What was left as it was though it was planned, with the reason.
    """

    pairs: tuple[Pair, ...]
    objects: int
    bytes_before: int
    bytes_after: int
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a remote holds."""

    objects: Mapping[Digest, StoredFile]
    encoded: Mapping[Digest, StoredFile]
    headers: Mapping[Digest, Header]

    @property
    def bases(self) -> set[Digest]:
        """What others are coded against. These must stand alone: deltas are one hop deep."""
        return {header.base for header in self.headers.values() if header.base}

    def stands(self, digest: Digest) -> bool:
        """Whether it is held as it is, or encoded without a base."""
        header = self.headers.get(digest)
        return digest in self.objects or (header is not None and header.base is None)

    def size(self, digest: Digest) -> int | None:
        """Bytes of an object; None if it is not held."""
        if plain := self.objects.get(digest):
            return plain.bytes
        header = self.headers.get(digest)
        return header.size if header else None

    def stored(self, digest: Digest) -> int:
        """Bytes that it takes, until it is coded as a difference."""
        return (self.objects.get(digest) or self.encoded[digest]).bytes


@dataclass(frozen=True, slots=True)
class _Work:
    """A plan with what carries it out."""

    shown: RepackPlan
    contents: _Contents
    deltas: tuple[tuple[Delta, ...], ...]


def plan_repack(store: Store, *, progress: Progress = silent) -> RepackPlan:
    """What a repack of a remote would encode, against what, and about how small. Nothing is
    changed.

    A checkpoint is coded against its parent where the remote has that. Without one, it is coded
    against the nearest older checkpoint of its architecture, if a sample of its weights is nearer
    than `NEAR`.

    Raises:
        InvalidOption: The store is a zoo. A zoo keeps objects as they are, to map them.
        Forbidden, NotAFile: A folder of it cannot be listed.
    """
    return _plan(store, progress).shown


def repack(store: Store, *, smallest: bool = False, progress: Progress = silent) -> Repacked:
    """Encode what pays, and delete what it replaces once the encoded form was decoded and hashed.

    Args:
        store: The remote.
        smallest: Take more time to make it smaller.
        progress: Gets the objects that are done.

    Raises:
        InvalidOption: As `plan_repack`.
        Conflict: Somebody is writing, or pruning. Nothing was deleted; what was encoded is used by
            the next run.
    """
    work = _plan(store, progress)
    deltas = {delta.object: delta for each in work.deltas for delta in each}
    left: list[str] = []
    with tempfile.TemporaryDirectory(prefix="zoo-repack-") as folder:
        coder = _Coder(store, work.contents, Path(folder), smallest=smallest, left=left)
        with store.upload(), progress("encoding", len(deltas)) as task:
            sizes = {digest: delta.size for digest, delta in deltas.items()}
            proven = {}
            for digest, header in at_once(lambda each: coder.encode(deltas[each]), sizes, Event()):
                if header:
                    proven[digest] = header
                task.advance()
        done = _swap(store, proven, work.contents, Path(folder))
    pairs = [
        _counted(pair, [one.object for one in each if one.object in done], work.contents, done)
        for pair, each in zip(work.shown.pairs, work.deltas, strict=True)
    ]
    return Repacked(
        pairs=tuple(pair for pair in pairs if pair.objects),
        objects=len(done),
        bytes_before=sum(map(work.contents.stored, done)),
        bytes_after=sum(done.values()),
        left=(*work.shown.unread, *left),
    )


def _counted(
    pair: Pair, objects: list[Digest], contents: _Contents, done: Mapping[Digest, int]
) -> Pair:
    before, after = sum(map(contents.stored, objects)), sum(done[item] for item in objects)
    return replace(pair, objects=len(objects), bytes=before, estimate=after)


def _plan(store: Store, progress: Progress) -> _Work:
    if store.is_zoo:
        raise InvalidOption(
            f"{store} is a zoo, which keeps objects as they are: they are mapped, not read",
            hint="zoo repack is for the remotes that you push to",
        )
    unread: list[str] = []
    contents = _list_contents(store, unread)
    manifests = _manifests(store, unread)
    names = _names(store)
    pairs: list[Pair] = []
    deltas: list[tuple[Delta, ...]] = []
    taken = {digest: header.base for digest, header in contents.headers.items() if header.base}
    bases = contents.bases
    with progress("comparing", len(manifests)) as task:
        for digest, base, far in _related(store, manifests, unread):
            task.advance()
            if base is None:
                continue
            changes = tuple(_deltas(manifests[digest], manifests[base], contents, taken, bases))
            estimate = _estimate(store, changes, contents)
            if estimate is None:
                continue
            taken |= {delta.object: delta.base for delta in changes}
            bases |= {delta.base for delta in changes}
            pairs.append(
                Pair(
                    manifest=digest,
                    names=names.get(digest, ()),
                    base=base,
                    base_names=names.get(base, ()),
                    distance=far,
                    objects=len(changes),
                    bytes=sum(contents.stored(delta.object) for delta in changes),
                    estimate=estimate,
                )
            )
            deltas.append(changes)
    return _Work(RepackPlan(pairs=tuple(pairs), unread=tuple(unread)), contents, tuple(deltas))


def _list_contents(store: Store, unread: list[str]) -> _Contents:
    listings = {kind: list_folder(store, kind) for kind in ("objects", "encoded")}
    for listing in listings.values():
        for error in listing.unlisted.values():
            raise error
    encoded = listings["encoded"].files
    headers = read_headers(store, "encoded", encoded)
    unread += [str(error) for error in headers.values() if isinstance(error, ZooError)]
    whole = {digest: each for digest, each in headers.items() if isinstance(each, Header)}
    return _Contents(listings["objects"].files, encoded, whole)


def _manifests(store: Store, unread: list[str]) -> dict[Digest, Manifest]:
    """What can be read, ancestors first, then by age."""
    files: dict[Digest, StoredFile] = {}
    for form in FORMS:
        files |= list_folder(store, form).files
    manifests: dict[Digest, Manifest] = {}
    for digest in files:
        manifest = read_one(partial(read_document, store), digest)
        if isinstance(manifest, Manifest):
            manifests[digest] = manifest
        elif not isinstance(manifest, Snapshot):  # what is packed of one is its checkpoint's
            unread.append(f"manifest {digest}: {manifest}")
    age = {digest: (len(each.ancestry()), files[digest].at) for digest, each in manifests.items()}
    return {digest: manifests[digest] for digest in sorted(manifests, key=lambda d: (age[d], d))}


def _names(store: Store) -> dict[Digest, tuple[str, ...]]:
    names: dict[Digest, tuple[str, ...]] = {}
    for ref in store.readable_refs()[0]:
        entry = read_one(store.read_ref, ref)
        if entry and not isinstance(entry, Exception) and not entry.deleted:
            digest = read_one(partial(checkpoint_of, store), entry.manifest)
            if isinstance(digest, Digest):
                names[digest] = (*names.get(digest, ()), str(ref))
    return names


def _related(
    store: Store, manifests: Mapping[Digest, Manifest], unread: list[str]
) -> Iterator[tuple[Digest, Digest | None, float | None]]:
    """Each checkpoint with the one to code it against: an ancestor, or the nearest that has none,
    and how far that is.
    """
    roots: dict[str, dict[Digest, Sketch]] = {}
    for digest, manifest in manifests.items():
        known = [
            parent.manifest for _, parent in manifest.lineage() if parent.manifest in manifests
        ]
        if known:
            yield digest, known[0], None
            continue
        own = read_one(partial(_sketch, store), manifest)
        if not isinstance(own, Sketch):
            unread.append(f"{digest}: {own}")
            continue
        kin = roots.setdefault(manifest.backbone.architecture, {})
        far = {other: apart(own, each, common=COMMON) for other, each in kin.items()}
        near = {other: each for other, each in far.items() if each is not None and each < NEAR}
        nearest = min(near, key=lambda other: near[other], default=None)
        if nearest is None:
            kin[digest] = own
            yield digest, None, None
        else:
            yield digest, nearest, near[nearest]


def _sketch(store: Store, manifest: Manifest) -> Sketch:
    def read(tensor: Tensor) -> bytes:
        end = tensor.offset + tensor.nbytes
        with _whole(store, tensor.object, end) as data:
            return bytes(data[tensor.offset : end])

    return sketch(manifest.tensors, read)


def _deltas(
    manifest: Manifest,
    base: Manifest,
    contents: _Contents,
    taken: Mapping[Digest, Digest],
    bases: set[Digest],
) -> Iterator[Delta]:
    """The objects of a checkpoint that can be coded against those of another: what is ``taken`` is
    coded already, or is going to be, and what is among ``bases`` must stand alone.
    """
    others = tensors_as({tensor.name for tensor in manifest.tensors}, base)
    objects: dict[Digest, list[Tensor]] = {}
    for tensor in manifest.tensors:
        objects.setdefault(tensor.object, []).append(tensor)
    for digest, tensors in objects.items():
        # Held both ways: an earlier run was killed before it deleted the plain one.
        begun = digest in taken and digest in contents.objects and digest in contents.headers
        if digest in bases or contents.size(digest) is None or (digest in taken and not begun):
            continue
        twins = {twin_of(tensor, others) for tensor in tensors}
        twin = twins.pop() if len(twins) == 1 else None
        against = taken[digest] if begun else taken.get(twin, twin) if twin else None
        size = contents.size(digest) or 0
        if (
            against in (None, digest)
            or contents.size(against) != size
            or not contents.stands(against)
        ):
            continue
        yield Delta(digest, against, size, tuple(tensors))


def _estimate(store: Store, deltas: Iterable[Delta], contents: _Contents) -> int | None:
    """About how many bytes these take as differences, by parts of the largest; None if that is not
    worth it.
    """
    largest = sorted(deltas, key=lambda delta: (-delta.size, delta.object))
    before = after = 0
    for delta in largest[:PROBED]:
        try:
            part, base = (_part(store, item, delta.size) for item in (delta.object, delta.base))
        except (Corrupt, MissingObject):
            continue  # told when it is to be encoded
        coded = encode_best(
            part, layout_of(delta.tensors, len(part)), base, delta.base, alone=False
        )
        stored = contents.stored(delta.object) / delta.size
        before += math.ceil(len(part) * stored)
        after += min(math.ceil(len(part) * stored), len(coded) if coded else len(part))
    if not before or after > before * WORTH:
        return None
    total = sum(contents.stored(delta.object) for delta in largest)
    return math.ceil(total * after / before)


def _part(store: Store, digest: Digest, size: int) -> bytes:
    data = b""
    for piece in read_object(store, digest, least=size):
        data += bytes(piece[:PART])
        if len(data) >= PART:
            break
    return data[:PART]


class _Coder:
    """Encodes objects and proves what it has made.

    What is held plain gets its encoded form beside it. What is held encoded alone can have one
    form only: the new one waits in ``folder``.
    """

    def __init__(
        self, store: Store, contents: _Contents, folder: Path, *, smallest: bool, left: list[str]
    ) -> None:
        self._store, self._contents, self._folder = store, contents, folder
        self._smallest, self._left = smallest, left
        self._sound: set[Digest] = set()

    def encode(self, delta: Delta) -> tuple[Digest, Header | None]:
        """The header of an object's proven form; None where it stays as it is."""
        try:
            return delta.object, self._encode(delta)
        except (Corrupt, MissingObject) as error:
            self._left.append(str(error))
        except DiskFull as error:  # what is done makes room; the next run does the rest
            if str(error) not in self._left:
                self._left.append(str(error))
        return delta.object, None

    def _encode(self, delta: Delta) -> Header | None:
        store, begun = self._store, self._contents.headers.get(delta.object)
        plain = delta.object in self._contents.objects
        if plain and begun and begun.base == delta.base:
            data: bytes | memoryview = store.view("encoded", delta.object)
        else:
            with _whole(store, delta.object, delta.size) as whole:
                self._check(delta.object, whole)
                coded = self._difference(delta, whole)
            if coded is None or len(coded) > self._contents.stored(delta.object) * WORTH:
                return None
            data = coded
        if plain:
            store.write("encoded", delta.object, [data])
            data = store.view("encoded", delta.object)  # what is there is proven, not what was sent
        else:
            (self._folder / delta.object.hex).write_bytes(data)
        deque(decode_object(store, delta.object, data, least=delta.size), maxlen=0)
        header = read_header(data[: FIXED.size])
        return header if header.base == delta.base else None

    def _difference(self, delta: Delta, whole: memoryview) -> bytes | None:
        with _whole(self._store, delta.base, delta.size) as base:
            # Against a damaged one it could be decoded until somebody repairs that.
            self._check(delta.base, base)
            layout = layout_of(delta.tensors, delta.size)
            return encode_best(
                whole, layout, base, delta.base, alone=False, smallest=self._smallest
            )

    def _check(self, digest: Digest, data: memoryview) -> None:
        if digest in self._sound:
            return
        actual = blake3(data).hexdigest()
        if actual != digest.hex:
            raise Corrupt(f"object {digest}", str(digest), f"blake3:{actual}", str(self._store))
        self._sound.add(digest)


@contextmanager
def _whole(store: Store, digest: Digest, size: int) -> Iterator[memoryview]:
    """An object's bytes in no memory of this process's own, decoded if that is how it is held."""
    if not store.missing("objects", [digest]):
        yield store.view("objects", digest)
        return
    with tempfile.TemporaryFile() as file:
        for piece in read_object(store, digest, least=size):
            file.write(piece)
        file.flush()
        yield memoryview(mmap(file.fileno(), file.tell(), access=ACCESS_READ))


def _swap(
    store: Store, proven: Mapping[Digest, Header], contents: _Contents, folder: Path
) -> dict[Digest, int]:
    """Delete plain objects whose encoded form is proven, and put what waits in ``folder`` in the
    place of what was encoded alone; the bytes that each takes now.
    """
    done: dict[Digest, int] = {}
    with _alone(store):
        now = _list_contents(store, [])
        for digest, header in proven.items():
            assert header.base is not None
            is_plain = digest in now.objects
            same = now.headers.get(digest) == (header if is_plain else contents.headers.get(digest))
            # Meanwhile somebody may have coded against it, made its base a delta, or repaired it.
            if digest in now.bases or not now.stands(header.base) or not same:
                if is_plain and same:
                    store.remove(name_of("encoded", digest))
            elif is_plain:
                store.remove(name_of("objects", digest))
                done[digest] = now.encoded[digest].bytes
            else:
                data = (folder / digest.hex).read_bytes()
                store.replace("encoded", digest, [data])
                done[digest] = len(data)
    return done


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """While nobody writes to the store."""
    try:
        with store.pruning():
            yield
    except Conflict as error:
        error.hint = "what was encoded stays and is used by the next run: zoo repack, once they end"
        raise
