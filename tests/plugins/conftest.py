from __future__ import annotations

import http.client
import json
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from fakes.hub_server import HubServer
from fakes.s3_front import KEY_ID, SECRET, Front
from huggingface_hub import constants

from zoo.domain.catalog import Release
from zoo_hub import client
from zoo_hub.source import HubSource


@pytest.fixture
def hub_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nobody's token, an empty cache, and no way to the real hub. Returns the cache."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    # The client library reads its variables at import, so they are too late here.
    home = tmp_path / "hf-home"
    home.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # A fresh copy keeps the client from asking the endpoint that it saw at import.
    harnesses = home / "harnesses.json"
    harnesses.write_text(json.dumps({"standardEnvVars": [], "harnesses": {}}))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(harnesses), raising=False)
    huggingface_hub.close_session()
    yield home / "hub"
    huggingface_hub.close_session()


@pytest.fixture
def hub_server(hub_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub of our own, which ``HF_ENDPOINT`` names."""
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
        # Before the server ends: its threads wait for connections that the client keeps open.
        huggingface_hub.close_session()


@pytest.fixture
def source() -> HubSource:
    return HubSource()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client would have slept, without the sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(client, "sleep", slept.append)
    return slept


@pytest.fixture
def release(hub_server: HubServer, source: HubSource) -> Release:
    """One repository of `hub_server`, pinned."""
    weights = random.Random(7).randbytes(3_000_000)
    config = b'{"architecture": "resnet18"}'
    hub_server.commit("team/flowers", {"model.safetensors": weights, "config.json": config})
    return source.resolve("team/flowers")


@pytest.fixture(scope="module")
def s3_service() -> Iterator[int]:
    """The port of a service that speaks S3 and holds the bucket ``models``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    signed = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request"
    connection.request("PUT", "/models", headers={"Authorization": signed})
    assert connection.getresponse().status == 200
    connection.close()
    yield port
    server.stop()


@pytest.fixture
def bucket_env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Credentials of our own, and nobody else's."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return monkeypatch


@pytest.fixture
def s3(s3_service: int, bucket_env: pytest.MonkeyPatch) -> str:
    """A location where nothing is yet."""
    bucket_env.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_service}")
    return f"s3://models/{uuid.uuid4().hex}/zoo"


@pytest.fixture
def front(s3_service: int, s3: str, bucket_env: pytest.MonkeyPatch) -> Iterator[Front]:
    front = Front(s3_service)
    bucket_env.setenv("AWS_ENDPOINT_URL", front.url)
    yield front
    front.stop()
