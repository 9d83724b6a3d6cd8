"""Repositories of anybody: the files beside the weights say what network it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.hub_server import Cut, HubServer, Status
from fakes.typed import card
from huggingface_hub import hf_hub_download
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from zoo.backbones.load import load
from zoo.errors import InvalidWeights, Unavailable, Unsupported
from zoo.exchange.acquire import acquire, acquire_at
from zoo.exchange.exporting import export
from zoo.exchange.indexing import ListingQuery, index
from zoo.registry import Query
from zoo.store import partial
from zoo.workspace import Workspace
from zoo_hub import client

Kept = Callable[[], list[str]]
REPO, PLACE, NAME = "org/net", "hf://org/net", "team/net"
INDEX = "model.safetensors.index.json"
TIMM = {
    "architecture": "test_vit",
    "num_classes": 3,
    "model_args": {"img_size": 96},
    "label_names": ["n1", "n2", "n3"],
    "label_descriptions": {"n1": "rose"},
    "pretrained_cfg": {
        "input_size": [3, 96, 96], "mean": [0.1, 0.2, 0.3], "std": [0.9, 0.8, 0.7],
        "interpolation": "bilinear", "crop_pct": 0.8, "crop_mode": "squash",
    },
}  # fmt: skip
CLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 10, "width": 256, "patch_size": 16},
        "text_cfg": {},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"},
}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def outputs(module: torch.nn.Module, size: int) -> torch.Tensor:
    torch.manual_seed(3)
    with torch.no_grad():
        result: torch.Tensor = module(torch.randn(1, 3, size, size))
    return result


def parts(state: dict[str, torch.Tensor], suffix: str = "safetensors") -> dict[str, bytes]:
    """``state`` in two files, and the index of them."""
    names = sorted(state)
    halves = {f"model-0000{number + 1}-of-00002.{suffix}": names[number::2] for number in (0, 1)}
    index = {"weight_map": {name: file for file, half in halves.items() for name in half}}
    files = {file: save({name: state[name] for name in half}) for file, half in halves.items()}
    return {INDEX: as_json(index), **files}


@pytest.fixture
def vit() -> torch.nn.Module:
    torch.manual_seed(4)
    return timm.create_model("test_vit", img_size=96, num_classes=3).eval()


def test_timm_sharded_and_back(
    hub: HubServer, workspace: Workspace, vit: torch.nn.Module, tmp_path: Path
) -> None:
    files = {"config.json": as_json(TIMM), **parts(vit.state_dict())}
    first = hub.commit(REPO, files)
    hub.commit(REPO, {"model.safetensors": b"another"})
    kept, release = acquire_at(workspace, NAME, f"{PLACE}@{first}")
    digest = kept.manifest
    assert release.revision == first
    ours = load(workspace.store, digest)
    assert torch.equal(outputs(ours, 96), outputs(vit, 96))
    how = card(ours).manifest.preprocessing
    assert (how.input_size, how.mean, how.crop_mode) == ((3, 96, 96), (0.1, 0.2, 0.3), "squash")
    assert card(ours).classes == ("rose", "n2", "n3")
    export(workspace, digest, tmp_path / "out")
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert written.pop("README.md").startswith(b"---\n")
    assert written == files


@pytest.mark.long
def test_what_was_indexed_is_pulled_by_its_name(
    hub: HubServer, workspace: Workspace, vit: torch.nn.Module
) -> None:
    hub.commit(REPO, {"config.json": as_json(TIMM), "model.safetensors": save(vit.state_dict())})
    index(workspace, "hub", ListingQuery(author="org"))
    kept, _ = acquire(workspace, REPO)
    ref, digest = kept.ref, kept.manifest
    assert str(ref) == REPO
    assert torch.equal(outputs(load(workspace.store, digest), 96), outputs(vit, 96))
    # What the hub tells of it is found with it, and follows later listings.
    for downloads in (7, 8):
        hub.repos[REPO].info = {"downloads": downloads}
        hub.repos[REPO].modified = f"2026-01-0{downloads}T00:00:00.000Z"
        index(workspace, "hub", ListingQuery(author="org"))
        query = Query.parse(f"pulled:yes metric.downloads={downloads}")
        assert [found.name for found in workspace.registry.search(query)] == [REPO]


def vision_transformer(name: str, **options: Any) -> VisionTransformer:
    module = timm.create_model(name, **options).eval()
    assert isinstance(module, VisionTransformer)
    return module


@pytest.mark.parametrize("trunk", [False, pytest.param(True, marks=pytest.mark.long)])
def test_open_clip(hub: HubServer, workspace: Workspace, trunk: bool) -> None:
    torch.manual_seed(5)
    text = {"transformer.resblocks.0.ln_1.weight": torch.rand(4), "logit_scale": torch.rand(1)}
    if trunk:
        theirs = vision_transformer("test_vit", num_classes=0)
        state = {f"visual.trunk.{name}": value for name, value in theirs.state_dict().items()}
        theirs.reset_classifier(0, global_pool="avg")  # as open_clip does where nothing is said
        vision: dict[str, Any] = {"timm_model_name": "test_vit", "image_size": 160}
        size = 160
    else:
        theirs = vision_transformer("vit_xsmall_patch16_clip_224")
        state = clip_names(theirs.state_dict())
        theirs.load_state_dict(checkpoint_filter_fn(dict(state), theirs))  # timm's own reading
        vision, size = CLIP["model_cfg"]["vision_cfg"], 224
    config = {**CLIP, "model_cfg": {**CLIP["model_cfg"], "vision_cfg": vision}}
    files = {"open_clip_model.safetensors": save({**state, **text})}
    hub.commit(REPO, {**files, "open_clip_config.json": as_json(config)})
    digest = acquire_at(workspace, NAME, PLACE)[0].manifest
    ours = load(workspace.store, digest)
    assert torch.equal(outputs(ours, size), outputs(theirs, size))
    how = card(ours).manifest.preprocessing
    assert (how.input_size, how.mean, how.crop_mode) == ((3, size, size), (0.5, 0.5, 0.5), "squash")


def clip_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's tensors as open_clip's own vision tower calls them."""
    found: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name == "head.weight":
            found["visual.proj"] = value.t().contiguous()
        elif name == "cls_token":
            found["visual.class_embedding"] = value[0, 0].clone()
        elif name == "pos_embed":
            found["visual.positional_embedding"] = value[0].clone()
        elif name != "head.bias":
            for theirs, ours in (
                ("conv1", "patch_embed.proj"), ("ln_pre", "norm_pre"),
                ("attn.in_proj_", "attn.qkv."), ("attn.out_proj", "attn.proj"),
                ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
                ("transformer.resblocks.", "blocks."), ("ln_", "norm"),
            ):  # fmt: skip
                name = name.replace(ours, theirs)
            found[f"visual.{'ln_post' + name[3:] if name.startswith('ln_.') else name}"] = value
    return found


@pytest.mark.long  # to import transformers takes a while
def test_transformers_by_its_base_model(hub: HubServer, workspace: Workspace) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(6)
    labels = {0: "rose", 1: "tulip"}
    config = transformers.ConvNextConfig(
        num_labels=2, depths=[3, 3, 9, 3], hidden_sizes=[96, 192, 384, 768], id2label=labels
    )
    theirs = transformers.ConvNextForImageClassification(config).eval()
    processor = {
        "size": {"shortest_edge": 160}, "crop_pct": 0.8, "resample": 3,
        "image_mean": [0.1, 0.1, 0.1], "image_std": [0.2, 0.2, 0.2],
    }  # fmt: skip
    plain = {**config.to_dict(), "architectures": ["ConvNextForImageClassification"]}
    files = {
        "config.json": as_json(plain), "preprocessor_config.json": as_json(processor),
        "model.safetensors": save(theirs.state_dict()),
    }  # fmt: skip
    hub.commit(REPO, files, card={"base_model": "facebook/convnext-tiny-224"})
    index(workspace, "hub")
    digest = acquire(workspace, REPO)[0].manifest
    ours = load(workspace.store, digest)
    with torch.no_grad():
        image = torch.rand(1, 3, 160, 160)
        assert torch.allclose(ours(image), theirs(image).logits, atol=1e-5)
    how = card(ours).manifest.preprocessing
    assert (card(ours).classes, how.mean, how.crop_pct) == (("rose", "tulip"), (0.1, 0.1, 0.1), 0.8)


@pytest.mark.parametrize(
    ("files", "error", "text"),
    [
        ({"config.json": b"{}", "model.safetensors": b"x"}, Unsupported, "what network it is"),
        ({"config.json": b"{", "model.safetensors": b"x"}, Unsupported, "not JSON"),
        ({"config.json": b'{"architecture": "test_vit", "pretrained_cfg": {"input_size": 3}}',
          "model.safetensors": b"x"}, Unsupported, "malformed"),
        ({"config.json": as_json(TIMM), INDEX: b'{"weight_map": {"a": "b"}}'},
         Unsupported, "not there: 'b'"),
        ({"config.json": as_json(TIMM), INDEX: b"[]"}, Unsupported, "not an index"),
        pytest.param(
            {"config.json": as_json(TIMM), "model.safetensors": save({"a": torch.rand(2)})},
            InvalidWeights, "as test_vit", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_not_kept(
    hub: HubServer, workspace: Workspace, kept: Kept, files: dict[str, bytes],
    error: type[Exception], text: str,
) -> None:  # fmt: skip
    hub.commit(REPO, files)
    with pytest.raises(error, match=text):
        acquire_at(workspace, NAME, PLACE)
    assert kept() == []


def test_a_pickle_with_code_is_refused(
    hub: HubServer, workspace: Workspace, kept: Kept, tmp_path: Path
) -> None:
    torch.save({"a": Path}, tmp_path / "evil.bin")
    evil = (tmp_path / "evil.bin").read_bytes()
    hub.commit(REPO, {"config.json": as_json(TIMM), "pytorch_model.bin": evil})
    with pytest.raises(InvalidWeights, match="code that would run"):
        acquire_at(workspace, NAME, PLACE)
    assert kept() == []


@pytest.mark.long
def test_a_pull_that_was_cut_off_goes_on(
    hub: HubServer, workspace: Workspace, kept: Kept, vit: torch.nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(partial, "KEPT", 1)
    monkeypatch.setattr(client, "PIECE", 1000)
    weights = save(vit.state_dict())
    hub.commit(REPO, {"config.json": as_json(TIMM), "model.safetensors": weights})

    def cut_off(after: int) -> None:
        hub.fail_next(Cut(after, where="model.safetensors"), Status(404, where="model.safetensors"))
        with pytest.raises(Unavailable):
            acquire_at(workspace, NAME, PLACE)
        hub.log.clear()

    cut_off(700_000)
    (part,) = kept()
    assert (workspace.root / part).read_bytes() == weights[:700_000]
    # As one that was killed while the disk was failing.
    (workspace.root / part).write_bytes(b"damaged" + weights[7:700_000])
    acquire_at(workspace, NAME, PLACE)
    asked = [request.headers.get("range") for request in hub.requests("model.safetensors")]
    assert asked == ["bytes=700000-", None]
    assert not any(name.startswith("tmp/") for name in kept())
    # Other bytes: those that are here are not sent again.
    weights = save({name: value + 1 for name, value in vit.state_dict().items()})
    hub.commit(REPO, {"config.json": as_json(TIMM), "model.safetensors": weights})
    cut_off(800_000)
    acquire_at(workspace, NAME, PLACE)
    asked = [request.headers.get("range") for request in hub.requests("model.safetensors")]
    assert asked == ["bytes=800000-"]


def test_what_the_users_cache_holds_is_used_in_place(
    hub: HubServer, workspace: Workspace, vit: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = save(vit.state_dict())
    hub.commit(REPO, {"config.json": as_json(TIMM), "model.safetensors": weights})
    cached = Path(hf_hub_download(REPO, "model.safetensors", endpoint=hub.url)).resolve()
    hub.log.clear()
    used: list[str] = []
    original = partial.download

    def noted(*args: Any, **how: Any) -> AbstractContextManager[partial.Download]:
        used.append("x")
        return original(*args, **how)

    monkeypatch.setattr(partial, "download", noted)
    acquire_at(workspace, NAME, PLACE)
    assert hub.requests("model.safetensors") == []
    assert len(used) == 1  # the configuration alone was copied
    assert cached.read_bytes() == weights
    cached.write_bytes(b"\0" * len(weights))  # damaged, of the right length: it is not used
    digest = acquire_at(workspace, "team/other", PLACE)[0].manifest
    assert torch.equal(outputs(load(workspace.store, digest), 96), outputs(vit, 96))
    assert hub.requests("model.safetensors") == []  # the zoo has them
