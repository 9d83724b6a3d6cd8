from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from fakes.checkpoints import add_checkpoint, tensors
from fakes.places import BucketPlace, ago
from fakes.s3_front import Front

from zoo import plugins
from zoo.codec.frame import encode
from zoo.codec.header import Codec
from zoo.codec.layouts import LAYOUTS
from zoo.contracts import Backend
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.owner import Owner
from zoo.domain.reference import Reference
from zoo.errors import (
    Conflict,
    Corrupt,
    DiskFull,
    MissingObject,
    MissingPackage,
    Unavailable,
    Unsupported,
)
from zoo.store import Store
from zoo.testing.remotes import BackendSuite, StoreSuite
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace
from zoo_bucket import bucket as module
from zoo_bucket import location
from zoo_bucket.bucket import BucketBackend

REF = Reference("team", "flowers")


def connect(location: str, *, create: bool = True) -> Store:
    return Store.connect(BucketBackend.connect(location, create=create), create=create)


class OfBucket:
    @pytest.fixture
    def backend(self, s3: str) -> Backend:
        return BucketBackend.connect(s3, create=True)


class TestBucket(OfBucket, BackendSuite):
    pass


class TestStore(OfBucket, StoreSuite):
    pass


def digest_of(data: bytes) -> Digest:
    return Digest("blake3", blake3(data).hexdigest())


def move(number: int, who: str = "me") -> RefEntry:
    return RefEntry(
        number=number,
        manifest=digest_of(who.encode()),
        previous=digest_of(b"previous") if number > 1 else None,
        at="2026-01-02T03:04:05Z",
        by="tester",
        why="test",
    )


def keys(location: str) -> set[str]:
    return {file.name for file in BucketBackend.connect(location, create=False).list("")}


def encoded(data: bytes) -> bytes:
    return encode(Codec.FULL, data, LAYOUTS["F32"])


def test_what_one_pushes_another_pulls(tmp_path: Path, s3: str) -> None:
    mine, theirs = (Workspace.create(tmp_path / name) for name in ("mine", "theirs"))
    values = tensors()
    base = add_checkpoint(mine, "timm/base", values)
    push(mine, "timm/base", s3)
    tuned = {**values, "layer1.0.conv.weight": values["layer1.0.conv.weight"] * 1.001}
    digest = add_checkpoint(mine, "team/flowers", tuned)
    _, sent = push(mine, "team/flowers", s3)
    assert (sent.sent_objects, sent.shared_objects) == (1, 5)
    pull(theirs, "timm/base", s3)
    pull(theirs, "team/flowers", s3)
    assert theirs.names.resolve("timm/base")[1] == base
    assert theirs.names.resolve("team/flowers")[1] == digest
    left = {key for key in keys(s3) if key.startswith("tmp/")}
    assert left == set()  # neither signs nor probes


def test_the_layout_is_that_of_a_folder(tmp_path: Path, s3: str) -> None:
    folder = Store.create(tmp_path / "folder")
    bucket = connect(s3)
    for target in (folder, bucket):
        for kind in ("objects", "manifests"):
            target.write(kind, digest_of(b"body"), [b"body"])
        target.write("encoded", digest_of(bytes(400)), [encoded(bytes(400))])
        target.append_ref(REF, move(1))
    found = {str(p.relative_to(folder.root)) for p in folder.root.rglob("*") if p.is_file()}
    assert keys(s3) == found


class TestMoves:
    @pytest.mark.long
    def test_of_many_writers_one_wins(self, front: Front, s3: str) -> None:
        remotes = [connect(s3) for _ in range(6)]

        def attempt(number: int, writer: int) -> bool:
            try:
                remotes[writer].append_ref(REF, move(number, f"writer {writer}"))
            except Conflict as error:
                return not error.current  # a loser is told who won
            return True

        winners = []
        for number in (1, 2, 3):
            with ThreadPoolExecutor(6) as pool:
                won = list(pool.map(lambda w, n=number: attempt(n, w), range(6)))
            assert sum(won) == 1
            winners.append(move(number, f"writer {won.index(True)}"))
        assert remotes[0].history(REF) == tuple(winners)

    def test_equal_entries_of_two_writers_are_two(self, front: Front, s3: str) -> None:
        remotes = [connect(s3) for _ in range(5)]
        done = []

        def attempt(remote: Store) -> None:
            try:
                remote.append_ref(REF, move(1))
                done.append(remote)
            except Conflict:
                pass

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(attempt, remotes))
        assert len(done) == 1

    def test_a_lost_answer_is_no_conflict(self, front: Front, s3: str) -> None:
        remote = connect(s3)
        front.fails = [("PUT", "/refs/", 503, True)]  # done, but not said
        remote.append_ref(REF, move(1))
        assert remote.history(REF) == (move(1),)

    def test_a_service_that_ignores_the_condition_is_refused(self, front: Front, s3: str) -> None:
        existing = connect(s3)
        front.ignores = {"if-none-match"}
        with pytest.raises(Unsupported, match="If-None-Match"):
            connect(f"{s3}2")
        assert keys(f"{s3}2") == set()
        existing.append_ref(REF, move(1))  # it was tried when it was made
        with pytest.raises(Unsupported, match="If-None-Match"):
            connect(s3).append_ref(REF, move(2))
        assert existing.history(REF) == (move(1),)

    def test_a_service_that_refuses_conditions_is_refused(self, front: Front, s3: str) -> None:
        front.fails = [("PUT", "tmp/probe", 501, False)] * (location.TRIES + 1)
        with pytest.raises(Unsupported, match="If-None-Match"):
            connect(s3)
        assert keys(s3) == set()

    def test_a_connection_tries_once(self, front: Front, s3: str) -> None:
        remote = connect(s3)
        for number in (1, 2, 3):
            remote.append_ref(REF, move(number))
        assert sum(seen.startswith("PUT") and "probe" in seen for seen in front.seen) == 2

    def test_foreign_objects_below_refs_are_no_names(self, s3: str) -> None:
        remote = connect(s3)
        for key in ("refs/a", "refs/a/b/c/1.json", "refs/.a/b/c/00000001.json", "refs/a/b/x/y/z"):
            remote.backend.put(key, [b""])
        assert list(remote.refs()) == []


class TestObjects:
    def test_wrong_bytes_are_never_sent(self, front: Front, s3: str) -> None:
        bucket = connect(s3)
        front.seen.clear()
        for kind in ("objects", "manifests", "encoded"):
            for wrong in (b"wrong", b"", encoded(bytes(400))[:-1] + b"\1"):
                with pytest.raises(Corrupt):
                    bucket.write(kind, digest_of(b"right"), [wrong])
        assert {seen.split()[0] for seen in front.seen} == {"HEAD"}

    def test_what_is_large_waits_in_a_file_and_goes_in_parts(
        self, front: Front, s3: str, bucket_env: pytest.MonkeyPatch
    ) -> None:
        bucket_env.setattr(module, "IN_MEMORY", 1 << 20)
        bucket = connect(s3)
        body = os.urandom(1 << 20) * 20
        pieces = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
        assert bucket.write("objects", digest_of(body), pieces) is True
        assert any("partNumber=3" in seen for seen in front.seen)
        back = list(bucket.read("objects", digest_of(body), 5))
        assert b"".join(back) == body[5:]
        assert max(map(len, back)) < 16 << 20

    def test_the_first_encoding_stays(self, s3: str, bucket_env: pytest.MonkeyPatch) -> None:
        bucket = connect(s3)
        first, second = encoded(bytes(400)), encoded(bytes(800))
        assert bucket.write("encoded", digest_of(b"x"), [first[:10], first[10:]]) is True
        bucket_env.setattr(BucketBackend, "stat", lambda *_: None)  # nobody was there a moment ago
        assert bucket.write("encoded", digest_of(b"x"), [second]) is False
        assert b"".join(bucket.read("encoded", digest_of(b"x"))) == first

    def test_a_full_disk_is_told(self, s3: str) -> None:
        bucket = connect(s3)

        def pieces() -> Iterator[bytes]:
            yield b"body"
            raise OSError(28, "No space left on device")

        with pytest.raises(DiskFull):
            bucket.write("objects", digest_of(b"body"), pieces())
        assert bucket.missing("objects", [digest_of(b"body")])

    def test_missing_asks_or_lists(self, s3: str) -> None:
        bucket = connect(s3)
        here = [digest_of(b"%d" % number) for number in range(20)]
        for number, digest in enumerate(here):
            bucket.write("manifests", digest, [b"%d" % number])
        crowd = [Digest("blake3", f"{number:064x}") for number in range(500)]  # one shard
        absent = [digest_of(b"absent %d" % number) for number in range(20)]
        asked = [*here, *crowd, *absent, *here]
        assert bucket.missing("manifests", iter(asked)) == {*crowd, *absent}

    def test_a_bucket_that_went_away_has_no_bytes(self, front: Front, s3: str) -> None:
        bucket = connect(s3)
        front.fails = [("GET", "objects", 404, False), ("PUT", "objects", 404, False)]
        with pytest.raises(MissingObject):
            list(bucket.read("objects", digest_of(b"x")))
        with pytest.raises(Unavailable, match="does not exist"):
            bucket.write("objects", digest_of(b"x"), [b"x"])


class TestSigns:
    def test_an_upload_shows_while_it_is_open(self, s3: str) -> None:
        bucket = connect(s3)
        with bucket.upload():
            assert len([key for key in keys(s3) if key.startswith("tmp/uploads/")]) == 1
        assert keys(s3) == {"zoo.json"}

    @pytest.mark.parametrize("sign", ["tmp/prune", "tmp/prune-0123"])
    def test_no_upload_starts_during_a_prune(self, s3: str, sign: str) -> None:
        bucket = connect(s3)
        bucket.backend.put(sign, [b""])
        with pytest.raises(Conflict, match="prune"), bucket.upload():
            pytest.fail("it started")
        assert keys(s3) == {"zoo.json", sign}

    def test_a_sign_that_was_left_counts_for_ten_minutes(self, s3: str) -> None:
        place = BucketPlace(s3)
        far = replace(Owner.here("somebody"), machine="another")
        place.plant("tmp/prune", far.to_bytes())
        place.age("tmp/prune", ago(590))
        with pytest.raises(Conflict, match="tmp/prune"), place.remote.upload():
            pytest.fail("it started")
        for seconds in (610, -400 * 86400):  # or the service's clock was wrong once
            place.age("tmp/prune", ago(seconds))
            with place.remote.upload():
                pass

    def test_a_sign_of_an_earlier_version_counts_for_a_day(self, s3: str) -> None:
        place = BucketPlace(s3)
        place.plant("tmp/prune", b"")
        place.age("tmp/prune", ago(23 * 3600))
        with pytest.raises(Conflict, match="tmp/prune"), place.remote.upload():
            pytest.fail("it started")
        place.age("tmp/prune", ago(25 * 3600))
        with place.remote.upload():
            pass

    def test_the_death_of_its_process_is_seen_at_once(self, s3: str) -> None:
        place = BucketPlace(s3)
        ended = subprocess.Popen(["true"])
        here = Owner.here("somebody")
        for owner in (replace(here, pid=ended.pid), replace(here, born="1")):
            ended.wait()
            place.plant("tmp/prune-1", owner.to_bytes())
            with place.remote.upload():
                pass
        place.plant("tmp/prune-1", replace(here, machine="another").to_bytes())
        with pytest.raises(Conflict, match="somebody on"), place.remote.upload():
            pytest.fail("it started")


def test_the_missing_extra_is_named(bucket_env: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("obstore", "zoo_bucket")]:
        bucket_env.delitem(sys.modules, name)
    bucket_env.setitem(sys.modules, "obstore", None)
    for scheme in ("s3", "gs", "az"):
        plugins.load.cache_clear()
        with pytest.raises(MissingPackage, match="obstore") as caught:
            plugins.remote(scheme)
        assert caught.value.install == "pip install 'zoo-registry[bucket]'"
    plugins.load.cache_clear()
