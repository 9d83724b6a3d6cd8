from __future__ import annotations

import json
import random
import ssl
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from fakes.hub_server import HubServer
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
    # The hub here speaks no TLS: each new client would read all certificates of the machine.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
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
