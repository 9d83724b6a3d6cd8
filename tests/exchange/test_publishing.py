"""Publishing to hf://: the real client against a hub of our own; timm loads what is there."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from fakes.hub_server import HubServer, Moved, Status
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from zoo.backbones.load import load
from zoo.domain.digest import Digest
from zoo.domain.manifest import Head, Parent
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidOption, InvalidReference, Unavailable
from zoo.exchange.importing import Origin, import_file
from zoo.exchange.indexing import index
from zoo.exchange.origins import base_models, published
from zoo.exchange.publishing import publish
from zoo.store.files import add_file
from zoo.workspace import Workspace
from zoo_hub import client

# The client itself uses what its HTTP library would rather see gone.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SECRET = "hf_secretsecretsecret"
REPO, PLACE = "team/flowers", "hf://team/flowers"
BASE = "timm/test_resnet.r160_in1k"
AWAY = Digest.parse(f"blake3:{'1' * 64}")
"""Of a checkpoint that is not here; its name is one of timm's."""
CARD = "---\nlicense: mit\ntags: [flowers]\nlanguage: en\n---\n\n# Flowers\n\nOf our meadow.\n"

LOADS = """
import json, sys, timm, torch
net = timm.create_model("hf-hub:team/flowers", pretrained=True).eval()
with torch.no_grad():
    out = net(torch.linspace(-1, 1, 3 * 160 * 160).view(1, 3, 160, 160))
config = net.pretrained_cfg
print(json.dumps({"out": out[0].tolist(), "names": config["label_names"], "mean": config["mean"]}))
"""


@pytest.fixture
def member(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The hub, with a token of somebody who may write there."""
    hub.members.add(SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return hub


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zoo of `tuned`, which tests copy."""
    folder = tmp_path_factory.mktemp("made")
    save_file(timm.create_model("test_resnet").state_dict(), folder / "net.safetensors")
    with closing(Workspace.create(folder / "zoo")) as workspace:
        _fill(workspace, folder)
    return folder / "zoo"


@pytest.fixture
def workspace(made: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """With `tuned`, where a test asks for it."""
    if "tuned" in request.fixturenames:
        shutil.copytree(made, tmp_path / "zoo")
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        yield workspace


@pytest.fixture
def tuned(workspace: Workspace) -> Digest:
    """``team/flowers``: of 1000 classes, with a parent that the hub has and one that it has not."""
    return workspace.names.resolve("team/flowers")[1]


def _fill(workspace: Workspace, folder: Path) -> None:
    index(workspace, "timm")
    origin = Origin(
        plugin="timm", architecture="test_resnet", tag="r160_in1k", license="apache-2.0"
    )
    ref = Reference.parse("team/flowers")
    file = folder / "net.safetensors"
    base = import_file(workspace, file, Reference.parse("team/base"), origin).manifest
    known = workspace.store.manifest(base)
    old = Parent(manifest=AWAY, relation="finetune", ref=BASE)
    (folder / "README.md").write_text(CARD)
    changed = replace(
        known,
        parents=(Parent(manifest=base, relation="finetune", ref="team/base"),),
        ancestors={base: (old,)},
        preprocessing=replace(known.preprocessing, mean=(0.1, 0.2, 0.3)),
        classes=tuple(f"flower {number}" for number in range(1000)),
        files=(add_file(workspace.store, folder / "README.md", name="README.md"),),
    )
    workspace.commit(changed, ref, "test")


def files(hub: HubServer) -> dict[str, bytes]:
    repo = hub.repos[REPO]
    return dict(repo.commits[repo.refs["main"]])


@pytest.mark.long  # timm in a process of its own
def test_timm_loads_what_was_published(
    member: HubServer, workspace: Workspace, tuned: Digest, tmp_path: Path
) -> None:
    done = publish(workspace, "team/flowers", PLACE)
    assert (done.manifest, done.revision) == (tuned, member.repos[REPO].refs["main"])
    environment = {
        **os.environ, "HF_ENDPOINT": member.url, "HF_HOME": str(tmp_path / "theirs"),
        "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    environment.pop("HF_TOKEN")
    ran = subprocess.run(
        [sys.executable, "-c", LOADS], env=environment, capture_output=True, text=True, check=True
    )
    theirs = json.loads(ran.stdout)
    image = torch.linspace(-1, 1, 3 * 160 * 160).view(1, 3, 160, 160)
    with torch.no_grad():
        ours = load(workspace.store, tuned)(image)
    assert torch.allclose(torch.tensor(theirs["out"]), ours[0], atol=1e-5)
    assert theirs["names"][3] == "flower 3"
    assert theirs["mean"] == [0.1, 0.2, 0.3]


@pytest.mark.long
def test_the_card_tells_the_lineage_and_keeps_what_it_said(
    member: HubServer, workspace: Workspace, tuned: Digest
) -> None:
    publish(workspace, "team/flowers", PLACE)
    publish(workspace, "team/flowers", PLACE)  # the second time adds nothing
    card = ModelCard(files(member)["README.md"].decode())
    assert card.data.to_dict() == {
        "license": "mit", "tags": ["flowers", "zoo", "timm"], "language": "en",
        "library_name": "timm", "pipeline_tag": "image-classification", "base_model": [BASE],
        "base_model_relation": "finetune",
    }  # fmt: skip
    (_, parent), _ = workspace.store.manifest(tuned).lineage()
    shown = [line for line in card.text.strip().splitlines() if not line.startswith("<!--")]
    assert shown == [
        "# Flowers", "", "Of our meadow.", "", "## Lineage", "",
        f"This is `team/flowers`, {tuned}.", "",
        f"- finetune of `team/base`, {parent.manifest}",
        f"  - finetune of `{BASE}`, {AWAY}",
    ]  # fmt: skip
    assert set(files(member)) == {
        ".gitattributes", "README.md", "config.json", "model.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "outputs", "pipeline"),
    [
        ("multi-label", 1000, "image-classification"),
        ("regression", 1000, "other"),
        ("regression", 0, "image-feature-extraction"),
    ],
)
def test_the_card_tells_the_task(
    member: HubServer, workspace: Workspace, tuned: Digest, task: str, outputs: int, pipeline: str
) -> None:
    known = workspace.store.manifest(tuned)
    changed = replace(known, files=(), classes=(), recipe={"task": task},
                      head=Head(kind="native", num_classes=outputs))  # fmt: skip
    workspace.commit(changed, Reference.parse("team/flowers"), "test")
    publish(workspace, "team/flowers", PLACE)
    assert ModelCard(files(member)["README.md"].decode()).data.get("pipeline_tag") == pipeline


@pytest.mark.parametrize("terminal", [True, False])
def test_an_upload_is_seen_on_terminals_only(
    member: HubServer, workspace: Workspace, tuned: Digest, terminal: bool,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    publish(workspace, "team/flowers", PLACE)
    assert ("100%" in capsys.readouterr().err) == terminal
    assert member.repos[REPO].refs["main"]


def test_others_work_is_not_overwritten(
    member: HubServer, workspace: Workspace, tuned: Digest
) -> None:
    member.commit(REPO, {"model.safetensors": b"theirs"})
    with pytest.raises(Conflict, match=r"not pushed from here .*--force"):
        publish(workspace, "team/flowers", PLACE)
    assert files(member) == {"model.safetensors": b"theirs"}
    publish(workspace, "team/flowers", PLACE, force=True)
    publish(workspace, "team/flowers", PLACE)  # on top of our own
    member.commit(REPO, {**files(member), "config.json": b"theirs"})
    with pytest.raises(Conflict):
        publish(workspace, "team/flowers", PLACE)
    member.fail_next(Moved(REPO, {"config.json": b"new"}, where="/preupload/", method="POST"))
    with pytest.raises(Conflict, match="just now"):
        publish(workspace, "team/flowers", PLACE, force=True)
    assert files(member) == {"config.json": b"new"}


def test_only_who_may_write_writes_and_the_token_is_told_to_nobody(
    member: HubServer, workspace: Workspace, tuned: Digest, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    publish(workspace, "team/flowers", "hf://team/hidden", private=True)
    assert member.repos["team/hidden"].info == {"private": True}
    sent = [request for request in member.log if request.method == "PUT"]
    assert [request.token for request in sent] == [None]
    monkeypatch.setenv("HF_TOKEN", "hf_strangerstranger")
    for place in (PLACE, "hf://team/hidden"):
        with pytest.raises(Unavailable, match="hf auth login") as caught:
            publish(workspace, "team/flowers", place)
        assert "hf_stranger" not in str(caught.value)
    assert REPO not in member.repos
    assert not any(token in caplog.text for token in (SECRET, "hf_stranger"))
    kept = [path for path in workspace.root.iterdir() if path.suffix == ".json"]
    assert kept
    assert not any(SECRET in path.read_text() for path in kept)


def test_a_hub_that_stumbles(
    member: HubServer, workspace: Workspace, tuned: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(client, "sleep", slept.append)
    member.fail_next(
        Status(503, {"Retry-After": "3"}, where="/api/models/team/flowers"),
        Status(429, {"Retry-After": "2"}, where="/api/repos/create", method="POST"),
        Status(503, where="/commit/", method="POST"),
    )
    publish(workspace, "team/flowers", PLACE)
    assert slept == [3, 2, 0.5]
    assert "model.safetensors" in files(member)


@pytest.mark.usefixtures("tuned")
def test_what_cannot_be_published(
    member: HubServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidOption, match="hf://org/name"):
        publish(workspace, "team/flowers", "ftp://team/flowers")
    with pytest.raises(InvalidReference, match="a push makes a new one"):
        publish(workspace, "team/flowers", f"{PLACE}@main")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE"):
        publish(workspace, "team/flowers", PLACE)
    assert member.log == []


def test_a_repository_is_one_however_it_is_typed(
    member: HubServer, workspace: Workspace, tuned: Digest
) -> None:
    page = "https://huggingface.co/team/flowers"
    publish(workspace, "team/flowers", page)
    assert set(published(workspace)) == {PLACE}
    # A zoo of before has kept what was typed, and knows its own revision by that.
    kept = workspace.root / "published.json"
    kept.write_text(kept.read_text().replace(PLACE, page))
    known = workspace.store.manifest(tuned)
    workspace.commit(replace(known, license="mit"), Reference.parse("team/flowers"), "test")
    publish(workspace, "team/flowers", PLACE)
    derived = replace(known, parents=(Parent(manifest=tuned, relation="finetune", ref="x/y"),))
    assert base_models(workspace, derived) == ["team/flowers"]
