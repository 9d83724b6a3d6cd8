"""Check: what is wrong with how a server was set up, as far as its folder shows it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from zoo.domain.limits import SPARE_BYTES
from zoo.serve.watch.scrub import ScrubState, verify_command
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.open import FILE as ACCOUNTS
from zoo.serve.who.seals import FILE as KEY
from zoo.store.cached import CachedBackend
from zoo.workspace import Workspace

__all__ = ["open_to_others", "problems"]

SECRET = (ACCOUNTS, f"{ACCOUNTS}-wal", f"{ACCOUNTS}-shm", KEY)
SKEW_SECONDS = 60.0
LATE = timedelta(days=30)
"""A store that was scrubbed so long ago is looked after by nobody."""


def problems(workspace: Workspace, accounts: Accounts, scrubbed: ScrubState) -> list[str]:
    """What is wrong, in words, with what mends it."""
    problems = [*open_to_others(workspace), *_clocks(workspace, accounts)]
    problems += _scrub(workspace, scrubbed)
    free = shutil.disk_usage(workspace.root).free
    if free < SPARE_BYTES:
        problems.append(
            f"{free:,} bytes are free, fewer than {SPARE_BYTES:,}: zoo prune frees some"
        )
    _, wrong = accounts.audit.check()
    return [*problems, *(f"audit log: {each}" for each in wrong)]


def open_to_others(workspace: Workspace) -> Iterator[str]:
    """Which of its secrets others on this machine may read or change, in words."""
    for name in SECRET:
        status = workspace.store.disk.stat(name)
        if status and status.st_mode & 0o077:
            does = "read" if status.st_mode & 0o044 else "change"
            yield f"others on this machine may {does} {name}: chmod 600 {workspace.root / name}"
    if workspace.root.stat().st_mode & 0o002:
        root = workspace.root
        yield f"anybody on this machine may replace what is in {root}: chmod o-w {root}"


def _clocks(workspace: Workspace, accounts: Accounts) -> Iterator[str]:
    skew = workspace.store.now().timestamp() - time.time()
    if abs(skew) > SKEW_SECONDS:
        yield f"the clock of the disk is {skew:+.0f} s from this machine's: grace periods are wrong"
    newest = next(iter(accounts.audit.newest(limit=1)), None)
    now = datetime.now(UTC) + timedelta(seconds=SKEW_SECONDS)
    if newest and newest.at > now.strftime("%Y-%m-%dT%H:%M:%SZ"):
        yield f"the clock went back: the audit log is at {newest.at} already"


def _scrub(workspace: Workspace, scrubbed: ScrubState) -> Iterator[str]:
    command = verify_command(workspace.store)
    for each in (scrubbed.last, scrubbed.now):
        for name in each.damaged if each else ():
            yield f"{name} is damaged, as found by a scrub: {command} says who needs it"
    since = datetime.now(UTC) - LATE
    in_progress = scrubbed.written and scrubbed.written > since  # of a bucket it may take months
    if (last := scrubbed.last) and last.ended and last.ended < since and not in_progress:
        shared = isinstance(workspace.store.backend, CachedBackend)
        does = "zoo serve --scrub" if shared else "zoo serve"
        yield f"no scrub has ended since {last.ended.isoformat()}: {does} does it as it runs"
