"""Text through zstd, against an earlier text where there is one: manifests, and headers of files.

A child's differ from its parent's in a few names and numbers, so that the whole parent serves zstd
as a dictionary (``zstd --patch-from``). Imports no numpy: whoever only reads manifests needs none.
"""

from __future__ import annotations

from collections.abc import Iterable

import zstandard

from zoo.codec.header import Buffer, Codec, check, sealed, start_of_chunks
from zoo.codec.layouts import LAYOUTS
from zoo.domain.digest import Digest
from zoo.domain.limits import TEXT_BYTES
from zoo.errors import Corrupt

__all__ = ["decode_text", "encode_text"]

LEVEL = 3
"""Higher ones save a few bytes of some hundred, and take a hundred times as long."""

LARGEST_TABLE = 20


def encode_text(data: Buffer, base: Buffer = b"", base_digest: Digest | None = None) -> bytes:
    """Encode a text of 1 to `TEXT_BYTES` bytes, alone or as the difference from ``base``."""
    # Over both, so that nothing of the base is out of sight. The tables take at most 8 MiB.
    window = max((len(data) + len(base)).bit_length(), zstandard.WINDOWLOG_MIN)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        source_size=len(data),
        dict_size=len(base),
        window_log=window,
        hash_log=min(window, LARGEST_TABLE),
        chain_log=min(window, LARGEST_TABLE),
        write_content_size=True,
        write_dict_id=False,
    )
    coder = zstandard.ZstdCompressor(compression_params=parameters, dict_data=_dictionary(base))
    chunk: bytes = coder.compress(data)
    return sealed(Codec.ZSTD, LAYOUTS["BYTES"], len(data), base_digest, len(data), [chunk])


def decode_text(data: Buffer, *, limit: int, base: Iterable[Buffer] = ()) -> bytes:
    """Decode a text. Whoever keeps it checks its digest.

    Args:
        data: The encoded text.
        limit: Most bytes that it may have when decoded; more is refused before allocating.
        base: The bytes, in pieces, that it is the difference from.

    Raises:
        Corrupt: The data is damaged, too large, or the difference from something else.
        Unsupported: A newer format.
    """
    header = check(data)
    if header.codec != Codec.ZSTD:
        raise Corrupt("an encoded text", "zstd", header.codec.name)
    if header.size > limit:
        raise Corrupt("an encoded text", f"at most {limit} bytes", f"{header.size} bytes")
    body = memoryview(data)[start_of_chunks(header) :]
    try:
        size = zstandard.frame_content_size(body)
        if size != header.size:  # before allocating what a stranger's frame asks for
            raise Corrupt("an encoded text", f"{header.size} bytes", f"{size} bytes")
        decoder = zstandard.ZstdDecompressor(dict_data=_dictionary(_joined(base)))
        text: bytes = decoder.decompress(body, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt("an encoded text", "a zstd frame", str(error)) from error
    return text


def _dictionary(base: Buffer) -> zstandard.ZstdCompressionDict | None:
    if not base:
        return None
    return zstandard.ZstdCompressionDict(bytes(base), dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _joined(base: Iterable[Buffer]) -> bytes:
    buffer = bytearray()
    for piece in base:
        buffer += piece
        if len(buffer) > TEXT_BYTES:
            raise Corrupt("the base of an encoded text", f"at most {TEXT_BYTES} bytes", "more")
    return bytes(buffer)
