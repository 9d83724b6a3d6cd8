"""Any order of storing, tagging, deleting, waiting and pruning, held against a simple model."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.places import BucketPlace, FolderPlace, Place
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.store import prune
from zoo.store.listing import name_of
from zoo.store.verify import verify
from zoo.workspace import Workspace

NAMES = [Reference("team", name) for name in ("a", "b", "c")]
KEEP, GRACE = timedelta(days=30), timedelta(days=7)


class _Clock(datetime):
    """`datetime` whose now is the machine's."""

    at = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return cls.at


class PruneMachine(RuleBasedStateMachine):
    """The model: what each name pointed at and since when, and when each file was written."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.zoo = Workspace.create(self.root / "zoo")
        self.place = self.connect()
        _Clock.at = datetime(2026, 1, 1, tzinfo=UTC)
        self.moves: dict[Reference, list[tuple[datetime, Digest | None]]] = {n: [] for n in NAMES}
        self.needs: dict[Digest, set[Digest]] = {}
        self.written: dict[str, datetime] = {}
        self.dated: set[str] = set()
        self.shown: prune.PrunePlan | None = None
        stamp = lambda: _Clock.at.strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: E731
        self.patches: list[Any] = [
            patch("zoo.reflog.now", stamp),
            patch("zoo.store.Store.now", lambda _: _Clock.at),
        ]
        for change in self.patches:
            change.start()

    def teardown(self) -> None:
        for change in self.patches:
            change.stop()
        self.zoo.close()
        shutil.rmtree(self.root)

    def connect(self) -> Place:
        """What is pruned: here, the zoo itself."""
        return FolderPlace(self.zoo.root)

    def follow(self, digest: Digest | None = None) -> None:
        """Bring a checkpoint, and what happened to names, to where things are pruned."""

    def date_files(self) -> None:
        """Give what was written since the last step the model's time."""
        for name in self.place.names("objects", "manifests"):
            if name not in self.written:
                self.written[name] = _Clock.at
                self.place.age(name, _Clock.at)
        for name in self.place.names("refs"):
            if name not in self.dated:  # a prune believes the later of an entry and its file
                self.dated.add(name)
                self.place.age(name, _Clock.at)

    @rule(ref=st.sampled_from(NAMES), seed=st.integers(0, 3), bias=st.integers(0, 2))
    def store(self, ref: Reference, seed: int, bias: int) -> None:
        values = tensors(seed)
        values["fc.bias"] = values["fc.bias"] + bias
        digest = add_checkpoint(self.zoo, str(ref), values)
        self.needs[digest] = {item for item, _ in self.zoo.store.manifest(digest).objects()}
        self.point(ref, digest)
        self.follow(digest)

    @rule(ref=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def tag(self, ref: Reference, other: Reference) -> None:
        if self.current(other):
            _, digest = self.zoo.names.resolve(str(other))
            self.zoo.move(ref, digest, "tag")
            self.point(ref, digest)
            self.follow()

    @rule(ref=st.sampled_from(NAMES))
    def delete(self, ref: Reference) -> None:
        if self.current(ref):
            self.zoo.delete(ref)
            self.moves[ref].append((_Clock.at, None))
            self.follow()

    @rule(days=st.integers(1, 40))
    def wait(self, days: int) -> None:
        _Clock.at += timedelta(days=days)

    @precondition(lambda self: self.written)
    @rule()
    def show(self) -> None:
        self.shown = prune.plan(self.place.remote, keep=KEEP, grace=GRACE)

    @precondition(lambda self: self.shown)
    @rule()
    def prune_what_was_shown(self) -> None:
        """Whatever happened since; that nothing is damaged is asked after each step."""
        assert self.shown
        before = set(self.place.names("objects", "manifests"))
        prune.execute(self.place.remote, self.shown, keep=KEEP, grace=GRACE)
        left = set(self.place.names("objects", "manifests"))
        assert before - left <= {item.file for item in self.shown.doomed}
        self.written = {name: at for name, at in self.written.items() if name in left}
        self.shown = None

    @precondition(lambda self: self.written)
    @rule()
    def prune(self) -> None:
        shown = prune.plan(self.place.remote, keep=KEEP, grace=GRACE)
        prune.execute(self.place.remote, shown, keep=KEEP, grace=GRACE)
        left = set(self.place.names("objects", "manifests"))
        self.written = {name: at for name, at in self.written.items() if name in left}
        young = {name for name, at in self.written.items() if _Clock.at - at < GRACE}
        alive = self.alive() | {d for d in self.needs if name_of("manifests", d) in young}
        needed = {name_of("objects", item) for digest in alive for item in self.needs[digest]}
        assert left <= needed | {name_of("manifests", digest) for digest in alive} | young

    @invariant()
    def nothing_reached_is_lost(self) -> None:
        self.date_files()
        for digest in self.alive():
            assert not self.place.remote.missing("manifests", [digest])
            assert not self.place.remote.missing("objects", self.needs[digest])
        assert verify(self.place.remote).damages == ()

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


class BucketMachine(PruneMachine):
    """As `PruneMachine`, of a bucket that gets what happens in the zoo, which is never pruned."""

    location: str

    def connect(self) -> Place:
        return BucketPlace(f"{self.location}/{uuid.uuid4().hex}")

    def follow(self, digest: Digest | None = None) -> None:
        names = FolderPlace(self.zoo.root).names("refs")
        if digest:
            items = [name_of("objects", item) for item in sorted(self.needs[digest])]
            names = [*items, name_of("manifests", digest), *names]
        there = set(self.place.names("objects", "manifests", "refs"))
        for name in names:
            if name not in there:
                self.place.plant(name, (self.zoo.root / name).read_bytes())


SETTINGS = settings(
    max_examples=5,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

TestPrune = PruneMachine.TestCase
TestPrune.settings = SETTINGS


@pytest.mark.long
@pytest.mark.parametrize("examples", [30, pytest.param(100, marks=pytest.mark.whole)])
def test_more_of_it(examples: int) -> None:
    run_state_machine_as_test(PruneMachine, settings=settings(SETTINGS, max_examples=examples))


@pytest.mark.long
def test_a_bucket(s3: str) -> None:
    BucketMachine.location = s3
    few = settings(SETTINGS, max_examples=5, stateful_step_count=10)
    run_state_machine_as_test(BucketMachine, settings=few)


@pytest.mark.long
@pytest.mark.whole
def test_more_of_a_bucket(s3: str) -> None:
    BucketMachine.location = s3
    run_state_machine_as_test(BucketMachine, settings=settings(SETTINGS, max_examples=20))
