"""A pull that builds no network records what one that does records, and refuses what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer
from fakes.program import Said, zoo
from fakes.sampled import sampled
from fakes.typed import pretrained_cfg
from safetensors.torch import save
from timm.models import save_for_hf

from zoo import plugins
from zoo.domain.outline import Outline
from zoo.domain.reference import Reference
from zoo.exchange import built
from zoo.workspace import Workspace
from zoo_timm import known, outlines

NAMES = ("test_convnext", "test_efficientnet", "test_resnet", "test_vit")
REPO, PLACE = "lab/net", "hf://lab/net"
LISTED = "timm/test_resnet.r160_in1k"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outlines of small networks of the installed timm."""
    path = tmp_path_factory.mktemp("outlines") / "outlines.zip"
    outlines.write(NAMES, path)
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    yield from own_hub(monkeypatch, tmp_path)


@dataclass(frozen=True)
class Pulled:
    """What a pull said, and all that a zoo has of it afterwards."""

    said: Said
    manifest: bytes = b""
    shown: str = ""
    tree: str = ""
    hierarchy: object = None


@pytest.fixture
def pulled(
    hub: HubServer, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Pulled]]:
    """Pull into a zoo of its own, as one that knows outlines does, or as one that does not."""

    def pull(
        name: str, *arguments: object, outlined: bool, builds: bool = True, verb: str = "pull"
    ) -> Pulled:
        with monkeypatch.context() as patch:
            known.outline.cache_clear()
            patch.setattr(known, "OUTLINES", file if outlined else tmp_path / "none")
            if not outlined:
                patch.setattr(plugins, "known", lambda name: None)
            if not builds:
                patch.delattr(built, "built")
            home = tmp_path / f"zoo-{outlined}"
            assert zoo("init", home).code == 0
            said = zoo("--home", home, verb, *arguments)
            return Pulled(said, *_kept(home, name)) if said.code == 0 else Pulled(said)

    yield pull
    known.outline.cache_clear()


def _kept(home: Path, name: str) -> tuple[bytes, str, str, object]:
    workspace = Workspace(home)
    move = workspace.store.read_ref(Reference.parse(name))
    assert move
    data = b"".join(workspace.store.read("manifests", move.manifest))
    backbone = workspace.store.manifest(move.manifest).backbone
    version = plugins.backbone_version("timm")
    hierarchy = workspace.registry.hierarchy("timm", version, backbone.architecture)
    workspace.close()
    shown, tree = (zoo("--home", home, verb, name, "--json").out for verb in ("show", "tree"))
    return data, shown, tree, hierarchy


def network(name: str, **arguments: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, **arguments).eval()


def saved(module: torch.nn.Module, folder: Path, **config: Any) -> Files:
    """The files that timm pushes, with some of its configuration changed."""
    save_for_hf(module, str(folder), model_config=config or None, safe_serialization="both")
    names = ("config.json", "model.safetensors")
    return {name: (folder / name).read_bytes() for name in names}


def configured(module: torch.nn.Module, **config: Any) -> Files:
    """Weights, and a configuration in the older form of timm."""
    told = {"architecture": pretrained_cfg(module)["architecture"], **config}
    return {
        "config.json": json.dumps(told).encode(),
        "model.safetensors": save(module.state_dict()),
    }


def flat(**more: Any) -> dict[str, Any]:
    return {"num_classes": 1000, "input_size": [3, 160, 160], "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6], "crop_pct": 0.9, "interpolation": "bilinear",
            **more}  # fmt: skip


FIRST = ("other classes, named",)
USUAL: dict[str, Callable[[Path], Files]] = {
    "as timm pushes it": lambda folder: saved(network("test_resnet"), folder),
    "of one size of images": lambda folder: saved(network("test_vit"), folder),
    "other classes, named": lambda folder: saved(
        network("test_efficientnet", num_classes=3), folder, label_names=["a", "b", "c"]
    ),
    "other classes": lambda folder: saved(network("test_convnext", num_classes=7), folder),
    "more classes than said": lambda folder: configured(
        network("test_resnet", num_classes=5), **flat()
    ),
    "flat": lambda folder: configured(network("test_efficientnet"), **flat(tag="in1k")),
    "half precision": lambda folder: configured(network("test_vit").half(), **flat()),
    "with a card": lambda folder: {
        **saved(network("test_resnet"), folder),
        "README.md": b"---\nlicense: mit\n---\n", "LICENSE": b"MIT", "notes.txt": b"not kept",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "variant",
    [name if name in FIRST else pytest.param(name, marks=pytest.mark.long) for name in USUAL],
)
def test_what_is_recorded_is_what_building_the_network_tells(
    hub: HubServer, pulled: Callable[..., Pulled], tmp_path: Path, variant: str
) -> None:
    hub.commit(REPO, USUAL[variant](tmp_path / "files"))
    ours = pulled("team/x", "team/x", "--from", PLACE, outlined=True, builds=False)
    assert ours.said.code == 0, ours.said
    assert ours == pulled("team/x", "team/x", "--from", PLACE, outlined=False)


@pytest.mark.long
def test_a_listed_checkpoint_has_the_input_and_the_classes_of_its_tag(
    hub: HubServer, pulled: Callable[..., Pulled]
) -> None:
    hub.commit(LISTED, configured(network("test_resnet"), **flat()))
    ours = pulled(LISTED, LISTED, outlined=True, builds=False)
    assert ours == pulled(LISTED, LISTED, outlined=False)
    assert json.loads(ours.manifest)["classes"][1] == "goldfish, Carassius auratus"
    assert json.loads(ours.manifest)["preprocessing"]["input_size"] == [3, 160, 160]


@pytest.mark.parametrize(
    "named", sampled(["test_resnet", "test_resnet.r160_in1k"], ["test_resnet.r160_in1k"])
)
def test_a_file_is_imported_alike(
    pulled: Callable[..., Pulled], tmp_path: Path, named: str
) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(save(network("test_resnet").state_dict()))
    arguments = (path, "--architecture", named, "--as", "team/x")
    ours = pulled("team/x", *arguments, verb="import", outlined=True, builds=False)
    assert ours.said.code == 0, ours.said
    assert ours == pulled("team/x", *arguments, verb="import", outlined=False)


def changed(name: str = "test_resnet", **tensors: torch.Tensor | None) -> Files:
    """A repository with some tensors left out (None), added or replaced."""
    state = {**network(name).state_dict(), **{k.replace("__", "."): t for k, t in tensors.items()}}
    return {
        "config.json": json.dumps({"architecture": name, **flat()}).encode(),
        "model.safetensors": save({k: tensor for k, tensor in state.items() if tensor is not None}),
    }


def headed(old: bytes, new: bytes) -> Files:
    """A repository whose weights have other words in their header."""
    files = changed()
    weights = files["model.safetensors"]
    length = int.from_bytes(weights[:8], "little")
    header = weights[8 : 8 + length].rstrip()
    assert old in header
    header = header.replace(old, new, 1)
    weights = len(header).to_bytes(8, "little") + header + weights[8 + length :]
    return {**files, "model.safetensors": weights}


def argued(name: str = "test_resnet", **arguments: Any) -> Files:
    return configured(network(name), **flat(model_args=arguments))


ODD: dict[str, Callable[[], Files]] = {
    "one is missing": lambda: changed(conv1__weight=None),
    "one too many": lambda: changed(extra=torch.zeros(2)),
    "another shape": lambda: changed(bn1__weight=torch.zeros(3)),
    "a head of two counts": lambda: changed(fc__bias=torch.zeros(3)),
    "no head": lambda: changed(fc__weight=None, fc__bias=None),
    "no counters": lambda: changed(bn1__num_batches_tracked=None),
    "a rare type": lambda: changed(bn1__weight=torch.zeros(16, dtype=torch.float8_e5m2)),
    "truncated": lambda: {
        **changed(), "model.safetensors": changed()["model.safetensors"][:-5]
    },
    "numbers as metadata": lambda: headed(b"{", b'{"__metadata__":{"a":1},'),
    "no JSON": lambda: headed(b"{", b'{"__metadata__":NaN,'),
    "another network": lambda: changed("test_vit") | {
        "config.json": json.dumps({"architecture": "test_resnet", **flat()}).encode()
    },
    "an unknown network": lambda: configured(network("test_resnet"), **flat())
    | {"config.json": json.dumps(flat(architecture="no_such_net")).encode()},
    "an argument": lambda: argued(act_layer="silu"),
    "an unknown argument": lambda: argued(block_fn="x"),
    "another pooling": lambda: argued(global_pool="max"),
    "no pooling": lambda: argued(global_pool=""),
    "another size": lambda: argued("test_vit", img_size=96),
    "one channel": lambda: argued(in_chans=1),
    "no classes": lambda: argued(num_classes=0),
    "an offset": lambda: configured(network("test_resnet"), **flat(label_offset=1)),
    "a crop beyond bounds": lambda: configured(network("test_resnet"), **flat(crop_pct=1e9)),
    "means of two channels": lambda: configured(network("test_resnet"), **flat(mean=[1, 2])),
    "classes beyond bounds": lambda: configured(network("test_resnet"), **flat(num_classes=-1)),
    "no numbers": lambda: configured(network("test_resnet"), **flat(input_size="large")),
    "no input": lambda: configured(network("test_resnet"), num_classes=1000),
    "classes of another tag": lambda: configured(
        network("test_resnet", num_classes=7), **flat(tag="in21k", num_classes=7)
    ),
}  # fmt: skip


SOON = ("a head of two counts", "numbers as metadata", "an unknown network", "a crop beyond bounds")


@pytest.mark.parametrize(
    "variant",
    [name if name in SOON else pytest.param(name, marks=pytest.mark.long) for name in ODD],
)
def test_what_is_unusual_ends_as_it_does_where_the_network_is_built(
    hub: HubServer, pulled: Callable[..., Pulled], variant: str
) -> None:
    hub.commit(REPO, ODD[variant]())
    ours, theirs = (
        pulled("team/x", "team/x", "--from", PLACE, outlined=each) for each in (True, False)
    )
    # Without outlines it is not known which network would fit.
    err = re.sub(r"; its names and shapes are those of .*", "", ours.said.err)
    assert replace(ours, said=replace(ours.said, err=err)) == theirs


@pytest.fixture
def found(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outline]:
    """The outline of a network, in a file that has no others."""
    cached = known.outline  # which a test may put something else in the place of
    monkeypatch.setattr(known, "OUTLINES", file)
    cached.cache_clear()
    outline = cached("test_resnet")
    assert outline
    yield outline
    cached.cache_clear()


def test_an_encoder_that_is_said_to_have_classes_is_built(
    found: Outline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = replace(found, outputs=0, per_output=())
    monkeypatch.setattr(known, "outline", lambda name: encoder)
    told = flat(architecture="test_resnet")
    assert known.read_config(told) is None
    assert known.read_config({**told, "num_classes": 0}) is not None
    assert known.read_config({**told, "num_classes": None}) is not None


def test_outlines_of_another_version_are_not_used(
    found: Outline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found.outputs == 1000
    assert known.outline("resnet18") is None
    monkeypatch.setattr("zoo_timm.version", lambda: "timm 0.9")
    known.outline.cache_clear()
    assert known.outline("test_resnet") is None
    assert known.entries() is None
