from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from fakes.hub_server import Cut, Flip, HubServer, Moved, Raw, Redirect, Stall, Status

from zoo.domain.catalog import Release
from zoo.errors import Corrupt, Unavailable, ZooError
from zoo_hub import client
from zoo_hub.source import HubSource

REPO = "team/flowers"
WEIGHTS = random.Random(7).randbytes(3_000_000)
FILES = {"model.safetensors": WEIGHTS, "config.json": b'{"architecture": "resnet18"}'}
SECRET = "hf_secretsecretsecret"
BINARY = {"Content-Type": "application/octet-stream"}


def read(
    source: HubSource, release: Release, path: str = "model.safetensors", at: int = 0
) -> bytes:
    return b"".join(source.open(release, path, at))


def ranges(server: HubServer) -> list[str | None]:
    """The Range of each request for bytes, in order."""
    return [request.headers.get("range") for request in server.requests("/resolve/")]


def test_open_gives_the_bytes_in_pieces_and_leaves_no_copy(
    hub_server: HubServer, source: HubSource, release: Release, hub_home: Path
) -> None:
    pieces = list(source.open(release, "model.safetensors"))
    assert b"".join(pieces) == WEIGHTS
    assert len(pieces) == 3
    assert ranges(hub_server) == [None]
    assert not hub_home.exists()


def test_open_from_an_offset_asks_for_the_rest_only(
    hub_server: HubServer, source: HubSource, release: Release
) -> None:
    assert read(source, release, at=1_234_567) == WEIGHTS[1_234_567:]
    assert read(source, release, at=len(WEIGHTS)) == b""
    assert ranges(hub_server) == ["bytes=1234567-"]


def test_open_of_a_server_that_ignores_ranges(
    hub_server: HubServer, source: HubSource, release: Release
) -> None:
    hub_server.fail_next(Raw(WEIGHTS, BINARY))
    assert read(source, release, at=1_234_567) == WEIGHTS[1_234_567:]


def test_open_stays_at_the_commit_when_the_branch_moves(
    hub_server: HubServer, source: HubSource
) -> None:
    commit = hub_server.commit(REPO, FILES)
    hub_server.fail_next(Moved(REPO, {"model.safetensors": b"other"}, where="/api/models"))
    release = source.resolve(REPO)
    assert release.revision == commit
    assert source.resolve(REPO).revision != commit
    assert read(source, release) == WEIGHTS


@pytest.mark.parametrize("after", [700_000, 2_500_000])
def test_a_cut_connection_is_resumed_where_it_stopped(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float], after: int
) -> None:
    hub_server.fail_next(Cut(after))
    assert read(source, release) == WEIGHTS
    assert ranges(hub_server) == [None, f"bytes={after}-"]
    assert pauses == [0.5]


def test_a_reset_connection_is_resumed(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float]
) -> None:
    hub_server.fail_next(Cut(700_000, reset=True))
    assert read(source, release) == WEIGHTS
    assert len(ranges(hub_server)) == 2
    assert len(pauses) == 1


def test_what_is_announced_with_another_size_is_not_begun(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float]
) -> None:
    hub_server.fail_next(Raw(WEIGHTS[:700_000], BINARY))
    with pytest.raises(Corrupt, match="expected 3000000 bytes, found 700000 announced"):
        next(source.open(release, "model.safetensors"))
    hub_server.fail_next(Raw(b"<html>log in to the network</html>"))
    with pytest.raises(Unavailable, match=r"a web page .*want a login"):
        next(source.open(release, "model.safetensors", 2_000_000))
    assert pauses == []


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_before_the_answer_is_tried_again(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float], reset: bool
) -> None:
    hub_server.fail_next(Cut(-1, reset), Cut(-1, reset, where="/resolve/"))
    assert source.resolve(REPO) == release
    assert read(source, release) == WEIGHTS
    assert pauses == [0.5, 0.5]


def test_many_cuts_are_fine_while_bytes_come(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float]
) -> None:
    hub_server.fail_next(*[Cut(100_000)] * 20)
    assert read(source, release) == WEIGHTS
    assert pauses == [0.5] * 20


def test_tries_are_bounded_when_no_bytes_come(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float]
) -> None:
    hub_server.fail_next(*[Cut(0)] * 20)
    with pytest.raises(Unavailable, match="connection lost"):
        read(source, release)
    assert len(ranges(hub_server)) == 6
    assert pauses == [0.5, 1, 2, 4, 8]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("where", ["/api/models", "/resolve/"])
def test_retry_after_is_honored(
    hub_server: HubServer, source: HubSource, pauses: list[float], status: int, where: str
) -> None:
    hub_server.commit(REPO, FILES)
    busy = Status(status, {"Retry-After": "3"}, where=where)
    hub_server.fail_next(busy, busy, Status(status, where=where))
    assert read(source, source.resolve(REPO)) == WEIGHTS
    assert pauses == [3, 3, 2]


def test_a_rate_limit_is_honored(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float]
) -> None:
    hub_server.fail_next(Status(429, {"RateLimit": '"api";r=0;t=41'}))
    assert read(source, release) == WEIGHTS
    assert pauses == [41]


def test_a_hub_that_asks_to_wait_too_long_or_stays_away(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float]
) -> None:
    hub_server.fail_next(Status(429, {"Retry-After": "3600"}))
    with pytest.raises(Unavailable, match=r"answered 429 .* and to wait 3600 s"):
        source.resolve(REPO)
    assert pauses == []
    hub_server.fail_next(*[Status(503)] * 20)
    with pytest.raises(Unavailable, match="answered 503 Service Unavailable"):
        read(source, release)
    assert len(pauses) == 5


def test_wrong_bytes_are_delivered_for_the_reader_to_refuse(
    hub_server: HubServer, source: HubSource, release: Release
) -> None:
    hub_server.fail_next(Flip())
    found = read(source, release)
    assert len(found) == len(WEIGHTS)
    assert hashlib.sha256(found).hexdigest() != release.file("model.safetensors").sha256


def test_gated_files_need_a_member(
    hub_server: HubServer, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_server.commit(REPO, FILES, gated=True)
    hub_server.members.add(SECRET)
    release = source.resolve(REPO)
    for token in ("", "hf_stranger"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(Unavailable, match=r"gated: accept its license .*hf auth login"):
            read(source, release)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert read(source, release) == WEIGHTS


def test_a_token_goes_to_the_hub_and_not_where_it_redirects_to(
    hub_server: HubServer, source: HubSource, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with HubServer() as depot:
        depot.commit(REPO, FILES)
        path = f"/{REPO}/resolve/{release.revision}/model.safetensors"
        hub_server.fail_next(Redirect(f"{depot.url}{path}?signature=abc"))
        assert read(source, release, at=1000) == WEIGHTS[1000:]
        assert [request.token for request in hub_server.requests("/resolve/")] == [SECRET]
        assert [request.token for request in depot.log] == [None]
        assert ranges(depot) == ["bytes=1000-"]


def test_no_secret_in_messages(
    hub_server: HubServer, source: HubSource, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    echo = {"X-Error-Message": f"Bearer {SECRET} is no good"}
    messages = []
    for status in (400, 401, 403, 404, 410):
        hub_server.fail_next(Status(status, echo), Status(status, echo))
        for call in (lambda: source.resolve(REPO), lambda: read(source, release)):
            with pytest.raises(ZooError) as caught:
                call()
            messages.append(str(caught.value))
    for url in (f"http://user:{SECRET}@127.0.0.1:1", f"user:{SECRET}@host", f"http://[{SECRET}"):
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(Unavailable) as refused:
            source.resolve(REPO)
        messages.append(str(refused.value))
    assert [message for message in messages if SECRET in message] == []


def test_nothing_listens(
    hub_home: Path,
    source: HubSource,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with HubServer() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
        gone.commit(REPO, FILES)
        release = source.resolve(REPO)
    started = time.monotonic()
    for call in (lambda: source.resolve(REPO), lambda: read(source, release)):
        with pytest.raises(Unavailable, match=r"the hub 127\.0\.0\.1:\d+: no connection \("):
            call()
    assert time.monotonic() - started < 3
    assert pauses == []


def test_a_hub_that_does_not_answer_in_time(
    hub_server: HubServer,
    source: HubSource,
    release: Release,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", client._http.Timeout(0.2))
    hub_server.fail_next(Stall(0.6), Stall(0.6))
    for call in (lambda: source.resolve(REPO), lambda: read(source, release)):
        with pytest.raises(Unavailable, match="no answer in time"):
            call()
    assert pauses == []


def test_the_fake_answers_what_the_client_asks_by_the_way(hub_server: HubServer) -> None:
    with urlopen(f"{hub_server.url}/api/agent-harnesses", timeout=5) as answer:
        assert json.load(answer) == {"standardEnvVars": [], "harnesses": {}}
