"""A checkpoint in another form: kept, loaded elsewhere, fine-tuned, exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from fakes import own_nets, warm
from fakes.checkpoints import files_of
from fakes.sampled import sampled
from fakes.traced import traced_once  # noqa: F401 - a fixture of all tests here
from fakes.typed import card
from PIL import Image
from safetensors.torch import load_file, save_file

from zoo.backbones.load import assign, load
from zoo.domain.manifest import Head
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.domain.surgery import Surgery, parse_size
from zoo.errors import InvalidOption, InvalidWeights, UnknownName, Unsupported
from zoo.exchange.adapt import Adapted, adapt
from zoo.exchange.architecture import hierarchy_of
from zoo.exchange.exporting import export
from zoo.exchange.importing import Origin, import_file, import_folder
from zoo.facade import Zoo
from zoo.workspace import Workspace
from zoo_timm.backbone import TimmBackbone

BASE, NEW = Reference.parse("team/base"), Reference.parse("team/new")
FRESH = """
import sys, torch, zoo
from safetensors.torch import save_file
here, outputs = zoo.open(sys.argv[1]), {}
for name in ("shallow", "gray", "small"):
    model = here.load(f"team/{name}")
    with torch.no_grad():
        outputs[name] = model(torch.ones(1, *model.zoo.manifest.preprocessing.input_size))
save_file(outputs, sys.argv[2])
"""


def keep(workspace: Workspace, folder: Path, architecture: str, **options: Any) -> torch.nn.Module:
    """Keep a network of timm's as ``team/base``, with weights that are not its initial ones."""
    torch.manual_seed(3)
    module = timm.create_model(architecture, **options).eval()
    save_file(module.state_dict(), folder / "base.safetensors")
    origin = Origin(plugin="timm", architecture=architecture, license="mit")
    import_file(workspace, folder / "base.safetensors", BASE, origin)
    return module


@pytest.fixture
def kept_as(workspace: Workspace, tmp_path: Path) -> Callable[..., torch.nn.Module]:
    return partial(keep, workspace, tmp_path)


def adapted(workspace: Workspace, head: Head | None = None, **how: Any) -> Adapted:
    return adapt(workspace, str(BASE), NEW, Surgery(**how), head=head)


@pytest.fixture
def images_of(tmp_path: Path) -> Path:
    """Two classes of noise, ten images each."""
    source = np.random.default_rng(0)
    for label, level in (("dark", 60), ("light", 200)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(10):
            pixels = source.integers(level - 50, level + 50, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{number}.png")
    return tmp_path / "data"


@pytest.mark.long
def test_it_is_the_same_in_a_fresh_process(
    workspace: Workspace, kept_as: Callable[..., torch.nn.Module], tmp_path: Path
) -> None:
    wanted: dict[str, torch.Tensor] = {}
    for name, architecture, how, size in (
        ("shallow", "test_resnet", {"truncate": "layer2"}, (3, 160, 160)),
        ("gray", "test_resnet", {"channels": 1, "image_size": (64, 96)}, (1, 64, 96)),
        ("small", "test_vit", {"image_size": (96, 96), "without": ("blocks.2",)}, (3, 96, 96)),
    ):
        kept_as(architecture)
        surgery = Surgery(**how)
        made = adapt(workspace, str(BASE), Reference.parse(f"team/{name}"), surgery)
        images = torch.ones(1, *size)
        with torch.no_grad():
            wanted[name] = load(workspace.store, made.manifest)(images)
        manifest = workspace.store.manifest(made.manifest)
        assert manifest.preprocessing.input_size[0] == size[0]
        assert manifest.license == "mit"
        assert [(parent.relation, parent.ref) for parent in manifest.parents] == [
            ("surgery", str(BASE))
        ]
    done = warm.run("-c", FRESH, workspace.root, tmp_path / "outputs")
    assert done.returncode == 0, done.stderr
    given = load_file(tmp_path / "outputs")
    assert given.keys() == wanted.keys()
    assert all(torch.allclose(given[name], wanted[name], atol=1e-5) for name in wanted)


def test_only_what_changes_is_stored(
    workspace: Workspace, kept_as: Callable[..., torch.nn.Module]
) -> None:
    whole = kept_as("test_resnet")
    made = adapted(workspace, truncate="layer3")
    assert made.shared == made.nbytes < sum(t.nbytes for t in whole.state_dict().values())
    gray = adapted(workspace, channels=1)
    assert 0 < gray.nbytes - gray.shared <= 20_000


@pytest.mark.long
def test_a_truncated_one_is_fine_tuned_and_exported(
    workspace: Workspace,
    kept_as: Callable[..., torch.nn.Module],
    images_of: Path,
    tmp_path: Path,
) -> None:
    """And what was fine-tuned can be adapted again, its head and classes with it."""
    from zoo.finetune.run import finetune

    kept_as("test_resnet")
    adapted(workspace, truncate="layer2", image_size=(64, 64))
    tuned = Reference.parse("team/tuned")
    recipe = Recipe(data=str(images_of), freeze="layer1", epochs=2)
    result = finetune(workspace, str(NEW), recipe, tuned, device="cpu")
    assert result.freeze["boundary"] == "layer2.0"
    manifest = workspace.store.manifest(result.manifest)
    assert manifest.backbone.options["truncate"] == "layer2.0"
    tree = hierarchy_of(workspace, str(tuned))
    assert tree.units[-1].name == "layer2.0"
    assert tree.head.shape == (1, 2)
    model = load(workspace.store, result.manifest)
    assert card(model).classes == ("dark", "light")
    export(workspace, result.manifest, tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["zoo"]["backbone"]["options"]["truncate"] == "layer2.0"
    assert set(load_file(tmp_path / "out/model.safetensors")) == set(model.state_dict())
    again = adapt(workspace, str(tuned), NEW, Surgery(channels=1))
    gray, image = load(workspace.store, again.manifest), torch.randn(1, 1, 64, 64)
    assert card(gray).classes == ("dark", "light")
    with torch.no_grad():
        assert torch.allclose(gray(image), model(image.expand(1, 3, 64, 64)), atol=1e-5)
    with pytest.raises(UnknownName, match=r"layer3"):  # it ends before
        adapt(workspace, str(tuned), NEW, Surgery(truncate="layer3"))


@pytest.mark.long
@pytest.mark.parametrize("kind", sampled(["mlp", "cosine"], ["mlp"]))
def test_a_convolutional_one_has_a_head_of_any_kind(
    workspace: Workspace, images_of: Path, tmp_path: Path, kind: str
) -> None:
    """Fine-tuned and saved, loaded, exported and brought back; put on before or after."""
    from zoo.finetune.run import finetune

    torch.manual_seed(3)
    save_file(own_nets.AlexNet().state_dict(), tmp_path / "base.safetensors")
    origin = Origin(plugin="torch", architecture="fakes.own_nets:ALEXNET")
    Zoo(workspace).trust(origin.architecture)
    import_file(workspace, tmp_path / "base.safetensors", BASE, origin)
    head, dense = Head(kind=kind, num_classes=2), Reference.parse("team/dense")
    flat = load(workspace.store, adapted(workspace, head).manifest)
    later = adapt(workspace, str(NEW), dense, Surgery(convolutional=True))
    made = adapted(workspace, head, convolutional=True)
    recipe = Recipe(data=str(images_of), freeze="50%", epochs=1, head=kind)
    result = finetune(workspace, str(NEW), recipe, Reference.parse("team/tuned"), device="cpu")
    folder = tmp_path / "out"
    export(workspace, result.manifest, folder)
    back = import_folder(workspace, folder, Reference.parse("team/back")).manifest
    images = torch.randn(2, 3, 24, 32)
    with torch.no_grad():
        for digest in (later.manifest, made.manifest):  # the new head is the same each time
            module = load(workspace.store, digest)
            assert torch.allclose(module(images[..., :24]), flat(images[..., :24]), atol=1e-6)
            assert module(images).shape == (2, 2, 1, 3)
        tuned = load(workspace.store, result.manifest)(images)
        assert torch.equal(load(workspace.store, back)(images), tuned)
        assert not torch.allclose(tuned, module(images))


def test_other_sizes_and_channels_are_exported_for_timm(
    workspace: Workspace, kept_as: Callable[..., torch.nn.Module], tmp_path: Path
) -> None:
    kept_as("test_vit")
    made = adapted(workspace, channels=1, image_size=(96, 96))
    export(workspace, made.manifest, tmp_path / "out")
    theirs = timm.create_model(
        f"local-dir:{tmp_path / 'out'}", pretrained=True, in_chans=1, img_size=96
    ).eval()
    images = torch.randn(1, 1, 96, 96)
    with torch.no_grad():
        assert torch.equal(theirs(images), load(workspace.store, made.manifest)(images))


@pytest.mark.long
def test_a_unit_goes_once_and_where_to_end_may_be_counted(
    workspace: Workspace, kept_as: Callable[..., torch.nn.Module]
) -> None:
    kept_as("test_vit")
    made = adapted(workspace, without=("blocks.2", "blocks.2"), truncate="-2")
    assert (made.options["without"], made.options["truncate"]) == (["blocks.2"], "blocks.3")


def test_a_new_head_is_the_same_each_time(
    workspace: Workspace, kept_as: Callable[..., torch.nn.Module]
) -> None:
    whole = kept_as("test_resnet")
    first = adapted(workspace, Head(kind="mlp", num_classes=7))
    assert adapted(workspace, Head(kind="mlp", num_classes=7)).manifest == first.manifest
    model = load(workspace.store, first.manifest)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 7)
    assert card(model).manifest.head == Head(kind="mlp", num_classes=7)
    assert card(model).classes == ()
    assert torch.equal(model.state_dict()["conv1.0.weight"], whole.state_dict()["conv1.0.weight"])


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Workspace]]:
    """A zoo for each network, with ``team/base``: no test changes it."""
    with ExitStack() as stack:

        @cache
        def of(architecture: str) -> Workspace:
            folder = tmp_path_factory.mktemp("base")
            made = stack.enter_context(closing(Workspace.create(folder / "zoo")))
            keep(made, folder, architecture, num_classes=2)
            return made

        yield of


@pytest.mark.parametrize(
    ("architecture", "how", "error", "says"),
    [
        ("test_resnet", {}, InvalidOption, "no change is asked for"),
        ("test_resnet", {"truncate": "layer9"}, UnknownName, "layer9"),
        ("test_resnet", {"without": ("layer2.0",)}, Unsupported, "it turns 1x32x40x40 into"),
        ("test_vit", {"without": ("blocks",)}, InvalidOption,
         "blocks is a stage of blocks.0, blocks.1, …, blocks.5: name one unit"),
        ("test_vit", {"without": ("blocks.1", "3")}, UnknownName, "unit of test_vit '3'"),
        ("test_vit", {"without": ("-2",)}, UnknownName, "unit of test_vit '-2'"),
        ("test_vit", {"without": ("50%",)}, UnknownName, "unit of test_vit '50%'"),
        ("test_vit", {"without": ("all",)}, UnknownName, "unit of test_vit 'all'"),
        ("test_resnet", {"convolutional": True}, Unsupported, "no fully connected layers over"),
        ("test_resnet", {"channels": 5000}, InvalidOption, "from 1 to 1024, not 5000"),
        ("test_resnet", {"image_size": 64}, InvalidOption, "a height and a width"),
        ("test_resnet", {"truncate": "layer2", "convolutional": True}, Unsupported, "truncated"),
        pytest.param("mixer_s32_224", {"image_size": (256, 256)}, Unsupported,
                     "no rule is known that fits it", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    bases: Callable[[str], Workspace],
    architecture: str,
    how: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    workspace = bases(architecture)
    before = files_of(workspace)
    with pytest.raises(error, match=says):
        adapted(workspace, **how)
    assert files_of(workspace) == before


def test_a_head_of_another_size_says_what_to_do(
    workspace: Workspace, kept_as: Callable[..., torch.nn.Module]
) -> None:
    """Met where a manifest, or a caller, asks for another number of outputs than the weights."""
    state = kept_as("test_resnet", num_classes=7).state_dict()
    manifest = workspace.store.manifest(workspace.names.resolve(str(BASE))[1])
    wrong = replace(
        manifest,
        backbone=replace(manifest.backbone, options={"num_classes": 3}),
        head=replace(manifest.head, num_classes=3),
    )
    digest = workspace.commit(wrong, NEW, "test")
    says = r"Only the head differs: .*\(num_classes=7\).*zoo adapt NAME NEW --classes N"
    with pytest.raises(InvalidWeights, match=says):
        load(workspace.store, digest)
    plugin = TimmBackbone()
    del state["fc.bias"], state["bn1.weight"]
    with pytest.raises(InvalidWeights) as caught:  # more than the head
        assign(lambda: plugin.build("test_resnet"), state, plugin, name="it")
    assert "Only the head" not in str(caught.value)


def test_options_are_read_strictly() -> None:
    whole = Surgery(
        num_classes=0, image_size=(32, 64), channels=4, without=("a", "b"), convolutional=True
    )
    assert Surgery.parse(whole.to_options()) == whole
    assert Surgery.parse({}) == Surgery()
    for options in ({"depth": 3}, {"channels": 0}, {"channels": True}, {"image_size": [3]},
                    {"truncate": ""}, {"without": "a"}, {"convolutional": 1}):  # fmt: skip
        with pytest.raises(Unsupported, match=next(iter(options))):
            Surgery.parse(options)
    assert parse_size(" 320 ") == (320, 320)
    assert parse_size("320x256") == (320, 256)
    for text in ("", "8x", "-1", "1e3", "320X256"):
        with pytest.raises(InvalidOption, match="320x256"):
            parse_size(text)
