"""Hints: which files that are here a client of Xet is told of, so that it sends only what is new.

They are files that who asks may read and that look like those that are to be sent: what the
repository has had, and networks with the same tensors. When the upload ends, it is looked at again
whether they may be read.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import chain, islice
from threading import BoundedSemaphore
from typing import Annotated

import msgspec
from msgspec import Meta

from zoo.domain.digest import Digest
from zoo.domain.limits import LARGEST, REQUEST_BYTES
from zoo.domain.manifest import WeightsFile
from zoo.domain.snapshot import Snapshot, SnapshotFile
from zoo.errors import Corrupt, ZooError
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.chunk_list import Chunk, read_chunks
from zoo.serve.keep.files import FileLayout
from zoo.serve.keep.hint import VirtualXorb, hint, virtual_xorbs
from zoo.serve.keep.xorbs import VirtualReader, Xorbs
from zoo.store.capabilities import read_small

__all__ = ["FileToSend", "open_virtual", "hinted", "keep_plan"]

LOG = logging.getLogger("zoo.serve")
WEIGHTS = ".safetensors"
VERSIONS = 5
"""So many versions of a branch are looked at."""
SIMILAR = 64
"""So many checkpoints of about the size are looked at, of that of all files together."""
FILES, MADE = 6, 3
"""So many files are told of; of so many at most the chunks are found while the client waits."""
LEAST_BYTES = 1 << 20
"""Of a file that is told of: what is smaller is sent sooner."""
MOST_CHUNKS = 200_000
"""So many chunks are told of, 13 GB: 64 bytes each."""
MOST_BYTES = MOST_CHUNKS << 16
"""Of a file that is cut: a larger one has more chunks than are told of."""
MOST_PLANNED, SAMPLE = 16, 1024
"""So many files are kept of what a client is about to send, and so many letters of each."""
CUT_SECONDS = 120
CUTTING = BoundedSemaphore(2)
"""So many files are cut at once, whoever waits for it."""
TENSOR = re.compile(rb'"([^"\\]{1,200})":\s*\{"dtype":"(\w{1,8})","shape":\[([\d, ]*)\]')
Tensors = frozenset[tuple[str, str, str]]
"""Names, dtypes and shapes."""


class FileToSend(msgspec.Struct):
    """A file that a client is about to send; ``sample`` is how it begins, in base 64."""

    path: str
    size: Annotated[int, Meta(ge=0, le=LARGEST)] = 0
    sample: str = ""


PLAN = msgspec.json.Decoder(list[FileToSend])


def keep_plan(ask: Ask, files: Iterable[FileToSend]) -> None:
    """Keep what a client is about to send to the repository: how the weights begin says which
    network they are of.
    """
    weights = [
        FileToSend(path=file.path, size=file.size, sample=file.sample[:SAMPLE])
        for file in files
        if file.path.endswith(WEIGHTS)
    ]
    if weights:
        backend = ask.hub.workspace.store.backend
        backend.put(_plan(ask), [msgspec.json.encode(weights[:MOST_PLANNED])])


def hinted(ask: Ask, xorbs: Xorbs) -> bytes:
    """What a client is told of chunks that are here; empty if there is nothing to tell."""
    ask.hub.workspace.store.disk.make_folder(xorbs.folder)
    with ask.hub.taking_turns(
        xorbs.folder
    ):  # a client asks several times at once, and is told the same
        shard = xorbs.hint()
        if shard is None:
            virtual = [
                (xorb, chunks[xorb.first : xorb.first + xorb.count])
                for digest, file, chunks in _known(ask)
                for xorb in virtual_xorbs(digest, file.sha256.hex, chunks)
            ]
            if not virtual:
                return b""
            shard = hint(virtual)
            xorbs.tell(shard, [xorb for xorb, _ in virtual])
    return shard


def open_virtual(ask: Ask, xorb: VirtualXorb) -> VirtualReader:
    """The chunks that a virtual xorb stands for.

    Raises:
        Corrupt: The file is there no more for who asks.
    """
    store, digest = ask.hub.workspace.store, Digest.parse(xorb.manifest)
    for file in _weights(ask, [digest]).get(digest, ()):
        chunks = read_chunks(store, xorb.sha256, file.size)
        if file.sha256.hex == xorb.sha256 and chunks:
            offset = sum(chunk.size for chunk in chunks[: xorb.first])
            own = chunks[xorb.first : xorb.first + xorb.count]
            return VirtualReader(FileLayout(store, file), offset, own)
    raise Corrupt("the shard", f"the file that xorb {xorb.name} is of", "it is gone: send it again")


def _known(ask: Ask) -> Iterator[tuple[Digest, WeightsFile, list[Chunk]]]:
    """The files that are told of, each with the checkpoint or snapshot that has it, and chunks."""
    cut_count, left = 0, MOST_CHUNKS
    for digest, file in islice(_likely(ask), FILES):
        chunks = read_chunks(ask.hub.workspace.store, file.sha256.hex, file.size)
        if not chunks and cut_count < MADE and file.size <= MOST_BYTES:
            cut_count += 1
            chunks = _cut(ask, file)
        if chunks and len(chunks) <= left:
            left -= len(chunks)
            yield digest, file, chunks


def _cut(ask: Ask, file: WeightsFile) -> list[Chunk]:
    """The chunks of a file, found by a process that has numpy; none if it fails."""
    store = ask.hub.workspace.store
    command = [sys.executable, "-m", "zoo.serve.keep.cut", str(store.root)]
    with CUTTING:
        if chunks := read_chunks(store, file.sha256.hex, file.size):
            return chunks  # found for somebody else meanwhile
        try:
            alone = Snapshot.of([SnapshotFile.of(file)]).to_bytes()
            subprocess.run(command, input=alone, timeout=CUT_SECONDS, check=True, stdout=sys.stderr)
        except (subprocess.SubprocessError, OSError, ZooError) as error:
            LOG.warning("the chunks of %s are not known: %s", file.sha256, error)
    return read_chunks(store, file.sha256.hex, file.size)


def _likely(ask: Ask) -> Iterator[tuple[Digest, WeightsFile]]:
    """The weights that have most in common with what is sent, the likeliest first, each once."""
    seen = set[Digest]()
    for digest, file in (*_own(ask), *_similar(ask)):
        if file.size >= LEAST_BYTES and file.sha256 not in seen:
            seen.add(file.sha256)
            yield digest, file


def _own(ask: Ask) -> Iterator[tuple[Digest, WeightsFile]]:
    """The weights of the last versions of the repository."""
    store, history = ask.hub.workspace.store, ask.hub.history
    for version in history.versions(ask.repo):
        log = store.history_since_damage(version.ref)
        newest = [entry.manifest for entry in log[: -VERSIONS - 1 : -1]]
        for digest, files in _weights(ask, newest).items():
            yield from ((digest, file) for file in files)


def _similar(ask: Ask) -> Iterator[tuple[Digest, WeightsFile]]:
    """The weights of networks that have the tensors which the files begin with; the one with most
    of them first, and of several the closest in size.
    """
    matches = list[tuple[int, Digest, WeightsFile]]()
    sent = [(file.size, tensors) for file in _planned(ask) if (tensors := _tensors(file.sample))]
    registry, most = ask.hub.workspace.registry, SIMILAR // max(1, len(sent))
    near = chain.from_iterable(registry.checkpoints_of_size(size, most) for size, _ in sent)
    for digest, files in _weights(ask, [*dict.fromkeys(near)]).items():
        for file in files:
            has = {(each.name, each.dtype, _shape(each.shape)) for each in file.tensors}
            shared = ((len(wanted & has), len(wanted)) for _, wanted in sent)
            if most_shared := max((count for count, of in shared if 2 * count >= of), default=0):
                matches.append((most_shared, digest, file))
    for _, digest, file in sorted(matches, key=lambda each: -each[0]):
        yield digest, file


def _weights(ask: Ask, digests: Sequence[Digest]) -> Mapping[Digest, Sequence[WeightsFile]]:
    """The weights of those checkpoints and snapshots that are there for who asks."""
    hub, weights = ask.hub, dict[Digest, Sequence[WeightsFile]]()
    there = hub.reach.there(ask.knowing_all(), digests)
    for digest in digests:
        with suppress(ZooError):  # it is gone, or damaged
            if digest in there:
                weights[digest] = hub.files.document(digest).weights
    return weights


def _planned(ask: Ask) -> list[FileToSend]:
    with suppress(FileNotFoundError, msgspec.MsgspecError):
        data = read_small(ask.hub.workspace.store.backend, _plan(ask), REQUEST_BYTES)
        return PLAN.decode(data)
    return []


def _plan(ask: Ask) -> str:
    repo = blake2b(ask.repo.encode(), digest_size=16).hexdigest()
    return ask.hub.blobs.folder(ask.actor.name, f"plan-{repo}/files.json")


def _tensors(sample: str) -> Tensors:
    """The tensors that the first bytes of a file tell of."""
    with suppress(ValueError):
        matches = TENSOR.findall(b64decode(sample))
        return frozenset(
            (name.decode(), dtype.decode(), _shape(map(int, filter(None, shape.split(b",")))))
            for name, dtype, shape in matches
        )
    return frozenset()


def _shape(shape: Iterable[int]) -> str:
    return ",".join(map(str, shape))
