"""A user's own networks against the conformance suite, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import own_nets
from fakes.checkpoints import add_checkpoint
from fakes.sampled import sampled
from torch import nn

import zoo_torch
from zoo.backbones.untrained import on_meta
from zoo.domain.manifest import Backbone as Own
from zoo.domain.manifest import Head
from zoo.domain.surgery import BuildOptions
from zoo.errors import (
    BrokenPlugin,
    MissingPackage,
    UnknownName,
    Unsupported,
    Untrusted,
    ZooError,
)
from zoo.exchange.architecture import hierarchy_of
from zoo.testing.backbones import BackboneSuite
from zoo.trust import Trust
from zoo.workspace import Workspace, trust_in
from zoo_torch.backbone import TorchBackbone
from zoo_torch.registered import REGISTERED

OWN: dict[str, Any] = {
    "own-conv": own_nets.ConvNet,
    "own-former": own_nets.make_former,
    "own-maps": own_nets.make_maps,
    "own-encoder": own_nets.make_encoder,
    "own-copied": own_nets.ConvNet(4),
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = dict(REGISTERED)
    for name, network in OWN.items():
        zoo_torch.register(name, network, preprocessing=own_nets.SMALL)
    yield
    REGISTERED.clear()
    REGISTERED.update(before)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """That of a user who has allowed nothing yet."""
    return trust_in(tmp_path)


class TestNetworks(BackboneSuite):
    @pytest.fixture
    def backbone(self) -> TorchBackbone:
        return TorchBackbone()

    @pytest.fixture(params=sampled(OWN, ["own-conv"]))
    def architectures(self, request: pytest.FixtureRequest) -> list[str]:
        return [request.param]


def test_layers_are_found_by_tracing() -> None:
    backbone = TorchBackbone()

    def layers(name: str) -> tuple[list[str], tuple[str, ...], bool]:
        hierarchy = backbone.hierarchy(name, backbone.build(name))
        units = hierarchy.units
        return [unit.name for unit in units], hierarchy.head.modules, all(u.cut for u in units)

    conv = ["stem", "early.0", "early.1", "down", "late.0", "late.1"]
    assert layers("own-conv") == layers("own-copied") == (conv, ("classifier",), True)
    former = ["patches", "blocks.0", "blocks.1", "blocks.2"]
    assert layers("own-former") == (former, ("output",), True)
    assert layers("own-maps") == (["0", "2"], ("4",), True)
    assert layers("own-encoder") == (["0", "3"], (), True)


def test_a_module_that_is_handed_over_is_copied() -> None:
    handed = own_nets.ConvNet(4)
    zoo_torch.register("handed", handed, preprocessing=own_nets.SMALL)
    module = TorchBackbone().build("handed")
    assert torch.equal(module.stem.weight, handed.stem.weight)  # type: ignore[arg-type, union-attr]
    with torch.no_grad():
        module.stem.weight.zero_()  # type: ignore[operator, union-attr]
    with on_meta():
        assert all(parameter.is_meta for parameter in TorchBackbone().build("handed").parameters())
    assert handed.stem.weight.all()


def test_a_name_that_is_registered_again_is_described_anew(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(
        workspace, "team/short", head=Head(kind="native", num_classes=0),
        backbone=Own(plugin="torch", architecture="again", options={"truncate": "1"}),
        preprocessing=own_nets.SMALL,
    )  # fmt: skip
    seen = []
    for width in (4, 8):
        layers = (nn.Conv2d(3, width, 2, stride=2), nn.Conv2d(width, 5, 3, padding=1))
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(5 * 16 * 16, 3))
        zoo_torch.register("again", network, preprocessing=own_nets.SMALL)
        whole, cut = hierarchy_of(workspace, "again"), hierarchy_of(workspace, "team/short")
        seen.append((whole.units[0].shape, cut.units[0].shape, cut.head.shape))
    assert seen == [
        ((1, 4, 16, 16), (1, 4, 16, 16), (1, 4)), ((1, 8, 16, 16), (1, 8, 16, 16), (1, 8)),
    ]  # fmt: skip
    workspace.close()


def test_sizes_and_channels_go_to_the_factory_if_it_takes_them() -> None:
    backbone = TorchBackbone()
    gray = backbone.build("own-conv", BuildOptions(channels=1))
    assert backbone.preprocessing(gray).mean == (0.5,)
    weights = backbone.build("own-conv").state_dict()
    fitted = backbone.fit_weights(gray, weights)
    assert torch.allclose(fitted["stem.weight"], weights["stem.weight"].sum(1, keepdim=True))
    wide = backbone.build("own-former", BuildOptions(image_size=(32, 64)))
    assert wide(torch.randn(1, 3, 32, 64)).shape == (1, 7)
    assert backbone.hierarchy("own-former", wide).units[0].shape == (1, 16, 4, 8)
    with pytest.raises(Unsupported, match="'own-former' takes no 'channels'"):
        backbone.build("own-former", BuildOptions(channels=1))
    # One whose factory takes no size is run on it.
    zoo_torch.register("fixed", lambda: own_nets.Former(), preprocessing=own_nets.SMALL)
    with pytest.raises(Unsupported, match="cannot be run on an image of 3 x 64 x 64"):
        backbone.build("fixed", BuildOptions(image_size=(64, 64)))


class Two(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


ONE = own_nets.ConvNet()


@pytest.mark.parametrize(
    ("factory", "head", "reason"),
    [
        (lambda: ONE, None, "gives one module again and again"),
        (lambda: "net", None, "gives a str, no nn.Module"),
        (lambda: 1 / 0, None, "cannot be made: division by zero"),
        (Two, None, "gives something else than one tensor"),
        (own_nets.ConvNet, "fc", "has no head at 'fc'"),
        (lambda: nn.Conv2d(1, 8, 3), None, "cannot be run on an image of 3 x 32 x 32"),
    ],
)
def test_what_is_no_network_is_refused(
    factory: Callable[..., Any], head: str | None, reason: str
) -> None:
    zoo_torch.register("odd", factory, preprocessing=own_nets.SMALL, head=head)
    with pytest.raises(Unsupported, match=reason):
        TorchBackbone().build("odd")


def test_a_network_goes_by_its_import_path(trust: Trust) -> None:
    backbone = TorchBackbone()
    for path in ("fakes.own_nets:CONV", "fakes.own_nets:ConvNet"):
        with trust.asked(path):
            module = backbone.build(path, BuildOptions(num_classes=3))
        assert isinstance(module, own_nets.ConvNet)
        assert module.classifier.out_features == 3
    with trust.asked("fakes.own_nets:CONV"):
        size = backbone.preprocessing(backbone.build("fakes.own_nets:CONV")).input_size
    assert size == (3, 32, 32)
    with pytest.raises(Untrusted, match="own_nets:CONV' is not trusted"):
        backbone.build("fakes.own_nets:CONV")


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("fakes.own_nets:ConvNett", UnknownName, "fakes.own_nets:ConvNett"),
        ("fakes.own_nets:undeclared", Unsupported, "function with '-> nn.Module'"),
        ("fakes.own_nets:torch", Unsupported, "is not declared to make a network"),
        ("http.server:test", UnknownName, "http.server:test"),
        ("fakes.own_nets:ConvNet.__init__", UnknownName, "ConvNet.__init__"),
        ("not_there.nets:make", MissingPackage, r"'not_there', which the network"),
    ],
)
def test_nothing_else_is_imported_or_called(
    path: str, error: type[ZooError], reason: str, trust: Trust
) -> None:
    """Whoever made a checkpoint chose the path: it must not run whatever is installed."""
    had = set(sys.modules)
    with pytest.raises(error, match=reason) as caught, trust.asked(path):
        TorchBackbone().build(path)
    assert not own_nets.CALLED
    assert "http.server" in had or "http.server" not in sys.modules
    if path.endswith("Nett"):
        assert caught.value.near[0] == "fakes.own_nets:ConvNet"


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        ("import not_there", MissingPackage, "'not_there', which the network 'acme_nets:make'"),
        ("raise RuntimeError('no license')", BrokenPlugin, "'acme_nets:make' fails: no license"),
    ],
)
def test_a_module_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, error: type[ZooError],
    reason: str, trust: Trust,
) -> None:  # fmt: skip
    (tmp_path / "acme_nets.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=reason) as caught, trust.asked("acme_nets:make"):
        TorchBackbone().build("acme_nets:make")
    if error is MissingPackage:
        assert "PYTHONPATH=DIR" in caught.value.install  # type: ignore[attr-defined]
