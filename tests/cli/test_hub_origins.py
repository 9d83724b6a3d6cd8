"""The card's base model is what a network was made of, and nobody else's network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer
from huggingface_hub import ModelCard
from safetensors.torch import save, save_file

Run = Callable[..., Any]

# The client itself uses what its HTTP library would rather see gone.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    yield from own_hub(monkeypatch, tmp_path, member=True)


@pytest.fixture
def files() -> dict[str, bytes]:
    """A repository of timm's."""
    return {
        "config.json": json.dumps({"architecture": "test_vit"}).encode(),
        "model.safetensors": save(timm.create_model("test_vit").state_dict()),
    }


def bases(run: Run, hub: HubServer, name: str, said: str = "") -> Any:
    """The base model in the card of ``name``, which is published."""
    done = run("push", name, "--to", f"hf://{name}")
    assert (done.code, done.err) == (0, said)
    repo = hub.repos[name]
    card = repo.commits[repo.refs["main"]]["README.md"].decode()
    return ModelCard(card).data.get("base_model")


@pytest.mark.long
def test_a_parent_that_was_pulled_or_pushed(
    empty: Run, hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.commit("lab/timm-vit", files)
    assert empty("pull", "base/t", "--from", "hf://lab/timm-vit@main").code == 0
    assert empty("adapt", "base/t", "team/three", "--classes", 3).code == 0
    assert bases(empty, hub, "team/three") == ["lab/timm-vit"]
    # What was pushed is nearer than what that was made of, whatever it is called by now.
    assert empty("tag", "team/three", "x/other").code == 0
    assert empty("adapt", "x/other", "team/two", "--classes", 2).code == 0
    assert bases(empty, hub, "team/two") == ["team/three"]
    kept = json.loads(Path("published.json").read_text())
    assert len(kept["hf://team/three"]["manifests"]) == 1
    # An older zoo's file has no digests; the lineage goes on to the next.
    old = {where: place["revision"] for where, place in kept.items()}
    Path("published.json").write_text(json.dumps(old))
    assert bases(empty, hub, "team/two") == ["lab/timm-vit"]


def test_a_strangers_network_of_the_same_name(
    empty: Run, hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    file = tmp_path / "own.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)
    assert empty("import", file, "--architecture", "test_vit", "--as", "lab/vit").code == 0
    hub.commit("lab/vit", files, info={"library_name": "timm"})
    assert empty("index", "hub", "--author", "lab").code == 0
    assert empty("adapt", "lab/vit", "team/three", "--classes", 3).code == 0
    guess = "unknown: preprocessing; that of test_vit is taken, a guess that can cost accuracy\n"
    assert bases(empty, hub, "team/three", guess) is None
