"""Loading a stored checkpoint."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from blake3 import blake3
from fakes.sampled import sampled
from fakes.typed import card
from PIL import Image
from safetensors.torch import load_file, save_file, save_model
from skimage import data
from timm.data import create_transform, resolve_model_data_config
from timm.utils import ModelEmaV3
from torch.optim.swa_utils import AveragedModel

from zoo import plugins
from zoo.backbones.load import build, load
from zoo.backbones.preprocess import inference_transform
from zoo.backbones.untrained import on_meta, untrained
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.surgery import BuildOptions
from zoo.errors import Corrupt, InvalidManifest, InvalidWeights, MissingObject
from zoo.store import Store
from zoo.store.files import add_weights

# Swin's and relative-position buffers are in no file; so are EVA's rotary ones.
COMPUTED_BUFFERS = (
    "test_vit_relpos",
    "test_coatnet",
    "swin_tiny_patch4_window7_224",
    "eva02_tiny_patch14_224",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def astronaut() -> Image.Image:
    return Image.fromarray(data.astronaut())


def stored(
    store: Store, architecture: str, folder: Path, tag: str | None = None
) -> tuple[torch.nn.Module, Digest]:
    """A conventionally built network with weights that are not its initial ones, and its digest."""
    torch.manual_seed(1)
    name = f"{architecture}.{tag}" if tag else architecture
    module = timm.create_model(name).eval()
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) / 50)
    save_file(module.state_dict(), folder / f"{architecture}.safetensors")
    backbone = plugins.backbone("timm")
    manifest = m.Manifest(
        backbone=m.Backbone(plugin="timm", architecture=architecture),
        head=m.Head(kind="native", num_classes=1000),
        preprocessing=backbone.preprocessing(module),
        classes=backbone.classes(module),
        weights=(add_weights(store, folder / f"{architecture}.safetensors"),),
    )
    return module, store.put("manifests", manifest.to_bytes())


def object_files(store: Store) -> Iterator[Path]:
    return (path for path in (store.root / "objects").rglob("*") if path.is_file())


def test_weights_equal_those_of_an_ordinary_load(
    store: Store, tmp_path: Path, astronaut: Image.Image
) -> None:
    expected, digest = stored(store, "test_resnet", tmp_path, "r160_in1k")
    loaded = load(store, digest)
    assert not any(child.training for child in loaded.modules())
    found = loaded.state_dict()
    assert found.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert torch.equal(found[name], value), name
    assert all(isinstance(p, torch.nn.Parameter) for p in loaded.parameters())
    image = card(loaded).preprocess(astronaut).unsqueeze(0)
    assert torch.equal(loaded(image), expected(image))
    assert card(loaded).digest == digest
    assert len(card(loaded).classes) == 1000


@pytest.mark.parametrize(
    "architecture", sampled(COMPUTED_BUFFERS, ["test_vit_relpos", "test_coatnet"])
)
def test_buffers_that_no_file_holds_are_right(
    store: Store, tmp_path: Path, architecture: str
) -> None:
    expected, digest = stored(store, architecture, tmp_path)
    computed = {name for name, _ in expected.named_buffers()} - set(expected.state_dict())
    assert computed
    loaded = load(store, digest)
    buffers = dict(loaded.named_buffers())
    for name in computed:
        assert torch.equal(buffers[name], expected.get_buffer(name)), name
    size = card(loaded).manifest.preprocessing.input_size
    images = torch.randn(1, *size)
    with torch.no_grad():
        assert torch.equal(loaded(images), expected(images))


def test_writing_to_a_loaded_tensor_changes_no_file(store: Store, tmp_path: Path) -> None:
    expected, digest = stored(store, "test_resnet", tmp_path)
    loaded, other = load(store, digest), load(store, digest)
    with torch.no_grad():
        for value in loaded.state_dict().values():
            value.zero_()
    for path in object_files(store):
        assert blake3(path.read_bytes()).hexdigest() == path.name
        assert path.stat().st_mode & 0o222 == 0
    again = load(store, digest)
    for name, value in expected.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
        assert torch.equal(again.state_dict()[name], value), name


def test_tensors_are_maps_of_the_objects(store: Store, tmp_path: Path) -> None:
    _, digest = stored(store, "test_resnet", tmp_path)
    loaded = load(store, digest)
    tensors = {tensor.name: tensor for tensor in store.manifest(digest).tensors}
    maps = Path("/proc/self/maps").read_text()
    for name, value in loaded.state_dict().items():
        assert value.untyped_storage().nbytes() == tensors[name].nbytes, name
        assert tensors[name].object.hex in maps, name


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_it_is_saved_copied_and_averaged_as_any_module(
    store: Store, tmp_path: Path, architecture: str
) -> None:
    _, digest = stored(store, architecture, tmp_path)
    loaded = load(store, digest)
    expected = {name: value.clone() for name, value in loaded.state_dict().items()}
    torch.save(loaded.state_dict(), tmp_path / "saved.pth")
    torch.save(loaded, tmp_path / "module.pth")
    save_file(loaded.state_dict(), tmp_path / "plain.safetensors")
    save_model(loaded, str(tmp_path / "model.safetensors"))
    copies = (
        torch.load(tmp_path / "saved.pth", weights_only=True),
        torch.load(tmp_path / "module.pth", weights_only=False).state_dict(),
        load_file(tmp_path / "plain.safetensors"),
        load_file(tmp_path / "model.safetensors"),
        deepcopy(loaded).state_dict(),
        ModelEmaV3(loaded).module.state_dict(),
        AveragedModel(loaded).module.state_dict(),
        pickle.loads(pickle.dumps(loaded)).state_dict(),
    )
    for state in copies:
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_a_flipped_byte_is_noticed(store: Store, tmp_path: Path) -> None:
    _, digest = stored(store, "test_resnet", tmp_path)
    for path in list(object_files(store))[::5]:
        if path.stem == store.manifest(digest).weights[0].header.hex:
            continue
        whole = path.read_bytes()
        path.chmod(0o644)
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        with pytest.raises(Corrupt, match=path.name):
            load(store, digest)
        path.write_bytes(whole)
    load(store, digest)


def test_a_missing_object_is_noticed(store: Store, tmp_path: Path) -> None:
    _, digest = stored(store, "test_resnet", tmp_path)
    gone = store.manifest(digest).tensors[0].object
    store.path("objects", gone).unlink()
    with pytest.raises(MissingObject, match=gone.hex):
        load(store, digest)


def test_weights_of_another_network_are_refused(store: Store, tmp_path: Path) -> None:
    _, digest = stored(store, "test_resnet", tmp_path)
    wrong = replace(
        store.manifest(digest), backbone=m.Backbone(plugin="timm", architecture="test_vit")
    )
    with pytest.raises(InvalidWeights, match="lacks 'cls_token'"):
        load(store, store.put("manifests", wrong.to_bytes()))


def test_head_of_another_kind_is_built(store: Store, tmp_path: Path) -> None:
    _, digest = stored(store, "test_resnet", tmp_path)
    manifest = replace(store.manifest(digest), head=m.Head(kind="linear", num_classes=3))
    module = build(plugins.backbone("timm"), manifest)
    assert [*module.get_parameter("fc.weight").shape] == [3, module.num_features]
    assert module(torch.randn(2, 3, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize(
    "name",
    sampled(
        [
            "test_resnet.r160_in1k",
            "resnet18.a1_in1k",
            "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            "tf_efficientnet_lite0.in1k",
            "beit_base_patch16_224.in22k_ft_in22k",
            "fastvit_t8.apple_in1k",
            "vit_so150m2_patch16_reg1_gap_448.sbb_e200_in12k_ft_in1k",
        ],
        [
            "test_resnet.r160_in1k",
            "resnet18.a1_in1k",
            "tf_efficientnet_lite0.in1k",
            "fastvit_t8.apple_in1k",
        ],
    ),
)
def test_preprocessing_equals_the_transform_of_timm(name: str, astronaut: Image.Image) -> None:
    architecture, _, tag = name.partition(".")
    backbone = plugins.backbone("timm")
    with torch.device("meta"):
        module = backbone.build(architecture, BuildOptions(tag=tag))
        published = timm.create_model(name)
    expected = create_transform(**resolve_model_data_config(published), is_training=False)
    found = inference_transform(backbone.preprocessing(module), "timm")
    for image in (astronaut, astronaut.crop((0, 0, 333, 200))):
        assert torch.equal(found(image), expected(image))


def test_tensors_of_the_same_bytes_are_not_one(store: Store, tmp_path: Path) -> None:
    """They share an object, and training one of them must not move the other."""
    torch.manual_seed(0)
    module = timm.create_model("test_resnet")  # untrained norms are all alike
    save_file(module.state_dict(), tmp_path / "fresh.safetensors")
    digest = kept_file(store, tmp_path / "fresh.safetensors", "test_resnet")
    loaded = load(store, digest)
    objects = [tensor.object for tensor in store.manifest(digest).tensors]
    assert len(set(objects)) < len(objects)
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    for moved, parameter in loaded.named_parameters():
        with torch.no_grad():
            parameter.add_(1)
        changed = {n for n, v in loaded.state_dict().items() if not torch.equal(v, before[n])}
        assert changed == {moved}
        with torch.no_grad():
            parameter.copy_(before[moved])


def test_files_from_before_batch_norm_counted(store: Store, tmp_path: Path) -> None:
    module = timm.create_model("test_resnet").eval()
    state = {n: v for n, v in module.state_dict().items() if not n.endswith("batches_tracked")}
    assert len(state) < len(module.state_dict())
    save_file(state, tmp_path / "old.safetensors")
    loaded = load(store, kept_file(store, tmp_path / "old.safetensors", "test_resnet"))
    images = torch.randn(1, 3, 160, 160)
    assert torch.equal(loaded(images), module(images))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float64])
def test_weights_of_other_types_are_copied_as_torch_copies_them(
    store: Store, tmp_path: Path, dtype: torch.dtype
) -> None:
    module = timm.create_model("test_vit")
    state = {name: (value * 40).to(dtype) for name, value in module.state_dict().items()}
    save_file(state, tmp_path / "odd.safetensors")
    loaded = load(store, kept_file(store, tmp_path / "odd.safetensors", "test_vit"))
    module.load_state_dict(state)
    images = torch.rand(2, 3, 160, 160)
    assert torch.equal(loaded(images), module.eval()(images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_as_the_network_computes(
    store: Store, tmp_path: Path, dtype: torch.dtype
) -> None:
    module = timm.create_model("test_resnet").eval()
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in module.state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    loaded = load(store, kept_file(store, tmp_path / "half.safetensors", "test_resnet"))
    module.load_state_dict(state)
    images = torch.randn(1, 3, 160, 160)
    assert loaded(images).dtype == torch.float32
    assert torch.equal(loaded(images), module(images))


def kept_file(store: Store, path: Path, architecture: str) -> Digest:
    manifest = m.Manifest(
        backbone=m.Backbone(plugin="timm", architecture=architecture),
        head=m.Head(kind="native", num_classes=1000),
        preprocessing=plugins.backbone("timm").preprocessing(timm.create_model(architecture)),
        weights=(add_weights(store, path),),
    )
    return store.put("manifests", manifest.to_bytes())


def test_a_tensor_may_begin_anywhere_in_an_object(store: Store, tmp_path: Path) -> None:
    _, digest = stored(store, "test_resnet", tmp_path)
    manifest = store.manifest(digest)
    weights = manifest.weights[0]
    tensor = weights.tensors[0]
    raw = b"".join(store.read("objects", tensor.object, tensor.offset))[: tensor.nbytes]
    moved = replace(tensor, object=store.put("objects", b"\0\0" + raw), offset=2)
    other = replace(manifest, weights=(replace(weights, tensors=(moved, *weights.tensors[1:])),))
    loaded = load(store, store.put("manifests", other.to_bytes())).state_dict()
    assert torch.equal(loaded[tensor.name], load(store, digest).state_dict()[tensor.name])
    short = replace(tensor, nbytes=tensor.nbytes - 4)
    wrong = replace(manifest, weights=(replace(weights, tensors=(short, *weights.tensors[1:])),))
    with pytest.raises(InvalidManifest, match=tensor.name):
        load(store, store.put("manifests", wrong.to_bytes()))


def test_building_untrained_draws_nothing() -> None:
    """Initial weights cost more than all else of a load, and the stored ones replace them."""
    state = torch.random.get_rng_state()
    with untrained():
        torch.nn.Conv2d(3, 8, 3)
    with on_meta():
        module = timm.create_model("test_resnet")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.is_meta for parameter in module.parameters())


@pytest.mark.parametrize(
    "architecture",
    sampled([*COMPUTED_BUFFERS, "test_efficientnet"], ["test_vit_relpos", "test_efficientnet"]),
)
def test_building_untrained_makes_the_same_buffers(architecture: str) -> None:
    expected = dict(timm.create_model(architecture).named_buffers())
    with untrained():
        module = timm.create_model(architecture)
    found = dict(module.named_buffers())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
