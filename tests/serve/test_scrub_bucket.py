"""Scrubs of a bucket: as many bytes a day as may be read, by one machine, whoever is killed."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from threading import Event

import msgspec
import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.postgres import Server as Postgres
from fakes.s3_front import KEY_ID, SECRET
from fakes.sampled import every
from fakes.served import serving

from zoo.domain.manifest import Parent
from zoo.errors import Unavailable
from zoo.machine import join
from zoo.remotes import connect
from zoo.serve.watch import check
from zoo.serve.watch import scrub as module
from zoo.serve.watch.scrub import FILE, Scrub, ScrubState, read_scrubbed
from zoo.serve.who.accounts import Accounts
from zoo.store import Store
from zoo.store.cached import CachedBackend
from zoo.testing.memory import MemoryBackend
from zoo.transfer.sync import push
from zoo.workspace import Workspace

FOLDERS = ("manifests/", "encoded/", "objects/", "encoded-manifests/")
START = datetime(2026, 11, 1, 20, tzinfo=UTC)
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


class Clock:
    """A day that ends when somebody waits until the next one."""

    def __init__(self) -> None:
        self.at = START

    def wait(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Bucket(MemoryBackend):
    """A bucket that bills what is read of it, by day."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("bucket")
        self.clock, self.billed = clock, Counter[date]()
        self.away = False

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        if self.away:
            raise Unavailable("bucket", "is away")
        for piece in super().open(key, offset, length):
            if key.startswith(FOLDERS):
                self.billed[self.clock.at.date()] += len(piece)
            yield piece


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "_now", lambda: clock.at)
    monkeypatch.setattr(Scrub, "_wait", lambda _, seconds: clock.wait(seconds))
    return clock


@pytest.fixture
def bucket(clock: Clock, tmp_path: Path) -> Bucket:
    """One with a fine-tune that is kept as differences, and what it derives from."""
    bucket = Bucket(clock)
    with closing(Workspace.create(tmp_path / "mine")) as mine:
        values, conv = tensors(0), "layer1.0.conv.weight"
        base = add_checkpoint(mine, "team/base", values)
        tuned = {**values, conv: values[conv] * values[conv].dtype.type(1.0001)}
        parent = Parent(manifest=base, relation="finetune", ref="team/base")
        add_checkpoint(mine, "team/tuned", tuned, parents=(parent,))
        others = [f"team/other{seed}" for seed in range(1, 7)]
        for seed, name in enumerate(others, 1):
            add_checkpoint(mine, name, tensors(seed))
        for name in ("team/base", "team/tuned", *others):
            push(mine, name, str(tmp_path / "remote"), smallest=True)
    for path in (tmp_path / "remote").rglob("*"):
        if path.is_file():
            bucket.put(str(path.relative_to(tmp_path / "remote")), [path.read_bytes()])
    assert all(next(iter(bucket.list(folder)), None) for folder in FOLDERS)
    return bucket


@pytest.fixture
def store(bucket: Bucket, tmp_path: Path) -> Store:
    (tmp_path / "one").mkdir()
    return Store(CachedBackend(tmp_path / "one", bucket, 1 << 20))


def scrub(
    store: Store,
    daily: int,
    told: list[str] | None = None,
    leads: Callable[[], bool] = lambda: True,
) -> Scrub:
    told = [] if told is None else told
    return Scrub(store, lambda: False, told.append, Event(), daily=daily, leads=leads)


@pytest.mark.parametrize("folder", every(2, FOLDERS, beside=pytest.mark.long))
def test_damage_in_a_bucket_is_found(
    folder: str, bucket: Bucket, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    key = max(bucket.list(folder), key=lambda file: file.bytes).name
    sound = b"".join(bucket.open(key))
    store.backend.put(key, [sound])
    bucket.put(key, [sound[:-1] + bytes([sound[-1] ^ 1])])
    told: list[str] = []
    scrub(store, 1 << 30, told).look()
    (found,) = [name for name in told if key.rpartition("/")[2].removesuffix(".json") in name]
    assert f"DAMAGED: {found} is not what was stored: zoo verify bucket says" in caplog.text
    last = read_scrubbed(store).last
    assert last
    assert last.damaged == told
    assert last.files == sum(1 for folder in FOLDERS for _ in bucket.list(folder))


def test_no_more_is_read_a_day_whoever_ends_meanwhile(
    bucket: Bucket, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differences are decoded by counts, too."""
    sizes = [file.bytes for folder in FOLDERS for file in bucket.list(folder)]
    daily = 2 * max(sizes) + 1000  # a difference, what it is decoded by, and both headers
    assert sum(sizes) > 3 * daily
    is_sound, left = Scrub._is_sound, [25]

    def killed(self: Scrub, *more: object) -> bool:
        """A process that is killed after 25 files."""
        left[0] -= 1
        if left[0] < 0:
            left[0] = 25
            monkeypatch.setattr(self, "_note", lambda: None)
            raise KeyboardInterrupt
        return is_sound(self, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Scrub, "_is_sound", killed)
    monkeypatch.setattr(module, "OTHERS", timedelta(0))
    began = clock.at
    for _ in range(100):
        if read_scrubbed(store).last:
            break
        with suppress(KeyboardInterrupt):
            scrub(store, daily).look()
    assert read_scrubbed(store).last, "it ends"
    assert len(bucket.billed) > 2
    assert max(bucket.billed.values()) <= daily
    assert sum(bucket.billed.values()) >= sum(sizes)
    days = (clock.at.date() - began.date()).days + 1
    assert sum(bucket.billed.values()) > (days - 1) * daily / 4, "no day is left out"


def test_a_file_that_is_larger_is_paid_for_by_the_days_after_it(
    bucket: Bucket, store: Store, clock: Clock
) -> None:
    largest = max(file.bytes for folder in FOLDERS for file in bucket.list(folder))
    daily = largest // 3
    scrub(store, daily).look()
    assert read_scrubbed(store).last
    dates = [START.date() + timedelta(days=each) for each in range((clock.at - START).days + 1)]
    read = accumulate(bucket.billed[each] for each in dates)
    # With what a difference is decoded by.
    assert all(sofar <= day * daily + 2 * largest for day, sofar in enumerate(read, 1))
    assert max(bucket.billed.values()) > daily


def noted(bucket: Bucket, **state: object) -> None:
    """Have somebody write down what is not so."""
    bucket.put(FILE, [msgspec.json.encode(state)])


def test_a_note_that_is_deep_is_none(bucket: Bucket, store: Store) -> None:
    bucket.put(FILE, [b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"])
    assert read_scrubbed(store) == ScrubState()
    scrub(store, 1 << 30).look()
    assert read_scrubbed(store).last


@pytest.mark.long
@pytest.mark.parametrize(
    "state",
    [
        {"by": "other", "written": NEVER},
        {"last": {"began": NEVER}},
        {"last": {"began": START, "ended": NEVER}},
        {"now": {"began": NEVER}},
        {"day": NEVER.date(), "spent": 1000},
        {"day": START.date(), "spent": 10**18},
        {"day": START.date(), "spent": -(10**18)},
    ],
    ids=str,
)
def test_a_note_that_cannot_be_stops_no_scrub(
    state: dict[str, object], bucket: Bucket, store: Store, clock: Clock
) -> None:
    sizes = [file.bytes for folder in FOLDERS for file in bucket.list(folder)]
    noted(bucket, **state)
    scrub(store, sum(sizes)).look()
    last = read_scrubbed(store).last
    assert last
    assert last.files == len(sizes)
    assert last.ended
    assert last.ended < START + timedelta(days=5)
    days = (clock.at.date() - START.date()).days + 1
    assert sum(bucket.billed.values()) <= days * sum(sizes)


def test_a_debt_that_can_be_is_paid(bucket: Bucket, store: Store, clock: Clock) -> None:
    largest = max(file.bytes for folder in FOLDERS for file in bucket.list(folder))
    noted(bucket, day=START.date(), spent=largest)
    scrub(store, largest // 3).look()
    assert min(bucket.billed) == START.date() + timedelta(days=3)


def test_clocks_that_differ_at_midnight_make_no_second_day(
    bucket: Bucket, store: Store, clock: Clock
) -> None:
    """Another machine, whose clock is fast, has begun the next day and read all that it may."""
    noted(bucket, day=START.date() + timedelta(days=1), spent=1 << 20)
    scrub(store, 1 << 20).look()
    assert min(bucket.billed) == START.date() + timedelta(days=2)


def test_a_note_from_the_future_hides_no_scrub_that_is_due(
    bucket: Bucket, store: Store, tmp_path: Path
) -> None:
    old = {"began": "2020-01-01T00:00:00Z", "ended": "2020-01-02T00:00:00Z", "damaged": ["this"]}
    noted(bucket, written=NEVER, last=old)
    with (
        closing(Workspace(tmp_path / "mine")) as mine,
        closing(Accounts.of(mine)) as accounts,
    ):
        problems = "\n".join(check.problems(mine, accounts, read_scrubbed(store)))
    assert "no scrub has ended since 2020-01-02" in problems
    assert "this is damaged" in problems


def test_one_machine_reads(bucket: Bucket, store: Store, clock: Clock) -> None:
    scrub(store, 1 << 30, leads=lambda: False).look()
    assert not bucket.billed
    assert not bucket.stat(FILE)
    turns = iter([True] * 5)
    with pytest.raises(module._Ended):
        scrub(store, 1, leads=lambda: next(turns, False)).look()
    begun = read_scrubbed(store).now
    assert begun
    clock.wait(module.OTHERS.total_seconds())
    scrub(store, 1 << 30).look()
    last = read_scrubbed(store).last
    assert last
    assert last.began == begun.began
    assert last.files == sum(1 for folder in FOLDERS for _ in bucket.list(folder))


def test_what_is_away_is_read_later(bucket: Bucket, store: Store) -> None:
    """Rather than taken for sound, or for damaged."""
    told: list[str] = []
    bucket.away = True
    with pytest.raises(Unavailable):
        scrub(store, 1 << 30, told).look()
    bucket.away = False
    scrub(store, 1 << 30, told).look()
    assert not told
    assert sum(bucket.billed.values())


def test_a_machine_scrubs_its_bucket(
    postgres_server: Postgres, s3_service: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_service}", "NO_PROXY": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "START_SECONDS", 0.0)
    location = f"s3://models/{uuid.uuid4().hex}"
    with closing(Workspace.create(tmp_path / "mine")) as mine:
        add_checkpoint(mine, "team/base", tensors(0))
        push(mine, "team/base", location)
    remote = connect(location).backend
    key = max(remote.list("objects/"), key=lambda file: file.bytes).name
    remote.put(key, [b"other"])
    name = f"object blake3:{key.rpartition('/')[2]}"
    monkeypatch.setenv("ZOO_DB", postgres_server.database("scrubbed"))
    join(tmp_path / "one", location, 1 << 20)
    with serving(tmp_path / "one", scrub=1 << 30) as served:
        store = served.server.hub.workspace.store
        while not read_scrubbed(store).last:
            time.sleep(0.05)
        told = [each.name for each in served.accounts.audit.newest(limit=9)
                if each.action == "damage found"]  # fmt: skip
        assert told == [name]
        assert "\nzoo_scrub_damaged 1.0\n" in served.ask("/metrics").body.decode()
    with (
        closing(Workspace(tmp_path / "one")) as there,
        closing(Accounts.of(there)) as accounts,
    ):
        (problem,) = check.problems(there, accounts, read_scrubbed(there.store))
        assert problem.startswith(f"{name} is damaged, as found by a scrub: zoo verify {location}")
