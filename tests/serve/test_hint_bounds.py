"""Of what is here, clients of Xet are told of so much and no more, and lists of chunks are not kept
for ever.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint
from fakes.served import Served, serving

from zoo.domain.digest import Digest
from zoo.serve.hub import hints
from zoo.serve.keep import hint
from zoo.serve.keep.chunk_list import KEPT, Chunk, clear_chunks, keep_chunks, read_chunks
from zoo.serve.keep.hint import virtual_xorbs
from zoo.serve.keep.xorb import CHUNKS
from zoo.store import Store
from zoo.workspace import Workspace

SHA256 = "ab" * 32


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``team/net``, which had three weights of 1.5 MB, and ``team/small``."""
    root, rng = tmp_path_factory.mktemp("bounds") / "zoo", np.random.default_rng(0)
    with closing(Workspace.create(root)) as workspace:
        for _ in range(3):
            add_checkpoint(workspace, "team/net", {"w": rng.standard_normal((400, 1000), "f4")})
        add_checkpoint(workspace, "team/small", {"w": rng.standard_normal((100, 1000), "f4")})
    with serving(root) as served:
        served.token("ann")
        served.accounts.grant("team", "ann", "writer")
        yield served


def chunks_told(served: Served, repo: str) -> int:
    """How many chunks a new upload to a repository is told of."""
    token = served.token("ann", "write")
    told = served.ask(f"/api/models/{repo}/xet-write-token/main", token=token).json
    path = f"{told['casUrl'].removeprefix(served.url)}/v1/chunks/default/{'0' * 64}"
    got = served.ask(path, token=told["accessToken"])
    return int(struct.unpack("<9Q", got.body[-200:-128])[-1]) if got.status == 200 else 0


@pytest.mark.long
def test_so_many_files_and_chunks_are_told_of(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hints, "MADE", 1)
        one = chunks_told(served, "team/net")
        two = chunks_told(served, "team/net")
    every = chunks_told(served, "team/net")
    assert 0 < one < two < every, "while a client waits, few are cut; those that are, are kept"
    monkeypatch.setattr(hints, "FILES", 2)
    assert chunks_told(served, "team/net") == two
    monkeypatch.setattr(hints, "MOST_CHUNKS", two - 1)
    assert chunks_told(served, "team/net") == one


def test_what_is_small_is_sent_sooner(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chunks_told(served, "team/small") == 0
    monkeypatch.setattr(hints, "LEAST_BYTES", 1)
    assert chunks_told(served, "team/small") > 0


def test_no_xorb_is_larger_than_clients_take() -> None:
    for size, count in ((128 * 1024, 1100), (1, 2 * CHUNKS + 1)):
        chunks = [Chunk(bytes(32), size)] * count
        xorbs = [*virtual_xorbs(Digest("blake3", "0" * 64), SHA256, chunks)]
        assert all(xorb.count <= CHUNKS for xorb in xorbs)
        assert all(xorb.count * size <= hint.XORB_BYTES for xorb in xorbs)
        assert [xorb.first for xorb in xorbs[1:]] == [
            xorb.first + xorb.count for xorb in xorbs[:-1]
        ]
        assert sum(xorb.count for xorb in xorbs) == count
        assert len({xorb.name for xorb in xorbs}) == len(xorbs) == 3


def test_tables_of_a_hint_are_in_order() -> None:
    """Clients look things up in them by bisection, as numbers of little-endian bytes."""
    chunks = [Chunk(os.urandom(32), 1) for _ in range(3 * CHUNKS)]
    digest = Digest("blake3", "0" * 64)
    xorbs = [*virtual_xorbs(digest, SHA256, chunks), *virtual_xorbs(digest, "cd" * 32, chunks)]
    told = hint.hint([(xorb, chunks[xorb.first : xorb.first + xorb.count]) for xorb in xorbs])
    _, _, _, _, _, named_at, named, found_at, found = struct.unpack("<9Q", told[-200:-128])
    assert (named, found) == (6, 6 * CHUNKS)
    for at, count, record in ((named_at, named, "<QI"), (found_at, found, "<QII")):
        size = struct.calcsize(record)
        rows = [*struct.iter_unpack(record, told[at : at + size * count])]
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_lists_of_a_month_ago_are_deleted(tmp_path: Path) -> None:
    store, chunks = Store.create(tmp_path / "zoo"), [Chunk(bytes(32), 9)]
    for sha256, age in (
        (SHA256, KEPT.total_seconds() + 60),
        ("cd" * 32, KEPT.total_seconds() - 60),
    ):
        keep_chunks(store, sha256, chunks)
        then = time.time() - age
        os.utime(store.root / "chunks" / sha256[:2] / sha256, (then, then))
    clear_chunks(store)
    assert read_chunks(store, SHA256, 9) == []
    assert read_chunks(store, "cd" * 32, 9) == chunks
