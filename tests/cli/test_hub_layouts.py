"""What timm and open_clip have written comes in as they load it themselves, or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer
from fakes.sampled import sampled
from fakes.typed import card
from huggingface_hub import constants
from safetensors.torch import save, save_file
from timm.data import resolve_model_data_config
from timm.models import push_to_hf_hub, save_for_hf

import zoo

Run = Callable[..., Any]
REPO, PLACE = "team/net", "hf://team/net"

# The client itself uses what its HTTP library would rather see gone.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """The hub of timm's client, too, which has read its variables before."""
    for server in own_hub(monkeypatch, tmp_path, member=True):
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def network(name: str, **arguments: Any) -> torch.nn.Module:
    """A network of timm's, whose every value counts."""
    torch.manual_seed(0)
    module = timm.create_model(name, **arguments).eval()
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) / 20)
    assert isinstance(module, torch.nn.Module)
    return module


@torch.no_grad()
def outputs(module: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = module(images)
    return found


def ours(name: str) -> torch.nn.Module:
    with zoo.open() as z:
        return z.load(name)


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "activation": ("test_vit", {"act_layer": "relu"}),
    "channels, average": ("test_vit", {"in_chans": 1, "global_pool": "avg", "img_size": 96}),
    "no class token": ("test_vit", {"class_token": False, "global_pool": "avg"}),
    "stride": ("test_resnet", {"output_stride": 8, "global_pool": "max"}),
}
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("test_vit", {}),
    "plain, convolutional": ("test_resnet", {}),
    "pool max": ("test_vit", {"global_pool": "max"}),
    "pool avgmax": ("test_convnext", {"global_pool": "avgmax"}),
    "pool catavgmax": ("test_resnet", {"global_pool": "catavgmax"}),
    "pool none": ("test_efficientnet", {"global_pool": "", "num_classes": 0}),
    "pool map": ("test_vit", {"global_pool": "map"}),
    "features": ("test_vit", {"num_classes": 0}),
    "stride 16": ("test_resnet", {"output_stride": 16}),
    "stride, efficientnet": ("test_efficientnet", {"output_stride": 16}),
    "swish": ("test_efficientnet", {"act_layer": "swish"}),
    "gelu_tanh": ("test_convnext", {"act_layer": "gelu_tanh"}),
    "quick_gelu": ("test_vit", {"act_layer": "quick_gelu"}),
    "norm": ("test_vit", {"norm_layer": "rmsnorm"}),
    "deeper": ("test_vit", {"depth": 2, "mlp_ratio": 2.0, "num_heads": 4}),
    "wider": ("test_vit", {"embed_dim": 96, "num_heads": 3, "init_values": 0.1}),
    "registers": ("test_vit", {"reg_tokens": 4, "no_embed_class": True}),
    "qk": ("test_vit", {"qk_norm": True, "qkv_bias": False}),
    "fc_norm": ("test_vit", {"fc_norm": True, "final_norm": False}),
    "dynamic": ("test_vit", {"dynamic_img_size": True}),
    "patch": ("test_vit", {"patch_size": 32}),
    "rectangle": ("test_vit", {"img_size": [96, 128], "in_chans": 4}),
    "channels, convolutional": ("test_resnet", {"in_chans": 2, "num_classes": 5}),
    "dropout": ("test_resnet", {"drop_rate": 0.3, "drop_path_rate": 0.1}),
    "convnext": ("test_convnext", {"conv_mlp": True, "ls_init_value": 0.5}),
    "convnext depths": ("test_convnext", {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}),
    "convnext kernels": ("test_convnext2", {"kernel_sizes": 5}),
    "convnext stride": ("test_convnext3", {"output_stride": 16}),
    "byobnet": ("test_byobnet", {"act_layer": "relu", "global_pool": "avgmax"}),
    "nfnet": ("test_nfnet", {"in_chans": 1}),
    "mambaout": ("test_mambaout", {"act_layer": "relu"}),
    "vit 2": ("test_vit2", {"class_token": False, "global_pool": "avg"}),
    "vit 3": ("test_vit3", {"act_layer": "relu", "img_size": 64}),
    "vit 4": ("test_vit4", {"global_pool": "max"}),
    "swin": ("swin_tiny_patch4_window7_224", {
        "embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], "window_size": 4,
        "img_size": 64,
    }),
    "eva": ("eva02_tiny_patch14_224", {"embed_dim": 48, "depth": 2, "num_heads": 4}),
    "beit": ("beit_base_patch16_224", {
        "embed_dim": 48, "depth": 2, "num_heads": 4, "global_pool": "token",
    }),
    "mixer": ("mixer_s32_224", {"in_chans": 1, "num_classes": 4}),
}  # fmt: skip
"""What timm's networks are built with, as its own `push_to_hf_hub` writes it down."""


def check_as_timm(run: Run, folder: Path, name: str, arguments: dict[str, Any]) -> None:
    save_for_hf(network(name, **arguments), str(folder))
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    done = run("import", folder, "--as", "x/a")
    assert (done.code, done.err) == (0, "")
    found = ours("x/a")
    size = card(found).manifest.preprocessing.input_size
    images = torch.randn(2, *size)
    assert torch.equal(outputs(found, images), outputs(theirs, images))
    assert resolve_model_data_config(theirs)["input_size"] == size
    # What zoo writes, timm loads as it was.
    assert run("export", "x/a", folder / "out").code == 0
    again = timm.create_model(f"local-dir:{folder / 'out'}", pretrained=True).eval()
    assert torch.equal(outputs(again, images), outputs(theirs, images))


@pytest.mark.parametrize("variant", sampled(VARIANTS, ["channels, average"]))
def test_timm_with_arguments(empty: Run, tmp_path: Path, variant: str) -> None:
    check_as_timm(empty, tmp_path / "saved", *VARIANTS[variant])


@pytest.mark.long
@pytest.mark.parametrize("variant", MORE)
def test_timm_with_more_arguments(empty: Run, tmp_path: Path, variant: str) -> None:
    check_as_timm(empty, tmp_path / "saved", *MORE[variant])


def test_what_timm_pushed_is_what_zoo_pulls(empty: Run, hub: HubServer) -> None:
    logging.getLogger("timm").setLevel(logging.ERROR)
    module = network("test_vit", act_layer="relu", num_classes=3)
    push_to_hf_hub(module, REPO, safe_serialization="both")
    theirs = timm.create_model(f"hf-hub:{REPO}", pretrained=True).eval()
    assert empty("pull", "x/a", "--from", PLACE).code == 0
    found = ours("x/a")
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(outputs(found, images), outputs(theirs, images))
    options = card(found).manifest.backbone.options
    assert options["arguments"] == {"act_layer": "relu"}


@pytest.mark.long
def test_arguments_stay_with_what_is_made_of_it(empty: Run, tmp_path: Path) -> None:
    save_for_hf(network("test_vit", act_layer="relu"), str(tmp_path / "saved"))
    assert empty("import", tmp_path / "saved", "--as", "x/a").code == 0
    assert empty("adapt", "x/a", "x/short", "--truncate", "blocks.2").code == 0
    assert empty("adapt", "x/a", "x/three", "--classes", 3, "--image-size", 96).code == 0
    for name, size in (("x/short", 160), ("x/three", 96)):
        options = empty("show", name, "--json").json["backbone"]["options"]
        assert options["arguments"] == {"act_layer": "relu"}
        module = ours(name)
        assert isinstance(module.get_submodule("blocks.0.mlp.act"), torch.nn.ReLU)
        assert outputs(module, torch.randn(1, 3, size, size)).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"block_fn": "os.system"}, "'block_fn'"),
        ({"features_only": True}, "'features_only'"),
        ({"pretrained_cfg": {"file": "/etc/passwd"}}, "'pretrained_cfg'"),
        ({"act_layer": "torch.nn.ReLU"}, "'act_layer' of timm = 'torch.nn.ReLU'"),
        ({"depth": 10**6}, "'depth' of timm = 1000000"),
        ({"depth": True}, "'depth'"),
        ({"init_values": float("nan")}, "'init_values'"),
        ({"img_size": 10**6}, "'image_size' must be"),
        ({"reg_tokens": [1] * 1000}, "'reg_tokens'"),
        ({"num_heads": 7}, "timm does not build test_vit with num_heads"),
    ],
)
def test_arguments_that_are_not_passed_on_are_named(
    empty: Run, tmp_path: Path, arguments: dict[str, Any], says: str
) -> None:
    folder = written(tmp_path, {"architecture": "test_vit", "model_args": arguments})
    refused(empty("import", folder, "--as", "x/a"), says)


def written(tmp_path: Path, config: dict[str, Any] | str) -> Path:
    """A folder with the weights of a small network, and ``config`` beside it."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    save_file(network("test_vit").state_dict(), folder / "model.safetensors")
    return folder


def refused(done: Any, says: str) -> None:
    assert done.code == 1, done
    assert says in done.err
    assert "Traceback" not in done.err
    assert done.err.startswith("error: ")
    (said, *more) = done.err.splitlines()
    assert len(said) < 500
    assert len(more) < 3


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"mean": [float("nan")] * 3}, "config.json: the preprocessing's mean is [nan"),
        ({"mean": [0.5]}, None),
        ({"std": [0.0, 1.0, 1.0]}, "the preprocessing's std"),
        ({"std": [1.0, 1.0]}, "mean or std of neither"),
        ({"interpolation": "magic"}, "interpolation is 'magic'"),
        ({"crop_mode": "x" * 100_000}, "crop_mode is 'xxx"),
        ({"crop_pct": 1e-9}, "crop_pct is 1e-09"),
        ({"input_size": [3, 1 << 40, 8]}, "input_size is [3,"),
        ({"input_size": 3}, "malformed"),
        ({"label_offset": 1}, "'label_offset'"),
    ],
)
def test_preprocessing_that_cannot_be(
    empty: Run, tmp_path: Path, how: dict[str, Any], says: str | None
) -> None:
    config = {"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 160, 160], **how}}
    done = empty("import", written(tmp_path, config), "--as", "x/a")
    if says:
        refused(done, says)
    else:
        assert done.code == 0  # timm leaves out what it need not say


def test_a_config_that_is_nested_too_deeply(empty: Run, tmp_path: Path) -> None:
    text = '{"architecture": ' + "[" * 100_000 + "]" * 100_000 + "}"
    refused(empty("import", written(tmp_path, text), "--as", "x/a"), "nested too deeply")


@pytest.mark.long
def test_outputs_without_names_are_not_called_as_those_of_imagenet(
    empty: Run, tmp_path: Path
) -> None:
    config: dict[str, Any] = {"architecture": "test_vit", "num_classes": 1000}
    folder = written(tmp_path, config)
    assert empty("import", folder, "--as", "x/a").code == 0
    assert card(ours("x/a")).classes == ()
    file = folder / "model.safetensors"
    assert empty("import", file, "--architecture", "test_vit", "--as", "x/b").code == 0
    assert card(ours("x/b")).classes == ()
    # The config, or the user, says that they are.
    config["pretrained_cfg"] = {"tag": "r160_in1k", "input_size": [3, 160, 160]}
    (folder / "config.json").write_text(json.dumps(config))
    assert empty("import", folder, "--as", "x/c").code == 0
    assert card(ours("x/c")).classes[0].startswith("tench")
    (folder / "config.json").unlink()
    tagged = "test_vit.r160_in1k"
    assert empty("import", file, "--architecture", tagged, "--as", "x/d").code == 0
    assert card(ours("x/d")).classes[0].startswith("tench")


@pytest.mark.long
def test_one_commit_is_one_checkpoint(empty: Run, hub: HubServer) -> None:
    config = json.dumps({"architecture": "test_vit", "num_classes": 1000}).encode()
    files = {"config.json": config, "model.safetensors": save(network("test_vit").state_dict())}
    commit = hub.commit(REPO, files)
    hub.repos[REPO].refs["v1"] = commit
    digests = set()
    for revision in ("", "@v1", "@main", f"@{commit}"):
        done = empty("pull", "x/a", "--from", f"{PLACE}{revision}", "--json")
        assert done.json["revision"] == commit
        digests.add(done.json["manifest"])
    assert len(digests) == 1
    assert empty("show", "x/a", "--json").json["provenance"]["locator"] == REPO


def test_what_is_wrong_with_weights_is_told_of_the_repository(empty: Run, hub: HubServer) -> None:
    state = network("test_resnet", num_classes=3).state_dict()
    config = json.dumps({"architecture": "test_resnet"}).encode()
    state["conv1.0.weight"] = torch.rand(5)
    hub.commit(REPO, {"config.json": config, "model.safetensors": save(state)})
    done = empty("pull", "x/a", "--from", PLACE)
    assert done.code == 1
    assert f"error: {REPO}/model.safetensors: as test_resnet, it does not fit" in done.err
    assert "it has 'conv1.0.weight' of the shape (5,), the network's is (" in done.err
    assert "tmp" not in done.err


CLIP = {"embed_dim": 24, "text_cfg": {}}


def clip_state(trunk: torch.nn.Module, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    state = {f"visual.trunk.{name}": value for name, value in trunk.state_dict().items()}
    return {**state, "logit_scale": torch.rand(()), **more}


def clip_config(**vision: Any) -> bytes:
    vision = {"timm_model_name": "test_vit", "image_size": 160, **vision}
    return json.dumps({"model_cfg": {**CLIP, "vision_cfg": vision}}).encode()


@pytest.mark.long
def test_two_libraries_in_one_repository(empty: Run, hub: HubServer) -> None:
    trunk, whole = network("test_vit", num_classes=0), network("test_vit", num_classes=5)
    trunk.reset_classifier(0, global_pool="avg")  # type: ignore[operator]
    both = {
        "open_clip_config.json": clip_config(),
        "open_clip_model.safetensors": save(clip_state(trunk)),
    }
    images = torch.randn(1, 3, 160, 160)
    # Beside timm's own, those count; beside another library's, open_clip's with its own file.
    own = {"config.json": b'{"architecture": "test_vit"}',
           "model.safetensors": save(whole.state_dict())}  # fmt: skip
    theirs = {"config.json": b'{"model_type": "bert"}', "model.safetensors": save({"a": images})}
    for name, files, wanted in (("a", own, whole), ("b", theirs, trunk)):
        hub.commit(f"team/{name}", {**both, **files})
        done = empty("pull", f"x/{name}", "--from", f"hf://team/{name}")
        assert (done.code, done.err) == (0, "")
        assert torch.equal(outputs(ours(f"x/{name}"), images), outputs(wanted, images))
    # A description whose weights are another's is passed over.
    hub.commit("team/c", {**both, "config.json": b'{"architecture": "test_resnet"}'})
    assert empty("pull", "x/c", "--from", "hf://team/c").code == 0
    assert torch.equal(outputs(ours("x/c"), images), outputs(trunk, images))


@pytest.mark.parametrize("field", [
    {"timm_pool": "abs_attn"}, {"timm_proj": "conv"}, {"timm_pool": "", "timm_proj": ""},
    {"strange": 1},
])  # fmt: skip
def test_open_clip_that_no_network_of_timms_is_like(
    empty: Run, hub: HubServer, field: dict[str, Any]
) -> None:
    files = {"open_clip_model.safetensors": save(clip_state(network("test_vit", num_classes=0)))}
    hub.commit(REPO, {**files, "open_clip_config.json": clip_config(**field)})
    refused(empty("pull", "x/a", "--from", PLACE), f"'{next(iter(field))}'")


TRUNKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("test_vit", {}),
    ("test_vit", {"timm_pool": "token"}),
    ("test_vit", {"timm_pool": "max", "timm_proj": "mlp"}),
    ("test_vit", {"timm_pool": "map", "timm_proj": "none"}),
    ("test_vit", {"timm_pool": "token", "timm_proj": None}),
    ("test_vit", {"timm_pool": "avg", "timm_proj": ""}),
    ("test_convnext", {"timm_pool": "", "timm_drop": 0.1}),
    ("test_convnext", {"timm_pool": "avgmax"}),
    ("test_resnet", {"timm_pool": "avg", "timm_proj": "linear", "timm_proj_bias": True}),
    ("test_efficientnet", {"timm_pool": "max", "timm_drop_path": 0.1}),
)


@pytest.mark.long
@pytest.mark.parametrize(("name", "fields"), TRUNKS)
def test_trunks_as_open_clip_builds_them(
    empty: Run, hub: HubServer, tmp_path: Path, name: str, fields: dict[str, Any]
) -> None:
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(1)
    vision = {"timm_model_name": name, "image_size": 160, **fields}
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    theirs = open_clip.model.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text).eval()
    files = {"open_clip_model.safetensors": save(theirs.state_dict())}
    hub.commit(REPO, {**files, "open_clip_config.json": clip_config(**vision)})
    assert empty("pull", "x/a", "--from", PLACE).code == 0
    images = torch.randn(2, 3, 160, 160)
    wanted = outputs(theirs.visual.trunk, images)
    assert torch.equal(outputs(ours("x/a"), images), wanted)
    # What zoo writes of it, timm loads.
    assert empty("export", "x/a", tmp_path / "out").code == 0
    again = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert torch.allclose(outputs(again, images), wanted, atol=1e-6)


TOWERS: tuple[tuple[dict[str, Any], str | None], ...] = (
    ({}, None),
    ({"mlp_ratio": 4.0, "patch_dropout": 0.5}, None),
    ({"head_width": 32}, "'head_width'"),
    ({"ls_init_value": 0.1}, "'ls_init_value'"),
    ({"pool_type": "avg"}, "'pool_type'"),
    ({"final_ln_after_pool": True}, "'final_ln_after_pool'"),
    ({"no_ln_pre": True}, "'no_ln_pre'"),
    ({"norm_kwargs": {"eps": 1e-2}}, "'norm_kwargs'"),
    ({"pos_embed_type": "sin_cos_2d"}, "'pos_embed_type'"),
    ({"mlp_ratio": 2.0}, "does not fit"),
)


@pytest.mark.long
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(("fields", "says"), TOWERS)
def test_open_clips_own_tower(
    empty: Run, hub: HubServer, fields: dict[str, Any], says: str | None, quick: bool
) -> None:
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(1)
    vision = {"layers": 12, "width": 768, "patch_size": 32, "image_size": 224, **fields}
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    theirs = open_clip.model.CLIP(
        embed_dim=512, vision_cfg=vision, text_cfg=text, quick_gelu=quick
    ).eval()
    config = {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick}
    hub.commit(REPO, {
        "open_clip_config.json": json.dumps({"model_cfg": config}).encode(),
        "open_clip_model.safetensors": save(theirs.state_dict()),
    })  # fmt: skip
    done = empty("pull", "x/a", "--from", PLACE)
    if says:
        assert done.code == 1
        assert says in done.err
        return
    assert (done.code, done.err) == (0, "")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        wanted = theirs.encode_image(images)
    assert torch.allclose(outputs(ours("x/a"), images), wanted, atol=1e-5)
