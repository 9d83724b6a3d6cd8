"""What transformers has saved comes in as it loads it itself, or not at all; and goes out again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.hub_home import SECRET, own_hub
from fakes.hub_server import HubServer
from fakes.tiny_transformers import TINY
from fakes.typed import card
from huggingface_hub import HfApi
from PIL import Image

import zoo
from zoo.exchange.layouts import read_layouts
from zoo.finetune.dataset.augment import training_transform
from zoo_transformers.architectures import ARCHITECTURES
from zoo_transformers.backbone import TransformersBackbone

transformers = pytest.importorskip("transformers")

Run = Callable[..., Any]
REPO, PLACE = "team/my-flowers", "hf://team/my-flowers"
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 40, "image_size": 64}  # fmt: skip
LABELS = {0: "rose", 1: "tulip", 2: "lily"}

# The client itself uses what its HTTP library would rather see gone.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    yield from own_hub(monkeypatch, tmp_path, member=True)


def saved(kind: str, folder: Path, config: Any, **how: Any) -> None:
    """A network of transformers, whose every value counts, as it saves itself."""
    torch.manual_seed(0)
    module = getattr(transformers, kind)(config).eval()
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) / 20)
    module.save_pretrained(folder, **how)


@torch.no_grad()
def outputs(module: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = copied(module)(images)
    return found


def copied(module: Any) -> Any:
    """With parameters that lie nowhere else: where they lie in a file that is mapped decides, on
    some processors, which kernel multiplies, and so the last bit.
    """
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    return module


@torch.no_grad()
def logits(folder: Path, images: torch.Tensor) -> torch.Tensor:
    model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    found: torch.Tensor = copied(model)(images).logits
    return found


def ours(name: str) -> torch.nn.Module:
    with zoo.open() as z:
        return z.load(name)


def vit(folder: Path, **more: Any) -> None:
    config = transformers.ViTConfig(**{**SMALL, "hidden_act": "relu", **more})
    saved("ViTForImageClassification", folder, config)
    transformers.ViTImageProcessor(
        size={"height": 64, "width": 64}, image_mean=[0.1, 0.2, 0.3], image_std=[0.7, 0.8, 0.9]
    ).save_pretrained(folder)


@pytest.mark.long
def test_a_network_of_another_depth_is_not_called_a_published_one(
    empty: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    vit(folder, id2label=LABELS)
    line = ("import", folder, "--as", "x/small")
    planned = empty(*line, "--dry-run").done().out
    assert planned.startswith("x/small  would be vit-base-patch16-224 (custom config), 3 outputs")
    done = empty(*line).done().out
    differs = f"num_hidden_layers={SMALL['num_hidden_layers']}"
    assert "  a custom config of vit-base-patch16-224 (" in done
    assert differs in done
    assert differs in empty("show", "x/small", "--json").json["custom_config"]
    assert re.search(f"custom_config: .*{differs}", empty("show", "x/small").out)
    vit(folder, id2label=LABELS, hidden_dropout_prob=0.5)
    empty("import", folder, "--as", "x/dropping")
    assert "(custom config)" in empty("compare", "x/small", "x/dropping", "x/small").out
    assert "drop" not in empty("show", "x/dropping", "--json").json["custom_config"]


def test_a_fine_tune_comes_and_goes(empty: Run, hub: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    vit(folder, id2label=LABELS, layer_norm_eps=1e-3)
    assert "_name_or_path" not in json.loads((folder / "config.json").read_text())
    api = HfApi(endpoint=hub.url, token=SECRET)
    api.create_repo(REPO)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert empty("pull", "x/f", "--from", PLACE).code == 0
    images = torch.randn(2, 3, 64, 64)
    wanted, found = logits(folder, images), ours("x/f")
    assert torch.equal(outputs(found, images), wanted)
    assert card(found).classes == ("rose", "tulip", "lily")
    how = card(found).manifest.preprocessing
    assert (how.input_size, how.mean, how.crop_mode) == ((3, 64, 64), (0.1, 0.2, 0.3), "squash")
    # So does its file alone, where it lies beside what describes it.
    file, architecture = folder / "model.safetensors", card(found).manifest.backbone.architecture
    line = ("import", file, "--architecture", architecture, "--backbone", "transformers")
    assert empty(*line, "--as", "x/file").code == 0
    layers = [f"vit.layers.{at}" for at in range(SMALL["num_hidden_layers"])]
    units = empty("diff", "x/f", "x/file", "--json").json["units"]
    assert [unit["unit"] for unit in units] == ["vit.embeddings", *layers, "head"]
    alone = card(ours("x/file"))
    assert (alone.classes, alone.manifest.preprocessing) == (("rose", "tulip", "lily"), how)
    # And out, and in again, though its own config.json is kept.
    assert empty("push", "x/f", "--to", "hf://team/again").code == 0
    assert empty("pull", "x/g", "--from", "hf://team/again").code == 0
    again = ours("x/g")
    assert torch.equal(outputs(again, images), wanted)
    for field in ("backbone", "head", "preprocessing", "classes", "license"):
        assert getattr(card(again).manifest, field) == getattr(card(found).manifest, field), field


@pytest.mark.long
def test_a_folder_of_the_trainer(empty: Run, tmp_path: Path) -> None:
    """Beside the weights it has the state of the training, which is left there."""
    folder = tmp_path / "checkpoint-20"
    vit(folder, id2label=LABELS)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"state": {}}, folder / name)
    (folder / "trainer_state.json").write_text("{}")
    processor = folder / "preprocessor_config.json"
    said = processor.read_text()
    processor.unlink()
    done = empty("import", folder, "--as", "x/f")
    assert done.out.endswith("; class names from config.json; unknown: preprocessing\n")
    processor.write_text(said)
    done = empty("import", folder, "--as", "x/f")
    assert done.out.endswith("class names from config.json; preprocessing from config.json\n")
    files = {file["name"] for file in empty("show", "x/f", "--json").json["files"]}
    assert files == {"config.json", "preprocessor_config.json"}
    alone = empty("import", folder / "model.safetensors", "--as", "x/g")
    alone.refused("config.json beside it is of a network of transformers", f"zoo import {folder}")


def test_what_is_made_of_it_loads_in_transformers(empty: Run, tmp_path: Path) -> None:
    vit(tmp_path / "saved", id2label=LABELS)
    assert empty("import", tmp_path / "saved", "--as", "x/f").code == 0
    assert empty("adapt", "x/f", "x/two", "--classes", 2).code == 0
    assert empty("export", "x/two", tmp_path / "out").code == 0
    model = transformers.pipeline("image-classification", str(tmp_path / "out"))
    assert len(model(Image.new("RGB", (80, 70), "red"))) == 2
    image = Image.effect_noise((90, 70), 60).convert("RGB")
    module = ours("x/two")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    theirs = processor(image, return_tensors="pt")["pixel_values"][0]
    assert (card(module).preprocess(image) - theirs).abs().max() < 0.05
    assert torch.equal(outputs(module, theirs[None]), logits(tmp_path / "out", theirs[None]))


@pytest.mark.long
def test_sharded_weights_with_their_index(empty: Run, tmp_path: Path) -> None:
    config = transformers.ViTConfig(**SMALL, id2label=LABELS)
    saved("ViTForImageClassification", tmp_path / "saved", config, max_shard_size="30KB")
    index = tmp_path / "saved/model.safetensors.index.json"
    assert empty("import", tmp_path / "saved", "--as", "x/a").code == 0
    architecture = card(ours("x/a")).manifest.backbone.architecture
    done = empty("import", index, "--architecture", architecture, "--backbone", "transformers",
                 "--as", "x/b")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    images = torch.randn(1, 3, 64, 64)
    for name in ("x/a", "x/b"):
        assert torch.equal(outputs(ours(name), images), logits(tmp_path / "saved", images))
        assert card(ours(name)).classes == ("rose", "tulip", "lily")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"auto_map": {"AutoModel": "evil.Net"}}, "'auto_map'"),
        ({"quantization_config": {"quant_method": "x"}}, "'quantization_config'"),
        ({"hidden_act": "os.system"}, "'hidden_act' of transformers = 'os.system'"),
        ({"num_hidden_layers": 10**7}, "'num_hidden_layers'"),
        ({"image_size": [8, 10**9]}, "'image_size'"),
        ({"id2label": 5}, "malformed"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "ViTForMaskedImageModeling"),
        ({"model_type": "bert"}, "'bert'"),
    ],
)
def test_what_is_not_passed_on_is_named(
    empty: Run, tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    folder = tmp_path / "theirs"
    vit(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **more}))
    done = empty("import", folder, "--as", "x/a")
    assert done.code == 1
    assert says in done.err
    assert "Traceback" not in done.err
    assert len(done.err) < 600


def test_of_rows_of_one_shape_the_names_decide() -> None:
    plugin = TransformersBackbone()
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
    for names, processor, wanted in (
        (["me/mine", "facebook/deit-base-patch16-224"], {}, "deit-base-patch16-224"),
        (["me/mine", "google/vit-base-patch16-224-in21k"], {}, "vit-base-patch16-224-in21k"),
        (["me/mine"], {}, "vit-base-patch16-224"),
        (["me/mine"], {"size": 224, "image_mean": [0.485, 0.456, 0.406],
                       "image_std": [0.229, 0.224, 0.225]}, "deit-base-patch16-224"),
    ):  # fmt: skip
        found = plugin.read_config(config, processor, names)
        assert (found.architecture, found.surgery.arguments) == (wanted, ())


@pytest.mark.parametrize("card", [
    "---\nbase_model: facebook/deit-base-patch16-224\n---\n",
    "---\nlicense: mit\nbase_model:\n- facebook/deit-base-patch16-224\ntags: [a]\n---\n# Mine\n",
    "---\nbase_model: ['facebook/deit-base-patch16-224']\n---",
])  # fmt: skip
def test_the_card_is_asked_for_the_base_model(tmp_path: Path, card: str) -> None:
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (found,) = read_layouts(tmp_path, ["me/mine"], ())
    assert found.network.architecture == "vit-base-patch16-224"
    (tmp_path / "README.md").write_text(card)
    (found,) = read_layouts(tmp_path, ["me/mine"], ())
    assert found.network.architecture == "deit-base-patch16-224"


@pytest.mark.parametrize(
    ("processor", "wanted"),
    [
        ({"size": 256, "crop_size": 224, "do_center_crop": True,
          "feature_extractor_type": "DeiTFeatureExtractor"}, ((224, 224), 0.875, "squash")),
        ({"size": 224, "crop_size": 224, "feature_extractor_type": "CLIPFeatureExtractor"},
         ((224, 224), 1.0, "center")),
        ({"size": {"shortest_edge": 224}, "image_processor_type": "ConvNextImageProcessor"},
         ((224, 224), 0.875, "center")),
        ({"size": {"shortest_edge": 384}, "image_processor_type": "ConvNextImageProcessor"},
         ((384, 384), 1.0, "squash")),
        ({"size": {"height": 64, "width": 96}, "do_center_crop": False, "crop_size": 4},
         ((64, 96), 1.0, "squash")),
    ],
)  # fmt: skip
def test_how_processors_are_read(
    processor: dict[str, Any], wanted: tuple[tuple[int, int], float, str]
) -> None:
    how = read({**processor, "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    assert (how.input_size[1:], how.crop_pct, how.crop_mode) == wanted


def read(processor: dict[str, Any]) -> Any:
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
    return TransformersBackbone().read_config(config, processor, []).preprocessing


def test_values_that_are_not_scaled_or_normalized_as_usual() -> None:
    square = {"size": {"height": 8, "width": 8}}
    colors = {"image_mean": [51.0] * 3, "image_std": [25.5] * 3, "do_rescale": False}
    assert read({**square, **colors}).mean == pytest.approx((0.2, 0.2, 0.2))
    assert read({**square, **colors}).std == pytest.approx((0.1, 0.1, 0.1))
    plain = read({**square, "image_mean": [0.5] * 3, "do_normalize": False})
    assert (plain.mean, plain.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    for more in ({"do_resize": False}, {"do_pad": True}, {"resample": 9}, {"size": {"area": 8}}):
        with pytest.raises(zoo.ZooError, match=r"preprocessor_config\.json"):
            read({**square, **colors, **more})


FAMILIES = [name for name in TINY if ARCHITECTURES[name].family.heads]


def small_config(name: str, **more: Any) -> tuple[str, Any]:
    """The class of a row's network, and a small configuration."""
    row, (values, size) = ARCHITECTURES[name], TINY[name]
    values = {**row.config, **values}
    if row.family.sized:
        values["image_size"] = size
    if row.family.vision_tower:
        values = {"vision_config": values, "text_config": {"vocab_size": 50_000}}
    kind = getattr(transformers, row.family.model)
    return row.family.model, kind.config_class(**values, id2label=LABELS, **more)


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_as_transformers_loads_it(empty: Run, tmp_path: Path, name: str) -> None:
    kind, config = small_config(name)
    saved(kind, tmp_path / "saved", config)
    assert empty("import", tmp_path / "saved", "--as", "x/a").code == 0
    images = torch.randn(2, 3, TINY[name][1], TINY[name][1])
    found = ours("x/a")
    model = getattr(transformers, kind).from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        wanted = model(images.flip(1) if "mobilevit" in name else images).logits
    assert torch.equal(outputs(found, images), wanted)
    assert empty("export", "x/a", tmp_path / "out").code == 0
    again = getattr(transformers, kind).from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(again(images.flip(1) if "mobilevit" in name else images).logits, wanted)


VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ViT", {"qkv_bias": False}),
    ("ViT", {"num_channels": 1}),
    ("ViT", {"image_size": 96, "patch_size": 8}),
    ("ViT", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-2}),
    ("ViT", {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}),
    ("ViT", {"num_labels": 1000}),
    ("ConvNext", {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 20], "hidden_act": "relu"}),
    ("ConvNext", {"depths": [1, 1], "hidden_sizes": [8, 12], "num_stages": 2,
                  "layer_scale_init_value": 0.0}),
    ("ConvNextV2", {"depths": [1, 2, 1, 1], "hidden_sizes": [8, 12, 16, 20], "patch_size": 2}),
    ("ResNet", {"depths": [1, 1], "hidden_sizes": [8, 16], "embedding_size": 8,
                "downsample_in_first_stage": True}),
    ("ResNet", {"depths": [1, 1], "hidden_sizes": [32, 64], "embedding_size": 8,
                "downsample_in_bottleneck": True, "hidden_act": "silu"}),
    ("Swin", {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2,
              "mlp_ratio": 2.0, "use_absolute_embeddings": True, "image_size": 64}),
    ("Beit", {"use_absolute_position_embeddings": True, "use_mean_pooling": False}),
    ("Beit", {"use_shared_relative_position_bias": True, "layer_scale_init_value": 0.5}),
    ("DeiT", {}),
    ("Dinov2", {"layerscale_value": 0.3, "mlp_ratio": 2}),
    ("Dinov2", {"use_swiglu_ffn": True}),
    ("Dinov2WithRegisters", {"use_swiglu_ffn": True, "num_register_tokens": 0}),
    ("Dinov2WithRegisters", {"num_register_tokens": 2, "mlp_ratio": 2}),
    ("MobileViT", {"output_stride": 16, "hidden_sizes": [16, 16, 16], "num_attention_heads": 2,
                   "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16]}),
)  # fmt: skip
"""What a configuration may have other than any published one."""


@pytest.mark.long
@pytest.mark.parametrize(("family", "values"), VARIANTS)
def test_other_configurations(
    empty: Run, tmp_path: Path, family: str, values: dict[str, Any]
) -> None:
    convolutional = family.startswith(("ConvNext", "ResNet", "Swin", "MobileViT"))
    config = getattr(transformers, f"{family}Config")(
        **{**({} if convolutional else SMALL), **values}
    )
    saved(f"{family}ForImageClassification", tmp_path / "saved", config)
    done = empty("import", tmp_path / "saved", "--as", "x/a")
    assert (done.code, done.err) == (0, "")
    side = values.get("image_size", 64)
    images = torch.randn(1, values.get("num_channels", 3), side, side)
    wanted = logits(tmp_path / "saved", images.flip(1) if family == "MobileViT" else images)
    assert torch.equal(outputs(ours("x/a"), images), wanted)


@pytest.mark.long
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_published_network_is_told_by_its_configuration(name: str) -> None:
    plugin = TransformersBackbone()
    with torch.device("meta"):
        module: Any = plugin.build(name)
    config = {**module.config.to_diff_dict(), "architectures": [type(module).__name__]}
    found = plugin.read_config(config, {}, [f"somebody/{name}"])
    assert found.architecture == name
    assert found.surgery.arguments == ()
    assert found.surgery.image_size is None


def test_a_crop_with_an_odd_margin_is_transformers(empty: Run, tmp_path: Path) -> None:
    model, config = small_config("convnext-tiny-224")
    saved(model, tmp_path / "saved", config)
    processor: Any = transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.9)
    processor.save_pretrained(tmp_path / "saved")
    assert empty("import", tmp_path / "saved", "--as", "x/a").code == 0
    image = Image.effect_noise((90, 71), 60).resize((600, 520)).convert("RGB")
    theirs = processor(image, return_tensors="pt")["pixel_values"][0]
    found = card(ours("x/a"))
    how = found.manifest.preprocessing, found.manifest.backbone.plugin
    for prepared in (found.preprocess(image), training_transform(*how).apply(image)):
        assert (prepared - theirs).abs().max() < 0.05


PROCESSORS = ("ViTImageProcessor", "DeiTImageProcessor", "ConvNextImageProcessor",
              "CLIPImageProcessor", "BitImageProcessor", "BeitImageProcessor",
              "SiglipImageProcessor", "MobileViTImageProcessor")  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("kind", PROCESSORS)
def test_images_are_prepared_as_transformers_does(empty: Run, tmp_path: Path, kind: str) -> None:
    mobile = kind.startswith("MobileViT")
    name = "mobilevit-xx-small" if mobile else "convnext-tiny-224"
    model, config = small_config(name)
    saved(model, tmp_path / "saved", config)
    getattr(transformers, kind)().save_pretrained(tmp_path / "saved")
    assert empty("import", tmp_path / "saved", "--as", "x/a").code == 0
    image = Image.effect_noise((300, 260), 60).resize((600, 520)).convert("RGB")
    found = card(ours("x/a")).preprocess(image)
    for folder in ("saved", "out"):
        if folder == "out":
            assert empty("adapt", "x/a", "x/b", "--classes", 2).code == 0
            assert empty("export", "x/b", tmp_path / "out").code == 0
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / folder)
        theirs = processor(image, return_tensors="pt")["pixel_values"][0]
        difference = found - (theirs.flip(0) if mobile else theirs)
        assert difference.abs().mean() < 0.02, folder
