"""A hub of our own for the client that the program uses, and nobody's token or cache."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from fakes.hub_server import HubServer
from huggingface_hub import constants

__all__ = ["SECRET", "own_hub"]

SECRET = "hf_secretsecretsecret"


def own_hub(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *, member: bool = False
) -> Iterator[HubServer]:
    """A running hub, which ``HF_ENDPOINT`` names; the user's files are in ``folder``. A ``member``
    has the token `SECRET`, and may write.
    """
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    # The client library reads its variables at import, so they are too late here.
    home = folder / "hf-home"
    home.mkdir()
    harnesses = home / "harnesses.json"
    harnesses.write_text(json.dumps({"standardEnvVars": [], "harnesses": {}}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(harnesses), raising=False)
    # The hub here takes large files by Git LFS.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Nor does it speak TLS: each new client would read all certificates of the machine.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
    huggingface_hub.close_session()
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        if member:
            monkeypatch.setenv("HF_TOKEN", SECRET)
            server.members.add(SECRET)
        yield server
        # Before the server ends: its threads wait for connections that the client keeps open.
        huggingface_hub.close_session()
