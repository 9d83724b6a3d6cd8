"""Commits that are sent at one moment, none of which is published before all were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

import pytest
from fakes.served import Got, Served

from zoo.domain.digest import Digest
from zoo.domain.snapshot import Snapshot
from zoo.serve.hub import commit
from zoo.serve.hub.ask import Ask

__all__ = ["commit_at_once"]


def commit_at_once(
    patch: pytest.MonkeyPatch, sends: Sequence[tuple[Served, str, str]], token: str
) -> list[Got]:
    """Send texts to servers and repositories, so that each is about to be published when all are;
    the answers.
    """
    barrier, put = Barrier(len(sends)), commit._put_snapshot

    def put_snapshot(ask: Ask, snapshot: Snapshot) -> Digest:
        with suppress(BrokenBarrierError):
            barrier.wait(10)
        return put(ask, snapshot)

    patch.setattr(commit, "_put_snapshot", put_snapshot)
    with ThreadPoolExecutor(len(sends)) as pool:
        return [*pool.map(lambda each: each[0].commit(each[1], each[2], token), sends)]
