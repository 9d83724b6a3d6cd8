"""A program that has the server's parsers read what hypothesis makes up, in little memory: ranges,
commits, shards, xorbs, headers of weights and pickles, which claim sizes up to 2**63.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import lz4.frame
from fakes.bounded import limit_memory
from fakes.sending import packed, shard
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from zoo.domain.digest import Digest
from zoo.domain.limits import COMMIT_LINE_BYTES
from zoo.domain.snapshot import SnapshotFile
from zoo.errors import Corrupt
from zoo.serve.http.errors import Refused
from zoo.serve.http.ranges import asked_range
from zoo.serve.hub.operations import applied, read_operations
from zoo.serve.keep.pickled import read_pickled
from zoo.serve.keep.shard import shard_files
from zoo.serve.keep.xorb import chunks_of
from zoo.store import Store
from zoo.store.incoming import incoming

MEGABYTES = 48
"""More than the process has taken when it begins: less than one bomb, or a line of a commit that
never ends, would take.
"""
CLAIMS = st.sampled_from([0, 1, 255, 1 << 24, 1 << 32, 1 << 62, 1 << 63]).flatmap(
    lambda size: st.sampled_from([max(size - 1, 0), size])
)
BYTES = st.binary(max_size=60)
FILE = SnapshotFile(path="file", size=1, sha256=Digest("sha256", "0" * 64),
                    object=Digest("blake3", "0" * 64))  # fmt: skip
DTYPES = st.sampled_from(["U8", "F32", "BF16", "F64", "X"])


@cache
def bomb() -> bytes:
    """A chunk that says it is small, and is 60 MB."""
    data: bytes = lz4.frame.compress(bytes(60_000_000), block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    assert len(data) < 256 * 1024
    sizes = len(data).to_bytes(3, "little"), (131072).to_bytes(3, "little")
    return b"\0" + sizes[0] + b"\1" + sizes[1] + data


@given(begin=CLAIMS | st.none(), end=CLAIMS | st.none(), size=CLAIMS)
def ranges(begin: int | None, end: int | None, size: int) -> None:
    """What is asked for lies in the file."""
    first, last = ("" if each is None else each for each in (begin, end))
    with suppress(Refused):
        found = asked_range(Headers({"range": f"bytes={first}-{last}"}), size, "x")
        assert found is None or 0 <= found[0] < found[1] <= size


@given(
    keys=st.lists(st.sampled_from(["header", "file", "lfsFile", "deletedFolder"]), max_size=5),
    claim=CLAIMS,
    more=BYTES,
    deep=st.sampled_from([0, 100_000]),
    lines=st.sampled_from([0, 0, 0, COMMIT_LINE_BYTES * 20]),
)
@example(keys=["header"], claim=1, more=b"", deep=0, lines=COMMIT_LINE_BYTES * 20)
def commits(keys: list[str], claim: int, more: bytes, deep: int, lines: int) -> None:
    """A commit, or a refusal; a line that does not end is not waited for."""
    value = {"summary": "x", "path": "a/b", "oid": "0" * 64, "size": claim, "content": "eA==",
             "encoding": "base64"}  # fmt: skip
    body = "\n".join(json.dumps({"key": key, "value": value}) for key in keys).encode()
    pieces = (each for each in (body, b"\n" + b"[" * deep, more))
    endless = (b"x" * (1 << 20) for _ in range(lines >> 20))

    with suppress(Refused):
        sent = read_operations(chain(pieces, endless), add=lambda _: FILE, find=lambda _: FILE)
        applied(sent.each, {})


@given(count=CLAIMS, size=CLAIMS, flags=CLAIMS, data=BYTES)
def shards(count: int, size: int, flags: int, data: bytes) -> None:
    """A file of a shard says how many records it has, and of how many bytes each is."""
    good = bytearray(shard([("ab" * 32, [("cd" * 32, 0, 1, size % (1 << 32))])]))
    good[80:88] = struct.pack("<II", flags % (1 << 32), count % (1 << 32))
    for body in (bytes(good), bytes(good) + data, good[:48] + data):
        with suppress(Corrupt):
            assert sum(1 for file in shard_files(memoryview(body)) for _ in file.spans) < 50


@given(size=CLAIMS, here=CLAIMS, scheme=st.integers(0, 3), data=BYTES, bombs=st.integers(0, 1))
@example(size=1, here=1, scheme=1, data=b"", bombs=1)
def xorbs(size: int, here: int, scheme: int, data: bytes, bombs: int) -> None:
    """A chunk says how many bytes come, and how many it is."""
    sizes = [(each % (1 << 24)).to_bytes(3, "little") for each in (here, size)]
    claims = b"\0" + sizes[0] + bytes([scheme]) + sizes[1] + data
    frame = lz4.frame.compress(data, content_checksum=True)
    framed = bytearray(packed(data, 1) if data else b"") + frame[: len(frame) // 2]
    for body in (claims, bytes(framed), bomb() * bombs):
        try:
            assert sum(map(len, chunks_of([body]))) < 1000
        except Corrupt as error:  # lz4 says so of memory that it does not get
            if "buffer" in str(error):
                raise


@given(length=CLAIMS, ends=st.lists(CLAIMS, max_size=3), dtype=DTYPES, size=CLAIMS, data=BYTES)
def headers(length: int, ends: list[int], dtype: str, size: int, data: bytes) -> None:
    """A header says how long it is, and where its tensors end; who sends it, how long all is."""
    tensors = {
        f"t{at}": {"dtype": dtype, "shape": [end], "data_offsets": [begin, end]}
        for at, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
    }
    text = json.dumps(tensors).encode()
    whole = 8 + len(text) + max(ends, default=0)
    for said in (length, len(text)):
        body = (said % (1 << 64)).to_bytes(8, "little") + text + data
        for all_of_it in (size, len(body), whole):
            with (
                suppress(Corrupt),
                incoming(STORE, [body], size=all_of_it, folder="sent/tmp-x") as came,
            ):
                came.publish()


@given(st.lists(st.sampled_from(b"NX\x8d\x8b\x8a\x96Gr\x95\x80"), max_size=20), CLAIMS, BYTES)
def pickles(codes: list[int], claim: int, data: bytes) -> None:
    """An opcode says how many bytes follow."""
    number = (claim % (1 << 64)).to_bytes(8, "little")
    body = b"\x80\x04" + b"".join(bytes([code]) + number for code in codes) + data

    def read(begin: int, end: int) -> bytes:
        assert end - begin < 24 << 20
        return body[begin:end]

    for size in (len(body), max(claim, len(body))):
        read_pickled(read, size)


PARSERS: tuple[Callable[[], None], ...] = (ranges, commits, shards, xorbs, headers, pickles)

if __name__ == "__main__":
    bomb()
    how = settings(
        max_examples=int(sys.argv[1]), deadline=None, database=None,
        phases=(Phase.explicit, Phase.generate), suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        STORE = Store.create(Path(folder) / "zoo")
        limit_memory(MEGABYTES)
        for parser in PARSERS:
            how(parser)()
            sys.stdout.write(f"{parser.__name__} ")
