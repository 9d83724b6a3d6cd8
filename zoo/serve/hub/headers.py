"""Headers: what safetensors files say of their tensors, without their weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec
from msgspec.json import decode, encode

from zoo.domain.limits import HEADER_BYTES
from zoo.errors import InvalidWeights
from zoo.serve.http.answer import JSON, Answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.files import file_of
from zoo.serve.keep.history import MAIN, Commit
from zoo.store.header import parse_header

__all__ = ["safetensors_metadata"]


class _Index(msgspec.Struct, frozen=True):
    """Which file has which tensor."""

    weight_map: Mapping[str, str]
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


def safetensors_metadata(ask: Ask, path: str) -> Answer:
    """The headers of all files that an index names, of the newest commit.

    Raises:
        Refused: There is no such file, it is no index, or names files that are not there.
    """
    commit = ask.commit(MAIN)
    try:
        index = decode(_bytes(ask, commit, path, file_of(ask, commit, path).size), type=_Index)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        text = f"'{path:.200}' is no index of safetensors files: {error}"
        raise Refused("BadRequest", text) from None
    names = {*index.weight_map.values()}
    if len(names) > len(ask.view(commit).files):  # a million ways to say ./one
        raise Refused("BadRequest", f"'{path:.200}' names more files than there are")
    left, headers = HEADER_BYTES, {}
    for name in sorted(names):
        header = _header(ask, commit, str(PurePosixPath(path).parent / name), left)
        headers[name], left = msgspec.Raw(header), left - len(header)
    reply = {"index": {"metadata": index.metadata}, "headers": headers}
    return Answer(headers=JSON, body=encode(reply))


def _header(ask: Ask, commit: Commit, path: str, most: int) -> bytes:
    """The header of a safetensors file, as JSON, of so many bytes at ``most``."""
    size = file_of(ask, commit, path).size
    length = int.from_bytes(_bytes(ask, commit, path, min(8, size)), "little")
    if length > most:
        text = f"these headers have more than {HEADER_BYTES:,} bytes: read them file by file"
        raise Refused("BadRequest", text)
    data = _bytes(ask, commit, path, min(8 + length, size))
    try:
        parse_header(Path(path), memoryview(data), size)
    except InvalidWeights as error:
        raise Refused("BadRequest", str(error)) from None
    return data[8:]


def _bytes(ask: Ask, commit: Commit, path: str, count: int) -> bytes:
    """The first bytes of a file; of weights that are taken apart, no tensor is read for a header.

    Raises:
        Refused: They are too many.
    """
    if count > HEADER_BYTES + 8:
        raise Refused("BadRequest", f"'{path:.200}' is no index: it has {count:,} bytes")
    files = ask.hub.files
    parts = files.parts(commit.manifest, path, 0, count)
    files.check(parts)
    return b"".join(piece for part in parts for piece in part.pieces())
