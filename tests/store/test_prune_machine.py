"""Any order of storing, tagging, deleting, waiting and pruning, held against a simple model."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from fakes.checkpoints import add_checkpoint, tensors
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.store import prune
from zoo.store.verify import verify
from zoo.workspace import Workspace

NAMES = [Reference("team", name) for name in ("a", "b", "c")]
KEEP, GRACE = timedelta(days=30), timedelta(days=7)


class _Clock(datetime):
    """`datetime` whose now is the machine's."""

    at = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return cls.at


class PruneMachine(RuleBasedStateMachine):
    """The model: what each name pointed at and since when, and when each file was written."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.zoo = Workspace.create(self.root / "zoo")
        _Clock.at = datetime(2026, 1, 1, tzinfo=UTC)
        self.moves: dict[Reference, list[tuple[datetime, Digest | None]]] = {n: [] for n in NAMES}
        self.needs: dict[Digest, set[Digest]] = {}
        self.written: dict[Path, datetime] = {}
        stamp = lambda: _Clock.at.strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: E731
        self.patches = [
            patch("zoo.moves.now", stamp),
            patch("zoo.store.prune.datetime", _Clock),
            patch("zoo.store.prune.time", type("T", (), {"time": lambda: _Clock.at.timestamp()})),
        ]
        for change in self.patches:
            change.start()

    def teardown(self) -> None:
        for change in self.patches:
            change.stop()
        self.zoo.close()
        shutil.rmtree(self.root)

    def date_files(self) -> None:
        """Give what was written since the last step the model's time."""
        for kind in ("objects", "manifests"):
            for path in (self.zoo.root / kind).glob("??/*"):
                if path not in self.written:
                    self.written[path] = _Clock.at
                    os.utime(path, (_Clock.at.timestamp(),) * 2)

    @rule(ref=st.sampled_from(NAMES), seed=st.integers(0, 3), bias=st.integers(0, 2))
    def store(self, ref: Reference, seed: int, bias: int) -> None:
        values = tensors(seed)
        values["fc.bias"] = values["fc.bias"] + bias
        digest = add_checkpoint(self.zoo, str(ref), values)
        self.needs[digest] = {item for item, _ in self.zoo.store.manifest(digest).objects()}
        self.point(ref, digest)

    @rule(ref=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def tag(self, ref: Reference, other: Reference) -> None:
        if self.current(other):
            _, digest = self.zoo.resolve(str(other))
            self.zoo.move(ref, digest, "tag")
            self.point(ref, digest)

    @rule(ref=st.sampled_from(NAMES))
    def delete(self, ref: Reference) -> None:
        if self.current(ref):
            self.zoo.delete(ref)
            self.moves[ref].append((_Clock.at, None))

    @rule(days=st.integers(1, 40))
    def wait(self, days: int) -> None:
        _Clock.at += timedelta(days=days)

    @precondition(lambda self: self.written)
    @rule()
    def prune(self) -> None:
        shown = prune.plan(self.zoo.store, keep=KEEP, grace=GRACE)
        prune.execute(self.zoo.store, shown, keep=KEEP, grace=GRACE)
        self.written = {path: at for path, at in self.written.items() if path.exists()}
        held = {path.name.removesuffix(".json") for path in self.written}
        young = {path for path, at in self.written.items() if _Clock.at - at < GRACE}
        alive = self.alive() | {
            d for d in self.needs if self.zoo.store.path("manifests", d) in young
        }
        needed = {item.hex for digest in alive for item in self.needs[digest]}
        spared = {path.name.removesuffix(".json") for path in young}
        assert held <= needed | {digest.hex for digest in alive} | spared

    @invariant()
    def nothing_reached_is_lost(self) -> None:
        self.date_files()
        for digest in self.alive():
            assert not self.zoo.store.missing("manifests", [digest])
            assert not self.zoo.store.missing("objects", self.needs[digest])
        assert verify(self.zoo.store).damages == ()

    def point(self, ref: Reference, digest: Digest) -> None:
        if self.current(ref) != digest:
            self.moves[ref].append((_Clock.at, digest))

    def current(self, ref: Reference) -> Digest | None:
        return self.moves[ref][-1][1] if self.moves[ref] else None

    def alive(self) -> set[Digest]:
        """What names point at, or stopped pointing at within the retention."""
        found: set[Digest] = set()
        for moves in self.moves.values():
            ends = [at for at, _ in moves[1:]] + [_Clock.at]
            for (_, digest), end in zip(moves, ends, strict=False):
                if digest and _Clock.at - end <= KEEP:
                    found.add(digest)
        return found


TestPrune = PruneMachine.TestCase
TestPrune.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
