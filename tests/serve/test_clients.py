"""Stock clients, with nothing set but the address and a token, and networks that only their library
can describe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from fakes.checkpoints import add_checkpoint
from fakes.hub_zoo import make_zoo
from fakes.served import Served, serving
from huggingface_hub import close_session, constants
from safetensors.numpy import save_file

import zoo
from zoo.domain.query import Query
from zoo.domain.reference import Reference
from zoo.serve.hub import lfs

STOCK = Path(__file__).parent / "stock.py"
PUSHES = Path(__file__).parent / "stock_pushes.py"
SENDS = Path(__file__).parent / "stock_sends.py"
SOON = 60.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A zoo with ``team/net``, which timm builds, and the protected version ``v1`` of it."""
    root = make_zoo(tmp_path_factory.mktemp("clients") / "zoo")
    with zoo.open(root) as opened:
        opened.tag("team/net", "team/net:v1")
        opened.protect("team/net:v1")
        opened.tag("team/net", "lab/net")
    with pytest.MonkeyPatch.context() as patch, serving(root) as served:
        patch.setattr("zoo.serve.hub.ask.SOON", SOON)  # others use this machine, too
        yield served


def environment(served: Served, home: Path) -> dict[str, str]:
    """What a user sets."""
    return {
        **os.environ, "HF_ENDPOINT": served.url, "HF_TOKEN": served.token("ann", "write"),
        "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_ETAG_TIMEOUT": "60",
    }  # fmt: skip


def test_stock_clients_read_all_of_it(served: Served, tmp_path: Path) -> None:
    check_stock(served, environment(served, tmp_path))


VERSIONS = ("0.20.3", "0.36.2", "1.0.1", "1.10.2", "1.33.0", "2.0.0", "2.4.0")
"""Of huggingface_hub: the oldest that is promised, the last of each kind, and between."""


@pytest.mark.clients
@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_the_client(
    served: Served, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is installed from the package index."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    folder = tmp_path / "site"
    command = [*pip, "--target", str(folder), f"huggingface_hub=={version}"]
    if subprocess.run(command, check=False).returncode:
        pytest.skip(f"huggingface_hub {version} cannot be installed here")
    of_version = {"PYTHONPATH": str(folder)}
    said = check_stock(served, environment(served, tmp_path) | of_version)
    assert said["version"] == version
    monkeypatch.setattr(lfs, "PART_BYTES", 1 << 20)
    for number, more in enumerate(({}, {"HF_HUB_DISABLE_XET": "1"})):
        repo = f"eve/v{version}.{number}"
        said = check_sends(served, tmp_path / f"sends{number}", repo, of_version | more)
        assert said["version"] == version


@pytest.mark.long
def test_stock_clients_send_all_kinds_of_files(served: Served, tmp_path: Path) -> None:
    check_sends(served, tmp_path, "eve/xet", {})


@pytest.mark.long
def test_stock_clients_send_files_without_xet(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lfs, "PART_BYTES", 1 << 20)
    check_sends(served, tmp_path, "eve/lfs", {"HF_HUB_DISABLE_XET": "1"})


@pytest.mark.long
def test_what_libraries_push_becomes_checkpoints(served: Served, tmp_path: Path) -> None:
    token = served.token("pam", "write")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PUSHES), "pam"],
        env={**environment(served, tmp_path), "HF_TOKEN": token}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["same"]
    weights = {"config.json", "model.safetensors"}
    assert {*said["timm"]} == {*weights, "README.md", "pytorch_model.bin"}
    assert {*said["vit"]} >= weights
    registry = served.server.hub.workspace.registry
    until = time.monotonic() + 120
    names = {Reference.parse(f"pam/{name}") for name in ("timm", "vit")}
    while not all(map(registry.ref, names)) and time.monotonic() < until:
        time.sleep(0.2)
    found = {each.name: each.backbone for each in registry.search(Query(owner="pam"))}
    assert found == {"pam/timm": "timm", "pam/vit": "transformers"}


def check_sends(served: Served, folder: Path, repo: str, more: Mapping[str, str]) -> dict[str, Any]:
    """See that a client can send files, and gets the same back; what it found."""
    sent = folder / "sent"
    (sent / "deep").mkdir(parents=True)
    values = np.random.default_rng(0).random((3, 300, 1000), np.float32)
    save_file({"a": values[0], "b": values[1], "c": values[2, :1]}, sent / "model.safetensors")
    (sent / "any.bin").write_bytes(os.urandom(2_500_000) + bytes(200_000))
    (sent / "deep" / "notes.txt").write_text("some words")
    (sent / "README.md").write_text("---\nlicense: mit\n---\nA folder.\n")
    token = served.token("eve", "write")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SENDS), repo, str(sent)],
        env={**environment(served, folder), "HF_TOKEN": token, **more}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    names = ["README.md", "any.bin", "deep/er/other.bin", "deep/notes.txt", "model.safetensors"]
    told = {key: value for key, value in found.items() if key != "version"}
    assert told == {"again": True, "whole": True, "changed": True, "before": True, "files": names}
    return found


def check_stock(served: Served, environment: dict[str, str]) -> dict[str, Any]:
    """See that the client does all that a client should; what it found."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(STOCK), "team/net"], env=environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    workspace = served.server.hub.workspace
    (weights,) = workspace.store.manifest(workspace.names.resolve("team/net")[1]).weights
    names = ["README.md", "config.json", "model.safetensors"]
    expected = {
        "v1": weights.size, "snapshot": names, "commit": found["sha"], "part": True,
        "again": "config.json", "who": "ann", "models": ["team/net"], "all": 2,
        "branches": ["main"], "tags": ["v1"], "commits": ["import"], "readme": "timm",
        "there": [True] * 2, "not_there": [False] * 2,
        "refused": ["RepositoryNotFoundError", "RevisionNotFoundError", "HfHubHTTPError",
                    "RepositoryNotFoundError", "HfHubHTTPError"],
        "changes": ["ann/mine", "ann/mine", "ann/other", "ann/other", "HfHubHTTPError", False],
    }  # fmt: skip
    assert found["missing"] in ("EntryNotFoundError", "RemoteEntryNotFoundError")
    if "tree" in found:
        expected |= {
            "card": "timm", "tree": names, "paths": ["config.json"], "revisions": [True, False],
            "pulls": [], "allowed": "", "header": found["parameters"],
        }  # fmt: skip
        assert found["parameters"] > 100_000
    told = found.keys() - {"version", "sha", "missing", "parameters"}
    assert {key: found[key] for key in told} == expected
    return found


@pytest.mark.long
def test_the_hf_program_works(served: Served, tmp_path: Path) -> None:
    hf = Path(sys.executable).parent / "hf"
    if not hf.exists():
        pytest.skip("the hf program is not installed")

    def run(*arguments: str) -> str:
        done = subprocess.run([hf, *arguments], env=environment(served, tmp_path / "hf"),
                              check=False, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, (arguments, done.stderr, done.stdout)
        return done.stdout

    assert "ann" in run("auth", "whoami")
    assert "team/net" in run("models", "ls", "--format", "json")
    folder = tmp_path / "got"
    run("download", "team/net", "--local-dir", str(folder))
    assert json.loads((folder / "config.json").read_text())["architecture"] == "test_resnet"


def test_what_was_described_once_is_not_asked_for_again(served: Served) -> None:
    """Nor does a commit change its id when the words do that describe it."""
    served.ask("/api/models/team/net", token=served.token("ann"))
    kept = {path: path.read_bytes() for path in (served.root / "views").rglob("*.json")}
    (path,) = [path for path, view in kept.items() if b"of a zoo" in view]  # one for three names
    path.unlink()
    path.write_bytes(kept[path].replace(b"of a zoo", b"of a ZOO"))
    with serving(served.root) as again:
        token = again.token("ben")
        text = again.ask("/api/models/team/net", token=token)
        sha = text.json["sha"]
        card = again.ask(f"/team/net/resolve/{sha}/README.md", token=token)
        assert b"of a ZOO" in card.body
        assert again.server.hub.views._worker._process is None


@pytest.mark.long
def test_what_cannot_be_described_is_served_without(tmp_path: Path) -> None:
    """It may be another time: so that is not kept, and the card says why."""
    with zoo.init(tmp_path / "zoo") as opened:
        digest = add_checkpoint(opened.workspace, "team/toy")
    with serving(tmp_path / "zoo") as other:
        token = other.token("ann")
        info = other.ask("/api/models/team/toy", token=token).json
        names = [each["rfilename"] for each in info["siblings"]]
        assert names == ["README.md", "model.safetensors"]
        card = other.ask(f"/team/toy/resolve/{info['sha']}/README.md", token=token).body.decode()
        assert "It has no config.json: unknown backbone 'toy'" in card
    assert not list((tmp_path / "zoo").glob(f"views/*/{digest.hex}.json"))


@pytest.fixture
def here(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client in this process asks that server, too; it has read its settings long ago."""
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 60)
    monkeypatch.setenv("HF_TOKEN", served.token("ann"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()
    yield
    close_session()


def test_timm_builds_the_network_with_its_weights(served: Served, here: None) -> None:
    images = torch.ones(1, 3, 64, 64)
    with zoo.open(served.root) as opened, torch.inference_mode():
        expected = opened.load("team/net")(images)
        net = timm.create_model("hf-hub:team/net@v1", pretrained=True).eval()
        assert torch.equal(net(images), expected)
    assert net.num_classes == 3


@pytest.mark.long
def test_transformers_load_it(served: Served, here: None, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, num_labels=3,
    )  # fmt: skip
    net = transformers.ViTForImageClassification(config).eval()
    net.save_pretrained(tmp_path / "vit")
    with zoo.open(served.root) as opened:
        opened.import_folder(tmp_path / "vit", "team/vit")
    loaded = transformers.AutoModelForImageClassification.from_pretrained("team/vit").eval()
    images = torch.ones(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(images).logits, net(images).logits)
