"""BitX, written after its paper so that it can be measured on the same bytes.

ZipLLM, https://arxiv.org/abs/2505.06252: XOR with the parent, the exponent and each byte of the
rest in streams of their own, zstd level 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from zoo.store.header import parse_header

LEVEL = 3
WORDS: dict[str, Any] = {
    "F32": np.dtype(np.uint32),
    "BF16": np.dtype(np.uint16),
    "I64": np.dtype(np.uint64),
}
MANTISSA = {4: 23, 2: 7}  # bits of it, by the bytes of a float


def encode(one: NDArray[Any], base: NDArray[Any]) -> list[bytes]:
    """The streams of ``one``, given its parent; a stream that zstd does not shrink is kept raw."""
    packer = zstandard.ZstdCompressor(level=LEVEL)
    raw = [part.tobytes() for part in split(one ^ base)]
    return [min(part, packer.compress(part), key=len) for part in raw]


def decode(streams: list[bytes], base: NDArray[Any]) -> NDArray[Any]:
    """What `encode` was given, from its streams and the parent."""
    size = len(base) * (1 if base.itemsize in MANTISSA else base.itemsize)
    unpacker = zstandard.ZstdDecompressor()
    raw = [part if len(part) == size else unpacker.decompress(part) for part in streams]
    words = joined([np.frombuffer(part, np.uint8) for part in raw], base.dtype)
    one: NDArray[Any] = words ^ base
    return one


def split(words: NDArray[Any]) -> list[NDArray[Any]]:
    """The exponents, and each byte of sign and mantissa; words that are no floats stay whole."""
    width = MANTISSA.get(words.itemsize)
    if width is None:
        return [words]
    exponent = ((words >> width) & 0xFF).astype(np.uint8)
    rest = (words & ((1 << width) - 1)) | (words >> (width + 8) << width)
    octets = rest.view(np.uint8).reshape(len(rest), -1)[:, : words.itemsize - 1]
    return [exponent, *np.ascontiguousarray(octets.T)]


def joined(parts: list[NDArray[Any]], dtype: np.dtype) -> NDArray[Any]:
    """The words that `split` took apart."""
    width = MANTISSA.get(dtype.itemsize)
    if width is None:
        return parts[0].view(dtype)
    octets = np.zeros((len(parts[0]), dtype.itemsize), np.uint8)
    for place, part in enumerate(parts[1:]):
        octets[:, place] = part
    rest = octets.view(dtype).ravel()
    exponent = parts[0].astype(dtype) << width
    return (rest >> width << (width + 8)) | exponent | (rest & ((1 << width) - 1))


class BitX:
    """Checkpoints, each coded against the one before it.

    A tensor that is the same there costs nothing; one without a tensor of its shape there is coded
    against zeros, which leaves the streams. The header is kept with zstd. An index of the streams,
    which a real store needs, is not counted.
    """

    def __init__(self, _: Path) -> None:
        self.parent: dict[str, NDArray[Any]] = {}
        self.newest: dict[str, NDArray[Any]] = {}
        self.streams: dict[str, list[bytes]] = {}
        self.header = b""
        self.size = 0

    def add(self, file: Path) -> None:
        """Code a safetensors file."""
        self.parent = self.newest
        header, self.newest = tensors(file)
        self.header = zstandard.ZstdCompressor(level=LEVEL).compress(header)
        self.streams = {
            name: encode(words, self._base(name, words))
            for name, words in self.newest.items()
            if name not in self.parent or not np.array_equal(words, self.parent[name])
        }
        self.size += len(self.header)
        self.size += sum(len(part) for streams in self.streams.values() for part in streams)

    def held(self) -> int:
        """Bytes of all streams and headers."""
        return self.size

    def restore(self, target: Path) -> None:
        """Write the newest file, from its streams and its parent."""
        bodies = [
            decode(self.streams[name], self._base(name, words))
            if name in self.streams
            else self.parent[name]
            for name, words in self.newest.items()
        ]
        header = zstandard.ZstdDecompressor().decompress(self.header)
        target.write_bytes(header + b"".join(body.tobytes() for body in bodies))

    def _base(self, name: str, words: NDArray[Any]) -> NDArray[Any]:
        base = self.parent.get(name)
        return base if base is not None and len(base) == len(words) else np.zeros_like(words)


def tensors(file: Path) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """The header of a safetensors file verbatim, and its tensors as unsigned integers."""
    data = file.read_bytes()
    header = parse_header(file, memoryview(data))
    return data[: header.length], {
        entry.name: np.frombuffer(data[entry.begin : entry.end], WORDS[entry.dtype])
        for entry in header.entries
    }
