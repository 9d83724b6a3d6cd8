from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from blake3 import blake3
from fakes.s3_front import KEY_ID, SECRET, Front

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, Unavailable, Unsupported
from zoo.store import Store
from zoo_bucket import location
from zoo_bucket.bucket import BucketBackend

REF = Reference("team", "flowers")
MOVE = RefEntry(
    number=1,
    manifest=Digest("blake3", "ab" * 32),
    previous=None,
    at="2026-01-02T03:04:05Z",
    by="tester",
    why="test",
)


def connect(location: str, *, create: bool) -> Store:
    return Store.connect(BucketBackend.connect(location, create=create), create=create)


def keys(location: str) -> set[str]:
    return {file.name for file in BucketBackend.connect(location, create=False).list("")}


class TestConnect:
    def test_what_is_made_can_be_opened(self, s3: str) -> None:
        connect(s3, create=True).append_ref(REF, MOVE)
        for create in (False, True):
            assert connect(f"{s3}/", create=create).read_ref(REF) == MOVE

    def test_nothing_is_made_unasked(self, s3: str) -> None:
        with pytest.raises(Unavailable, match="is not a zoo store"):
            connect(s3, create=False)
        assert keys(s3) == set()

    def test_a_bucket_that_does_not_exist_is_said_so(self, s3: str) -> None:
        for create in (False, True):
            with pytest.raises(Unavailable, match="s3://other/zoo: the bucket does not exist"):
                connect("s3://other/zoo", create=create)

    def test_other_things_are_left_alone(self, s3: str) -> None:
        BucketBackend.connect(s3, create=True).put("holiday.jpg", [b""])
        with pytest.raises(Unavailable, match="not empty"):
            connect(s3, create=True)
        assert keys(s3) == {"holiday.jpg"}

    def test_things_beside_the_prefix_do_not_matter(self, s3: str) -> None:
        BucketBackend.connect(f"{s3}/zoo2", create=True).put("holiday.jpg", [b""])
        assert list(connect(f"{s3}/zoo", create=True).refs()) == []

    def test_what_a_killed_attempt_left_does_not_matter(self, s3: str) -> None:
        BucketBackend.connect(s3, create=True).put("tmp/probe-1", [b""])
        connect(s3, create=True)

    def test_another_format_is_refused(self, s3: str) -> None:
        BucketBackend.connect(s3, create=True).put("zoo.json", [b'{"format": 9}'])
        with pytest.raises(Unsupported, match="format 9"):
            connect(s3, create=True)

    @pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"{}"])
    def test_a_damaged_marker_is_refused(self, s3: str, text: bytes) -> None:
        BucketBackend.connect(s3, create=True).put("zoo.json", [text])
        with pytest.raises(Unavailable, match="cannot be read"):
            connect(s3, create=True)

    def test_many_may_make_it_at_once(self, front: Front, s3: str) -> None:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: connect(s3, create=True), range(8)))
        made[0].append_ref(REF, MOVE)
        assert made[7].read_ref(REF) == MOVE

    @pytest.mark.parametrize(
        "location",
        [
            f"s3://{KEY_ID}:{SECRET}@models/zoo",
            f"s3://models/zoo?secret={SECRET}",
            f"gs://{SECRET}@models",
            "s3://",
            "s3://models/../other",
            "s3://models//zoo",
            "s3://models/%2e%2e",
            "s3:/models",
        ],
    )
    def test_a_malformed_location_is_refused_and_not_repeated(self, location: str) -> None:
        with pytest.raises(InvalidOption) as caught:
            connect(location, create=True)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("text", ["s3://a", "gs://a.b/c", "az://a-b/c/d.e=f/g_h"])
    def test_a_location_prints_as_it_was_written(self, text: str) -> None:
        parse = location.Location.parse
        assert str(parse(text)) == str(parse(f"{text}/")) == text


class TestNoAnswer:
    def check(self, what: Callable[[], object], reason: str) -> Unavailable:
        begun = time.monotonic()
        with pytest.raises(Unavailable, match=reason) as caught:
            what()
        assert time.monotonic() - begun < 10
        assert KEY_ID not in str(caught.value)
        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__  # a traceback would show the server's words
        return caught.value

    @pytest.mark.long
    def test_a_refused_connection(self, bucket_env: pytest.MonkeyPatch) -> None:
        with socket.socket() as held:  # bound, and not listening
            held.bind(("127.0.0.1", 0))
            bucket_env.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{held.getsockname()[1]}")
            self.check(lambda: connect("s3://models/zoo", create=True), "no answer")

    def test_silence(self, bucket_env: pytest.MonkeyPatch) -> None:
        short = {"read_timeout": timedelta(seconds=0.5), "timeout": timedelta(hours=0.3)}
        bucket_env.setattr(location, "ASKING", (short, timedelta(seconds=0.75)))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            bucket_env.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            self.check(lambda: connect("s3://models/zoo", create=True), "no answer")

    @pytest.mark.parametrize(
        ("status", "reason"),
        [(403, r"refused \(Odd\)"), (401, "refused"), (301, "AWS_REGION"), (400, "answered 400")],
    )
    def test_a_refusal(self, front: Front, s3: str, status: int, reason: str) -> None:
        front.fails = [("GET", "zoo.json", status, False)]
        self.check(lambda: connect(s3, create=True), reason)

    def test_an_endpoint_over_plain_http_must_say_so(
        self, bucket_env: pytest.MonkeyPatch, s3: str
    ) -> None:
        bucket_env.setenv("AWS_ALLOW_HTTP", "true")
        bucket_env.setenv("AWS_ENDPOINT", os.environ["AWS_ENDPOINT_URL"])
        bucket_env.delenv("AWS_ENDPOINT_URL")
        self.check(lambda: connect(s3, create=True), "not an https://")

    def test_settings_that_are_no_use(self, bucket_env: pytest.MonkeyPatch) -> None:
        bucket_env.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", f"{{bad {SECRET}")
        for url in ("gs://models", "az://models"):
            self.check(partial(connect, url, create=True), "settings")

    def test_a_passing_failure_is_not_seen(self, front: Front, s3: str) -> None:
        front.fails = [(method, "zoo.json", 503, False) for method in ("GET", "GET", "PUT")]
        connect(s3, create=True)
        assert front.fails == []
        front.fails = [("HEAD", "objects", 500, False), ("PUT", "objects", 503, False)]
        assert connect(s3, create=False).write(
            "objects", Digest("blake3", blake3(b"a").hexdigest()), [b"a"]
        )
        assert front.fails == []
