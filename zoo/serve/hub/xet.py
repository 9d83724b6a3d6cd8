"""Xet: large files as clients of Xet send them. They cannot be told to do otherwise.

A file comes as chunks, many of them in a xorb, and at the end a shard says which chunks are which
file. Before they send chunks, clients ask whether somebody has them. Each upload has an address of
its own: clients remember for weeks what they have sent to one, and do not send it there again. They
are never told that files could be read by Xet.
"""

from __future__ import annotations

import re
from functools import partial
from mmap import ACCESS_READ, mmap
from secrets import token_hex

from zoo.domain.limits import UPLOADED_FILE_BYTES
from zoo.errors import Corrupt, disk_errors
from zoo.serve.http.answer import NO_STORE, Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.branches import refuse_pull_request
from zoo.serve.hub.hints import hinted, open_virtual
from zoo.serve.hub.quota import check_size
from zoo.serve.hub.sealed import opened, refusing, seal_of, sealed
from zoo.serve.keep.chunk_list import keep_chunks
from zoo.serve.keep.shard import SHARD_BYTES, shard_files
from zoo.serve.keep.xorbs import Xorbs

__all__ = ["chunks", "put_shard", "put_xorb", "write_token"]

HASH = re.compile("[0-9a-f]{64}")


def write_token(ask: Ask, revision: str) -> Answer:
    """Where to send files, and the token for that."""
    del revision
    refuse_pull_request(ask)
    check_size(ask, 1)  # what comes is not known yet
    space = token_hex(8)
    token, seal = sealed(ask, "xet", space)
    url = f"{ask.call.base}/xet/{space}"
    body = {"accessToken": token, "exp": seal.expires, "casUrl": url}
    headers = {
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": f"{seal.expires}",
        "X-Xet-Cas-Url": url,
        **NO_STORE,
    }
    return json_answer(body, headers=headers)


def chunks(ask: Ask, space: str, digest: str) -> Answer:
    """Which chunks are here that the client may have, too; it asks by one of them, which does not
    matter.
    """
    del digest
    if shard := hinted(*_xorbs(ask, space)):
        return Answer(headers={"Content-Type": "application/octet-stream"}, body=shard)
    raise Refused("NotFound", "no such chunk is known")


def put_xorb(ask: Ask, space: str, digest: str) -> Answer:
    """Some chunks."""
    _, xorbs = _xorbs(ask, space)
    if not HASH.fullmatch(digest):
        raise Refused("BadRequest", "that is no hash of a xorb")
    is_new = not xorbs.has(digest)
    with refusing():
        xorbs.keep(digest, ask.call.pieces)
    return json_answer({"was_inserted": is_new})


def put_shard(ask: Ask, space: str) -> Answer:
    """Which chunks are which files: they are put together, and kept as any file that is sent."""
    whose, xorbs = _xorbs(ask, space)
    store = whose.hub.workspace.store
    with refusing(), disk_errors(store.root), store.disk.staged() as (spool, _):
        for piece in ask.call.pieces:
            spool.write(piece)
            if spool.tell() > SHARD_BYTES:
                raise Corrupt("the shard", f"at most {SHARD_BYTES} bytes", "more")
        spool.flush()
        size = spool.tell()
        data = memoryview(mmap(spool.fileno(), size, access=ACCESS_READ) if size else b"")
        # Read whole before anything is done; many files may be the same, such as the empty one.
        for file in {each.sha256: each for each in shard_files(data)}.values():
            if file.size > UPLOADED_FILE_BYTES:
                raise Corrupt("a file", f"at most {UPLOADED_FILE_BYTES} bytes", f"{file.size}")
            if not whose.hub.blobs.find(file.sha256, whose):
                pieces = xorbs.read(file)
                whose.hub.blobs.receive(whose, pieces, file.size, file.sha256)
                keep_chunks(store, file.sha256, xorbs.chunks(file))
    return json_answer({"result": 1})


def _xorbs(ask: Ask, space: str) -> tuple[Ask, Xorbs]:
    """The request as that of whose upload it is, and its xorbs."""
    whose, _ = opened(ask, seal_of(ask.call), "xet", space)
    folder = whose.hub.blobs.folder(whose.actor.name, f"xet-{space}")
    return whose, Xorbs(whose.hub.workspace.store, folder, partial(open_virtual, whose))
