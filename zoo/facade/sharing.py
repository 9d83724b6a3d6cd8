"""Share: pull, push, names, and the care of stores."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import DiskFull, InvalidOption
from zoo.facade.opened import Opened
from zoo.workspace import connect

if TYPE_CHECKING:
    from zoo.domain.catalog import Release
    from zoo.domain.history import RefEntry
    from zoo.exchange.publishing import Published
    from zoo.store import Store
    from zoo.store.prune import Plan
    from zoo.store.verify import Report
    from zoo.transfer.copy import Copied
    from zoo.transfer.fetch import Fetched
    from zoo.transfer.repair import Repaired

__all__ = ["Sharing"]


class Sharing(Opened):
    """What moves checkpoints and names between stores, and keeps stores sound."""

    def pull(
        self, name: str, *, source: str | None = None, force: bool = False
    ) -> tuple[Reference, Digest, Release]:
        """Fetch published weights into the zoo (`zoo.exchange.acquire.acquire`)."""
        from zoo.exchange.acquire import acquire
        from zoo.exchange.reindexing import keep_hierarchy

        done = acquire(self.workspace, name, source=source, force=force, progress=self.progress)
        keep_hierarchy(self.workspace, done[1])
        return done

    def pull_published(
        self, name: str, place: str, *, force: bool = False
    ) -> tuple[Reference, Digest, Release]:
        """Fetch what is at ``hf://org/name`` as ``name`` (`zoo.exchange.acquire.acquire_at`)."""
        from zoo.exchange.acquire import acquire_at
        from zoo.exchange.reindexing import keep_hierarchy

        done = acquire_at(self.workspace, name, place, force=force, progress=self.progress)
        keep_hierarchy(self.workspace, done[1])
        return done

    @classmethod
    def clone(cls, remote: str, home: Path | str = ".", *, progress: Progress = silent) -> Self:
        """Make a zoo in the folder ``home`` that knows ``remote`` as ``origin``; `fetch` that.

        Raises:
            Unavailable: The remote is not there.
            Conflict: A zoo with another ``origin`` is in ``home`` already.
        """
        connect(remote)  # before anything is made
        made = cls.init(home, progress=progress)
        made.workspace.add_remote("origin", remote)
        return made

    def fetch(self, remote: str) -> Fetched:
        """Learn what a remote has, without its weights (`zoo.transfer.fetch.fetch`)."""
        from zoo.transfer.fetch import fetch

        return fetch(self.workspace, remote, progress=self.progress)

    def holder(self, name: str) -> str | None:
        """The remote to pull ``name`` from (`zoo.transfer.sync.holder`)."""
        from zoo.transfer import sync

        return sync.holder(self.workspace, name)

    def pull_from(
        self, name: str, remote: str, *, save: str | None = None, force: bool = False
    ) -> tuple[Reference, Copied]:
        """Bring a checkpoint from a remote, under its name or ``save`` (`zoo.transfer.sync.pull`).

        Raises:
            InvalidOption: ``remote`` is at the model hub: `pull_published` takes that.
        """
        from zoo.transfer import sync

        return sync.pull(
            self.workspace, name, remote, save=save, force=force, progress=self.progress
        )

    def push(
        self, name: str, to: str, *, force: bool = False, smallest: bool = False
    ) -> tuple[Reference, Copied]:
        """Send a checkpoint to a remote (`zoo.transfer.sync.push`).

        Raises:
            InvalidOption: ``to`` is at the model hub: `publish` writes there.
        """
        from zoo.transfer import sync

        return sync.push(
            self.workspace, name, to, force=force, smallest=smallest, progress=self.progress
        )

    def publish(
        self, name: str, to: str, *, force: bool = False, private: bool = False
    ) -> Published:
        """Write a checkpoint to ``hf://org/name`` (`zoo.exchange.publishing.publish`)."""
        from zoo.exchange.publishing import publish

        return publish(self.workspace, name, to, force=force, private=private)

    def tag(self, name: str, new: str, *, at: datetime | None = None) -> RefEntry:
        """Point the reference ``new`` at what ``name`` (a reference or digest) points at.

        With ``at``, a time with a time zone, at what the reference ``name`` pointed at then.
        """
        ref = Reference.parse(new)
        self.workspace.check_free(ref)
        digest = self.workspace.resolve_at(name, at) if at else self.workspace.resolve(name)[1]
        return self.workspace.move(ref, digest, f"tag {name}" + (f" at {at:%F}" if at else ""))

    def entry(self, name: str, *, remote: str | None = None) -> RefEntry:
        """The newest move of a name, here or at a remote.

        Raises:
            UnknownName: No such name there, or it was deleted.
        """
        from zoo.transfer.names import entry

        return entry(self.workspace, Reference.parse(name), remote)

    def delete(
        self, name: str, *, remote: str | None = None, of: RefEntry | None = None
    ) -> RefEntry:
        """Delete a name, here or at a remote; until a prune there, `restore` brings it back.

        With ``of``, only if that is still its newest move.
        """
        from zoo.transfer.names import delete

        return delete(self.workspace, Reference.parse(name), remote, of=of)

    def restore(self, name: str, *, remote: str | None = None) -> RefEntry:
        """Bring back a name that was deleted, here or at a remote."""
        from zoo.transfer.names import restore

        return restore(self.workspace, Reference.parse(name), remote)

    def protect(self, name: str, *, on: bool = True, remote: str | None = None) -> RefEntry:
        """Keep a name where it is, here or at a remote, until it is unprotected (``on=False``)."""
        from zoo.transfer.names import protect

        return protect(self.workspace, Reference.parse(name), remote, on=on)

    def plan_prune(
        self, remote: str | None = None, *, keep_days: float = 90, grace_days: float = 14
    ) -> Plan:
        """What a prune would delete (`zoo.store.prune.plan`). Nothing is changed."""
        from zoo.store.prune import plan

        keep, grace = _span(keep_days), _span(grace_days)
        known = self.workspace.known_moves(remote)
        return plan(self._store(remote), keep=keep, grace=grace, known=known)

    def prune(
        self,
        plan: Plan,
        remote: str | None = None,
        *,
        keep_days: float = 90,
        grace_days: float = 14,
    ) -> Plan:
        """Delete what ``plan`` lists and nothing needs; what was deleted.

        Raises:
            Conflict: Somebody is writing; nothing was deleted.
        """
        from zoo.store.prune import execute

        # A full disk is what a prune mends: the index gets its room by that.
        full = not remote and isinstance(self.workspace.registry.obstacle, DiskFull)
        if not (remote or full):
            self.workspace.check_indexable()  # before anything is deleted
        keep, grace = _span(keep_days), _span(grace_days)
        known = self.workspace.known_moves(remote)
        done = execute(
            self._store(remote), plan, keep=keep, grace=grace, known=known,
            progress=self.progress,
        )  # fmt: skip
        if not remote:
            gone = [item.name for item in done.doomed if item.kind.endswith("manifest")]
            if full:
                self.workspace.close()  # opened again, it can be written
            self.workspace.registry.forget(Digest.parse(name) for name in gone)
        return done

    def verify(self, remote: str | None = None) -> Report:
        """Hash everything in the zoo, or in a remote, again (`zoo.store.verify.verify`).

        What the zoo's index lacks of it, it has afterwards.
        """
        from zoo.store.verify import verify

        known = self.workspace.known_moves(remote)
        report = verify(self._store(remote), known=known, progress=self.progress)
        if not remote:
            self.workspace.catch_up()
        return report

    def repair(self, source: str | None = None, *, remote: str | None = None) -> Repaired:
        """Mend the zoo, or ``remote``, from the remote ``source``; None: from the zoo itself.

        What the zoo's index lacks of what is whole again, it has afterwards.
        """
        from zoo.transfer.repair import repair

        place = self.workspace.remote(source) if source else self.workspace.store
        known = self.workspace.known_moves(remote)
        done = repair(self._store(remote), place, known=known, progress=self.progress)
        if not remote:
            self.workspace.catch_up()
        return done

    def _store(self, remote: str | None) -> Store:
        return self.workspace.remote(remote) if remote else self.workspace.store


def _span(days: float) -> timedelta:
    """That many days, or as many as there can be.

    Raises:
        InvalidOption: It is no number of days.
    """
    if not days >= 0:  # nan, too
        raise InvalidOption(f"{days} is no number of days")
    return timedelta(days=min(days, timedelta.max.days))
