"""A transformers user's way: own weights in, fine-tuned, and back into plain transformers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from fakes.hub_server import HubServer
from fakes.sampled import sampled
from fakes.tiny_transformers import TINY, tiny_rows
from fakes.typed import card
from PIL import Image
from safetensors.torch import load_file, save_file

import zoo
from zoo import packages, plugins
from zoo.domain.surgery import BuildOptions
from zoo.domain.task import task_of
from zoo_cli.main import main
from zoo_transformers.architectures import ARCHITECTURES
from zoo_transformers.backbone import TransformersBackbone

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

CLASSIFIERS = [name for name in TINY if ARCHITECTURES[name].family.heads]
QUICK = ["resnet-18"]
ENCODER = "dinov3-vits16plus-pretrain-lvd1689m"


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    """Tiny networks, on one thread: sums in one order are bit-equal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tiny_rows():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark, gray and light noise, in class folders."""
    root = tmp_path_factory.mktemp("shades")
    draw = np.random.default_rng(0)
    for label, level in (("dark", 40), ("gray", 120), ("light", 200)):
        (root / label).mkdir()
        for number in range(6):
            pixels = draw.normal(level, 20, (32, 32, 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


def plain(name: str, folder: Path, num_classes: int | None) -> torch.nn.Module:
    """A network of plain transformers with random weights, which has saved itself in ``folder``."""
    torch.manual_seed(0)
    module = TransformersBackbone().build(name, BuildOptions(num_classes=num_classes))
    model: Any = type(module)(module.config)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) / 50)  # initial weights are alike between layers
    model.eval().save_pretrained(folder)
    assert isinstance(model, torch.nn.Module)
    return model


def reloaded(folder: Path, kind: str = "AutoModelForImageClassification") -> PreTrainedModel:
    import transformers

    model, found = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert isinstance(model, transformers.PreTrainedModel)
    model.train(mode=False)
    return model


@torch.no_grad()
def logits(model: Any, images: torch.Tensor, name: str) -> torch.Tensor:
    """What plain transformers gives for images in red, green, blue."""
    output = model(images.flip(1) if "mobilevit" in name else images)
    found = output.logits if "logits" in output else output.pooler_output
    assert isinstance(found, torch.Tensor)
    return found


@torch.no_grad()
def ours(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    outputs: torch.Tensor = model(images)
    return outputs


def tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, those too that no file holds (CLIP's position ids)."""
    return dict([*model.named_parameters(), *model.named_buffers()])


@pytest.mark.parametrize("name", sampled(CLASSIFIERS, QUICK))
@pytest.mark.long
def test_in_and_out(name: str, shades: Path, tmp_path: Path) -> None:
    theirs = plain(name, tmp_path / "saved", 4)
    file = tmp_path / "saved/model.safetensors"
    side = ARCHITECTURES[name].size
    images = torch.randn(2, 3, side, side)
    expected = logits(theirs, images, name)
    with zoo.init(tmp_path / "zoo") as z:
        z.import_file(file, "team/base", architecture=name, backbone="transformers")
        loaded = z.load("team/base")
        assert torch.equal(ours(loaded, images), expected)
        z.export("team/base", tmp_path / "base")
        assert torch.equal(logits(reloaded(tmp_path / "base"), images, name), expected)

        run = z.finetune(
            "team/base", shades, "team/shades", freeze="50%", epochs=1, batch_size=6, device="cpu"
        )
        tuned = z.load("team/shades")
        hierarchy = plugins.backbone("transformers").hierarchy(name, loaded)
        count = run.freeze["frozen_units"]
        assert isinstance(count, int)
        frozen = [
            name for unit in hierarchy.units[:count] for name in (*unit.parameters, *unit.buffers)
        ]
        before, after = tensors(loaded), tensors(tuned)
        assert frozen
        assert all(torch.equal(before[name], after[name]) for name in frozen)
        z.export("team/shades", tmp_path / "tuned")
        found = ours(tuned, images)
        again = reloaded(tmp_path / "tuned")
        assert torch.equal(logits(again, images, name), found)
        names = again.config.id2label
        assert names is not None
        assert list(names.values()) == ["dark", "gray", "light"]
        z.import_folder(tmp_path / "tuned", "team/back")
        assert torch.equal(ours(z.load("team/back"), images), found)
        # What transformers saves after other classes were given is told by those.
        again.config.id2label = {0: "a", 1: "b", 2: "c"}
        again.save_pretrained(tmp_path / "renamed")
        z.import_folder(tmp_path / "renamed", "team/renamed")
        assert card(z.load("team/renamed")).classes == ("a", "b", "c")


@pytest.mark.long
def test_an_encoder_without_a_classifier(shades: Path, tmp_path: Path) -> None:
    theirs = plain(ENCODER, tmp_path / "saved", None)
    images = torch.randn(2, 3, 32, 32)
    expected = logits(theirs, images, ENCODER)
    with zoo.init(tmp_path / "zoo") as z:
        file = tmp_path / "saved/model.safetensors"
        z.import_file(file, "team/base", architecture=ENCODER, backbone="transformers")
        assert torch.equal(ours(z.load("team/base"), images), expected)
        z.export("team/base", tmp_path / "base")
        assert torch.equal(
            logits(reloaded(tmp_path / "base", "AutoModel"), images, ENCODER), expected
        )
        z.finetune("team/base", shades, "team/shades", freeze="-1", epochs=1, device="cpu")
        assert z.load("team/shades")(images).shape == (2, 3)


@pytest.mark.parametrize(
    ("problem", "task"),
    [
        ("regression", "regression"),
        pytest.param("multi_label_classification", "multi-label", marks=pytest.mark.long),
        (["odd"], "classification"),
    ],
)
def test_what_outputs_mean_is_read_and_written(problem: Any, task: str, tmp_path: Path) -> None:
    """Both by ``problem_type``, by which pipelines of transformers make probabilities, or none."""
    plain("resnet-18", tmp_path / "saved", 3)
    config = json.loads((tmp_path / "saved/config.json").read_text())
    (tmp_path / "saved/config.json").write_text(json.dumps({**config, "problem_type": problem}))
    with zoo.init(tmp_path / "home") as here, zoo.init(tmp_path / "other") as other:
        here.import_folder(tmp_path / "saved", "team/base")
        assert task_of(card(here.load("team/base")).manifest) == task
        # Without the files that it came with, as a fine-tune is.
        here.adapt("team/base", "team/made", image_size=(32, 32))
        here.export("team/made", tmp_path / "out")
        written = json.loads((tmp_path / "out/config.json").read_text())
        assert written.get("problem_type") == (problem if task != "classification" else None)
        # Who trains it on with transformers says anew what it is for.
        again = {**written, "problem_type": "single_label_classification"}
        (tmp_path / "out/config.json").write_text(json.dumps(again))
        other.import_folder(tmp_path / "out", "team/again")
        assert task_of(card(other.load("team/again")).manifest) == "classification"


def test_what_came_with_its_configuration_comes_back_byte_for_byte(tmp_path: Path) -> None:
    plain("vit-base-patch16-224", tmp_path / "saved", 4)
    names = ("config.json", "model.safetensors")
    saved = {name: (tmp_path / "saved" / name).read_bytes() for name in names}
    assert b"encoder.layer.0.attention.attention.query" in saved["model.safetensors"]
    with zoo.init(tmp_path / "zoo") as z:
        z.import_file(
            tmp_path / "saved/model.safetensors", "team/base", backbone="transformers",
            architecture="vit-base-patch16-224", files=[tmp_path / "saved/config.json"],
        )  # fmt: skip
        z.export("team/base", tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == saved


@pytest.mark.parametrize(
    "name",
    sampled(["clip-vit-base-patch32", "siglip-base-patch16-224"], ["siglip-base-patch16-224"]),
)
def test_the_file_of_a_pair_gives_its_image_half(name: str, tmp_path: Path) -> None:
    plain(name, tmp_path / "saved", 4)
    half = load_file(tmp_path / "saved/model.safetensors")
    pair = {key: value for key, value in half.items() if not key.startswith("classifier")}
    pair |= {"text_model.embeddings.token_embedding.weight": torch.zeros(3, 8)}
    pair |= {"logit_scale": torch.zeros(())}
    pair |= {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    if "siglip" in name:
        pair |= {"vision_model.head.probe": torch.zeros(1, 1, 16)}
    file = tmp_path / "pair.safetensors"
    save_file(pair, file)
    with zoo.init(tmp_path / "zoo") as z:
        z.import_file(file, "team/pair", architecture=name, backbone="transformers")
        own = z.load("team/pair").state_dict()
        assert len(own) == len(half) - 2
        assert all(torch.equal(half[key], value) for key, value in own.items())
        z.export("team/pair", tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == file.read_bytes()


@pytest.mark.long
def test_what_is_published_is_pulled_and_fits(hub_server: HubServer, tmp_path: Path) -> None:
    theirs = plain("deit-tiny-distilled-patch16-224", tmp_path / "saved", None)
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    hub_server.commit("facebook/deit-tiny-distilled-patch16-224", files)
    images = torch.randn(2, 3, 32, 32)
    name = "transformers/deit-tiny-distilled-patch16-224"
    with zoo.init(tmp_path / "zoo") as z:
        z.pull(name)
        loaded: Any = z.load(name)
        assert torch.equal(ours(loaded, images), logits(theirs, images, name))
        assert card(loaded).classes[0].startswith("tench")
        z.export(name, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files


def test_names_of_a_lone_encoder_are_converted(tmp_path: Path) -> None:
    import transformers

    module = TransformersBackbone().build("dinov2-small")
    config = module.config
    assert isinstance(config, transformers.Dinov2Config)
    torch.manual_seed(0)
    lone = transformers.Dinov2Model(config).eval()
    lone.save_pretrained(tmp_path / "saved")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = lone(images).last_hidden_state
    with zoo.init(tmp_path / "zoo") as z:
        file = tmp_path / "saved/model.safetensors"
        z.import_file(file, "team/dino", architecture="dinov2-small", backbone="transformers")
        features = ours(z.load("team/dino"), images)
    assert torch.equal(features, torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1))


@pytest.mark.long
def test_without_transformers_all_is_listed_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "transformers", None)
    version = metadata.version

    def without(package: str) -> str:
        if package == "transformers":
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(metadata, "version", without)
    monkeypatch.setattr(packages, "SETTLED", sys.maxsize)  # nothing that was read is kept
    zoo.init(tmp_path / "zoo").close()
    monkeypatch.chdir(tmp_path / "zoo")

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        return int(left.value.code or 0)

    assert run("plugins", "--json") == 0
    listed = {(each["group"], each["name"]) for each in json.loads(capsys.readouterr().out)}
    assert {("zoo.backbones", "transformers"), ("zoo.sources", "transformers")} <= listed
    assert run("index", "transformers", "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == len(ARCHITECTURES)
    assert run("search", "dinov2-small", "--json") == 0
    assert "transformers/dinov2-small" in capsys.readouterr().out
    # A pull says so before it asks the hub, which does not answer here.
    for command, who in (
        (("tree", "dinov2-small"), "dinov2-small"),
        (("tree", "transformers/dinov2-small"), "dinov2-small"),
        (("pull", "transformers/dinov2-small"), "the backbone 'transformers'"),
    ):
        assert run(*command) != 0
        error = capsys.readouterr().err
        assert f"'transformers', which {who} needs, is not installed" in error
        assert "pip install 'zoo-registry[transformers]'" in error
    assert run("tree", "dinov2-smal") != 0
    assert "dinov2-small" in capsys.readouterr().err
    assert run("tree", "resnet18") == 0  # timm's
