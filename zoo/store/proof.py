"""Proof: that the tensors of a manifest are those of the files that it names by SHA-256.

An object's digest says that its bytes are right. Which bytes are put together to a file, and what
its tensors are called, only the file's own header and SHA-256 say.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from blake3 import blake3

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.limits import HEADER_BYTES, OBJECT_SLACK
from zoo.domain.manifest import PlainFile, WeightsFile
from zoo.domain.snapshot import Snapshot
from zoo.errors import InvalidManifest, InvalidWeights, disk_errors
from zoo.store.encoded import read_encoded
from zoo.store.files import object_ranges
from zoo.store.header import parse_header
from zoo.store.manifests import Document
from zoo.store.not_finite import watched
from zoo.store.store import Store

__all__ = ["File", "Objects", "check_file", "files_of", "key_of", "stored_ranges"]

KEPT = 4 << 20
"""Bytes of objects that are held in memory; more go to a temporary file."""

Buffer = bytes | memoryview
File = WeightsFile | PlainFile
Range = tuple[Digest, int, int]
"""An object, an offset, a length."""


def files_of(document: Document) -> Iterator[File]:
    """All files of a checkpoint or a snapshot."""
    if isinstance(document, Snapshot):
        return (file.stored for file in document.files)
    return chain(document.weights, document.files)


def key_of(file: File) -> str:
    """The same for files of which the same is to be proven."""
    ranges = [(str(digest), *span) for digest, *span in object_ranges(file)]
    names: list[object] = [file.size, str(file.sha256)]
    if isinstance(file, WeightsFile):
        names += [(tensor.name, tensor.dtype, tensor.shape) for tensor in file.tensors]
    return blake3(repr((ranges, names)).encode()).hexdigest()


def check_file(
    file: File, read: Callable[[Range], Iterable[Buffer]], odd: list[str] | None = None
) -> None:
    """Put ``file`` together from what ``read`` gives of objects, and compare. ``odd`` gets the
    names of tensors with NaN or infinite values; None: nobody looks.

    Raises:
        InvalidManifest: It is not the file that the manifest says, or its tensors are not those of
            its header.
    """
    hasher = hashlib.sha256()
    tensors = file.tensors if isinstance(file, WeightsFile) else ()
    for number, span in enumerate(object_ranges(file)):
        pieces = read(span)
        if number:  # behind the header
            tensor = tensors[number - 1]
            if odd is not None:
                pieces = watched(tensor.dtype, pieces, partial(odd.append, tensor.name))
        elif isinstance(file, WeightsFile):
            pieces = [_checked_header(file, span, pieces)]
        for piece in pieces:
            hasher.update(piece)
    if hasher.hexdigest() != file.sha256.hex:
        raise InvalidManifest(
            f"'{file.name}' is not the file that the manifest says: "
            f"expected {file.sha256}, found sha256:{hasher.hexdigest()}"
        )


def stored_ranges(store: Store) -> Callable[[Range], Iterable[Buffer]]:
    """How `check_file` reads objects that ``store`` holds as they are."""

    def read(span: Range) -> Iterable[Buffer]:
        digest, offset, length = span
        return [store.view("objects", digest)[offset : offset + length]]

    return read


class Objects:
    """The objects of one file in any store: each is read once, and hashed whole on the way.

    Args:
        store: Has the objects.
        plain: Those that it holds as they are.
        file: What is put together from them.

    Attributes:
        sound: Those that were read, and whether they are what their digests say.
    """

    def __init__(self, store: Store, plain: Container[Digest], file: File) -> None:
        self.sound: dict[tuple[Kind, Digest], bool] = {}
        self._store, self._plain = store, plain
        self._uses = Counter(digest for digest, _, _ in object_ranges(file))
        self._least: Counter[Digest] = Counter()
        for digest, offset, length in object_ranges(file):
            self._least[digest] = max(self._least[digest], offset + length)
        self._kept: dict[Digest, int] = {}
        self._file = tempfile.SpooledTemporaryFile(max_size=KEPT)  # noqa: SIM115 - see close

    def close(self) -> None:
        """Let go of the temporary file."""
        self._file.close()

    def read(self, span: Range) -> Iterator[Buffer]:
        """A range of an object, as `check_file` asks for it."""
        digest, offset, length = span
        if self._uses[digest] == 1:
            yield from _cut(self._whole(digest), offset, length)
            return
        if digest not in self._kept:
            self._kept[digest] = self._file.seek(0, 2)
            for piece in _cut(self._whole(digest), 0, self._least[digest]):
                with disk_errors(tempfile.gettempdir()):
                    self._file.write(piece)
        self._file.seek(self._kept[digest] + offset)
        while length > 0 and (piece := self._file.read(min(length, KEPT))):
            length -= len(piece)
            yield piece

    def _whole(self, digest: Digest) -> Iterator[Buffer]:
        if digest not in self._plain:
            yield from read_encoded(self._store, digest, least=self._least[digest])
            self.sound["encoded", digest] = True  # else that had raised an error
            return
        hasher = blake3()
        # No more than one checkpoint may leave unused of it: a sparse file claims any size.
        most = self._least[digest] + OBJECT_SLACK
        for piece in self._store.read("objects", digest, 0, most + 1):
            hasher.update(piece)
            yield piece
        self.sound["objects", digest] = hasher.hexdigest() == digest.hex


def _cut(pieces: Iterable[Buffer], offset: int, length: int) -> Iterator[Buffer]:
    """A part of what ``pieces`` hold, all of which are taken."""
    for piece in pieces:
        part = piece[max(offset, 0) : max(offset + length, 0)]
        if part:
            yield part
        offset -= len(piece)


def _checked_header(file: WeightsFile, span: Range, pieces: Iterable[Buffer]) -> Buffer:
    """The verbatim header of a safetensors file, if it tells of the tensors of the manifest."""
    if span[2] > HEADER_BYTES + 8:
        raise InvalidManifest(f"'{file.name}' has a header of {span[2]} bytes")
    data = b"".join(pieces)
    try:
        header = parse_header(Path(file.name), memoryview(data), file.size)
    except InvalidWeights as error:
        raise InvalidManifest(f"the header of {error}") from error
    tensors = [
        (each.name, each.dtype, each.shape, each.end - each.begin) for each in header.entries
    ]
    if tensors != [(each.name, each.dtype, each.shape, each.nbytes) for each in file.tensors]:
        raise InvalidManifest(f"the tensors of '{file.name}' are not those that its header names")
    return data
