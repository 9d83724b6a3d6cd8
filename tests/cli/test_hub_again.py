"""Bytes that are on this machine are not fetched again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.hub_home import own_hub
from fakes.hub_server import Cut, HubServer
from fakes.hub_zoo import repository, sharded, weights
from huggingface_hub import hf_hub_download

from zoo.store import partial
from zoo_hub import client

CARD = {"README.md": b"# One\n"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    yield from own_hub(monkeypatch, tmp_path)


def fetched(hub: HubServer) -> list[str]:
    """The names of the files that were asked for since the last time."""
    asked = [seen.path.rpartition("/")[2] for seen in hub.log if "/resolve/" in seen.path]
    hub.log.clear()
    return sorted(asked)


def test_what_the_zoo_has_is_not_fetched_again(small: Any, hub: HubServer) -> None:
    hub.commit("lab/net", {**repository(1), **CARD})
    first = small("pull", "x/net", "--from", "hf://lab/net", "--json").json
    assert fetched(hub) == ["README.md", "config.json", "model.safetensors"]
    for name in ("x/net", "x/other"):
        again = small("pull", name, "--from", "hf://lab/net", "--json").json
        assert len(hub.log) == 1
        assert fetched(hub) == []
        assert again["manifest"] == first["manifest"]
    hub.commit("lab/net", {**repository(1), "README.md": b"# Two\n"})  # of the same length
    second = small("pull", "x/net", "--from", "hf://lab/net", "--json").json
    assert fetched(hub) == ["README.md"]
    assert second["manifest"] != first["manifest"]
    # The same bytes under another name, and those of an import.
    hub.commit("lab/renamed", {**repository(1), "vit.safetensors": weights(100)})
    repo = hub.repos["lab/renamed"]
    files = repo.commits[repo.refs["main"]]
    repo.commits[repo.refs["main"]] = {
        name: data for name, data in files.items() if name != "model.safetensors"
    }
    assert small("pull", "x/renamed", "--from", "hf://lab/renamed").code == 0
    assert fetched(hub) == ["config.json"]


def test_several_files_of_weights_are_not_fetched_again(small: Any, hub: HubServer) -> None:
    hub.commit("lab/parts", sharded(2))
    for asked in (4, 0):
        assert small("pull", "x/parts", "--from", "hf://lab/parts").code == 0
        assert len(fetched(hub)) == asked


def test_what_is_damaged_here_is_fetched(small: Any, hub: HubServer) -> None:
    hub.commit("lab/net", repository(1))
    assert small("pull", "x/net", "--from", "hf://lab/net").code == 0
    fetched(hub)
    for path in Path("objects").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data[:-1] + b"?")
    assert small("pull", "x/net", "--from", "hf://lab/net").code == 0
    assert fetched(hub) == ["config.json", "model.safetensors"]


def test_the_users_cache_has_the_same_bytes_at_another_commit(small: Any, hub: HubServer) -> None:
    hub.commit("lab/net", {**repository(1), **CARD})
    for name in repository(1):
        hf_hub_download("lab/net", name, endpoint=hub.url)
    hub.commit("lab/net", {**repository(1), "README.md": b"# Other\n"})
    fetched(hub)
    done = small("pull", "x/net", "--from", "hf://lab/net")
    assert done.code == 0
    assert fetched(hub) == ["README.md"]
    shown = small("show", "x/net", "--json").json
    assert shown["weights"][0]["name"] == "model.safetensors"
    assert shown["provenance"]["file"] == "model.safetensors"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_copy_in_the_users_cache_is_not_used(
    small: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hub.commit("lab/net", repository(1))
    for each in repository(1):
        cached = Path(hf_hub_download("lab/net", each, endpoint=hub.url))
        if each == name:
            path = cached.resolve()
            path.write_bytes(b"?" * path.stat().st_size)
    fetched(hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused = small("pull", "x/net", "--from", "hf://lab/net")
    assert (refused.code, f"{name} is damaged" in refused.err) == (1, True), refused.err
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert small("pull", "x/net", "--from", "hf://lab/net").code == 0
    assert fetched(hub) == [name]


def test_a_download_goes_on_though_the_commit_has_moved(
    small: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "sleep", lambda _: None)
    monkeypatch.setattr(partial, "KEPT", 1000)
    hub.commit("lab/net", repository(1))
    hub.fail_next(Cut(500_000, where="model.safe"), *[Cut(-1, where="model.safe")] * 5)
    assert small("pull", "x/net", "--from", "hf://lab/net").code == 1
    hub.commit("lab/net", {**repository(1), **CARD})
    hub.log.clear()
    assert small("pull", "x/net", "--from", "hf://lab/net").code == 0
    assert [seen.headers.get("range") for seen in hub.requests("model.safe")] == ["bytes=500000-"]
    assert [path.name for path in Path("tmp").rglob("*") if path.is_file()] == []
